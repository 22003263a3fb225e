"""The study's measure `samples`: greedy answers of a finished run to the first held-out prompts of both of its sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from llm.data.objective_options import Kind
from llm.evaluation.generate import Decoding, generate_answers
from llm.judging import items
from llm.training.run_folder import load_run

PROMPTS: dict[Kind, int] = {"preference": 3, "sft": 2}  # number of held-out rows of each set, from the first
TOKENS = 96  # of an answer, at most


def measure(folder: Path) -> dict[str, Any]:
    """Return greedy answers to the first held-out prompts of the preference set and of the SFT set.

    answers  one row per answer: set (preference or sft), prompt, answer, reference (the chosen response, or SFT's
             target)
    tokens   greatest number of tokens of an answer

    Raises ValueError, in one line, if the run has not one set of each kind, or held no rows out.
    """
    config = load_run(folder).config
    decoding = Decoding(max_new_tokens=TOKENS, precision=config.precision, remote_code=config.remote_code)
    answers: list[dict[str, str]] = []
    for kind, count in PROMPTS.items():
        rows = items.held_out_rows(str(folder), kind, report=lambda _step, _done: None, limit=count)
        asked = [dataclasses.replace(row, responses=()) for row in rows]
        texts = generate_answers(str(folder), asked, decoding, kind=kind)
        answers += [
            {
                "set": kind,
                "prompt": items.shown(row.prompt),
                "answer": text,
                "reference": items.shown(row.responses[0]),
            }
            for row, text in zip(rows, texts, strict=True)
        ]
    return {"answers": answers, "tokens": TOKENS}
