"""Drawing of Tables 2 and 3: the data specification of a toy problem as a printed table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data


def draw(data: Data) -> Figure:
    """Draw the table with rules above it, below its head, between the two inputs, and at its end."""
    from matplotlib.figure import Figure

    from figures.drawing.style import COLUMN, INK, QUIET

    features = [name for name in data.table if name.startswith("feature_")]
    head = ["input", "output", "role", "feature"]
    body = [
        [
            _symbol(str(data.table["input"][i])),
            f"{_symbol(str(data.table['output'][i]))} $= {data.table['label'][i]}$",
            str(data.table["role"][i]),
            _vector([float(data.table[name][i]) for name in features]),
        ]
        for i in range(len(data.table["input"]))
    ]
    height = 0.21 * (len(body) + 1) + 0.12
    figure = Figure(figsize=(COLUMN, height))
    figure.set_layout_engine("none")  # the positions are fixed
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(len(body) + 0.78, -0.78)
    places = (0.02, 0.22, 0.44, 0.78)
    for row, texts in enumerate([head, *body]):
        for x, text in zip(places, texts, strict=True):
            axes.text(x, row, text, va="center", color=QUIET if row == 0 else INK)
    inputs = [str(value) for value in data.table["input"]]
    for y, width in [(-0.62, 1.0), (0.5, 0.6), (len(body) + 0.62, 1.0)]:
        axes.axhline(y, color=INK, linewidth=width)
    for i in range(1, len(inputs)):
        if inputs[i] != inputs[i - 1]:
            axes.axhline(i + 0.5, color=QUIET, linewidth=0.4)
    return figure


def _symbol(text: str) -> str:
    """Return `x_DPO`, `y_w`, `y'` as mathematics in the paper's letters."""
    base, _, index = text.partition("_")
    return rf"${base}_{{\mathrm{{{index}}}}}$" if len(index) > 1 else f"${text}$"


def _vector(values: Sequence[float]) -> str:
    numbers: list[Any] = [r"\frac{1}{2}" if value == 0.5 else f"{value:g}" for value in values]
    return f"${numbers[0]}$" if len(numbers) == 1 else "$(" + r",\ ".join(numbers) + ")$"
