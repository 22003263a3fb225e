"""Parts of a conversation that a chat template leaves out: of a response, of a prompt, and of a row's tools."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llm.data.messages import Message, text_of, thought_of
from llm.data.rows import Row

_WORD = re.compile(r"\w+")


def unwritten(row: Row, asked: Sequence[Message], prompt: str) -> set[str]:
    """Return "tools" or "earlier calls" if a prompt's text lacks the names of the row's tools, or of its calls."""
    calls = [call for message in asked for call in message.get("tool_calls") or ()]
    names = {"tools": row.tools, "earlier calls": calls}
    return {part for part, items in names.items() if any(_function_name(item) not in prompt for item in items)}


def unwritten_roles(asked: Sequence[Message], prompt: str, where: str) -> set[str]:
    """Return "messages of role ROLE" for each role of a prompt's messages whose text a template leaves out.

    Templates change an assistant's earlier messages (thoughts) and escape results of tools, so that of the former
    nothing is compared, and of the latter single words. Raises ValueError if no word of the last message is written,
    unless it is a tool's.
    """
    squeezed = "".join(prompt.split())
    lost = set()
    for message in asked:
        text = text_of(message)
        if message["role"] == "assistant" or "".join(text.split()) in squeezed:
            continue
        words = set(_WORD.findall(text))
        none = bool(words) and not words & set(_WORD.findall(prompt))
        tool = message["role"] == "tool"
        if message is asked[-1] and none and not tool:
            raise ValueError(
                f"{where}: the tokenizer's chat template writes nothing of the prompt's last message, of role "
                f"{message['role']!r}; give it a role that the template reads, such as user, and its content in the "
                "form that the template reads (some read contents as lists of typed parts)"
            )
        if not tool or none:
            lost.add(f"messages of role {message['role']}")
    return lost


def _function_name(item: Mapping[str, Any]) -> str:
    """Return the name of the function of a tool or a call; "" for one without a name."""
    inner = item.get("function", item)
    return str(inner.get("name") or "") if isinstance(inner, Mapping) else ""


def missing_parts(answer: Sequence[Message], written: str, before: str = "") -> set[str]:
    """Return the parts of a response ("text", "thought", "calls") that are not in the written text.

    before  text before it, in which a part may begin: generation prompts can end in the beginning of a thought

    White space does not count, as templates differ in it.
    """
    squeezed, prompt = "".join(written.split()), "".join(before.split())
    missing = set()
    for message in answer:
        if message["role"] != "assistant":
            continue
        names = [call.get("function", call)["name"] for call in message.get("tool_calls") or ()]
        for part, texts in (("text", [text_of(message)]), ("thought", [thought_of(message)]), ("calls", names)):
            if not all(_is_written("".join(text.split()), squeezed, prompt) for text in texts):
                missing.add(part)
    return missing


def _is_written(text: str, written: str, before: str) -> bool:
    if text in written:
        return True
    overlaps = range(1, min(len(text), len(before)) + 1)
    return any(before.endswith(text[:n]) and written.startswith(text[n:]) for n in overlaps)
