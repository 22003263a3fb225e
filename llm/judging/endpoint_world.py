"""The study's measure `answers` on runs that are not on the embedded world: a language model judges.

Which one, a study says by the environment, and every process of it reads the same:

FORGET_NEITHER_JUDGE_URL       an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1
FORGET_NEITHER_JUDGE_MODEL     the judge's name there
FORGET_NEITHER_JUDGE_KEY_FROM  the environment variable that has the endpoint's key; not set: no key is sent
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from llm.judging import items as asked
from llm.judging import templates
from llm.judging.answers import Decoding, from_model
from llm.judging.endpoint import Endpoint, key_in
from llm.judging.pairwise import EndpointJudge, Pair, judge_pairs, outcome
from llm.judging.statistics import win_rate
from llm.judging.verdicts import opened
from llm.training.run_folder import FinishedRun

URL = "FORGET_NEITHER_JUDGE_URL"
MODEL = "FORGET_NEITHER_JUDGE_MODEL"
KEY_FROM = "FORGET_NEITHER_JUDGE_KEY_FROM"
PROMPTS = 640  # at most, as in Table 1 of the paper
TEMPERATURE = 1.0  # likewise
NEW_TOKENS = 256  # at most, of an answer; the paper does not say how many
VERDICTS = Path("measures", "answers.verdicts.jsonl")
RESAMPLES, SEED = 10_000, 0


def endpoint() -> Endpoint:
    """The judge that the environment names. Nothing is sent. ValueError in one line that names the three variables."""
    url, model, key_from = (os.environ.get(name, "").strip() for name in (URL, MODEL, KEY_FROM))
    absent = [name for name, value in ((URL, url), (MODEL, model)) if not value]
    try:
        if absent:
            raise ValueError(f"the environment has no {' and no '.join(absent)}")
        return Endpoint(url, model, key_in(key_from))
    except ValueError as error:
        raise ValueError(
            f"answers: who judges them is not known ({error}); set {URL} to an OpenAI-compatible endpoint, {MODEL} to "
            f"the judge's name there, and {KEY_FROM} to the name of the variable that has its key, if it wants one"
        ) from error


def by_endpoint(run: FinishedRun) -> dict[str, Any]:
    """Sampled answers of a finished run to its held-out preference prompts, judged as `python -m llm judge` does.

    At most the first PROMPTS of them, each against its chosen response and in both orders. The answers and every
    verdict are kept in the run's folder as they come, so that another call goes on with the rest.

    win_rate                  wins and half of the ties over n
    win_rate_low, _high       its 95 % bootstrap interval over prompts
    wins, ties, losses, n     how many of the prompts with a valid verdict, n of them together
    invalid                   how many prompts have none, and count in nothing else
    first_place               share of the single verdicts for what stood first; None without any
    judge, judge_url          who judged
    temperature               of the answers
    answers                   a row an answer: set, prompt, answer, reference, outcome

    Raises ValueError in one line if the environment names no judge, the run held no rows out or they cannot be read
    again; EndpointError if the judge does not answer.
    """
    judge, folder, config = endpoint(), str(run.folder), run.config
    path = run.folder / VERDICTS
    how = Decoding(
        max_new_tokens=NEW_TOKENS, temperature=TEMPERATURE, precision=config.precision, remote_code=config.remote_code
    )
    with opened(path) as kept:
        rows = asked.from_run(folder, reference="chosen", report=lambda _what, _done: None, limit=PROMPTS)
        answers = from_model(folder, rows, how, path.with_suffix(".answers.json"))
        pairs = [Pair(row.shown, said, row.reference) for row, said in zip(rows, answers, strict=True)]
        scores, firsts, _ = judge_pairs(pairs, EndpointJudge(judge, kept))
    found = win_rate(scores, firsts=firsts, resamples=RESAMPLES, chance=np.random.default_rng(SEED))
    return {
        "win_rate": found.win_rate,
        "win_rate_low": found.low,
        "win_rate_high": found.high,
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "n": found.n - found.invalid,
        "invalid": found.invalid,
        "first_place": found.first,
        "judge": judge.model,
        "judge_url": judge.url,
        "template": templates.PAIRWISE,
        "temperature": TEMPERATURE,
        "answers": [
            {"set": "preference", **vars(pair), "outcome": outcome(score)}
            for pair, score in zip(pairs, scores, strict=True)
        ],
    }
