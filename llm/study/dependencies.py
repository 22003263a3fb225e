"""Shared computations of runs, so that no two runs wait for each other, and estimates of durations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm.common.cache import digest
from llm.config import INPUTS, SINGLE_OBJECTIVE, TrainConfig
from llm.data.objective_options import without_weights
from llm.study.sweep import StudyRun

# The work of evaluating an objective beside that of a step on it.
_EVALUATION = 0.5
# The work of a step on the embedded worlds beside that of the small one, and the small one's seconds on one core: a
# first guess, until the rate of a run has been measured.
_SIZE = {"small": 1.0, "standard": 4.0, "large": 60.0}
_GUESS = 0.0105
_PRETRAINING = 1600.0  # of such steps, to make a world's base


@dataclass(frozen=True)
class Prerequisites:
    """The computations before a run's first step, by names that are equal for runs that share a computation.

    base  the embedded world's base model and data, if the run is in the embedded world
    rest  the reference with its log-probabilities, and the optima
    """

    base: frozenset[str]
    rest: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """The names of all computations."""
        return self.base | self.rest


Common = tuple[tuple[Any, ...], ...]
NOTHING = Prerequisites(frozenset(), frozenset())


def prerequisites(config: TrainConfig) -> Prerequisites:
    """Return the computations that a run shares with others, which may take most of a run's time."""
    data = config.values_of(*INPUTS) | {"objective": without_weights(config.objective)}
    world = {k: v for k, v in data.items() if k.startswith("world_")}
    base = {f"base {digest(world)}"} if config.model == "embedded" else set()
    # The rows that are held out depend on the seed, and so does everything that is computed on the others.
    common = {**data, "seed": config.seed, "held_out": config.held_out, "precision": config.precision}
    alone = {
        **config.values_of(*SINGLE_OBJECTIVE),
        "beta": config.beta,
        "mean": config.sft_mean,
        **common,
    }
    kind = config.reference_kind
    reference: dict[str, Any] = {**common, "kind": kind}
    if kind in ("chosen", "sft"):
        steps = config.reference_steps or config.steps
        reference |= {**alone, "steps": steps, "prompts": config.reference_prompts, "eval_every": 0, "eval_rows": 0}
    rest = {f"reference {digest(reference)}"}
    if config.f_star == "compute":
        steps = config.optima_steps or config.steps
        own = {"steps": steps, "eval_every": config.optima_interval, "reference": reference}
        rest.add(f"optima {digest({**alone, **own})}")
    return Prerequisites(frozenset(base), frozenset(rest))


def work(config: TrainConfig) -> float:
    """Return a run's work, in units of a small world's step on one objective."""
    return config.steps * _step_work(config) * scale(config)


def preparation(config: TrainConfig, wanted: Iterable[str]) -> float:
    """Return the work of the shared computations in `wanted`, a part of the run's prerequisites, in the same units."""
    units = 0.0
    for name in wanted:
        kind = name.partition(" ")[0]
        if kind == "base":
            units += _PRETRAINING * scale(config)
        elif kind == "optima":
            units += len(config.objectives) * (config.optima_steps or config.steps) * scale(config)
        elif config.reference_kind in ("chosen", "sft"):
            units += (config.reference_steps or config.steps) * scale(config)
    return units


class Rates:
    """Seconds a unit of work, from the metrics of the runs so far.

    crowding  processes a core, by which the first guess is multiplied
    """

    def __init__(self, crowding: float = 1.0) -> None:
        self._guess = _GUESS * crowding
        self._known: dict[str, float] = {}
        self._common: dict[str, Common] = {}  # what a run has in common with others, by the run's name
        self._means: dict[tuple[Any, ...], float] = {}  # by what runs have in common; empty after an update

    def __len__(self) -> int:
        """Return the number of runs with a measured rate."""
        return len(self._known)

    def update(self, run: StudyRun, line: Mapping[str, Any]) -> None:
        """Update a run's rate from the last line of its metrics."""
        if line["step"] and float(line["seconds"]) > 0.0:
            done = work(run.config) * line["step"] / run.config.steps
            self._known[run.name] = float(line["seconds"]) / done
            self._common_of(run)
            self._means = {}

    def of(self, run: StudyRun) -> float:
        """Return the rate of a run, or the mean rate of the runs that are most like it.

        Alike are runs of the same method and work a step, else of the same model and batches, else all runs. Without
        any measured rate: a guess for the embedded worlds, nan for other models.
        """
        if run.name in self._known:
            return self._known[run.name]
        if not self._means:
            rates: dict[tuple[Any, ...], list[float]] = {}
            for name, rate in self._known.items():
                for common in self._common[name]:
                    rates.setdefault(common, []).append(rate)
            self._means = {common: sum(own) / len(own) for common, own in rates.items()}
        for common in self._common_of(run):
            if common in self._means:
                return self._means[common]
        return self._guess if run.config.model == "embedded" and run.config.world_size != "large" else math.nan

    def _common_of(self, run: StudyRun) -> Common:
        """Return the keys that a run shares with runs like it, those of the most similar runs first."""
        if run.name not in self._common:
            self._common[run.name] = ("kind", *_kind(run.config)), ("shape", *_shape(run.config)), ()
        return self._common[run.name]


def _step_work(config: TrainConfig) -> float:
    """Return the mean work of a step, in units of a step on one objective."""
    rule = config.rule()
    n = len(config.objectives)
    return sum(rule.training_shares(n)) + _EVALUATION * sum(rule.evaluation_shares(n))


def scale(config: TrainConfig) -> float:
    """Return the work of a step on the run's model, in units of a step on the small embedded world; 1 for others."""
    return _SIZE[config.world_size] if config.model == "embedded" else 1.0


def _shape(config: TrainConfig) -> tuple[Any, ...]:
    model = config.model, config.world_size, config.world_family
    return *model, *(own.batch for own in config.objectives), config.max_length, config.precision


def _kind(config: TrainConfig) -> tuple[Any, ...]:
    return *_shape(config), config.method, round(_step_work(config), 6)
