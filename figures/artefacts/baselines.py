"""Beside other ways to post-train on both: SimPO after SFT, ORPO, and the mean of two adapters (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweeps
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Check, Data, Request, equal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# (grid, method) -> what it is called, from top to bottom
NAMES = {
    ("ours", "Sequential"): "Sequential, DPO first",
    ("sft_first", "Sequential"): "Sequential, SFT first",
    ("ours", "Mix"): "Mix",
    ("ours", "ALRIGHT"): "ALRIGHT",
    ("ours", "MAXRIGHT"): "MAXRIGHT",
    ("average", "Sequential"): "mean of two adapters",
    ("simpo", "Sequential"): "SFT, then SimPO",
    ("orpo", "Sequential"): "ORPO on the pairs",
}
MEASURED = ("f_dpo", "f_sft", "ideal_distance", "scale_free_distance", "answers_win_rate", "questions_accuracy")
TIMES = ("cpu_seconds", "seconds")
ABOUT = ("baseline", "method", "order", "lam", "seed", "steps", "steps_dpo", "steps_sft", "device", "run")
# what is prepared for all of a seed's runs together, and is not in the time
PREPARED = ("log_probs_cpu_seconds", "optima_cpu_seconds")


def parameters(request: Request) -> dict[str, Any]:
    """The four methods with λ = 1/2, and what they are compared with."""
    return {"grids": sweeps.others(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """A row a run; of every baseline the mean over seeds of each quantity."""
    rows = [
        {**row, "baseline": NAMES[row["grid"], row["method"]]}
        for row in seeds.results(parameters)
        if (row["grid"], row["method"]) in NAMES
    ]
    order = list(NAMES.values())
    rows.sort(key=lambda row: (order.index(row["baseline"]), row["seed"]))
    on_cpu = all(str(row.get("device") or "").startswith("CPU") for row in rows)
    time = TIMES[0] if on_cpu else TIMES[1]
    quantities = ("steps_dpo", "steps_sft", *MEASURED, time)
    means = [_mean(rows, name, quantity) for name in order for quantity in quantities]
    return Data(
        table=seeds.columns(rows, (*ABOUT, *MEASURED, *TIMES, *PREPARED)),
        extra=loss_space.packed("mean", [row for row in means if row]),
        facts={"scale": loss_space.scale(parameters, rows), "time": time},
        checks=_sound(parameters, rows),
    )


def _mean(rows: Sequence[Row], name: str, quantity: str) -> Row:
    """The mean of a quantity with its interval; empty if there is no such baseline."""
    mine = [row for row in rows if row["baseline"] == name]
    if not mine:
        return {}
    found = seeds.mean(loss_space.number(row, quantity) for row in mine)
    return {"baseline": name, "quantity": quantity, "value": found.value, "low": found.low, "high": found.high}


def _sound(parameters: Mapping[str, Any], rows: Sequence[Row]) -> tuple[Check, ...]:
    """That all runs are there, and were given as many steps as is said."""
    from figures.pipeline.training import grid_of

    expected = len({(name, run.name) for name, spec in parameters["grids"].items() for run in grid_of(spec).runs()})
    odd = sum(
        row["steps_dpo"] + row["steps_sft"] != row["steps"] * (2 if row["method"] == "Mix" else 1) for row in rows
    )
    orpo = sum(row["steps_sft"] for row in rows if row["grid"] == "orpo")
    given = "each is given as many steps, of which Mix takes both kinds at once: runs that are not"
    return (
        equal("runs", "every baseline and seed is there", expected, len(rows), tolerance=0.0),
        equal("steps", given, 0.0, float(odd), tolerance=0.0),
        equal("orpo", "ORPO never trains on the SFT set: its steps there", 0.0, float(orpo), tolerance=0.0),
    )


TITLES = {
    "f_dpo": r"$f_{\mathrm{DPO}}$",
    "f_sft": r"$f_{\mathrm{SFT}}$",
    "ideal_distance": "ideal distance",
    "scale_free_distance": "scale-free distance",
    "answers_win_rate": "win rate",
    "questions_accuracy": "multiple choice",
    "cpu_seconds": "processor seconds",
    "seconds": "seconds",
}
MARKS = {"Sequential, SFT first": "s", "mean of two adapters": "p", "SFT, then SimPO": "h", "ORPO on the pairs": "d"}
NEAR = 0.1
WIDE = 12.0  # a quantity whose largest value is so many times its least has a logarithmic axis
SPREAD = 0.4  # of an interval so much is shown beyond all values, as a share of their range


def draw(data: Data) -> Figure:
    """What each baseline was given, and a panel a quantity: a row a baseline, with its seeds and interval."""
    from matplotlib.figure import Figure

    from figures.drawing import style

    means = loss_space.select(data.extra, "mean")
    names = list(dict.fromkeys(map(str, means["baseline"])))
    known = [q for q in TITLES if np.isfinite(means["value"][means["quantity"] == q]).any()]
    columns = 4
    rows = -(-(len(known) + 1) // columns)
    figure = Figure(figsize=(style.PAGE, rows * (0.62 + 0.19 * len(names)) + 0.25))
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    _draw_steps(axes[0], data, names)
    for ax, quantity, letter in zip(axes[1:], known, "bcdefghi", strict=False):
        _draw_panel(ax, data, quantity, names)
        ax.set_title(f"({letter}) {TITLES[quantity]}")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for ax in axes[len(known) + 1 :]:
        ax.set_axis_off()
    figure.supxlabel(str(data.facts["scale"]), fontsize=7.0, color=style.QUIET)
    return figure


def _draw_steps(ax: Axes, data: Data, names: Sequence[str]) -> None:
    """How many steps each took on either set, one after the other as bars."""
    from figures.drawing import style

    start_or_resume = np.zeros(len(names))
    looks: dict[str, dict[str, Any]] = {
        "pairs": {"color": style.CONTOUR_DPO},
        "SFT": {"color": style.CONTOUR_SFT, "hatch": "/////", "edgecolor": "white"},
    }
    for quantity, label in (("steps_dpo", "pairs"), ("steps_sft", "SFT")):
        found = loss_space.select(data.extra, "mean", quantity=quantity)
        ax.barh(
            range(len(names)), found["value"], 0.6, left=start_or_resume, linewidth=0.0, label=label, **looks[label]
        )
        start_or_resume += found["value"]
    ax.set_xlim(0.0, 1.05 * start_or_resume.max())
    ax.set_title("(a) steps on each set")
    ax.legend(loc="lower right", handlelength=1.0, handletextpad=0.4, borderpad=0.1)  # beside the bars of all but Mix
    ax.grid(visible=False, axis="y")


def _draw_panel(ax: Axes, data: Data, quantity: str, names: Sequence[str]) -> None:
    """One quantity: means with intervals, seeds as white dots."""
    from figures.drawing import style

    seen: list[float] = []
    ends: list[float] = []
    for y, name in enumerate(names):
        found = loss_space.select(data.extra, "mean", baseline=name, quantity=quantity)
        dots = loss_space.chosen(data.table, baseline=name)[quantity]
        ax.hlines(y, found["low"], found["high"], color=style.INK, linewidth=0.8, zorder=3)
        ax.plot(found["value"], [y], **_draw_looks(name))
        if len(dots) > 1:
            pale: dict[str, Any] = {
                "color": "white",
                "markeredgecolor": style.INK,
                "markeredgewidth": 0.5,
                "markersize": 2.4,
            }
            ax.plot(dots, np.full(len(dots), y), linestyle="", marker="o", zorder=6, **pale)
        seen += [*found["value"], *dots]
        ends += [*found["low"], *found["high"]]
    _draw_limits(ax, np.array(seen), np.array(ends))


def _draw_looks(name: str) -> dict[str, Any]:
    """The four methods as everywhere; Sequential's other order hollow; all else in ink."""
    from figures.drawing import style

    base = name.partition(",")[0]
    if name in MARKS:
        known = style.METHODS.get(base)
        colour = known.colour if known else style.INK
        face = "white" if known else style.INK
        return {
            "marker": MARKS[name], "color": colour, "markerfacecolor": face, "markeredgecolor": colour,
            "linestyle": "", "markersize": 6.0, "zorder": 5,
        }  # fmt: skip
    return style.METHODS[base].kwargs(linestyle="", markersize=6.5)


def _draw_limits(ax: Axes, seen: np.ndarray, ends: np.ndarray) -> None:
    """Show all values, and as much of their intervals as leaves these room; logarithmic if the values span far, and
    linear below NEAR if some are all but 0.
    """
    from matplotlib.ticker import (
        FixedLocator,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
        StrMethodFormatter,
    )

    seen, ends = seen[np.isfinite(seen)], ends[np.isfinite(ends)]
    if 0 < seen.min() < NEAR / WIDE and seen.max() > NEAR:
        ax.set_xscale("symlog", linthresh=NEAR, linscale=0.6)
        ax.set_xlim(-0.02, seen.max() * 1.6)
        ax.xaxis.set_major_locator(FixedLocator([0.0, 0.1, 1.0, 10.0]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        return
    if seen.min() > 0 and seen.max() > WIDE * seen.min():
        ax.set_xscale("log")
        room = (seen.max() / seen.min()) ** SPREAD
        reach = np.concatenate([seen, np.clip(ends, seen.min() / room, seen.max() * room)])
        ax.set_xlim(reach.min() / 1.25, reach.max() * 1.25)
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        return
    width = float(np.ptp(seen)) or 0.1 * abs(float(seen[0])) or 1.0
    reach = np.concatenate([seen, np.clip(ends, seen.min() - SPREAD * width, seen.max() + SPREAD * width)])
    ax.set_xlim(reach.min() - 0.12 * width, reach.max() + 0.12 * width)
    ax.xaxis.set_major_locator(MaxNLocator(3))


ARTEFACT = Artefact(
    name="baselines",
    title="Beside other ways to train on both: SimPO after SFT, ORPO, and the mean of two adapters",
    paper="beyond the paper",
    cost="seconds, after its runs",
    caption=(
        "All start from the same base and take the same number T of optimiser steps, with the same batches, learning "
        "rate and rank; λ = 0.5. (a) On which set: Sequential spends half of them on each, in either order; ALRIGHT "
        "and MAXRIGHT divide them as they go; Mix takes every step on both sets, so it sees twice the data and costs "
        "more. The mean of two adapters: one is trained on the pairs with DPO for T/2 steps, one on the SFT set for "
        "T/2, each from the base, and their weights are averaged. SFT, then SimPO: T/2 steps of SFT, then T/2 of SimPO "
        "on the pairs, which needs no reference. ORPO: T steps on the pairs alone, of which it learns the chosen "
        "responses as SFT would, and the preference; it never sees the SFT set. (b)-(e) Losses on held-out rows and "
        "distances to the ideal point f*, lower is better; the scale-free one counts each gap by what there was to "
        "gain. f* is what T steps of DPO or of SFT alone reach: who falls below it is off by as much, too. "
        "Neither SimPO nor ORPO minimises f_DPO, and ORPO does not minimise this f_SFT, so these panels favour "
        "the others. Win rate and multiple choice are as in Table 1, higher is better, and 0.5 is the most that a win "
        "rate can be; the judge knows the preferred manner alone, which favours whoever trains on pairs most. Time "
        "is that of the training steps, without the reference's log-probabilities and f*, which are prepared once for "
        "all (in the data). Marks are means over seeds, white dots the seeds, lines 95 % intervals; one that ends at "
        "the frame goes on beyond it. The settings were chosen for the four methods and not tuned for the others."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
