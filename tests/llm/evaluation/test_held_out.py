"""The numbers of a finished run on held-out rows, computed again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import Result, TrainConfig, train  # noqa: E402
from llm.evaluation.held_out import EvaluateConfig, evaluate  # noqa: E402


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of the run."""
    return door.evaluated(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """A finished run, with a trained reference and given optima."""
    return train(TrainConfig(**options), quiet=True)


@pytest.fixture
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No loop begins while the test runs."""
    from llm.training.trainer import Trainer

    begun: list[str] = []
    fit = Trainer.fit

    def recorded(self: Trainer, stage: Any) -> None:
        begun.append(self.folder.name)
        fit(self, stage)

    monkeypatch.setattr(Trainer, "fit", recorded)
    yield
    assert begun == []


def numbers(path: Path) -> dict[str, float]:
    return {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if isinstance(v, float)}


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_trained")
def test_the_same_numbers_again(run: Result, tmp_path: Path) -> None:
    out = tmp_path / "there" / "numbers.json"
    found = evaluate(EvaluateConfig(run=str(run.folder), out=str(out)), quiet=True)
    final = run.summary["evaluation"]
    assert found == pytest.approx(final, rel=1e-5, abs=1e-6)  # the order of float32 sums
    assert {"f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance", "rewards/margins"} <= set(found)
    assert found["gap_dpo"] == found["f_dpo"] - 0.1
    assert found["gap_sft"] == found["f_sft"] - 2.0
    assert found["ideal_distance"] == math.hypot(found["gap_dpo"], found["gap_sft"])
    assert numbers(out) == found


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_trained")
def test_the_bare_base_and_other_adapters(run: Result, options: dict[str, Any]) -> None:
    own = evaluate(EvaluateConfig(run=str(run.folder)), quiet=True)
    bare = evaluate(EvaluateConfig(run=str(run.folder), adapter="base"), quiet=True)
    first = json.loads((run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["step"] == 0
    for name in ("f_dpo", "f_sft", "rewards/chosen"):  # an adapter begins as nothing
        assert bare[name] == pytest.approx(first[name], rel=1e-5, abs=1e-6)
        assert bare[name] != pytest.approx(own[name], rel=1e-3)
    # the reference itself: no reward against itself, f_DPO = log 2
    reference = next((Path(options["cache"]) / "adapters").iterdir())
    itself = evaluate(EvaluateConfig(run=str(run.folder), adapter=str(reference)), quiet=True)
    assert itself["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-6)
    assert itself["rewards/margins"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_trained")
def test_other_sets_and_other_numbers_of_rows(run: Result, tmp_path: Path) -> None:
    folder = str(run.folder)
    own = evaluate(EvaluateConfig(run=folder), quiet=True)
    sft = door.write(tmp_path / "s.jsonl", tiny.sft_rows(6, 50))
    # training prompts among them: the run's own training rows, and so its reference, must stay what they were
    pairs = door.write(tmp_path / "p.jsonl", [*tiny.preference_rows(20), *tiny.preference_rows(6, 51)])
    other = evaluate(EvaluateConfig(run=folder, sft=sft), quiet=True)
    assert other["f_dpo"] == own["f_dpo"]
    assert other["f_sft"] != pytest.approx(own["f_sft"], rel=1e-3)
    other = evaluate(EvaluateConfig(run=folder, preference=pairs), quiet=True)
    assert other["f_sft"] == own["f_sft"]
    assert other["f_dpo"] != pytest.approx(own["f_dpo"], rel=1e-3)
    fewer = evaluate(EvaluateConfig(run=folder, rows=2), quiet=True)
    more = evaluate(EvaluateConfig(run=folder, rows=100), quiet=True)
    assert len({f["f_sft"] for f in (own, fewer, more)}) == 3


@pytest.mark.slow
def test_changed_files_are_seen(options: dict[str, Any], tmp_path: Path) -> None:
    mine = {**options, "cache": str(tmp_path / "cache"), "out": str(tmp_path / "run"), "reference": "base", "steps": 1}
    for name in ("sft", "preference"):
        mine[name] = shutil.copy(options[name], tmp_path)
    mine["model"] = shutil.copytree(options["model"], tmp_path / "base")
    mine = {k: str(v) if isinstance(v, Path) else v for k, v in mine.items()}
    train(TrainConfig(**mine), quiet=True)

    def error() -> str:
        with pytest.raises(ValueError, match=r"^run: its .* has changed since.*; restore it, or train again") as caught:
            evaluate(EvaluateConfig(run=mine["out"]), quiet=True)
        return str(caught.value)

    for name, rows in (("sft", tiny.sft_rows(n=41)), ("preference", tiny.preference_rows(n=25))):
        door.write(Path(mine[name]), rows)
        assert error().startswith(f"run: its {name} set has changed since")
        shutil.copy(options[name], tmp_path)  # put back
    tiny.model(seed=1).save_pretrained(mine["model"])
    assert error().startswith("run: its base model has changed since")


@pytest.mark.slow
def test_what_was_in_memory_is_given_again(tmp_path: Path, options: dict[str, Any]) -> None:
    mine = {**options, "model": "embedded", "sft": "embedded", "preference": "embedded", "reference": "base"}
    memory = {"model": tiny.model(), "tokenizer": tiny.tokenizer()}
    memory |= {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    made = train(TrainConfig(**{**mine, "out": str(tmp_path / "run"), "steps": 2}), quiet=True, **memory)
    with pytest.raises(ValueError, match=r"^run: its model was given in memory .*evaluate\(.*, model=\.\.\.\)$"):
        evaluate(EvaluateConfig(run=str(made.folder)), quiet=True)
    found = evaluate(EvaluateConfig(run=str(made.folder)), quiet=True, **memory)
    assert found == pytest.approx(made.summary["evaluation"], rel=1e-5, abs=1e-6)
    assert all(p.requires_grad for p in memory["model"].parameters())
    assert not any("lora" in n for n, _ in memory["model"].named_parameters())


@pytest.mark.slow
def test_a_run_without_held_out_rows(tmp_path: Path, options: dict[str, Any]) -> None:
    mine = {**options, "held_out": 0.0, "reference": "base", "steps": 1, "out": str(tmp_path / "run")}
    train(TrainConfig(**mine), quiet=True)
    with pytest.raises(ValueError, match=r"^run: it held no rows out; give --sft and --preference"):
        evaluate(EvaluateConfig(run=mine["out"]), quiet=True)
    both = {"sft": options["sft"], "preference": options["preference"]}
    assert set(evaluate(EvaluateConfig(run=mine["out"], **both), quiet=True)) >= {"f_dpo", "f_sft"}
