"""The data specification of a toy problem (Tables 2 and 3) as a table, from the rows that build the problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from figures.artefact import Data, upper

if TYPE_CHECKING:
    from toyopt.examples import DataRow

RECONSTRUCTED = (
    "The numerals of this table were chosen to have every property that the text states; "
    "they are not the paper's printed numbers."
)


def specification(rows: Sequence[DataRow], bound: float) -> Data:
    """Return the rows as columns, and the check that no feature's norm exceeds `bound` (Assumption 3.2)."""
    features = np.array([row.feature for row in rows], dtype=float)
    table: dict[str, np.ndarray] = {
        "input": np.array([row.input for row in rows]),
        "output": np.array([row.output for row in rows]),
        "label": np.array([row.label for row in rows]),
        "role": np.array([row.role for row in rows]),
    }
    table |= {f"feature_{i + 1}": features[:, i] for i in range(features.shape[1])}
    largest = max(math.hypot(*row.feature) for row in rows)
    statement = "Assumption 3.2 holds with the stated Φ: the largest norm of a feature is at most Φ"
    return Data(
        table=table,
        facts={"dimension": features.shape[1], "largest_feature_norm": largest},
        checks=(upper("bounded", statement, bound, largest),),
    )
