"""What the artefacts beyond the paper share of computing: runs by grid, also in units of what there was to gain.

`Data.table` has a row a run. What is drawn of them is in `Data.extra` as small tables, as figures.tradeoff has them:

bar    a row a quantity of (grid, method, λ, k): value, low, high
dot    a row a seed of it: value
panel  a row a place of a panel, in its order: panel, place, label, grid; what a dial is at in which grid
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from figures.analysis import loss_space, seeds
from figures.analysis.seeds import Mean, Row
from figures.artefact import Check, empirical, equal
from figures.pipeline.training import grid_of

ABSOLUTE = ("forgetting", "gap_dpo", "gap_sft", "ideal_distance")
SHARES = ("forgetting_share", "gap_dpo_share", "gap_sft_share", "scale_free_distance")  # the same, in that order
RUN = (
    "grid", "method", "lam", "order", "k", "seed", "steps", "f_dpo", "f_sft", "f_dpo_start", "f_sft_start",
    "f_dpo_star", "f_sft_star", *ABSOLUTE, *SHARES,
)  # fmt: skip
DISTANCES = {"ideal_distance": "", "scale_free_distance": ", in units of what there was to gain"}
RIVALS = (("MAXRIGHT", "Sequential"), ("ALRIGHT", "Sequential"))
FORGOTTEN = 0.1  # of what there was to gain: what counts as forgetting

Found = Mapping[str, loss_space.Found]


def find(parameters: Mapping[str, Any]) -> dict[str, loss_space.Found]:
    """What the runs of every grid left, by its name."""
    return {
        name: loss_space.find({**parameters, "grids": {name: spec}}) for name, spec in parameters["grids"].items()
    }  # fmt: skip


def rows(found: Found) -> list[Row]:
    """A row a run of every grid, with what it forgot, and its gaps as shares of what there was to gain.

    forgetting  how far f_DPO is above its least value on the way, at the end; NaN without evaluations
    ..._share   of f_i(start) - f_i*: NaN where that is not known, or nothing was to be gained
    """
    return [_row(grid, result, here.paths) for grid, here in found.items() for result in here.results]


def _row(grid: str, result: Row, paths: Sequence[Row]) -> Row:
    way = [loss_space.number(line, "f_dpo") for line in paths if line["run"] == result["run"]]
    row: Row = {name: result.get(name) for name in RUN} | {"grid": grid}
    for name in ("gap_dpo", "gap_sft", "ideal_distance", "scale_free_distance"):
        row[name] = loss_space.number(result, name)
    row["forgetting"] = loss_space.number(result, "f_dpo") - min(way, default=math.nan)
    for name, objective in (("forgetting", "dpo"), ("gap_dpo", "dpo"), ("gap_sft", "sft")):
        row[f"{name}_share"] = row[name] / to_gain(result, objective)
    return row


def to_gain(row: Row, objective: str) -> float:
    """f(start) - f*, of "dpo" or "sft"; NaN if that is not known or not positive."""
    gain = loss_space.number(row, f"f_{objective}_start") - loss_space.number(row, f"f_{objective}_star")
    return gain if gain > 0.0 else math.nan


def gains(found: Found) -> tuple[list[Row], list[Row]]:
    """Bars and dots of what there was to gain in every grid: quantities gain_dpo and gain_sft, method "", of each seed
    once, for it is that of all methods.
    """
    means, dots = [], []
    for grid, here in found.items():
        first = {row["seed"]: row for row in here.results}
        for objective in ("dpo", "sft"):
            about = {"grid": grid, "method": "", "lam": math.nan, "k": 0, "quantity": f"gain_{objective}"}
            by_seed = {seed: to_gain(row, objective) for seed, row in first.items()}
            mean = seeds.mean(by_seed.values())
            means.append({**about, "value": mean.value, "low": mean.low, "high": mean.high})
            dots += [{**about, "seed": seed, "value": value} for seed, value in by_seed.items()]
    return means, dots


def bars(run_rows: Sequence[Row], quantities: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """(a row a quantity of every (grid, method, λ, k), a row a seed of it)."""
    means: list[Row] = []
    dots: list[Row] = []
    for grid in dict.fromkeys(row["grid"] for row in run_rows):
        own = seeds.where(run_rows, grid=grid)
        one, many = loss_space.bars(own, {name: loss_space.column(name) for name in quantities})
        means += [{"grid": grid, **row} for row in one]
        dots += [{"grid": grid, **row} for row in many]
    return means, dots


def options(parameters: Mapping[str, Any], names: Sequence[str]) -> dict[str, Row]:
    """Grid -> these options of its configuration."""
    bases = {grid: grid_of(spec).base for grid, spec in parameters["grids"].items()}
    return {grid: {name: getattr(base, name) for name in names} for grid, base in bases.items()}


def panels(parameters: Mapping[str, Any], dials: Mapping[str, Sequence[str]], centre: Mapping[str, Any]) -> list[Row]:
    """Which grids are beside each other: those in which all options are at the centre but the ones of one dial.

    dials   name of a panel -> the options that it changes
    centre  option -> where it is in all other panels

    A panel with fewer than two grids is left out.
    """
    known = options(parameters, tuple(centre))
    found: list[Row] = []
    for panel, names in dials.items():
        fixed = [option for option in centre if option not in names]
        here = {
            grid: tuple(values[name] for name in names)
            for grid, values in known.items()
            if all(values[option] == centre[option] for option in fixed)
        }
        for place, (grid, values) in enumerate(sorted(here.items(), key=lambda item: item[1])):
            texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
            label = texts[0] if len(set(texts)) == 1 else "+".join(texts)
            if len(here) > 1:
                found.append({"panel": panel, "place": place, "label": label, "grid": grid})
    return found


def sound(parameters: Mapping[str, Any], found: Found) -> tuple[Check, ...]:
    """`tradeoff.sound` of all grids, every statement once: counts are added, of the rest the worst stands."""
    groups: dict[str, list[Check]] = {}
    for name, here in found.items():
        for check in loss_space.sound({**parameters, "grids": {name: parameters["grids"][name]}}, here):
            groups.setdefault(check.name, []).append(check)
    return tuple(_all_of(group) for group in groups.values())


def _all_of(group: Sequence[Check]) -> Check:
    first = group[0]
    if first.name == "runs":
        bound, attained = (float(np.sum([getattr(c, side) for c in group])) for side in ("bound", "attained"))
        statement = f"in every grid, {first.statement}"
        if all(check.holds for check in group):
            return equal(first.name, statement, bound, attained, tolerance=0.0)
        return dataclasses.replace(first, statement=statement, bound=bound, attained=attained, holds=False)
    failing = [check for check in group if not check.holds]
    extreme = min if first.kind == "lower" else max
    worst = failing[0] if failing else extreme(group, key=lambda check: check.attained)
    return dataclasses.replace(worst, statement=f"in every grid, {first.statement}")


def nearer(run_rows: Sequence[Row], names: Mapping[str, str]) -> tuple[Check, ...]:
    """Whether MAXRIGHT and ALRIGHT are nearer to the ideal point than Sequential, in every grid that has both: by the
    distance as it is, and by the scale-free one, which may tell another story.

    names  grid -> what it is called in the statement
    """
    found = []
    for grid, what in names.items():
        for ours, other in RIVALS:
            near, far = (seeds.where(run_rows, grid=grid, method=method) for method in (ours, other))
            for column, units in DISTANCES.items() if near and far else ():
                gap = seeds.difference(near, far, column)
                statement = f"{what}: {ours} is nearer to the ideal point than {other}{units} (the difference)"
                name = f"{key(column)}/{key(what)}/{key(ours)}-{key(other)}"
                found.append(claim(name, statement, gap, 0.0, "upper"))
    return tuple(found)


def forgets(run_rows: Sequence[Row], names: Mapping[str, str]) -> tuple[Check, ...]:
    """Whether Sequential forgets f_DPO, in every grid; `names` as for `nearer`."""
    found = []
    for grid, what in names.items():
        own = seeds.where(run_rows, grid=grid, method="Sequential")
        if own:
            rise = seeds.mean(seeds.by_seed(own, "forgetting_share").values())
            statement = (
                f"{what}: Sequential forgets: f_DPO at the end is above its least value on the way, by a tenth of what "
                "there was to gain (the rise, as a share of that)"
            )
            found.append(claim(f"forgetting/{key(what)}", statement, rise, FORGOTTEN, "lower"))
    return tuple(found)


def claim(name: str, statement: str, found: Mean, bound: float, kind: Any) -> Check:
    """An empirical claim about a mean over seeds."""
    return empirical(name, statement, found.value, found.interval, bound, kind)


def key(text: str) -> str:
    """A text as a part of a check's name."""
    return text.lower().replace(" ", "-").replace("_", "-")
