"""Small tables inside `Data.extra`, which holds arrays only: the columns of table PREFIX are named PREFIX_COLUMN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.seeds import columns

if TYPE_CHECKING:
    import pandas as pd


def pack(prefix: str, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns of a frame as arrays named PREFIX_COLUMN; no arrays for an empty frame."""
    return {f"{prefix}_{name}": values for name, values in columns(frame, list(frame)).items()} if len(frame) else {}


def unpack(arrays: Mapping[str, np.ndarray], prefix: str, **values: Any) -> dict[str, np.ndarray]:
    """Return the rows of one packed table whose columns have these values; {} if there is no such table."""
    table = {name.removeprefix(f"{prefix}_"): a for name, a in arrays.items() if name.startswith(f"{prefix}_")}
    return rows_with(table, **values) if table else {}


def rows_with(table: Mapping[str, np.ndarray], **values: Any) -> dict[str, np.ndarray]:
    """Return the rows of a table whose columns have these values."""
    keep = np.logical_and.reduce([table[name] == value for name, value in values.items()])
    return {name: column[keep] for name, column in table.items()} if values else dict(table)
