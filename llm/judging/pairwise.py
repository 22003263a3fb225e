"""Requests to a judge and the meaning of its verdicts.

Pairs: the better one of two answers. A judge of texts sees every instance in both orders, and a win counts only if both
verdicts agree. Single answers: a label by a rubric, such as a refusal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

from llm.judging.endpoint import Asker, Endpoint
from llm.judging.statistics import LOSS, TIE, WIN, rate
from llm.judging.templates import FIRST, OURS, Messages, PairwisePrompt, Rubric, better
from llm.judging.verdicts import Verdicts, key_of

ANSWER, REFERENCE = "answer", "reference"  # the fields of a pair, and the verdicts for them
Report = Callable[[int, int], None]
Single = dict[str, Any]  # one verdict: "first" (ANSWER, REFERENCE or None), "verdict", and the judge's evidence


@dataclass(frozen=True)
class Pair:
    """One instance: a prompt, the answer under judgement, and the reference answer."""

    prompt: str
    answer: str
    reference: str

    def messages(self, first: str, prompt: PairwisePrompt = OURS) -> Messages:
        """Return the judge's messages with ANSWER or REFERENCE, according to `first`, in the first position."""
        second = REFERENCE if first == ANSWER else ANSWER
        return prompt.messages(self.prompt, getattr(self, first), getattr(self, second))


class Judge(Protocol):
    """A judge of pairs, for `judge_pairs` and `instance`."""

    def verdicts(self, pairs: Sequence[Pair], *, report: Report | None = None) -> list[tuple[Single, ...]]:
        """Return every pair's verdicts: {"first", "verdict", ...}, the verdict ANSWER, REFERENCE, "tie" or None."""


@dataclass(frozen=True)
class EndpointJudge:
    """A language model behind an endpoint, which judges every pair in both orders.

    kept         verdicts of earlier calls; new verdicts are added
    concurrency  number of simultaneous requests
    prompt       the question
    """

    endpoint: Endpoint
    kept: Verdicts
    concurrency: int = 8
    prompt: PairwisePrompt = OURS

    def verdicts(self, pairs: Sequence[Pair], *, report: Report | None = None) -> list[tuple[Single, ...]]:
        """Return two verdicts a pair, with the judge's "reply".

        Raises the errors of `Asker`; verdicts that came before an error are kept.
        """
        requests: dict[str, tuple[Messages, dict[str, Any]]] = {}
        for pair in pairs:
            for first in (ANSWER, REFERENCE):
                about = {"template": self.prompt.name, "first": first, **vars(pair)}
                requests[self._key(pair, first)] = pair.messages(first, self.prompt), about
        ask_missing(self.endpoint, requests, _read, self.kept, concurrency=self.concurrency, report=report)
        return [tuple(self._single(pair, first) for first in (ANSWER, REFERENCE)) for pair in pairs]

    def _key(self, pair: Pair, first: str) -> str:
        body = self.endpoint.body(pair.messages(first, self.prompt))
        return key_of(body=body, template=self.prompt.name, first=first)

    def _single(self, pair: Pair, first: str) -> Single:
        line = self.kept[self._key(pair, first)]
        return {"first": first, "reply": line["reply"], "verdict": line["verdict"]}


@dataclass(frozen=True)
class ScoreJudge:
    """A judge with a score of every answer by itself: the higher score wins, equal scores tie."""

    score: Callable[[str, str], float]
    """(prompt, answer) -> score; more is better."""

    def verdicts(self, pairs: Sequence[Pair], *, report: Report | None = None) -> list[tuple[Single, ...]]:
        """Return one verdict a pair, with {"scores"}; its "first" is None, for there is no order."""
        verdicts: list[tuple[Single, ...]] = []
        for done, pair in enumerate(pairs, start=1):
            ours, theirs = (float(self.score(pair.prompt, text)) for text in (pair.answer, pair.reference))
            verdict = "tie" if ours == theirs else ANSWER if ours > theirs else REFERENCE
            verdicts.append(({"first": None, "scores": {ANSWER: ours, REFERENCE: theirs}, "verdict": verdict},))
            if report is not None:
                report(done, len(pairs))
        return verdicts


def judge_pairs(
    pairs: Sequence[Pair], judge: Judge, *, report: Report | None = None
) -> tuple[list[float], list[bool], list[tuple[Single, ...]]]:
    """Return every pair's score, position preferences, and every pair's verdicts.

    Position preferences: for each valid verdict with an order, whether it was for the first position. Scores and
    position preferences are the arguments of `statistics.win_rate`.
    """
    singles = judge.verdicts(pairs, report=report)
    firsts = [
        single["verdict"] == single["first"]
        for several in singles
        for single in several
        if single["first"] is not None and single["verdict"] in (ANSWER, REFERENCE)
    ]
    return [combined([single["verdict"] for single in several]) for several in singles], firsts, singles


def combined(verdicts: Sequence[str | None]) -> float:
    """Return an instance's score: WIN or LOSS if all verdicts agree, else TIE; NaN if a verdict is not valid."""
    if not verdicts or any(verdict not in (ANSWER, REFERENCE, "tie") for verdict in verdicts):
        return math.nan
    if len(set(verdicts)) > 1 or verdicts[0] == "tie":
        return TIE
    return WIN if verdicts[0] == ANSWER else LOSS


def instance(pair: Pair, judge: Judge) -> dict[str, Any]:
    """Return one judged instance for display: its texts, the judge's messages in either order, verdicts, and outcome.

    "orders" has {"first", "messages"} for both orders, and for a judge behind an endpoint {"reply", "verdict"} too. A
    `ScoreJudge` reads no messages: "scores" and its one "verdict" stand beside them. "outcome": win, tie, loss or
    invalid.
    """
    verdicts = judge.verdicts([pair])[0]
    prompt = getattr(judge, "prompt", OURS)
    orders = [{"first": first, "messages": pair.messages(first, prompt)} for first in (ANSWER, REFERENCE)]
    record: dict[str, Any] = {**vars(pair), "template": prompt.name}
    if len(verdicts) > 1:
        orders = [{**order, **single} for order, single in zip(orders, verdicts, strict=True)]
    else:
        record |= {"scores": verdicts[0]["scores"], "verdict": verdicts[0]["verdict"]}
    return {**record, "orders": orders, "outcome": outcome(combined([single["verdict"] for single in verdicts]))}


def outcome(score: float) -> str:
    """Return a score's name: win, tie, loss or invalid."""
    return "invalid" if math.isnan(score) else {WIN: "win", TIE: "tie", LOSS: "loss"}[score]


def judge_answers(
    prompts: Sequence[str],
    answers: Sequence[str],
    rubric: Rubric,
    endpoint: Endpoint,
    kept: Verdicts,
    *,
    concurrency: int = 8,
    report: Report | None = None,
) -> list[str | None]:
    """Return the label of every answer by a rubric, None for a reply without one label.

    Raises the errors of `Asker`; verdicts that came before an error are kept.
    """
    keys, requests = [], dict[str, tuple[Messages, dict[str, Any]]]()
    for prompt, answer in zip(prompts, answers, strict=True):
        messages = rubric.messages(prompt, answer)
        keys.append(key_of(body=endpoint.body(messages), template=rubric.name))
        requests[keys[-1]] = messages, {"template": rubric.name, "prompt": prompt, "answer": answer}

    def read(reply: str, _about: dict[str, Any]) -> dict[str, Any]:
        return {"label": rubric.label(reply)}

    ask_missing(endpoint, requests, read, kept, concurrency=concurrency, report=report)
    return [kept[key]["label"] for key in keys]


def rates(labels: Sequence[str | None], groups: Sequence[str], rubric: Rubric) -> dict[str, dict[str, Any]]:
    """Return group -> {"n", "invalid", label -> its `Rate` over valid labels}; the group is "" in a set without."""
    result: dict[str, dict[str, Any]] = {}
    for group in sorted(set(groups)):
        inside = [label for label, own in zip(labels, groups, strict=True) if own == group]
        valid = [label for label in inside if label is not None]
        result[group] = {"n": len(inside), "invalid": len(inside) - len(valid)}
        for name in rubric.labels:
            result[group][name] = dataclasses.asdict(rate(valid.count(name), len(valid)))
    return result


def ask_missing(
    endpoint: Endpoint,
    requests: dict[str, tuple[Messages, dict[str, Any]]],
    read: Callable[[str, dict[str, Any]], dict[str, Any]],
    kept: Verdicts,
    *,
    concurrency: int,
    report: Report | None = None,
) -> None:
    """Send every request without a kept verdict, `concurrency` at a time, and keep each reply when it arrives.

    requests  key -> (messages, fields of the line in the file of verdicts)
    read      (reply, these fields) -> further fields, the meaning of the reply

    After an error no further request is sent, pending responses are kept, and the error is raised.
    """
    missing = [key for key in requests if key not in kept]
    if not missing:
        return
    done, first_error = len(requests) - len(missing), None
    queue = iter(missing)
    with Asker(endpoint) as ask, ThreadPoolExecutor(concurrency) as pool:
        running: dict[Future[str], str] = {}
        try:
            while True:
                while first_error is None and len(running) < concurrency and (key := next(queue, None)) is not None:
                    running[pool.submit(ask, requests[key][0])] = key
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key = running.pop(future)
                    if (error := future.exception()) is not None:
                        first_error = first_error or error
                        ask.stop()
                        continue
                    reply, about = future.result(), requests[key][1]
                    kept.add(key, {"judge": endpoint.model, **about, "reply": reply, **read(reply, about)})
                    done += 1
                    if report is not None:
                        report(done, len(requests))
        except BaseException:  # Ctrl-C: drop pending responses
            ask.close()
            raise
    if first_error is not None:
        raise first_error


def _read(reply: str, about: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict in a reply to a pairwise question: ANSWER, REFERENCE, or None without a label."""
    label = better(reply)
    second = REFERENCE if about["first"] == ANSWER else ANSWER
    return {"verdict": None if label is None else about["first"] if label == FIRST else second}
