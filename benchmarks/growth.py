"""How costs grow with their input: curves, the slopes between neighbouring sizes, tables and one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR = 1.1  # the largest slope of our side, after rounding to a tenth
FIGURE = Path(__file__).with_name("growth.png")
HEADERS = ("size", "ours", "others", "slope of ours", "of others", "met")


@dataclass(frozen=True)
class Curve:
    """The cost of one job at growing sizes of its input.

    name    of the job; its input is in `unit`, such as "rows"
    sizes   (n,) ascending
    costs   side -> (n,) seconds of CPU time, or bytes; the first side is ours, NaN where a side was not measured
    excused a slope above the bar is allowed where another side has it, too: the attention of long rows
    """

    name: str
    unit: str
    sizes: tuple[float, ...]
    costs: Mapping[str, NDArray[np.float64]]
    quantity: str = "seconds"
    excused: bool = False

    @property
    def ours(self) -> str:
        """Return the label of our side."""
        return next(iter(self.costs))

    def slopes(self, side: str) -> NDArray[np.float64]:
        """Return d log(cost) / d log(size) between neighbouring sizes, shape (n - 1,).

        1 is proportional. A constant part of the cost makes a slope smaller, never larger.
        """
        return np.diff(np.log(self.costs[side])) / np.diff(np.log(np.asarray(self.sizes, dtype=np.float64)))

    def met(self) -> list[bool]:
        """Return for each slope of ours whether it is at most BAR, both rounded to a tenth; an unknown slope is not."""
        others = [self.slopes(side) for side in self.costs if side != self.ours] if self.excused else []
        limits = np.fmax.reduce([np.full(len(self.sizes) - 1, BAR), *others])
        return [
            bool(slope <= limit) for slope, limit in zip(self.slopes(self.ours).round(1), limits.round(1), strict=True)
        ]

    def holds(self) -> bool:
        """Return whether no slope is above the bar."""
        return all(self.met())

    def lines(self, show: Callable[[float], str]) -> list[tuple[str, ...]]:
        """Return a line for each size, with the columns of HEADERS.

        show  a cost as text
        """
        others = [side for side in self.costs if side != self.ours]
        met, out = self.met(), list[tuple[str, ...]]()
        for i, size in enumerate(self.sizes):
            costs = [f"{side} {show(self.costs[side][i])}" for side in others if np.isfinite(self.costs[side][i])]
            steep = [self.slopes(side)[i - 1] for side in others] if i else []
            known = [f"{slope:.2f}" for slope in steep if np.isfinite(slope)]
            own = f"{self.slopes(self.ours)[i - 1]:.2f}" if i else ""
            out.append(
                (
                    f"{size:,.0f} {self.unit}", show(self.costs[self.ours][i]), ", ".join(costs), own,
                    ", ".join(known), ("yes" if met[i - 1] else "NO") if i else "",
                )
            )  # fmt: skip
        return out


def measured(
    name: str,
    unit: str,
    sizes: Sequence[float],
    sides: Mapping[str, Callable[[float], float]],
    *,
    quantity: str = "seconds",
    excused: bool = False,
    repeats: int = 1,
) -> Curve:
    """Return the curve of some sides: the least cost of `repeats` calls at each size, sides in turns."""
    costs = {side: np.full(len(sizes), np.inf) for side in sides}
    for i, size in enumerate(sizes):
        for _ in range(repeats):
            for side, cost in sides.items():
                costs[side][i] = min(costs[side][i], cost(size))
        shown = ", ".join(f"{side} {costs[side][i]:.3g}" for side in sides)
        print(f"  {name}: {size:,.0f} {unit}: {shown} ({quantity})", flush=True)
    return Curve(name, unit, tuple(sizes), costs, quantity, excused)


def draw(curves: Sequence[Curve], path: Path = FIGURE) -> None:
    """Draw all curves into one file, a panel each, on logarithmic axes; a thin line has slope 1."""
    from matplotlib.figure import Figure

    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.7 * rows), layout="constrained")
    for axis, curve in zip(figure.subplots(rows, columns, squeeze=False).flat, curves, strict=False):
        _panel(axis, curve)
    for axis in list(figure.axes)[len(curves) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=110)


def _panel(axis: Axes, curve: Curve) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    sizes = np.asarray(curve.sizes, dtype=np.float64)
    scale = 2.0**-20 if curve.quantity == "bytes" else 1.0
    for side, marker in zip(curve.costs, "os^Dv", strict=False):
        style = {"linewidth": 1.6} if side == curve.ours else {"linewidth": 1.0, "linestyle": "--"}
        axis.plot(sizes, curve.costs[side] * scale, marker=marker, markersize=4, label=side, **style)
    axis.set_xscale("log")
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    widen = max(1.0, (20.0 / (high / low)) ** 0.5)  # at least a decade with its number is on the axis
    low, high = low / widen, high * widen
    axis.plot(sizes, curve.costs[curve.ours][-1] * scale * sizes / sizes[-1], color="0.7", linewidth=0.8, zorder=0)
    axis.set_ylim(low, high)
    axis.set_title(curve.name, fontsize=8.5)
    axis.set_xlabel(curve.unit, fontsize=8)
    axis.set_ylabel("MiB" if curve.quantity == "bytes" else "s of CPU time", fontsize=8)
    axis.set_xticks(sizes, [f"{size:.3g}".replace("e+0", "e") for size in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=7)
    if len(curve.costs) > 1:
        axis.legend(fontsize=7, frameon=False)
