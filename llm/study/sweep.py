"""The grid of a study and its runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llm.common.cache import digest
from llm.common.contents import content_of
from llm.config import RESULT, TrainConfig, unused_options
from llm.data.objective_options import with_weights
from llm.embedded.tasks import is_embedded
from llm.rule_options import MaxrightOptions
from llm.skill.rows import seed_of
from llm.study.measures import merged, name_of
from toyopt.algorithms import RULES

METHODS: tuple[str, ...] = tuple(RULES)
AXES = {"methods": "method", "lams": "lam", "orders": "order", "ks": "k", "seeds": "seed"}
_WORDS = frozenset(("", "base", "chosen", "sft", "paper"))  # no files, also if the folder has files of these names


@dataclass(frozen=True)
class StudyRun:
    """One run: its name, which is also its folder's in the study, its configuration (without `out`), its measures."""

    name: str
    config: TrainConfig
    measures: tuple[str, ...] = ()

    def folder(self, root: str | Path) -> Path:
        """Return the folder that the run is written to."""
        return Path(root) / self.name

    def placed(self, root: str | Path) -> TrainConfig:
        """Return the configuration with its folder."""
        return dataclasses.replace(self.config, out=str(self.folder(root)))

    @property
    def about(self) -> dict[str, Any]:
        """method, lam, order, k, seed; None for a value that the run does not depend on.

        With objectives also weights, a text; lam is then None.
        """
        c = self.config
        order = c.order if _ordered(c) else None
        weights = {"weights": ",".join(f"{own.weight:g}" for own in c.objectives)} if c.objective else {}
        return {
            "method": c.method, "lam": None if c.objective else c.lam, **weights, "order": order,
            "k": c.k if c.method in MaxrightOptions.rules else None, "seed": c.seed,
        }  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """methods x lams x orders x ks x seeds on top of one configuration; with objectives, weights in place of lams.

    base      every other option; its method, lam, order, k and seed stand where an axis is empty (but for methods)
    weights   each one a number an objective, as numbers or as a text `0.5,0.3,0.2`
    ks        multiply MAXRIGHT only; orders multiply only rules in stages, and all rules with the reference `paper`
    measures  computations on every trained run: names of `llm.study.measures`, or NAME=MODULE:FUNCTION

    A list or a single value is taken for a tuple. Raises ValueError or TypeError on construction for invalid runs.
    """

    base: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    methods: tuple[str, ...] = METHODS
    lams: tuple[float, ...] = ()
    orders: tuple[str, ...] = ()
    ks: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    measures: tuple[str, ...] = ()
    weights: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.base, TrainConfig):
            raise TypeError(f"base: must be a TrainConfig, got {type(self.base).__name__}")
        if self.base.out:
            raise ValueError(f"out: a study names the folders of its runs itself, got {self.base.out}; give --root")
        if self.base.overwrite:
            raise ValueError("overwrite: a study keeps finished runs, got True; remove a run's folder to repeat it")
        for axis, name in AXES.items():
            value = getattr(self, axis)
            value = tuple(value) if isinstance(value, list | tuple) else (value,)
            if axis == "methods" and not value:
                raise ValueError(f"methods: give at least one of {', '.join(METHODS)}, got none")
            object.__setattr__(self, axis, value or (getattr(self.base, name),))
        self._read_weights()
        for k in self.ks:  # also where no method reads it
            dataclasses.replace(self.base, k=k)
        measures = self.measures if isinstance(self.measures, list | tuple) else (self.measures,)
        object.__setattr__(self, "measures", merged(measures))
        self._configs  # noqa: B018 (invalid runs raise here)

    def runs(self) -> tuple[StudyRun, ...]:
        """Return every run once, those of the first seed first. Reads the files that the configuration names."""
        objectives = self.base.objectives
        values = [self.base.model, self.base.adapter, self.base.reference]
        values += [value for own in objectives for value in (own.source, own.evaluation)]
        paths = [value for value in values if value not in _WORDS and not is_made(value)]
        files = {path: content for path in paths if (content := content_of(Path(path)))}
        named = (_named(config, files) for config in self._configs)
        runs = {run.name: dataclasses.replace(run, measures=self.measures) for run in named}
        return tuple(runs.values())

    @cached_property
    def _configs(self) -> list[TrainConfig]:
        """Return the configuration of every combination of the axes."""
        configs = []
        weighings: list[dict[str, Any]] = [{"lam": lam} for lam in self.lams]
        if self.weights:
            weighings = [{"objective": with_weights(self.base.objective, own)} for own in self.weights]
        axes = itertools.product(self.seeds, self.orders, self.methods, self.ks, weighings)
        for seed, order, method, k, weighing in axes:
            values: dict[str, Any] = {"method": method, **weighing, "order": order, "k": k, "seed": seed}
            values |= unused_options(method)
            config = dataclasses.replace(self.base, **values)
            configs.append(config if _ordered(config) else dataclasses.replace(config, order=TrainConfig.order))
        return configs

    def _read_weights(self) -> None:
        """Replace texts of weights by numbers; ValueError for weights of the short form, or a λ of objectives."""
        if self.weights and not self.base.objective:
            raise ValueError(f"weights: are for objectives, got {self.weights[0]}; with two sets use lams")
        if self.base.objective and self.lams != (self.base.lam,):
            raise ValueError(f"lams: weigh the two sets of the short form, got {self.lams[0]:g}; use weights")
        try:
            read = [w.split(",") if isinstance(w, str) else w for w in self.weights]
            object.__setattr__(self, "weights", tuple(tuple(map(float, w)) for w in read))
        except (TypeError, ValueError) as error:
            raise ValueError(f"weights: each must be numbers such as 0.5,0.3,0.2, got {self.weights}") from error


Grids = Grid | Sequence[Grid]


def as_grids(grids: Grids) -> tuple[Grid, ...]:
    """Return one or several grids as a tuple. TypeError for anything else, ValueError for none."""
    several = (grids,) if isinstance(grids, Grid) else tuple(grids) if isinstance(grids, list | tuple) else None
    if several is None or not all(isinstance(grid, Grid) for grid in several):
        raise TypeError(f"grids: must be a Grid or a list of them, got {grids!r}")
    if not several:
        raise ValueError("grids: give at least one, got none")
    return several


def union(grids: Grids) -> tuple[StudyRun, ...]:
    """Return every run of these grids once, with the measures of all grids that contain the run."""
    runs: dict[str, StudyRun] = {}
    for run in (run for grid in as_grids(grids) for run in grid.runs()):
        before = runs.get(run.name, run)
        runs[run.name] = dataclasses.replace(before, measures=merged((*before.measures, *run.measures)))
    return tuple(runs.values())


def varied(grids: Grids) -> tuple[str, ...]:
    """Return the options, beside the axes, in which the grids differ."""
    first, *rest = (grid.base for grid in as_grids(grids))
    names = (name for name in first.values_of(*RESULT) if name not in AXES.values())
    return tuple(name for name in names if any(getattr(base, name) != getattr(first, name) for base in rest))


def describe(grid: Grid) -> dict[str, Any]:
    """Return a grid as plain values: axes, measures, number of runs, and options that are not defaults."""
    values = grid.base.values_of(*RESULT)
    plain = TrainConfig().as_dict()
    skip = set(AXES.values())
    return {
        **{axis: list(getattr(grid, axis)) for axis in AXES},
        **({"weights": [list(own) for own in grid.weights]} if grid.weights else {}),
        "measures": [name_of(m) for m in grid.measures],
        "runs": len(grid.runs()),
        "options": {k: v for k, v in values.items() if k not in skip and v != plain[k]},
    }


def is_made(source: str) -> bool:
    """Return whether a set is made where it is needed, from a name, without a file or a download."""
    return is_embedded(source) or seed_of(source) is not None


def _ordered(config: TrainConfig) -> bool:
    """Return whether the result depends on the order of the objectives."""
    return bool(config.rule().stages) or config.reference == "paper"


def _named(config: TrainConfig, files: dict[str, str]) -> StudyRun:
    options = config.values_of(*RESULT)
    k = f"-k{config.k}" if config.method in MaxrightOptions.rules else ""
    order = f"-{config.order}" if _ordered(config) else ""
    readable = f"{config.method}-{config.shown_weights}{k}{order}-seed{config.seed}"
    return StudyRun(f"{readable}-{digest({'options': options, 'files': files})[:10]}", config)
