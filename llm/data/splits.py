"""Training and held-out rows of a configuration: no prompt is on both sides, also across the data sets."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.config import TrainConfig
from llm.data.formats import load
from llm.data.objective_settings import ObjectiveSettings
from llm.data.rows import Dataset
from llm.data.templates import TemplateOptions
from llm.data.token_cache import cached_tokens
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.data.unpaired import balance_note, with_mismatches
from llm.skill import rows as skill
from toyopt import _check


@dataclass(frozen=True)
class Datasets:
    """Training and held-out rows of all objectives, by the names of their sets.

    held_out  lacks the sets of which nothing is held out
    notes     one line for each kind of rows that were truncated, dropped or removed
    """

    train: Mapping[str, TokenizedDataset]
    held_out: Mapping[str, TokenizedDataset]
    notes: tuple[str, ...] = ()

    @property
    def for_layout(self) -> list[TokenizedDataset]:
        """The sets on whose rows the forward path is selected: those of two responses, if any, training rows first."""
        sets = [*self.train.values(), *self.held_out.values()]
        return [tokens for tokens in sets if tokens.kind != "sft"] or sets

    @property
    def shown(self) -> dict[str, TokenizedDataset]:
        """All sets by name; a held-out set's is that of the set with `_held_out`."""
        return {**self.train, **{f"{name}_held_out": tokens for name, tokens in self.held_out.items()}}

    @property
    def digests(self) -> dict[str, str]:
        """First 16 hex digits of each set's digest, by name."""
        return {name: tokens.digest[:16] for name, tokens in self.shown.items()}


def load_datasets(config: TrainConfig, tokenizer: Any, given: Mapping[str, Any], *, encoder: bool = False) -> Datasets:
    """Return the sets that a configuration names, or those `given` in memory; errors name the set.

    given    name of a set -> rows in memory
    encoder  the model is an encoder-decoder one
    """
    notes: list[str] = []
    train, held = {}, {}
    for own in config.sft_first:
        reading = _Reading(config, own, tokenizer, notes, encoder=encoder)
        tokens = reading.tokens(_given(given, own.set_name, own.source))
        train[own.set_name], rows = reading.split(tokens, _held_out_source(config, own, given))
        if rows is not None:
            held[own.set_name] = rows
    if not config.eval_on_train:
        train = _without_others(train, held, notes)
    for own in config.sft_first:
        if own.loss is not None and own.loss.unpaired:
            numbers = own.loss.numbers()
            balance = balance_note(train[own.set_name], numbers["desirable_weight"], numbers["undesirable_weight"])
            notes += [f"{own.set_name}: {balance}"] if balance else []
            train[own.set_name] = _mismatched(train[own.set_name], own.set_name, config)
            if own.set_name in held:
                held[own.set_name] = _mismatched(held[own.set_name], f"{own.set_name} (held out)", config)
    return Datasets(train, held, tuple(notes))


def _mismatched(tokens: TokenizedDataset, name: str, config: TrainConfig) -> TokenizedDataset:
    """Return unpaired rows with mismatched responses; ValueError, which has the set's name, if there can be none."""
    try:
        return with_mismatches(tokens, config.max_length)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def load_held_out(
    config: TrainConfig, tokenizer: Any, set_name: str, source: Any, *, encoder: bool = False
) -> TokenizedDataset:
    """Return another set to evaluate on in place of a set's held-out rows, read and tokenized as configured."""
    own = next(o for o in config.objectives if o.set_name == set_name)
    tokens = _Reading(config, own, tokenizer, [], encoder=encoder).tokens(source, held_out=True)
    return _mismatched(tokens, f"{set_name} (held out)", config) if own.rows_kind == "unpaired" else tokens


def _given(given: Mapping[str, Any], name: str, source: Any) -> Any:
    """Return the rows given in memory, also if they are empty, else the configured source."""
    return source if given.get(name) is None else given[name]


def _held_out_source(config: TrainConfig, own: ObjectiveSettings, given: Mapping[str, Any]) -> Any:
    """Return the source of a set's held-out rows; "": a share of its training rows.

    A set that is made, the skill, has held-out rows of its own.
    """
    source = _given(given, own.set_name, own.source)
    held_out = _given(given, f"{own.set_name}_held_out", own.evaluation)
    none_named = isinstance(held_out, str) and not held_out
    if none_named and skill.seed_of(source) is not None and own.held_out and not config.eval_on_train:
        return source
    return held_out


@dataclass(frozen=True)
class _Reading:
    """How the rows of one objective are read and tokenized; `notes` takes the lines about them."""

    config: TrainConfig
    own: ObjectiveSettings
    tokenizer: Any
    notes: list[str]
    encoder: bool

    def split(self, tokens: TokenizedDataset, held_out: Any) -> tuple[TokenizedDataset, TokenizedDataset | None]:
        """Return training and held-out rows; None if nothing is held out."""
        name, share = self.own.set_name, self.own.held_out
        if not isinstance(held_out, str) or held_out:
            held = self.tokens(held_out, held_out=True)
            note = f"{name}: %d training rows left out, whose prompts are held out"
            return _apart(tokens, held, note, self.notes), held
        if share == 0.0:
            return tokens, None
        if self.config.eval_on_train:
            return tokens, tokens.select(np.arange(max(1, int(share * len(tokens)))))
        try:
            return hold_out(tokens, share, seed=self.config.seed)
        except ValueError as error:
            raise ValueError(f"{name}: {str(error).replace('share:', 'held_out:', 1)}") from error

    def tokens(self, source: Any, *, held_out: bool = False) -> TokenizedDataset:
        """Return the token ids of the rows of a source."""
        own, config = self.own, self.config
        name = f"{own.set_name} (held out)" if held_out else own.set_name
        reading = read_options(config, own)
        if held_out:
            reading |= {"split": _held_out_split(source), "limit": None}
        tokenizing = tokenize_options(config, own) | {"encoder": self.encoder}

        def compute() -> tuple[TokenizedDataset, list[str]]:
            rows = load(source, **reading)
            tokens = tokenize(rows, self.tokenizer, **tokenizing)
            return tokens, _notes(rows, tokens, config.max_length)

        options = {**reading, **tokenizing, "template": dataclasses.asdict(tokenizing["template"])}
        try:
            tokens, lines = cached_tokens(config.cache_folder, source, self.tokenizer, options, compute)
        except (ValueError, TypeError, FileNotFoundError) as error:
            if str(error).startswith(("eos:", "template", "max_length:", "sft_turns:")):  # not about this set
                raise
            raise type(error)(f"{name}: {error}") from error
        self.notes.extend(f"{name}: {line}" for line in lines)
        return tokens


def _apart(tokens: TokenizedDataset, held: TokenizedDataset, note: str, notes: list[str]) -> TokenizedDataset:
    """Return the rows whose prompts are not held out; ValueError if none is left."""
    rest = without(tokens, held)
    if len(rest) == 0:
        raise ValueError(note % len(tokens) + ", and nothing is left to train on; hold out other rows")
    if len(rest) < len(tokens):
        notes.append(note % (len(tokens) - len(rest)))
    return rest


def _without_others(
    train: Mapping[str, TokenizedDataset], held: Mapping[str, TokenizedDataset], notes: list[str]
) -> dict[str, TokenizedDataset]:
    """Return each set's training rows whose prompts no other set holds out; ValueError if none is left of a set.

    Each row is looked at once, however many sets there are.
    """
    holders: dict[str, list[str]] = {}  # names of the sets that hold a prompt out, by its key
    for other in train:
        for key in dict.fromkeys(held[other].keys if other in held else ()):
            holders.setdefault(key, []).append(other)
    rest = {}
    for name, tokens in train.items():
        first = [next((other for other in holders.get(key, ()) if other != name), None) for key in tokens.keys]
        counts, left = Counter(first), len(tokens)
        for other in (other for other in train if counts[other]):
            note = f"{name}: {counts[other]} training rows left out, whose prompts are held out of the {other} set"
            left -= counts[other]
            if not left:
                raise ValueError(f"{note}, and nothing is left to train on; hold out other rows")
            notes.append(note)
        rest[name] = tokens if left == len(tokens) else tokens.select([i for i, o in enumerate(first) if o is None])
    return rest


def _held_out_split(source: Any) -> str | None:
    """Return the split of a source that is evaluated on."""
    return skill.TEST if skill.seed_of(source) is not None else None


def _notes(rows: Dataset, tokens: TokenizedDataset, limit: int) -> list[str]:
    """Return one line for each kind of rows that were dropped or truncated, and each property of rows and ids."""
    count = len(rows.rows) + rows.dropped
    lines = list(rows.notes)
    if rows.dropped:
        lines.append(f"{rows.dropped} of {count} rows that cannot be used were dropped")
    if too_long := tokens.dropped - tokens.equal_pairs:
        lines.append(f"{too_long} of {count} rows longer than max_length {limit} were dropped")
    if tokens.equal_pairs:
        lines.append(f"{tokens.equal_pairs} of {count} pairs were dropped, as both responses have the same tokens")
    if tokens.cut_prompts or tokens.cut_responses:
        lines.append(
            f"to fit max_length {limit}, of {count} rows {tokens.cut_prompts} prompts lost their beginning and "
            f"{tokens.cut_responses} responses their end"
        )
    return [*lines, *tokens.notes]


def read_options(config: TrainConfig, own: ObjectiveSettings) -> dict[str, Any]:
    """Return the arguments of `load` that a configuration names for the training rows of an objective."""
    return {
        "kind": own.rows_kind,
        "split": own.split,
        "columns": own.columns,
        "format": own.format,
        "limit": own.rows,
        "ignore_input": config.ignore_input,
        "bad_rows": config.bad_rows,
        "naming": "columns.{}={}" if config.objective else f"--{own.kind}-columns {{}} {{}}",
    }


def tokenize_options(config: TrainConfig, own: ObjectiveSettings) -> dict[str, Any]:
    """Return the arguments of `tokenize` that a configuration names for the set of an objective."""
    return {
        "template": TemplateOptions.named(config.as_dict(), own.template),
        "max_length": config.max_length,
        "overflow": config.overflow,
        "eos": config.eos or None,
        "keep_prompt": config.keep_prompt,
        "turns": own.turns,
    }


def hold_out(tokens: TokenizedDataset, share: float, *, seed: int) -> tuple[TokenizedDataset, TokenizedDataset]:
    """Return (training, held out), about `share` of all rows held out; rows with equal prompts are on one side.

    Which prompts are held out depends on the prompts and the seed, not on the order of the rows. With share > 0 neither
    side is empty; ValueError if there is but one prompt, or unless 0 <= share < 1.
    """
    share = _check.real("share", share, low=0.0)
    seed = _check.whole("seed", seed, low=0)
    if share >= 1.0:
        raise ValueError(f"share: must be less than 1, got {share}")
    if share == 0.0:
        return tokens, tokens.select([])
    groups: dict[str, list[int]] = {}
    for i, key in enumerate(tokens.keys):
        groups.setdefault(key, []).append(i)
    if len(groups) < 2:
        raise ValueError(
            f"share: {share} cannot be held out of {len(tokens)} rows that have {len(groups)} different prompts; "
            "give a set with more of them, or hold out 0"
        )
    order = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    wanted, taken, held = share * len(tokens), 0, list[int]()
    for key in order:
        # To the nearest: a group goes in as long as the share is nearer with it than without.
        if taken < len(groups) - 1 and len(held) + len(groups[key]) / 2 <= wanted:
            held += groups[key]
            taken += 1
    if not held:
        held = groups[min(order, key=lambda key: len(groups[key]))]
    inside = set(held)
    return tokens.select([i for i in range(len(tokens)) if i not in inside]), tokens.select(sorted(held))


def without(tokens: TokenizedDataset, other: TokenizedDataset) -> TokenizedDataset:
    """Return the rows whose prompt does not occur in `other`; possibly none."""
    seen = set(other.keys)
    return tokens.select([i for i, key in enumerate(tokens.keys) if key not in seen])
