"""Token ids of training beside those of `apply_chat_template` and of the tokenizer, and beside those of generation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llm.data.chat import writes_date
from llm.data.formats import load
from llm.data.messages import as_messages, text_of
from llm.data.rows import Dataset, Row, in_turns
from llm.data.splits import read_options, tokenize_options
from llm.data.stops import stop_ids
from llm.data.templates import PLAIN, Template, TemplateOptions
from llm.data.tokenization import tokenize, tokenize_prompts
from llm.evaluation.conformance.finding import Finding, stated

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.objective_settings import ObjectiveSettings

ROWS = 32  # rows of each set
NO_LIMIT = 1 << 30  # tokens: rows are compared as they are before truncation


def check_tokens(
    own: ObjectiveSettings, source: Any, tokenizer: Any, config: TrainConfig, *, encoder: bool
) -> list[Finding]:
    """Return findings on the token ids of the first rows of an objective's set.

    source   a name, or rows in memory, as `llm.data.formats.load` takes them
    encoder  the model is an encoder-decoder one
    """
    rows = load(source, **{**read_options(config, own), "limit": ROWS, "bad_rows": "drop"})
    options = TemplateOptions.named(config.as_dict(), own.template)
    oracle = Oracle(tokenizer, options, encoder)
    settings: dict[str, Any] = {**tokenize_options(config, own), "max_length": NO_LIMIT, "turns": "last"}
    ends = stop_ids(tokenizer, options, config.eos or None)
    counts: dict[str, list[int]] = {claim: [] for claim in CLAIMS}
    compared = joined = 0
    for i, row in enumerate(rows.rows):
        tokens = tokenize(
            Dataset(own.rows_kind, (row,), rows.format, rows.origin), tokenizer, **settings, encoder=encoder
        )
        prompt = tokens.prompts[0].tolist()
        given = tokenize_prompts([row], tokenizer, template=options, encoder=encoder)[0].tolist()
        counts["a prompt's ids are those that generation is given"] += [i] * (given != prompt)
        if not oracle.writes(row):
            continue
        compared += 1
        counts["a prompt's ids are the template's"] += [i] * (not oracle.has_prompt(row, prompt))
        for j, ids in enumerate(tokens.responses[0]):
            response = ids.tolist()
            verdict = True if encoder else oracle.has_whole(row, j, prompt, response, ends[0])
            joined += verdict is None
            counts["prompt and response have the ids of the whole text"] += [i] * (verdict is False)
            counts["a response's text is among the trained tokens"] += [i] * (not oracle.has_text(row, j, response))
            counts["a response ends where generation stops"] += [i] * (not is_ended(response, ends, tokenizer))
    note = f"{compared} of {len(rows.rows)} rows" + (f", {joined} with a token across the border" if joined else "")
    if compared:
        return [_finding(own.set_name, claim, wrong, note) for claim, wrong in counts.items()]
    given_claim, *others = counts
    none = f"transformers writes none of the {len(rows.rows)} rows by itself"
    return [
        _finding(own.set_name, given_claim, counts[given_claim], f"{len(rows.rows)} rows"),
        *(stated(f"tokens, {own.set_name}", claim, None, none) for claim in others),
    ]


def is_ended(response: Sequence[int], ends: Sequence[int], tokenizer: Any) -> bool:
    """Return whether a response ends in one of the ids `ends`, but for white space, which templates write after it."""
    last = max((j for j, token in enumerate(response) if token in ends), default=None)
    return last is not None and not tokenizer.decode(response[last + 1 :]).strip()


CLAIMS = (
    "a prompt's ids are those that generation is given",
    "a prompt's ids are the template's",
    "prompt and response have the ids of the whole text",
    "a response's text is among the trained tokens",
    "a response ends where generation stops",
)


def _finding(set_name: str, claim: str, wrong: Sequence[int], note: str) -> Finding:
    """Return the finding on a claim, with the rows of which it does not hold."""
    rows = sorted(set(wrong))
    shown = f"not of {len(rows)} rows, the first is row {rows[0]}" if rows else note
    return stated(f"tokens, {set_name}", claim, not rows, shown)


@dataclasses.dataclass(frozen=True)
class Oracle:
    """The token ids that transformers gives for a row, by `apply_chat_template` or by the tokenizer alone.

    encoder  prompts are for an encoder, and are compared without responses
    """

    tokenizer: Any
    options: TemplateOptions
    encoder: bool

    @property
    def kind(self) -> str:
        """The kind of template: chat, plain, or none."""
        return Template.named(self.tokenizer, self.options).kind

    def writes(self, row: Row) -> bool:
        """Return whether transformers writes a row by itself: in the row's own form, and on any day alike."""
        if self.kind != "chat":
            return isinstance(in_turns(row).prompt, str)
        if writes_date(self.tokenizer.chat_template):
            return False
        try:
            self._chat(row, 0)
            text = self.tokenizer.decode(self._chat(row, None))
        except Exception:  # a template is foreign code, and may raise anything
            return False
        last = as_messages(in_turns(row).prompt, "user")[-1]
        # Templates that read typed parts only write nothing of a content that is a text.
        return last["role"] != "user" or "".join(text_of(last).split()) in "".join(text.split())

    def has_prompt(self, row: Row, prompt: list[int]) -> bool:
        """Return whether a prompt's ids are transformers' own, or begin these: templates may open a thought."""
        if self.kind == "chat":
            own = self._chat(row, None)
            return own[: len(prompt)] == prompt
        own = self._encoded(self._prompt(row))
        return own == prompt or (not self.encoder and own[: len(prompt)] == prompt)

    def has_whole(self, row: Row, j: int, prompt: list[int], response: list[int], end: int) -> bool | None:
        """Return whether the ids are those of the whole text, its end apart; None: the same text in other tokens."""
        ids = [*prompt, *response]
        own = self._chat(row, j) if self.kind == "chat" else self._encoded(self._prompt(row) + str(row.responses[j]))
        if own[: len(ids)] == ids or own == ids[:-1] or (own[-1:] == [end] and own[:-1] == ids[:-1]):
            return True
        ours, theirs = (self.tokenizer.decode(x, skip_special_tokens=True).strip() for x in (ids, own))
        return None if ours == theirs else False

    def has_text(self, row: Row, j: int, response: list[int]) -> bool:
        """Return whether the decoded ids contain the text of a response, white space apart."""
        messages = as_messages(in_turns(row).responses[j], "assistant")
        decoded = self._decoded(response)
        return all(self._decoded(self._bare(text_of(message))) in decoded for message in messages)

    def _decoded(self, ids: list[int]) -> str:
        return "".join(self.tokenizer.decode(ids).split())

    def _bare(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text.strip(), add_special_tokens=False).input_ids if text.strip() else []
        return ids

    def _prompt(self, row: Row) -> str:
        prompt = str(row.prompt)
        plain = PLAIN if self.options.name == "auto" else self.options.name
        return prompt if self.kind == "none" else plain.replace("{prompt}", prompt)

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, verbose=False).input_ids
        return ids

    def _chat(self, row: Row, j: int | None) -> list[int]:
        """Return the ids of a conversation: with response j, or (None) with the generation prompt."""
        row = in_turns(row)
        messages = as_messages(row.prompt, "user")
        if j is not None:
            messages = [*messages, *as_messages(row.responses[j], "assistant")]
        ids: list[int] = self.tokenizer.apply_chat_template(
            messages,
            tools=[dict(tool) for tool in row.tools] or None,
            tokenize=True,
            return_dict=False,
            add_generation_prompt=j is None,
            **{**self.options.kwargs, **row.template_kwargs},
        )
        return list(ids)
