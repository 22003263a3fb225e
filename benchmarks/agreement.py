"""Quantities of two trainers over seeds, and whether their means agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ERROR = 0.05  # probability that an interval of a comparison misses the true difference, all its quantities together


@dataclass(frozen=True)
class Agreement:
    """A comparison of two trainers in several quantities.

    name    of the setting
    ours    quantity -> (n,) values, one a seed
    theirs  as `ours`, of the other trainer, whose draws are others
    widest  quantity -> largest half-width of its interval: a wider one would agree with anything
    """

    name: str
    ours: Mapping[str, NDArray[np.float64]]
    theirs: Mapping[str, NDArray[np.float64]]
    widest: Mapping[str, float] = field(default_factory=dict)

    def interval(self, quantity: str) -> tuple[float, float]:
        """Return the mean of ours less theirs, and the half-width of its interval.

        The interval is Welch's, for independent samples of different variances, at the level 1 - ERROR / (number of
        quantities), so that all intervals together miss with probability ERROR at most (Bonferroni).
        """
        a, b = self.ours[quantity], self.theirs[quantity]
        difference = float(a.mean() - b.mean())
        if not a.std() and not b.std():
            return difference, 0.0
        test = stats.ttest_ind(a, b, equal_var=False)
        bounds = test.confidence_interval(1.0 - ERROR / len(self.ours))
        return difference, float(bounds.high - bounds.low) / 2.0

    def agrees(self, quantity: str) -> bool:
        """Return whether the interval contains 0 and is as narrow as is asked."""
        difference, half = self.interval(quantity)
        return abs(difference) <= half <= self.widest.get(quantity, np.inf)

    def holds(self) -> bool:
        """Return whether all quantities agree."""
        return all(self.agrees(quantity) for quantity in self.ours)

    def lines(self) -> list[tuple[str, ...]]:
        """Return a line for each quantity, with the columns of HEADERS."""
        out = []
        for quantity, values in self.ours.items():
            difference, half = self.interval(quantity)
            both = [f"{x.mean():.3f} ± {x.std(ddof=1):.3f}" for x in (values, self.theirs[quantity])]
            widest = f", ± {self.widest[quantity]:.3f} at most" if quantity in self.widest else ""
            shown = f"{difference:+.3f} ± {half:.3f}{widest}"
            out.append((quantity, *both, shown, "yes" if self.agrees(quantity) else "NO"))
        return out


HEADERS = ("quantity", "llm (mean ± deviation)", "TRL", "difference (interval)", "agree")


@dataclass(frozen=True)
class Paired:
    """A comparison of two trainers on the same rows in the same order, from the same weights: they differ by rounding.

    name        of the setting
    ours        quantity -> (n,) values, one a seed
    theirs      as `ours`, of the other trainer
    tolerance   quantity -> the largest difference that counts as agreement, in units of the quantity; infinity where
                no agreement is expected
    peer        name of the other trainer
    """

    name: str
    ours: Mapping[str, NDArray[np.float64]]
    theirs: Mapping[str, NDArray[np.float64]]
    tolerance: Mapping[str, float]
    peer: str = "TRL"

    def largest(self, quantity: str) -> float:
        """Return the largest absolute difference over seeds."""
        return float(np.abs(self.ours[quantity] - self.theirs[quantity]).max())

    def agrees(self, quantity: str) -> bool:
        """Return whether no seed differs by more than the tolerance."""
        return self.largest(quantity) <= self.tolerance[quantity]

    def holds(self) -> bool:
        """Return whether all quantities agree."""
        return all(self.agrees(quantity) for quantity in self.ours)

    def lines(self) -> list[tuple[str, ...]]:
        """Return a line for each quantity, with the columns of `headers_paired`."""
        out = []
        for quantity in self.ours:
            both = [", ".join(f"{x:.3f}" for x in side[quantity]) for side in (self.ours, self.theirs)]
            apart = f"{self.largest(quantity):.2g}"
            bar, agree = f"{self.tolerance[quantity]:.2g}", "yes" if self.agrees(quantity) else "NO"
            out.append((quantity, *both, apart, *(("", "") if bar == "inf" else (bar, agree))))
        return out


def headers_paired(peer: str) -> tuple[str, ...]:
    """Return the columns of a table of comparisons with a trainer."""
    return "quantity", "llm, by seed", f"{peer}, by seed", "largest difference", "bar", "agree"
