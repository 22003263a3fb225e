"""Drawing of the ledger of claims as a table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from figures.analysis.multiple import MARK
from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data

MARKS = {"fails": "FAILS"}
WRAP = 92  # characters per line of a statement


def draw(data: Data) -> Figure:
    """Draw claim, statement, verdict and evidence of every claim, one row each."""
    from matplotlib.figure import Figure

    table = data.table
    rows = range(len(table["claim"]))
    lines = [textwrap.wrap(str(table["statement"][i]), WRAP) for i in rows]
    heights = [max(1, len(own)) for own in lines]
    figure = Figure(figsize=(style.PAGE, 0.145 * (sum(heights) + 0.8 * len(heights) + 3)))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(sum(heights) + 0.8 * len(heights) + 1.4, -1.0)
    columns = (0.0, 0.235, 0.765, 0.84)
    for x, head in zip(columns, ("claim", "statement", "verdict", "evidence; checked"), strict=True):
        ax.text(x, 0, head, weight="bold", va="center", fontsize=8)
    ax.axhline(0.9, color=style.INK, linewidth=0.8)
    y = 1.3
    for i in rows:
        verdict = str(table["verdict"][i])
        weight = "normal" if verdict in ("holds", "seen") else "bold"
        how, checked = str(table["how"][i]), str(table["checked"][i])
        evidence = how if checked in ("", how) else f"{how}; {checked}"
        mark = MARK if table["survives"][i] == "yes" else ""
        cells = (table["claim"][i], "\n".join(lines[i]), MARKS.get(verdict, verdict) + mark, evidence)
        for x, cell in zip(columns, cells, strict=True):
            ax.text(x, y, str(cell), va="top", fontsize=6.2, weight=weight, parse_math=False, linespacing=1.25)
        y += heights[i] + 0.8
        ax.axhline(y - 0.3, color=style.GRID, linewidth=0.4)
    return figure
