"""Drawing of Figure 6: cosines of the closest pairs of prompts, and the texts of one pair."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style
from figures.drawing.loss_space import draw_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

LABELS = {
    "prompts": "both prompts",
    "chosen_target": "chosen and SFT's response",
    "rejected_target": "rejected and SFT's response",
    "chosen_rejected": "chosen and rejected",
}
# No method has one of these styles.
LOOKS: dict[str, dict[str, Any]] = {
    "prompts": {"marker": "_", "color": "#1a1a1a"},
    "chosen_target": {"marker": "o", "color": "#56B4E9"},
    "rejected_target": {"marker": "x", "color": "#A5558C"},
    "chosen_rejected": {"marker": "+", "color": "#767676"},
}
EMBEDDERS = {"token": "mean of token embeddings"}
TEXTS = {
    "prompt": "preference prompt",
    "chosen": "chosen",
    "rejected": "rejected",
    "sft_prompt": "SFT prompt",
    "target": "SFT response",
}
WIDTH, LINES = 40, 3  # characters per line and number of lines of a shown text


def draw(data: Data) -> Figure:
    """Draw cosines over the rank of the pair on the left and the texts of one pair on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.9))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    _draw_cosines(left, data)
    place = example(data)
    left.axvline(data.table["rank"][place], color=style.QUIET, linewidth=0.8, linestyle=":", zorder=1)
    left.set_title("(a) the closest pairs")
    _draw_pair(right, data, place)
    handles = left.get_lines()[: len(LABELS)]
    style.legend_above(figure, handles, list(LABELS.values()))
    kind = str(data.facts["embedder"])
    draw_scale(figure, data, f"; {EMBEDDERS.get(kind, kind)}; {data.facts['preference_prompts']} preference prompts")
    return figure


def example(data: Data) -> int:
    """Return the index of the pair whose texts are shown: the closest with two different prompts, else the first."""
    differ = np.flatnonzero(data.table["prompt"] != data.table["sft_prompt"])
    return int(differ[0]) if len(differ) else 0


def _draw_cosines(ax: Axes, data: Data) -> None:
    """Draw one marker per pair and the means as lines."""
    for name in LABELS:
        looks = {**LOOKS[name], "linestyle": "", "markersize": 4.0, "markeredgewidth": 1.0}
        ax.plot(data.table["rank"], data.table[name], **looks)
    for name in LABELS:
        ax.axhline(data.table[name].mean(), color=LOOKS[name]["color"], linewidth=0.9, zorder=1)
    low = min(float(data.table[name].min()) for name in LABELS)
    ax.set_ylim(math.floor(10.0 * (low - 0.02)) / 10.0, 1.02)
    ax.set_xlabel("pair of prompts, the closest first")
    ax.set_ylabel("cosine")


def _draw_pair(ax: Axes, data: Data, place: int) -> None:
    """Write the texts of one pair, cut to a few lines."""
    ax.set_axis_off()
    ax.set_title(f"(b) pair {data.table['rank'][place]}")
    y = 0.97
    for name, label in TEXTS.items():
        text = cut(str(data.table[name][place]))
        ax.text(0.0, y, label, fontsize=7.5, color=style.QUIET, va="top", transform=ax.transAxes)
        ax.text(0.0, y - 0.052, text, fontsize=8.0, va="top", transform=ax.transAxes, parse_math=False)
        y -= 0.052 * (text.count("\n") + 2) + 0.045


def cut(text: str) -> str:
    """Return a text in at most LINES short lines of ASCII characters; others become `?`."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in " ".join(text.split()))
    return "\n".join(textwrap.wrap(plain, WIDTH, max_lines=LINES, placeholder=" ...")) or "(nothing)"
