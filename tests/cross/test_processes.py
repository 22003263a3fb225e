"""Several processes train as one does: the same losses, the same choices, and each other's checkpoints."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support import run_worker as worker
from support import tiny_models as tiny

pytest.importorskip("torch")

# Processes add float32 gradients in another order than one process does: 6e-8 a sum, and AdamW, which divides by the
# gradient's size, passes on a few times that at every step. A wrong share of a batch shows in the second digit.
CLOSE = 1e-5
CLOSE_LONG = 1e-4  # after 40 steps
CASES: dict[str, dict[str, Any]] = {
    "sequential": {"method": "sequential", "lam": 0.5, "stack": True, "micro_tokens": 100},
    "mix": {"method": "mix", "lam": 0.3, "mix_one_graph": True},
    "alright": {"method": "alright", "micro_tokens": 100, "sft_mean": "step"},
    "maxright": {"method": "maxright", "k": 1, "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 4.2},
    "kto": {"method": "mix", "preference_loss": "kto", "micro_tokens": 100},
    "pissa": {
        "method": "mix", "keep_best": "mix", "eval_every": 2, "reference": "sft", "reference_steps": 2,
        "lora": ["init_lora_weights=pissa"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs on the same files; those of one process only once."""
    return Runs(tmp_path_factory.mktemp("processes"))


class Runs:
    """`one(case)`: the folder of a run in one process; `options(case)`: its options."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, rows in (("sft", tiny.sft_rows()), ("preference", tiny.preference_rows())):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        tiny.base(folder / "base")

    def options(self, case: str, **changes: Any) -> dict[str, Any]:
        """Of a tiny run."""
        common = {
            "model": str(self.folder / "base"),
            "sft": str(self.folder / "sft.jsonl"),
            "preference": str(self.folder / "preference.jsonl"),
            "steps": 6,
            "batch_sft": 6,
            "batch_preference": 4,
            "lora_rank": 4,
            "lr": 1e-2,
            "max_length": 64,
            "held_out": 0.2,
            "eval_every": 4,
            "reference": "base",
            "device": "cpu",
            "cache": str(self.folder / "cache"),
        }
        return {**common, **CASES[case], **changes}

    def one(self, case: str) -> Path:
        """The run in one process; the first call carries out those of all cases."""
        folder = self.folder / "one"
        if not folder.exists():
            self.all(folder, CASES)
        return folder / case

    def all(self, folder: Path, cases: Iterable[str], **more: Any) -> worker.Job:
        """Runs of these cases in folders of their names, in turn in the same processes."""
        folder.mkdir()
        options = {case: self.options(case, cache=str(folder / "cache")) for case in cases}
        return self.run(*(worker.command(folder / case, **values) for case, values in options.items()), **more)

    def run(self, argv: list[str], *after: list[str], **more: Any) -> worker.Job:
        """Commands that must end well."""
        job = worker.server().run(argv, self.folder / "log", after=after, **more)
        assert job.statuses == [0] * len(job.pids), job.said
        return job


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path, runs: Runs) -> None:
    cases = [case for case in CASES if case != "alright"]  # which the last but one test has
    runs.all(tmp_path / "two", cases, world=2)
    for case in cases:
        folder = tmp_path / "two" / case
        assert_alike(folder, runs.one(case))
        assert_same_update(folder, runs.one(case))
        assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["processes"] == 2


@pytest.mark.slow
def test_two_processes_that_share_the_weights_train_as_one(tmp_path: Path, runs: Runs) -> None:
    cases = ("sequential", "maxright", "kto", "pissa")
    job = runs.all(tmp_path / "two", cases, world=2, **worker.FSDP)
    for case in cases:
        assert_alike(tmp_path / "two" / case, runs.one(case))
        assert_same_update(tmp_path / "two" / case, runs.one(case))
    # two layers of a model that is sharded; each case opens its own
    assert job.said.count("sharded: GPTNeoXLayer") >= 2 * len(cases)


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_another_number_of_processes(tmp_path: Path, runs: Runs) -> None:
    """One process and two, one and two that share the weights: each goes on from the other's checkpoint."""
    one, two, sharded = dict[str, Any](), {"world": 2}, {"world": 2, **worker.FSDP}
    options = runs.options("alright", steps=40, save_every=1000, eval_every=0)
    whole, cut = (worker.command(tmp_path / name, **options) for name in ("whole", "cut"))
    for how in (one, two, one, sharded):
        before = _count(tmp_path / "cut")
        job = worker.server().start(cut, tmp_path / "log", **how)
        with worker.patience("metrics") as still:
            while _count(tmp_path / "cut") < before + 3:
                still()
        job.kill(signal.SIGTERM, first=True)  # the others must stop after the same step without being told
        worker.server().wait(job)
        assert job.statuses == [130] * len(job.pids), job.said
        assert not (tmp_path / "cut" / "summary.json").exists()
    runs.run(cut, whole)
    assert_alike(tmp_path / "cut", tmp_path / "whole", close=CLOSE_LONG)


@pytest.mark.slow
def test_all_processes_stop_where_a_loss_explodes(tmp_path: Path, runs: Runs) -> None:
    argv = worker.command(tmp_path / "run", **runs.options("alright", lr=1e9, steps=20))
    job = worker.server().run(argv, tmp_path / "log", world=2)
    assert job.statuses == [1, 1], job.said
    assert job.said.splitlines()[-1].startswith("error: step ")


def _count(folder: Path) -> int:
    """Whole lines of metrics.jsonl so far."""
    path = folder / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0


def assert_alike(folder: Path, other: Path, *, close: float = CLOSE) -> None:
    """The same steps on the same objectives, and all numbers within rounding."""
    ours, theirs = worker.lines(folder), worker.lines(other)
    assert len(ours) == len(theirs)
    for line, expected in zip(ours, theirs, strict=True):
        # A policy that is still its reference wins a pair by rounding alone.
        line.pop("rewards/accuracies", None)
        expected.pop("rewards/accuracies", None)
        numbers = {k: v for k, v in expected.items() if isinstance(v, float)}
        assert {k: v for k, v in line.items() if k in numbers} == pytest.approx(numbers, rel=close, abs=close)
        assert {k: v for k, v in line.items() if k not in numbers} == {
            k: v for k, v in expected.items() if k not in numbers
        }


def assert_same_update(folder: Path, other: Path) -> None:
    """The results are adapters with the same updates BA, within the rounding of all steps."""
    import torch
    from safetensors.torch import load_file

    ours, theirs = (load_file(path / "adapter_model.safetensors") for path in (folder, other))
    assert ours.keys() == theirs.keys()
    for name in (name for name in ours if "lora_A" in name):
        (first, second) = (w[name.replace("lora_A", "lora_B")].double() @ w[name].double() for w in (ours, theirs))
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)
        assert float(second.abs().max()) > 1e-3
