"""The one loop for all four methods. Who is trained when is `toyopt.algorithms`'; here it is only carried out.

A step: what the rule needs is evaluated, the rule decides, the chosen objective's next batch is trained on, its stream
moves on, the other one's stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.data.sampler import BatchSampler, Indices
from llm.training import checkpoint
from llm.training.engine import Engine, ForwardResult, seed_dropout
from llm.training.metrics import NAMES, Clock, Costs, Metrics, evaluation_line, step_line
from llm.training.objective import Objective
from toyopt.algorithms import Alright, Controller, Maxright, Rule, Sequential, even_draw
from toyopt.estimates import BestSoFar

if TYPE_CHECKING:
    from llm.config import TrainConfig


class StoppedRunError(RuntimeError):
    """The run cannot go on: a loss is not finite or explodes. The message is a diagnosis."""


class InterruptedRunError(RuntimeError):
    """The run was asked to stop; its state is saved."""


@dataclass(frozen=True)
class TrainSpec:
    """What a loop carries out.

    rule    one of toyopt.algorithms'
    tasks   the objectives that the rule can choose
    evals   held-out tasks to evaluate on, by the name of the set and the objective
    steps   T
    f_star  optima on the sets of `evals`, by set and objective, for the gaps that are reported
    """

    rule: Rule
    tasks: Mapping[int, Objective]
    evals: Mapping[str, Mapping[int, Objective]]
    steps: int
    f_star: Mapping[str, Mapping[int, float]]


class Trainer:
    """A run in a folder: `run` goes on from the newest checkpoint there, to the end."""

    def __init__(
        self,
        plan: TrainSpec,
        open_engine: Callable[[int], Engine],
        config: TrainConfig,
        folder: Path,
        *,
        report: Callable[[int, int, str], None],
        wanted: Callable[[], bool] = lambda: False,
        save_stage: Callable[[Engine, int], None] | None = None,
        keep: Callable[[Engine, Path], None] | None = None,
    ) -> None:
        """`open_session` makes the policy of a stage; `wanted` tells whether somebody asked to stop; `keep` writes the
        adapter as it is into a folder.
        """
        self.plan, self.config, self.folder = plan, config, folder
        self.open_engine, self.report, self.wanted, self.save_stage = open_engine, report, wanted, save_stage
        self.control = Controller(plan.rule, 2)
        self.best = BestSoFar(2)
        self.coin = np.random.default_rng([config.seed, 0xC0])
        self.drawn: float | None = None  # the coin's last number, which holds for a block of steps
        self.streams = {
            i: BatchSampler(t.name, t.lengths, batch_of(config, t), config.seed, config.window)
            for i, t in plan.tasks.items()
        }
        own = isinstance(plan.rule, Maxright) and not config.draw_both
        self.looks = {
            i: BatchSampler(
                f"look at {t.name}", t.lengths, config.gap_rows or batch_of(config, t), config.seed, window=0
            )
            for i, t in (plan.tasks.items() if own else ())
        }
        self.alarm = DivergenceDetector(config.explode)
        self.keep = keep if config.keep_every else None
        self.costs = Costs()
        # A stage of no steps is never entered: its schedule and its adapter must not be the ones to begin with.
        self.stage = next(j for j, n in enumerate(plan.rule.steps) if n) if isinstance(plan.rule, Sequential) else 0

    # --- one step ---------------------------------------------------------------------------------------------------

    def run(self) -> Engine:
        """Train to the end. StoppedRunError if a loss explodes, InterruptedRunError if somebody asked to stop."""
        found = checkpoint.newest(self.folder)
        if found is not None:
            self._set(found.state)
        self._open()
        main = self.session.accelerator.is_main_process
        if found is not None:
            found.load(self.session)
        self.metrics = Metrics(self.folder / "metrics.jsonl", upto=self.control.t, active=main)
        if main and self.keep is not None:
            checkpoint.forget_kept(self.folder, after=-1 if found is None else self.control.t)
        if found is None:
            self._keep()
        if found is None and self.config.eval_every:
            self._evaluate()
        self.session.policy.train()
        while self._step():
            t = self.control.t
            if self.config.eval_every and t % self.config.eval_every == 0 and t < self.plan.steps:
                self._evaluate()
            self._keep()
            stop = self.wanted()
            # A state that seems to explode would push the good ones out; the last one is saved below.
            if stop or (t % self.config.save_every == 0 and t < self.plan.steps and not self.alarm.high):
                self._save()
            if stop:
                raise InterruptedRunError(
                    f"stopped after step {t} of {self.plan.steps}, as asked; the same command goes on"
                )
        self._evaluate()
        self._save()
        return self.session

    def _step(self) -> bool:
        """One optimiser step; False when the run is at its end."""
        if self.control.t >= self.plan.steps:
            return False
        clock, control, t = Clock(), self.control, self.control.t
        seed_dropout(self.config, self.session.accelerator, t)
        looks = self._looks()
        self._estimate({i: p.value for i, p in looks.items()})
        decision = control.decide({i: p.value for i, p in looks.items()}, self._uniform())
        if decision is None:
            return False
        self._enter(control.stage)
        passes = self._train(decision.coefficients, looks)
        try:
            norm = self.session.update()
        except FloatingPointError as error:
            raise StoppedRunError(self._diagnosis(passes, str(error))) from error
        if self.alarm.see({NAMES[i]: p.value for i, p in passes.items()}):
            raise StoppedRunError(self._diagnosis(passes, "the loss explodes"))
        if not looks:
            self._estimate({i: p.value for i, p in passes.items()})
        control.record({i: p.value for i, p in passes.items()})
        self._move(decision.coefficients)
        trained = sum(p.sums["tokens"] for p in passes.values())
        looked = sum(p.sums["tokens"] for i, p in looks.items() if p is not passes.get(i))
        self.costs.add(clock, trained, looked)
        self._record(passes, looks, norm)
        return True

    def _looks(self) -> dict[int, ForwardResult]:
        """What the rule needs to know; the likely choice last and with its graph, so that the step can use it."""
        needs, likely = self.control.needs(), None if self.config.gap_rows else self.control.expected
        order = sorted(needs, key=lambda i: i == likely)
        return {i: self.session.look(self.plan.tasks[i], self._seen(i, likely), graph=i == likely) for i in order}

    def _seen(self, i: int, likely: int | None) -> Indices:
        """The rows that an objective is evaluated on: its next batch, if that is likely to be trained on.

        The other one's next batch would stay the same until it is chosen, and its luck would decide for ever; so that
        one is evaluated on rows of a stream of its own, which no training moves. With `gap_rows` both are.
        """
        if i not in self.looks or (not self.config.gap_rows and likely in (None, i)):
            return self.streams[i].peek()
        rows = self.looks[i].peek()
        self.looks[i].advance()
        return rows

    def _train(self, coefficients: tuple[float, ...], looks: dict[int, ForwardResult]) -> dict[int, ForwardResult]:
        """Gradients of the weighted sum; objectives of weight 0 are not touched."""
        chosen = [i for i, c in enumerate(coefficients) if c > 0.0]
        if len(chosen) > 1 and self.config.mix_one_graph:
            both = {i: self.session.look(self.plan.tasks[i], self.streams[i].peek(), graph=True) for i in chosen}
            losses = [coefficients[i] * p.loss for i, p in both.items() if p.loss is not None]
            if len(losses) == len(chosen):
                self.session.accelerator.backward(torch.stack(losses).sum())
                return both
        passes = {}
        for i in chosen:
            look = looks.get(i)
            if look is not None and look.loss is not None:
                self.session.accelerator.backward(coefficients[i] * look.loss)
                passes[i] = look
            else:
                passes[i] = self.session.backward(self.plan.tasks[i], self.streams[i].peek(), coefficients[i])
        return passes

    def _move(self, coefficients: tuple[float, ...]) -> None:
        for i, stream in self.streams.items():
            if coefficients[i] > 0.0 or self.config.draw_both:
                stream.advance()

    def _uniform(self) -> float | None:
        """ALRIGHT's draw; every process draws the same."""
        if not isinstance(self.control.rule, Alright):
            return None
        block, within = divmod(self.control.t, self.config.block)
        if self.config.alternation == "even":
            return even_draw(block)
        if within == 0 or self.drawn is None:
            self.drawn = float(self.coin.random())
        return self.drawn

    def _estimate(self, values: dict[int, float]) -> None:
        """MAXRIGHT's optima, where they are estimated on the way."""
        if isinstance(self.control.rule, Maxright) and self.config.f_star == "estimate":
            for i, value in values.items():
                self.best.see(i, value)
            if all(math.isfinite(f) for f in self.best.f_star):
                self.control.set_f_star(self.best.f_star)

    def _enter(self, stage: int) -> None:
        """Sequential's next stage: a fresh optimiser, or an adapter of its own."""
        if stage == self.stage or not isinstance(self.plan.rule, Sequential):
            return
        before, self.stage = self.stage, stage
        if self.control.t == 0 or not self.config.stage_reset:
            return
        if (self.config.stack or self.config.average) and self.save_stage is not None:
            self.save_stage(self.session, before)
            self.session.close()
            self._open()
            self.session.policy.train()
        else:
            self.session.start_afresh(self.plan.rule.steps[stage])

    def _open(self) -> None:
        """The policy of the present stage; a pair's prompt is computed once if it can be."""
        self._take(self.open_engine(self.stage))

    def _take(self, session: Engine) -> None:
        """Go on with this session; the tasks are laid out as its model can be computed."""
        self.session = session
        shared = session.raw.shared
        tasks = {i: replace(t, shared=shared) for i, t in self.plan.tasks.items()}
        evals = {w: {i: replace(t, shared=shared) for i, t in ts.items()} for w, ts in self.plan.evals.items()}
        self.plan = replace(self.plan, tasks=tasks, evals=evals)

    # --- what is wrong, what is kept ---------------------------------------------------------------------------------

    def _diagnosis(self, passes: dict[int, ForwardResult], what: str) -> str:
        values = ", ".join(f"f_{p.task.label.upper()} = {p.value:.4g}" for p in passes.values())
        rows = "; ".join(f"{NAMES[i]} rows {', '.join(map(str, p.rows[:4]))}, ..." for i, p in passes.items())
        kept = checkpoint.newest(self.folder)
        good = f"the last good state is {kept.path}" if kept else "no state had been saved yet"
        rate = self.session.scheduler.get_last_lr()[0]
        return (
            f"step {self.control.t + 1}: {what} ({values}; learning rate {rate:.3g}; {rows}). "
            f"A smaller --lr, a --warmup or --precision fp32 may help; {good}"
        )

    def _keep(self) -> None:
        """The adapter, at the start, every so many steps, and in the end. Before a checkpoint of the same step, so that
        a killed run does not go on behind an adapter that was not kept.
        """
        t = self.control.t
        if self.keep is not None and (t % self.config.keep_every == 0 or t == self.plan.steps):
            self.keep(self.session, checkpoint.kept_folder(self.folder, t))

    def _save(self) -> None:
        checkpoint.save(self.folder, self._state(), self.session)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.control.t,
            "control": self.control.state(),
            "f_star": getattr(self.control.rule, "f_star", None),
            "best": self.best.state(),
            "coin": self.coin.bit_generator.state,
            "drawn": self.drawn,
            "streams": {NAMES[i]: s.state() for i, s in self.streams.items()},
            "looks": {NAMES[i]: s.state() for i, s in self.looks.items()},
            "alarm": self.alarm.state(),
            **self.costs.state(),
            "stage": self.stage,
        }

    def _set(self, state: dict[str, Any]) -> None:
        rule = self.plan.rule
        if isinstance(rule, Maxright):
            rule = Maxright(rule.lam, tuple(state["f_star"]), rule.k)
        self.control = Controller(rule, 2, **state["control"])
        self.best = BestSoFar(2, self.best.memory, **state["best"])
        self.coin.bit_generator.state, self.drawn = state["coin"], state.get("drawn")
        for i, stream in self.streams.items():
            stream.restore(state["streams"][NAMES[i]])
        for i, stream in self.looks.items():
            stream.restore(state["looks"][NAMES[i]])
        self.alarm = DivergenceDetector(self.config.explode, **state["alarm"])
        self.costs.restore(state)
        self.stage = int(state["stage"])

    # --- records ------------------------------------------------------------------------------------------------------

    def _record(self, passes: dict[int, ForwardResult], looks: dict[int, ForwardResult], norm: float) -> None:
        control = self.control
        labels = {i: task.label for i, task in self.plan.tasks.items()}
        line = step_line(control, passes, looks, NAMES | labels)
        line |= {"grad_norm": norm, "lr": self.session.scheduler.get_last_lr()[0]}
        line |= {f"epochs_{NAMES[i]}": s.epochs for i, s in self.streams.items()}
        line |= self.costs.line(self.session.accelerator.device.type)
        self.metrics.write(line)
        if self.config.log_with:
            self.session.accelerator.log(
                {k: v for k, v in line.items() if k not in ("step", "objective")}, step=control.t
            )
        values = "  ".join(f"f_{n.upper()} {line[f'f_{n}']:.4f}" for n in labels.values() if f"f_{n}" in line)
        self.report(control.t, self.plan.steps, f"{line['objective']:>7}  {values}")

    def evaluate_result(self, session: Engine) -> None:
        """The last evaluation, where the result is not the policy that was trained last."""
        self._take(session)
        self._evaluate(result=True)

    def _evaluate(self, *, result: bool = False) -> None:
        of_a_part = self.config.average and self.control.t > 0 and not result
        for name, tasks in self.plan.evals.items():
            where = f"{name}_stage{self.stage + 1}" if of_a_part else name
            if (self.control.t, where) in self.metrics.evaluated:  # before the process was killed
                continue
            rows = {i: np.arange(len(t), dtype=np.int64) for i, t in tasks.items()}
            sums = {i: self.session.evaluate(t, rows[i]) for i, t in tasks.items()}
            line = evaluation_line(self.control.t, where, tasks, sums, self.plan.f_star.get(name, {}))
            self.metrics.write(line)
            if self.config.log_with:
                values = {f"{where}/{k}": v for k, v in line.items() if isinstance(v, float)}
                self.session.accelerator.log(values, step=self.control.t)


def batch_of(config: TrainConfig, task: Objective) -> int:
    """Rows a step of an objective."""
    return config.batch_preference if task.name == "dpo" else config.batch_sft


@dataclass
class DivergenceDetector:
    """Rings when a loss is far above its first value three times in a row.

    times  how often its first value is too much; losses of up to 10 never are
    """

    times: float
    first: dict[str, float] = field(default_factory=dict)
    high: int = 0

    def see(self, values: dict[str, float]) -> bool:
        """Whether it rings, the objectives having these values now."""
        over = [v > max(10.0, self.times * self.first.setdefault(name, v)) for name, v in values.items()]
        self.high = self.high + 1 if any(over) else 0
        return self.high >= 3

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must keep; `Alarm(times, **state)` goes on from it."""
        return {"first": dict(self.first), "high": self.high}
