"""Drawing of Table 1: means and intervals in per cent, one row per method, one column per λ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style
from figures.drawing.text import Cell, draw_lines, draw_row, draw_rule, height_of, sheet, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

NOTE = 7.0  # size of the notes below the table, in points
BLOCKS = (
    (("accuracy", "multiple choice, 1-shot: right (%)"), ("win rate", "win rate (%)")),
    (
        ("right, preference prompts", "preference prompts: right (%)"),
        ("SFT's manner", "SFT prompts: in SFT's style (%)"),
    ),
)


def draw(data: Data) -> Figure:
    """Draw two blocks of two quantities each: one row per method and order, one column per λ."""
    size, line = 8.5, height_of(1, 8.5) * 1.12
    groups = list(dict.fromkeys(zip(data.table["method"], data.table["order"], strict=True)))
    block = (len(groups) + 2) * line + 0.17
    present = set(data.table["quantity"])
    blocks = [both for both in BLOCKS if present & {quantity for quantity, _ in both}]
    lines = [part for what in ("scale", "judge") for part in wrapped(str(data.facts[what]), style.PAGE - 0.2, NOTE)]
    figure, ax = sheet(style.PAGE, len(blocks) * block + 0.3 + height_of(len(lines), NOTE))
    y = 0.08
    for i, quantities in enumerate(blocks):
        y = _draw_block(ax, data, y, quantities, groups, size=size, line=line, first=i == 0)
    draw_rule(ax, y, 0.05, style.PAGE - 0.05, thick=True)
    draw_lines(ax, 0.08, y + 0.05, lines, size=NOTE, color=style.QUIET)
    return figure


def _draw_block(
    ax: Axes,
    data: Data,
    y: float,
    quantities: Sequence[tuple[str, str]],
    groups: Sequence[tuple[str, str]],
    *,
    size: float,
    line: float,
    first: bool,
) -> float:
    """Draw head and rows of one block from y downwards; return the y below it."""
    left, right, names = 0.05, style.PAGE - 0.05, 1.72
    lams = np.unique(data.table["lam"])
    wide = (right - names) / len(quantities)
    draw_rule(ax, y, left, right, thick=first)
    y += 0.05
    for i, (_, title) in enumerate(quantities):
        start = names + i * wide + 0.12
        draw_lines(ax, start + (wide - 0.12) / 2, y, [title], size=size, ha="center")
        draw_rule(ax, y + line, start, names + (i + 1) * wide)
    y += line + 0.03
    column = (wide - 0.12) / len(lams)
    places = [names + i * wide + 0.12 + (j + 0.5) * column + 0.37 for i in range(2) for j in range(len(lams))]
    head = [Cell(f"λ = {lam:g}", right=True, quiet=True) for _ in quantities for lam in lams]
    draw_row(ax, y, [Cell("method", quiet=True), *head], [left + 0.03, *places], size=size)
    y += line
    draw_rule(ax, y, left, right)
    y += 0.03
    for method, order in groups:
        cells = [_cell(data, quantity, method, order, lam) for quantity, _ in quantities for lam in lams]
        name = Cell(f"{method}, {order}" if order else method)
        draw_row(ax, y, [name, *cells], [left + 0.03, *places], size=size)
        y += line
    return y + 0.06


def _cell(data: Data, quantity: str, method: str, order: str, lam: float) -> Any:
    """Return mean and half of the interval in per cent; bold where the interval lies above all others."""
    table = data.table
    (row,) = np.nonzero(
        (table["quantity"] == quantity)
        & (table["method"] == method)
        & (table["order"] == order)
        & (table["lam"] == lam)
    )
    if not len(row) or not np.isfinite(table["mean"][row[0]]):
        return Cell("–", right=True, quiet=True)
    i = row[0]
    mean, half = 100.0 * table["mean"][i], 100.0 * (table["high"][i] - table["mean"][i])
    text = f"{mean:.1f} ± {half:.1f}" if np.isfinite(half) else f"{mean:.1f}"
    return Cell(text, right=True, bold=bool(data.extra["ahead"][i]))
