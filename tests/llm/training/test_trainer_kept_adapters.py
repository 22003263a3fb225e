"""Adapters that are kept on the way, and what a run says of its cost; both across kills and earlier versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import run_worker as worker
from support.wrong import fails

pytest.importorskip("torch")

from llm import TrainConfig, train
from llm.common.files import read_json, write_json
from llm.training.metrics import PREPARATIONS, read_metrics

STEPS = 5
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a tiny run that keeps every second adapter."""
    place = door.place(tmp_path_factory.mktemp("place"))
    return {
        **place,
        "method": "maxright",
        "k": 2,
        "steps": STEPS,
        "keep_every": 2,
        "save_every": 3,
        "lora_dropout": 0.1,
    }


@pytest.fixture(scope="module")
def whole(options: dict[str, Any]) -> Path:
    """The run, not interrupted."""
    return train(TrainConfig(**options), quiet=True).folder


def kept(folder: Path) -> dict[str, bytes]:
    """The weights of all kept adapters."""
    return {p.name: (p / ADAPTER).read_bytes() for p in sorted((folder / "kept").iterdir())}


@pytest.mark.slow
def test_every_so_many_steps_and_both_ends(whole: Path, options: dict[str, Any], tmp_path: Path) -> None:
    from peft import PeftModel
    from safetensors.torch import load
    from transformers import AutoModelForCausalLM

    found = kept(whole)
    assert list(found) == [f"step-{t:06d}" for t in (0, 2, 4, 5)]
    assert all(not v.any() for k, v in load(found["step-000000"]).items() if "lora_B" in k)
    assert load(found["step-000005"]).keys() == load((whole / ADAPTER).read_bytes()).keys()
    assert found["step-000005"] == (whole / ADAPTER).read_bytes()
    assert len(set(found.values())) == 4
    base = AutoModelForCausalLM.from_pretrained(options["model"])
    model = PeftModel.from_pretrained(base, str(whole / "kept" / "step-000002"))
    assert any("lora_A" in name for name, _ in model.named_parameters())
    # A shorter run ends where the longer one was.
    short = train(TrainConfig(**{**options, "steps": 2, "out": str(tmp_path / "short"), "keep_every": 0}), quiet=True)
    assert (short.folder / ADAPTER).read_bytes() == found["step-000002"]
    assert not (short.folder / "kept").exists()


@pytest.mark.slow
def test_kills_neither_lose_nor_double_kept_adapters(whole: Path, options: dict[str, Any], tmp_path: Path) -> None:
    server, cut, statuses = worker.server(), tmp_path / "cut", []
    again = worker.command(cut, **{**options, "out": ""})
    for kill_at in (26, 34, 42, 0):
        statuses.append(server.run(again, tmp_path / "log", kill_at=kill_at).status)
    assert statuses[:2] == [-9, -9]
    assert statuses[-1] == 0
    assert kept(cut) == kept(whole)
    assert not list(cut.rglob("*.unfinished"))


def test_what_comes_after_the_checkpoint_is_taken_once_more(tmp_path: Path) -> None:
    from llm.training import checkpoint

    for step in (0, 2, 4, 6):
        (checkpoint.kept_folder(tmp_path, step)).mkdir(parents=True)
    (tmp_path / "kept" / ".step-000008.x.unfinished").mkdir()
    checkpoint.forget_kept(tmp_path, after=4)
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [f"step-{t:06d}" for t in (0, 2, 4)]


@pytest.mark.parametrize(
    ("changes", "argument", "value"),
    [
        ({"keep_every": -1}, "keep_every: must be at least 0", "-1"),
        ({"keep_every": 2, "method": "sequential", "stack": True}, "keep_every: with stack", "2"),
        ({"keep_every": 2, "method": "sequential", "average": True}, "keep_every: with average", "2"),
    ],
)
def test_what_cannot_be_kept(changes: dict[str, Any], argument: str, value: str) -> None:
    fails(lambda: TrainConfig(**changes), ValueError, argument, value)


# Costs.


def test_costs_add_up(whole: Path) -> None:
    steps = [line for line in read_metrics(whole) if "objective" in line]
    for name in ("seconds", "cpu_seconds", "tokens", "forward_tokens"):
        values = [line[name] for line in steps]
        assert values == sorted(values)
        assert values[0] > 0
    assert all(line["forward_tokens"] >= line["tokens"] for line in steps)
    assert steps[-1]["forward_tokens"] > steps[-1]["tokens"]  # MAXRIGHT looks at the other objective
    assert "utilisation" not in steps[0]  # on a CPU
    summary = read_json(whole / "summary.json")
    assert {n: summary[n] for n in ("cpu_seconds", "forward_tokens")} == {
        n: steps[-1][n] for n in ("cpu_seconds", "forward_tokens")
    }


@pytest.mark.slow
def test_preparations_are_reported_also_from_the_cache(options: dict[str, Any], tmp_path: Path) -> None:
    changes = {"cache": str(tmp_path / "cache"), "f_star": "compute", "reference": "chosen", "keep_every": 0}

    def preparation(name: str, **more: Any) -> dict[str, Any]:
        config = TrainConfig(**{**options, **changes, "out": str(tmp_path / name), **more})
        return dict(train(config, quiet=True).summary["preparation"])

    first = preparation("first")
    assert set(first) == set(PREPARATIONS)
    assert all(seconds > 0.0 for seconds in first.values())
    assert preparation("second", method="mix") == first
    folders = [p for p in (tmp_path / "cache" / "optima").iterdir() if (p / "metrics.jsonl").is_file()]
    assert len(folders) == 2
    alone = sum(max(line.get("seconds", 0.0) for line in read_metrics(p)) for p in folders)
    assert first["optima_seconds"] == pytest.approx(alone)
    none = preparation("none", f_star="estimate", reference="base")
    assert none["optima_seconds"] == none["reference_seconds"] == 0.0
    assert none["log_probs_seconds"] > 0.0


@pytest.mark.slow
def test_a_run_from_before_an_option_existed_goes_on(options: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    server, folder = worker.server(), tmp_path / "old"
    again = worker.command(folder, **{**options, "out": "", "keep_every": 0})
    for kill_at in range(30, 200, 4):
        job = server.run(again, tmp_path / "log", kill_at=kill_at)
        if list(folder.glob("checkpoints/*/state.json")):
            break
    assert job.status == -9
    run = read_json(folder / "run.json")
    del run["fingerprint"]["options"]["keep_every"]
    write_json(folder / "run.json", run)
    done = server.run(again, tmp_path / "log")
    assert done.status == 0, done.said
    assert (folder / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
