"""A policy, its optimiser and its schedule on this machine's processes, as accelerate prepares them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.data.collate import Batch
from llm.data.sampler import Indices, cut, micro_batches, share
from llm.models.policy import Policy
from llm.training.objective import SUMS, Objective

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig


def make_accelerator(config: TrainConfig) -> Accelerator:
    """What runs the processes; `accelerate launch` decides how many and whether DDP or FSDP."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState
    from accelerate.utils import TorchDynamoPlugin

    for name in config.log_with:
        if find_spec(name) is None:
            raise ValueError(f"log_with: {name} is not installed; pip install {name}")
    AcceleratorState._reset_state()  # a second run in one process may have another precision
    return Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        # Buffers never change, and a broadcast in every forward pass would tie the processes' passes together.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        dynamo_plugin=TorchDynamoPlugin(backend="inductor", dynamic=True) if config.compile else None,
        log_with=list(config.log_with) or None,
        project_dir=str(config.folder),
    )


class Engine:
    """A prepared policy. `step` is one optimiser step; `look` evaluates the next batch of an objective."""

    def __init__(self, accelerator: Accelerator, policy: Policy, config: TrainConfig, *, steps: int) -> None:
        from transformers import get_scheduler

        self.accelerator, self.config, self.raw = accelerator, config, policy
        parameters = [p for p in policy.parameters() if p.requires_grad]
        self.policy: Any
        self.optimizer: Any
        self.scheduler: Any
        if not parameters:  # only to be evaluated
            self.policy, self.optimizer, self.scheduler = (
                accelerator.prepare_model(policy, evaluation_mode=True),
                None,
                None,
            )
            return
        with warnings.catch_warnings():  # torch 2.13 has a new name for it, which accelerate does not know yet
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            self.policy, self.optimizer = accelerator.prepare(policy, _optimizer(parameters, config))
        make: Any = get_scheduler
        self._schedule: Callable[[int], Any] = lambda n: make(
            config.schedule, self.optimizer.optimizer, num_warmup_steps=config.warmup, num_training_steps=n
        )
        self.scheduler = self._schedule(steps)

    def call(self, batch: Batch) -> torch.Tensor:
        """The prepared policy on a batch that lies on the CPU."""
        found: torch.Tensor = self.policy(batch.to(self.accelerator.device))
        return found

    @property
    def world(self) -> int:
        """Processes."""
        return int(self.accelerator.num_processes)

    def start_afresh(self, steps: int) -> None:
        """The optimiser and the schedule as they were at first, for so many steps; the weights stay."""
        self.optimizer.optimizer.state.clear()
        for group in self.optimizer.optimizer.param_groups:
            group["lr"] = group.get("initial_lr", group["lr"])
            group.pop("initial_lr", None)
        self.scheduler = self._schedule(steps)

    def close(self) -> None:
        """Let go of everything on the device."""
        self.accelerator.free_memory()
        del self.policy, self.optimizer, self.scheduler

    def reshard(self) -> None:
        """Under FSDP2, let go of weights that a forward pass gathered and kept; state dicts need the shards."""
        for module in self.policy.modules():
            if hasattr(module, "reshard"):
                module.reshard()

    def parts(self, task: Objective, rows: Indices) -> list[Indices]:
        """This process's share of a batch, cut into micro-batches; as many on every process."""
        count = micro_batches(rows, task.lengths, world=self.world, most=self.config.micro_tokens)
        mine = share(rows, task.lengths, rank=self.accelerator.process_index, world=self.world)
        return cut(mine, count)

    def look(self, task: Objective, rows: Indices, *, graph: bool) -> ForwardResult:
        """The objective on a batch at the present weights; with `graph`, ready for a backward pass (one part only)."""
        parts = self.parts(task, rows)
        graph = graph and len(parts) == 1
        sums, loss = self._zeros(), None
        with nullcontext() if graph else torch.no_grad():
            for part in parts:
                total, more = self._forward(task, part)
                sums = sums + more
                loss = total if graph else None
        found = self.added(sums)
        scaled = None if loss is None else loss * self._scale(task, rows, parts, parts[0])
        return ForwardResult(task, rows, found, scaled)

    def backward(self, task: Objective, rows: Indices, weight: float) -> ForwardResult:
        """Add weight times the objective's gradient on a batch, part after part."""
        parts = self.parts(task, rows)
        sums = self._zeros()
        for j, part in enumerate(parts):
            last = j == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.policy):
                total, more = self._forward(task, part)
                self.accelerator.backward(total * (weight * self._scale(task, rows, parts, part)))
            sums = sums + more
        return ForwardResult(task, rows, self.added(sums), None)

    def update(self) -> float:
        """Clip, step, next learning rate; the gradient's norm before. FloatingPointError if it is not finite."""
        parameters = [p for p in self.policy.parameters() if p.requires_grad]
        most = self.config.clip if self.config.clip > 0 else float("inf")
        norm = self.accelerator.clip_grad_norm_(parameters, most)
        size = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        if not np.isfinite(size):
            raise FloatingPointError(f"the gradient's norm is {size}")
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return size

    @torch.no_grad()
    def evaluate(self, task: Objective, rows: Indices) -> dict[str, float]:
        """The objective's sums over these rows."""
        was_training = self.policy.training
        self.policy.eval()
        sums = self._zeros()
        for part, keep in self._even(task, rows):
            sums = sums + self._forward(task, part, keep)[1]
        self.policy.train(was_training)
        return self.added(sums)

    @torch.no_grad()
    def logps(self, task: Objective, report: Any = None) -> torch.Tensor:
        """(n, R) float32 on the CPU: the summed log-probabilities of all responses of all rows."""
        self.policy.eval()
        responses = len(task.tokens.responses[0])
        result = torch.zeros(len(task), responses, dtype=torch.float32)
        pieces = list(self._even(task, np.arange(len(task), dtype=np.int64)))
        for j, (part, _) in enumerate(pieces):
            found = self.policy(task.batch(part).to(self.accelerator.device)).view(len(part), responses)
            indices = torch.from_numpy(part).to(found.device)
            result[self.accelerator.gather(indices).cpu()] = self.accelerator.gather(found.contiguous()).float().cpu()
            if report:
                report((j + 1) / len(pieces))
        return result

    def added(self, sums: torch.Tensor) -> dict[str, float]:
        """Sums over all processes, by name."""
        total = self.accelerator.reduce(sums, reduction="sum")
        return dict(zip(SUMS, total.tolist(), strict=True))

    def _zeros(self) -> torch.Tensor:
        return torch.zeros(len(SUMS), dtype=torch.float64, device=self.accelerator.device)

    def _forward(
        self, task: Objective, part: Indices, keep: Sequence[bool] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch = task.batch(part).to(self.accelerator.device)
        return task.measure(self.policy(batch), batch, part, keep)

    def _scale(self, task: Objective, rows: Indices, parts: list[Indices], part: Indices) -> float:
        """What makes a part's summed loss its share of the mean; DDP and FSDP divide by the processes once more."""
        if task.by_part:
            return 1.0 / (task.units(part) * len(parts))
        return self.world / task.units(rows)

    def _even(self, task: Objective, rows: Indices) -> Iterator[tuple[Indices, list[bool]]]:
        """Parts of `rows` for this process, equally many on every process: filled up with rows that do not count."""
        order = rows[np.argsort(task.lengths[rows], kind="stable")]
        filled = np.concatenate([order, np.repeat(order[-1:], -len(order) % self.world)])
        counts = np.arange(len(filled)) < len(order)
        longest = max(1, self.config.micro_tokens // int(task.lengths[order[-1]]))
        for start in range(0, len(filled), longest * self.world):
            stop = min(start + longest * self.world, len(filled))
            mine = np.arange(start, stop)[self.accelerator.process_index :: self.world]
            yield filled[mine], [bool(c) for c in counts[mine]]


class ForwardResult:
    """An objective evaluated on a batch: its value, its sums, and the scaled loss if its graph was kept."""

    def __init__(self, task: Objective, rows: Indices, sums: dict[str, float], loss: torch.Tensor | None) -> None:
        self.task, self.rows, self.sums, self.loss = task, rows, sums, loss
        self.value = task.value(sums)


def seed_dropout(config: TrainConfig, accelerator: Accelerator, step: int) -> None:
    """Dropout that depends on seed, step and process alone, so that a resumed run needs no generator's state.

    The adapter's own, and the base's: T5, OPT and others have some.
    """
    state = np.random.SeedSequence([config.seed, step, int(accelerator.process_index)]).generate_state(1)
    if accelerator.device.type == "cpu":  # torch.manual_seed is for all devices, and takes a millisecond
        torch.default_generator.manual_seed(int(state[0]))
    else:
        torch.manual_seed(int(state[0]))


def _optimizer(parameters: list[torch.nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr)
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(parameters, lr=config.lr, betas=betas, weight_decay=config.weight_decay)
