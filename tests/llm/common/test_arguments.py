"""Options as dataclasses: ranges, types, and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from llm.common.arguments import AT_LEAST_1, BELOW_1, POSITIVE, Range, check_fields, normalize, parse_program


@dataclass(frozen=True)
class Options:
    """Options of a test."""

    rows: Annotated[int, AT_LEAST_1] = 3
    """number of rows"""
    rate: Annotated[float | None, POSITIVE] = None
    """rate"""
    kind: Literal["a", "b"] | None = None
    """kind"""

    def __post_init__(self) -> None:
        normalize(self)
        check_fields(self)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        (AT_LEAST_1, (1, 7), (0, float("nan")), "at least 1"),
        (POSITIVE, (1e-300,), (0.0, -1.0), "greater than 0"),
        (BELOW_1, (0.0, 0.999), (1.0, -0.1), "at least 0 and less than 1"),
        (Range(0.0, 1.0), (0.0, 1.0), (1.1,), "between 0 and 1"),
    ],
)
def test_a_range_contains_its_numbers_and_names_itself(
    bounds: Range, inside: tuple[float, ...], outside: tuple[float, ...], words: str
) -> None:
    assert all(value in bounds for value in inside)
    assert not any(value in bounds for value in outside)
    assert str(bounds) == words


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"rows": 0}, ValueError, r"^rows: must be at least 1, got 0$"),
        ({"rows": True}, TypeError, r"^rows: must be a whole number, got True$"),
        ({"rows": None}, TypeError, r"^rows: must be a whole number, got None$"),
        ({"rate": -1.0}, ValueError, r"^rate: must be greater than 0, got -1.0$"),
        ({"rate": "fast"}, TypeError, r"^rate: must be a number, got 'fast'$"),
        ({"kind": "c"}, ValueError, r"^kind: must be one of a, b, got c$"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Options(**values)  # type: ignore[arg-type]


def test_options_that_may_be_left_out_may_be_none() -> None:
    assert Options(rate=None, kind=None) == Options()
    assert isinstance(Options(rate=2).rate, float)


def test_a_program_reads_its_options() -> None:
    read = parse_program(Options, "--rows 5 --kind b --rate 2".split(), "program.py")
    assert read == Options(rows=5, kind="b", rate=2.0)
    assert type(read) is Options


def test_the_command_line_may_correct_a_default_out_of_range() -> None:
    assert parse_program(Options, ["--rows", "2"], "program.py", default={"rows": 0}).rows == 2
    with pytest.raises(ValueError, match=r"^rows: must be at least 1, got 0$"):
        parse_program(Options, [], "program.py", default={"rows": 0})


def test_help_has_program_description_and_ranges_of_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse_program(Options, ["--help"], "program.py", "Count the rows.")
    assert error.value.code == 0
    text = capsys.readouterr().out
    assert all(words in text for words in ("program.py", "Count the rows.", "number of rows", "--kind"))
