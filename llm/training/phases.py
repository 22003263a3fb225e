"""Where runs are carried out: the processes, the base model, and the sessions on it that follow one another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm.common.files import sweep, write_json
from llm.common.progress import Line, say
from llm.config import TrainConfig
from llm.data.tokenization import TokenizedDataset
from llm.models import loading
from llm.models.policy import Policy, share_cores
from llm.training import export
from llm.training.engine import Engine, make_accelerator
from llm.training.trainer import Trainer, TrainSpec
from toyopt.algorithms import DPO, SFT, Sequential

STAGE = "stage{}"


class Workplace:
    """A base model and the processes that work on it. One session at a time is open.

    config  names the base model, if none is given in memory, and says how to compute
    probe   preference rows to try ways of computing on
    wanted  whether somebody asked to stop
    """

    config: TrainConfig
    probe: TokenizedDataset

    def __init__(self, config: TrainConfig, model: Any, *, quiet: bool, wanted: Callable[[], bool]) -> None:
        self.accelerator = make_accelerator(config)
        self.main = bool(self.accelerator.is_main_process)
        self.quiet, self.wanted = quiet or not self.main, wanted
        self._given, self._base = model is not None, model
        self._wrapped: Any = None  # PEFT's model around the base, while there is one
        self._base_name: str | None = None

    def say(self, text: str) -> None:
        """A line for the reader."""
        say(text, active=not self.quiet)

    def once(self, plan: TrainSpec, config: TrainConfig, folder: Path, what: str) -> None:
        """Carry out a plan in the cache, unless it has been done; two processes that ask for the same wait in turn."""
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock") if self.main else nullcontext():
            if self.agree((folder / "summary.json").exists()):
                return
            self.carry_out(plan, config, folder, what)
            if self.main:
                write_json(folder / "summary.json", {"config": config.as_dict(), "versions": export.versions()})
            self.accelerator.wait_for_everyone()

    def carry_out(self, plan: TrainSpec, config: TrainConfig, folder: Path, what: str) -> None:
        """The loop and its adapter, in a folder."""
        rule = plan.rule
        if self.main:
            sweep(folder)

        def open_engine(stage: int) -> Engine:
            steps = rule.steps[stage] if isinstance(rule, Sequential) and config.stage_reset else plan.steps
            before = folder / STAGE.format(stage)
            return self.open(config, steps, stage=stage, before=before if before.is_dir() else None)

        def save(session: Engine, stage: int) -> None:
            name = STAGE.format(stage + 1)
            export.save_adapter(session, folder / name, name if config.stack else "default")

        with Line(what, active=not self.quiet) as line:
            loop = Trainer(
                plan, open_engine, config, folder, report=line, wanted=self._asked_to_stop,
                save_stage=save, keep=export.save_adapter,
            )  # fmt: skip
            session = loop.run()
        made = folder / "adapter"
        if config.stack or config.average:
            save(session, loop.stage)
        else:
            export.save_adapter(session, made)
        self.close(session)
        if self.main and (config.stack or config.average):
            parts = {j: p for j in range(loop.stage + 1) if (p := folder / STAGE.format(j + 1)).is_dir()}
            share = {DPO: config.lam, SFT: 1.0 - config.lam}
            order = rule.order if config.average and isinstance(rule, Sequential) else ()
            weights = [share[order[j]] if order else 1.0 for j in parts]
            export.join_stages(self.base, list(parts.values()), made, weights)
        self.accelerator.wait_for_everyone()
        if config.average:
            session = self.open(config, 1, folder=made, train=False)
            loop.evaluate_result(session)
            self.close(session)
        if self.main:
            export.put_result(made, folder)
        self.accelerator.wait_for_everyone()

    def open(
        self, config: TrainConfig, steps: int, *, stage: int = 0, before: Path | None = None,
        folder: Path | None = None, train: bool = True,
    ) -> Engine:  # fmt: skip
        """A session on the base with the adapter of a stage; or, not to be trained, on the base or a saved adapter."""
        base = self.base
        if self.accelerator.device.type == "cpu":
            share_cores(base, self.config.threads)
        if not train:
            model = base if folder is None else loading.load_adapter(base, str(folder), trainable=False)
            model.requires_grad_(False)
        elif config.lora_rank == 0:
            # Its weights change, and a later session starts from the base again: from a copy, or loaded anew.
            base, self._base = (copy.deepcopy(base), base) if self._given else (base, None)
            model = base.requires_grad_(True)
        elif config.stack and before is not None:
            model = loading.load_adapter(base, str(before), trainable=False, name=STAGE.format(stage))
            model = loading.add_adapter(model, config, seed=config.seed + stage, name=STAGE.format(stage + 1))
        elif config.stack:
            model = loading.add_adapter(base, config, seed=config.seed, name=STAGE.format(stage + 1))
        elif config.adapter:
            model = loading.load_adapter(base, config.adapter, trainable=True)
        else:
            model = loading.add_adapter(base, config, seed=config.seed)
        if config.gradient_checkpointing and train:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._wrapped = model if model is not base else None
        session = Engine(self.accelerator, Policy(model), config, steps=steps)
        for note in session.raw.settle(session.call, *self._probe(), share=config.share_prompt):
            self.say(note)
        return session

    def _probe(self) -> tuple[list[Any], list[Any]]:
        """The two shortest of the first pairs."""
        tokens = self.probe
        rows = np.argsort(tokens.lengths()[:64], kind="stable")[:2]
        return [tokens.prompts[i] for i in rows], [tokens.responses[i] for i in rows]

    def open_saved(self, folder: Path | None) -> Engine:
        """A session that is only evaluated: of a saved adapter or whole model, or of the bare base (None)."""
        if folder is None or (folder / "adapter_config.json").exists() or self.config.lora_rank:
            return self.open(self.config, 1, folder=folder, train=False)
        self._base, self._wrapped = loading.load_base(str(folder), self.config), None
        return self.open(self.config, 1, train=False)

    def close(self, session: Engine) -> None:
        """Let go of a session; its base model stays."""
        session.close()

    @property
    def base(self) -> Any:
        """The base model, without adapters; a session that is open on it is over."""
        if self._wrapped is not None:
            self._base, self._wrapped = self._wrapped.unload(), None
        sharded = "FSDP" in str(self.accelerator.distributed_type)
        if self._base is None or (sharded and not self._given):
            self._base = loading.load_base(self.config.model, self.config)
        return self._base

    def give_back(self) -> None:
        """A model that was given in memory, without adapters and as trainable as models are."""
        if self._given:
            self.base.requires_grad_(True)

    @property
    def base_name(self) -> str:
        """The base weights' fingerprint."""
        if self._base_name is None:
            self._base_name = loading.base_fingerprint(self.base)
        return self._base_name

    def _asked_to_stop(self) -> bool:
        """Whether any of the processes was asked to stop; they all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return self.wanted()
        mine = torch.tensor([float(self.wanted())], device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, reduction="sum") > 0)

    def agree(self, value: bool) -> bool:
        """The main process's answer, on all of them."""
        from accelerate.utils import broadcast_object_list

        values = [value]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(values)
        return bool(values[0])
