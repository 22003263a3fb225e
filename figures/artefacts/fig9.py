"""Figure 9: one judged instance, what a judge is asked and what it says (arXiv 2410.15483v3, App. D)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import judged_answers
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Check, Data, Request, equal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHOD = "MAXRIGHT"
# what the judge's score is made of; `_sound` holds this against the score itself
WORD_COST, FREE_WORDS, COURTESY, FACTS = 0.1, 8, 1.0, {"right": 2.0, "wrong": -1.0, "none": 0.0}
TERMS = ("fact", "courtesy", "words")
TEXTS = {"answer": f"{METHOD}'s answer", "reference": "the chosen response"}
COLUMNS = ("part", "first", "role", "text", *TERMS, "score")


def parameters(request: Request) -> dict[str, Any]:
    """One run, with its answers."""
    return {"grids": judged_answers.grids(request, [METHOD.lower()])}


def compute(parameters: dict[str, Any]) -> Data:
    """The first held-out prompt: both texts with their scores and what these are made of, and what judges are asked."""
    from llm.judging import Pair, instance
    from llm.judging.world import judge_of

    about, rows = judged_answers.answers(parameters)[METHOD]
    row = judged_answers.first(rows, "preference", 1)[0]
    judge = judge_of(judged_answers.world_of(about["folder"]))
    found = instance(Pair(row["prompt"], row["answer"], row["reference"]), judge)
    lines: list[Row] = [{"part": "prompt", "text": found["prompt"]}]
    for part in TEXTS:
        lines.append({"part": part, "text": found[part], **terms(found[part], found["scores"][part])})
    for order in found["orders"]:
        lines += [{"part": "asked", "first": order["first"], **_message(one)} for one in order["messages"]]
    blank = dict.fromkeys(("first", "role"), "") | dict.fromkeys((*TERMS, "score"), math.nan)
    return Data(
        table={name: np.array([{**blank, **line}[name] for line in lines]) for name in COLUMNS},
        facts={
            "verdict": found["verdict"],
            "outcome": found["outcome"],
            "template": found["template"],
            "scale": judged_answers.scale(parameters, about),
        },
        checks=_sound(row, found, lines),
    )


def _message(one: Row) -> Row:
    return {"role": one["role"], "text": one["content"]}


def terms(text: str, score: float) -> Row:
    """What a score is made of: for the courtesy, for the words, and the rest, which is for the fact."""
    from llm.embedded.language import COURTESIES

    words = -WORD_COST * max(0, len(text.split()) - FREE_WORDS)
    courtesy = COURTESY if text.strip().startswith(COURTESIES) else 0.0
    return {"fact": round(score - words - courtesy, 12), "courtesy": courtesy, "words": words, "score": score}


def _sound(row: Row, found: Row, lines: list[Row]) -> tuple[Check, ...]:
    """That the measured scores are the judge's, and that the terms are what the caption says they are."""
    apart = max(abs(row[f"{p}score"] - found["scores"][of]) for p, of in (("", "answer"), ("reference_", "reference")))
    scored = {line["part"]: line["fact"] for line in lines if line["part"] in TEXTS}
    other = min(abs(scored["reference"] - value) for value in FACTS.values())
    own = [FACTS["right"]] if row["right"] else [FACTS["wrong"], FACTS["none"]]
    missed = max(other, min(abs(scored["answer"] - value) for value in own))
    statement = "what the terms leave of a score is 2 for a right fact, −1 or 0 for any other, within 1e-9"
    return (
        equal("measured", "the scores are those that were measured, exactly", 0.0, apart, tolerance=0.0),
        equal("terms", statement, 0.0, missed, tolerance=1e-9),
    )


SIZE, SMALL = 8.5, 6.8
TITLES = {"answer": "(a) asked with the model's answer first", "reference": "(b) asked with the chosen response first"}


def draw(data: Data) -> Figure:
    """The two requests side by side, below them what the world's judge makes of both texts."""
    from figures.drawing import style
    from figures.drawing import text as textual

    wide, gap = (style.PAGE - 0.3) / 2, 0.1
    boxes = {first: _draw_request(data, first, wide - 0.2) for first in TITLES}
    tall = max(sum(height for *_, height in lines) for lines in boxes.values()) + 0.16
    texts = {part: textual.wrapped(_only(data, part)["text"], 2.9, SIZE) for part in TEXTS}
    count = sum(map(len, texts.values()))
    below = textual.height_of(count + 4, SIZE) + 0.5
    figure, ax = textual.sheet(style.PAGE, 0.3 + tall + 0.1 + below)
    for i, (first, lines) in enumerate(boxes.items()):
        x = 0.1 + i * (wide + gap)
        textual.draw_lines(ax, x, 0.06, [TITLES[first]], size=9.5)
        _draw_box(ax, x, 0.28, wide, tall)
        y = 0.36
        for text, looks, height in lines:
            textual.draw_lines(ax, x + 0.1, y, [text], size=SMALL, **looks)
            y += height
    _draw_verdict(ax, data, 0.28 + tall + 0.12, texts)
    return figure


def _only(data: Data, part: str) -> Row:
    (i,) = np.flatnonzero(data.table["part"] == part)
    return {name: column[i] for name, column in data.table.items()}


def _draw_request(data: Data, first: str, room: float) -> list[tuple[str, dict[str, Any], float]]:
    """The lines of a request, each with its looks and height; the outputs stand out."""
    from figures.drawing import style
    from figures.drawing import text as textual

    found: list[tuple[str, dict[str, Any], float]] = []
    for i in np.flatnonzero((data.table["part"] == "asked") & (data.table["first"] == first)):
        found.append((str(data.table["role"][i]), {"color": style.QUIET, "style": "italic"}, _tall(1.0)))
        for paragraph in _draw_paragraphs(str(data.table["text"][i])):
            given = paragraph.startswith("{")
            looks = {"weight": "bold" if given or paragraph.startswith("#") else "normal"}
            lines = textual.wrapped(paragraph, room, SMALL, bold=looks["weight"] == "bold")
            found += [(line, looks, _tall(1.0)) for line in lines]
            found[-1] = (found[-1][0], looks, _tall(1.35))
    return found


def _draw_paragraphs(text: str) -> list[str]:
    """Lines that belong together as one; heads and what was filled in stand alone."""
    found: list[str] = []
    joined = False
    for line in text.splitlines():
        alone = line.startswith(("{", "#"))
        if line and joined and not alone:
            found[-1] += f" {line}"
        elif line:
            found.append(line)
        joined = bool(line) and not alone
    return found


def _tall(lines: float) -> float:
    from figures.drawing import text as textual

    return lines * textual.height_of(1, SMALL)


def _draw_box(ax: Axes, x: float, y: float, wide: float, tall: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    from figures.drawing import style

    looks: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=0.05",
        "facecolor": "none",
        "edgecolor": style.QUIET,
    }
    ax.add_patch(FancyBboxPatch((x, y), wide, tall, linewidth=0.6, **looks))


def _draw_verdict(ax: Axes, data: Data, y: float, texts: dict[str, list[str]]) -> None:
    """The scores of both texts and what they are made of, as a table, and the verdict under it."""
    from figures.drawing import style
    from figures.drawing import text as textual
    from figures.drawing.text import Cell

    left, right, line = 0.1, style.PAGE - 0.1, textual.height_of(1, SIZE)
    places = (4.95, 5.6, 6.15, right - 0.05)
    textual.draw_lines(ax, left, y, ["(c) what the embedded world's judge makes of it"], size=9.5)
    y += 0.24
    textual.draw_rule(ax, y, left, right, thick=True)
    y += 0.03
    head = [Cell(text, right=True, quiet=True) for text in ("fact", "courtesy", "words", "score")]
    textual.draw_row(ax, y, head, places, size=SIZE)
    prompt = textual.wrapped(_only(data, "prompt")["text"], 4.3, SIZE)[0]
    textual.draw_lines(ax, left + 0.05, y, [prompt], size=SIZE, weight="bold")
    y += line + 0.03
    textual.draw_rule(ax, y, left, right)
    y += 0.03
    for part, lines in texts.items():
        row = _only(data, part)
        numbers = [Cell(_signed(row[name]), right=True) for name in (*TERMS, "score")]
        textual.draw_row(ax, y, numbers, places, size=SIZE)
        textual.draw_lines(ax, left + 0.05, y, [TEXTS[part]], size=SIZE, color=style.QUIET)
        y = textual.draw_lines(ax, left + 1.4, y, lines, size=SIZE) + 0.02
    textual.draw_rule(ax, y + 0.02, left, right, thick=True)
    verdict = {"tie": "a tie: the scores are equal", **{part: f"{text} is better" for part, text in TEXTS.items()}}
    said = f"Verdict: {verdict[str(data.facts['verdict'])]}; for the win rate a {data.facts['outcome']}."
    y = textual.draw_lines(ax, left + 0.05, y + 0.06, [said], size=SIZE)
    textual.draw_lines(ax, left + 0.05, y + 0.02, [str(data.facts["scale"])], size=7.0, color=style.QUIET)


def _signed(value: float) -> str:
    return f"{value + 0.0:.1f}".replace("-", "−")


ARTEFACT = Artefact(
    name="fig9",
    title="One judged instance",
    paper="Figure 9",
    cost="seconds, after its run",
    caption=(
        "The first held-out prompt of the preference set, with MAXRIGHT's greedy answer (λ = 0.5, the first seed) and "
        "the chosen response; it was not picked. (a), (b) What a language model would be asked as a judge, once in "
        "either order; only a verdict that both orders agree on counts as a win or a loss. (c) The embedded world's "
        "judge, who is asked here, reads no requests: it gives each text a score of its own, so that no order can "
        "sway it. Fact: 2 if it is right, −1 if it is wrong; courtesy: 1 if the text begins with one; words: 0.1 off "
        "for each beyond eight. The better score wins."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
