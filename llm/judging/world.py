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
from llm.evaluation.generate import Decoding, generate_answers
from llm.judging import items
from llm.judging.answers import from_model
from llm.judging.endpoint import Endpoint, key_in, require_client
from llm.judging.pairwise import EndpointJudge, Pair, ScoreJudge, judge_pairs, outcome
from llm.judging.statistics import WinRate, win_rate
from llm.judging.templates import OURS
from llm.judging.verdicts import open_verdicts
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
    """Return the world's judge: the higher `preference_score` wins, equal scores tie."""
    return ScoreJudge(partial(preference_score, world))


def world_of(folder: str | Path) -> World:
    """Return the embedded world of a finished run's data sets; ValueError for a run on other sets."""
    run = load_run(folder)
    if reason := _other_sets(run):
        raise ValueError(
            f"run: {folder} is not on an embedded world ({reason}); name another judge by --judge, or such a run"
        )
    return read_world(embedded_paths(run.config).world)


def is_fuller(world: World, prompt: str, response: str) -> bool:
    """Return whether a response is in SFT's manner, with a right or a wrong fact.

    That is, word for word: "As to PLACE, I can tell you more: the NOUN there is VALUE, and the OTHER there is VALUE2.",
    with the prompt's place and noun, another noun, and possible values of both.
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
    """Return scores of a finished run's answers to held-out prompts; see `by_world` and `by_endpoint`.

    Raises ValueError if the run is not finished.
    """
    run = load_run(folder)
    return by_endpoint(run) if _other_sets(run) else by_world(run)


def by_world(run: FinishedRun) -> dict[str, Any]:
    """Return the embedded world's scores of greedy answers to all held-out prompts of both sets.

    win_rate                  on the preference prompts against the chosen responses, ties half. The chosen responses
                              have the world's highest score, so the maximum is 0.5: all ties
    win_rate_low, _high       95 % bootstrap interval over prompts
    wins, ties, losses, n     numbers of these prompts
    score, reference_score    mean preference score of the answers, and of the chosen responses
    fact_accuracy_preference, fact_accuracy_sft  share of answers with the right fact, on either set's prompts
    sft_manner                share of the answers to SFT prompts for which `is_fuller` holds
    answers                   one row per answer: set, prompt, answer, reference, score, reference_score, right, fuller
    """
    paths = embedded_paths(run.config)
    world = read_world(paths.world)
    preference, sft = _read_rows(paths.preference_held_out), _read_rows(paths.sft_held_out)
    prompts = [row["prompt"] for row in (*preference, *sft)]
    references = [*(row["chosen"] for row in preference), *(row["completion"] for row in sft)]
    # One batch: a greedy answer does not depend on the other prompts of its batch.
    decoding = Decoding(max_new_tokens=WORLD_TOKENS, batch=len(prompts))
    answers = generate_answers(str(run.folder), prompts, decoding)
    sets = ["preference"] * len(preference) + ["sft"] * len(sft)
    rows = [_scored(world, *texts) for texts in zip(sets, prompts, answers, references, strict=True)]
    count = len(preference)
    pairs = [Pair(row["prompt"], row["answer"], row["reference"]) for row in rows[:count]]
    scores, firsts, _ = judge_pairs(pairs, judge_of(world))
    return {
        **_rates(_win_rate(scores, firsts)),
        "score": _mean([row["score"] for row in rows[:count]]),
        "reference_score": _mean([row["reference_score"] for row in rows[:count]]),
        "fact_accuracy_preference": fact_accuracy(world, prompts[:count], answers[:count]),
        "fact_accuracy_sft": fact_accuracy(world, prompts[count:], answers[count:]),
        "sft_manner": _mean([row["fuller"] for row in rows[count:]]),
        "answers": rows,
    }


def by_endpoint(run: FinishedRun) -> dict[str, Any]:
    """Return the win rate of sampled answers to held-out preference prompts, judged as by `python -m llm judge`.

    The first PROMPTS prompts, each against its chosen response and in both orders. Answers and verdicts are kept in the
    run's folder as they arrive, so that another call resumes.

    win_rate                  wins and half of the ties over n
    win_rate_low, _high       95 % bootstrap interval over prompts
    wins, ties, losses, n     numbers of prompts with a valid verdict, n in total
    invalid                   number of prompts without one, which count in no other number
    first_place               share of single verdicts for the first position; None without any
    judge, judge_url          model name and address of the judge
    template                  name of the judge's question
    temperature               of the answers
    answers                   one row per answer: set, prompt, answer, reference, outcome, and the verdicts in both
                              orders: first, verdict, reply

    Raises ValueError in one line if the environment names no judge, or the run held no rows out or they cannot be read
    again; EndpointError if the judge does not answer.
    """
    judge, folder, config = endpoint(), str(run.folder), run.config
    path = run.folder / VERDICTS
    decoding = Decoding(
        max_new_tokens=ENDPOINT_TOKENS,
        temperature=TEMPERATURE,
        precision=config.precision,
        remote_code=config.remote_code,
    )
    with open_verdicts(path) as kept:
        rows = items.from_run(folder, reference="chosen", report=lambda _step, _done: None, limit=PROMPTS)
        answers = from_model(folder, rows, decoding, path.with_suffix(".answers.json"))
        pairs = [Pair(row.shown, answer, row.reference) for row, answer in zip(rows, answers, strict=True)]
        scores, firsts, singles = judge_pairs(pairs, EndpointJudge(judge, kept))
    rate = _win_rate(scores, firsts)
    return {
        **_rates(rate),
        "invalid": rate.invalid,
        "first_place": rate.first,
        "judge": judge.model,
        "judge_url": judge.url,
        "template": OURS.name,
        "temperature": TEMPERATURE,
        "answers": [
            {"set": "preference", **vars(pair), "outcome": outcome(score), "verdicts": list(verdicts)}
            for pair, score, verdicts in zip(pairs, scores, singles, strict=True)
        ],
    }


def is_judge_named() -> bool:
    """Return whether the environment names a judge, wholly or in part."""
    return any(os.environ.get(name, "").strip() for name in (URL, MODEL))


def endpoint() -> Endpoint:
    """Return the judge's address from the environment, without a request; ValueError that names the three variables."""
    url, model, key_from = (os.environ.get(name, "").strip() for name in (URL, MODEL, KEY_FROM))
    absent = [name for name, value in ((URL, url), (MODEL, model)) if not value]
    try:
        if absent:
            raise ValueError(f"the environment has no {' and no '.join(absent)}")
        judge = Endpoint(url, model, key_in(key_from))
    except ValueError as error:
        raise ValueError(
            f"answers: their judge is not known ({error}); set {URL} to an OpenAI-compatible endpoint, {MODEL} to "
            f"the judge's name there, and {KEY_FROM} to the name of the variable with its key, if it wants one"
        ) from error
    require_client()
    return judge


def _other_sets(run: FinishedRun) -> str:
    """Return the reason why a run is not on an embedded world's sets; "" for a run that is."""
    reasons = []
    for kind in ("sft", "preference"):
        named = {own.set_name: own.source for own in run.config.objectives if own.kind == kind}
        of_world = [name for name, source in named.items() if source == "embedded"]
        if not of_world:
            reasons += [f"its {name} set is {source}" for name, source in named.items()] or [f"it has no {kind} set"]
        reasons += [f"its {name} set was in memory" for name in of_world if name in run.in_memory]
    return reasons[0] if reasons else ""


def _read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _scored(world: World, name: str, prompt: str, answer: str, reference: str) -> dict[str, Any]:
    """Return the row of one answer."""
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


def _win_rate(scores: list[float], firsts: list[bool]) -> WinRate:
    return win_rate(scores, firsts=firsts, resamples=RESAMPLES, rng=np.random.default_rng(SEED))


def _rates(rate: WinRate) -> dict[str, Any]:
    """Return the columns that both judges' results share."""
    return {
        "win_rate": rate.win_rate,
        "win_rate_low": rate.low,
        "win_rate_high": rate.high,
        "wins": rate.wins,
        "ties": rate.ties,
        "losses": rate.losses,
        "n": rate.n - rate.invalid,
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
