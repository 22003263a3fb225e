"""The one training loop of all methods. `toyopt.algorithms` decides the objective of a step; this loop carries it out.

A step: evaluate the objectives that the rule asks for, let the rule decide, train on the next batch of the chosen
objective, advance that objective's sampler; the samplers of the other objectives stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.training import checkpoint, export
from llm.training.best import Best, BestSoFar, best_folder, copy_best, forget_best
from llm.training.divergence import DivergenceDetector, diagnosis
from llm.training.engine import Engine, ForwardResult, any_process, from_main, seed_dropout
from llm.training.errors import InterruptedRunError, StoppedRunError
from llm.training.evaluations import evaluate
from llm.training.gaps import gap_evaluator
from llm.training.metrics import Costs, MetricsFile, Stopwatch, step_line, track
from llm.training.spec import TrainSpec
from llm.training.stages import Stage, adapter_name, stage_adapters, stages_of
from llm.training.step import accumulate_gradients, without_noise
from llm.training.streams import rule_generator, training_sampler
from toyopt.algorithms import Controller

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.base import BaseModel

Report = Callable[[int, int, str], None]  # (steps done, steps in all, text)


class Trainer:
    """A run in a folder; `fit` continues from the newest checkpoint there.

    base    the base model
    report  called after every step
    stop    whether a stop is requested; all processes stop after the same step
    """

    engine: Engine
    metrics: MetricsFile

    def __init__(
        self,
        base: BaseModel,
        spec: TrainSpec,
        config: TrainConfig,
        folder: Path,
        *,
        report: Report,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.base, self.spec, self.config, self.folder = base, spec, config, folder
        self.report, self.stop = report, stop
        self.stages, self.names = stages_of(spec.rule, spec.steps), config.names
        self.control = Controller(spec.rule, len(self.names))
        self.coin = rule_generator(config)
        self.samplers = {i: training_sampler(config, o) for i, o in spec.objectives.items()}
        self.gaps = gap_evaluator(self.control, spec.objectives, self.samplers, config)
        self.divergence = DivergenceDetector(config.max_loss_ratio)
        self.costs = Costs()
        self.best_so_far = BestSoFar(config, self.stages[-1].begin)
        self.stage = self.stages[0].index
        self.checkpoint = checkpoint.newest(folder)
        self._started = False
        if self.checkpoint is not None:
            self._restore(self.checkpoint.state)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def fit(self, stage: Stage) -> None:
        """Train to the end of a stage; stages that are over already are skipped.

        Raises StoppedRunError if a loss explodes, InterruptedRunError after saving if a stop was requested.
        """
        if stage.index < self.stage:
            return
        if not self._started:
            self._start()
        if stage.index != self.stage:
            self._enter(stage)
        while self.control.t < stage.end and not self._is_over():
            self._step()
            t, last = self.control.t, self.control.t == self.spec.steps
            if self.config.eval_every and t % self.config.eval_every == 0 and not last:
                self._evaluate()
            last = last or self._is_over()
            if not last:
                self._benchmark()
            self._keep(last)
            stop = any_process(self.engine.accelerator, self.stop())
            # A state with a high loss would push the good checkpoints out; the final state is saved in any case.
            if stop or (t % self.config.save_every == 0 and not last and not self.divergence.high):
                self._save()
            if stop:
                raise InterruptedRunError(
                    f"stopped after step {t} of {self.spec.steps}, as asked; the same command resumes"
                )
        if stage == self.stages[-1]:
            self._evaluate()
            self._benchmark(last=True)
            self._save()

    def export(self) -> Path:
        """Write the adapter of the whole run into the folder, close the engine, and return the adapter's folder."""
        result, best = self.folder / "adapter", self._best()
        if not self._own_adapters:
            if best is None:
                export.save_adapter(self.engine, result)
            elif self.base.is_main:
                copy_best(self.folder, best.step, result)
            self.engine.close()
            return result
        self._save_stage()
        self.engine.close()
        if self.base.is_main:
            parts = stage_adapters(self.folder, self.stages)
            by_objective = [own.weight if self.config.average else 1.0 for own in self.config.objectives]
            weights = [by_objective[self.spec.rule.stages[index][0]] for index in parts]
            export.join_stages(self.base.model, list(parts.values()), result, weights)
        self.base.accelerator.wait_for_everyone()
        if self.config.average:
            self._use(self.base.open_for_evaluation(self.config, result))
            self._evaluate(of_result=True)
            self.engine.close()
        return result

    def _start(self) -> None:
        """Open the first engine, or the checkpoint's, and evaluate before the first step."""
        self._started = True
        self._open()
        resumed = self.checkpoint
        if resumed is not None:
            resumed.load(self.engine)
        self.metrics = MetricsFile(self.folder / "metrics.jsonl", upto=self.control.t, active=self.base.is_main)
        if self.base.is_main and self.config.keep_every:
            checkpoint.forget_kept(self.folder, after=-1 if resumed is None else self.control.t)
        if self.base.is_main and self.config.keep_best != "no":
            forget_best(self.folder, after=self.control.t)
        if resumed is None:
            self._keep()
            if self.config.eval_every:
                self._evaluate()
            self._benchmark()
        self.engine.policy.train()
        self.gaps.start(self.engine, self.spec.objectives)

    def _step(self) -> None:
        """Take one optimizer step."""
        stopwatch, control, t = Stopwatch(), self.control, self.control.t
        seed_dropout(self.config, self.engine.accelerator, t)
        evaluated, values = self.gaps.evaluate(self.engine, self.spec.objectives, control)
        decision = control.decide(values, control.uniform(self.coin))
        assert decision is not None, "the rule ends before the steps that it was given"
        objectives, engine = self.spec.objectives, self.engine
        trained = accumulate_gradients(
            engine, objectives, self.samplers, decision.coefficients, evaluated, one_graph=self.config.mix_one_graph
        )
        clean = without_noise(engine, trained, evaluated, self.gaps.reads_training_values)
        try:
            norm = self.engine.update()
        except FloatingPointError as error:
            raise StoppedRunError(self._diagnosis(trained, str(error))) from error
        values = {i: result.value for i, result in trained.items()}
        if self.divergence.detect({self.names[i]: value for i, value in values.items()}):
            raise StoppedRunError(self._diagnosis(trained, "the loss explodes"))
        values |= {i: result.value for i, result in clean.items()}
        control.record(self.gaps.after_step(control, values, evaluated=bool(evaluated)))
        for i, sampler in self.samplers.items():
            if decision.coefficients[i] > 0.0 or self.config.draw_both:
                sampler.advance()
        self.costs.add(stopwatch, trained.values(), (*evaluated.values(), *clean.values()))
        self._record(trained, evaluated, norm)

    # --- stages and engines -------------------------------------------------------------------------------------------

    @property
    def _own_adapters(self) -> bool:
        """Return whether every stage trains a separate adapter."""
        return self.config.stack or self.config.average

    def _enter(self, stage: Stage) -> None:
        """Begin the next stage: with a new optimizer, or with a new adapter."""
        if self._own_adapters:
            self._save_stage()
            self.engine.close()
        self.stage = stage.index
        if self._own_adapters:
            self._open()
            self.engine.policy.train()
        elif self.config.stage_reset:
            self.engine.reset_optimizer(stage.steps)

    def _open(self) -> None:
        """Open an engine for the present stage."""
        stage = next(s for s in self.stages if s.index == self.stage)
        steps = stage.steps if self.config.stage_reset else self.spec.steps
        before = self.folder / adapter_name(stage.index - 1)
        earlier = before if before.is_dir() else None
        self._use(self.base.open_for_training(self.config, steps, stage=stage.index, before=earlier))

    def _use(self, engine: Engine) -> None:
        """Continue with an engine; the objectives take the layout that its policy can compute."""
        self.engine = engine
        self.spec = self.spec.with_share_prompt(engine.raw.share_prompt)

    def _save_stage(self) -> None:
        """Save the adapter of the present stage."""
        name = adapter_name(self.stage)
        export.save_adapter(self.engine, self.folder / name, name if self.config.stack else "default")

    # --- records and checkpoints --------------------------------------------------------------------------------------

    def _record(self, trained: dict[int, ForwardResult], evaluated: dict[int, ForwardResult], norm: float) -> None:
        """Write the step's line and report it."""
        labels = {i: o.label for i, o in self.spec.objectives.items()}
        line = step_line(self.control, trained, evaluated, self.names, labels)
        line |= {"grad_norm": norm, "lr": self.engine.scheduler.get_last_lr()[0]}
        line |= {f"epochs_{self.names[i]}": s.epochs for i, s in self.samplers.items()}
        line |= self.costs.line(self.engine.accelerator.device.type)
        self.metrics.write(line)
        track(self.engine, line, self.control.t)
        shown = "  ".join(f"f_{n.upper()} {line[f'f_{n}']:.4f}" for n in labels.values() if f"f_{n}" in line)
        self.report(self.control.t, self.spec.steps, f"{line['objective']:>7}  {shown}")

    def _evaluate(self, *, of_result: bool = False) -> None:
        """Evaluate on every held-out set, and keep the adapter if `keep_best` finds it the best so far.

        Under `average` the policy of a stage is not the result: its evaluations are named by the stage.
        """
        part = f"_stage{self.stage + 1}" if self.config.average and self.control.t > 0 and not of_result else ""
        evaluate(self.base, self.engine, self.spec, self.metrics, self.control.t, part)
        best, path = self._best(), best_folder(self.folder, self.control.t)
        new = best is not None and best.step == self.control.t and not path.exists()
        if best is not None and from_main(self.engine.accelerator, new):
            export.save_adapter(self.engine, path)

    def _benchmark(self, *, last: bool = False) -> None:
        """Score the policy by the tasks of `benchmark_tasks`, if it is time."""
        if self.spec.benchmarks is not None and self.spec.benchmarks.due(self.control.t, last=last):
            self.spec.benchmarks.evaluate(self.engine, self.metrics, self.control.t)

    def _best(self, end: int | None = None) -> Best | None:
        """Return the best evaluation up to step `end` (None: the present step), if `keep_best` asks for one."""
        if self.config.keep_best == "no":
            return None
        return self.best_so_far.read(self.metrics.evaluations).at(self.control.t if end is None else end)

    def _is_over(self) -> bool:
        """Return whether `patience` ends the run before its last step."""
        best = self._best() if self.config.patience else None
        return best is not None and best.since >= self.config.patience

    def _keep(self, last: bool = False) -> None:
        """Keep the adapter at the start, every `keep_every` steps, and at the last step.

        This precedes the checkpoint of the same step, so that a killed run does not resume behind a missing adapter.
        """
        t, every = self.control.t, self.config.keep_every
        if every and (t % every == 0 or last):
            export.save_adapter(self.engine, checkpoint.kept_folder(self.folder, t))

    def _save(self) -> None:
        """Write a checkpoint."""
        state = {
            "step": self.control.t,
            "control": self.control.state(),
            "f_star": self.control.f_star,
            "coin": self.coin.bit_generator.state,
            "samplers": {self.names[i]: s.state() for i, s in self.samplers.items()},
            **self.gaps.state(),
            "divergence": self.divergence.state(),
            **self.costs.state(),
            "stage": self.stage,
        }
        checkpoint.save(self.folder, state, self.engine)
        if self.base.is_main and self.config.keep_best != "no":  # a run may resume from each of the checkpoints
            best = [self._best(step) for step in checkpoint.saved_steps(self.folder)]
            forget_best(self.folder, steps=[one.step for one in best if one is not None])

    def _restore(self, state: dict[str, Any]) -> None:
        """Continue from the values of a checkpoint."""
        rule = self.spec.rule
        if state["f_star"] is not None:
            rule = rule.with_f_star(tuple(state["f_star"]))
        self.control = Controller(rule, len(self.names), **state["control"])
        self.coin.bit_generator.state = state["coin"]
        for i, sampler in self.samplers.items():
            sampler.restore(state["samplers"][self.names[i]])
        self.gaps.restore(state)
        self.divergence = DivergenceDetector(self.config.max_loss_ratio, **state["divergence"])
        self.costs.restore(state)
        self.stage = int(state["stage"])

    def _diagnosis(self, trained: dict[int, ForwardResult], reason: str) -> str:
        """Return the message of a run that cannot continue at the present step."""
        rate = self.engine.scheduler.get_last_lr()[0]
        return diagnosis(self.control.t + 1, reason, trained, rate, self.folder)
