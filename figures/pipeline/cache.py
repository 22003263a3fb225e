"""Data of artefacts on disk: the cache of computed data, the CSV beside each figure, and strict JSON.

Cached arrays are stored as they are; names, facts and checks as JSON in one more array of bytes. Nothing is pickled. An
entry that is damaged is reported as such and never used.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.artefact import Check, Data
from llm.common.cache import ContentCache

FOLDER = ".cache"
FILE = "data.npz"
KEPT = 8  # entries kept for each artefact, so that alternating between two scales recomputes nothing
NON_FINITE = 'numbers that are not finite are written as the strings "nan", "inf" and "-inf"'


@dataclass(frozen=True)
class Computed:
    """Data, and the JSON-able circumstances of their computation in `made`: seconds, time, versions, commit."""

    data: Data
    made: dict[str, Any]


def array(column: Any) -> np.ndarray:
    """Return a column as an array that can be stored: booleans, integers, floats or strings.

    Raises TypeError for other types, which would have to be pickled.
    """
    values = np.asarray(column)
    if values.dtype == object and all(isinstance(item, str) for item in values.flat):
        values = values.astype(str)
    if values.dtype.kind not in "biufU":
        raise TypeError(f"a column must hold booleans, integers, floats or strings, got dtype {values.dtype}")
    return values


def save(out: Path, name: str, key: str, computed: Computed) -> None:
    """Write the data of an artefact under their key.

    Raises OSError if the folder cannot be written, and TypeError for columns and facts that cannot be stored.
    """
    data = computed.data
    arrays = {f"table{i}": array(column) for i, column in enumerate(data.table.values())}
    arrays |= {f"extra{i}": array(values) for i, values in enumerate(data.extra.values())}
    arrays |= {f"beside{i}": array(values) for i, values in enumerate(data.beside.values())}
    header = {
        "table": list(data.table),
        "extra": list(data.extra),
        "beside": list(data.beside),
        "facts": [[fact, _number_out(value)] for fact, value in data.facts.items()],
        "checks": [
            {field: _number_out(value) for field, value in asdict(check).items() if value is not None}
            for check in data.checks
        ],
        "made": computed.made,
    }
    text = json.dumps(header, allow_nan=False).encode()

    def write(folder: Path) -> None:
        np.savez_compressed(folder / FILE, header=np.frombuffer(text, dtype=np.uint8), **arrays)  # type: ignore[arg-type]

    cache = ContentCache(out / FOLDER, name)
    cache.write(key, write)
    cache.prune(KEPT)


def read(out: Path, name: str, key: str, damaged: Callable[[str], None] = lambda _: None) -> Computed | None:
    """Return the data of a key; None if absent, or if damaged, in which case `damaged` is called with the reason."""
    return ContentCache(out / FOLDER, name).read(key, _load, damaged)


def _load(folder: Path) -> Computed:
    """Return the data in a cache entry. Raises ValueError for content of another form."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            data = Data(
                table={column: arrays[f"table{i}"] for i, column in enumerate(header["table"])},
                extra={column: arrays[f"extra{i}"] for i, column in enumerate(header["extra"])},
                beside={column: arrays[f"beside{i}"] for i, column in enumerate(header["beside"])},
                facts={fact: _number_in(value) for fact, value in header["facts"]},
                checks=tuple(
                    Check(**{field: _number_in(value) for field, value in check.items()}) for check in header["checks"]
                ),
            )
            return Computed(data, header["made"])
    except (LookupError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _number_out(value: Any) -> Any:
    """Return a fact as JSON from which the very same value is restored: floats in hexadecimal, NaN and infinity too."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, tuple):
        return [_number_out(item) for item in value]
    raise TypeError(f"a fact must be a number, a string or a boolean, got {type(value).__name__}")


def _number_in(value: Any) -> Any:
    """Return the value that `_number_out` wrote."""
    if isinstance(value, list):
        return tuple(_number_in(item) for item in value)
    return float.fromhex(value["float"]) if isinstance(value, dict) else value


def to_csv(table: Mapping[str, np.ndarray]) -> bytes:
    r"""Return a table as CSV: a header, `\n` line ends, floats as their shortest text that reads back the same."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(cells(column) for column in table.values()), strict=True))
    return buffer.getvalue().encode()


def cells(column: np.ndarray) -> list[str]:
    """Return each entry of a column as text: `repr` of a float, `true` and `false`, strings as they are."""
    column = array(column)
    if column.dtype.kind == "f":
        return [repr(value) for value in column.astype(float).tolist()]
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in column.tolist()]
    return [str(value) for value in column.tolist()]


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a CSV, all as text.

    Raises OSError if the file cannot be read, and ValueError if the file holds no table.
    """
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


def plain(value: Any) -> Any:
    """Return a value as strict JSON allows: NumPy scalars unwrapped, numbers that are not finite as strings.

    Raises TypeError for types without a JSON form.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r}")


def to_json(value: Any) -> str:
    """Return a value as strict JSON (no NaN literal), indented, with a newline at the end."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
