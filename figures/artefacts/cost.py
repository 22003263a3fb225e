"""What the ideal distance costs (beyond the paper): by steps and by tokens, f* included, and by scale-free measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweeps
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Data, Request

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HALF = "one"  # the grid of one λ
PARTS = ("own", "reference", "optima")
PREPARED = {"reference": ("reference", "log_probs"), "optima": ("optima",)}
NEEDS_OPTIMA = ("MAXRIGHT",)  # the others report their gaps to f*, and train without it


def parameters(request: Request) -> dict[str, Any]:
    """The four methods with λ = 0.5, and with all λ; Sequential with DPO first."""
    return {"grids": {HALF: sweeps.one_lam(request)["all"], **sweeps.in_order(request, "dpo-sft")}}


def compute(parameters: dict[str, Any]) -> Data:
    """The way of one λ by steps and by tokens, its runtime in parts, and two measures that know no scale."""
    found = loss_space.find(parameters)
    all_lams = loss_space.find({**parameters, "grids": {n: g for n, g in parameters["grids"].items() if n != HALF}})
    one = loss_space.find({**parameters, "grids": {HALF: parameters["grids"][HALF]}})
    measures = {
        "own": loss_space.column(one.runtime),
        "reference": lambda row: _prepared(row, "reference", one.runtime),
        "optima": lambda row: _prepared(row, "optima", one.runtime),
        "without": lambda row: _total(row, one.runtime, ("own", "reference")),
        "with": lambda row: _total(row, one.runtime, PARTS),
    }
    parts, part_dots = loss_space.bars(one.results, measures)
    free, free_dots = loss_space.bars(
        all_lams.results, {"scale_free_distance": loss_space.column("scale_free_distance")}
    )
    volumes, volume_dots = _volumes(all_lams.results)
    tables = {
        "path": loss_space.mean_paths(one.paths),
        "part": parts,
        "partdot": part_dots,
        "bar": free + volumes,
        "dot": free_dots + volume_dots,
    }
    extra = {
        name: values for prefix, rows in tables.items() for name, values in loss_space.packed(prefix, rows).items()
    }
    facts = loss_space.facts(parameters, one) | {"lam": float(one.results[0]["lam"])}
    for row in parts:
        if row["quantity"] in ("without", "with") and row["method"] in NEEDS_OPTIMA:
            facts[f"seconds_{row['quantity']}_f*_{row['method']}"] = row["value"]
    return Data(
        table=_table(found),
        extra=extra,
        facts=facts,
        checks=loss_space.sound(parameters, found),
    )


def _prepared(row: Row, part: str, runtime: str) -> float:
    """Seconds of what was computed before a run; NaN where that was not counted."""
    return sum(loss_space.number(row, f"{what}_{runtime}") for what in PREPARED[part])


def _total(row: Row, runtime: str, parts: Sequence[str]) -> float:
    """Seconds of these parts; f* only where the method needs it."""
    total = loss_space.number(row, runtime)
    for part in parts:
        if part == "reference" or (part == "optima" and row["method"] in NEEDS_OPTIMA):
            total += _prepared(row, part, runtime)
    return total


def _table(found: loss_space.Found) -> dict[str, np.ndarray]:
    """The evaluations of all runs, with the preparation's seconds on each run's last one."""
    table = loss_space.evaluations(found)
    ends = {tuple(row[n] for n in ("method", "lam", "seed")): row for row in found.results}
    last = [
        ends[str(m), float(lam), int(seed)] if step == ends[str(m), float(lam), int(seed)]["steps"] else {}
        for m, lam, seed, step in zip(*(table[n] for n in ("method", "lam", "seed", "step")), strict=True)
    ]
    names = [f"{what}_{kind}" for what in ("reference", "log_probs", "optima") for kind in ("seconds", "cpu_seconds")]
    return table | seeds.columns(last, names)


def _volumes(results: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The hypervolume share of all λ of a method together, as `tradeoff.bars` gives it; λ is NaN."""
    by_method: dict[str, dict[int, list[Row]]] = {}
    for row in results:
        by_method.setdefault(row["method"], {}).setdefault(row["seed"], []).append(row)
    means, dots = [], []
    for method in [m for m in loss_space.METHODS if m in by_method]:
        shares = {seed: front_share(rows) for seed, rows in by_method[method].items()}
        mean = seeds.mean(shares.values())
        about = {"method": method, "lam": math.nan, "k": 0, "quantity": "hypervolume_share"}
        means.append({**about, "value": mean.value, "low": mean.low, "high": mean.high})
        dots += [{**about, "seed": seed, "value": share} for seed, share in shares.items()]
    return means, dots


def front_share(rows: Sequence[Mapping[str, Any]]) -> float:
    """The area that the last points of `rows` dominate, up to their start, as a share of the ideal point's.

    NaN if the start or f* is not known, or the start is not above it.
    """
    from llm.study import hypervolume

    def pair(name: str) -> tuple[float, float]:
        return loss_space.number(rows[0], name.format("dpo")), loss_space.number(rows[0], name.format("sft"))

    start, star = pair("f_{}_start"), pair("f_{}_star")
    if not all(s > best for s, best in zip(start, star, strict=True)):  # nor where one is NaN
        return math.nan
    points = [(row["f_dpo"], row["f_sft"]) for row in rows]
    return hypervolume(points, start) / hypervolume([star], start)


def draw(data: Data) -> Figure:
    """Above: the ideal distance by steps and by tokens; below: runtime, scale-free distance, hypervolume."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.loss_space import RUNTIMES, draw_bars, draw_legend, draw_scale

    figure = Figure(figsize=(style.PAGE, 5.4))
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    across = top.subplots(1, 2, sharey=True)
    for ax, x, name in zip(across, ("step", "forward_tokens"), ("steps", "tokens through the model"), strict=True):
        _draw_way(ax, data, x)
        ax.set_xlabel(name)
    across[0].set_ylabel("ideal distance")
    across[0].set_title(f"(a) by steps, $\\lambda={data.facts['lam']:g}$")
    across[1].set_title(f"(b) by tokens, $\\lambda={data.facts['lam']:g}$")
    runtime, distance, volume = bottom.subplots(1, 3, width_ratios=(1.0, 1.3, 0.8))
    _draw_runtime(runtime, data)
    runtime.set_title(f"(c) {RUNTIMES[str(data.facts['runtime'])]}, $\\lambda={data.facts['lam']:g}$")
    lams = np.unique(loss_space.select(data.extra, "bar", quantity="scale_free_distance")["lam"])
    draw_bars(distance, data, {f"{v:g}": {"quantity": "scale_free_distance", "lam": v} for v in lams})
    distance.set_xlabel(r"$\lambda$")
    distance.set_title("(d) scale-free distance")
    draw_bars(volume, data, {"": {"quantity": "hypervolume_share"}})
    volume.set_xlabel("all $\\lambda$ together")
    volume.set_title("(e) hypervolume share")
    draw_legend(figure, bars=True, points=False)
    draw_scale(figure, data)
    return figure


def _draw_way(ax: Axes, data: Data, x: str) -> None:
    """The ideal distance of every method with its interval as a band."""
    from figures.drawing import style
    from figures.drawing.loss_space import draw_far, draw_limits

    seen, ends = [], []
    for method in loss_space.METHODS:
        path = loss_space.select(data.extra, "path", method=method)
        if path:
            looks = style.METHODS[method]
            low, high = path["ideal_distance_low"], path["ideal_distance_high"]
            ax.fill_between(path[x], low, high, color=looks.colour, alpha=0.12, linewidth=0.0, zorder=1)
            ax.plot(path[x], path["ideal_distance"], **looks.kwargs(markersize=3.5))
            seen += list(path["ideal_distance"])
            ends += [*low, *high]
    draw_far(ax, seen)
    draw_limits(ax, seen, ends)
    ax.set_xlim(0.0, None)


def _draw_runtime(ax: Axes, data: Data) -> None:
    """Stacked: the training steps, the reference, and f* where it is needed; intervals without and with f*."""
    from figures.drawing import style
    from figures.drawing.loss_space import bar_looks, draw_limits, draw_spread

    seen, ends = [], []
    for i, method in enumerate(loss_space.METHODS):
        part = {
            q: loss_space.select(data.extra, "part", method=method, quantity=q) for q in (*PARTS, "without", "with")
        }
        if not len(part["own"]["value"]):
            continue
        own, reference, optima = (float(np.nan_to_num(part[q]["value"][0])) for q in PARTS)
        ax.bar(i, own, 0.8, **bar_looks(method))
        ax.bar(i, reference, 0.8, bottom=own, color=style.QUIET, linewidth=0.0)
        totals = ["without"]
        if method in NEEDS_OPTIMA and optima:
            ax.bar(i, optima, 0.76, bottom=own + reference, color="white", edgecolor=style.INK, linewidth=0.7)
            ax.text(i, own + reference + optima / 2, "$f^*$", ha="center", va="center", fontsize=8.0)
            totals.append("with")
        for total, x in zip(totals, (i - 0.24, i + 0.24), strict=False):
            dots = loss_space.select(data.extra, "partdot", method=method, quantity=total)["value"]
            draw_spread(ax, x, part[total], dots)
            seen += [*dots, *part[total]["value"]]
            ends += [*part[total]["low"], *part[total]["high"]]
    ax.set_xticks(range(len(loss_space.METHODS)), ["Seq.", "Mix", "ALR.", "MAXR."])
    ax.grid(visible=False, axis="x")
    draw_limits(ax, seen, ends)


ARTEFACT = Artefact(
    name="cost",
    title="What the ideal distance costs: steps, tokens, runtime, and the optima that MAXRIGHT needs",
    paper="beyond the paper",
    cost="seconds, after its runs",
    caption=(
        "(a), (b) The ideal distance on held-out rows along the way, over the steps and over the tokens that went "
        "through the model: Mix computes both objectives in every step, MAXRIGHT looks at both every k steps. Lines "
        "are means over seeds, bands 95 % intervals. (c) The runtime in parts (on a CPU in seconds of the processor): "
        "patterned, the training steps; grey, the reference and its log-probabilities; white, the two runs that "
        "compute f* and that MAXRIGHT alone needs. They are kept, and serve all λ, k and methods of a seed; the other "
        "methods need f* only to report their gaps. (d) The distance to the ideal point where each objective counts by "
        "how much of it there was to gain: 0 at the ideal point, √2 at the start. (e) The area between the start and "
        "the last points of all λ of a method, as a share of the area between start and ideal point; 0 if no λ "
        "improved both objectives. Bars are means over seeds, dots the seeds, lines 95 % intervals; one that ends at "
        "the frame goes on beyond it. An axis of gaps or distances that spans far is linear up to 0.1 and logarithmic "
        "beyond."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
