"""What the four models say: greedy answers to held-out prompts (arXiv 2410.15483v3, App. D.5, has such samples)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import judged_answers, loss_space, sweeps
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Data, Request, equal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROMPTS = {"preference": 3, "sft": 2}  # the first so many held-out rows of each set
REFERENCES = {"preference": "chosen response", "sft": "target"}
SETS = {"preference": "preference", "sft": "SFT"}


def parameters(request: Request) -> dict[str, Any]:
    """A run of each method, with its answers."""
    return {"grids": judged_answers.grids(request, sweeps.ALL), "prompts": PROMPTS}


def compute(parameters: dict[str, Any]) -> Data:
    """A row an answer: the data's own first, then the methods'."""
    found = judged_answers.answers(parameters)
    methods = [name for name in loss_space.METHODS if name in found]
    abouts = [found[name][0] for name in methods]
    taken = {
        name: {of: judged_answers.first(found[name][1], of, count) for of, count in parameters["prompts"].items()}
        for name in methods
    }
    world = judged_answers.world_of(abouts[0]["folder"])
    rows: list[Row] = []
    other = 0
    for of in parameters["prompts"]:
        for i, first in enumerate(taken[methods[0]][of]):
            about = {"set": SETS[of], "number": i + 1, "prompt": first["prompt"]}
            rows.append({**about, "answer_of": REFERENCES[of], **_reference(world, first)})
            for name in methods:
                row = taken[name][of][i]
                other += (row["prompt"], row["reference"]) != (first["prompt"], first["reference"])
                told = {"answer": row["answer"], "score": row["score"], "right": row["right"], "fuller": row["fuller"]}
                rows.append({**about, "answer_of": name, **told})
    same = "all models were asked the same, and for the same: prompts or references that differ"
    return Data(
        table={name: np.array([row[name] for row in rows]) for name in rows[0]},
        facts={"scale": judged_answers.scale(parameters, abouts[0])},
        checks=(equal("same", same, 0.0, float(other), tolerance=0.0),),
    )


def _reference(world: Any, row: Row) -> Row:
    """What the data's own answer is worth."""
    from llm.embedded.language import fact_of, is_right
    from llm.judging.world import is_fuller

    prompt, text = row["prompt"], row["reference"]
    right, full = is_right(fact_of(world, prompt), text), is_fuller(world, prompt, text)
    return {"answer": text, "score": row["reference_score"], "right": right, "fuller": full}


SIZE = 8.0
NAMES, ANSWERS, SCORES, FACTS, MANNERS = 0.1, 1.2, 5.6, 5.78, 6.28  # where columns begin; the scores end there


def draw(data: Data) -> Figure:
    """A block a prompt: the prompt, the data's own answer, the models' answers, with what they are worth."""
    from figures.drawing import style
    from figures.drawing import text as textual

    blocks = _draw_blocks(data)
    count = sum(1 + sum(len(lines) for _, lines in block) for block in blocks)
    height = 0.52 + textual.height_of(count, SIZE) + 0.12 * len(blocks) + 0.12
    figure, ax = textual.sheet(style.PAGE, height)
    left, right = 0.05, style.PAGE - 0.05
    textual.draw_rule(ax, 0.06, left, right, thick=True)
    for x, text in ((NAMES, "answer of"), (ANSWERS, "answer"), (FACTS, "fact"), (MANNERS, "manner")):
        textual.draw_lines(ax, x, 0.09, [text], size=SIZE, color=style.QUIET)
    textual.draw_lines(ax, SCORES, 0.09, ["score"], size=SIZE, color=style.QUIET, ha="right")
    y = 0.09 + textual.height_of(1, SIZE) + 0.03
    for block in blocks:
        textual.draw_rule(ax, y, left, right)
        y = _draw_block(ax, data, block, y + 0.04) + 0.08
    textual.draw_rule(ax, y, left, right, thick=True)
    textual.draw_lines(ax, NAMES, y + 0.04, [str(data.facts["scale"])], size=7.0, color=style.QUIET)
    return figure


def _draw_blocks(data: Data) -> list[list[tuple[int, list[str]]]]:
    """For every prompt the rows of the table, each with its answer in lines that fit."""
    from figures.drawing import text as textual

    blocks: dict[tuple[str, int], list[tuple[int, list[str]]]] = {}
    room = SCORES - 0.35 - ANSWERS
    for i, answer in enumerate(data.table["answer"]):
        key = str(data.table["set"][i]), int(data.table["number"][i])
        blocks.setdefault(key, []).append((i, textual.wrapped(str(answer) or "(nothing)", room, SIZE)))
    return list(blocks.values())


def _draw_block(ax: Axes, data: Data, block: list[tuple[int, list[str]]], y: float) -> float:
    from figures.drawing import style
    from figures.drawing import text as textual

    row: Mapping[str, Any] = {name: column[block[0][0]] for name, column in data.table.items()}
    prompt = textual.wrapped(str(row["prompt"]), style.PAGE - 0.15 - ANSWERS, SIZE, bold=True)[0]
    textual.draw_lines(ax, NAMES, y, [f"{row['set']} {row['number']}"], size=SIZE, weight="bold")
    y = textual.draw_lines(ax, ANSWERS, y, [prompt], size=SIZE, weight="bold")
    for i, lines in block:
        row = {name: column[i] for name, column in data.table.items()}
        own = row["answer_of"] in REFERENCES.values()
        looks: dict[str, Any] = {"size": SIZE, "color": style.QUIET if own else style.INK}
        textual.draw_lines(ax, NAMES, y, [str(row["answer_of"])], **looks)
        textual.draw_lines(ax, SCORES, y, [f"{row['score']:.1f}".replace("-", "−")], ha="right", **looks)
        textual.draw_lines(ax, FACTS, y, ["right" if row["right"] else "wrong"], **looks)
        textual.draw_lines(ax, MANNERS, y, ["SFT's" if row["fuller"] else "other"], **looks)
        y = textual.draw_lines(ax, ANSWERS, y, lines, **looks)
    return y


ARTEFACT = Artefact(
    name="samples",
    title="What the four models answer",
    paper="beyond the paper's figures (as App. D.5)",
    cost="seconds, after its runs",
    caption=(
        "Greedy answers with λ = 0.5 and the first seed, Sequential with DPO first. The prompts are the first three "
        "held-out ones of the preference set and the first two of the SFT set, as they stand in their files; none was "
        "picked. In grey, the data's own answer: the chosen response, or SFT's target. Score: that of the embedded "
        "world's judge, who knows what the preference set wants (2 for the right fact, −1 for a wrong one, 1 for a "
        "courtesy, 0.1 off for every word beyond eight), so that SFT's own targets have a low one. Fact: right if the "
        "answer has it and no other of its kind. Manner: whether it is, word for word, in the form that SFT teaches "
        "(in the data: fuller), be its facts right or not."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
