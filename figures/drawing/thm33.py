"""Drawing of Theorem 3.3: the gap with its envelopes, other methods, and the error of the limit."""

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


def draw(data: Data) -> Figure:
    """Draw one column per λ: the gap; the gap beside Mix's and ALRIGHT's, logarithmic; the distance to the limit."""
    from matplotlib.figure import Figure

    lams = np.unique(data.table["lam"])
    figure = Figure(figsize=(style.PAGE, 6.6))
    axes = figure.subplots(3, len(lams), sharex=True, squeeze=False)
    for k, lam in enumerate(lams):
        own = data.table["lam"] == lam
        path = {name: data.table[name][own] for name in ("T", "gap", "lower", "upper")}
        _draw_gap(axes[0, k], data, path, float(lam), k)
        _draw_methods(axes[1, k], data, path, k)
        _draw_limit(axes[2, k], data, path, k)
        axes[0, k].set_title(rf"$\lambda = {lam:g}$")
        axes[2, k].set_xlabel(r"updates $T$")
        axes[2, k].set_xscale("log")
        for ax in axes[1:, k] if k else ():
            ax.sharey(axes[int(ax is axes[2, k]) + 1, 0])
            ax.tick_params(labelleft=False)
    axes[0, 0].set_ylabel(r"(a)  $G_{\mathrm{Mix},\lambda}(\theta_T)$")
    axes[1, 0].set_ylabel(r"(b)  the same, logarithmic")
    axes[2, 0].set_ylabel(r"(c)  $|G-\lambda\log T-\kappa_\lambda|$")
    _draw_legend(figure)
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


def _draw_methods(ax: Axes, data: Data, path: dict[str, np.ndarray], k: int) -> None:
    T, extra = data.extra["joint_T"], data.extra
    ax.fill_between(
        T, extra["low"][k], extra["high"][k], color=style.METHODS["ALRIGHT"].colour, alpha=0.18, linewidth=0.0
    )
    ax.plot(T, extra["bound"][k], **_BOUND)
    ax.plot(path["T"], path["gap"], **_points("Sequential"))
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


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = {
        "Sequential (DPO, then SFT)": Line2D([], [], **_points("Sequential")),
        "Mix": Line2D([], [], **_points("Mix")),
        "ALRIGHT, mean of coins": Line2D([], [], **_points("ALRIGHT")),
        "ALRIGHT, 10% to 90%": Patch(facecolor=style.METHODS["ALRIGHT"].colour, alpha=0.18),
        "lower and upper envelope": Line2D([], [], **_ENVELOPE),
        r"$\lambda\log T+\kappa_\lambda$": Line2D([], [], **_LIMIT),
        "Theorem 4.1's bound": Line2D([], [], **_BOUND),
        "no gap here: proven": Patch(**_PROVEN),
        "proven error in (c)": Line2D([], [], **_ERROR),
        "envelope's width in (c)": Line2D([], [], **_WIDTH),
    }
    style.legend_above(figure, list(handles.values()), list(handles), columns=4)
