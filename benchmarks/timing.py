"""Interleaved timing (A B A B ...), so that other load on the machine affects all sides alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """One comparison: `times[label]` are seconds a unit, one a repetition; the first label is ours.

    unit  the unit of work of one time: "step", "10,000 runs", "process"
    bar   the most that the ratio ours/other may be, or (per_second) ours alone; None where nothing was promised
    quantity  "seconds", or "bytes" where memory was measured, "operations" where they were counted
    """

    name: str
    unit: str
    times: dict[str, NDArray[np.float64]]
    bars: dict[str, float] = field(default_factory=dict)  # by label; our own label: seconds
    quantity: str = "seconds"

    @property
    def ours(self) -> str:
        """Return the label of our side; the other sides are compared with it."""
        return next(iter(self.times))

    def ratio(self, other: str) -> tuple[float, float, float]:
        """Return median, lower and upper quartile of ours/other over the repetitions."""
        lower, median, upper = np.quantile(self.times[self.ours] / self.times[other], (0.25, 0.5, 0.75))
        return float(median), float(lower), float(upper)

    def holds(self) -> bool:
        """Return whether the median ratio meets every bar."""
        return all(
            (float(np.median(self.times[label])) if label == self.ours else self.ratio(label)[0]) <= bar
            for label, bar in self.bars.items()
        )


def interleave(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    units: Mapping[str, int] | int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, NDArray[np.float64]]:
    """Measure the seconds a unit of every call in every repetition, after one unmeasured call of each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {label: [] for label in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            for label, call in calls.items():
                start = clock()
                call()
                n = units if isinstance(units, int) else units[label]
                times[label].append((clock() - start) / n)
    finally:
        if collecting:
            gc.enable()
    return {label: np.array(values) for label, values in times.items()}
