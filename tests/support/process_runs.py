"""Tiny runs in one process and in several, and how far their numbers may differ."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import run_worker as worker
from support import tiny_models as tiny

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
    "decay": {"method": "mix", "lora_rank": 0, "lr": 1e-3, "weight_decay": 0.5},  # of all weights but biases and norms
}  # fmt: skip
# Three objectives; MAXRIGHT with optima that are given: estimated ones are often equally far, and rounding decides.
THREE: dict[str, dict[str, Any]] = {
    "three-sequential": {"method": "sequential", "average": True, "micro_tokens": 100},
    "three-mix": {"method": "mix", "mix_one_graph": True, "draw_both": True},
    "three-alright": {"method": "alright", "micro_tokens": 100},
    "three-maxright": {"method": "maxright", "k": 2, "f_star": "given"},
    "three-replay": {"method": "replay"},
}


class Runs:
    """`one(case)`: the folder of a run in one process; `options(case)`: its options."""

    def __init__(self, folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder, self.cases = folder, cases
        for name, rows in (("sft", tiny.sft_rows()), ("preference", tiny.preference_rows())):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        tiny.base(folder / "base")

    def options(self, case: str, **changes: Any) -> dict[str, Any]:
        """Of a tiny run."""
        common = {
            "model": str(self.folder / "base"),
            "steps": 6,
            "lora_rank": 4,
            "lr": 1e-2,
            "max_length": 64,
            "held_out": 0.2,
            "eval_every": 4,
            "reference": "base",
            "device": "cpu",
            "cache": str(self.folder / "cache"),
        }
        sft, preference = (str(self.folder / f"{name}.jsonl") for name in ("sft", "preference"))
        if case in THREE:
            pairs = {"kind": "preference", "source": preference, "f_star": 0.1}
            common["objectives"] = [
                {"name": "facts", "kind": "sft", "source": sft, "batch": 6, "weight": 0.3, "f_star": 3.6},
                {"name": "manner", "batch": 4, "weight": 0.4, **pairs},
                {"name": "labels", "batch": 2, "weight": 0.3, "loss": "kto", **pairs},
            ]
        else:
            common |= {"sft": sft, "preference": preference, "batch_sft": 6, "batch_preference": 4}
        return {**common, **self.cases[case], **changes}

    def one(self, case: str) -> Path:
        """The run in one process; the first call carries out those of all cases."""
        folder = self.folder / "one"
        if not folder.exists():
            self.all(folder, self.cases)
        return folder / case

    def all(self, folder: Path, cases: Iterable[str], *, changes: Mapping[str, Any] = {}, **more: Any) -> worker.Job:
        """Runs of these cases in folders of their names, in turn in the same processes."""
        folder.mkdir()
        options = {case: self.options(case, cache=str(folder / "cache"), **changes) for case in cases}
        return self.run(*(worker.command(folder / case, **values) for case, values in options.items()), **more)

    def run(self, argv: list[str], *after: list[str], **more: Any) -> worker.Job:
        """Commands that must end well."""
        job = worker.server().run(argv, self.folder / "log", after=after, **more)
        assert job.statuses == [0] * len(job.pids), job.said
        return job

    def cut(self, argv: list[str], folder: Path, **more: Any) -> worker.Job:
        """A command that is asked to stop after three more steps of the run in `folder`."""
        before = count_lines(folder)
        job = worker.server().start(argv, self.folder / "log", **more)
        with worker.patience("metrics") as still:
            while count_lines(folder) < before + 3:
                still()
        job.kill(signal.SIGTERM, first=True)  # the others must stop after the same step without being told
        worker.server().wait(job)
        assert job.statuses == [130] * len(job.pids), job.said
        assert not (folder / "summary.json").exists()
        return job


def count_lines(folder: Path) -> int:
    """Whole lines of metrics.jsonl so far."""
    path = folder / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0


def assert_alike(folder: Path, other: Path, *, close: float = CLOSE) -> None:
    """The same steps on the same objectives, and all numbers within rounding."""
    ours, theirs = worker.lines(folder), worker.lines(other)
    assert len(ours) == len(theirs)
    for line, expected in zip(ours, theirs, strict=True):
        # A policy that is still its reference wins a pair by rounding alone.
        for key in [key for key in (*line, *expected) if key.startswith("rewards/accuracies")]:
            line.pop(key, None)
            expected.pop(key, None)
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
