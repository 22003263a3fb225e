"""Messages of a conversation: from the spellings of data sets to the keys that chat templates read.

A message is a dict with `role` and `content` (a text, or a list of typed parts), and whatever else chat templates read:
`tool_calls`, `name`, `reasoning_content`, `thinking`. Every key is kept, but for keys without a value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

Message = dict[str, Any]  # {"role": ..., "content": ..., ...}
Text = str | list[Message]

ASSISTANT = "\n\nAssistant:"  # where a response begins in dialogues written as one string (Anthropic's hh-rlhf)
HUMAN = "\n\nHuman:"
REASONING = ("reasoning_content", "thinking", "reasoning")
_TURN = re.compile(r"\n\n(Human|Assistant):")
# Other names of roles that no chat template reads, and other spellings; keys are in lower case.
_SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    **{role: role for role in ("system", "user", "assistant", "tool")},
}
# ShareGPT's `from`; other names are roles already.
_FROM = _SPEAKERS | {"function_call": "assistant", "observation": "tool", "function_response": "tool"}


class BadRowError(Exception):
    """Problem of a single row."""


class WrongTypeError(BadRowError):
    """A cell of a row that is neither a text nor a conversation."""


def read_messages(value: Any, column: str) -> list[Message]:
    """Return a cell's messages, one message or a sequence of them; raises BadRowError, naming the column."""
    if isinstance(value, Mapping):
        return [read_message(value, column)]
    messages = [read_message(message, column) for message in value]
    if all(is_blank(message) for message in messages):
        raise BadRowError(f"column '{column}' is empty")
    return messages


def read_message(message: Any, column: str) -> Message:
    """Return a message with role and content, from these keys or from ShareGPT's `from` and `value`.

    Keys without a value are left out. Raises BadRowError, naming the column, for everything that is no message.
    """
    if not isinstance(message, Mapping):
        raise WrongTypeError(f"column '{column}': a message is needed, with role and content, got {short(message)}")
    given = {str(key): value for key, value in message.items() if value is not None}
    if given.get("tool_calls") in ("", [], ()):  # a column of Arrow has an empty list where a message has no calls
        del given["tool_calls"]
    if "role" not in given and isinstance(given.get("from"), str):
        given = _from_sharegpt(given, column)
    role, content = given.get("role"), given.get("content")
    if not isinstance(role, str):
        raise WrongTypeError(f"column '{column}': a message's role must be a text, got {short(role)}")
    given["role"] = _SPEAKERS.get(role.lower(), role)
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        given["content"] = [_part(part, column) for part in content]
    elif not isinstance(content, str) and not (content is None and speaks_otherwise(given)):
        raise WrongTypeError(f"column '{column}': a message's content must be a text, got {short(content)}")
    if "tool_calls" in given:
        given["tool_calls"] = _calls(given["tool_calls"], column)
    for text in _strings(given):
        encodable(text, column)
    return given


def _from_sharegpt(message: Message, column: str) -> Message:
    """Return a message with `from` and `value` as one with `role` and `content`; a function call as `tool_calls`."""
    speaker, value = message["from"], message.get("value")
    rest = {key: item for key, item in message.items() if key not in ("from", "value")}
    role = _FROM.get(speaker.lower(), speaker)
    if speaker.lower() != "function_call":
        return {"role": role, "content": value, **rest}
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        calls = None
    calls = calls if isinstance(calls, list) else [calls]
    if not calls or not all(isinstance(call, Mapping) and isinstance(call.get("name"), str) for call in calls):
        raise BadRowError(f"column '{column}': a function call must be JSON with a name, got {short(value)}")
    return {"role": role, "tool_calls": [{"type": "function", "function": dict(call)} for call in calls], **rest}


def _part(part: Any, column: str) -> dict[str, Any]:
    """Return a typed part of a content; raises BadRowError unless it is a text."""
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return {key: value for key, value in part.items() if value is not None}
    if isinstance(part, Mapping) and isinstance(part.get("type"), str):
        raise BadRowError(f"column '{column}': parts of a content must be of type text, got {short(part['type'])}")
    raise WrongTypeError(f"column '{column}': a part of a content needs a type and a text, got {short(part)}")


def _calls(calls: Any, column: str) -> list[dict[str, Any]]:
    """Return a message's tool calls from a list, or from JSON text of one, in which columns of Arrow keep them."""
    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except ValueError:
            raise BadRowError(f"column '{column}': tool_calls must be a list or JSON, got {short(calls)}") from None
    if not isinstance(calls, Sequence) or isinstance(calls, str | bytes) or not calls:
        raise WrongTypeError(f"column '{column}': tool_calls must be a list of calls, got {short(calls)}")
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise WrongTypeError(f"column '{column}': a tool call needs a function with a name, got {short(call)}")
    return [dict(call) for call in calls]


def read_tools(value: Any, column: str, *, wrap: bool = False) -> tuple[dict[str, Any], ...]:
    """Return the tools of a row: a list of JSON schemas, or JSON text of the list or of each; none for an empty cell.

    wrap  bring bare functions (ShareGPT's) into the form {"type": "function", "function": ...} of chat templates
    """
    if value is None or is_nan(value) or (isinstance(value, str) and not value.strip()):
        return ()
    try:
        value = json.loads(value) if isinstance(value, str) else value
        if isinstance(value, list | tuple):
            value = [json.loads(tool) if isinstance(tool, str) else tool for tool in value]
    except ValueError:
        raise BadRowError(f"column '{column}' must hold tools as a list or as JSON, got {short(value)}") from None
    if value is None or value == []:
        return ()
    if not isinstance(value, Sequence) or not all(isinstance(tool, Mapping) for tool in value):
        raise WrongTypeError(f"column '{column}' must hold a list of tools, got {short(value)}")
    bare = (wrap and "function" not in tool and "name" in tool for tool in value)
    return tuple(
        {"type": "function", "function": dict(tool)} if alone else dict(tool)
        for alone, tool in zip(bare, value, strict=True)
    )


def is_nan(value: Any) -> bool:
    """Return whether a cell is NaN, which pandas has for an absent value."""
    return isinstance(value, float) and math.isnan(value)


def encodable(text: str, column: str) -> str:
    """Return a text; raises BadRowError for half a surrogate pair, which JSON can spell and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRowError(f"column '{column}' is not valid Unicode at character {error.start}") from None
    return text


def _strings(value: Any) -> Iterator[str]:
    """Yield all texts in nested lists and dicts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _strings(item)


def short(value: Any) -> str:
    """Return a value's type and the beginning of its text, for error messages."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


# Contents.


def text_of(message: Message) -> str:
    """Return a message's content as one text: "" without one, typed parts joined."""
    content = message.get("content")
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part["text"] for part in content)


def thought_of(message: Message) -> str:
    """Return a message's reasoning, "" without one."""
    return next((str(message[key]) for key in REASONING if message.get(key)), "")


def is_untrained(message: Message) -> bool:
    """Return whether a message is marked as not to be trained: OpenAI's and Mistral's weight 0, others' train false."""
    weight = message.get("weight")
    unweighted = isinstance(weight, int | float) and not isinstance(weight, bool) and weight == 0
    return unweighted or any(message.get(key) is False for key in ("weight", "train", "training", "loss"))


def speaks_otherwise(message: Message) -> bool:
    """Return whether a message has tool calls or a thought, so that it needs no content."""
    return bool(message.get("tool_calls")) or bool(thought_of(message).strip())


def written(message: Message) -> str:
    """Return a message's text, with its tool calls as JSON, for people and for judges."""
    calls = [json.dumps(call.get("function", call), ensure_ascii=False) for call in message.get("tool_calls") or ()]
    return "\n".join(part for part in (text_of(message).strip(), *calls) if part)


def is_blank(message: Message) -> bool:
    """Return whether a message has neither a text nor calls nor a thought."""
    return not text_of(message).strip() and not speaks_otherwise(message)


def as_messages(text: Text, role: str) -> list[Message]:
    """Return a conversation unchanged, and a string as one message of `role`."""
    return [{"role": role, "content": text}] if isinstance(text, str) else text


# Dialogues written as one string.


def is_dialogue(text: Text) -> TypeGuard[str]:
    r"""Return whether a prompt is a dialogue of Human and Assistant in one string, as hh-rlhf's.

    Without the two line ends before its first "Human:", as after `str.strip`, it must end in "\n\nAssistant:".
    """
    if not isinstance(text, str) or text.startswith(HUMAN):
        return isinstance(text, str)
    return text.lstrip().startswith(HUMAN.strip()) and text.rstrip().endswith(ASSISTANT)


def parse_prompt(prompt: str) -> list[Message]:
    r"""Return the turns of a dialogue's prompt, "\n\nHuman: ...\n\nAssistant: ...\n\nHuman: ...\n\nAssistant:".

    Texts lose the white space around them, and turns of one speaker are joined. "\n\nAssistant:" at the end, where the
    response begins, may be absent.
    """
    turns = _turns(prompt if prompt.startswith(HUMAN) else f"\n\n{prompt.lstrip()}")
    if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        turns.pop()
    return turns


def parse_response(prompt: str, response: str) -> list[Message]:
    """Return the turns of the text that follows a dialogue's prompt.

    The text may begin with "Assistant:" if the prompt does not end with it.
    """
    if not prompt.rstrip().endswith(ASSISTANT):
        response = response.lstrip().removeprefix(ASSISTANT.strip())
    return _turns(f"{ASSISTANT} {response}")


def _turns(text: str) -> list[Message]:
    pieces = _TURN.split(text)[1:]
    turns: list[Message] = []
    for speaker, said in zip(pieces[::2], pieces[1::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = f"{turns[-1]['content']}\n\n{said.strip()}".strip()
        else:
            turns.append({"role": role, "content": said.strip()})
    return turns
