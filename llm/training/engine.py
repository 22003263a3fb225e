"""A policy, its optimizer and its schedule on this machine's processes, as accelerate prepares them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.data.collate import Batch
from llm.data.sampler import Indices, micro_batch_count, shard, split
from llm.models.neftune import noisy_embeddings
from llm.models.policy import Policy
from llm.training import zero
from llm.training.deepspeed_config import is_zero, shares_weights
from llm.training.mismatched import begin_sums
from llm.training.objective import SUMS, Objective
from llm.training.optimizers import make_optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig


# Padded tokens at once by type of device: on a CPU more are no faster, on a GPU fewer leave it idle.
MICRO_TOKENS = {"cpu": 2048, "gpu": 16384}
# No activations are kept, so more fit; but the rows of a batch are padded to its longest: of 80 rows of HH-RLHF of at
# most 512 tokens, batches of 16384 padded tokens hold 1.33 padded tokens for each token of a row, those of 4096 1.10.
EVALUATION_TOKENS = {"cpu": 4096, "gpu": 16384}


def micro_tokens(config: TrainConfig, device: str) -> int:
    """Return the maximum number of padded tokens of a micro-batch on a type of device, such as "cpu"."""
    return config.micro_tokens or MICRO_TOKENS["cpu" if device == "cpu" else "gpu"]


def from_main(accelerator: Accelerator, value: Any) -> Any:
    """Return the main process's object on all processes."""
    from accelerate.utils import broadcast_object_list

    values = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values[0]


def any_process(accelerator: Accelerator, value: bool) -> bool:
    """Return whether the value is true on any process."""
    if accelerator.num_processes == 1:
        return value
    mine = torch.tensor([float(value)], device=accelerator.device)
    return bool(accelerator.reduce(mine, reduction="sum") > 0)


class Engine:
    """A prepared policy with its optimizer and schedule; a policy without trainable parameters is only evaluated."""

    def __init__(self, accelerator: Accelerator, policy: Policy, config: TrainConfig, *, steps: int) -> None:
        from transformers import get_scheduler

        self.accelerator, self.config, self.raw = accelerator, config, policy
        weights, kind = [p for p in policy.parameters() if p.requires_grad], accelerator.device.type
        self._trained: list[torch.nn.Parameter] = []  # listed once: to go through all modules takes 4 % of a small step
        self.policy: Any
        self.optimizer: Any
        self.scheduler: Any
        self.inner_optimizer: Any = None  # of torch, below the wrappers of accelerate and DeepSpeed
        self.is_zero = is_zero(accelerator)
        if self.is_zero:
            zero.partition(accelerator, policy)
        if not weights:
            if shares_weights(accelerator) == "ZeRO-3":
                self.policy = accelerator.prepare(policy)
            else:
                self.policy = accelerator.prepare_model(policy, evaluation_mode=True)
            self.optimizer = self.scheduler = None
            return
        with warnings.catch_warnings():  # torch 2.13 has a new name for it, which accelerate does not know yet
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            self.policy, self.optimizer = accelerator.prepare(policy, make_optimizer(policy, config, kind))
        self.inner_optimizer = self.optimizer.optimizer.optimizer if self.is_zero else self.optimizer.optimizer
        self._trained = [p for p in self.policy.parameters() if p.requires_grad]
        make: Any = get_scheduler
        self._schedule: Callable[[int], Any] = lambda n: make(
            config.schedule, self.inner_optimizer, num_warmup_steps=config.warmup, num_training_steps=n
        )
        self.scheduler = self._schedule(steps)

    def call(self, batch: Batch) -> torch.Tensor:
        """Return (S,) summed log-probabilities of the prepared policy on a batch that lies on the CPU."""
        return self.policy(batch.to(self.accelerator.device))  # type: ignore[no-any-return]

    @property
    def world(self) -> int:
        """The number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def max_tokens(self) -> int:
        """Maximum number of padded tokens of a micro-batch."""
        return micro_tokens(self.config, self.accelerator.device.type)

    def reset_optimizer(self, steps: int) -> None:
        """Reset the optimizer and its schedule of `steps` steps; the weights stay."""
        for state in self.inner_optimizer.state.values():  # in place: DeepSpeed holds views
            for key, value in state.items():
                state[key] = value.zero_() if isinstance(value, torch.Tensor) else value
        for group in self.inner_optimizer.param_groups:
            group["lr"] = group.get("initial_lr", group["lr"])
            group.pop("initial_lr", None)
        self.scheduler = self._schedule(steps)

    def close(self) -> None:
        """Release everything on the device."""
        self.accelerator.free_memory()
        if self.is_zero:
            zero.restore_linear()
        del self.policy, self.optimizer, self.inner_optimizer, self.scheduler, self._trained

    def reshard(self) -> None:
        """Release weights that a forward pass under FSDP2 gathered and kept; state dicts need the shards."""
        for module in self.policy.modules():
            if hasattr(module, "reshard"):
                module.reshard()

    def parts(self, objective: Objective, rows: Indices) -> list[Indices]:
        """Return this process's shard of a batch, split into micro-batches; equally many on every process."""
        count = micro_batch_count(rows, objective.lengths, world=self.world, max_tokens=self.max_tokens)
        mine = shard(rows, objective.lengths, rank=self.accelerator.process_index, world=self.world)
        return split(mine, count)

    def has_noise(self, objective: Objective) -> bool:
        """Return whether steps on an objective have NEFTune's noise: SFT's, with the option `neftune_alpha`."""
        return objective.is_sft and self.config.neftune_alpha > 0.0

    def forward(self, objective: Objective, rows: Indices, *, graph: bool, noise: bool = False) -> ForwardResult:
        """Return the objective on a batch; with `graph`, ready for a backward pass (if the batch is one part).

        noise  with NEFTune's noise if steps on the objective have it; without it, these then keep no graph
        """
        parts = self.parts(objective, rows)
        graph = graph and len(parts) == 1 and (noise or not self.has_noise(objective))
        kl, sums = begin_sums(self.accelerator, self.policy, objective, [(part, None) for part in parts])
        scaled = None
        with nullcontext() if graph else torch.no_grad():
            for part in parts:
                total, more, router = self._forward(objective, part, noise=noise, kl=kl)
                sums = sums + more
                if graph:
                    scaled = total * self._scale(objective, rows, parts, part)
                    scaled = scaled + router if self.raw.router_coefficient else scaled
        return ForwardResult(objective, rows, self.reduce(sums), scaled)

    def backward(
        self, objective: Objective, rows: Indices, weight: float, *, noise: bool = False, kl: float | None = None
    ) -> ForwardResult:
        """Accumulate `weight` times the objective's gradient on a batch, part after part; `noise` as in `forward`.

        kl  KTO's estimate of the divergence; None: that of the batch
        """
        parts = self.parts(objective, rows)
        pieces = [(part, None) for part in parts] if kl is None else []
        own, sums = begin_sums(self.accelerator, self.policy, objective, pieces)
        kl = own if kl is None else kl
        for j, part in enumerate(parts):
            last = j == len(parts) - 1
            with nullcontext() if last or self.is_zero else self.accelerator.no_sync(self.policy):
                total, more, router = self._forward(objective, part, noise=noise, kl=kl)
                loss = total * (weight * self._scale(objective, rows, parts, part))
                self.accumulate(loss + router * (weight / len(parts)) if self.raw.router_coefficient else loss)
            sums = sums + more
        return ForwardResult(objective, rows, self.reduce(sums), None)

    def accumulate(self, loss: torch.Tensor) -> None:
        """Add the gradient of a scaled loss, (), to the gradients of this step."""
        if self.is_zero:
            self.policy.backward(loss)  # accelerate would take a step as well
        else:
            self.accelerator.backward(loss)

    def update(self) -> float:
        """Clip, step, and advance the schedule; return the gradient's norm before clipping.

        Raises FloatingPointError if the norm is not finite.
        """
        limit = self.config.clip if self.config.clip > 0 else float("inf")
        norm = zero.step(self) if self.is_zero else self.accelerator.clip_grad_norm_(self._trained, limit)
        size = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        if not np.isfinite(size):
            raise FloatingPointError(f"the gradient's norm is {size}")
        if not self.is_zero:
            # Accelerate's own step searches the disk for an absent package each time, 2 % of a small model's step; its
            # zero_grad inspects a signature.
            optimizer = self.optimizer if self.accelerator.scaler else self.optimizer.optimizer
            optimizer.step()
            optimizer.zero_grad()
        self.scheduler.step()
        return size

    @torch.no_grad()
    def evaluate(self, objective: Objective, rows: Indices) -> dict[str, float]:
        """Return the objective's sums over these rows, by SUMS."""
        was_training = self.raw.training
        self.policy.eval()
        pieces = list(self._even(objective, rows))
        kl, sums = begin_sums(self.accelerator, self.policy, objective, pieces)
        for part, keep in pieces:
            sums = sums + self._forward(objective, part, keep, kl=kl)[1]
        self.policy.train(was_training)
        return self.reduce(sums)

    @torch.no_grad()
    def logps(self, objective: Objective, report: Any = None) -> torch.Tensor:
        """Return the summed log-probabilities of all responses of all rows, (n, R) float32 on the CPU.

        report  called with the share of rows that is computed
        """
        self.policy.eval()
        responses = len(objective.tokens.responses[0])
        result = torch.zeros(len(objective), responses, dtype=torch.float32)
        pieces = list(self._even(objective, np.arange(len(objective), dtype=np.int64)))
        for j, (part, _) in enumerate(pieces):
            logps = self.call(objective.batch(part)).view(len(part), responses)
            indices = torch.from_numpy(part).to(logps.device)
            result[self.accelerator.gather(indices).cpu()] = self.accelerator.gather(logps.contiguous()).float().cpu()
            if report:
                report((j + 1) / len(pieces))
        return result

    def reduce(self, sums: torch.Tensor) -> dict[str, float]:
        """Return sums over all processes, by SUMS."""
        total = sums if self.world == 1 else self.accelerator.reduce(sums, reduction="sum")
        return dict(zip(SUMS, total.tolist(), strict=True))

    def _forward(
        self, objective: Objective, part: Indices, keep: Sequence[bool] | None = None, *, noise: bool = False, kl: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the summed loss of a part, its sums by SUMS, and the weighted auxiliary loss of routers.

        The auxiliary loss is a mean over the part's tokens: a step's is the mean over parts and processes.
        """
        batch = objective.batch(part).to(self.accelerator.device)
        alpha = self.config.neftune_alpha if noise and self.has_noise(objective) else 0.0
        with noisy_embeddings(self.raw.causal, alpha):
            logps = self.policy(batch)
        total, sums = objective.measure(logps, batch, part, keep, kl=kl)
        router = self.raw.router_loss() if torch.is_grad_enabled() else None
        if router is None:
            return total, sums, torch.zeros_like(total)
        sums[SUMS.index("router")] = router.detach().double()
        return total, sums, router * self.raw.router_coefficient

    def _scale(self, objective: Objective, rows: Indices, parts: list[Indices], part: Indices) -> float:
        """Return the factor from a part's summed loss to its share of the mean.

        DDP and FSDP divide by the number of processes once more.
        """
        if objective.mean_by_part:
            return 1.0 / (objective.units(part) * len(parts))
        return self.world / objective.units(rows)

    def _even(self, objective: Objective, rows: Indices) -> Iterator[tuple[Indices, list[bool]]]:
        """Return parts of `rows` for this process, equally many on every process, with masks of the rows that count.

        Rows that do not count fill up the last parts.
        """
        order = rows[np.argsort(objective.lengths[rows], kind="stable")]
        filled = np.concatenate([order, np.repeat(order[-1:], -len(order) % self.world)])
        counts = np.arange(len(filled)) < len(order)
        usual = EVALUATION_TOKENS["cpu" if self.accelerator.device.type == "cpu" else "gpu"]
        most = min(8 * self.max_tokens, max(self.max_tokens, usual))
        longest = max(1, most // int(objective.lengths[order[-1]]))
        for start in range(0, len(filled), longest * self.world):
            stop = min(start + longest * self.world, len(filled))
            mine = np.arange(start, stop)[self.accelerator.process_index :: self.world]
            yield filled[mine], [bool(c) for c in counts[mine]]


class ForwardResult:
    """An objective evaluated on a batch: its value, its sums, and the scaled loss if its graph was kept."""

    def __init__(self, objective: Objective, rows: Indices, sums: dict[str, float], loss: torch.Tensor | None) -> None:
        self.objective, self.rows, self.sums, self.loss = objective, rows, sums, loss
        self.value = objective.value(sums)


def seed_dropout(config: TrainConfig, accelerator: Accelerator, step: int) -> None:
    """Seed dropout from seed, step and process alone, so that a resumed run needs no generator's state.

    Holds for the adapter's dropout and the base's: T5, OPT and others have some.
    """
    state = np.random.SeedSequence([config.seed, step, int(accelerator.process_index)]).generate_state(1)
    if accelerator.device.type == "cpu":  # torch.manual_seed is for all devices, and takes a millisecond
        torch.default_generator.manual_seed(int(state[0]))
    else:
        torch.manual_seed(int(state[0]))
