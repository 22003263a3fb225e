"""The options of one objective among any number: a table of a file, or texts of the command line.

A configuration keeps objectives as texts, `NAME=KIND:SOURCE` and then `FIELD=VALUE` for each field that is no default,
so that equal objectives have equal fingerprints. `llm.data.objective_settings` gives them the run's defaults.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from llm.common.arguments import (
    AT_LEAST_1,
    BELOW_1,
    NOT_NEGATIVE,
    SHARE,
    annotations_of,
    check_field,
    check_fields,
    normalize,
    reads_numbers,
    value_of_text,
)
from llm.options import DataOptions, Loss, LossOptions

Kind = Literal["sft", "preference"]
# Numbers of losses on pairs, which an objective may have of its own, with their annotations.
NUMBERS = {name: a for name, a in annotations_of(LossOptions).items() if reads_numbers(a)}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Options of the run that hold for the rows of all objectives.
RUN_OPTIONS = annotations_of(DataOptions).keys()
# Ends of names with which f_NAME, or the name of a held-out set, would be a key of another objective.
_TAKEN = ("_star", "_start", "_held_out")


@dataclass(frozen=True)
class ObjectiveTable:
    """One objective as it is written; an absent field takes the run's option for its kind.

    Raises ValueError or TypeError, naming the objective and the field, for a value that cannot be used.
    """

    name: str
    kind: Kind
    source: str
    weight: Annotated[float | None, SHARE] = None
    loss: Loss | None = None
    batch: Annotated[int | None, AT_LEAST_1] = None
    template: str = ""
    held_out: Annotated[float | None, BELOW_1] = None
    evaluation: str = ""
    f_star: Annotated[float | None, NOT_NEGATIVE] = None
    split: str = "train"
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    rows: Annotated[int, NOT_NEGATIVE] = 0
    turns: Literal["last", "all"] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"objective: a name is of lower-case letters, digits and _, after a letter, got {self.name!r}"
            )
        if self.name in FIELDS or self.name.endswith(_TAKEN):
            why = "is a field's name" if self.name in FIELDS else "would clash with a key of metrics.jsonl"
            raise ValueError(f"objective: {self.name} {why}; give the objective another name")
        try:
            normalize(self)
            check_fields(self)
            for name, value in self.numbers.items():
                check_field(name, value, NUMBERS[name])
            if not self.source:
                raise ValueError("source: is empty; give a hub name, a file, a folder, embedded, or skill")
            for name, given in (("loss", self.loss), *((n, n) for n in self.numbers)):
                if given is not None and self.kind == "sft":
                    raise ValueError(f"{name}: is for pairs; leave it out of an SFT set")
            if self.turns is not None and self.kind == "preference":
                raise ValueError("turns: is for SFT sets; leave it out")
        except (ValueError, TypeError) as error:
            raise type(error)(f"objective {self.name}: {error}") from error

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> ObjectiveTable:
        """Return the objective of a table of a file; ValueError for an absent or unknown field."""
        if not isinstance(table, Mapping):
            raise TypeError(f"objectives: each must be a table of name, kind, source and fields, got {table!r}")
        values = {str(key).replace("-", "_"): value for key, value in table.items()}
        shown = values.get("name", "")
        for name in ("name", "kind", "source"):
            if name not in values:
                raise ValueError(f"objective {shown}: has no {name}; its fields are {', '.join(FIELDS)}")
        for name in values.keys() - FIELDS.keys():
            raise ValueError(f"objective {shown}: {name} is no field{_meant(name)}")
        own = {name: value for name, value in values.items() if name not in NUMBERS}
        return cls(**own, numbers={name: value for name, value in values.items() if name in NUMBERS})

    def texts(self) -> list[str]:
        """Return the objective as texts of the command line, without the fields that are defaults."""
        texts = [f"{self.name}={self.kind}:{self.source}"]
        for f in fields(self)[3:]:
            value, default = getattr(self, f.name), f.default
            if f.name == "columns":
                texts += [f"columns.{ours}={theirs}" for ours, theirs in sorted(value.items())]
            elif f.name == "numbers":
                texts += [f"{name}={float(number)!r}" for name, number in sorted(value.items())]
            elif value != default:
                texts.append(f"{f.name}={value}")
        return texts


# Every field that a table may have, with its annotation.
FIELDS: dict[str, Any] = {n: a for n, a in annotations_of(ObjectiveTable).items() if n != "numbers"} | NUMBERS


def parse_objectives(given: Iterable[Any]) -> tuple[ObjectiveTable, ...]:
    """Return the objectives that texts or tables describe; raise ValueError or TypeError for anything else.

    texts  NAME=KIND:SOURCE begins an objective, FIELD=VALUE and columns.OURS=THEIRS belong to the one before
    """
    tables: list[Mapping[str, Any]] = []
    for item in given:
        if not isinstance(item, str):
            tables.append(item)
            continue
        name, equals, value = item.partition("=")
        known = name.replace("-", "_")
        if not equals:
            raise ValueError(f"objective: {item} is neither NAME=KIND:SOURCE nor FIELD=VALUE")
        if known in FIELDS or known.startswith("columns."):
            if known in ("name", "kind", "source"):
                raise ValueError(f"objective: {known} is a field's name, got {item}; give the objective another name")
            if not tables:
                raise ValueError(f"objective: {item} stands before any NAME=KIND:SOURCE, whose field it would be")
            tables[-1] = _with_field(tables[-1], known, value)
        else:
            tables.append(_begun(item, name, value))
    return tuple(map(ObjectiveTable.of, tables))


def _begun(item: str, name: str, value: str) -> dict[str, Any]:
    """Return the table that NAME=KIND:SOURCE begins."""
    kind, colon, source = value.partition(":")
    if not colon:
        raise ValueError(f"objective: {item} must be NAME=KIND:SOURCE, with the kind sft or preference{_meant(name)}")
    return {"name": name, "kind": kind, "source": source}


def _with_field(table: Mapping[str, Any], name: str, value: str) -> dict[str, Any]:
    """Return a table with one more field, read from its text; ValueError if it has the field already."""
    if name.startswith("columns."):
        columns = {**table.get("columns", {}), name.removeprefix("columns."): value}
        return {**table, "columns": columns}
    if name == "columns":
        raise ValueError(f"objective {table['name']}: columns are written columns.OURS=THEIRS, got columns={value}")
    if name in table:
        raise ValueError(f"objective {table['name']}: {name} is given twice, {table[name]} and {value}; leave one out")
    try:
        return {**table, name: value_of_text(name, value, FIELDS[name])}
    except ValueError as error:
        raise ValueError(f"objective {table['name']}: {error}") from error


def _meant(name: str) -> str:
    """Return the end of a message: the option or the field that a wrong name may stand for, else all fields."""
    if name in RUN_OPTIONS:
        return f"; {name} is an option of the run, for all objectives: --{name.replace('_', '-')}"
    close = difflib.get_close_matches(name, FIELDS, n=1)
    return f"; did you mean {close[0]}?" if close else f"; fields are {', '.join(FIELDS)}"


def canonical(given: Sequence[Any]) -> tuple[str, ...]:
    """Return objectives as texts that are equal for equal objectives; ValueError for equal names, or for only one."""
    if not isinstance(given, list | tuple):
        raise TypeError(f"objective: must be a list of texts or tables, got {given!r}")
    tables = parse_objectives(given)
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"objective: the name {name} is given {names.count(name)} times; names must differ")
    if len(tables) == 1:
        raise ValueError(f"objective: at least two are needed, got {names[0]} alone")
    return tuple(text for table in tables for text in table.texts())


def without_weights(objective: Sequence[str]) -> tuple[str, ...]:
    """Return objectives as texts without the weights and the given optima, on which no other computation depends."""
    tables = (replace(table, weight=None, f_star=None) for table in parse_objectives(objective))
    return tuple(text for table in tables for text in table.texts())


def with_weights(objective: Sequence[str], weights: Sequence[float]) -> tuple[str, ...]:
    """Return objectives as texts with other weights, one an objective; ValueError for another number of weights."""
    tables = parse_objectives(objective)
    if len(weights) != len(tables):
        names = ", ".join(table.name for table in tables)
        raise ValueError(f"weights: one for each of {names} is needed, got {', '.join(f'{w:g}' for w in weights)}")
    made = (replace(table, weight=float(weight)) for table, weight in zip(tables, weights, strict=True))
    return tuple(text for table in made for text in table.texts())
