"""Figure 4: MAXRIGHT with gaps that are evaluated every k steps only (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweeps
from figures.artefact import Artefact, Data, Request

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHERS = ("Sequential", "ALRIGHT")
PANELS = ("ideal_distance", "swing", "share_dpo", "runtime")
# marker and line style of each k, in its order; shades from light to dark
MARKERS = ("o", "s", "D", "v", "^", "P")
LINES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (2, 2)))
LIGHT, DARK = "#9fdcc6", "#00382a"
TITLES = {"ideal_distance": "ideal distance", "swing": "swing", "share_dpo": "share of steps on DPO"}


def parameters(request: Request) -> dict[str, Any]:
    """MAXRIGHT for every k, and what to compare it with."""
    return {"grids": sweeps.stale(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Paths by k, and what the staleness does to distance, oscillation, the share of DPO and the runtime."""
    found = loss_space.find(parameters)
    swings = {run: seeds.swing([line for line in found.paths if line["run"] == run]) for run in _names(found)}
    means, dots = loss_space.bars(
        found.results,
        {
            "ideal_distance": loss_space.column("ideal_distance"),
            "swing": lambda row: swings[row["run"]],
            "share_dpo": lambda row: row["steps_dpo"] / row["steps"],
            "runtime": loss_space.column(found.runtime),
        },
    )
    rows = loss_space.mean_paths(found.paths)
    extra = loss_space.packed("path", rows) | loss_space.packed("bar", means) | loss_space.packed("dot", dots)
    return Data(
        table=loss_space.evaluations(found),
        extra=extra | loss_space.points(found.results),
        facts=loss_space.facts(parameters, found),
        checks=loss_space.sound(parameters, found),
    )


def _names(found: loss_space.Found) -> list[str]:
    return [row["run"] for row in found.results]


def draw(data: Data) -> Figure:
    """Paths on the left; four quantities over k on the right, with Sequential and ALRIGHT as lines across."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.loss_space import RUNTIMES, draw_losses, draw_pairs, draw_scale

    figure = Figure(figsize=(style.PAGE, 4.3))
    left, right = figure.subfigures(1, 2, width_ratios=(0.85, 1.0), squeeze=False)[0]
    ax = left.subplots()
    handles: dict[str, Any] = {}
    paths = [_draw_path(ax, data, handles, method, 0) for method in OTHERS]
    paths += [_draw_path(ax, data, handles, "MAXRIGHT", k) for k in _ks(data)]
    draw_losses(ax, [path for path in paths if path], data)
    ax.set_title("(a) paths in loss space")
    titles = TITLES | {"runtime": RUNTIMES[str(data.facts["runtime"])]}
    for panel, quantity, letter in zip(right.subplots(2, 2, sharex=True).flat, PANELS, "bcde", strict=True):
        _draw_over_k(panel, data, quantity)
        panel.set_title(f"({letter}) {titles[quantity]}")
    for panel in right.axes[2:]:
        panel.set_xlabel("$k$")
    draw_pairs(figure, handles)
    lams = ", ".join(f"{lam:g}" for lam in np.unique(data.table["lam"]))
    draw_scale(figure, data, more=f", λ = {lams}")
    return figure


def _ks(data: Data) -> np.ndarray:
    return np.unique(loss_space.select(data.extra, "bar", method="MAXRIGHT")["k"])


def _looks(data: Data, method: str, k: int) -> dict[str, Any]:
    """Other methods as everywhere; MAXRIGHT's shades, marks and lines by k."""
    from matplotlib.colors import LinearSegmentedColormap

    from figures.drawing import style

    if method != "MAXRIGHT":
        return style.METHODS[method].kwargs()
    ks = list(_ks(data))
    i = ks.index(k)
    shade = LinearSegmentedColormap.from_list("k", [LIGHT, DARK])(i / max(1, len(ks) - 1))
    looks = style.METHODS[method].kwargs(color=shade, marker=MARKERS[i % len(MARKERS)])
    return looks | {"linestyle": LINES[i % len(LINES)]}


def _draw_path(ax: Axes, data: Data, handles: dict[str, Any], method: str, k: int) -> dict[str, np.ndarray]:
    from matplotlib.lines import Line2D

    path, looks = loss_space.select(data.extra, "path", method=method, k=k), _looks(data, method, k)
    if path:
        ax.plot(path["f_sft"], path["f_dpo"], **looks | {"markersize": 2.5, "linewidth": 1.0, "markeredgewidth": 0.0})
        ax.plot(path["f_sft"][-1:], path["f_dpo"][-1:], **looks | {"markersize": 7.0, "linestyle": ""})
        handles[f"$k={k}$" if k else method] = Line2D([], [], **looks)
    return path


def _draw_over_k(ax: Axes, data: Data, quantity: str) -> None:
    """MAXRIGHT's mean with interval and seeds for every k; the others as a line with their interval as a band."""
    from figures.drawing import style
    from figures.drawing.loss_space import draw_far, draw_limits, draw_spread

    own = loss_space.select(data.extra, "bar", method="MAXRIGHT", quantity=quantity)
    places = np.arange(len(own["k"]))
    ax.plot(places, own["value"], **style.METHODS["MAXRIGHT"].kwargs(marker="", zorder=2))
    seen, ends = list(own["value"]), [*own["low"], *own["high"]]
    for x, k in zip(places, own["k"], strict=True):
        one = loss_space.chosen(own, k=k)
        dots = loss_space.select(data.extra, "dot", method="MAXRIGHT", quantity=quantity, k=k)["value"]
        draw_spread(ax, float(x), one, dots, aside=0.2)
        ax.plot(x, one["value"], **_looks(data, "MAXRIGHT", k) | {"markersize": 6.5, "linestyle": ""})
        seen += list(dots)
    for method in OTHERS[quantity == "swing" :]:  # all of Sequential's second stage is one long move
        other = loss_space.select(data.extra, "bar", method=method, quantity=quantity)
        looks = style.METHODS[method]
        for value, low, high in zip(other["value"], other["low"], other["high"], strict=True):
            ax.axhline(value, color=looks.colour, linestyle=looks.line, zorder=1)
            ax.axhspan(low, high, color=looks.colour, alpha=0.1, linewidth=0.0, zorder=0) if low < high else None
            seen.append(value)
            ends += [low, high]
    ax.set_xticks(places, [f"{k:g}" for k in own["k"]])
    ax.set_xlim(-0.5, len(places) - 0.5)
    if quantity == "ideal_distance":
        draw_far(ax, seen)
    draw_limits(ax, seen, ends)


ARTEFACT = Artefact(
    name="fig4",
    title="MAXRIGHT that evaluates both objectives every k steps only",
    paper="Figure 4",
    cost="seconds, after its runs",
    caption=(
        "MAXRIGHT with λ = 0.5 for several k, the number of steps between evaluations of both objectives; Sequential "
        "(DPO first) and ALRIGHT are lines to compare with. (a) Mean paths over seeds in loss space, with a small mark "
        "at every evaluation on held-out rows and a large one at the last; lower left is better, the star is the ideal "
        "point f*. (b) The ideal distance at the end. (c) The swing: how far a run moves in loss space between two "
        "successive evaluations on held-out rows in its second half, on average; a steady advance counts as well, so "
        "that Sequential is left out. (d) The share of the steps that went to DPO. (e) What the training steps took "
        "(on a CPU in seconds of the processor, which other programs change less than the clock's). Marks are means "
        "over seeds, white dots the seeds, lines and bands 95 % intervals; one that ends at the frame goes on beyond "
        "it. An axis of gaps or distances that spans far is linear up to 0.1 and logarithmic beyond."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
