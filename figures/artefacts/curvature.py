"""How far a model's objectives are from the convex ones of the theorems, and what the gap does (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, sweeps
from figures.analysis import seeds as runs
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Check, Data, Request, empirical, equal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OBJECTIVES = {"dpo": r"$f_{\mathrm{DPO}}$", "sft": r"$f_{\mathrm{SFT}}$", "mix": r"$f_{\mathrm{Mix},\lambda}$"}
COLUMNS = (
    "method", "lam", "order", "seed", "step", "objective", "value", "smallest", "largest", "residual", "grad_norm",
    "along_gradient", "negative", "gap_mix",
)  # fmt: skip
SPECTRUM = ("smallest", "largest", "along_gradient")
# Of the gap to f*: whose, its shape in t, and what it is called
SHAPES = {"ALRIGHT": r"$c\,\log t/\sqrt{t}$", "Sequential": "constant"}
LINES = {"ALRIGHT": ":", "Sequential": "--"}
# What of a measured point is a share of a run's points
SIGNS: dict[str, Callable[[Row], float]] = {
    "negative": lambda row: float(row["negative"]),
    "downwards": lambda row: float(loss_space.number(row, "along_gradient") < 0.0),
}


def parameters(request: Request) -> dict[str, Any]:
    """The four methods with λ = 0.5, whose adapters were kept along the way."""
    return {"grids": sweeps.curved(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """The ends of the Hessians' spectra on the way, their signs, and the gap of the mix with fitted shapes."""
    found = loss_space.find(parameters)
    measured = [about | row for about, result in runs.measured(parameters, "curvature") for row in result["rows"]]
    if not measured:
        raise ValueError("curvature: none of the runs has been measured; remove their folder and run this again")
    gaps = [line | {"objective": "mix (held out)", "gap_mix": gap_mix(line)} for line in found.paths]
    gap_rows = _means(gaps, ("gap_mix",))
    shapes, fitted = _shapes(gap_rows)
    tables = {
        "mean": _means(measured, SPECTRUM),
        "gap": gap_rows,
        "shape": shapes,
        **dict(zip(("bar", "dot"), _shares(measured), strict=True)),
    }
    extra = {
        name: values for prefix, rows in tables.items() for name, values in loss_space.packed(prefix, rows).items()
    }
    worst = max(_relative(row) for row in measured)
    about = {"points": len({row["step"] for row in measured}), "largest_residual_share": worst}
    return Data(
        table=runs.columns(measured + gaps, COLUMNS),
        extra=extra,
        facts=loss_space.facts(parameters, found) | about | fitted,
        checks=(*loss_space.sound(parameters, found), *_judge(found, measured)),
    )


def gap_mix(line: Row) -> float:
    """λ (f_DPO - f_DPO*) + (1-λ) (f_SFT - f_SFT*): the gap of the mix to both optima at once."""
    lam = float(line["lam"])
    return lam * loss_space.number(line, "gap_dpo") + (1.0 - lam) * loss_space.number(line, "gap_sft")


def _relative(row: Row) -> float:
    """An eigenvalue's residual as a share of the larger one."""
    return float(row["residual"] / max(abs(row["smallest"]), abs(row["largest"]), 1e-30))


def _means(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """A row a step of every (method, objective): means over the seeds that it is known for, with their intervals."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["objective"], row["step"]), []).append(row)
    found = []
    for method, objective, step in sorted(groups):
        here, row = groups[method, objective, step], {"method": method, "objective": objective, "step": step}
        for name in names:
            known = [v for v in (loss_space.number(one, name) for one in here) if math.isfinite(v)]
            mean = runs.mean(known or [math.nan])
            row |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
        found.append(row)
    return found


def _shares(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Bars and dots: the share of a run's points at which an objective has a negative eigenvalue, and at which it is
    bent downwards along its gradient.
    """
    means, dots = [], []
    for method in [m for m in loss_space.METHODS if runs.where(rows, method=m)]:
        for objective in OBJECTIVES:
            own = runs.where(rows, method=method, objective=objective)
            for quantity, sign in SIGNS.items():
                about = {"method": method, "objective": objective, "quantity": quantity}
                by_seed = {seed: float(np.mean([sign(r) for r in runs.where(own, seed=seed)])) for seed in _seeds(own)}
                mean = runs.mean(by_seed.values())
                means.append({**about, "value": mean.value, "low": mean.low, "high": mean.high})
                dots += [{**about, "seed": seed, "value": value} for seed, value in by_seed.items()]
    return means, dots


def _seeds(rows: Sequence[Row]) -> list[int]:
    return sorted({row["seed"] for row in rows})


def shape(method: str, t: np.ndarray) -> np.ndarray:
    """How the gap of a method goes with its steps by the theorems, up to a factor: log t/√t (Theorem 4.1) for ALRIGHT,
    not at all (Theorem 3.3) for Sequential.
    """
    return np.ones_like(t) if method == "Sequential" else np.log(t) / np.sqrt(t)


def fit(method: str, t: np.ndarray, gap: np.ndarray) -> float:
    """The factor of `shape` that is nearest to the gaps in logarithms, over the second half of the steps; NaN if fewer
    than two gaps there are positive.
    """
    late = (t > 1.0) & (2.0 * t >= t.max(initial=0.0)) & np.isfinite(gap)
    late[late] = gap[late] > 0.0
    if late.sum() < 2:
        return math.nan
    return float(np.exp(np.mean(np.log(gap[late]) - np.log(shape(method, t[late])))))


def _shapes(gaps: Sequence[Row]) -> tuple[list[Row], dict[str, float]]:
    """(the fitted shapes as rows of method, step, value; their factors)."""
    found: list[Row] = []
    factors: dict[str, float] = {}
    for method in SHAPES:
        own = [row for row in runs.where(gaps, method=method) if row["step"] > 1]
        t, gap = (np.array([float(row[name]) for row in own]) for name in ("step", "gap_mix"))
        factors[f"factor_{method}"] = factor = fit(method, t, gap)
        values = factor * shape(method, t)
        found += [{"method": method, "step": float(s), "value": float(v)} for s, v in zip(t, values, strict=True)]
    return found, factors


def _judge(found: loss_space.Found, measured: Sequence[Row]) -> tuple[Check, ...]:
    """That every run was measured; and, as an empirical question, whether the objectives are convex where they went."""
    expected, known = len(found.results), len({row["run"] for row in measured})
    checks = [equal("measured", "every run has its curvature measured", expected, known, tolerance=0.0)]
    for objective in ("dpo", "sft"):
        own = runs.where(measured, objective=objective)
        share = runs.mean(runs.by_seed(own, "negative").values())
        statement = (
            f"f_{objective.upper()} is convex in LoRA's weights, as the theorems assume, at the points on the way (the "
            "share of the points where its Hessian has a negative eigenvalue)"
        )
        name = f"convex/{objective}"
        checks.append(empirical(name, statement, share.value, share.interval, 0.0, "upper"))
    return tuple(checks)


def draw(data: Data) -> Figure:
    """Above: both ends of the spectra, and how often the lower is negative; below: along the gradient, and the gap."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.loss_space import draw_bars, draw_legend, draw_scale

    figure = Figure(figsize=(style.PAGE, 5.6))
    axes = figure.subplots(2, 3)
    for i, objective in enumerate(("dpo", "sft")):
        _draw_over_steps(axes[0, i], data, objective, ("largest", "smallest"))
        _draw_over_steps(axes[1, i], data, objective, ("along_gradient",))
        axes[0, i].set_title(f"({'ab'[i]}) {OBJECTIVES[objective]}: ends of the spectrum")
        axes[1, i].set_title(f"({'de'[i]}) {OBJECTIVES[objective]}: along its gradient")
        axes[1, i].set_xlabel("steps")
    groups = {label: {"objective": name, "quantity": "negative"} for name, label in OBJECTIVES.items()}
    draw_bars(axes[0, 2], data, groups)
    axes[0, 2].set_ylim(0.0, 1.06)
    axes[0, 2].set_title("(c) share with one below 0")
    _draw_gap(axes[1, 2], data)
    draw_legend(figure, bars=True, points=False)
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}, {data.facts['points']} points a run")
    return figure


def _draw_over_steps(ax: Axes, data: Data, objective: str, quantities: Sequence[str]) -> None:
    """Thin: a seed; with marks: the means. Marks of the smallest eigenvalue are open."""
    from figures.drawing import style
    from figures.drawing.loss_space import PALE

    for method in loss_space.METHODS:
        rows = loss_space.chosen(data.table, method=method, objective=objective)
        mean = loss_space.select(data.extra, "mean", method=method, objective=objective)
        looks = style.METHODS[method]
        for quantity in quantities:
            seeds = np.unique(rows["seed"])
            for seed in seeds if len(seeds) > 1 else ():
                one = loss_space.chosen(rows, seed=seed)
                ax.plot(one["step"], one[quantity], **looks.kwargs(marker="", linewidth=0.5, alpha=PALE))
            own = looks.kwargs(markersize=4.0)
            if quantity == "smallest":
                own |= {"markerfacecolor": "white", "markeredgecolor": looks.colour, "markeredgewidth": 0.9}
            ax.plot(mean["step"], mean[quantity], **own)
    ax.axhline(0.0, color=style.INK, linewidth=0.8, zorder=1)
    chosen = data.table["objective"] == objective
    _draw_symlog(ax, np.concatenate([data.table[quantity][chosen] for quantity in quantities]))


def _draw_symlog(ax: Axes, values: np.ndarray) -> None:
    """Logarithmic to both sides of 0; linear where the smallest tenth is, one to four decades below the largest."""
    from matplotlib.ticker import NullLocator, SymmetricalLogLocator

    sizes = np.abs(values[np.isfinite(values) & (values != 0.0)])
    if not len(sizes):
        return
    top = math.floor(math.log10(float(sizes.max())))
    near = max(top - 4, min(top - 1, math.floor(math.log10(float(np.quantile(sizes, 0.1))))))
    ax.set_yscale("symlog", linthresh=10.0**near, linscale=0.6)
    locator = SymmetricalLogLocator(base=10.0, linthresh=10.0**near)
    locator.set_params(numticks=7)
    ax.yaxis.set_major_locator(locator)
    ax.yaxis.set_minor_locator(NullLocator())


def _draw_gap(ax: Axes, data: Data) -> None:
    """The gap of the mix on logarithmic axes, and beside it the shapes of the theorems."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    from figures.drawing import style
    from figures.drawing.loss_space import PALE

    rows = loss_space.chosen(data.table, objective="mix (held out)")
    for method in loss_space.METHODS:
        looks, own = style.METHODS[method], loss_space.chosen(rows, method=method)
        seeds = np.unique(own["seed"])
        for seed in seeds if len(seeds) > 1 else ():
            ax.plot(*_positive(loss_space.chosen(own, seed=seed)), **looks.kwargs(marker="", linewidth=0.5, alpha=PALE))
        ax.plot(*_positive(loss_space.select(data.extra, "gap", method=method)), **looks.kwargs(markersize=3.5))
    ax.set_xscale("log")
    ax.set_yscale("log")
    for method, name in SHAPES.items():
        fitted = loss_space.select(data.extra, "shape", method=method)
        if fitted and np.isfinite(fitted["value"]).any():
            line: dict[str, Any] = {"linestyle": LINES[method], "linewidth": 1.2, "color": style.INK, "zorder": 6}
            ax.plot(fitted["step"], fitted["value"], label=name, **line)
            ax.legend(loc="best", fontsize=7.5, handlelength=1.8, labelspacing=0.2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel("steps $t$")
    ax.set_title(r"(f) gap of the mix to $f^*$")


def _positive(rows: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(step, gap) after the start, NaN where a logarithm has no place for it."""
    after = rows["step"] > 0
    gap = rows["gap_mix"][after]
    return rows["step"][after], np.where(gap > 0.0, gap, np.nan)


ARTEFACT = Artefact(
    name="curvature",
    title="Not convex: the curvature of the objectives in LoRA's weights, and the gap beside the theorems' shapes",
    paper="beyond the paper",
    cost="seconds, after its runs",
    caption=(
        "The theorems are about convex objectives, whose Hessians have no eigenvalue below 0; a model's need not be "
        "such. Runs of the four methods with λ = 0.5 (Sequential with DPO first) kept their adapters along the way, "
        "and there the Hessian in the adapter's weights was taken on a fixed draw of training rows. (a), (b) Its "
        "largest eigenvalue (filled marks) and its smallest (open marks). LoRA's product B A is itself not convex in "
        "(A, B), so that eigenvalues below 0 are to be expected at the start. (c) The share of the points where the "
        "smallest is below 0; dots are seeds, lines 95 % intervals. (d), (e) The curvature along the gradient, which "
        "is the way a step goes. (f) The gap of the mix on held-out rows, λ times DPO's gap and (1-λ) times SFT's, "
        "each to its own optimum. No model need reach both optima at once, so that it need not go to 0 for any method; "
        "values of 0 and below are not shown. Dotted: the shape log t/√t of Theorem 4.1, for ALRIGHT; dashed: a "
        "constant (Theorem 3.3: the gap does not vanish), for Sequential; each with a factor fitted to the second half "
        "of the steps. They are shapes and not bounds: the theorems are about the last of T steps of a size that "
        "depends on T. In (a), (b), (d), (e), (f) thin lines are seeds, marks their means; axes of curvature are "
        "logarithmic to both sides of 0."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
