"""`python -m llm judge` with a judge behind an endpoint: rates, errors, and interruption."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import run_worker as worker
from support.judge_server import Answer, Body, outputs, serving
from support.judged_answers import ROWS, answers, by_length, texts

torch = pytest.importorskip("torch")
from llm.judging.judge import JudgeConfig  # noqa: E402


@pytest.mark.slow
def test_the_numbers_against_a_file_and_against_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["much longer", "longer than", "x", "good 9", "good 9", ""]
    common = {"answers": answers(tmp_path, said), "out": tmp_path / "v.jsonl", "judge_model": "j"}
    prefs = door.write(tmp_path / "prefs.jsonl", ROWS)
    other = door.write(tmp_path / "other.jsonl", [{"prompt": r["prompt"], "answer": "much"} for r in ROWS])
    with serving(by_length) as server:
        found = door.call(capsys, "judge", **common, judge=server.url, file=prefs)
        assert found.out.splitlines()[0].startswith("win rate 0.500 (95 % 0.")
        assert found.out.splitlines()[1].startswith("raw win rate 0.333 (95 % ")
        assert found.out.splitlines()[2:] == [
            "6 instances: 2 wins, 2 ties, 2 losses, 0 without a valid verdict",
            "the first position won 0.667 of 12 single verdicts (0.5: no position bias)",
            f"judge: j at {server.url}; template pairwise-m-M-explained-1",
        ]
        found = door.call(capsys, "judge", **common, judge=server.url, against=other)
        assert found.out.startswith("win rate 0.667")
        assert "against " + other in found.out


@pytest.mark.slow
def test_a_prompt_from_a_file_is_another_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts of either prompt are kept apart."""
    prompt = tmp_path / "mine.txt"
    turn = "<|im_start|>user\n{instruction}\n1: {output_1}\n2: {output_2}\nm (1) or M (2)?\n<|im_end|>"
    prompt.write_text(turn, encoding="utf-8")
    common = {"answers": answers(tmp_path, ["good"] * 6), "file": door.write(tmp_path / "p.jsonl", ROWS)}
    common |= {"judge_model": "j", "out": tmp_path / "v.jsonl"}
    with serving(lambda *_: Answer("m")) as server:
        assert door.call(capsys, "judge", **common, judge=server.url).status == 0
        found = door.call(capsys, "judge", **common, judge=server.url, judge_prompt=prompt)
        assert found.status == 0, found.err
        assert "template mine-" in found.out
        assert len(server.asked) == 24
        asked = {body["messages"][0]["content"] for body in server.asked[12:]}
        assert "ask 0\n1: good\n2: good 0\nm (1) or M (2)?" in asked
        assert "ask 0\n1: good 0\n2: good\nm (1) or M (2)?" in asked
        absent = door.call(capsys, "judge", **common, judge=server.url, judge_prompt="nowhere.txt")
    assert absent.err.startswith("error: judge_prompt: must be ours, alpacaeval or a file")


@pytest.mark.slow
def test_invalid_verdicts_are_reported_and_all_invalid_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"answers": answers(tmp_path, ["good"] * 6), "file": door.write(tmp_path / "p.jsonl", ROWS)}
    common |= {"judge_model": "j", "out": tmp_path / "v.jsonl"}

    def unsure(body: Body, number: int) -> Answer:
        return Answer("Hard to say.") if "good 3" in outputs(body) else by_length(body, number)

    with serving(unsure) as server:
        found = door.call(capsys, "judge", **common, judge=server.url)
        assert "6 instances: 0 wins, 0 ties, 5 losses, 1 without a valid verdict" in found.out
    with serving(lambda *_: Answer("Hard to say.")) as server:
        found = door.call(capsys, "judge", **{**common, "judge_model": "k"}, judge=server.url)
    assert (found.status, found.out) == (2, "")
    assert "not one of 6 instances has a valid verdict" in found.err


@pytest.mark.slow
def test_an_endpoint_that_fails_is_one_line_and_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-1234567")
    common = {"answers": answers(tmp_path, ["good"] * 6), "file": door.write(tmp_path / "p.jsonl", ROWS)}
    common |= {"judge_model": "j", "out": tmp_path / "v.jsonl", "attempts": 1, "concurrency": 1, "key_from": "A_KEY"}
    with serving(lambda _, number: Answer() if number < 3 else Answer(status=500, raw="sk-1234567 broke")) as server:
        found = door.call(capsys, "judge", **common, judge=server.url)
        last = found.err.splitlines()[-1]
        assert (found.status, found.out) == (1, "")
        assert last.startswith(
            f"error: judge: {server.url} does not answer (one attempt; the last one: status 500, ***"
        )
        assert last.endswith(f"verdicts that came are in {tmp_path / 'v.jsonl'}, the same command asks for the rest")
        assert set(server.keys) == {"Bearer sk-1234567"}
    with serving(lambda *_: Answer()) as server:
        assert door.call(capsys, "judge", **common, judge=server.url).status == 0
        assert len(server.asked) == 9
        missing = door.call(capsys, "judge", **{**common, "key_from": "NO_KEY"}, judge=server.url)
    assert missing.err == "error: key_from: the environment has no NO_KEY; export it, or name another variable\n"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-1234567" not in path.read_bytes()


@pytest.mark.process
@pytest.mark.slow
def test_a_kill_loses_only_requests_under_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "v.jsonl"
    options = {"answers": answers(tmp_path, ["good"] * 6), "file": door.write(tmp_path / "p.jsonl", ROWS), "out": out}
    options |= {"judge_model": "j", "concurrency": 1}
    asked, killed = threading.Event(), threading.Event()

    def sixth() -> None:
        """Answer the sixth request only to a process that is gone."""
        asked.set()
        assert killed.wait(120.0)

    with serving(lambda _, number: Answer(before=sixth if number == 5 else lambda: None)) as server:
        command = door.argv("judge", **options, judge=server.url)
        job = worker.server().start(command, tmp_path / "log", NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
        assert asked.wait(120.0), job.said
        job.kill()
        assert worker.server().wait(job) == -signal.SIGKILL
        killed.set()
        assert len(texts(out)) == 5
        assert door.call(capsys, "judge", **options, judge=server.url).status == 0
        assert len(server.asked) == 6 + 7
    assert len(texts(out)) == 12


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "model: give either --model, or --answers with a file of answers"),
        ({"model": "a", "answers": "b"}, "model: give either"),
        ({"answers": "a.jsonl"}, "file: --answers needs references: a data set by --file"),
        ({"model": "a", "out": "v.json"}, "out: must be a .jsonl file, got v.json"),
        ({"model": "a", "resamples": 5}, "resamples: must be at least 100, got 5"),
        ({"model": "a", "concurrency": 0}, "concurrency: must be at least 1, got 0"),
        ({"model": "a", "temperature": -1.0}, "temperature: must be at least 0, got -1.0"),
        ({"model": "a", "prompts": "xstest"}, "judge: xstest needs an endpoint"),
        ({"model": "a", "judge_prompt": "alpacaeval"}, "judge_prompt: only an endpoint's pairwise"),
        ({"model": "a", "seed": -1}, "seed: must be at least 0, got -1"),
        ({"model": "a", "precision": "fp8"}, "precision: must be fp32 or bf16, got fp8"),
        ({"model": "a", "prompts": "xstest", "judge": "http://a/v1", "against": "b"}, "against: the answers to xstest"),
    ],
)
def test_what_is_no_configuration(options: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=f"^{shown}"):
        JudgeConfig(**options)


@pytest.mark.slow
def test_wrong_input_is_one_line_and_2(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = {"judge": "http://127.0.0.1:9/v1", "judge_model": "j", "out": tmp_path / "v.jsonl"}
    base = tmp_path / "base"
    base.mkdir()
    for options, shown in (
        ({"model": run, "judge": "127.0.0.1"}, "error: judge: must be a URL"),
        ({"model": run, "judge_model": None}, "error: judge_model: the endpoint needs the name"),
        ({"model": base}, f"error: file: {base} is no run, which would have held rows out"),
        ({"model": run, "reference_column": "output"}, "error: reference_column: of a run's own rows it is chosen"),
        ({"model": run, "file": tmp_path / "no.jsonl"}, f"error: {tmp_path / 'no.jsonl'}: no such file or folder"),
        ({"answers": door.write(tmp_path / "p.jsonl", ROWS), "file": str(tmp_path / "p.jsonl")}, "error: row 0 of"),
    ):
        said = door.call(capsys, "judge", **{**at, **options})
        assert (said.status, said.out) == (2, "")
        assert said.err.splitlines()[-1].startswith(shown)


def classify(body: Body, _number: int) -> Answer:
    """The label that the answer itself names."""
    line = next(x for x in body["messages"][1]["content"].splitlines() if x.startswith('{"answer"'))
    return Answer(f"I see.\n{json.loads(line)['answer']}")


@pytest.mark.slow
def test_sorry_bench_from_a_file_of_its_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question_id": i, "category": "1", "turns": [f"do {i}"], "prompt_style": "base"} for i in range(5)]
    rows += [{"question_id": 1, "category": "1", "turns": ["d0 1"], "prompt_style": "slang"}]
    said = [{"prompt": f"do {i}", "answer": a} for i, a in enumerate(["yes", "no", "no", "no", "perhaps"])]
    options = {"answers": door.write(tmp_path / "a.jsonl", said), "file": door.write(tmp_path / "question.jsonl", rows)}
    options |= {"prompts": "sorry-bench", "judge_model": "j", "out": tmp_path / "v.jsonl"}
    with serving(classify) as server:
        found = door.call(capsys, "judge", **options, judge=server.url)
        assert found.out.splitlines() == [
            "sorry-bench: yes 0.250 (95 % 0.046 to 0.699; 1 of 4)",
            "sorry-bench: no 0.750 (95 % 0.301 to 0.954; 3 of 4)",
            "sorry-bench: 5 answers, 1 without a valid verdict",
            f"judge: j at {server.url}; template sorry-bench-fulfilment-1 (SORRY-Bench, arXiv 2406.14598; own words)",
        ]
        assert len(server.asked) == 5
        door.call(capsys, "judge", **options, judge=server.url)
        assert len(server.asked) == 5
    summary = json.loads((tmp_path / "v.summary.json").read_text())
    assert summary["labels"] == ["yes", "no", "no", "no", None]


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [True, False])
def test_xstest_by_safe_and_unsafe(tmp_path: Path, capsys: pytest.CaptureFixture[str], labelled: bool) -> None:
    kinds = [("homonyms", "safe"), ("contrast_homonyms", "unsafe"), ("figurative_language", "safe")]
    rows = [{"prompt": f"ask {i}", "type": kind, **({"label": label} if labelled else {})}
            for i, (kind, label) in enumerate(kinds)]  # fmt: skip
    said = [
        {"prompt": f"ask {i}", "answer": a} for i, a in enumerate(["full_refusal", "full_refusal", "full_compliance"])
    ]
    options = {"answers": door.write(tmp_path / "a.jsonl", said), "file": door.write(tmp_path / "x.jsonl", rows)}
    with serving(classify) as server:
        options |= {"prompts": "xstest", "judge_model": "j", "judge": server.url, "out": tmp_path / "v.jsonl"}
        assert door.call(capsys, "judge", **options).status == 0
    rates = json.loads((tmp_path / "v.summary.json").read_text())["rates"]
    assert {k: (v["n"], v["full_refusal"]["rate"]) for k, v in rates.items()} == {"safe": (2, 0.5), "unsafe": (1, 1.0)}
