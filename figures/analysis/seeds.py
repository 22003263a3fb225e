"""Results of finished runs as data frames, and means over seeds with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.methods import NAMES
from figures.analysis.multiple import CONFIDENCE
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with the ends of its confidence interval, which are NaN for a single seed."""

    value: float
    low: float
    high: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the confidence interval."""
        return self.low, self.high

    def p_value(self, bound: float) -> float:
        """Return the p-value of Student's two-sided test that the mean is `bound`; NaN for a single seed.

        It is the test of the interval: p < 1 − `CONFIDENCE` exactly if the interval excludes the bound. Without any
        spread over seeds it is 0, or 1 for a mean that is the bound.
        """
        half = (self.high - self.low) / 2.0
        if math.isnan(half) or math.isnan(bound):
            return math.nan
        if half == 0.0:
            return float(self.value == bound)
        from scipy.stats import t

        error = half / _quantile(self.n)
        return float(2.0 * t.sf(abs(self.value - bound) / error, self.n - 1))


def mean(values: Iterable[float]) -> Mean:
    """Return the mean of one value per seed with its 95 % interval (Student's t, which assumes normal values).

    Raises ValueError without values.
    """
    sample = np.array([float(value) for value in values])
    if not len(sample):
        raise ValueError("values: at least one is needed for a mean, got none")
    centre = float(sample.mean())
    if len(sample) < 2:
        return Mean(centre, math.nan, math.nan, 1)
    half = float(_quantile(len(sample)) * sample.std(ddof=1) / math.sqrt(len(sample)))
    return Mean(centre, centre - half, centre + half, len(sample))


def _quantile(n: int) -> float:
    """Return the half width of the interval of a mean of n values, in units of its standard error."""
    from scipy.stats import t

    return float(t.ppf((1.0 + CONFIDENCE) / 2.0, n - 1))


def results(parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per finished run of every grid in `parameters`: the columns of `llm.study.table`, and `grid`.

    A run that belongs to two grids has two rows. `method` holds the printed names.
    """
    from llm.study import table

    return _read(parameters, table)


def paths(parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per evaluation of every run: the columns of `llm.study.paths`, and `grid`."""
    from llm.study import paths as evaluations

    return _read(parameters, evaluations)


def measured(parameters: Mapping[str, Any], name: str) -> list[tuple[Row, dict[str, Any]]]:
    """Return (description of the run, result of the measure `name`) for every run of the grids with this measure."""
    from llm.study import measure
    from llm.study.measures import name_of

    return [
        ({"grid": grid, **about, "method": NAMES[about["method"]]}, result)
        for grid, spec in parameters["grids"].items()
        if name in map(name_of, spec["measures"])
        for about, result in measure(grid_of(spec), parameters["root"], name)
    ]


def _read(parameters: Mapping[str, Any], reader: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Return the tables that `reader` returns for every grid, as one frame with the grid's name."""
    import pandas as pd

    root = parameters["root"]
    frames = [_plain(reader(grid_of(spec), root)).assign(grid=name) for name, spec in parameters["grids"].items()]
    frame = pd.concat([one for one in frames if len(one)] or frames[:1], ignore_index=True)
    return frame.assign(method=frame["method"].map(NAMES)) if len(frame) else frame


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with NumPy's integers, or floats where an integer is missing, in place of pandas' own."""
    import pandas as pd

    integers = [name for name in frame if isinstance(frame[name].dtype, pd.Int64Dtype)]
    return frame.astype({name: "int64" if frame[name].notna().all() else "float64" for name in integers})


def select(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Return the rows whose columns have these values."""
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def numeric(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column as floats: NaN for unknown values, and everywhere if the frame lacks the column."""
    import pandas as pd

    if column not in frame:
        return pd.Series(math.nan, index=frame.index, dtype=float)
    return frame[column].astype(float)


def by_seed(frame: pd.DataFrame, column: str) -> dict[int, float]:
    """Return seed -> mean of the column over the rows of that seed."""
    values = numeric(frame, column)
    return {int(seed): float(own.to_numpy().mean()) for seed, own in values.groupby(frame["seed"], sort=False)}


def difference(ours: pd.DataFrame, theirs: pd.DataFrame, column: str) -> Mean:
    """Return the mean over seeds of the paired difference ours − theirs; the rows of each seed are averaged first.

    Raises ValueError if the seeds differ or there are none.
    """
    a, b = by_seed(ours, column), by_seed(theirs, column)
    if a.keys() != b.keys() or not a:
        raise ValueError(f"{column}: the seeds must be the same and at least one, got {sorted(a)} and {sorted(b)}")
    return mean(a[seed] - b[seed] for seed in a)


def expected_runs(parameters: Mapping[str, Any]) -> int:
    """Return the number of different runs of the grids."""
    return len({(name, run.name) for name, spec in parameters["grids"].items() for run in grid_of(spec).runs()})


def shared(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of both frames whose seeds are in both."""
    return ours[ours["seed"].isin(theirs["seed"])], theirs[theirs["seed"].isin(ours["seed"])]


def summarize(values: pd.DataFrame, by: Sequence[str], column: str = "value") -> pd.DataFrame:
    """Return mean and interval of a column for each group of `by`: the columns of `by`, value, low, high, n.

    values  one row per seed of each group; the groups keep the order of their first rows
    """
    import pandas as pd

    rows = []
    for key, group in values.groupby(list(by), sort=False, dropna=False):
        centre = mean(group[column])
        rows.append((*key, centre.value, centre.low, centre.high, centre.n))
    return pd.DataFrame(rows, columns=[*by, "value", "low", "high", "n"])


def mean_move(path: pd.DataFrame) -> float:
    """Return the mean distance in loss space between successive evaluations in the second half of a run.

    path  the evaluations of one run in the order of their steps; NaN with fewer than two in the second half
    """
    late = path[2 * path["step"] >= path["step"].max()] if len(path) else path
    if len(late) < 2:
        return math.nan
    return float(np.hypot(*np.diff(late[["f_dpo", "f_sft"]].to_numpy(dtype=float), axis=0).T).mean())


def columns(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the named columns as a table of `Data`: texts ("" where unknown), integers, or floats (NaN).

    A name that the frame lacks becomes a column of NaN.
    """
    table: dict[str, np.ndarray] = {}
    for name in names:
        values = list(frame[name]) if name in frame else [math.nan] * len(frame)
        if any(isinstance(value, str) for value in values):
            table[name] = np.array([value if isinstance(value, str) else "" for value in values])
        elif name in frame and values and frame[name].dtype.kind == "i":
            table[name] = frame[name].to_numpy()
        else:
            table[name] = np.array([math.nan if value is None else float(value) for value in values])
    return table
