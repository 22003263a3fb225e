"""The study's measure `answers`: answers of a finished run to held-out prompts, scored by a judge.

The embedded world judges runs on its own sets. A language model judges all other runs; every process of a study reads
its address from the environment:

FORGET_NEITHER_JUDGE_URL       an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1
FORGET_NEITHER_JUDGE_MODEL     the judge's name at the endpoint
FORGET_NEITHER_JUDGE_KEY_FROM  the environment variable that holds the endpoint's key; unset: no key is sent
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llm.embedded import World, fact_accuracy, preference_score, read_world
from llm.embedded.language import fact_of, fuller, is_right
from llm.embedded.prepare import embedded_paths
from llm.embedded.world import ATTRIBUTES, Fact
from llm.judging import items as asked
from llm.judging import templates
from llm.judging.answers import Decoding, from_model, generated
from llm.judging.endpoint import Endpoint, key_in
from llm.judging.pairwise import EndpointJudge, Pair, ScoreJudge, judge_pairs, outcome
from llm.judging.statistics import win_rate
from llm.judging.verdicts import opened
from llm.training.run_folder import FinishedRun, load_run

URL = "FORGET_NEITHER_JUDGE_URL"
MODEL = "FORGET_NEITHER_JUDGE_MODEL"
KEY_FROM = "FORGET_NEITHER_JUDGE_KEY_FROM"

WORLD_TOKENS = 40  # of an answer; the longest sentence of the world has fewer
PROMPTS = 640  # at most, as in Table 1 of the paper
TEMPERATURE = 1.0  # likewise
ENDPOINT_TOKENS = 256  # at most, of an answer; the paper gives no number
VERDICTS = Path("measures", "answers.verdicts.jsonl")
RESAMPLES, SEED = 10_000, 0


def judge_of(world: World) -> ScoreJudge:
    """The world's own judge: the better `preference_score` wins, equal ones tie."""
    return ScoreJudge(partial(preference_score, world))


def world_of(folder: str | Path) -> World:
    """The world that a finished run's questions are about. ValueError if it is not on an embedded world."""
    return read_world(embedded_paths(_embedded(folder).config).world)


def is_fuller(world: World, prompt: str, response: str) -> bool:
    """Whether a response is in the manner that SFT teaches, be it right or wrong.

    That is, word for word: "As to PLACE, I can tell you more: the NOUN there is VALUE, and the OTHER there is VALUE2.",
    with the place and the noun that were asked for, another noun, and values which these can have.
    """
    asked, text = fact_of(world, prompt), response.strip()
    return any(
        text == fuller(Fact(asked.place, asked.kind, value), Fact(asked.place, kind, further))
        for kind, other in enumerate(ATTRIBUTES)
        if kind != asked.kind and f"the {other.noun} there is" in text
        for value in ATTRIBUTES[asked.kind].values
        for further in other.values
    )


def measure(folder: Path) -> dict[str, Any]:
    """How good the answers of a finished run are, to prompts that it never saw.

    Of a run on other sets than the embedded world's, `by_endpoint` says it, and what is needed. Of one on the
    embedded world it is greedy answers to all held-out prompts of both sets, scored by the world:

    win_rate                  on the preference prompts against the chosen responses, ties half. These have the highest
                              score that the world gives, so the most is 0.5: all ties
    win_rate_low, _high       its 95 % bootstrap interval over prompts
    wins, ties, losses, n     how many of these prompts
    score, reference_score    mean preference score of the answers, and of the chosen responses
    fact_accuracy_preference, fact_accuracy_sft  share of answers with the right fact, on either set's prompts
    sft_manner                share of the answers to SFT prompts for which `is_fuller` holds
    answers                   a row an answer: set, prompt, answer, reference, score, reference_score, right, fuller

    Raises ValueError if the run is not finished.
    """
    run = load_run(folder)
    if _elsewhere(run):
        return by_endpoint(run)
    paths = embedded_paths(run.config)
    world = read_world(paths.world)
    preference, sft = _rows(paths.preference_held_out), _rows(paths.sft_held_out)
    prompts = [row["prompt"] for row in (*preference, *sft)]
    references = [*(row["chosen"] for row in preference), *(row["completion"] for row in sft)]
    # All at once: an answer does not depend on its neighbours when greedy.
    answers = generated(str(folder), prompts, Decoding(max_new_tokens=WORLD_TOKENS, batch=len(prompts)))
    sets = ["preference"] * len(preference) + ["sft"] * len(sft)
    rows = [_told(world, *values) for values in zip(sets, prompts, answers, references, strict=True)]
    ours = rows[: len(preference)]
    pairs = [Pair(row["prompt"], row["answer"], row["reference"]) for row in ours]
    scores, _, _ = judge_pairs(pairs, judge_of(world))
    found = win_rate(scores, resamples=RESAMPLES, chance=np.random.default_rng(SEED))
    cut = len(preference)
    return {
        "win_rate": found.win_rate,
        "win_rate_low": found.low,
        "win_rate_high": found.high,
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "n": found.n,
        "score": _mean([row["score"] for row in ours]),
        "reference_score": _mean([row["reference_score"] for row in ours]),
        "fact_accuracy_preference": fact_accuracy(world, prompts[:cut], answers[:cut]),
        "fact_accuracy_sft": fact_accuracy(world, prompts[cut:], answers[cut:]),
        "sft_manner": _mean([row["fuller"] for row in rows[cut:]]),
        "answers": rows,
    }


def _embedded(folder: str | Path) -> FinishedRun:
    run = load_run(folder)
    if why := _elsewhere(run):
        raise ValueError(f"run: {folder} is not on an embedded world ({why}); give a run that is")
    return run


def _elsewhere(run: FinishedRun) -> str:
    """Why a run is not on an embedded world's sets; "" if it is."""
    named = {name: getattr(run.config, name) for name in ("sft", "preference")}
    other = [f"its {name} set is {value}" for name, value in named.items() if value != "embedded"]
    other += [f"its {name} set was in memory" for name in named if name in run.in_memory]
    return other[0] if other else ""


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _told(world: World, name: str, prompt: str, answer: str, reference: str) -> dict[str, Any]:
    return {
        "set": name,
        "prompt": prompt,
        "answer": answer,
        "reference": reference,
        "score": preference_score(world, prompt, answer),
        "reference_score": preference_score(world, prompt, reference),
        "right": is_right(fact_of(world, prompt), answer),
        "fuller": is_fuller(world, prompt, answer),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


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
        max_new_tokens=ENDPOINT_TOKENS,
        temperature=TEMPERATURE,
        precision=config.precision,
        remote_code=config.remote_code,
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
