"""Invariants: equivalent configurations give the same trajectory, to the byte where the arithmetic is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.training.metrics import read_metrics

STEPS = 6
CLOCK = {"seconds", "cpu_seconds", "memory_mb"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def trajectory(base: Path, folder: Path, *ignored: str, **options: Any) -> tuple[list[dict[str, Any]], bytes]:
    """The lines of metrics.jsonl without clocks and `ignored` keys, and the adapter's bytes."""
    plain: dict[str, Any] = {
        "model": str(base), "sft": "x", "preference": "y",
        "out": str(folder / "run"), "cache": str(base.parent / "cache"),
        "steps": STEPS, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2, "max_length": 64,
        "held_out": 0.2, "eval_every": 3, "eval_rows": 6, "device": "cpu", "schedule": "linear", "lora_dropout": 0.2,
    }  # fmt: skip
    config = TrainConfig(**{**plain, **options})
    result = train(config, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True)
    drop = CLOCK | set(ignored)
    lines = [{k: v for k, v in line.items() if k not in drop} for line in read_metrics(result.folder)]
    return lines, (result.folder / "adapter_model.safetensors").read_bytes()


ALONE = {"dpo": 1.0, "sft": 0.0}  # λ


@pytest.mark.slow
@pytest.mark.parametrize("objective", ALONE)
def test_every_rule_with_all_weight_on_one_objective_trains_on_that_objective_alone(
    objective: str, base: Path, tmp_path: Path
) -> None:
    """MAXRIGHT with k = 1 as well: its gap evaluations, which no other rule makes, are ignored.

    They would draw dropout masks, so there is no dropout here.
    """
    own = [f"{key}_{name}" for name in ALONE for key in ("gap", "age", "seen")] + ["forward_tokens"]
    own += [f"f_{name}_star" for name in ALONE] + [f"f_{name}" for name in ALONE if name != objective]
    if objective == "sft":
        own += ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"]
        own += ["logps/chosen", "logps/rejected"]
    lam = ALONE[objective]
    given = {"f_star": "given", "f_dpo_star": 0.0, "f_sft_star": 0.0, "lora_dropout": 0.0}
    runs = {
        method: trajectory(base, tmp_path / method, *own, method=method, lam=lam, **given, **more)
        for method, more in {
            "sequential": {}, "replay": {"replay": 0.5}, "mix": {}, "alright": {}, "maxright": {"k": 1},
        }.items()
    }  # fmt: skip
    steps = [line for line in runs["sequential"][0] if "objective" in line]
    assert [line["objective"] for line in steps] == [objective] * STEPS
    for method, run in runs.items():
        assert run == runs["sequential"], method


@pytest.mark.slow
@pytest.mark.parametrize("order", ["dpo-sft", "sft-dpo"])
def test_replay_with_probability_0_is_sequential(order: str, base: Path, tmp_path: Path) -> None:
    sequential = trajectory(base, tmp_path / "a", method="sequential", lam=0.4, order=order)
    replay = trajectory(base, tmp_path / "b", method="replay", replay=0.0, lam=0.4, order=order)
    assert replay == sequential


@pytest.mark.slow
def test_replay_with_probability_1_repeats_the_first_objective(base: Path, tmp_path: Path) -> None:
    replay = trajectory(base, tmp_path / "a", method="replay", replay=1.0, lam=0.4, stage_reset=False)
    alone = trajectory(base, tmp_path / "b", method="sequential", lam=1.0, stage_reset=False)
    assert replay == alone


@pytest.mark.slow
def test_a_block_of_one_step_and_a_given_block_of_all_steps(base: Path, tmp_path: Path) -> None:
    """A block of all steps draws once: the run trains on one objective alone."""
    plain = trajectory(base, tmp_path / "a", method="alright", lam=0.5)
    assert trajectory(base, tmp_path / "b", method="alright", lam=0.5, block=1) == plain
    block = trajectory(base, tmp_path / "c", method="alright", lam=0.5, block=STEPS)
    objectives = {line["objective"] for line in block[0] if "objective" in line}
    assert len(objectives) == 1
    assert block == trajectory(base, tmp_path / "d", method="sequential", lam=ALONE[objectives.pop()])


@pytest.mark.slow
def test_saving_and_keeping_change_no_trajectory(base: Path, tmp_path: Path) -> None:
    plain = trajectory(base, tmp_path / "a", method="maxright", k=3)
    assert trajectory(base, tmp_path / "b", method="maxright", k=3, save_every=1, keep_every=2) == plain
