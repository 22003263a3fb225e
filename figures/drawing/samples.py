"""Drawing of the sample answers as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from figures.drawing import style
from figures.drawing.text import draw_lines, draw_rule, height_of, sheet, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

SIZE = 8.0
NAMES, ANSWERS, SCORES, FACTS, MANNERS = (
    0.1,
    1.2,
    5.6,
    5.78,
    6.28,
)  # left edges of the columns, in inches; SCORES is a right edge
MOST = 6  # lines of an answer; the CSV has its whole text
REFERENCES = ("chosen response", "target")  # answers of the data


def draw(data: Data) -> Figure:
    """Draw one block per prompt: the prompt, the reference answer of the data, the models' answers, their scores."""
    blocks = _blocks(data)
    count = sum(1 + sum(len(lines) for _, lines in block) for block in blocks)
    height = 0.52 + height_of(count, SIZE) + 0.12 * len(blocks) + 0.12
    figure, ax = sheet(style.PAGE, height)
    left, right = 0.05, style.PAGE - 0.05
    draw_rule(ax, 0.06, left, right, thick=True)
    scored = ((FACTS, "fact"), (MANNERS, "style")) if "score" in data.table else ()
    for x, text in ((NAMES, "answer of"), (ANSWERS, "answer"), *scored):
        draw_lines(ax, x, 0.09, [text], size=SIZE, color=style.QUIET)
    if scored:
        draw_lines(ax, SCORES, 0.09, ["score"], size=SIZE, color=style.QUIET, ha="right")
    y = 0.09 + height_of(1, SIZE) + 0.03
    for block in blocks:
        draw_rule(ax, y, left, right)
        y = _draw_block(ax, data, block, y + 0.04) + 0.08
    draw_rule(ax, y, left, right, thick=True)
    draw_lines(ax, NAMES, y + 0.04, [str(data.facts["scale"])], size=7.0, color=style.QUIET)
    return figure


def _blocks(data: Data) -> list[list[tuple[int, list[str]]]]:
    """Return the rows of the table by prompt, each with its answer wrapped into lines."""
    blocks: dict[tuple[str, int], list[tuple[int, list[str]]]] = {}
    width = (SCORES - 0.35 if "score" in data.table else style.PAGE - 0.15) - ANSWERS
    for i, answer in enumerate(data.table["answer"]):
        key = str(data.table["set"][i]), int(data.table["number"][i])
        lines = wrapped(str(answer) or "(nothing)", width, SIZE)
        blocks.setdefault(key, []).append((i, lines if len(lines) <= MOST else [*lines[: MOST - 1], "…"]))
    return list(blocks.values())


def _draw_block(ax: Axes, data: Data, block: list[tuple[int, list[str]]], y: float) -> float:
    row: Mapping[str, Any] = {name: column[block[0][0]] for name, column in data.table.items()}
    prompt, *more = wrapped(str(row["prompt"]), style.PAGE - 0.6 - ANSWERS, SIZE, bold=True)
    prompt += " …" if more else ""
    draw_lines(ax, NAMES, y, [f"{row['set']} {row['number']}"], size=SIZE, weight="bold")
    y = draw_lines(ax, ANSWERS, y, [prompt], size=SIZE, weight="bold")
    for i, lines in block:
        row = {name: column[i] for name, column in data.table.items()}
        own = row["answer_of"] in REFERENCES
        looks: dict[str, Any] = {"size": SIZE, "color": style.QUIET if own else style.INK}
        draw_lines(ax, NAMES, y, [str(row["answer_of"])], **looks)
        if "score" in row:
            draw_lines(ax, SCORES, y, [f"{row['score']:.1f}".replace("-", "−")], ha="right", **looks)
            draw_lines(ax, FACTS, y, ["right" if row["right"] else "wrong"], **looks)
            draw_lines(ax, MANNERS, y, ["SFT's" if row["fuller"] else "other"], **looks)
        y = draw_lines(ax, ANSWERS, y, lines, **looks)
    return y
