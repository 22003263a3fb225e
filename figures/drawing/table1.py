"""Drawing of Table 1: means and intervals in per cent, one row per method, one column per λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import unpack
from figures.drawing import style
from figures.drawing.text import Cell, draw_lines, draw_row, draw_rule, height_of, sheet, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

BASE = "base"  # in place of a method: the model before training, which has no λ
NOTE = 7.0  # size of the notes below the table, in points
BLOCKS = (
    (("accuracy", "multiple choice, 1-shot: right (%)"), ("win rate", "win rate (%)")),
    (
        ("right, preference prompts", "preference prompts: right (%)"),
        ("SFT's manner", "SFT prompts: in SFT's style (%)"),
    ),
)
REAL = (
    ("accuracy", "MMLU, 1-shot: right (%)"),
    ("preferences", "held-out pairs: preferred (%)"),
    ("refused, safe prompts", "XSTest, safe prompts: refused (%)"),
    ("refused, unsafe prompts", "XSTest, unsafe prompts: refused (%)"),
    ("skill", "skill: exact answers (%)"),
    ("win rate", "win rate (%)"),
)
# column of the recorded benchmarks -> its head; with an interval where there are NAME_low and NAME_high
RECORDED = {
    "mmlu": "MMLU",
    "safe": "XSTest, safe",
    "unsafe": "XSTest, unsafe",
    "object": "JSON",
    "preferences": "preferred",
    "skill": "skill",
}


def draw(data: Data) -> Figure:
    """Draw blocks of two quantities each: one row per method and order, one column per λ; below, recorded ones."""
    size, line = 8.5, height_of(1, 8.5) * 1.12
    groups = list(dict.fromkeys(zip(data.table["method"], data.table["order"], strict=True)))
    blocks = _blocks(set(data.table["quantity"]))
    rows = [len(_groups(data, groups, quantities)) for quantities in blocks]
    lines = [part for what in ("scale", "judge") for part in wrapped(str(data.facts[what]), style.PAGE - 0.2, NOTE)]
    recorded = unpack(data.extra, "recorded")
    origin = wrapped(f"recorded: {data.facts['recorded']}", style.PAGE - 0.2, NOTE) if recorded else []
    below = (len(recorded["label"]) + 2) * line + 0.35 + height_of(len(origin), NOTE) if recorded else 0.0
    height = sum((count + 2) * line + 0.17 for count in rows)
    figure, ax = sheet(style.PAGE, height + 0.3 + height_of(len(lines), NOTE) + below)
    y = 0.08
    for i, quantities in enumerate(blocks):
        y = _draw_block(ax, data, y, quantities, groups, size=size, line=line, first=i == 0)
    draw_rule(ax, y, 0.05, style.PAGE - 0.05, thick=True)
    y = draw_lines(ax, 0.08, y + 0.05, lines, size=NOTE, color=style.QUIET)
    if recorded:
        y = _draw_recorded(ax, recorded, y + 0.15, size=size, line=line)
        draw_lines(ax, 0.08, y + 0.05, origin, size=NOTE, color=style.QUIET)
    return figure


def _blocks(present: set[str]) -> list[tuple[tuple[str, str], ...]]:
    """Return the blocks that have one of these quantities: pairs of quantity and title."""
    if "preferences" not in present:
        return [both for both in BLOCKS if present & {quantity for quantity, _ in both}]
    shown = [pair for pair in REAL if pair[0] in present]
    return [tuple(shown[i : i + 2]) for i in range(0, len(shown), 2)]


def _draw_recorded(ax: Axes, recorded: Mapping[str, np.ndarray], y: float, *, size: float, line: float) -> float:
    """Draw the recorded benchmarks of a real model, one row per run, in per cent; return the y below them."""
    left, right, names = 0.05, style.PAGE - 0.05, 2.1
    heads = {name: head for name, head in RECORDED.items() if np.isfinite(recorded[name]).any()}
    column = (right - names) / len(heads)
    places = [names + (i + 1) * column - 0.05 for i in range(len(heads))]
    draw_lines(
        ax, left + 0.03, y, ["a real model, recorded (%): XSTest's prompts refused, or answered by JSON"], size=size
    )
    y += line
    draw_rule(ax, y, left, right, thick=True)
    y += 0.05
    head = [Cell(title, right=True, quiet=True) for title in heads.values()]
    draw_row(ax, y, [Cell("method", quiet=True), *head], [left + 0.03, *places], size=size)
    y += line
    draw_rule(ax, y, left, right)
    y += 0.03
    for i, label in enumerate(recorded["label"]):
        cells = [Cell(_percent(recorded, name, i), right=True) for name in heads]
        draw_row(ax, y, [Cell(str(label)), *cells], [left + 0.03, *places], size=size)
        y += line
    draw_rule(ax, y + 0.02, left, right, thick=True)
    return y + 0.02


def _percent(recorded: Mapping[str, np.ndarray], name: str, i: int) -> str:
    """Return a value in per cent, with its interval if that is known; a dash for an unknown value."""
    if not np.isfinite(recorded[name][i]):
        return "–"
    text = f"{100.0 * recorded[name][i]:.0f}"
    ends = [recorded[f"{name}_{end}"][i] for end in ("low", "high") if f"{name}_{end}" in recorded]
    return f"{text} [{', '.join(f'{100.0 * end:.0f}' for end in ends)}]" if np.isfinite(ends).all() and ends else text


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
    lams = np.unique(data.table["lam"][np.isfinite(data.table["lam"])])
    wide = (right - names) / 2
    draw_rule(ax, y, left, right, thick=first)
    y += 0.05
    for i, (_, title) in enumerate(quantities):
        start = names + i * wide + 0.12
        draw_lines(ax, start + (wide - 0.12) / 2, y, [title], size=size, ha="center")
        draw_rule(ax, y + line, start, names + (i + 1) * wide)
    y += line + 0.03
    column = (wide - 0.12) / len(lams)
    places = [
        names + i * wide + 0.12 + (j + 0.5) * column + 0.37 for i in range(len(quantities)) for j in range(len(lams))
    ]
    head = [Cell(f"λ = {lam:g}", right=True, quiet=True) for _ in quantities for lam in lams]
    draw_row(ax, y, [Cell("method", quiet=True), *head], [left + 0.03, *places], size=size)
    y += line
    draw_rule(ax, y, left, right)
    y += 0.03
    for method, order in _groups(data, groups, quantities):
        cells = [_cell(data, quantity, method, order, lam) for quantity, _ in quantities for lam in lams]
        name = Cell(f"{method}, {order}" if order else method)
        draw_row(ax, y, [name, *cells], [left + 0.03, *places], size=size)
        y += line
    return y + 0.06


def _groups(
    data: Data, groups: Sequence[tuple[str, str]], quantities: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the rows of a block, method and order: all but the base where the base has no value."""
    shown = set(zip(data.table["method"], data.table["quantity"], strict=True))
    has_base = any((BASE, quantity) in shown for quantity, _ in quantities)
    return [group for group in groups if group[0] != BASE or has_base]


def _cell(data: Data, quantity: str, method: str, order: str, lam: float) -> Any:
    """Return mean and half of the interval in per cent; bold where the interval lies above all others.

    The base, which has no λ, has its value in the first column.
    """
    table = data.table
    (row,) = np.nonzero(
        (table["quantity"] == quantity)
        & (table["method"] == method)
        & (table["order"] == order)
        & ((table["lam"] == lam) | (np.isnan(table["lam"]) & (lam == table["lam"][np.isfinite(table["lam"])].min())))
    )
    if method == BASE and not len(row):
        return Cell("", right=True)
    if not len(row) or not np.isfinite(table["mean"][row[0]]):
        return Cell("–", right=True, quiet=True)
    i = row[0]
    mean, half = 100.0 * table["mean"][i], 100.0 * (table["high"][i] - table["mean"][i])
    text = f"{mean:.1f} ± {half:.1f}" if np.isfinite(half) else f"{mean:.1f}"
    return Cell(text, right=True, bold=bool(data.extra["ahead"][i]))
