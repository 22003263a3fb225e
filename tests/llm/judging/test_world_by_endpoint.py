"""The measure `answers` of runs on other sets than the embedded world's: a judge behind an endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.judge_server import Answer, Body, outputs, serving
from support.measured_runs import forget_measures, held_out_pairs, run_on_files

torch = pytest.importorskip("torch")
from llm.evaluation.generate import Decoding, generate_answers  # noqa: E402
from llm.judging import answers as made  # noqa: E402
from llm.judging import world as judged  # noqa: E402
from llm.judging.world import measure  # noqa: E402
from llm.study.measures import MeasureError, columns, file_of, result_of, take  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on local files, whose model has room for answers of the measure's length."""
    return run_on_files(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def generated() -> Any:
    """Return a function that gives the answers of `generate_answers`, generated once for all tests."""
    kept: dict[str, list[str]] = {}

    def once(*asked: Any, **how: Any) -> list[str]:
        key = repr((asked, how))
        if key not in kept:
            kept[key] = generate_answers(*asked, **how)
        return kept[key]

    return once


@pytest.fixture
def run(trained: Path, generated: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same run, not measured yet."""
    monkeypatch.setattr(made, "generate_answers", generated)
    yield trained
    forget_measures(trained)


def longer(body: Body, _number: int = 0) -> Answer:
    """The longer answer wins; of two that are as long, the first."""
    first, second = map(len, outputs(body))
    return Answer("m" if first >= second else "M")


def named(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv(judged.URL, url)
    patch.setenv(judged.MODEL, "a-judge")
    patch.setenv(judged.KEY_FROM, "KEY_OF_THE_JUDGE")
    patch.setenv("KEY_OF_THE_JUDGE", "secret")


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / judged.VERDICTS).read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_the_win_rate_by_hand(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = held_out_pairs(run)
    assert len(asked) > 4
    with serving(longer) as server:
        named(monkeypatch, server.url)
        take(run, ["answers"])
    found = result_of(run, "answers")
    rows = found["answers"]
    assert [(row["prompt"], row["reference"]) for row in rows] == [(row["prompt"], row["chosen"]) for row in asked]
    lengths = [(len(row["answer"]), len(row["reference"])) for row in rows]
    wins, losses = sum(a > b for a, b in lengths), sum(a < b for a, b in lengths)
    ties = len(rows) - wins - losses
    assert (found["wins"], found["ties"], found["losses"]) == (wins, ties, losses)
    assert (found["n"], found["invalid"]) == (len(asked), 0)
    assert found["win_rate"] == pytest.approx((wins + ties / 2) / len(asked))
    assert found["win_rate_low"] <= found["win_rate"] <= found["win_rate_high"]
    assert found["first_place"] == pytest.approx(((wins + losses) + 2 * ties) / (2 * len(asked)))
    assert (found["judge"], found["judge_url"], found["temperature"]) == ("a-judge", server.url, 1.0)
    outcomes = ["win" if a > b else "loss" if a < b else "tie" for a, b in lengths]
    assert [row["outcome"] for row in rows] == outcomes
    assert set(server.keys) == {"Bearer secret"}
    assert {(body["model"], body["temperature"]) for body in server.asked} == {("a-judge", 0.0)}
    assert len(server.asked) == 2 * len(asked)  # both orders
    assert columns(run, ["answers"])["answers_judge"] == "a-judge"
    assert "secret" not in "".join(p.read_text() for p in (run / "measures").iterdir())


@pytest.mark.slow
def test_answers_are_samples(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(longer) as server:
        named(monkeypatch, server.url)
        rows = measure(run)["answers"]
    prompts = [row["prompt"] for row in rows]
    said = [row["answer"] for row in rows]
    assert said == generate_answers(str(run), prompts, Decoding(temperature=1.0))
    assert said != generate_answers(str(run), prompts, Decoding())


@pytest.mark.slow
def test_a_stopped_measure_goes_on_and_asks_nothing_twice(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tired(body: Body, number: int) -> Answer:
        return longer(body) if number < 3 else Answer(status=400, raw="enough")

    with serving(tired) as server:
        named(monkeypatch, server.url)
        with pytest.raises(MeasureError, match=r"measure answers of .*: status 400, enough") as caught:
            take(run, ["answers"])
        assert "\n" not in str(caught.value)
    before = lines(run)
    assert len(before) == 3
    assert not file_of(run, "answers").exists()
    monkeypatch.setattr(made, "generate_answers", lambda *_: pytest.fail("the answers were made twice"))
    with serving(longer) as server:
        named(monkeypatch, server.url)
        take(run, ["answers"])
        n = result_of(run, "answers")["n"]
        assert len(server.asked) == 2 * n - 3
        assert lines(run)[:3] == before
        first = measure(run)
        assert len(server.asked) == 2 * n - 3
    assert first == {**result_of(run, "answers"), "judge_url": server.url}


@pytest.mark.slow
def test_no_more_prompts_than_the_papers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged.PROMPTS == 640
    monkeypatch.setattr(judged, "PROMPTS", 2)
    with serving(longer) as server:
        named(monkeypatch, server.url)
        found = measure(run)
    assert found["n"] == len(found["answers"]) == 2
    assert [row["prompt"] for row in found["answers"]] == [row["prompt"] for row in held_out_pairs(run)[:2]]


@pytest.mark.slow
def test_what_has_no_valid_verdict_counts_in_no_rate(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = held_out_pairs(run)[0]["prompt"]

    def silent(body: Body, _number: int) -> Answer:
        return Answer("who knows") if json.dumps(prompt)[1:-1] in body["messages"][1]["content"] else longer(body)

    with serving(silent) as server:
        named(monkeypatch, server.url)
        found = measure(run)
    assert found["answers"][0]["outcome"] == "invalid"
    assert (found["n"], found["invalid"]) == (len(found["answers"]) - 1, 1)
    assert found["win_rate"] == pytest.approx((found["wins"] + found["ties"] / 2) / found["n"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({judged.URL: None}, "the environment has no FORGET_NEITHER_JUDGE_URL)"),
        ({judged.MODEL: " "}, "the environment has no FORGET_NEITHER_JUDGE_MODEL)"),
        ({"KEY_OF_THE_JUDGE": None}, "the environment has no KEY_OF_THE_JUDGE"),
        ({judged.URL: "nowhere"}, "got 'nowhere'"),
    ],
)
def test_without_a_judge_nothing_is_begun(
    run: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], why: str
) -> None:
    named(monkeypatch, "http://127.0.0.1:9/v1")
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    monkeypatch.setattr(made, "generate_answers", lambda *_: pytest.fail("answers were made"))
    with pytest.raises(MeasureError) as caught:
        take(run, ["answers"])
    said = str(caught.value)
    assert why in said
    assert all(name in said for name in (judged.URL, judged.MODEL, judged.KEY_FROM))
    assert "\n" not in said


def test_an_endpoint_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "http://127.0.0.1:9/v1")
    monkeypatch.delenv(judged.KEY_FROM)
    assert judged.endpoint().key == ""
