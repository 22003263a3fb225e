"""Greedy answers of the four methods to held-out prompts (as the samples of arXiv 2410.15483v3, App. D.5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.analysis import judged_answers, sweeps
from figures.analysis.methods import METHODS
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Data, Request, equal
from figures.drawing.samples import draw

PROMPTS = {"preference": 3, "sft": 2}  # number of held-out rows of each set, from the first
REFERENCES = {"preference": "chosen response", "sft": "target"}
SCORES = ("score", "right", "fuller")  # of answers on the embedded world
SETS = {"preference": "preference", "sft": "SFT"}


def parameters(request: Request) -> dict[str, Any]:
    """Return one run per method, whose adapters answer prompts."""
    return {"grids": judged_answers.grids(request, sweeps.PAPER_METHODS), "prompts": PROMPTS}


def compute(parameters: dict[str, Any]) -> Data:
    """Return one row per answer: for each prompt the reference answer of the data, then the methods' answers."""
    answers = judged_answers.answers(parameters)
    methods = [name for name in METHODS if name in answers]
    abouts = [answers[name][0] for name in methods]
    taken = {
        name: {of: judged_answers.first(answers[name][1], of, count) for of, count in parameters["prompts"].items()}
        for name in methods
    }
    scored = judged_answers.is_embedded(parameters)
    world = judged_answers.world_of(abouts[0]["folder"]) if scored else None
    values = ("answer", *(SCORES if scored else ()))
    rows: list[Row] = []
    differing = 0
    for of in parameters["prompts"]:
        for i, first in enumerate(taken[methods[0]][of]):
            about = {"set": SETS[of], "number": i + 1, "prompt": first["prompt"]}
            rows.append({**about, "answer_of": REFERENCES[of], **_reference(world, first)})
            for name in methods:
                row = taken[name][of][i]
                differing += (row["prompt"], row["reference"]) != (first["prompt"], first["reference"])
                rows.append({**about, "answer_of": name, **{key: row[key] for key in values}})
    statement = "all models have the same prompts and references (number of prompts that differ)"
    return Data(
        table={name: np.array([row[name] for row in rows]) for name in rows[0]},
        facts={"scale": judged_answers.scale(parameters, abouts[0])},
        checks=(equal("same", statement, 0.0, float(differing), tolerance=0.0),),
    )


def _reference(world: Any, row: Row) -> Row:
    """Return the reference answer of the data; with its score, correctness and style if there is a world."""
    if world is None:
        return {"answer": row["reference"]}
    from llm.embedded.language import fact_of, is_right
    from llm.judging.world import is_fuller

    prompt, text = row["prompt"], row["reference"]
    right, full = is_right(fact_of(world, prompt), text), is_fuller(world, prompt, text)
    return {"answer": text, "score": row["reference_score"], "right": right, "fuller": full}


ARTEFACT = Artefact(
    name="samples",
    title="Sample answers of the four methods",
    paper="beyond the paper's figures (as App. D.5)",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "Greedy answers with λ = 0.5 and the first seed, Sequential with DPO first. The prompts are the first three "
        "held-out prompts of the preference set and the first two of the SFT set, in the order of their files; none "
        "was selected. In grey, the reference answer of the data: the chosen response, or SFT's target. Score: that "
        "of the embedded world's judge, which measures the preferred style only (2 for the right fact, −1 for a "
        "wrong fact, 1 for a courtesy, −0.1 for every word beyond eight), so that SFT's own targets have a low "
        "score. Fact: right if the answer contains the right fact and no other fact of its kind. Style: whether the "
        "answer has, word for word, the form that SFT teaches (column `fuller` of the data), regardless of its facts. "
        "At scale real the prompts are those of the user's sets, and nothing scores the answers, which end after 96 "
        "tokens; these texts are in the user's folder only."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
