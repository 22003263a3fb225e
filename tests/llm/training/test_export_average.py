"""`average`: two adapters trained apart from the base, and their weighted mean as the one that a run leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support import run_worker as worker
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.common.files import read_json
from llm.evaluation.held_out import EvaluateConfig, evaluate
from llm.training.metrics import read_metrics

torch = pytest.importorskip("torch")
ROWS: dict[str, Any] = {"sft": tiny.sft_rows(24), "preference": tiny.preference_rows(20)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny saved model."""
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    """10 steps, 4 of which are on DPO; the schedule falls to 0 in each stage."""
    own = {"steps": 10, "lam": 0.4, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lora_alpha": 8, "lr": 1e-2}
    where = {"model": str(base), "out": str(folder), "cache": str(base.parent / "cache"), "device": "cpu"}
    kind = {"method": "sequential", "average": True, "max_length": 64, "held_out": 0.2, "eval_every": 2}
    more = {"schedule": "linear", "sft": "rows", "preference": "rows", "eval_rows": 8}
    return TrainConfig(**{**own, **where, **kind, **more, **changes})


def run(c: TrainConfig) -> Path:
    """The run's folder."""
    return train(c, quiet=True, **ROWS).folder


def merged(base: Path, folder: Path) -> dict[str, Any]:
    """All weights with the adapter in them, in float64: W + α/r·B·A, by hand."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    found = {k: v.double() for k, v in AutoModelForCausalLM.from_pretrained(base).state_dict().items()}
    about = read_json(folder / "adapter_config.json")
    tensors = load_file(folder / "adapter_model.safetensors")
    for key, a in tensors.items():
        if key.endswith(".lora_A.weight"):
            layer = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            b = tensors[key.replace("lora_A", "lora_B")]
            found[f"{layer}.weight"] = (
                found[f"{layer}.weight"] + about["lora_alpha"] / about["r"] * b.double() @ a.double()
            )
    return found


@pytest.fixture(scope="module")
def averaged(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return run(config(base, tmp_path_factory.mktemp("averaged") / "run"))


@pytest.mark.slow
def test_its_weights_are_the_weighted_mean_of_both(base: Path, averaged: Path) -> None:
    ours, dpo, sft = (merged(base, f) for f in (averaged, averaged / "stage1", averaged / "stage2"))
    changed = 0
    for name, weight in ours.items():
        torch.testing.assert_close(weight, 0.4 * dpo[name] + 0.6 * sft[name], rtol=0.0, atol=1e-7)
        changed += bool((dpo[name] - sft[name]).abs().max() > 1e-3)
    assert changed == 2  # the layers that PEFT adapts
    ranks = [read_json(f / "adapter_config.json")["r"] for f in (averaged, averaged / "stage1", averaged / "stage2")]
    assert ranks == [8, 4, 4]


@pytest.mark.slow
def test_each_part_is_a_run_on_its_own(base: Path, averaged: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for lam, steps, part in ((1.0, 4, "stage1"), (0.0, 6, "stage2")):
        alone = run(config(base, tmp_path / part, average=False, lam=lam, steps=steps, eval_every=0))
        ours, theirs = (load_file(f / "adapter_model.safetensors") for f in (averaged / part, alone))
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_last_evaluation_is_of_the_mean(averaged: Path) -> None:
    lines = [line for line in read_metrics(averaged) if "evaluation" in line]
    assert [(x["step"], x["evaluation"]) for x in lines] == [
        (0, "held_out"), *((t, "held_out_stage1") for t in (2, 4)),
        *((t, "held_out_stage2") for t in (6, 8, 10)), (10, "held_out"),
    ]  # fmt: skip
    final = read_json(averaged / "summary.json")["evaluation"]
    assert final == {k: v for k, v in lines[-1].items() if isinstance(v, float)}
    assert final["f_dpo"] != pytest.approx(lines[-2]["f_dpo"], rel=1e-3)
    found = evaluate(EvaluateConfig(run=str(averaged)), quiet=True, **ROWS)
    assert found == pytest.approx(final, rel=1e-6, abs=1e-7)
    card = (averaged / "README.md").read_text(encoding="utf-8")
    assert "Method: **sequential, averaged**, λ = 0.4" in card
    assert f"| f_dpo | {final['f_dpo']:.6g} |" in card
    assert "two adapters, each LoRA of rank 4" in card


@pytest.mark.slow
def test_the_weights_belong_to_the_objectives_whatever_the_order(base: Path, averaged: Path, tmp_path: Path) -> None:
    other = run(config(base, tmp_path / "run", order="sft-dpo", eval_every=0))
    ours, theirs = merged(base, averaged), merged(base, other)
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_one_objective_alone_gives_that_adapter(base: Path, tmp_path: Path, lam: float) -> None:
    own: dict[str, Any] = {"lam": lam, "steps": 4, "eval_every": 0}
    ours, plain = run(config(base, tmp_path / "mean", **own)), run(config(base, tmp_path / "one", average=False, **own))
    assert read_json(ours / "adapter_config.json")["r"] == 4
    theirs = merged(base, plain)
    for name, weight in merged(base, ours).items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-4, atol=1e-6)
    assert read_json(ours / "summary.json")["evaluation"] == pytest.approx(
        read_json(plain / "summary.json")["evaluation"], rel=1e-4, abs=1e-5
    )


@pytest.mark.slow
def test_both_parts_go_on_from_a_given_adapter(base: Path, averaged: Path, tmp_path: Path) -> None:
    """With nothing to learn, the mean of two copies of an adapter is the adapter."""
    mine = config(base, tmp_path / "run", adapter=str(averaged / "stage1"), lr=1e-30, eval_every=0)
    ours, theirs = merged(base, run(mine)), merged(base, averaged / "stage1")
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0.0, atol=1e-6)


@pytest.mark.slow
def test_kills_anywhere_leave_no_trace(base: Path, tmp_path: Path) -> None:
    for name, rows in ROWS.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ROWS}
    options = {**config(base, tmp_path / "x", steps=6, lam=0.5, save_every=2, lora_dropout=0.1).as_dict(), **files}
    server, whole, cut = worker.server(), tmp_path / "whole", tmp_path / "cut"
    done = server.run(worker.command(whole, **options), tmp_path / "log")
    assert done.status == 0, done.said
    again = worker.command(cut, **options)
    # Before the first or second change of a path with these words: what is there then, and what is not.
    moments = {
        "step-00000006": (1, {"stage1"}, {"stage2"}),  # the next run goes on within the second stage
        "/.adapter.": (2, {"stage2"}, {"adapter"}),  # half of the mean is written
        "cut/adapter_model": (1, {"adapter"}, {"adapter_model.safetensors"}),
    }
    for words, (kill_at, there, missing) in moments.items():
        job = server.run(again, tmp_path / "log", kill_at=kill_at, kill_path=words)
        assert job.status == -signal.SIGKILL, (words, job.said)
        found = {p.name for p in cut.iterdir()} if cut.exists() else set()
        assert there <= found, words
        assert not missing & found, words
    job = server.run(again, tmp_path / "log")
    assert job.status == 0, job.said
    assert worker.weights(cut) == worker.weights(whole)
    assert worker.lines(cut) == worker.lines(whole)
    assert {p.name for p in cut.iterdir()} == {p.name for p in whole.iterdir()}
