"""One process's part in a run: the phases in turn. Kept apart from `llm.train` so that torch is loaded only here."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm import adapters, output, reference
from llm.config import DATA, METHOD, NOT_THE_RESULT, TrainConfig, digest
from llm.data import Sets, check_fits, load_sets, with_embedded
from llm.loop import Loop, Plan
from llm.model import Policy
from llm.progress import Line, say
from llm.records import read_json, read_metrics, sweep, write_json
from llm.session import Session, make_accelerator
from llm.tasks import Task
from llm.tokens import TokenSet
from llm.train import begin, chosen_only, identity, reference_kind, rule_of, unmasked
from toyopt.algorithms import DPO, SFT, Sequential

STAGE = "stage{}"


class Run:
    """A run's model, sets and folder; `train` carries it out."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        *,
        model: Any = None,
        tokenizer: Any = None,
        given: dict[str, Any] | None = None,
        quiet: bool = False,
        wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.accelerator = make_accelerator(config)
        self.main = bool(self.accelerator.is_main_process)
        self.quiet, self.wanted = quiet or not self.main, wanted
        self.folder, self.cache = folder, config.cache_folder
        self.asked = config
        if tokenizer is None and config.model != "embedded":  # a wrong name is told before anything long begins
            tokenizer = adapters.load_tokenizer(config.model, config)
        self.in_memory = [k for k, v in {"model": model, **(given or {})}.items() if v is not None]
        self.config = self._embedded(config)
        self.tokenizer = tokenizer or adapters.load_tokenizer(self.config.model, self.config)
        self.sets: Sets = load_sets(self.config, self.tokenizer, given or {})
        for note in self.sets.notes:
            self.say(note)
        self._given, self._base = model is not None, model
        self._wrapped: Any = None  # PEFT's model around the base, while there is one
        self._base_name: str | None = None

    def say(self, text: str) -> None:
        """A line for the reader."""
        say(text, active=not self.quiet)

    # --- phases -------------------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Everything; returns the summary."""
        config = self.config
        self._check()
        ours = identity(self.asked, self.sets, self.base_name)
        about = {"versions": output.versions(), "in_memory": self.in_memory}
        go = begin(self.folder, self.asked, ours, about) if self.main else True
        go = self._agree(go)
        if not go:
            self.say(f"{self.folder} is finished; nothing to do (--overwrite begins anew)")
            return dict(read_json(self.folder / "summary.json"))
        if self.main:
            self.tokenizer.save_pretrained(self.folder)
        tasks, evals = self._tasks()
        f_star, gaps = self._optima(tasks, evals)
        rule = rule_of(config, f_star)
        if config.log_with:
            self.accelerator.init_trackers("forget-neither", {k: str(v) for k, v in self.asked.as_dict().items()})
        plan = Plan(rule, tasks, {"held_out": evals} if evals else {}, config.steps, {"held_out": gaps})
        self._carry_out(plan, config, self.folder, config.method)
        summary = output.summary(self.folder, self.asked, self.sets, gaps, reference_kind(config))
        if self.main:
            (self.folder / "README.md").write_text(output.card(self.asked, summary), encoding="utf-8")
            write_json(self.folder / "summary.json", summary)
        if config.log_with:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
        return summary

    def optima(self) -> dict[str, dict[str, float]]:
        """f_DPO* and f_SFT* on the first training rows and on held-out ones, by single-objective runs; cached."""
        self._check()
        tasks, evals = self._tasks()
        return self._single(tasks, evals)

    @property
    def base(self) -> Any:
        """The base model, without adapters."""
        return self._fresh()

    def tasks(self, rows: int = 0) -> tuple[dict[int, Task], dict[int, Task]]:
        """The objectives on the training rows and on held-out rows, with the reference's log-probabilities.

        rows  at most so many held-out ones; 0: as the configuration says
        """
        return self._tasks(rows)

    def _check(self) -> None:
        """What is wrong with the input is told before anything is written or takes long."""
        check_fits(self.sets, self._fresh(), self.config, world=self.accelerator.num_processes)
        adapters.try_out(self._fresh(), self.config, reference_kind(self.config))

    def _tasks(self, rows: int = 0) -> tuple[dict[int, Task], dict[int, Task]]:
        sets, config = self.sets, self.config
        most = rows or config.eval_rows
        both = {DPO: sets.preference_held_out, SFT: sets.sft_held_out}
        held = {i: None if t is None else t.select(np.arange(min(len(t), most))) for i, t in both.items()}
        logps = self._reference([t for t in (sets.preference, held[DPO]) if t is not None])
        tasks = {DPO: self._task(sets.preference, logps[0]), SFT: self._task(sets.sft)}
        evals = {i: self._task(t, logps[1] if i == DPO else None) for i, t in held.items() if t is not None}
        return tasks, evals

    def _task(self, tokens: TokenSet, logps: Any = None) -> Task:
        by_part = tokens.kind == "sft" and self.config.sft_mean == "batch"
        name = "dpo" if tokens.kind == "preference" else "sft"
        return Task(name, tokens, self.config.beta, logps, shared=False, by_part=by_part)

    def _reference(self, sets: list[TokenSet]) -> list[Any]:
        """The reference's log-probabilities of these sets, from the cache or computed now."""
        kind = reference_kind(self.config)
        folder = None if kind == "base" else self._reference_adapter(kind)
        adapter = "" if folder is None else reference.adapter_fingerprint(folder)
        tasks = [Task("dpo", t) for t in sets]
        paths = [
            reference.path_of(self.cache, reference.key(t, self.base_name, adapter, self.config.precision))
            for t in tasks
        ]
        found = [reference.load(p, len(t)) for p, t in zip(paths, tasks, strict=True)]
        if self._agree(all(f is not None for f in found)):
            return found
        session = self._open(self.config, 1, folder=folder, train=False)
        for j, (path, task) in enumerate(zip(paths, tasks, strict=True)):
            if not self._agree(found[j] is not None):
                task = dataclasses.replace(task, shared=session.raw.shared)
                with Line("reference log-probabilities", active=not self.quiet) as line:
                    found[j] = reference.compute(
                        session, task, path, lambda share, line=line: line(round(100 * share), 100)
                    )
        self.close(session)
        return found

    def _reference_adapter(self, kind: str) -> Path:
        """The folder of the reference's adapter, trained now if it has to be."""
        if kind not in ("chosen", "sft"):
            return Path(kind)
        tokens = chosen_only(self.sets.preference) if kind == "chosen" else self.sets.sft
        tokens = unmasked(tokens) if self.config.reference_prompts else tokens
        config = self._alone(SFT, self.config.reference_steps or self.config.steps)
        if kind == "chosen":
            config = dataclasses.replace(config, batch_sft=self.config.batch_preference)
        folder = self.cache / "adapters" / digest({**self._depends(config), "rows": tokens.digest})
        rule = Sequential((config.steps,), (SFT,))
        self._once(Plan(rule, {SFT: self._task(tokens)}, {}, config.steps, {}), config, folder, f"reference ({kind})")
        return folder

    def _optima(
        self, tasks: Mapping[int, Task], evals: Mapping[int, Task]
    ) -> tuple[tuple[float, float], dict[int, float]]:
        """f* as MAXRIGHT begins with it, and what gaps on held-out rows are measured from (empty: no gaps)."""
        config = self.config
        if config.f_star == "estimate":
            return (0.0, 0.0), {}
        if config.f_star == "compute":
            found = self._single(tasks, evals)
            star = found["train"]["dpo"], found["train"]["sft"]
            return star, {i: found.get("held_out", {}).get(n, star[i]) for i, n in ((DPO, "dpo"), (SFT, "sft"))}
        star = config.f_dpo_star or 0.0, config.f_sft_star or 0.0
        return star, dict(enumerate(star))

    def _single(self, tasks: Mapping[int, Task], evals: Mapping[int, Task]) -> dict[str, dict[str, float]]:
        """The least values that a run on one objective alone attains, on training and on held-out rows."""
        first = {i: self._first(t) for i, t in tasks.items()}
        best: dict[str, dict[str, float]] = {"train": {}, "held_out": {}}
        for i, name in ((DPO, "dpo"), (SFT, "sft")):
            config = self._alone(i, self.config.optima_steps or self.config.steps)
            task = tasks[i]
            rows = {"rows": task.tokens.digest, "held_out": evals[i].tokens.digest if evals else ""}
            if task.reference is not None:
                rows["reference"] = reference.fingerprint([("logps", task.reference)])
            folder = self.cache / "optima" / digest({**self._depends(config), **rows, "objective": name})
            watched = {"train": {i: first[i]}} | ({"held_out": {i: evals[i]}} if evals else {})
            plan = Plan(Sequential((config.steps,), (i,)), {i: task}, watched, config.steps, {})
            self._once(plan, config, folder, f"optimum of f_{name.upper()}")
            for line in read_metrics(folder):
                if "evaluation" in line:
                    before = best[line["evaluation"]].get(name, float("inf"))
                    best[line["evaluation"]][name] = min(before, line[f"f_{name}"])
        return {k: v for k, v in best.items() if v}

    def _first(self, task: Task) -> Task:
        """The task on its first rows, as many as are evaluated."""
        rows = np.arange(min(len(task), self.config.eval_rows))
        logps = None if task.reference is None else task.reference[: len(rows)]
        return dataclasses.replace(task, tokens=task.tokens.select(rows), reference=logps)

    # --- carrying out -------------------------------------------------------------------------------------------------

    def _once(self, plan: Plan, config: TrainConfig, folder: Path, what: str) -> None:
        """Carry out a plan in the cache, unless it has been done; two processes that ask for the same wait in turn."""
        from contextlib import nullcontext

        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock") if self.main else nullcontext():
            if self._agree((folder / "summary.json").exists()):
                return
            self._carry_out(plan, config, folder, what)
            if self.main:
                write_json(folder / "summary.json", {"config": config.as_dict(), "versions": output.versions()})
            self.accelerator.wait_for_everyone()

    def _carry_out(self, plan: Plan, config: TrainConfig, folder: Path, what: str) -> None:
        """The loop and its adapter, in a folder."""
        rule = plan.rule
        if self.main:
            sweep(folder)

        def open_session(stage: int) -> Session:
            steps = rule.steps[stage] if isinstance(rule, Sequential) and config.stage_reset else plan.steps
            before = folder / STAGE.format(stage)
            return self._open(config, steps, stage=stage, before=before if before.is_dir() else None)

        def save(session: Session, name: str) -> None:
            output.save_adapter(session, folder / name, name)

        with Line(what, active=not self.quiet) as line:
            loop = Loop(
                plan, open_session, config, folder, report=line, wanted=self._asked_to_stop,
                save_stage=lambda session, stage: save(session, STAGE.format(stage + 1)),
            )  # fmt: skip
            session = loop.run()
        made = folder / "adapter"
        name = STAGE.format(loop.stage + 1) if config.stack else "default"
        stages = (
            [folder / STAGE.format(1)] if config.stack and loop.stage and (folder / STAGE.format(1)).is_dir() else []
        )
        output.save_adapter(session, folder / name if config.stack else made, name)
        self.close(session)
        if config.stack and self.main:
            output.join_stages(self._fresh(), [*stages, folder / name], made)
        if self.main:
            output.put_result(made, folder)
        self.accelerator.wait_for_everyone()

    def _open(
        self, config: TrainConfig, steps: int, *, stage: int = 0, before: Path | None = None,
        folder: Path | None = None, train: bool = True,
    ) -> Session:  # fmt: skip
        """A session on the base with the adapter of a stage; or, not to be trained, on the base or a saved adapter."""
        base = self._fresh()
        if not train:
            model = base if folder is None else adapters.load_adapter(base, str(folder), trainable=False)
            model.requires_grad_(False)
        elif config.lora_rank == 0:
            # Its weights change, and a later session starts from the base again: from a copy, or loaded anew.
            base, self._base = (copy.deepcopy(base), base) if self._given else (base, None)
            model = base.requires_grad_(True)
        elif config.stack and before is not None:
            model = adapters.load_adapter(base, str(before), trainable=False, name=STAGE.format(stage))
            model = adapters.add_adapter(model, config, seed=config.seed + stage, name=STAGE.format(stage + 1))
        elif config.stack:
            model = adapters.add_adapter(base, config, seed=config.seed, name=STAGE.format(stage + 1))
        elif config.adapter:
            model = adapters.load_adapter(base, config.adapter, trainable=True)
        else:
            model = adapters.add_adapter(base, config, seed=config.seed)
        if config.gradient_checkpointing and train:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._wrapped = model if model is not base else None
        session = Session(self.accelerator, Policy(model), config, steps=steps)
        for note in session.raw.settle(session.call, *self._probe(), share=config.share_prompt):
            self.say(note)
        return session

    def _probe(self) -> tuple[list[Any], list[Any]]:
        """The two shortest of the first pairs, to try ways of computing on."""
        tokens = self.sets.preference
        rows = np.argsort(tokens.lengths()[:64], kind="stable")[:2]
        return [tokens.prompts[i] for i in rows], [tokens.responses[i] for i in rows]

    def open_saved(self, folder: Path | None) -> Session:
        """A session that is only evaluated: of a saved adapter or whole model, or of the bare base (None)."""
        if folder is None or (folder / "adapter_config.json").exists() or self.config.lora_rank:
            return self._open(self.config, 1, folder=folder, train=False)
        self._base, self._wrapped = adapters.load_base(str(folder), self.config), None
        return self._open(self.config, 1, train=False)

    def close(self, session: Session) -> None:
        """Let go of a session; its base model stays."""
        session.close()

    def _fresh(self) -> Any:
        """The base model without adapters."""
        if self._wrapped is not None:
            self._base, self._wrapped = self._wrapped.unload(), None
        sharded = "FSDP" in str(self.accelerator.distributed_type)
        if self._base is None or (sharded and not self._given):
            self._base = adapters.load_base(self.config.model, self.config)
        return self._base

    def give_back(self) -> None:
        """A model that was given in memory, without adapters and as trainable as models are."""
        if self._given:
            self._fresh().requires_grad_(True)

    @property
    def base_name(self) -> str:
        """The base weights' fingerprint."""
        if self._base_name is None:
            self._base_name = reference.base_fingerprint(self._fresh())
        return self._base_name

    # --- small things -------------------------------------------------------------------------------------------------

    def _asked_to_stop(self) -> bool:
        """Whether any of the processes was asked to stop; they all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return self.wanted()
        mine = torch.tensor([float(self.wanted())], device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, reduction="sum") > 0)

    def _agree(self, value: bool) -> bool:
        """The main process's answer, on all of them."""
        from accelerate.utils import broadcast_object_list

        values = [value]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(values)
        return bool(values[0])

    def _alone(self, objective: int, steps: int) -> TrainConfig:
        """The configuration of a run on one objective: the same but for the method."""
        return dataclasses.replace(
            self.config,
            method="sequential",
            lam=1.0 if objective == DPO else 0.0,
            steps=steps,
            stack=False,
            adapter="",
            out="",
            log_with=(),
            overwrite=False,
        )

    def _depends(self, config: TrainConfig) -> dict[str, Any]:
        """What the result of a run on one objective depends on, besides its rows."""
        values = {k: v for k, v in config.as_dict().items() if k not in NOT_THE_RESULT | METHOD | DATA}
        return {"version": 1, "base": self.base_name, **values}

    def _embedded(self, config: TrainConfig) -> TrainConfig:
        with Line("the embedded world", active=not self.quiet) as line:
            return with_embedded(config, self.in_memory, lambda what, share: line(round(100 * share), 100, what))
