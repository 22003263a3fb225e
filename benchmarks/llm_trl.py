"""TRL's SFTTrainer and DPOTrainer on the same rows, timed from an epoch's beginning to the end of its last step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback

from benchmarks import llm_rows
from benchmarks.llm_ours import Turn, clocks, config_of
from benchmarks.llm_rows import Workload
from toyopt.algorithms import DPO, SFT


class _Marks(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.marks = [clocks()]

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.marks.append(clocks())


def _settings(kind: Any, size: Workload, batch: int, **more: Any) -> Any:
    """Return TRL's defaults, with precision, batch and optimizer as on our side, no files and no truncation."""
    ours = config_of(size)
    return kind(
        output_dir=tempfile.gettempdir(), num_train_epochs=1, per_device_train_batch_size=batch,
        bf16=ours.precision == "bf16", learning_rate=ours.lr, lr_scheduler_type="constant",
        weight_decay=ours.weight_decay, adam_beta1=ours.beta1, adam_beta2=ours.beta2, max_grad_norm=ours.clip,
        max_length=None, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
        **more,
    )  # fmt: skip


def _timed(trainer: Any, size: Workload, objective: int, *, compact: bool) -> Callable[[], Turn]:
    marks = _Marks()
    tokens = llm_rows.count(llm_rows.tokens(size, "sft" if objective == SFT else "preference"))
    columns = ("input_ids",) if objective == SFT else ("prompt_ids", "chosen_ids", "rejected_ids")
    theirs = _count(trainer.train_dataset, columns)
    if theirs != tokens:
        raise AssertionError(f"TRL has {theirs} tokens and llm {tokens}: not the same rows")
    trainer.add_callback(marks)
    trainer.remove_callback(PrinterCallback)

    def epoch() -> Turn:
        with patch("trl.trainer.utils._use_triton", lambda _: True) if compact else nullcontext():
            trainer.train()
        (cpu, wall), (cpu_end, wall_end) = marks.marks[0], marks.marks[-1]
        steps = len(marks.marks) - 1
        if steps != size.batches:
            raise AssertionError(f"TRL took {steps} steps, {size.batches} are an epoch: not the same rows")
        return Turn(cpu_end - cpu, wall_end - wall, tokens, {objective: steps})

    return epoch


def _count(rows: Any, columns: tuple[str, ...]) -> int:
    """Count the tokens of TRL's rows: a prompt once for every response, and the responses."""
    return sum(len(row[column]) * (1 + (column == "prompt_ids")) for row in rows for column in columns)


class _Saves(TrainerCallback):  # type: ignore[misc]
    """CPU seconds from the end of each step to the end of its checkpoint."""

    def __init__(self) -> None:
        self.spent: list[float] = []
        self._ended = 0.0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._ended = clocks()[0]

    def on_save(self, *_: Any, **__: Any) -> None:
        self.spent.append(clocks()[0] - self._ended)


def _lora(size: Workload, rank: int = 0) -> LoraConfig:
    ours = config_of(size)
    rank = rank or ours.lora_rank
    return LoraConfig(r=rank, lora_alpha=ours.lora_alpha, target_modules=list(ours.lora_targets), task_type="CAUSAL_LM")


def sft(size: Workload, *, checkpointing: bool = False, compact: bool = False) -> Callable[[], Turn]:
    """Return a call that trains an epoch with SFTTrainer.

    checkpointing  of gradients, which is its default
    compact        its head on labelled positions alone, as it does on a GPU and not on a CPU: for a comparison whose
                   result does not hang on that
    """
    settings = _settings(
        trl.SFTConfig, size, size.batch_sft, activation_checkpointing=checkpointing, completion_only_loss=True
    )
    trainer = trl.SFTTrainer(
        model=size.model(), args=settings, train_dataset=Dataset.from_list(size.texts("sft")),
        processing_class=size.tokenizer(), peft_config=_lora(size),
    )  # fmt: skip
    return _timed(trainer, size, SFT, compact=compact)


def dpo(size: Workload, *, precomputed: bool, checkpointing: bool = False, compact: bool = False) -> Callable[[], Turn]:
    """Return a call that trains an epoch with DPOTrainer; `precomputed`: with the reference before the clock starts."""
    settings = _settings(
        trl.DPOConfig, size, size.batch_preference, activation_checkpointing=checkpointing, beta=config_of(size).beta,
        precompute_ref_log_probs=precomputed,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=size.model(), args=settings, train_dataset=Dataset.from_list(size.texts("preference")),
        processing_class=size.tokenizer(), peft_config=_lora(size),
    )  # fmt: skip
    return _timed(trainer, size, DPO, compact=compact)


def checkpoints(size: Workload, rank: int) -> tuple[float, int]:
    """Return the CPU seconds of all checkpoints, one after each of `size.batches` SFT steps, and the last one's bytes.

    They are what SFTTrainer writes by default: adapter, optimizer, schedule, random states, tokenizer, history and
    settings. Nothing is logged in between.

    rank  of LoRA
    """
    with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:
        settings = _settings(
            trl.SFTConfig, size, size.batch_sft, activation_checkpointing=False, completion_only_loss=True,
        )  # fmt: skip
        settings.output_dir, settings.save_strategy, settings.save_steps = folder, "steps", 1
        settings.logging_strategy = "no"
        saves = _Saves()
        trainer = trl.SFTTrainer(
            model=size.model(), args=settings, train_dataset=Dataset.from_list(size.texts("sft")),
            processing_class=size.tokenizer(), peft_config=_lora(size, rank), callbacks=[saves],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        if len(saves.spent) != size.batches:
            raise AssertionError(f"TRL wrote {len(saves.spent)} checkpoints after {size.batches} steps")
        newest = Path(folder) / f"checkpoint-{size.batches}"
        return sum(saves.spent), sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
