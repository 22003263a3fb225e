"""Figure 9: one judged instance, the requests to a judge and the verdict (arXiv 2410.15483v3, App. D)."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from figures.analysis import judged_answers, seeds
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Check, Data, Request, equal
from figures.drawing.fig9 import draw

METHOD, KEY = "MAXRIGHT", "maxright"
# the terms of the judge's score; `_checks` compares these with the score itself
WORD_COST, FREE_WORDS, COURTESY, FACTS = 0.1, 8, 1.0, {"right": 2.0, "wrong": -1.0, "none": 0.0}
TERMS = ("fact", "courtesy", "words")
PARTS = ("answer", "reference")
COLUMNS = ("part", "first", "role", "text", *TERMS, "score")
BLANK: Row = dict.fromkeys(("first", "role"), "") | dict.fromkeys((*TERMS, "score"), math.nan)
NOT_JUDGED = "not judged"


def parameters(request: Request) -> dict[str, Any]:
    """Return one run whose adapter answers prompts; at scale `real` with verdicts if the environment names a judge."""
    measure = ""
    if request.scale == "real":
        from llm.judging.world import is_judge_named

        measure = "answers" if is_judge_named() else "samples"
    return {"grids": judged_answers.grids(request, [KEY], measure)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the first held-out prompt, both texts with scores and their terms, and the requests in both orders."""
    if not judged_answers.is_embedded(parameters):
        return _by_endpoint(parameters)
    from llm.judging import Pair, instance
    from llm.judging.world import judge_of

    about, rows = judged_answers.answers(parameters)[METHOD]
    row = judged_answers.first(rows, "preference", 1)[0]
    judge = judge_of(judged_answers.world_of(about["folder"]))
    judged = instance(Pair(row["prompt"], row["answer"], row["reference"]), judge)
    lines: list[Row] = [{"part": "prompt", "text": judged["prompt"]}]
    for part in PARTS:
        lines.append({"part": part, "text": judged[part], **terms(judged[part], judged["scores"][part])})
    for order in judged["orders"]:
        lines += _asked(order["first"], order["messages"])
    return Data(
        table=_table(lines),
        facts={
            "verdict": judged["verdict"],
            "outcome": judged["outcome"],
            "template": judged["template"],
            "scale": judged_answers.scale(parameters, about),
        },
        checks=_checks(row, judged, lines),
    )


def _by_endpoint(parameters: dict[str, Any]) -> Data:
    """Return the first held-out prompt, both texts, the requests in both orders, and a language model's verdicts.

    Without a judge there are no verdicts, and the outcome is `NOT_JUDGED`.
    """
    from llm.judging import Pair, combined
    from llm.judging.pairwise import ANSWER, REFERENCE, outcome
    from llm.judging.templates import OURS

    about, rows = judged_answers.answers(parameters)[METHOD]
    row = judged_answers.first(rows, "preference", 1)[0]
    pair = Pair(row["prompt"], row["answer"], row["reference"])
    lines: list[Row] = [{"part": part, "text": getattr(pair, part)} for part in ("prompt", *PARTS)]
    for first in (ANSWER, REFERENCE):
        lines += _asked(first, pair.messages(first))
    verdicts = row.get("verdicts", [])
    for single in verdicts:
        shown = {"first": single["first"], "role": single["verdict"] or "invalid", "text": single["reply"]}
        lines.append({"part": "reply", **shown})
    judged = outcome(combined([single["verdict"] for single in verdicts])) if verdicts else NOT_JUDGED
    texts = [json.dumps(text, ensure_ascii=False) for text in vars(pair).values()]
    requests = [
        "\n".join(line["text"] for line in lines if line.get("first") == f and line["part"] == "asked") for f in PARTS
    ]
    lacking = sum(text not in request for request in requests for text in texts)
    checks = [equal("requests", "both requests have all three texts (texts they lack)", 0.0, lacking, tolerance=0.0)]
    if verdicts:
        differs = float(row["outcome"] != judged)
        checks.append(equal("outcome", "the outcome is that of both verdicts (differs)", 0.0, differs, tolerance=0.0))
    (judge,) = {
        result.get("judge", "") for _, result in seeds.measured(parameters, judged_answers.measure_of(parameters))
    }
    return Data(
        table=_table(lines),
        facts={
            "verdict": "",
            "outcome": judged,
            "judge": judge,
            "template": OURS.name,
            "scale": judged_answers.scale(parameters, about),
        },
        checks=tuple(checks),
    )


def _asked(first: str, messages: list[dict[str, str]]) -> list[Row]:
    """Return the rows of a request with the text `first` in the first position."""
    return [{"part": "asked", "first": first, "role": m["role"], "text": m["content"]} for m in messages]


def _table(lines: list[Row]) -> dict[str, np.ndarray]:
    """Return rows as columns, blank or NaN where a row has no value."""
    return {name: np.array([{**BLANK, **line}[name] for line in lines]) for name in COLUMNS}


def terms(text: str, score: float) -> Row:
    """Return the terms of a score: courtesy, words, and the remainder, which is the term for the fact."""
    from llm.embedded.language import COURTESIES

    words = -WORD_COST * max(0, len(text.split()) - FREE_WORDS)
    courtesy = COURTESY if text.strip().startswith(COURTESIES) else 0.0
    return {"fact": round(score - words - courtesy, 12), "courtesy": courtesy, "words": words, "score": score}


def _checks(row: Row, judged: Row, lines: list[Row]) -> tuple[Check, ...]:
    """Check that the measured scores are the judge's, and that the terms are those of the caption."""
    scores = judged["scores"]
    apart = max(abs(row["score"] - scores["answer"]), abs(row["reference_score"] - scores["reference"]))
    fact = {line["part"]: line["fact"] for line in lines if line["part"] in PARTS}
    other = min(abs(fact["reference"] - value) for value in FACTS.values())
    allowed = [FACTS["right"]] if row["right"] else [FACTS["wrong"], FACTS["none"]]
    missed = max(other, min(abs(fact["answer"] - value) for value in allowed))
    statement = "the term for the fact is 2 for the right fact and −1 or 0 for any other, within 1e-9"
    return (
        equal("measured", "the measured scores equal the judge's scores", 0.0, apart, tolerance=0.0),
        equal("terms", statement, 0.0, missed, tolerance=1e-9),
    )


ARTEFACT = Artefact(
    name="fig9",
    title="One judged instance",
    paper="Figure 9",
    cost="seconds, after its run",
    seconds=5.0,
    caption=(
        "The first held-out prompt of the preference set, with MAXRIGHT's greedy answer (λ = 0.5, the first seed) "
        "and the chosen response; the example was not selected. (a), (b) The requests to a language model as judge, "
        "one per order of the two texts; only a verdict that agrees in both orders counts as a win or a loss. (c) "
        "The embedded world's judge, which is used here, needs no request: its score of a text depends on the prompt "
        "and that text alone, so that the order has no effect. Fact: 2 if it is right, −1 if it is wrong; courtesy: "
        "1 if the text begins with one; words: −0.1 for each word beyond eight. The text with the higher score wins. "
        "At scale real the answer is the real model's, and (c) has the verdicts of the language model that the "
        "environment names as judge, if it names one."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
