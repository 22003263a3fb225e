"""Training and held-out rows of a configuration: no prompt is on both sides, also across the two data sets."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.config import TrainConfig
from llm.data.formats import load
from llm.data.rows import Dataset
from llm.data.templates import TemplateOptions
from llm.data.token_cache import cached_tokens
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.skill import rows as skill
from toyopt import _check


@dataclass(frozen=True)
class Datasets:
    """Training and held-out rows of both kinds; a held-out set is None if nothing is held out.

    notes  one line for each kind of rows that were truncated, dropped or removed
    """

    sft: TokenizedDataset
    preference: TokenizedDataset
    sft_held_out: TokenizedDataset | None
    preference_held_out: TokenizedDataset | None
    notes: tuple[str, ...]

    @property
    def pairs(self) -> list[TokenizedDataset]:
        """The sets of pairs, training rows first."""
        return [t for t in (self.preference, self.preference_held_out) if t is not None]

    @property
    def digests(self) -> dict[str, str]:
        """First 16 hex digits of each set's digest, by name."""
        sets = {k: getattr(self, k) for k in ("sft", "preference", "sft_held_out", "preference_held_out")}
        return {k: v.digest[:16] for k, v in sets.items() if v is not None}


def load_datasets(config: TrainConfig, tokenizer: Any, given: dict[str, Any], *, encoder: bool = False) -> Datasets:
    """Return the sets that a configuration names, or those `given` in memory; errors name the set.

    given    name of a set -> rows in memory
    encoder  the model is an encoder-decoder one
    """
    notes: list[str] = []
    train, held = {}, {}
    for kind in ("sft", "preference"):
        tokens = _tokens(config, tokenizer, kind, _source(config, given, kind), notes, encoder=encoder)
        own = _held_out_source(config, given, kind)
        train[kind], held[kind] = _split(config, tokenizer, kind, tokens, own, notes, encoder=encoder)
    if not config.eval_on_train:
        for kind, other in (("sft", "preference"), ("preference", "sft")):
            note = f"{kind}: %d training rows left out, whose prompts are held out of the {other} set"
            train[kind] = _apart(train[kind], held[other], note, notes)
    return Datasets(train["sft"], train["preference"], held["sft"], held["preference"], tuple(notes))


def load_held_out(
    config: TrainConfig, tokenizer: Any, kind: str, source: Any, *, encoder: bool = False
) -> TokenizedDataset:
    """Return another set to evaluate on, read and tokenized as configured."""
    return _tokens(config, tokenizer, kind, source, [], held_out=True, encoder=encoder)


def _source(config: TrainConfig, given: dict[str, Any], name: str) -> Any:
    """Return the rows given in memory, also if they are empty, else the configured source."""
    return getattr(config, name) if given.get(name) is None else given[name]


def _held_out_source(config: TrainConfig, given: dict[str, Any], kind: str) -> Any:
    """Return the source of a set's held-out rows; "": a share of its training rows.

    A set that is made, the skill, has held-out rows of its own.
    """
    own, source = _source(config, given, f"{kind}_held_out"), _source(config, given, kind)
    none_named = isinstance(own, str) and not own
    if none_named and skill.seed_of(source) is not None and config.held_out and not config.eval_on_train:
        return source
    return own


def _split(
    config: TrainConfig,
    tokenizer: Any,
    kind: str,
    tokens: TokenizedDataset,
    own: Any,
    notes: list[str],
    *,
    encoder: bool,
) -> tuple[TokenizedDataset, TokenizedDataset | None]:
    if not isinstance(own, str) or own:
        held = _tokens(config, tokenizer, kind, own, notes, held_out=True, encoder=encoder)
        return _apart(tokens, held, f"{kind}: %d training rows left out, whose prompts are held out", notes), held
    if config.held_out == 0.0:
        return tokens, None
    if config.eval_on_train:
        return tokens, tokens.select(np.arange(max(1, int(config.held_out * len(tokens)))))
    try:
        return hold_out(tokens, config.held_out, seed=config.seed)
    except ValueError as error:
        raise ValueError(f"{kind}: {str(error).replace('share:', 'held_out:', 1)}") from error


def _apart(tokens: TokenizedDataset, held: TokenizedDataset | None, note: str, notes: list[str]) -> TokenizedDataset:
    """Return the rows whose prompts are not held out; ValueError if none is left."""
    rest = tokens if held is None else without(tokens, held)
    if len(rest) == 0:
        raise ValueError(note % len(tokens) + ", and nothing is left to train on; hold out other rows")
    if len(rest) < len(tokens):
        notes.append(note % (len(tokens) - len(rest)))
    return rest


def _tokens(
    config: TrainConfig,
    tokenizer: Any,
    kind: str,
    source: Any,
    notes: list[str],
    *,
    held_out: bool = False,
    encoder: bool,
) -> TokenizedDataset:
    name = f"{kind} (held out)" if held_out else kind
    reading: dict[str, Any] = {
        "kind": kind,
        "split": _held_out_split(source) if held_out else getattr(config, f"{kind}_split"),
        "columns": getattr(config, f"{kind}_columns"),
        "format": getattr(config, f"{kind}_format"),
        "limit": None if held_out else getattr(config, f"{kind}_rows") or None,
        "ignore_input": config.ignore_input,
        "bad_rows": config.bad_rows,
    }
    tokenizing = tokenize_options(config, kind) | {"encoder": encoder}

    def compute() -> tuple[TokenizedDataset, list[str]]:
        rows = load(source, **reading)
        tokens = tokenize(rows, tokenizer, **tokenizing)
        return tokens, _notes(rows, tokens, config.max_length)

    options = {**reading, **tokenizing, "template": dataclasses.asdict(tokenizing["template"])}
    try:
        tokens, lines = cached_tokens(config.cache_folder, source, tokenizer, options, compute)
    except (ValueError, TypeError, FileNotFoundError) as error:
        if str(error).startswith(("eos:", "template", "max_length:", "sft_turns:")):  # not about this set
            raise
        raise type(error)(f"{name}: {error}") from error
    notes.extend(f"{name}: {line}" for line in lines)
    return tokens


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


def tokenize_options(config: TrainConfig, kind: str) -> dict[str, Any]:
    """Return the arguments of `tokenize` that a configuration names for its "sft" or its "preference" set."""
    return {
        "template": TemplateOptions.of(config.as_dict(), kind),
        "max_length": config.max_length,
        "overflow": config.overflow,
        "eos": config.eos or None,
        "keep_prompt": config.keep_prompt,
        "turns": config.sft_turns,
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
