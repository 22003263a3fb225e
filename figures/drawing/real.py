"""Drawing of the real model's results: both losses by steps, and the final gaps by method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.real_sweeps import is_usual
from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.loss_space import WIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

LOSSES = {"f_dpo": r"(a) $f_{\mathrm{DPO}}$", "f_sft": r"(b) $f_{\mathrm{SFT}}$"}
SHARES = {"skill_exact_match": "(c) skill: exact answers", "accuracy": "(d) preferences: accuracy"}
CHANCE = {"accuracy": 0.5}
WIDTH = 130  # characters of a line below the axes
HOLLOW = "Sequential, SFT first"  # a second order of a method that is there already


def draw(data: Data) -> Figure:
    """Draw the losses against the steps above, with λ = 1/2 and the base as reference, and all runs' ends below."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(map(str, data.table["label"])))
    shown = [name for name in SHARES if np.isfinite(unpack(data.extra, "mean", quantity=name)["value"]).any()]
    figure = Figure(figsize=(style.PAGE, 2.5 + 0.6 + 0.2 * len(labels)))
    # Apart, so that long labels below do not move the panels above.
    heights = [2.2, 0.6 + 0.2 * len(labels)]
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    usual = list(filter(is_usual, labels))
    for ax, (name, title) in zip(above.subplots(1, 2), LOSSES.items(), strict=True):
        _draw_paths(ax, data, name, title, usual)
    lower = below.subplots(1, 2)
    for ax in lower[len(shown) :]:
        ax.remove()
    for ax, name in zip(lower, shown, strict=False):
        _draw_ends(ax, data, name, labels)
        ax.set_yticks(range(len(labels)), [label.replace("f*", "$f^*$") for label in labels] if ax is lower[0] else [])
        ax.set_ylim(len(labels) - 0.4, -0.6)
    figure.supxlabel(made_line(data), fontsize=7.0, color=style.QUIET)
    return figure


def made_line(data: Data) -> str:
    """Return the text below the axes: whether the results are recorded, the model and steps, when and where made."""
    made = "recorded results: " if data.facts.get("recorded") else ""
    when = f"; {data.facts['made']}" if data.facts.get("made") else ""
    return textwrap.fill(f"{made}{data.facts['scale']}{when}", WIDTH)


def method_of(label: str) -> str:
    """Return the method's printed name in the label of a run: the first word."""
    return label.partition(",")[0].partition(" ")[0]


def looks(label: str) -> dict[str, Any]:
    """Return the looks of a label: those of its method, hollow for a second order of the method."""
    looks = style.METHODS[method_of(label)].kwargs()
    if label.startswith(HOLLOW):
        looks |= {"markerfacecolor": "white", "markeredgecolor": looks["color"], "markeredgewidth": 1.0}
    return looks


def _draw_paths(ax: Axes, data: Data, name: str, title: str, labels: Sequence[str]) -> None:
    """Draw one loss against the steps, a line a label: the mean over seeds."""
    for label in labels:
        path = unpack(data.extra, "path", label=label)
        ax.plot(path["step"], path[name], **looks(label), clip_on=False)
    values = data.table[name][np.isfinite(data.table[name])]
    if values.min() > 0.0 and values.max() > WIDE * values.min():
        ax.set_yscale("log")
    ax.set_title(title)
    ax.set_xlabel("step")
    ax.set_xticks(np.unique(data.table["step"]))
    ax.set_xlim(left=0)


def _draw_ends(ax: Axes, data: Data, name: str, labels: Sequence[str]) -> None:
    """Draw one share at the end: means with intervals, seeds as white dots."""
    if name in CHANCE:
        ax.axvline(CHANCE[name], color=style.QUIET, linewidth=0.8, zorder=1)
    for y, label in enumerate(labels):
        mean = unpack(data.extra, "mean", label=label, quantity=name)
        seen = rows_with(data.table, label=label)
        values = seen[name][seen["step"] == seen["step"].max()]
        ax.hlines(
            y, np.maximum(mean["low"], 0.0), np.minimum(mean["high"], 1.0), color=style.INK, linewidth=0.8, zorder=3
        )
        ax.plot(mean["value"], [y], **looks(label) | {"linestyle": "", "markersize": 6.5}, clip_on=False)
        if len(values) > 1:
            style.draw_seeds(ax, values, np.full(len(values), y), clip_on=False)
    ax.set_xlim(0.0, 1.0)
    ax.set_title(SHARES[name])
