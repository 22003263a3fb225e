"""Rows to the texts of a prompt and its responses, by a chat template or a plain template."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

from llm.data.formats import Message, Row, as_messages

PLAIN = "User: {prompt}\nAssistant: "  # the paper's template, for tokenizers without one of their own
_SLOT = "{prompt}"
_ANSWER = "\u241f"  # an answer that begins like no generation prompt does


@dataclass(frozen=True)
class Template:
    """Template by which rows are written.

    kind       "chat": the tokenizer's chat template; "plain": a text; "none": strings exactly as they are
    tokenizer  used by "chat" alone
    plain      text with "{prompt}" in it
    """

    kind: Literal["chat", "plain", "none"]
    tokenizer: Any
    plain: str = PLAIN

    @classmethod
    def named(cls, tokenizer: Any, template: str) -> Template:
        """Return the template that the option value "auto", "none" or a text with "{prompt}" in it names."""
        if not isinstance(template, str):
            raise TypeError(f"template: a text is needed, got {template!r}")
        if template == "auto":
            return cls("chat" if getattr(tokenizer, "chat_template", None) else "plain", tokenizer)
        if template == "none":
            return cls("none", tokenizer)
        if _SLOT not in template:
            raise ValueError(f"template: must be 'auto', 'none' or a text with {_SLOT} in it, got {template!r}")
        return cls("plain", tokenizer, template)

    def render(self, row: Row, where: str) -> tuple[str, list[str]]:
        """Return the prompt's text, and each response's text, which follows the prompt immediately.

        where  name of the row in errors

        Raises ValueError for a conversation that the template cannot write. Messages with further keys, such as tool
        calls, would have to be passed to the chat template from here.
        """
        if self.kind == "chat":
            return self._chat(row, where)
        texts = (row.prompt, *row.responses)
        if all(isinstance(text, str) for text in texts):
            prompt, *responses = [text for text in texts if isinstance(text, str)]
            return (prompt if self.kind == "none" else self.plain.replace(_SLOT, prompt)), responses
        if self.kind == "none":
            raise ValueError(f"{where}: a conversation needs a template, and --template none has none")
        asked = as_messages(row.prompt, "user")
        prompt = self._flat(asked, where)
        wholes = [self._flat([*asked, *as_messages(response, "assistant")], where) for response in row.responses]
        return prompt, [whole[len(prompt) :].removesuffix("\n") for whole in wholes]

    def _flat(self, messages: Sequence[Message], where: str) -> str:
        parts, before = [], "system"
        for i, message in enumerate(messages):
            role, content = message["role"], message["content"]
            if role == "user" and before != "user":
                parts.append(self.plain.replace(_SLOT, content))
            elif (role == "assistant" and before == "user") or (role == "system" and i == 0):
                parts.append(content + "\n")
            else:
                roles = ", ".join(message["role"] for message in messages)
                raise ValueError(
                    f"{where}: a plain template needs user and assistant by turns, at most one system message before "
                    f"them, and has {roles}; use a tokenizer with a chat template"
                )
            before = role
        if before == "system":
            raise ValueError(f"{where}: the prompt has no user's message, which a plain template needs")
        return "".join(parts)

    def _chat(self, row: Row, where: str) -> tuple[str, list[str]]:
        asked = as_messages(row.prompt, "user")
        prompt = self._apply(asked, where, add_generation_prompt=True)
        # Some templates (DeepSeek-R1's) end the generation prompt in what a written answer need not have. The prompt
        # then ends where it parts from any answered conversation: the same place for all responses.
        answered = self._apply([*asked, {"role": "assistant", "content": _ANSWER}], where)
        shared_start = os.path.commonprefix([prompt, answered])  # noqa: RUF071 (by characters is what is wanted)
        wholes = [self._apply([*asked, *as_messages(response, "assistant")], where) for response in row.responses]
        rewritten = shared_start != prompt and not shared_start.startswith(self._apply(asked, where))
        if rewritten or not all(whole.startswith(shared_start) and len(whole) > len(shared_start) for whole in wholes):
            raise ValueError(
                f"{where}: the tokenizer's chat template writes the prompt otherwise once it is answered, so that the "
                f"response cannot be told from it; give a plain --template with {_SLOT} in it"
            )
        return shared_start, [whole[len(shared_start) :] for whole in wholes]

    def _apply(self, messages: Sequence[Message], where: str, *, add_generation_prompt: bool = False) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except (TemplateError, ValueError, TypeError, LookupError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{where}: the tokenizer's chat template cannot write this conversation: {reason}"
            ) from error
        return str(text)
