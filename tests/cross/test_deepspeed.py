"""Two processes of DeepSpeed, ZeRO-2 and ZeRO-3, train as one process does, and go on from others' checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import launchers
from support import run_worker as worker
from support import tiny_models as tiny
from support.process_runs import CASES, CLOSE_LONG, THREE, Runs, assert_alike, assert_same_update

pytest.importorskip("deepspeed", reason="DeepSpeed is no library of the tests: pip install -e '.[deepspeed]'")
pytestmark = pytest.mark.slow

WHOLE = {"all": {"method": "mix", "lora_rank": 0, "lr": 1e-3}, "sgd": {"method": "mix", "optimizer": "sgd", "lr": 0.1}}
STAGES = {2: launchers.ZERO2, 3: launchers.ZERO3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs on the same files; those of one process only once."""
    folder = tmp_path_factory.mktemp("deepspeed")
    tied = {"method": "mix", "model": str(tiny.base(folder / "tied", "opt")), "lora_targets": ["q_proj", "v_proj"]}
    return Runs(folder, CASES | THREE | WHOLE | {"tied": tied})  # the embeddings are the head


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_train_as_one(tmp_path: Path, runs: Runs, stage: int) -> None:
    """Also where the launcher's clipping and accumulation are not those of the options."""
    cases = list(runs.cases)
    job = runs.all(tmp_path / "two", cases, world=2, **STAGES[stage])
    for case in cases:
        assert_alike(tmp_path / "two" / case, runs.one(case))
        if case not in ("all", "decay"):  # AdamW turns the rounding of weights without a gradient into steps
            assert_same_update(tmp_path / "two" / case, runs.one(case))
    assert job.said.count(f"zero: stage {stage} of 2") >= len(cases)


def test_checkpoints_go_on_with_other_launchers(tmp_path: Path, runs: Runs) -> None:
    """Three processes of ZeRO-3 share weights whose sizes are no multiples of three."""
    two, three, one = (dict[str, Any](world=2, **launchers.ZERO2), {"world": 3, **launchers.ZERO3}, dict[str, Any]())
    options = runs.options("three-maxright", steps=40, save_every=1000, eval_every=0, warmup=5, schedule="cosine")
    for own in options["objectives"]:
        own["batch"] = 6
    whole, cut = (worker.command(tmp_path / name, **options) for name in ("whole", "cut"))
    for how in (three, two, one, three, {"world": 2}, two):
        runs.cut(cut, tmp_path / "cut", **how)
    runs.run(cut, **three)
    runs.run(whole)
    assert_alike(tmp_path / "cut", tmp_path / "whole", close=CLOSE_LONG)
    assert_same_update(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("stage", STAGES)
def test_states_and_weights_on_the_cpu_change_no_number(tmp_path: Path, runs: Runs, stage: int) -> None:
    zero: dict[str, Any] = {"stage": stage, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": "auto"}
    if stage == 3:
        zero |= {"offload_param": {"device": "cpu"}, "stage3_param_persistence_threshold": 0}
    numbers = {"train_batch_size": "auto", "gradient_accumulation_steps": 4, "gradient_clipping": 9.0}
    path = tmp_path / "deepspeed.json"
    path.write_text(json.dumps({**numbers, "zero_optimization": zero, "bf16": {"enabled": "auto"}}), encoding="utf-8")
    runs.all(tmp_path / "two", ["mix"], world=2, **STAGES[stage], ACCELERATE_DEEPSPEED_CONFIG_FILE=str(path))
    assert_alike(tmp_path / "two" / "mix", runs.one("mix"))


@pytest.mark.parametrize("stage", STAGES)
def test_all_processes_stop_where_a_loss_explodes(tmp_path: Path, runs: Runs, stage: int) -> None:
    argv = worker.command(tmp_path / "run", **runs.options("alright", lr=1e9, steps=20))
    job = worker.server().run(argv, tmp_path / "log", world=2, **STAGES[stage])
    assert job.statuses == [1, 1], job.said
    assert job.said.splitlines()[-1].startswith("error: step ")


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_differs_from_one_process_by_rounding(tmp_path: Path, runs: Runs, stage: int) -> None:
    """Two digits: bfloat16 has three, and DDP in bfloat16 differs from one process as much."""
    changes = {"precision": "bf16"}
    runs.all(tmp_path / "one", ["mix"], changes=changes)
    runs.all(tmp_path / "two", ["mix"], changes=changes, world=2, **STAGES[stage])
    last = [worker.lines(tmp_path / name / "mix")[-1] for name in ("one", "two")]
    assert last[0]["f_sft"] == pytest.approx(last[1]["f_sft"], rel=0.02)
    assert last[0]["f_dpo"] == pytest.approx(last[1]["f_dpo"], rel=0.02)


def test_processes_call_a_trained_head_equally_often(tmp_path: Path, runs: Runs) -> None:
    """In pieces of three rows of logits the processes would call the head, and gather its weights, unequally often."""
    pieces = "import sys, llm.cli, llm.models.policy as p; p.MAX_LOGITS_CPU = 180; sys.exit(llm.cli.main(sys.argv[1:]))"
    path = tmp_path / "deepspeed.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}}))
    more: dict[str, Any] = {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path), "script": pieces, "world": 2}
    runs.all(tmp_path / "two", ["all"], **launchers.ZERO3, **more)
    assert_alike(tmp_path / "two" / "all", runs.one("all"))
