"""Drawing of Theorem 3.3: the gap with its envelopes, other methods, the error of the limit, other schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data


FLOOR = 1e-12  # smaller gaps are rounding errors and not drawn
_ENVELOPE: dict[str, Any] = {"color": "#8a3c00", "linewidth": 0.7, "linestyle": "-", "zorder": 6.0}
_WIDTH: dict[str, Any] = {"color": "#8a3c00", "linewidth": 1.2, "linestyle": (0, (1.0, 1.0))}
_LIMIT: dict[str, Any] = {"color": style.INK, "linewidth": 0.8, "linestyle": (0, (4.0, 2.5)), "zorder": 2.0}
_PROVEN: dict[str, Any] = {"facecolor": "#ececec", "edgecolor": "#767676", "hatch": "////", "linewidth": 0.0}
_ERROR: dict[str, Any] = {"color": style.INK, "linewidth": 0.8, "linestyle": "-", "zorder": 6.0}
_BOUND: dict[str, Any] = {
    "color": style.METHODS["ALRIGHT"].colour,
    "linewidth": 0.8,
    "linestyle": (0, (4.0, 2.5)),
    "zorder": 2.0,
}


_SHAPES: tuple[dict[str, Any], ...] = tuple(
    {"marker": marker, "color": colour, "linestyle": "none", "markersize": 3.6, "markerfacecolor": "none"}
    for marker, colour in (("o", "#8a3c00"), ("s", "#3b6ea5"), ("^", "#2e7d5b"), ("v", "#8e5aa8"), ("D", "#767676"))
)


def draw(data: Data) -> Figure:
    """Draw one column per λ: the gap; all methods with equal steps; the distance to the limit; other schedules."""
    from matplotlib.figure import Figure

    lams = np.unique(data.table["lam"])
    figure = Figure(figsize=(style.PAGE, 8.9))
    axes = figure.subplots(4, len(lams), squeeze=False)
    for k, lam in enumerate(lams):
        own = data.table["lam"] == lam
        path = {name: data.table[name][own] for name in ("T", "gap", "lower", "upper")}
        _draw_gap(axes[0, k], data, path, float(lam), k)
        _draw_methods(axes[1, k], data, k)
        _draw_limit(axes[2, k], data, path, k)
        axes[0, k].set_title(rf"$\lambda = {lam:g}$")
        _draw_schedules(axes[3, k], data, k)
        for row in range(3):
            axes[row, k].set_xscale("log")
            axes[row, k].set_xlim(0.7, 1.4 * path["T"][-1])
            axes[row, k].tick_params(labelbottom=row == 2)
        axes[2, k].set_xlabel(r"updates $T$")
        for row in (1, 2) if k else ():
            axes[row, k].sharey(axes[row, 0])
            axes[row, k].tick_params(labelleft=False)
    axes[0, 0].set_ylabel(r"(a)  $G_{\mathrm{Mix},\lambda}(\theta_T)$")
    axes[1, 0].set_ylabel(r"(b)  all with $\alpha_0/\sqrt{T+1}$")
    axes[2, 0].set_ylabel(r"(c)  $|G-\lambda\log T-\kappa_\lambda|$ of (a)")
    axes[3, 0].set_ylabel(r"(d)  $G$, any schedule")
    _draw_legend(figure, [str(name) for name in data.extra["shapes"]])
    return figure


def _points(name: str) -> dict[str, Any]:
    """Return a method's style with smaller markers, since there are many."""
    return style.METHODS[name].kwargs(markersize=3.4, linewidth=1.0, markeredgewidth=0.3)


def _draw_gap(ax: Axes, data: Data, path: dict[str, np.ndarray], lam: float, k: int) -> None:
    T, kappa = path["T"], float(data.extra["kappa"][k, 0])
    when, g = data.extra["proven_T0"], data.extra["proven_g"]
    ax.fill_between([*when, T[-1]], 0.0, [*g, g[-1]], step="post", zorder=1.0, **_PROVEN)
    growth = lam * np.log(T) + kappa
    ax.plot(T[growth > 0], growth[growth > 0], **_LIMIT)
    ax.plot(T, path["gap"], **_points("Sequential") | {"linestyle": "none"})
    ax.plot(T, np.stack([path["lower"], path["upper"]], axis=-1), **_ENVELOPE)
    ax.set_ylim(0.0, 1.05 * path["gap"].max())


def _draw_methods(ax: Axes, data: Data, k: int) -> None:
    T, extra = data.extra["joint_T"], data.extra
    ax.fill_between(
        T, extra["low"][k], extra["high"][k], color=style.METHODS["ALRIGHT"].colour, alpha=0.18, linewidth=0.0
    )
    ax.plot(T, extra["bound"][k], **_BOUND)
    ax.plot(T, extra["sequential"][k], **_points("Sequential"))
    mix = np.where(extra["mix"][k] > FLOOR, extra["mix"][k], np.nan)
    ax.plot(T, mix, **_points("Mix"))
    ax.plot(T, extra["alright"][k], **_points("ALRIGHT"))
    ax.set_yscale("log")
    ax.set_ylim(1e-6, 40.0)


def _draw_limit(ax: Axes, data: Data, path: dict[str, np.ndarray], k: int) -> None:
    ax.plot(path["T"], np.abs(data.extra["away"][k]), **_points("Sequential"))
    ax.plot(path["T"], data.extra["error"][k], **_ERROR)
    ax.plot(path["T"], path["upper"] - path["lower"], **_WIDTH)
    ax.set_yscale("log")


def _draw_schedules(ax: Axes, data: Data, k: int) -> None:
    extra = data.extra
    totals, gaps = extra["totals"], extra["gaps"][k]
    far = np.geomspace(totals.min(), totals.max(), 200)
    # The law is a line in log(total), through every point of `laws`.
    first, last = extra["laws"][k].min(), extra["laws"][k].max()
    law = np.interp(np.log(far), np.log([totals.min(), totals.max()]), [first, last])
    reached = extra["any_total"] < totals.max()
    when, g = extra["any_total"][reached], extra["any_g"][reached]
    ax.fill_between([*when, totals.max()], 0.0, [*g, *g[-1:]] or [0.0], step="post", zorder=1.0, **_PROVEN)
    ax.plot(far[law > 0], law[law > 0], **_LIMIT)
    for own, gap, shape in zip(totals, gaps, _SHAPES, strict=True):
        ax.plot(own, gap, **shape)
    ax.set_xscale("log")
    ax.set_xlabel(r"total step $c^2\sum\alpha$ of a phase")
    ax.set_ylim(0.0, 1.05 * gaps.max())


def _draw_legend(figure: Figure, shapes: list[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = {
        "Sequential (DPO, then SFT)": Line2D([], [], **_points("Sequential")),
        "Mix": Line2D([], [], **_points("Mix")),
        "ALRIGHT, mean of coins": Line2D([], [], **_points("ALRIGHT")),
        "ALRIGHT, 10% to 90%": Patch(facecolor=style.METHODS["ALRIGHT"].colour, alpha=0.18),
        "lower and upper envelope": Line2D([], [], **_ENVELOPE),
        "the law, in (a) and (d)": Line2D([], [], **_LIMIT),
        "Theorem 4.1's bound": Line2D([], [], **_BOUND),
        "no gap here: proven": Patch(**_PROVEN),
        "proven error in (c)": Line2D([], [], **_ERROR),
        "envelope's width in (c)": Line2D([], [], **_WIDTH),
    }
    handles |= {f"{name}, in (d)": Line2D([], [], **shape) for name, shape in zip(shapes, _SHAPES, strict=True)}
    style.legend_above(figure, list(handles.values()), list(handles), columns=4)
