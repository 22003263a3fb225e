"""The objectives of a run with all their settings, from the short form for two or from any number of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm.data.objective_options import NUMBERS, Kind, ObjectiveTable, parse_objectives
from llm.data.rows import Kind as RowKind
from llm.losses import PREFERENCE_LOSSES, PreferenceLoss

if TYPE_CHECKING:
    from llm.config import TrainConfig

_EXACT = 1e-9  # sums of weights that are written with ten digits


@dataclass(frozen=True)
class ObjectiveSettings:
    """One objective of a run: its set, its loss and its weight.

    name        suffix of its keys in metrics.jsonl; `dpo` and `sft` in the short form
    set_name    name of its set in messages and in run.json; `preference` and `sft` in the short form
    loss        loss on pairs; None for an SFT set
    batch       rows a step
    template    as the option `template`
    held_out    share of its prompts that is held out, unless `evaluation` names a set
    rows        number of rows to use, from the first; None: all
    f_star      given optimum; None if there is none
    by_name     whether values are reported under `name`; else pairs' under the name of the loss, and f_DPO beside
    """

    name: str
    kind: Kind
    set_name: str
    source: str
    weight: float
    loss: PreferenceLoss | None
    batch: int
    template: str
    held_out: float
    evaluation: str
    split: str
    format: str
    columns: Mapping[str, str]
    rows: int | None
    turns: str
    f_star: float | None
    by_name: bool

    @property
    def is_pairs(self) -> bool:
        """Whether the set has preferences."""
        return self.kind == "preference"

    @property
    def rows_kind(self) -> RowKind:
        """The kind of the set's rows: that of the set, or unpaired if its loss is on single responses."""
        return "unpaired" if self.loss is not None and self.loss.unpaired else self.kind


def settings_of(config: TrainConfig) -> tuple[ObjectiveSettings, ...]:
    """Return the objectives of a configuration: DPO and SFT in the short form, else those of `objective` in order.

    Raises ValueError for weights that do not sum to 1, and numbers that an objective's loss does not read.
    """
    if not config.objective:
        return _of_two(config, "preference"), _of_two(config, "sft")
    tables = parse_objectives(config.objective)
    weights = shared_weights({table.name: table.weight for table in tables})
    return tuple(_of_table(config, table, weight) for table, weight in zip(tables, weights, strict=True))


def shared_weights(weights: Mapping[str, float | None]) -> tuple[float, ...]:
    """Return weights that sum to 1; objectives without a weight share the rest evenly.

    Raises ValueError, with weights that would do, if those given do not sum to 1, or leave nothing.
    """
    given = {name: weight for name, weight in weights.items() if weight is not None}
    total, absent = math.fsum(given.values()), len(weights) - len(given)
    if (abs(total - 1.0) > _EXACT and not absent) or total > 1.0 + _EXACT:
        right = {name: weight / total if total else 1.0 / len(given) for name, weight in given.items()}
        shown = ", ".join(f"weight={weight:.6g} for {name}" for name, weight in right.items())
        raise ValueError(f"objective: the weights sum to {total:g} and must sum to 1; use {shown}")
    rest = max(0.0, 1.0 - total) / absent if absent else 0.0
    return tuple(rest if weight is None else weight for weight in weights.values())


def loss_of(name: str, options: Mapping[str, Any], numbers: Mapping[str, float]) -> PreferenceLoss:
    """Return a loss on pairs with the numbers of a run's options, and `numbers` in place of some of them.

    Raises ValueError for a number of `numbers` that the loss does not read.
    """
    values = _Noted({**{key: options[key] for key in NUMBERS}, **numbers})
    loss = PREFERENCE_LOSSES[name].from_options(values)
    for number in numbers.keys() - values.read:
        raise ValueError(f"{number}: the loss {name} does not depend on it; leave it out, or give another loss")
    return loss


class _Noted:
    """Values as attributes, which notes the names of the values that are read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values: Mapping[str, Any] = values
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return self._values[name]


def _of_two(config: TrainConfig, kind: Kind) -> ObjectiveSettings:
    """Return the preference or the SFT objective of the short form."""
    pairs = kind == "preference"
    loss = config.loss if pairs else None
    unpaired = loss is not None and loss.unpaired  # f_DPO has no meaning on its rows
    return ObjectiveSettings(
        name=loss.name if loss is not None and unpaired else "dpo" if pairs else "sft",
        kind=kind,
        set_name=kind,
        source=getattr(config, kind),
        weight=config.lam if pairs else 1.0 - config.lam,
        loss=loss,
        batch=config.batch_preference if pairs else config.batch_sft,
        template=getattr(config, f"{kind}_template") or config.template or "auto",
        held_out=config.held_out,
        evaluation=getattr(config, f"{kind}_held_out"),
        split=getattr(config, f"{kind}_split"),
        format=getattr(config, f"{kind}_format"),
        columns=getattr(config, f"{kind}_columns"),
        rows=getattr(config, f"{kind}_rows") or None,
        turns=config.sft_turns,
        f_star=None if unpaired else config.f_dpo_star if pairs else config.f_sft_star,
        by_name=unpaired,
    )


def _of_table(config: TrainConfig, table: ObjectiveTable, weight: float) -> ObjectiveSettings:
    """Return an objective with the run's options where its table has no field."""
    pairs = table.kind == "preference"
    try:
        options = {name: getattr(config, name) for name in NUMBERS}
        loss = loss_of(table.loss or config.preference_loss, options, table.numbers) if pairs else None
    except ValueError as error:
        raise ValueError(f"objective {table.name}: {error}") from error
    return ObjectiveSettings(
        name=table.name,
        kind=table.kind,
        set_name=table.name,
        source=table.source,
        weight=weight,
        loss=loss,
        batch=table.batch or (config.batch_preference if pairs else config.batch_sft),
        template=table.template or config.template or "auto",
        held_out=config.held_out if table.held_out is None else table.held_out,
        evaluation=table.evaluation,
        split=table.split,
        format=table.format,
        columns=table.columns,
        rows=table.rows or None,
        turns=table.turns or config.sft_turns,
        f_star=table.f_star,
        by_name=True,
    )


def reference_source(config: TrainConfig) -> ObjectiveSettings | None:
    """Return the objective on whose set the reference is trained; None for a reference that is there.

    Raises ValueError if several sets could be meant.
    """
    kinds: dict[str, Kind] = {"chosen": "preference", "sft": "sft"}
    kind = kinds.get(config.reference_kind)
    return None if kind is None else only(config.objectives, kind, f"reference: {config.reference}")


def only(objectives: Sequence[ObjectiveSettings], kind: Kind, purpose: str) -> ObjectiveSettings:
    """Return the one objective of a kind; ValueError, naming the purpose, if there is none or are several."""
    own = [o for o in objectives if o.kind == kind]
    if len(own) != 1:
        raise ValueError(f"{purpose} needs one {kind} set, and there are {len(own)}")
    return own[0]
