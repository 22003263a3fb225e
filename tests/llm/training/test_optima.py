"""The optima of both objectives: computed once, by a run on each objective alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import TrainConfig, train  # noqa: E402
from llm.training.metrics import read_metrics  # noqa: E402
from llm.training.optima import optima  # noqa: E402


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of the run."""
    return door.evaluated(tmp_path_factory.mktemp("after"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the trainings that were carried out."""
    from llm.training import cached_run, run

    titles: list[str] = []
    train_in = cached_run.train_in

    def recorded(inputs: Any, spec: Any, config: TrainConfig, folder: Any, title: str) -> None:
        titles.append(title)
        train_in(inputs, spec, config, folder, title)

    for module in (cached_run, run):
        monkeypatch.setattr(module, "train_in", recorded)
    return titles


@pytest.mark.slow
def test_optima_are_computed_once(options: dict[str, Any], tmp_path: Path, trained: list[str]) -> None:
    mine = {**options, "reference": "base", "f_star": "compute", "f_dpo_star": None, "f_sft_star": None}
    config = TrainConfig(**{**mine, "cache": str(tmp_path / "cache"), "out": str(tmp_path / "run"), "optima_steps": 5})
    first = optima(config, quiet=True)
    assert trained == ["optimum of f_DPO", "optimum of f_SFT"]
    assert not (tmp_path / "run").exists()
    assert set(first) == {"train", "held_out"}
    # the least values that the runs' own evaluations saw
    seen: dict[str, dict[str, list[float]]] = {"train": {}, "held_out": {}}
    for path in (tmp_path / "cache" / "optima").glob("*/metrics.jsonl"):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            for name in ("dpo", "sft") if "evaluation" in line else ():
                if f"f_{name}" in line:
                    seen[line["evaluation"]].setdefault(name, []).append(line[f"f_{name}"])
    assert first == {where: {n: min(v) for n, v in values.items()} for where, values in seen.items()}
    assert all(len(v) == 4 for values in seen.values() for v in values.values())  # steps 0, 2, 4, 5

    trained.clear()
    assert optima(config, quiet=True) == first
    own_interval = {"eval_every": 3, "optima_every": config.eval_every}
    for change in ({"lam": 0.1}, {"method": "maxright", "k": 2}, {"steps": 7}, {"out": "elsewhere"}, own_interval):
        assert optima(dataclasses.replace(config, **change), quiet=True) == first  # type: ignore[arg-type]
    assert trained == []
    result = train(dataclasses.replace(config, steps=2), quiet=True)
    assert trained == ["alright"]
    assert result.summary["f_star"] == first["held_out"]

    trained.clear()
    other = optima(dataclasses.replace(config, sft=door.write(tmp_path / "s.jsonl", tiny.sft_rows(30, 5))), quiet=True)
    assert trained == ["optimum of f_SFT"]
    assert other["train"]["dpo"] == first["train"]["dpo"]
    trained.clear()
    optima(dataclasses.replace(config, beta=0.3), quiet=True)
    assert "optimum of f_DPO" in trained


@pytest.mark.slow
def test_an_optimum_is_the_least_value_of_evaluations_at_its_own_interval(
    options: dict[str, Any], tmp_path: Path
) -> None:
    mine = {**options, "reference": "base", "f_star": "compute", "f_dpo_star": None, "f_sft_star": None}
    config = TrainConfig(**{**mine, "cache": str(tmp_path / "cache"), "optima_steps": 5, "optima_every": 1, "lr": 1e-1})
    found = optima(config, quiet=True)
    for path in (tmp_path / "cache" / "optima").glob("*/metrics.jsonl"):
        lines = [line for line in read_metrics(path.parent) if line.get("evaluation") == "held_out"]
        assert [line["step"] for line in lines] == list(range(6))
        name = "dpo" if "f_dpo" in lines[0] else "sft"
        assert found["held_out"][name] == min(line[f"f_{name}"] for line in lines)
    least = optima(dataclasses.replace(config, optima_every=0), quiet=True)
    assert all(found[where][name] <= least[where][name] for where in least for name in least[where])


@pytest.mark.slow
def test_optima_of_other_code_or_libraries_are_computed_again(
    options: dict[str, Any], tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm.common import code_digest

    mine = {**options, "reference": "base", "f_star": "compute", "f_dpo_star": None, "f_sft_star": None}
    config = TrainConfig(**{**mine, "cache": str(tmp_path / "cache"), "out": str(tmp_path / "run"), "optima_steps": 2})
    first = optima(config, quiet=True)
    with monkeypatch.context() as other:
        other.setattr(code_digest, "code_digest", lambda *_: "another optimizer")
        assert optima(config, quiet=True) == first
    with monkeypatch.context() as other:
        other.setattr(code_digest, "versions", lambda *_: {"torch": "99"})
        assert optima(config, quiet=True) == first
    both = ["optimum of f_DPO", "optimum of f_SFT"]
    assert trained == both * 3
    assert optima(config, quiet=True) == first
    assert trained == both * 3


@pytest.mark.parametrize(
    "module",
    ["training.engine", "training.optimizers", "training.base", "models.policy", "losses.pairs"],
)
def test_the_code_of_an_optimum_includes_every_part_of_its_steps(module: str) -> None:
    from llm.common import code_digest
    from llm.training import cached_run

    starts: list[tuple[str, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_digest, "code_digest", lambda *names: starts.append(names) or "")
        cached_run.computing_code()
    assert f"llm.{module}" in code_digest.reached_modules(*starts[0])


@pytest.mark.slow
def test_optima_give_a_model_in_memory_back(options: dict[str, Any], tmp_path: Path) -> None:
    model = tiny.model()
    config = TrainConfig(**{**options, "reference": "base", "cache": str(tmp_path / "cache"), "optima_steps": 1})
    optima(config, quiet=True, model=model, tokenizer=tiny.tokenizer())
    assert not any("lora" in n for n, _ in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.slow
def test_optima_of_a_run_that_continues_an_adapter_begin_at_the_adapter(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """Else the run would begin below the least value that it is compared with."""
    own = {**options, "f_star": "compute", "optima_steps": 2, "reference": "base", "lr": 1e-2, "steps": 30}
    first = train(
        TrainConfig(**{**own, "method": "sequential", "lam": 0.0, "out": str(tmp_path / "first")}), quiet=True
    )
    continued = {**own, "adapter": str(first.folder), "eval_every": 1, "steps": 2, "out": str(tmp_path / "second")}
    second = train(TrainConfig(**continued), quiet=True)
    started = next(line["f_sft"] for line in read_metrics(second.folder) if "evaluation" in line)
    base = next(line["f_sft"] for line in read_metrics(first.folder) if "evaluation" in line)
    assert started < base - 0.1
    assert second.summary["f_star"]["sft"] <= started
