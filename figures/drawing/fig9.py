"""Drawing of Figure 9: the two requests to a judge, and the scores of the embedded world's judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style
from figures.drawing.text import Cell, draw_lines, draw_row, draw_rule, height_of, sheet, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

METHOD = "MAXRIGHT"
TERMS = ("fact", "courtesy", "words")
TEXTS = {"answer": f"{METHOD}'s answer", "reference": "the chosen response"}
SIZE, SMALL = 8.5, 6.8
TITLES = {"answer": "(a) asked with the model's answer first", "reference": "(b) asked with the chosen response first"}


def draw(data: Data) -> Figure:
    """Draw the two requests side by side, and below the scores of both texts."""
    wide, gap = (style.PAGE - 0.3) / 2, 0.1
    boxes = {first: _request_lines(data, first, wide - 0.2) for first in TITLES}
    tall = max(sum(height for *_, height in lines) for lines in boxes.values()) + 0.16
    is_scored = "judge" not in data.facts
    texts = {part: wrapped(_only(data, part)["text"], 2.9 if is_scored else 5.4, SIZE) for part in TEXTS}
    count = sum(map(len, texts.values()))
    below = height_of(count + 4, SIZE) + 0.5
    figure, ax = sheet(style.PAGE, 0.3 + tall + 0.1 + below)
    for i, (first, lines) in enumerate(boxes.items()):
        x = 0.1 + i * (wide + gap)
        draw_lines(ax, x, 0.06, [TITLES[first]], size=9.5)
        _draw_box(ax, x, 0.28, wide, tall)
        y = 0.36
        for text, looks, height in lines:
            draw_lines(ax, x + 0.1, y, [text], size=SMALL, **looks)
            y += height
    (_draw_verdict if is_scored else _draw_verdicts)(ax, data, 0.28 + tall + 0.12, texts)
    return figure


def _only(data: Data, part: str) -> dict[str, Any]:
    """Return the single row of a part."""
    (i,) = np.flatnonzero(data.table["part"] == part)
    return {name: column[i] for name, column in data.table.items()}


def _request_lines(data: Data, first: str, width: float) -> list[tuple[str, dict[str, Any], float]]:
    """Return the lines of a request with style and height in inches; headings and filled-in texts are bold."""
    request: list[tuple[str, dict[str, Any], float]] = []
    for i in np.flatnonzero((data.table["part"] == "asked") & (data.table["first"] == first)):
        request.append((str(data.table["role"][i]), {"color": style.QUIET, "style": "italic"}, _tall(1.0)))
        for paragraph in paragraphs(str(data.table["text"][i])):
            given = paragraph.startswith("{")
            looks = {"weight": "bold" if given or paragraph.startswith("#") else "normal"}
            lines = wrapped(paragraph, width, SMALL, bold=looks["weight"] == "bold")
            request += [(line, looks, _tall(1.0)) for line in lines]
            request[-1] = (request[-1][0], looks, _tall(1.35))
    return request


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a request, each on one line; headings and filled-in texts stay separate."""
    joined_lines: list[str] = []
    joined = False
    for line in text.splitlines():
        alone = line.startswith(("{", "#"))
        if line and joined and not alone:
            joined_lines[-1] += f" {line}"
        elif line:
            joined_lines.append(line)
        joined = bool(line) and not alone
    return joined_lines


def _tall(lines: float) -> float:
    """Return the height of some lines of small letters, in inches."""
    return lines * height_of(1, SMALL)


def _draw_box(ax: Axes, x: float, y: float, wide: float, tall: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    looks: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=0.05",
        "facecolor": "none",
        "edgecolor": style.QUIET,
    }
    ax.add_patch(FancyBboxPatch((x, y), wide, tall, linewidth=0.6, **looks))


def _draw_verdict(ax: Axes, data: Data, y: float, texts: dict[str, list[str]]) -> None:
    """Draw the scores of both texts and their terms as a table, with the verdict below."""
    left, right, line = 0.1, style.PAGE - 0.1, height_of(1, SIZE)
    places = (4.95, 5.6, 6.15, right - 0.05)
    draw_lines(ax, left, y, ["(c) scores by the embedded world's judge"], size=9.5)
    y += 0.24
    draw_rule(ax, y, left, right, thick=True)
    y += 0.03
    head = [Cell(text, right=True, quiet=True) for text in ("fact", "courtesy", "words", "score")]
    draw_row(ax, y, head, places, size=SIZE)
    prompt = wrapped(_only(data, "prompt")["text"], 4.3, SIZE)[0]
    draw_lines(ax, left + 0.05, y, [prompt], size=SIZE, weight="bold")
    y += line + 0.03
    draw_rule(ax, y, left, right)
    y += 0.03
    for part, lines in texts.items():
        row = _only(data, part)
        numbers = [Cell(_signed(row[name]), right=True) for name in (*TERMS, "score")]
        draw_row(ax, y, numbers, places, size=SIZE)
        draw_lines(ax, left + 0.05, y, [TEXTS[part]], size=SIZE, color=style.QUIET)
        y = draw_lines(ax, left + 1.4, y, lines, size=SIZE) + 0.02
    draw_rule(ax, y + 0.02, left, right, thick=True)
    verdict = {"tie": "a tie: the scores are equal", **{part: f"{text} is better" for part, text in TEXTS.items()}}
    conclusion = f"Verdict: {verdict[str(data.facts['verdict'])]}; for the win rate a {data.facts['outcome']}."
    y = draw_lines(ax, left + 0.05, y + 0.06, [conclusion], size=SIZE)
    draw_lines(ax, left + 0.05, y + 0.02, [str(data.facts["scale"])], size=7.0, color=style.QUIET)


def _draw_verdicts(ax: Axes, data: Data, y: float, texts: dict[str, list[str]]) -> None:
    """Draw both texts, and below them the verdicts of a language model, or the fact that no judge is named."""
    left, right = 0.1, style.PAGE - 0.1
    judge = str(data.facts["judge"])
    draw_lines(ax, left, y, [f"(c) verdicts by {judge}" if judge else "(c) the texts; no judge is named"], size=9.5)
    y += 0.24
    draw_rule(ax, y, left, right, thick=True)
    y += 0.03
    prompt, *more = wrapped(_only(data, "prompt")["text"], right - left - 0.6, SIZE, bold=True)
    y = draw_lines(ax, left + 0.05, y, [prompt + (" …" if more else "")], size=SIZE, weight="bold") + 0.03
    draw_rule(ax, y, left, right)
    y += 0.03
    for part, lines in texts.items():
        draw_lines(ax, left + 0.05, y, [TEXTS[part]], size=SIZE, color=style.QUIET)
        y = draw_lines(ax, left + 1.4, y, lines, size=SIZE) + 0.02
    draw_rule(ax, y + 0.02, left, right, thick=True)
    replies = np.flatnonzero(data.table["part"] == "reply")
    said = [f"{TEXTS[str(data.table['first'][i])]} first: {_verdict(str(data.table['role'][i]))}" for i in replies]
    conclusion = (
        f"For the win rate: {data.facts['outcome']}." if said else "Not judged: the environment names no judge."
    )
    y = draw_lines(ax, left + 0.05, y + 0.06, ["; ".join([*said, conclusion])], size=SIZE)
    draw_lines(ax, left + 0.05, y + 0.02, [str(data.facts["scale"])], size=7.0, color=style.QUIET)


def _verdict(part: str) -> str:
    """Return a verdict in words."""
    return f"{TEXTS[part]} is better" if part in TEXTS else "no valid verdict"


def _signed(value: float) -> str:
    return f"{value + 0.0:.1f}".replace("-", "−")
