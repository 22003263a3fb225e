"""Processes that only seem to train, for the tests of studies, and what they leave in a run's folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llm import TrainConfig
from llm.study import Grid, Outcome, run_study

BASE = TrainConfig(steps=4, seed=1)


class Fake:
    """A process that does what `plan` says: "finish", "fail", or "hang" until it is asked to stop."""

    def __init__(self, world: World, argv: Sequence[str], log: Path, plan: str) -> None:
        self.world, self.log, self.plan = world, log, plan
        config = Path(argv[list(argv).index("--config") + 1])
        self.config = yaml.safe_load(config.read_text(encoding="utf-8"))
        self.folder, self.looks, self.code = Path(self.config["out"]), 0, None
        self.told: list[str] = []

    def poll(self) -> int | None:
        if self.code is None and (self.plan != "hang" or self.told):
            self.looks += 1
            if self.looks == 1:
                start_or_resume(self.folder)
            elif self.looks == 3:
                self.end()
        return self.code

    def end(self) -> None:
        self.world.running.remove(self)
        if self.told or self.plan == "fail":
            self.code = 130 if self.told else 1
            self.log.write_text("one\n\ntwo\nerror: no such thing\n", encoding="utf-8")
        else:
            finish(self.folder, self.config)
            self.code = 0

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")

    def wait(self) -> int:
        return self.code or 0


class World:
    """Starts fakes, and remembers which ran together."""

    def __init__(self, plan: Callable[[dict[str, Any]], str] = lambda _: "finish") -> None:
        self.plan, self.started, self.running, self.together = plan, [], [], 0
        self.said: list[list[str]] = []
        self.before: list[list[str]] = []  # at each start: the folders that had begun

    def __call__(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Fake:
        at = list(argv).index("--config")
        assert list(argv[:at]) in ([sys.executable, "-m", "llm", *c] for c in (["train"], ["study", "one"]))
        self.said.append(list(argv))
        assert "OMP_NUM_THREADS" in env
        fake = Fake(self, argv, log, "")
        fake.plan = self.plan(fake.config)
        root = fake.folder.parent
        self.before.append([p.parent.name for p in root.glob("*/metrics.jsonl")])
        self.started.append(fake)
        self.running.append(fake)
        self.together = max(self.together, len(self.running))
        return fake


def start_or_resume(folder: Path, *, steps: int = 2) -> None:
    """What a run leaves that is under way."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text("{}", encoding="utf-8")
    lines: list[dict[str, Any]] = [{"step": 0, "evaluation": "held_out", "f_dpo": 1.0, "f_sft": 3.0}]
    lines += [{"step": t, "objective": "sft", "tokens": 10 * t, "seconds": 2.0 * t} for t in range(1, steps + 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 9', encoding="utf-8")


def finish(folder: Path, config: Mapping[str, Any]) -> None:
    """What a run leaves that is finished: f_DPO = 1 - λ/2, f_SFT = 2 + λ/2, with optima 0.25 and 1."""
    start_or_resume(folder, steps=config["steps"])
    lam = config["lam"]
    last = {"f_dpo": 1.0 - lam / 2, "f_sft": 2.0 + lam / 2, "rewards/margins": 0.5}
    last |= {"gap_dpo": last["f_dpo"] - 0.25, "gap_sft": last["f_sft"] - 1.0} if config["f_star"] == "compute" else {}
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8").rpartition("\n")[0]
    line = json.dumps({"step": config["steps"], "evaluation": "held_out", **last})
    (folder / "metrics.jsonl").write_text(f"{text}\n{line}\n", encoding="utf-8")
    summary = {
        "evaluation": last, "steps_by_objective": {"dpo": 1, "sft": config["steps"] - 1}, "device": "abacus",
        "seconds": 2.0 * config["steps"], "tokens": 40, "memory_mb": 100.0,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def carry_out(grid: Grid, root: Path, world: World, **options: Any) -> Outcome:
    return run_study(grid, root, start=world, pause=0.0, **options)


def records(frame: Any) -> list[dict[str, Any]]:
    """The rows of a data frame, with None for what is missing."""
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows
