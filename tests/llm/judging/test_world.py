"""The embedded world as a judge, and the measure `answers` of a finished run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support.judge_server import outputs

torch = pytest.importorskip("torch")

from llm import TrainConfig, train  # noqa: E402
from llm.embedded import EmbeddedConfig, Paths, read_world  # noqa: E402
from llm.embedded.language import PLAIN, courteous, evasive, fact_of, fuller, neutral, question  # noqa: E402
from llm.embedded.prepare import prepare  # noqa: E402
from llm.embedded.world import Fact, World  # noqa: E402
from llm.evaluation.generate import Decoding, generate_answers  # noqa: E402
from llm.judging import Pair, instance  # noqa: E402
from llm.judging import world as judged  # noqa: E402
from llm.judging.judge import JudgeConfig, judge  # noqa: E402

TINY = EmbeddedConfig(
    places=8, hidden=16, layers=1, heads=2, pretrain_steps=4, sft_rows=12, preference_rows=12, held_out_rows=6,
    questions=4,
)  # fmt: skip
WORLD = World(0, 8)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return prepare(TINY, tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def a_tiny_world(monkeypatch: pytest.MonkeyPatch, paths: Paths) -> None:
    """`embedded` is the tiny world, for training and for judging."""
    for place in ("llm.embedded.prepare", "llm.judging.world"):
        monkeypatch.setattr(f"{place}.embedded_paths", lambda *_, **__: paths)


def options(folder: Path) -> dict[str, Any]:
    some = {"steps": 2, "batch_sft": 4, "batch_preference": 4, "lora_rank": 2, "eval_every": 0, "device": "cpu"}
    return {**some, "max_length": 64, "cache": str(folder / "cache"), "out": str(folder / "run")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, paths: Paths) -> Path:
    """A finished run on the tiny world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm.embedded.prepare.embedded_paths", lambda *_, **__: paths)
        return train(TrainConfig(**options(tmp_path_factory.mktemp("runs"))), quiet=True).folder


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def other_value(fact: Fact) -> Fact:
    value = next(f.value for f in WORLD.facts if f.kind == fact.kind and f.value != fact.value)
    return fact._replace(value=value)


def test_the_measures_numbers_by_hand(monkeypatch: pytest.MonkeyPatch, run: Path, paths: Paths) -> None:
    asked, taught = rows(paths.preference_held_out), rows(paths.sft_held_out)
    facts = [fact_of(WORLD, row["prompt"]) for row in (*asked, *taught)]
    said = [
        asked[0]["chosen"],  # 3: tie
        courteous(facts[1], "Gladly:"),  # 3, maybe in other words: tie
        neutral(facts[2]),  # 2: lost
        neutral(other_value(facts[3])),  # -1: lost
        evasive(facts[4], "That is hard to say."),  # 0: lost
        "",  # 0: lost
        taught[0]["completion"],
        fuller(other_value(facts[7]), next(f for f in WORLD.by_place[facts[7].place] if f.kind != facts[7].kind)),
        neutral(facts[8]),
        f"As to {facts[9].place}, I can tell you more: nothing.",
        taught[4]["completion"].removesuffix("."),
        courteous(facts[11], "Of course:"),
    ]
    seen: dict[str, Any] = {}

    def scripted(name: str, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        seen.update(name=name, prompts=list(prompts), decoding=decoding)
        return said

    monkeypatch.setattr(judged, "generate_answers", scripted)
    found = judged.measure(run)
    assert seen == {
        "name": str(run),
        "prompts": [row["prompt"] for row in (*asked, *taught)],
        "decoding": Decoding(max_new_tokens=40, batch=12),
    }
    assert (found["wins"], found["ties"], found["losses"], found["n"]) == (0, 2, 4, 6)
    assert found["win_rate"] == pytest.approx(1 / 6)
    assert 0.0 <= found["win_rate_low"] < 1 / 6 < found["win_rate_high"] <= 0.5
    assert found["score"] == pytest.approx((3 + 3 + 2 - 1 + 0 + 0) / 6)
    assert found["reference_score"] == 3.0
    assert found["fact_accuracy_preference"] == pytest.approx(3 / 6)
    assert found["fact_accuracy_sft"] == pytest.approx(4 / 6)
    assert found["sft_manner"] == pytest.approx(2 / 6)  # the second of them with a wrong fact
    told = found["answers"]
    assert [row["answer"] for row in told] == said
    assert [row["set"] for row in told] == ["preference"] * 6 + ["sft"] * 6
    assert [row["reference"] for row in told] == [r["chosen"] for r in asked] + [r["completion"] for r in taught]
    assert [row["right"] for row in told[6:]] == [True, False, True, False, True, True]
    assert [row["fuller"] for row in told[6:]] == [True, True, False, False, False, False]
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_the_measure_of_a_real_run(run: Path, paths: Paths) -> None:
    found = judged.measure(run)
    assert found == judged.measure(run)
    prompts = [row["prompt"] for row in (*rows(paths.preference_held_out), *rows(paths.sft_held_out))]
    assert [row["prompt"] for row in found["answers"]] == prompts
    one_by_one = generate_answers(str(run), prompts, Decoding(max_new_tokens=40, batch=1))
    assert [row["answer"] for row in found["answers"]] == one_by_one
    assert found["n"] == 6
    assert 0.0 <= found["win_rate"] <= 0.5


def test_what_is_in_the_fuller_manner() -> None:
    place, *_ = WORLD.names
    here = WORLD.by_place[place]
    prompt = question(here[0], PLAIN[0])
    assert judged.is_fuller(WORLD, prompt, f" {fuller(here[0], here[3])}\n")
    assert judged.is_fuller(WORLD, prompt, fuller(other_value(here[0]), other_value(here[3])))
    assert not judged.is_fuller(WORLD, prompt, fuller(here[1], here[0]))  # what was not asked comes first
    assert not judged.is_fuller(WORLD, prompt, fuller(here[0], here[0]))
    assert not judged.is_fuller(WORLD, prompt, fuller(here[0]._replace(value="cheese!"), here[1]))
    assert not judged.is_fuller(WORLD, prompt, fuller(here[0], here[1]) + " Indeed.")
    assert not judged.is_fuller(WORLD, prompt, fuller(here[0]._replace(place="Elsewhere"), here[1]))


@pytest.mark.slow
def test_the_world_does_not_judge_a_run_on_other_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**door.place(tmp_path), "steps": 1}
    folder = train(TrainConfig(**other), quiet=True).folder
    why = r"^run: .* is not on an embedded world \(its sft set is .*sft\.jsonl\)"
    with pytest.raises(ValueError, match=why):
        judge(JudgeConfig(model=str(folder), out=str(tmp_path / "v.jsonl")), quiet=True)
    monkeypatch.delenv("FORGET_NEITHER_JUDGE_URL", raising=False)
    with pytest.raises(ValueError, match=r"^answers: their judge is not known"):
        judged.measure(folder)


def test_an_instance_of_the_worlds(paths: Paths) -> None:
    row = rows(paths.preference_held_out)[0]
    fact = fact_of(WORLD, row["prompt"])
    shown = instance(Pair(row["prompt"], neutral(fact), row["chosen"]), judged.judge_of(read_world(paths.world)))
    assert shown["scores"] == {"answer": 2.0, "reference": 3.0}
    assert shown["outcome"] == "loss"
    assert [outputs(order) for order in shown["orders"]] == [
        (neutral(fact), row["chosen"]),
        (row["chosen"], neutral(fact)),
    ]


# the command


@pytest.mark.slow
def test_the_command_on_a_run(run: Path, paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "there" / "verdicts.jsonl"
    said = door.call(capsys, "judge", model=run, out=out, max_new_tokens=8)
    assert said.status == 0, said.err
    assert said.out.splitlines()[0].startswith("win rate 0.")
    assert "6 instances:" in said.out
    assert said.out.splitlines()[-1] == "judge: world"
    summary = json.loads(out.with_suffix(".summary.json").read_text(encoding="utf-8"))
    assert (summary["n"], summary["judge"], len(summary["outcomes"])) == (6, "world", 6)
    lines = rows(out)
    assert [line["prompt"] for line in lines] == [r["prompt"] for r in rows(paths.preference_held_out)]
    again = door.call(capsys, "judge", model=run, out=out, max_new_tokens=8)
    assert (again.status, again.out) == (0, said.out)
    assert rows(out) == lines


@pytest.mark.slow
def test_the_command_on_answers(tmp_path: Path, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    asked = rows(paths.preference_held_out)
    best = [{"prompt": r["prompt"], "answer": r["chosen"]} for r in reversed(asked)]  # in whatever order
    answers = door.write(tmp_path / "answers.jsonl", best)
    common = {"answers": answers, "file": paths.preference_held_out, "out": tmp_path / "v.jsonl"}
    assert door.call(capsys, "judge", **common).err == (
        "error: world: the judge world needs a run on an embedded world as --model, --world world.json, or another "
        "--judge\n"
    )
    said = door.call(capsys, "judge", **common, world=paths.world)
    assert said.out.splitlines()[:3] == [
        "win rate 0.500 (95 % 0.500 to 0.500) against chosen, ties half",
        "raw win rate 0.000 (95 % 0.000 to 0.000), ties not won",
        "6 instances: 0 wins, 6 ties, 0 losses, 0 without a valid verdict",
    ]
    said = door.call(capsys, "judge", **common, world=paths.world, reference_column="rejected")
    assert said.out.startswith("win rate 1.000 (95 % 1.000 to 1.000) against rejected")
    worse = door.write(tmp_path / "worse.jsonl", [{"prompt": r["prompt"], "answer": "Hm."} for r in asked])
    said = door.call(capsys, "judge", answers=answers, against=worse, world=paths.world, out=common["out"])
    assert said.out.startswith("win rate 1.000")
    door.write(tmp_path / "few.jsonl", best[:2])
    said = door.call(capsys, "judge", **{**common, "answers": tmp_path / "few.jsonl"}, world=paths.world)
    assert said.status == 2
    assert "few.jsonl: 4 of 6 prompts have no answer in it, first" in said.err
