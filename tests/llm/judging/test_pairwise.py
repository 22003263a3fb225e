"""Pairs in both orders: the combination of verdicts, concurrency, errors, and one instance for display."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.judge_server import Answer, Body, outputs, serving

from llm.judging import Pair, combined, instance, judge_pairs
from llm.judging.endpoint import Endpoint, EndpointError
from llm.judging.pairwise import ANSWER, REFERENCE, EndpointJudge, ScoreJudge
from llm.judging.statistics import LOSS, TIE, WIN
from llm.judging.verdicts import Verdicts, open_verdicts

PAIRS = [Pair(f"prompt {i}", f"our answer {i}", f"their answer {i}") for i in range(5)]


def judge_at(url: str, **options: Any) -> Endpoint:
    return Endpoint(url, "the-judge", **{"timeout": 10.0, "attempts": 3, **options})


def prefers(word: str, otherwise: str = "m") -> Any:
    """A judge who likes answers with a word in them, wherever they stand."""

    def answer(body: Body, _number: int) -> Answer:
        first, second = outputs(body)
        return Answer("Because.\n\n" + ("m" if word in first else "M" if word in second else otherwise))

    return answer


@pytest.mark.slow
def test_both_orders_are_asked_and_agree() -> None:
    with serving(prefers("our")) as server:
        scores, firsts, singles = judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), Verdicts()))
    assert scores == [WIN] * 5
    assert sum(firsts) == 5
    assert len(firsts) == 10
    assert sorted(map(outputs, server.asked)) == sorted(
        [(p.answer, p.reference) for p in PAIRS] + [(p.reference, p.answer) for p in PAIRS]
    )
    assert [(s["first"], s["verdict"]) for s in singles[0]] == [(ANSWER, ANSWER), (REFERENCE, ANSWER)]
    with serving(prefers("their")) as server:
        assert judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), Verdicts()))[0] == [LOSS] * 5


@pytest.mark.slow
def test_a_judge_that_prefers_the_first_position_ties() -> None:
    with serving(lambda *_: Answer("m")) as server:
        scores, firsts, _ = judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), Verdicts()))
    assert scores == [TIE] * 5
    assert firsts == [True] * 10


def test_equal_answers_are_asked_in_both_orders_as_well() -> None:
    with serving(lambda *_: Answer("m")) as server:
        scores, _, _ = judge_pairs([Pair("p", "same", "same")], EndpointJudge(judge_at(server.url), Verdicts()))
    assert scores == [TIE]
    assert len(server.asked) == 2


def test_how_verdicts_combine() -> None:
    assert combined([ANSWER, ANSWER]) == WIN
    assert combined([REFERENCE, REFERENCE]) == LOSS
    assert combined([ANSWER, REFERENCE]) == combined([REFERENCE, ANSWER]) == TIE
    assert combined(["tie"]) == TIE
    for one in ([ANSWER, None], [None, None], [None, REFERENCE], ["m", "m"], []):
        assert combined(one) != combined(one)  # NaN


@pytest.mark.slow
def test_nonsense_is_an_invalid_verdict_and_is_kept(tmp_path: Path) -> None:
    def answer(body: Body, _number: int) -> Answer:
        return Answer("I cannot tell." if "our answer 2" in outputs(body)[0] else "m")

    with serving(answer) as server, open_verdicts(tmp_path / "v.jsonl") as kept:
        judge = EndpointJudge(judge_at(server.url), kept)
        scores, firsts, singles = judge_pairs(PAIRS, judge)
        assert [s != s for s in scores] == [False, False, True, False, False]
        assert len(firsts) == 9
        assert singles[2][0]["reply"] == "I cannot tell."
        judge_pairs(PAIRS, judge)
    assert len(server.asked) == 10  # it is not asked again


@pytest.mark.slow
def test_no_more_at_a_time_than_allowed() -> None:
    meet = threading.Barrier(3)

    def answer(_body: Body, number: int) -> Answer:  # the first nine go on when three of them are there
        return Answer(before=lambda: meet.wait(20.0) if number < 9 else None)

    with serving(answer) as server:
        judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), Verdicts(), concurrency=3))
    assert server.most == 3


@pytest.mark.slow
def test_a_second_run_requests_only_missing_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "there" / "verdicts.jsonl"

    def answer(_body: Body, number: int) -> Answer:
        return Answer("M") if number < 4 else Answer(status=500)

    with serving(answer) as server, open_verdicts(path) as kept, pytest.raises(EndpointError, match="status 500"):
        judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), kept, concurrency=1))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    with path.open("ab") as file:  # a kill within a line
        file.write(b'{"key": "0123')
    with serving(prefers("our")) as server, open_verdicts(path) as kept:
        assert len(kept) == 4
        scores, _, _ = judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), kept))
        assert len(server.asked) == 6
        assert scores == [TIE, TIE, WIN, WIN, WIN]
        assert judge_pairs(PAIRS, EndpointJudge(judge_at("http://127.0.0.1:1/v1"), kept))[0] == scores
        other = EndpointJudge(judge_at(server.url, max_tokens=9), kept)
        judge_pairs(PAIRS, other)
        assert len(server.asked) == 16  # asked in another way
        judge_pairs([Pair("prompt 0", "our answer 0", "another")], other)
        assert len(server.asked) == 18
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len({line["key"] for line in lines}) == 22
    assert {"key", "judge", "template", "first", "prompt", "answer", "reference", "reply", "verdict"} == set(lines[0])


@pytest.mark.slow
def test_requests_under_way_at_an_error_are_kept(tmp_path: Path) -> None:
    failed, all_asked = threading.Event(), threading.Barrier(3)

    def answer(_body: Body, number: int) -> Answer:
        if number == 1:
            return Answer(status=400, raw="no", before=lambda: (all_asked.wait(20.0), failed.set()))
        return Answer("m", before=lambda: (all_asked.wait(20.0), failed.wait(20.0), time.sleep(0.1)))

    path = tmp_path / "v.jsonl"
    with serving(answer) as server, open_verdicts(path) as kept, pytest.raises(ValueError, match="status 400, no"):
        judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), kept, concurrency=3))
    assert len(server.asked) == 3
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.slow
def test_no_further_attempt_is_made_when_another_request_fails() -> None:
    def answer(_body: Body, number: int) -> Answer:
        return Answer(status=429, headers={"Retry-After": "0.5"}) if number == 0 else Answer(status=400, raw="no")

    with serving(answer) as server:
        with pytest.raises(ValueError, match="status 400"):
            judge_pairs(PAIRS, EndpointJudge(judge_at(server.url), Verdicts(), concurrency=2))
        assert len(server.asked) == 2


@pytest.mark.slow
def test_an_instance_of_an_endpoints() -> None:
    with serving(prefers("our")) as server:
        shown = instance(PAIRS[0], EndpointJudge(judge_at(server.url), Verdicts()))
    assert [order["messages"] for order in shown["orders"]] in (
        [b["messages"] for b in server.asked],
        [b["messages"] for b in server.asked[::-1]],
    )
    assert [order["first"] for order in shown["orders"]] == [ANSWER, REFERENCE]
    assert [order["verdict"] for order in shown["orders"]] == [ANSWER, ANSWER]
    assert shown["orders"][0]["reply"] == "Because.\n\nm"
    assert (shown["outcome"], shown["prompt"]) == ("win", "prompt 0")
    json.dumps(shown)


def test_an_instance_of_a_score() -> None:
    judge = ScoreJudge(lambda _prompt, text: -float(len(text)))
    shown = instance(PAIRS[0], judge)
    assert (shown["outcome"], shown["verdict"]) == ("win", ANSWER)
    assert shown["scores"] == {ANSWER: -12.0, REFERENCE: -14.0}
    assert [outputs(order)[0] for order in shown["orders"]] == [PAIRS[0].answer, PAIRS[0].reference]
    assert judge_pairs([Pair("p", "aa", "bb"), Pair("p", "aaa", "bb")], judge)[:2] == ([TIE, LOSS], [])
