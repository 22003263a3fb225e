"""One process's part in a run: the phases in turn. Kept apart from `llm.train` so that torch is loaded only here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llm.common.files import read_json, write_json
from llm.common.progress import Line
from llm.config import DATA, METHOD, NOT_THE_RESULT, TrainConfig, digest, reference_kind
from llm.data.splits import Datasets, check_fits, load_datasets
from llm.data.tokenization import TokenizedDataset
from llm.embedded.prepare import with_embedded
from llm.losses import ReferenceFree, orpo, simpo
from llm.models import loading
from llm.models.policy import encodes
from llm.training import export, metrics, reference
from llm.training.metrics import read_metrics
from llm.training.objective import Objective, chosen_only, unmasked
from llm.training.phases import Workplace
from llm.training.run_folder import identity, start_or_resume
from llm.training.train import rule_of
from llm.training.trainer import TrainSpec
from toyopt.algorithms import DPO, SFT, Sequential


class Run(Workplace):
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
        super().__init__(config, model, quiet=quiet, wanted=wanted)
        self.folder, self.cache, self.asked = folder, config.cache_folder, config
        if tokenizer is None and config.model != "embedded":  # a wrong name is told before anything long begins
            tokenizer = loading.load_tokenizer(config.model, config)
        self.in_memory = [k for k, v in {"model": model, **(given or {})}.items() if v is not None]
        self.config = self._embedded(config)
        self.tokenizer = tokenizer or loading.load_tokenizer(self.config.model, self.config)
        self.encoder = loading.has_encoder(self.config.model, self.config) if model is None else encodes(model)
        self.sets: Datasets = load_datasets(self.config, self.tokenizer, given or {}, encoder=self.encoder)
        self.probe = self.sets.preference
        # What it took to compute a file or folder of the cache, now or before, and what it is for.
        self.costs: dict[Path, tuple[str, Mapping[str, float | None]]] = {}
        for note in self.sets.notes:
            self.say(note)

    # --- phases -------------------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Everything; returns the summary."""
        config = self.config
        self._check()
        ours = identity(self.asked, self.sets, self.base_name)
        about = {"versions": export.versions(), "in_memory": self.in_memory}
        go = start_or_resume(self.folder, self.asked, ours, about) if self.main else True
        go = self.agree(go)
        if not go:
            self.say(f"{self.folder} is finished; nothing to do (--overwrite begins anew)")
            return dict(read_json(self.folder / "summary.json"))
        if self.main:
            self.tokenizer.save_pretrained(self.folder)
        tasks, evals = self.tasks()
        f_star, gaps = self._optima(tasks, evals)
        rule = rule_of(config, f_star)
        if config.log_with:
            self.accelerator.init_trackers("forget-neither", {k: str(v) for k, v in self.asked.as_dict().items()})
        plan = TrainSpec(rule, tasks, {"held_out": evals} if evals else {}, config.steps, {"held_out": gaps})
        self.carry_out(plan, config, self.folder, config.method)
        kind = reference_kind(config)
        summary = export.summary(self.folder, self.asked, self.sets, gaps, kind, metrics.preparation(self.costs))
        if self.main:
            (self.folder / "README.md").write_text(export.card(self.asked, summary), encoding="utf-8")
            write_json(self.folder / "summary.json", summary)
        if config.log_with:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
        return summary

    def optima(self) -> dict[str, dict[str, float]]:
        """f_DPO* and f_SFT* on the first training rows and on held-out ones, by single-objective runs; cached.

        On training rows also the optimum of a loss in f_DPO's place.
        """
        self._check()
        tasks, evals = self.tasks()
        return self._single(tasks, evals, own=True)

    def _check(self) -> None:
        """What is wrong with the input is told before anything is written or takes long."""
        check_fits(self.sets, self.base, self.config, world=self.accelerator.num_processes)
        loading.try_out(self.base, self.config, reference_kind(self.config))

    def tasks(self, rows: int = 0) -> tuple[dict[int, Objective], dict[int, Objective]]:
        """The objectives on the training rows and on held-out rows, with the reference's log-probabilities.

        rows  at most so many held-out ones; 0: as the configuration says

        On held-out rows it is always f_DPO; a loss in its place, which needs no reference on training rows, is told
        beside it.
        """
        sets, config = self.sets, self.config
        most = rows or config.eval_rows
        both = {DPO: sets.preference_held_out, SFT: sets.sft_held_out}
        held = {i: None if t is None else t.select(np.arange(min(len(t), most))) for i, t in both.items()}
        loss = self._loss()
        referred = [sets.preference if loss is None else None, held[DPO]]
        logps = iter(self._reference([t for t in referred if t is not None]))
        preference = self._task(sets.preference, next(logps) if loss is None else None)
        tasks = {DPO: dataclasses.replace(preference, loss=loss), SFT: self._task(sets.sft)}
        evals = {i: self._task(t, next(logps) if i == DPO else None) for i, t in held.items() if t is not None}
        if DPO in evals:
            evals[DPO] = dataclasses.replace(evals[DPO], beside=loss)
        return tasks, evals

    def _task(self, tokens: TokenizedDataset, logps: Any = None) -> Objective:
        by_part = tokens.kind == "sft" and self.config.sft_mean == "batch"
        name = "dpo" if tokens.kind == "preference" else "sft"
        return Objective(name, tokens, self.config.beta, logps, shared=False, by_part=by_part)

    def _loss(self) -> ReferenceFree | None:
        """The loss in f_DPO's place."""
        config = self.config
        if config.preference_loss == "dpo":
            return None
        if config.preference_loss == "orpo":
            return ReferenceFree("orpo", functools.partial(orpo, lam=config.orpo_lambda))
        of = functools.partial(simpo, beta=config.simpo_beta or config.beta, gamma=config.simpo_gamma)
        return ReferenceFree("simpo", of)

    def _reference(self, sets: list[TokenizedDataset]) -> list[Any]:
        """The reference's log-probabilities of these sets, from the cache or computed now."""
        if not sets:
            return []
        kind = reference_kind(self.config)
        folder = None if kind == "base" else self._reference_adapter(kind)
        adapter = "" if folder is None else loading.adapter_fingerprint(folder)
        tasks = [Objective("dpo", t) for t in sets]
        paths = [
            reference.path_of(self.cache, reference.key(t, self.base_name, adapter, self.config.precision))
            for t in tasks
        ]
        found = [reference.load(p, len(t)) for p, t in zip(paths, tasks, strict=True)]
        if not self.agree(all(f is not None for f in found)):
            self._compute_reference(folder, tasks, paths, found)
        for path in paths:
            cost = path.with_suffix(".json")
            known = read_json(cost) if cost.is_file() else dict.fromkeys(metrics.KINDS)
            self.costs[path] = "log_probs", known
        return found

    def _compute_reference(
        self, folder: Path | None, tasks: list[Objective], paths: list[Path], found: list[Any]
    ) -> None:
        """Those log-probabilities that are not found yet, put into `found`; how long each took is kept beside them."""
        session = self.open(self.config, 1, folder=folder, train=False)
        for j, (path, task) in enumerate(zip(paths, tasks, strict=True)):
            if not self.agree(found[j] is not None):
                task = dataclasses.replace(task, shared=session.raw.shared)
                clock = metrics.Clock()
                with Line("reference log-probabilities", active=not self.quiet) as line:
                    found[j] = reference.compute(
                        session, task, path, lambda share, line=line: line(round(100 * share), 100)
                    )
                if self.main:
                    write_json(path.with_suffix(".json"), clock.seconds)
                self.accelerator.wait_for_everyone()
        self.close(session)

    def _reference_adapter(self, kind: str) -> Path:
        """The folder of the reference's adapter, trained now if it has to be."""
        if kind not in ("chosen", "sft"):
            return Path(kind)
        tokens = chosen_only(self.sets.preference) if kind == "chosen" else self.sets.sft
        tokens = unmasked(tokens) if self.config.reference_prompts else tokens
        config = self._alone(SFT, self.config.reference_steps or self.config.steps)
        if kind == "chosen":
            config = dataclasses.replace(config, batch_sft=self.config.batch_preference)
        unseen = {"eval_every": 0, "eval_rows": 0, "beta": 0}  # nothing is evaluated, and β is DPO's
        folder = self.cache / "adapters" / digest({**self._depends(config), **unseen, "rows": tokens.digest})
        rule = Sequential((config.steps,), (SFT,))
        self.once(
            TrainSpec(rule, {SFT: self._task(tokens)}, {}, config.steps, {}), config, folder, f"reference ({kind})"
        )
        self.costs[folder] = "reference", metrics.of_cached_run(folder)
        return folder

    def _optima(
        self, tasks: Mapping[int, Objective], evals: Mapping[int, Objective]
    ) -> tuple[tuple[float, float], dict[int, float]]:
        """f* as MAXRIGHT begins with it, and what gaps on held-out rows are measured from (empty: no gaps)."""
        config = self.config
        if config.f_star == "estimate":
            return (0.0, 0.0), {}
        if config.f_star == "compute":
            found = self._single(tasks, evals, own=config.method == "maxright")
            train = found["train"]
            gaps = {i: found.get("held_out", train)[n] for i, n in ((DPO, "dpo"), (SFT, "sft"))}
            return (train.get(tasks[DPO].label, train["dpo"]), train["sft"]), gaps
        star = config.f_dpo_star or 0.0, config.f_sft_star or 0.0
        return star, dict(enumerate(star))

    def _single(
        self, tasks: Mapping[int, Objective], evals: Mapping[int, Objective], *, own: bool
    ) -> dict[str, dict[str, float]]:
        """The least values that a run on one objective alone attains, on training and on held-out rows.

        DPO is what held-out rows are measured by, so its optimum is always among them. That of a loss in its place is
        found on training rows, if `own` asks for it.
        """
        best: dict[str, dict[str, float]] = {"train": {}, "held_out": {}}
        each = [(DPO, self._as_dpo(tasks[DPO])), (SFT, tasks[SFT])]
        if own and tasks[DPO].loss:
            each.append((DPO, tasks[DPO]))
        for i, task in each:
            name = task.label
            config = self._alone(i, self.config.optima_steps or self.config.steps)
            held_out = None if task.loss or not evals else dataclasses.replace(evals[i], beside=None)
            rows: dict[str, Any] = {"rows": task.tokens.digest, "held_out": held_out.tokens.digest if held_out else ""}
            if task.reference is not None:
                rows["reference"] = loading.fingerprint([("logps", task.reference)])
            if task.loss:
                config = dataclasses.replace(config, preference_loss=self.config.preference_loss)
                rows |= {"beta": 0, "loss": task.loss.of.keywords}  # DPO's β plays no part
            folder = self.cache / "optima" / digest({**self._depends(config), **rows, "objective": name})
            watched = {"train": {i: self._first(task)}} | ({"held_out": {i: held_out}} if held_out else {})
            plan = TrainSpec(Sequential((config.steps,), (i,)), {i: task}, watched, config.steps, {})
            self.once(plan, config, folder, f"optimum of f_{name.upper()}")
            self.costs[folder] = "optima", metrics.of_cached_run(folder)
            for line in read_metrics(folder):
                if "evaluation" in line:
                    before = best[line["evaluation"]].get(name, float("inf"))
                    best[line["evaluation"]][name] = min(before, line[f"f_{name}"])
        return {k: v for k, v in best.items() if v}

    def _as_dpo(self, task: Objective) -> Objective:
        """The preference objective as DPO, with the reference that it then needs."""
        if task.loss is None:
            return task
        return dataclasses.replace(task, loss=None, reference=self._reference([task.tokens])[0])

    def _first(self, task: Objective) -> Objective:
        """The task on its first rows, as many as are evaluated."""
        rows = np.arange(min(len(task), self.config.eval_rows))
        logps = None if task.reference is None else task.reference[: len(rows)]
        return dataclasses.replace(task, tokens=task.tokens.select(rows), reference=logps)

    def _alone(self, objective: int, steps: int) -> TrainConfig:
        """The configuration of a run on one objective: the same but for the method."""
        return dataclasses.replace(
            self.config,
            method="sequential",
            lam=1.0 if objective == DPO else 0.0,
            steps=steps,
            stack=False,
            average=False,
            preference_loss="dpo",
            adapter="",
            out="",
            log_with=(),
            keep_every=0,
            overwrite=False,
        )

    def _depends(self, config: TrainConfig) -> dict[str, Any]:
        """What the result of a run on one objective depends on, besides its rows."""
        values = {k: v for k, v in config.as_dict().items() if k not in NOT_THE_RESULT | METHOD | DATA}
        return {"version": 1, "base": self.base_name, **values}

    def _embedded(self, config: TrainConfig) -> TrainConfig:
        with Line("the embedded world", active=not self.quiet) as line:
            return with_embedded(config, self.in_memory, lambda what, share: line(round(100 * share), 100, what))
