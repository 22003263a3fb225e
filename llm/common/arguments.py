"""Options as dataclasses: ranges as annotations on the field, checks of values, and the command line through tyro."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

Values = dict[str, Any]


@dataclass(frozen=True)
class Range:
    """The numbers that an option may take, as metadata of its annotation: `Annotated[int, Range(low=1)]`.

    low, high            the ends; None where the range has none
    low_open, high_open  whether the end itself is excluded
    """

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether a number lies in the range; NaN lies in none."""
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below and not math.isnan(value)

    def __str__(self) -> str:
        low, high = (None if end is None else f"{end:g}" for end in (self.low, self.high))
        if low is not None and high is not None and not (self.low_open or self.high_open):
            return f"between {low} and {high}"
        parts = [] if low is None else [f"greater than {low}" if self.low_open else f"at least {low}"]
        parts += [] if high is None else [f"less than {high}" if self.high_open else f"at most {high}"]
        return " and ".join(parts)


POSITIVE = Range(low=0.0, low_open=True)
NOT_NEGATIVE = Range(low=0)
AT_LEAST_1 = Range(low=1)
SHARE = Range(low=0.0, high=1.0)
BELOW_1 = Range(low=0.0, high=1.0, high_open=True)
BELOW_HALF = Range(low=0.0, high=0.5, high_open=True)


@functools.cache
def annotations_of(kind: Any) -> dict[str, Any]:
    """Return the resolved annotations of a dataclass's fields, with their metadata, in the order of the fields."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def normalize(options: Any) -> None:
    """Replace whole numbers by floats and lists by tuples where a frozen dataclass's fields are of these types.

    Equal options then have equal fingerprints, however a value was written.
    """
    for name, annotation in annotations_of(options.__class__).items():
        value, kinds = getattr(options, name), _kinds(annotation)
        if float in kinds and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(options, name, float(value))
        elif tuple in kinds and isinstance(value, list):
            object.__setattr__(options, name, tuple(value))


def check_fields(options: Any) -> None:
    """Raise ValueError or TypeError, naming the option and its value, unless every field fits its annotation."""
    for name, annotation in annotations_of(options.__class__).items():
        check_field(name, getattr(options, name), annotation)


def check_options(options: Any) -> None:
    """Carry out `normalize` and `check_fields`: the check of options that take each value as it is written."""
    normalize(options)
    check_fields(options)


def check_field(name: str, value: Any, annotation: Any) -> None:
    """Raise ValueError or TypeError, naming the option and its value, unless a value fits an annotation."""
    check_type(name, value, annotation)
    for bounds in (m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Range)):
        if value is not None and value not in bounds:
            raise ValueError(f"{name}: must be {bounds}, got {value}")


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise ValueError or TypeError unless a value is of the annotated type; ranges are not checked."""
    plain = _plain(annotation)
    kinds = _kinds(annotation)
    if value is None and type(None) in kinds:
        return
    if Literal in kinds:
        parts = (plain, *get_args(plain))  # Literal["a", "b"], or Literal["a", "b"] | None
        choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
        if value not in choices:
            raise ValueError(f"{name}: must be one of {', '.join(map(str, choices))}, got {value}")
    elif bool in kinds:
        if not isinstance(value, bool):
            raise TypeError(f"{name}: must be true or false, got {value!r}")
    elif float in kinds:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name}: must be a number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name}: must be finite, got {value}")
    elif int in kinds:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: must be a whole number, got {value!r}")
    elif str in kinds:
        if not isinstance(value, str):
            raise TypeError(f"{name}: must be a text, got {value!r}")
    elif tuple in kinds:
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            raise TypeError(f"{name}: must be a list of texts, got {value!r}")
        items = get_args(get_args(plain)[0]) if get_origin(get_args(plain)[0]) is Literal else ()
        if items and any(item not in items for item in value):
            raise ValueError(f"{name}: each must be one of {', '.join(items)}, got {', '.join(value)}")
    elif dict in kinds and not (
        isinstance(value, dict) and all(isinstance(x, str) for pair in value.items() for x in pair)
    ):
        raise TypeError(f"{name}: must be names to names, got {value!r}")


def reads_numbers(annotation: Any) -> bool:
    """Return whether an option is a real number: YAML reads `5e-5` as a text, and `5.0e-5` as a number."""
    return float in _kinds(annotation)


def value_of_text(name: str, text: str, annotation: Any) -> Any:
    """Return the number that a text stands for, if the annotation is a number's, else the text; ValueError if none."""
    kinds = _kinds(annotation)
    if not {int, float} & set(kinds):
        return text
    try:
        return float(text) if float in kinds else int(text)
    except ValueError as error:
        wanted = "a number" if float in kinds else "a whole number"
        raise ValueError(f"{name}: must be {wanted}, got {text!r}") from error


def parse(kind: Any, argv: list[str], command: str, description: str, default: Values | None = None) -> Any:
    """Return the options of a command `python -m llm COMMAND`; the arguments are those of `parse_program`."""
    from llm.common.progress import calm

    options = parse_program(kind, argv, f"python -m llm {command}", description, default)
    calm()
    return options


def parse_program(
    kind: Any,
    argv: list[str],
    program: str,
    description: str | None = None,
    default: Values | None = None,
    markers: Sequence[Any] = (),
) -> Any:
    """Read a dataclass of options from the command line; tyro writes the help, and exits with 2 on unreadable input.

    program      name of the program in the help text
    description  first paragraph of the help text; None: the docstring of the dataclass
    default      option names to values, of which some may be out of range as long as the command line corrects them
    markers      tyro's markers for all options, such as `tyro.conf.FlagCreatePairsOff`

    The dataclass checks itself only when all values are collected: tyro would draw a box around its errors. Without
    arguments the defaults are the result, and tyro, which takes as long as a small model's first steps, is not called.
    """
    if default is not None and not argv:
        return kind(**default)
    import tyro

    unchecked = type(kind.__name__, (kind,), {"__post_init__": lambda _: None, "__doc__": kind.__doc__})
    more = {} if default is None else {"default": unchecked(**default)}
    collected = tyro.cli(unchecked, args=argv, prog=program, description=description, config=tuple(markers), **more)
    return kind(**{f.name: getattr(collected, f.name) for f in dataclasses.fields(kind)})


def take_option(argv: list[str], name: str) -> tuple[str, list[str]]:
    """Return the value of `name VALUE` or `name=VALUE` ("": absent), and the arguments without it.

    Raises ValueError if the value is missing.
    """
    rest: list[str] = []
    value, i = "", 0
    while i < len(argv):
        if argv[i] == name:
            if i + 1 == len(argv):
                raise ValueError(f"{name}: a value is missing")
            value, i = argv[i + 1], i + 2
        elif argv[i].startswith(name + "="):
            value, i = argv[i].partition("=")[2], i + 1
        else:
            rest.append(argv[i])
            i += 1
    return value, rest


def gather_option(argv: list[str], name: str) -> list[str]:
    """Return the arguments with all occurrences of a repeatable option `name VALUE ...` in one, at the end."""
    values: list[str] = []
    rest: list[str] = []
    inside = False
    for argument in argv:
        if argument == name or argument.startswith(name + "="):
            inside = True
            values += [argument.partition("=")[2]] if argument != name else []
        else:
            inside = inside and not argument.startswith("--")
            (values if inside else rest).append(argument)
    return [*rest, name, *values] if values or rest != argv else argv


def _plain(annotation: Any) -> Any:
    """Return an annotation without its metadata."""
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the types that an annotation allows, such as (float, NoneType) for `float | None`."""
    plain = _plain(annotation)
    parts = get_args(plain) if isinstance(plain, types.UnionType) or get_origin(plain) is typing.Union else (plain,)
    return tuple(get_origin(part) or part for part in map(_plain, parts))
