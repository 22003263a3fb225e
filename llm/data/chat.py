"""Chat templates: conversations to text, in the forms that each template reads, on a fixed date."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from llm.data.messages import Message, text_of

MARK = "\u241f7"  # a text that no template writes by itself
# Directives of strftime that a template may ask for; the time of day is midnight.
_DIRECTIVES = [f"%{letter}" for letter in ("-d", "-m", "-H", "-I", "-M", *"aAbBcdDeFHIjmMpSTuUwWxXyYzZ")]
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a tokenizer, with arguments that hold for all rows.

    tokenizer  of transformers, with a chat template
    kwargs     arguments of the template; those of a row go before them
    date       the date, YYYY-MM-DD, that is written in place of today's; "": today's
    """

    tokenizer: Any
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    date: str = ""

    def source(self, tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return the template's text; some tokenizers have another template for rows with tools."""
        text = str(self.tokenizer.get_chat_template(None, list(tools) or None))
        return _on_date(self.date) + text if self.date and writes_date(text) else text

    @property
    def marks_responses(self) -> bool:
        """Whether the template marks the assistant's tokens by {% generation %}."""
        return has_generation_marks(self.source())

    def apply(
        self,
        messages: Sequence[Message],
        where: str,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Return what `apply_chat_template` gives for a conversation: its text, unless `options` ask for ids.

        where  name of the row in errors

        Raises ValueError, in one line, if the template cannot write the conversation.
        """
        given = {"tokenize": False, **self.kwargs, **(kwargs or {}), **options}
        given |= {"tools": [dict(tool) for tool in tools] or None, "chat_template": self.source(tools)}
        adapted = self.adapt(messages)
        try:
            try:
                return self.tokenizer.apply_chat_template(adapted, **given)
            except Exception:  # a template is foreign code, and may raise anything
                if all("content" in message for message in adapted):
                    raise
                # Some templates add a call to a content that a message with a call need not have.
                return self.tokenizer.apply_chat_template([{"content": "", **m} for m in adapted], **given)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{where}: the tokenizer's chat template cannot write this conversation: {reason}"
            ) from error

    def adapt(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages as the template reads them: contents as text or parts, arguments as a dict or JSON."""
        return [self._adapt(message) for message in messages]

    def _adapt(self, message: Message) -> Message:
        content = message.get("content")
        if isinstance(content, list) and not self.reads_parts:
            message = {**message, "content": text_of(message)}
        elif isinstance(content, str) and self.reads_only_parts:
            message = {**message, "content": [{"type": "text", "text": content}]}
        if message.get("tool_calls"):
            message = {**message, "tool_calls": [self._call(call) for call in message["tool_calls"]]}
        return message

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tool call with its arguments as a dict, or as JSON, whichever the template reads."""
        if "function" in call:
            return {**call, "function": self._call(call["function"])}
        arguments = call.get("arguments")
        if isinstance(arguments, str) and not self.reads_json_arguments:
            try:
                parsed = json.loads(arguments)
            except ValueError:
                parsed = arguments
            return {**call, "arguments": parsed if isinstance(parsed, dict) else arguments}
        if isinstance(arguments, dict) and not self.reads_dict_arguments and self.reads_json_arguments:
            return {**call, "arguments": json.dumps(arguments, ensure_ascii=False)}
        return dict(call)

    def answer(self, text: str) -> Message:
        """Return an assistant's message, its content as parts where the template reads nothing else."""
        return self._adapt({"role": "assistant", "content": text})

    @cached_property
    def reads_parts(self) -> bool:
        """Whether the template writes the texts of a content that is a list of typed parts."""
        text = self._probe({"role": "user", "content": [{"type": "text", "text": MARK}]})
        return MARK in text and "'type'" not in text and '"type"' not in text

    @cached_property
    def reads_only_parts(self) -> bool:
        """Whether the template writes typed parts and no content that is a text, as those of LLaVA and SmolVLM."""
        return self.reads_parts and MARK not in self._probe({"role": "user", "content": MARK})

    @cached_property
    def reads_json_arguments(self) -> bool:
        """Whether the template writes a call's arguments unchanged if they are JSON text."""
        arguments = json.dumps({"x": MARK}, ensure_ascii=False)
        return arguments in self._probe(*called(arguments))

    @cached_property
    def reads_dict_arguments(self) -> bool:
        """Whether the template writes a call's arguments if they are a dict."""
        return MARK in self._probe(*called({"x": MARK}))

    def _probe(self, *messages: Message) -> str:
        """Return the text of a conversation, "" if the template cannot write it."""
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tokenize=False, chat_template=self.source(), **self.kwargs
                )
            )
        except Exception:  # a template is foreign code, and may raise anything
            return ""


def called(arguments: Any) -> tuple[Message, Message]:
    """Return a question, and an answer that is a call with these arguments."""
    call = {"id": "call00000", "type": "function", "function": {"name": "name", "arguments": arguments}}
    return {"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}


def has_generation_marks(template: str) -> bool:
    """Return whether a template marks the assistant's tokens by {% generation %}."""
    return _GENERATION.search(template) is not None


def writes_date(template: Any) -> bool:
    """Return whether a chat template, or one of several, may write today's date."""
    sources = template.values() if isinstance(template, Mapping) else [template]
    return any("strftime_now" in str(source) for source in sources)


def _on_date(date: str) -> str:
    """Return the beginning of a template in which `strftime_now` gives a date, YYYY-MM-DD, and not today's."""
    day = parse_date(date)
    # A literal of JSON is one of jinja, and no value has a quote or a backslash in it.
    steps = "".join(f" | replace({json.dumps(d)}, {json.dumps(day.strftime(d))})" for d in _DIRECTIVES)
    return f"{{%- macro strftime_now(format) -%}}{{{{- format{steps} -}}}}{{%- endmacro %}}\n"


def today() -> str:
    """Return today's date, YYYY-MM-DD."""
    return datetime.date.today().isoformat()


def parse_date(date: str) -> datetime.datetime:
    """Return midnight of a date YYYY-MM-DD; ValueError for any other text."""
    try:
        return datetime.datetime.combine(datetime.date.fromisoformat(date), datetime.time())
    except ValueError:
        raise ValueError(f"template_date: must be a date YYYY-MM-DD, got {date!r}") from None
