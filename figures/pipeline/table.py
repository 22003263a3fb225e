"""The CSV beside each figure: full precision out, and back in for comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from figures.pipeline.cache import array


def to_csv(table: Mapping[str, np.ndarray]) -> bytes:
    """The table as CSV: a header, `\\n` line ends, floats as their shortest text that reads back the same."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(cells(column) for column in table.values()), strict=True))
    return buffer.getvalue().encode()


def cells(column: np.ndarray) -> list[str]:
    """Each entry as text: `repr` of a float, `true` and `false`, strings as they are."""
    column = array(column)
    if column.dtype.kind == "f":
        return [repr(value) for value in column.astype(float).tolist()]
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in column.tolist()]
    return [str(value) for value in column.tolist()]


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all as text. Raises OSError if it cannot be read, ValueError if it is no table."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.reader(file))
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if not rows:
        raise ValueError("it is empty")
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("its rows differ in length")
    return rows[0], rows[1:]
