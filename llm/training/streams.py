"""The random streams of a run: each objective's batches, the rows of gap evaluations, and the draws of the rule.

A stream depends on the seed and its own name alone, so that a run's rows are known before its first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llm.data.sampler import BatchSampler, Indices
from llm.training.single import single_objective_config
from toyopt.algorithms import Controller, Sequential

if TYPE_CHECKING:
    from numpy.random import Generator

    from llm.config import TrainConfig
    from llm.training.objective import Objective
    from toyopt.algorithms import Rule

GAP_BATCHES = 8  # small batches of an objective's gap evaluations with estimated optima, one after another
GAP_STEPS = 20  # such an evaluation every k steps has k/20 of a batch's rows, half a batch at most


def batch_size(config: TrainConfig, objective: Objective) -> int:
    """Return the number of rows a step of an objective."""
    return next(o.batch for o in config.objectives if o.name == objective.name)


def training_sampler(config: TrainConfig, objective: Objective) -> BatchSampler:
    """Return the sampler of an objective's training batches, at its beginning."""
    return BatchSampler(objective.name, objective.lengths, batch_size(config, objective), config.seed, config.window)


def gap_sampler(config: TrainConfig, rule: Rule, objective: Objective) -> BatchSampler | None:
    """Return the sampler of an objective's gap evaluations; None if these take the training batches, or none."""
    if not rule.needs_optima or config.draw_both:
        return None
    whole = batch_size(config, objective)
    small = max(1, min(whole // 2, round(whole * config.k / GAP_STEPS)))
    rows = config.gap_rows or (small if comparable_gaps(config) else whole)
    cycle = GAP_BATCHES if comparable_gaps(config) else 0
    return BatchSampler(f"look at {objective.name}", objective.lengths, rows, config.seed, 0, cycle)


def gap_batches(sampler: BatchSampler) -> list[Indices]:
    """Return the small batches that gap evaluations with estimated optima can take."""
    return [sampler.batch_at(j) for j in range(min(sampler.cycle, sampler.batches))]


def comparable_gaps(config: TrainConfig) -> bool:
    """Return whether gaps are of values that are comparable from one evaluation to the next: with estimated optima."""
    return config.f_star == "estimate" and not config.draw_both


def rule_generator(config: TrainConfig) -> Generator:
    """Return the generator of the rule's draws."""
    return np.random.default_rng([config.seed, 0xC0])


def rows_of_run(config: TrainConfig, objective: Objective) -> Indices:
    """Return the indices of all rows of an objective that a run's steps and gap evaluations can need, sorted.

    objective  on the training rows, under its name

    Only these rows need log-probabilities under the reference, however large the set is. Where losses decide
    (MAXRIGHT), every step counts as one on the objective: an upper bound.
    """
    return _distinct(_batches(config, config.rule(), objective, config.steps))


def rows_of_optima(config: TrainConfig, objective: Objective) -> Indices:
    """Return the indices of all rows of an objective that the computation of its optimum needs, sorted and distinct."""
    steps = config.optima_steps or config.steps
    alone, own = single_objective_config(config, config.names.index(objective.name), steps), objective.alone()
    batches = _batches(alone, Sequential((steps,), (alone.names.index(own.name),)), own, steps)
    return _distinct([*batches, np.arange(min(len(objective), config.eval_rows), dtype=np.int64)])


def _distinct(batches: Sequence[Indices]) -> Indices:
    """Return the row indices of batches, sorted and distinct."""
    return np.unique(np.concatenate(batches)) if batches else np.empty(0, dtype=np.int64)


def _batches(config: TrainConfig, rule: Rule, objective: Objective, steps: int) -> list[Indices]:
    """Return the batches of an objective that `steps` steps of a rule take, and those of its gap evaluations."""
    own = config.names.index(objective.name)
    sampler, gaps = training_sampler(config, objective), gap_sampler(config, rule, objective)
    control, generator = Controller(rule, len(config.names)), rule_generator(config)
    batches = gap_batches(gaps) if gaps is not None and gaps.cycle else []
    for _ in range(steps):
        needed = control.needs()
        if own in needed and gaps is not None and not gaps.cycle:
            batches.append(gaps.peek())
            gaps.advance()
        # A rule that compares values does not choose the objective with these, and evaluates it as often as it can.
        values = {i: -1e9 if i == own else 1e9 for i in needed}
        decision = control.decide(values, control.uniform(generator))
        if decision is None:
            break
        trained = {i for i, coefficient in enumerate(decision.coefficients) if coefficient > 0.0}
        control.record(dict.fromkeys(trained, 1e9))
        if own in trained or rule.needs_optima:
            batches.append(sampler.peek())
        if own in trained or rule.needs_optima or config.draw_both:
            sampler.advance()
    return batches
