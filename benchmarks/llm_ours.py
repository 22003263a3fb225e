"""`llm`'s own loop on the rows of `llm_rows`, timed from the beginning of its first step to the end of its last."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import llm_rows
from benchmarks.llm_rows import Workload
from llm.config import TrainConfig
from llm.training.base import BaseModel
from llm.training.launch import make_accelerator
from llm.training.objective import Objective
from llm.training.spec import TrainSpec
from llm.training.trainer import Trainer
from toyopt.algorithms import DPO, SFT, Alright, Rule, Sequential


@dataclass(frozen=True)
class Turn:
    """One measurement: CPU and wall-clock seconds, real tokens trained on, number of steps on each objective."""

    processor: float
    clock: float
    tokens: int
    chosen: Mapping[int, int]


def clocks() -> tuple[float, float]:
    """Return CPU and wall-clock seconds, after all work on the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time(), time.perf_counter()


def config_of(size: Workload, **options: Any) -> TrainConfig:
    """Return the configuration that all sides share."""
    return TrainConfig(
        batch_sft=size.batch_sft, batch_preference=size.batch_preference, lora_rank=size.rank, lora_alpha=size.rank,
        lora_targets=size.targets, precision=size.precision, eval_every=0,
        save_every=1_000_000, lr=1e-4, clip=1.0, **options,
    )  # fmt: skip


class Ours:
    """Both objectives on one base; `run` trains a new adapter by a rule and discards it."""

    def __init__(self, size: Workload, **options: Any) -> None:
        self.config = config_of(size, **options)
        self.tokens = {DPO: llm_rows.tokens(size, "preference"), SFT: llm_rows.tokens(size, "sft")}
        accelerator = make_accelerator(self.config)
        self.base = BaseModel(accelerator, self.config, size.model(), [self.tokens[DPO]], quiet=True)
        self.objectives = {
            DPO: Objective("dpo", self.tokens[DPO], self.config.loss),
            SFT: Objective("sft", self.tokens[SFT]),
        }
        self.paths = (False, False)  # whether the policy skipped prompt logits, and shared a pair's prompt

    def prepare(self) -> None:
        """Compute the reference's log-probabilities, which are computed once and are not a part of the loop."""
        engine = self.base.open_for_evaluation(self.config)
        logps = engine.logps(self.objectives[DPO])
        self.objectives[DPO] = dataclasses.replace(self.objectives[DPO], reference=logps)
        engine.close()

    def run(self, rule: Rule, steps: int) -> Turn:
        """Take `steps` steps, with everything that the loop does but evaluations and checkpoints."""
        if self.objectives[DPO].reference is None:
            self.prepare()
        with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:
            chosen = {i for i, _ in rule.stages} or {DPO, SFT}
            objectives = {i: o for i, o in self.objectives.items() if i in chosen}
            spec = TrainSpec(rule, objectives, {}, steps, {})
            trainer = _Timed(self.base, spec, self.config, Path(folder), report=lambda *_: None)
            for stage in trainer.stages:
                trainer.fit(stage)
            policy = trainer.engine.raw
            self.paths = (policy.skip_prompt_logits, policy.share_prompt)
            trainer.engine.close()
        (cpu, wall), (cpu_end, wall_end) = trainer.marks[0], trainer.marks[-1]
        return Turn(cpu_end - cpu, wall_end - wall, trainer.costs.tokens, trainer.trained)


class _Timed(Trainer):
    """A trainer that notes the time before every step and after the last, and counts the steps of each objective."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.marks: list[tuple[float, float]] = []
        self.trained = {DPO: 0, SFT: 0}

    def _step(self) -> None:
        self.marks.append(clocks())
        super()._step()

    def _record(self, trained: Any, evaluated: Any, norm: float) -> None:
        super()._record(trained, evaluated, norm)
        for i in trained:
            self.trained[i] += 1
        if self.control.t == self.spec.steps:
            self.marks.append(clocks())

    def _save(self) -> None:
        """Write no checkpoint."""


def alright(size: Workload) -> Callable[[], Turn]:
    """As many steps on each objective as an epoch has, in turns."""
    ours = Ours(size)
    ours.prepare()
    return lambda: ours.run(Alright(0.5, alternation="even"), 2 * size.batches)


def single(size: Workload, objective: int, **options: Any) -> Callable[[], Turn]:
    """Return a call that trains one epoch of one objective alone."""
    ours = Ours(size, **options)
    ours.prepare()
    return lambda: ours.run(Sequential((size.batches,), (objective,)), size.batches)
