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
from benchmarks.llm_rows import Size
from llm.config import TrainConfig
from llm.models import loading
from llm.models.policy import Policy
from llm.training.engine import Engine, make_accelerator
from llm.training.objective import Objective
from llm.training.trainer import Trainer, TrainSpec
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


def config_of(size: Size, **options: Any) -> TrainConfig:
    """Return the configuration that all sides share."""
    return TrainConfig(
        batch_sft=size.batch_sft, batch_preference=size.batch_preference, lora_rank=8, lora_alpha=8, eval_every=0,
        lora_targets=("query_key_value",), save_every=1_000_000, lr=1e-4, clip=1.0, **options,
    )  # fmt: skip


class Ours:
    """Both objectives on one base; `run` trains a new adapter by a rule and discards the adapter."""

    def __init__(self, size: Size, **options: Any) -> None:
        self.config = config_of(size, **options)
        self.base = llm_rows.model(size)
        self.accelerator = make_accelerator(self.config)
        self.tokens = {DPO: llm_rows.tokens(size, "preference"), SFT: llm_rows.tokens(size, "sft")}
        self.tasks = {
            DPO: Objective("dpo", self.tokens[DPO], self.config.beta),
            SFT: Objective("sft", self.tokens[SFT]),
        }
        self.notes: list[str] = []

    def prepare(self) -> None:
        """Compute the reference's log-probabilities, which are not part of the timed loop."""
        session = Engine(self.accelerator, Policy(self.base.requires_grad_(False)), self.config, steps=1)
        self.tasks[DPO] = dataclasses.replace(self.tasks[DPO], reference=session.logps(self.tasks[DPO]))
        session.close()

    def run(self, rule: Rule, steps: int) -> Turn:
        """Run `steps` steps of the training loop without evaluations and checkpoints."""
        if self.tasks[DPO].reference is None:
            self.prepare()
        with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:
            chosen = {DPO, SFT} if not isinstance(rule, Sequential) else set(rule.order)
            tasks = {i: t for i, t in self.tasks.items() if i in chosen}
            loop = _Timed(
                TrainSpec(rule, tasks, {}, steps, {}), self._open, self.config, Path(folder), report=lambda *_: None
            )
            session = loop.run()
            session.close()
            self.base = session.raw.model.unload()
        (cpu, wall), (cpu_end, wall_end) = loop.marks[0], loop.marks[-1]
        return Turn(cpu_end - cpu, wall_end - wall, loop.costs.tokens, loop.trained)

    def _open(self, _: int) -> Engine:
        model = loading.add_adapter(self.base, self.config, seed=0)
        if self.config.gradient_checkpointing:
            self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        session = Engine(self.accelerator, Policy(model), self.config, steps=1)
        prompts, pairs = self.tokens[DPO].prompts[:2], self.tokens[DPO].responses[:2]
        self.notes = session.raw.settle(session.call, prompts, pairs, share=self.config.share_prompt)
        return session


class _Timed(Trainer):
    """A trainer that records the time of every step and the number of steps on each objective."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.marks: list[tuple[float, float]] = []
        self.trained = {DPO: 0, SFT: 0}

    def _step(self) -> bool:
        self.marks.append(clocks())
        return super()._step()

    def _move(self, coefficients: tuple[float, ...]) -> None:
        for i in self.trained:
            self.trained[i] += coefficients[i] > 0.0
        super()._move(coefficients)


def alright(size: Size, micro_tokens: int = 1024) -> Callable[[], Turn]:
    """Return a call that trains an epoch of each objective, alternating, `micro_tokens` padded tokens at a time."""
    ours = Ours(size, alternation="even", micro_tokens=micro_tokens)
    ours.prepare()
    return lambda: ours.run(Alright(0.5), 2 * size.batches)


def single(size: Size, objective: int, **options: Any) -> Callable[[], Turn]:
    """Return a call that trains one epoch of one objective alone."""
    ours = Ours(size, **options)
    ours.prepare()
    return lambda: ours.run(Sequential((size.batches,), (objective,)), size.batches)
