"""Rows to the texts of a prompt and its responses, by a chat template or a plain template."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from llm.data.chat import ChatTemplate, parse_date, writes_date
from llm.data.lost_parts import missing_parts, unwritten, unwritten_roles
from llm.data.messages import Message, as_messages, text_of, thought_of
from llm.data.objective_options import parse_objectives
from llm.data.rows import Row, in_turns

PLAIN = "User: {prompt}\nAssistant: "  # the paper's template, for tokenizers without one of their own
_SLOT = "{prompt}"
_OVERLAP = 64  # characters of a generation prompt in which a response may begin
_ANSWER = "\u241f"  # an answer that begins like no generation prompt does
_WORDS = ("\u241f1", "\u241f2", "\u241f3")  # contents that no template writes by itself
_MARK = re.compile(r".*[<\[|].*", re.DOTALL)  # a mark of turns that is no word of a text


@dataclass(frozen=True)
class TemplateOptions:
    """The choice of a template.

    name    "auto": the tokenizer's chat template, else PLAIN; "none": strings exactly as they are; or a plain template
    kwargs  arguments of the chat template; those of a row go before them
    date    date, YYYY-MM-DD, for chat templates that write today's; "": today's
    """

    name: str = "auto"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    date: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any], kind: str) -> TemplateOptions:
        """Return the template that a run's options name for its first "sft" or "preference" set."""
        own = options.get(f"{kind}_template")
        if objectives := parse_objectives(options.get("objective") or ()):
            own = next((table for table in objectives if table.kind == kind), objectives[0]).template
        return cls.named(options, str(own or options.get("template") or "auto"))

    @classmethod
    def named(cls, options: Mapping[str, Any], name: str) -> TemplateOptions:
        """Return a template with the arguments and the date of a run's options."""
        return cls(name, parse_kwargs(str(options.get("template_kwargs") or "")), options.get("template_date", ""))


def needs_date(date: str, templates: Iterable[str], tokenizer: Any) -> bool:
    """Return whether token ids depend on today's date: a set's chat template may write it, and no option names one.

    date       option `template_date`
    templates  name of each set's template
    """
    if date or not writes_date(getattr(tokenizer, "chat_template", None) or ""):
        return False
    return "auto" in templates


def parse_kwargs(text: str) -> dict[str, Any]:
    """Return the arguments of a chat template from JSON text; ValueError unless it is an object, or empty."""
    try:
        values = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ValueError(f"template_kwargs: must be a JSON object, got {text!r}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"template_kwargs: must be a JSON object, got {text!r}")
    return values


TEMPLATED = "template twice"


@dataclass(frozen=True)
class Rendered:
    """The texts of a row.

    prompt  text of the prompt, as generation gets it
    wholes  text of the prompt with each response; each begins with `prompt`
    lost    parts that the template leaves out: of the responses "text", "thought", "calls"; "tools" of the row; of the
            prompt "earlier calls", and "messages of role ROLE"; and TEMPLATED for a prompt that is a text with the
            template's own mark of a user's turn in it
    """

    prompt: str
    wholes: tuple[str, ...]
    lost: frozenset[str] = frozenset()

    @property
    def responses(self) -> list[str]:
        """Text of each response, which follows the prompt immediately."""
        return [whole[len(self.prompt) :] for whole in self.wholes]


@dataclass(frozen=True)
class Template:
    """Template by which rows are written.

    kind       "chat": the tokenizer's chat template; "plain": a text; "none": strings exactly as they are
    tokenizer  used by "chat" alone
    plain      text with "{prompt}" in it
    options    arguments and date of "chat"
    """

    kind: Literal["chat", "plain", "none"]
    tokenizer: Any
    plain: str = PLAIN
    options: TemplateOptions = field(default_factory=TemplateOptions)

    @classmethod
    def named(cls, tokenizer: Any, template: str | TemplateOptions) -> Template:
        """Return the template of an option value: "auto", "none", a text with "{prompt}" in it, or all options."""
        options = template if isinstance(template, TemplateOptions) else TemplateOptions(template)
        if not isinstance(options.name, str):
            raise TypeError(f"template: a text is needed, got {options.name!r}")
        if options.date:
            parse_date(options.date)
        if options.name == "auto":
            kind: Literal["chat", "plain"] = "chat" if getattr(tokenizer, "chat_template", None) else "plain"
            return cls(kind, tokenizer, options=options)
        if options.name == "none":
            return cls("none", tokenizer)
        if _SLOT not in options.name:
            raise ValueError(f"template: must be 'auto', 'none' or a text with {_SLOT} in it, got {options.name!r}")
        return cls("plain", tokenizer, options.name)

    @cached_property
    def chat(self) -> ChatTemplate:
        """The tokenizer's chat template, for `kind` "chat"."""
        return ChatTemplate(self.tokenizer, self.options.kwargs, self.options.date)

    def render(self, row: Row, where: str) -> Rendered:
        """Return the texts of a row; `where` names it in errors.

        Raises ValueError for a conversation that the template cannot write, or of whose response it writes nothing.
        """
        if self.kind == "chat":
            return self._chat(in_turns(row), where)
        if row.tools:
            raise ValueError(f"{where}: only a chat template can describe tools; use a tokenizer that has one")
        if self.kind == "plain":
            row = in_turns(row)
        prompt, responses = row.prompt, row.responses
        if isinstance(prompt, str):
            prompt = prompt if self.kind == "none" else self.plain.replace(_SLOT, prompt)
            return Rendered(prompt, tuple(prompt + str(response) for response in responses))
        if self.kind == "none":
            raise ValueError(f"{where}: a conversation needs a template, and --template none has none")
        lost = frozenset("thought" for r in responses for m in as_messages(r, "assistant") if thought_of(m))
        asked = self.flat(prompt, where)[0]
        wholes = [self.flat([*prompt, *as_messages(r, "assistant")], where)[0] for r in responses]
        return Rendered(asked, tuple(whole.removesuffix("\n") for whole in wholes), lost)

    def flat(self, messages: Sequence[Message], where: str) -> tuple[str, list[tuple[int, int]]]:
        """Return a conversation by the plain template, and where the assistant's texts begin and end in it."""
        text, before = "", "system"
        spans = []
        for i, message in enumerate(messages):
            role, content = message["role"], text_of(message)
            if message.get("tool_calls"):
                raise ValueError(f"{where}: only a chat template can write tool calls; use a tokenizer that has one")
            if role == "user" and before != "user":
                text += self.plain.replace(_SLOT, content)
            elif (role == "assistant" and before == "user") or (role == "system" and i == 0):
                if role == "assistant":
                    spans.append((len(text), len(text) + len(content)))
                text += content + "\n"
            else:
                roles = ", ".join(message["role"] for message in messages)
                raise ValueError(
                    f"{where}: a plain template needs user and assistant by turns, at most one system message before "
                    f"them, and has {roles}; use a tokenizer with a chat template"
                )
            before = role
        if before == "system":
            raise ValueError(f"{where}: the prompt has no user's message, which a plain template needs")
        return text, spans

    def _chat(self, row: Row, where: str) -> Rendered:
        given: dict[str, Any] = {"tools": row.tools, "kwargs": row.template_kwargs}
        asked = as_messages(row.prompt, "user")
        answers = [as_messages(response, "assistant") for response in row.responses]
        prompt = self.border(asked, where, **given)
        wholes = [str(self.chat.apply([*asked, *answer], where, **given)) for answer in answers]
        if not all(whole.startswith(prompt) and len(whole) > len(prompt) for whole in wholes):
            raise _rewritten(where)
        lost = unwritten(row, asked, prompt)
        for answer, whole in zip(answers, wholes, strict=True):
            missing = missing_parts(answer, whole[len(prompt) :], before=prompt[-_OVERLAP:])
            lost |= missing
            if missing and self._writes_nothing(asked, whole, prompt, where, given):
                raise ValueError(
                    f"{where}: the tokenizer's chat template writes nothing of the response's "
                    f"{' and '.join(sorted(missing))}; give it in the form that the template reads (some read contents "
                    f"as lists of typed parts, many no tool calls), or a plain --template with {_SLOT} in it"
                )
        if isinstance(row.prompt, str) and self.user_mark and self.user_mark in row.prompt:
            lost.add(TEMPLATED)
        return Rendered(prompt, tuple(wholes), frozenset(lost | unwritten_roles(asked, prompt, where)))

    @cached_property
    def user_mark(self) -> str:
        """The text that a chat template writes before each user's message, without BOS and EOS; "" if it has none."""
        first, answer, second = _WORDS
        asked = [{"role": "user", "content": first}, self.chat.answer(answer), {"role": "user", "content": second}]
        try:
            text = str(self.chat.apply(asked, "a conversation"))
        except ValueError:
            return ""
        before, between = text.partition(first)[0], text.partition(answer)[2].partition(second)[0]
        mark = os.path.commonprefix([before[::-1], between[::-1]])[::-1].strip()  # noqa: RUF071 (by characters)
        for token in (self.tokenizer.eos_token, self.tokenizer.bos_token):
            mark = mark.removeprefix(token or "").strip()
        return mark if _MARK.fullmatch(mark) else ""

    def border(self, asked: Sequence[Message], where: str, **given: Any) -> str:
        """Return the text of a prompt up to where the response begins, the same for all responses.

        given  tools and kwargs of the row
        """
        prompt = str(self.chat.apply(asked, where, **given, add_generation_prompt=True))
        # Some templates (DeepSeek-R1's) end the generation prompt in what a written answer need not have. The prompt
        # then ends where it parts from any answered conversation: the same place for all responses.
        answered = self._answered(asked, _ANSWER, where, given)
        shared_start = os.path.commonprefix([prompt, answered])  # noqa: RUF071 (by characters is what is wanted)
        if shared_start != prompt and not shared_start.startswith(str(self.chat.apply(asked, where, **given))):
            raise _rewritten(where)
        return shared_start

    def _answered(self, asked: Sequence[Message], answer: str, where: str, given: dict[str, Any]) -> str:
        return str(self.chat.apply([*asked, self.chat.answer(answer)], where, **given))

    def _writes_nothing(
        self, asked: Sequence[Message], whole: str, prompt: str, where: str, given: dict[str, Any]
    ) -> bool:
        """Return whether a whole text would be the same with another response, or has nothing but special tokens."""
        written = whole[len(prompt) :]
        for token in special_texts(self.tokenizer):
            written = written.replace(token, "")
        return not written.strip() or whole in (
            self._answered(asked, _ANSWER, where, given),
            self._answered(asked, "", where, given),
        )


def _rewritten(where: str) -> ValueError:
    return ValueError(
        f"{where}: the tokenizer's chat template writes the prompt otherwise once it is answered, so that the response "
        f"cannot be told from it; give --template-kwargs that ask for such responses (with or without thoughts), or a "
        f"plain --template with {_SLOT} in it"
    )


def special_texts(tokenizer: Any) -> tuple[str, ...]:
    """Return the texts of all special tokens of a tokenizer."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return tuple({*tokenizer.all_special_tokens, *added} - {""})
