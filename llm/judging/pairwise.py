"""Which of two answers is better: every instance is judged in both orders, and a verdict counts if both agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

from llm.judging import templates
from llm.judging.endpoint import Asker, Endpoint
from llm.judging.statistics import LOSS, TIE, WIN, rate
from llm.judging.templates import Messages, Rubric
from llm.judging.verdicts import Verdicts, key_of

OURS, THEIRS = "answer", "reference"
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """One instance: what was asked, our answer, and the one it is held against."""

    prompt: str
    answer: str
    reference: str

    def messages(self, first: str) -> Messages:
        """What a judge is asked, with the one of OURS and THEIRS that is named `first` in the first place."""
        second = THEIRS if first == OURS else OURS
        return templates.pairwise(self.prompt, getattr(self, first), getattr(self, second))


class Judge(Protocol):
    """Anything that judges pairs; `judge_pairs` and `instance` take one."""

    def verdicts(self, pairs: Sequence[Pair], *, report: Report | None = None) -> list[tuple[dict[str, Any], ...]]:
        """For every pair its single verdicts: {"first", "verdict", ...}, the verdict OURS, THEIRS, "tie" or None."""


@dataclass(frozen=True)
class EndpointJudge:
    """A judge behind an endpoint; `kept` has the verdicts there are already, and takes the new ones.

    concurrency  requests at a time
    """

    endpoint: Endpoint
    kept: Verdicts
    concurrency: int = 8

    def verdicts(self, pairs: Sequence[Pair], *, report: Report | None = None) -> list[tuple[dict[str, Any], ...]]:
        """As `Judge` says: two a pair, with {"reply"}. Raises what `Asker` raises; what came before it is kept."""
        wanted: dict[str, tuple[Messages, dict[str, Any]]] = {}
        for pair in pairs:
            for first in (OURS, THEIRS):
                about = {"template": templates.PAIRWISE, "first": first, **vars(pair)}
                wanted[self._key(pair, first)] = pair.messages(first), about
        ask_missing(self.endpoint, wanted, _read, self.kept, concurrency=self.concurrency, report=report)
        return [tuple(self._single(pair, first) for first in (OURS, THEIRS)) for pair in pairs]

    def _key(self, pair: Pair, first: str) -> str:
        return key_of(body=self.endpoint.body(pair.messages(first)), template=templates.PAIRWISE, first=first)

    def _single(self, pair: Pair, first: str) -> dict[str, Any]:
        line = self.kept[self._key(pair, first)]
        return {"first": first, "reply": line["reply"], "verdict": line["verdict"]}


@dataclass(frozen=True)
class ScoreJudge:
    """A judge that knows a score of every answer, whatever stands beside it: the better one wins, equal ones tie."""

    score: Callable[[str, str], float]
    """(prompt, answer) -> more is better"""

    def verdicts(self, pairs: Sequence[Pair], *, report: Report | None = None) -> list[tuple[dict[str, Any], ...]]:
        """As `Judge` says: one a pair, with {"scores"}; its "first" is None, for there is no order."""
        found: list[tuple[dict[str, Any], ...]] = []
        for done, pair in enumerate(pairs, start=1):
            ours, theirs = (float(self.score(pair.prompt, text)) for text in (pair.answer, pair.reference))
            verdict = "tie" if ours == theirs else OURS if ours > theirs else THEIRS
            found.append(({"first": None, "scores": {OURS: ours, THEIRS: theirs}, "verdict": verdict},))
            if report is not None:
                report(done, len(pairs))
        return found


def judge_pairs(
    pairs: Sequence[Pair], judge: Judge, *, report: Report | None = None
) -> tuple[list[float], list[bool], list[tuple[dict[str, Any], ...]]]:
    """(score of every instance, of every valid single verdict with an order whether it was for the first, the verdicts)

    The scores are for `statistics.win_rate`, and so are the second.
    """
    singles = judge.verdicts(pairs, report=report)
    firsts = [
        single["verdict"] == single["first"]
        for several in singles
        for single in several
        if single["first"] is not None and single["verdict"] in (OURS, THEIRS)
    ]
    return [combined([single["verdict"] for single in several]) for several in singles], firsts, singles


def combined(verdicts: Sequence[str | None]) -> float:
    """An instance's score: WIN or LOSS if all verdicts agree, TIE if they do not, NaN if one of them is not valid."""
    if not verdicts or any(verdict not in (OURS, THEIRS, "tie") for verdict in verdicts):
        return math.nan
    if len(set(verdicts)) > 1 or verdicts[0] == "tie":
        return TIE
    return WIN if verdicts[0] == OURS else LOSS


def instance(pair: Pair, judge: Judge) -> dict[str, Any]:
    """One judged instance, to be shown: its texts, what a judge is asked in either order, the verdicts, the outcome.

    "orders" has {"first", "messages"} for both orders, and of a judge behind an endpoint {"reply", "verdict"} too. A
    `ScoreJudge` reads no messages: "scores" and its one "verdict" are beside them. "outcome": win, tie, loss, invalid.
    """
    (single, *others), score = (found := judge.verdicts([pair])[0]), combined([s["verdict"] for s in found])
    orders = [{"first": first, "messages": pair.messages(first)} for first in (OURS, THEIRS)]
    shown: dict[str, Any] = {**vars(pair), "template": templates.PAIRWISE}
    if others:
        orders = [{**order, **one} for order, one in zip(orders, found, strict=True)]
    else:
        shown |= {"scores": single["scores"], "verdict": single["verdict"]}
    return {**shown, "orders": orders, "outcome": outcome(score)}


def outcome(score: float) -> str:
    """A score's name."""
    return "invalid" if math.isnan(score) else {WIN: "win", TIE: "tie", LOSS: "loss"}[score]


def ask_missing(
    endpoint: Endpoint,
    wanted: dict[str, tuple[Messages, dict[str, Any]]],
    read: Callable[[str, dict[str, Any]], dict[str, Any]],
    kept: Verdicts,
    *,
    concurrency: int,
    report: Report | None = None,
) -> None:
    """Ask for every wanted key that is not kept, `concurrency` at a time, and keep each reply when it comes.

    wanted  key -> (what is asked, what the line says of it)
    read    (reply, what the line says) -> what the reply means, which goes into the line

    After an error no further one is asked; what was under way is kept if it comes to an end, and the error is raised.
    """
    missing = [key for key in wanted if key not in kept]
    if not missing:
        return
    done, trouble = len(wanted) - len(missing), None
    queue = iter(missing)
    with Asker(endpoint) as ask, ThreadPoolExecutor(concurrency) as pool:
        running: dict[Future[str], str] = {}
        try:
            while True:
                while trouble is None and len(running) < concurrency and (key := next(queue, None)) is not None:
                    running[pool.submit(ask, wanted[key][0])] = key
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key = running.pop(future)
                    if (error := future.exception()) is not None:
                        trouble = trouble or error
                        ask.stop.set()  # those that wait for another attempt give up
                        continue
                    reply, about = future.result(), wanted[key][1]
                    kept.add(key, {"judge": endpoint.model, **about, "reply": reply, **read(reply, about)})
                    done += 1
                    if report is not None:
                        report(done, len(wanted))
        except BaseException:  # Ctrl-C: do not wait for answers that nobody will read
            ask.close()
            raise
    if trouble is not None:
        raise trouble


def _read(reply: str, about: dict[str, Any]) -> dict[str, Any]:
    label = templates.better(reply)
    second = THEIRS if about["first"] == OURS else OURS
    return {"verdict": None if label is None else about["first"] if label == templates.FIRST else second}


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
    """The label of every answer, None where the reply names none. Raises what `Asker` raises; verdicts are kept."""
    keys, wanted = [], dict[str, tuple[Messages, dict[str, Any]]]()
    for prompt, answer in zip(prompts, answers, strict=True):
        messages = rubric.messages(prompt, answer)
        keys.append(key_of(body=endpoint.body(messages), template=rubric.name))
        wanted[keys[-1]] = messages, {"template": rubric.name, "prompt": prompt, "answer": answer}

    def read(reply: str, _about: dict[str, Any]) -> dict[str, Any]:
        return {"label": rubric.label(reply)}

    ask_missing(endpoint, wanted, read, kept, concurrency=concurrency, report=report)
    return [kept[key]["label"] for key in keys]


def rates(labels: Sequence[str | None], groups: Sequence[str], rubric: Rubric) -> dict[str, dict[str, Any]]:
    """Group -> {"n", "invalid", label -> its `Rate` over the valid ones}; one group "" if the set has none."""
    found: dict[str, dict[str, Any]] = {}
    for group in sorted(set(groups)):
        inside = [label for label, own in zip(labels, groups, strict=True) if own == group]
        valid = [label for label in inside if label is not None]
        found[group] = {"n": len(inside), "invalid": len(inside) - len(valid)}
        for name in rubric.labels:
            found[group][name] = dataclasses.asdict(rate(valid.count(name), len(valid)))
    return found
