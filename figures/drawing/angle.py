"""Drawing of the critical angle: the gap against the angle, and its growth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

SEQUENTIAL = style.METHODS["Sequential"]
BY_LENGTH = ("#f2b98a", SEQUENTIAL.colour, "#8a3c00")  # short to long runs, shades of Sequential's colour
BY_FAMILY = (SEQUENTIAL.colour, "#0072B2", "#009E73", "#7d3f61")
MARKERS = ("o", "s", "^", "D")
FACT = "critical angle, degrees"
LEAST = 1e-3  # smaller gaps are not drawn in (a)


def draw(data: Data) -> Figure:
    """Draw the gap by length, the gap by sharpness and reference, and the growth, each against the angle."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    axes = figure.subplots(1, 3)
    _draw_lengths(axes[0], data)
    _draw_families(axes[1], data)
    _draw_growth(axes[2], data)
    for ax, letter, title in zip(axes, "abc", ("several lengths", "several objectives", "growth"), strict=True):
        ax.set_title(f"({letter}) {title}")
        ax.axvline(float(data.facts[FACT]), **style.CRITICAL)
        ax.set_xticks([0, 30, 60, 90, 120], ["0°", "30°", "60°", "90°", "120°"])
        ax.set_xlim(0.0, 122.0)
        ax.set_xlabel(r"angle $\psi$ between the features")
    axes[0].set_ylabel(r"gap $G_{\mathrm{Mix},\lambda}(\theta_T)$")
    axes[2].set_ylabel(r"growth of the gap per $\log T$")
    return figure


def _power(T: float) -> str:
    """Return a power of ten as text."""
    return rf"$T=10^{{{round(float(np.log10(T)))}}}$"


def _curve(ax: Axes, own: dict[str, np.ndarray], colour: str, marker: str, label: str) -> None:
    """Draw the law as a line and the simulator as marks."""
    ax.plot(own["degrees"], own["law"], color=colour, linewidth=1.0, zorder=3.0)
    ax.plot(own["degrees"], own["gap"], **_marks(colour, marker), label=label)


def _marks(colour: str, marker: str) -> dict[str, Any]:
    """Return the style of marks without a line."""
    white = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    return {"color": colour, "marker": marker, "linestyle": "none", "markersize": 4.2, "zorder": 4.0, **white}


def _families(data: Data) -> list[tuple[float, float]]:
    """Return the pairs (c, θ_ref) in their order."""
    return list(dict.fromkeys(zip(data.table["c"].tolist(), data.table["theta_ref"].tolist(), strict=True)))


def _draw_lengths(ax: Axes, data: Data) -> None:
    """Draw the first pair (c, θ_ref) for every length."""
    c, theta_ref = _families(data)[0]
    for T, colour, marker in zip(np.unique(data.table["T"]), BY_LENGTH, MARKERS, strict=False):
        own = rows_with(data.table, c=c, theta_ref=theta_ref, T=T)
        _curve(ax, own, colour, marker, _power(T))
    ax.set_yscale("log")
    ax.set_ylim(LEAST, 20.0)
    ax.legend(loc="upper right", handlelength=1.0, labelspacing=0.3, borderaxespad=0.2)


def _draw_families(ax: Axes, data: Data) -> None:
    """Draw the longest runs for every pair (c, θ_ref)."""
    T = data.table["T"].max()
    for (c, theta_ref), colour, marker in zip(_families(data), BY_FAMILY, MARKERS, strict=False):
        own = rows_with(data.table, c=c, theta_ref=theta_ref, T=T)
        _curve(ax, own, colour, marker, rf"$c={c:g}$, $\theta_{{\mathrm{{ref}}}}={theta_ref:g}$")
    ax.set_ylim(0.0, None)
    ax.legend(loc="upper right", title=_power(T), handlelength=1.0, labelspacing=0.3, borderaxespad=0.2)


def _draw_growth(ax: Axes, data: Data) -> None:
    """Draw the growth per log T between the two longest lengths, and the law of its limit."""
    for (c, theta_ref), colour, marker in zip(_families(data), BY_FAMILY, MARKERS, strict=False):
        own = unpack(data.extra, "growth", c=c, theta_ref=theta_ref)
        ax.plot(own["degrees"], own["value"], **_marks(colour, marker))
    far = np.linspace(0.0, 122.0, 400)
    psi = np.radians(far)
    law = float(data.facts["lam"]) * np.maximum(np.cos(psi) - np.sin(psi) ** 2, 0.0)
    ax.plot(far, law, color=style.INK, linewidth=1.0, zorder=3.0)
    ax.axhline(0.0, color=style.QUIET, linewidth=0.5, zorder=1.0)
    top = 1.02 * float(data.facts["lam"])
    ax.annotate(
        r"$\lambda(\cos\psi-\sin^2\psi)_+$", (30.0, law[np.searchsorted(far, 30.0)]), (40.0, 0.78 * top),
        arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": style.QUIET},
    )  # fmt: skip
    ax.annotate(f"{float(data.facts[FACT]):.2f}°", (float(data.facts[FACT]) + 2.0, 0.5 * top))
