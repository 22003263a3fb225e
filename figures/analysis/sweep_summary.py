"""Shared computations of the artefacts that compare several grids: forgetting, gaps, and gaps normalized.

A normalized gap is divided by the initial gap f(θ₀) − f*. `Data.table` has one row per run. Means are in `Data.extra`
as small tables (see `figures.analysis.small_tables`):

bar    one row per quantity of (grid, method, λ, k): value, low, high
dot    one row per quantity and seed of (grid, method, λ, k): value
panel  one row per position of a panel, in order: panel, place, label, grid (the grid at this value of the setting)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds
from figures.analysis.loss_space import FinishedRuns
from figures.analysis.seeds import Mean, numeric, select
from figures.analysis.small_tables import pack
from figures.artefact import Check, empirical, equal
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

ABSOLUTE = ("forgetting", "gap_dpo", "gap_sft", "ideal_distance")
SHARES = ("forgetting_share", "gap_dpo_share", "gap_sft_share", "scale_free_distance")  # the same, normalized
RUN = (
    "grid", "method", "lam", "order", "k", "seed", "steps", "f_dpo", "f_sft", "f_dpo_start", "f_sft_start",
    "f_dpo_star", "f_sft_star", *ABSOLUTE, *SHARES,
)  # fmt: skip
DISTANCES = {"ideal_distance": "", "scale_free_distance": ", gaps normalized by f(θ₀) − f*"}
COMPARED = (("MAXRIGHT", "Sequential"), ("ALRIGHT", "Sequential"))
FORGOTTEN = 0.1  # of the initial gap: a rise of the loss by so much counts as forgetting
KEY = ("grid", *loss_space.KEY)

RunsByGrid = Mapping[str, FinishedRuns]


def read_grids(parameters: Mapping[str, Any]) -> dict[str, FinishedRuns]:
    """Return the finished runs of every grid by its name."""
    grids = parameters["grids"].items()
    return {name: loss_space.read_runs({**parameters, "grids": {name: spec}}) for name, spec in grids}


def all_results(runs: RunsByGrid, settings: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per run of every grid, with its forgetting, its normalized gaps, and the settings of its grid.

    settings    the options of every grid, as `options` returns them

    forgetting  final f_DPO minus the minimum of f_DPO over the evaluations; NaN without evaluations
    ..._share   divided by the initial gap f(θ₀) − f*: NaN where the gap is unknown or not positive
    """
    import pandas as pd

    frames = []
    for grid, own in runs.items():
        minimum = numeric(own.paths, "f_dpo").groupby(own.paths["run"]).min()
        frame = own.results.reindex(columns=list(dict.fromkeys([*own.results, *RUN]))).assign(grid=grid)
        frame["forgetting"] = numeric(frame, "f_dpo") - minimum.reindex(frame["run"]).to_numpy()
        for name, objective in (("forgetting", "dpo"), ("gap_dpo", "dpo"), ("gap_sft", "sft")):
            frame[f"{name}_share"] = numeric(frame, name) / initial_gap(frame, objective)
        frames.append(frame if settings is None else frame.assign(**settings.loc[grid].to_dict()))
    return pd.concat(frames, ignore_index=True)


def initial_gap(results: pd.DataFrame, objective: str) -> pd.Series[float]:
    """Return f(θ₀) − f* of "dpo" or "sft" for every run; NaN if unknown or not positive."""
    gap = numeric(results, f"f_{objective}_start") - numeric(results, f"f_{objective}_star")
    return gap.where(gap > 0.0)


def gap_bars(results: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `bar` and `dot` of the initial gaps: quantities gain_dpo and gain_sft, once per grid and seed.

    All methods start from the same model, so `method` is "".
    """
    first = results.drop_duplicates(["grid", "seed"], keep="last")
    gaps = {f"gain_{objective}": initial_gap(first, objective) for objective in ("dpo", "sft")}
    rows = first[["grid", "seed"]].assign(method="", lam=math.nan, k=0, **gaps)
    dots = rows.melt(id_vars=[*KEY, "seed"], var_name="quantity")
    return seeds.summarize(dots, [*KEY, "quantity"]).drop(columns="n"), dots


def packed_bars(
    results: pd.DataFrame, quantities: Sequence[str], *, initial_gaps: bool = False
) -> dict[str, np.ndarray]:
    """Return the packed tables `bar` and `dot` of some columns of `all_results`, and of the initial gaps on request."""
    import pandas as pd

    tables = loss_space.bars(results, {name: numeric(results, name) for name in quantities}, KEY)
    if initial_gaps:
        tables = tuple(pd.concat(pair, ignore_index=True) for pair in zip(tables, gap_bars(results), strict=True))
    return pack("bar", tables[0]) | pack("dot", tables[1])


def options(parameters: Mapping[str, Any], names: Sequence[str]) -> pd.DataFrame:
    """Return the values of some training options for every grid, which is the index."""
    import pandas as pd

    bases = {grid: grid_of(spec).base for grid, spec in parameters["grids"].items()}
    values = [[getattr(base, name) for name in names] for base in bases.values()]
    return pd.DataFrame(values, columns=list(names), index=list(bases))


def panels(settings: pd.DataFrame, dials: Mapping[str, Sequence[str]], centre: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table `panel`: the grids of each panel, in which only the options of one dial differ from the centre.

    settings  the options of every grid, as `options` returns them
    dials     name of a panel -> the options that change in it
    centre    option -> its value in all other panels

    A panel with fewer than two grids is left out.
    """
    import pandas as pd

    rows = []
    for panel, names in dials.items():
        fixed = [option for option in centre if option not in names]
        own = settings[(settings[fixed] == [centre[option] for option in fixed]).all(axis=1)].sort_values(list(names))
        for place, (grid, *values) in enumerate(own[list(names)].itertuples(name=None)):
            texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
            label = texts[0] if len(set(texts)) == 1 else "+".join(texts)
            if len(own) > 1:
                rows.append({"panel": panel, "place": place, "label": label, "grid": grid})
    return pd.DataFrame(rows)


def consistency_checks(parameters: Mapping[str, Any], runs: RunsByGrid) -> tuple[Check, ...]:
    """Return `loss_space.consistency_checks` of all grids, each statement once: counts are added, else the worst one.

    The result of a check that fails in any grid is that of the first such grid.
    """
    groups: dict[str, list[Check]] = {}
    for name, own in runs.items():
        for check in loss_space.consistency_checks({**parameters, "grids": {name: parameters["grids"][name]}}, own):
            groups.setdefault(check.name, []).append(check)
    return tuple(_combined(group) for group in groups.values())


def _combined(group: Sequence[Check]) -> Check:
    """Return one check for the same statement about several grids."""
    first = group[0]
    statement = f"in every grid, {first.statement}"
    if first.name == "runs":
        bound, attained = (float(np.sum([getattr(c, side) for c in group])) for side in ("bound", "attained"))
        if all(check.holds for check in group):
            return equal(first.name, statement, bound, attained, tolerance=0.0)
        return dataclasses.replace(first, statement=statement, bound=bound, attained=attained, holds=False)
    failing = [check for check in group if not check.holds]
    extreme = min if first.kind == "lower" else max
    worst = failing[0] if failing else extreme(group, key=lambda check: check.attained)
    return dataclasses.replace(worst, statement=statement)


def distance_claims(results: pd.DataFrame, names: Mapping[str, str]) -> tuple[Check, ...]:
    """Return the claims that MAXRIGHT and ALRIGHT end nearer to the ideal point than Sequential, in every grid.

    Each is judged by the ideal distance and by the scale-free distance, whose verdicts may differ. Grids that lack one
    of the two methods are left out.

    names  grid -> its name in the statement
    """
    claims = []
    for grid, place in names.items():
        for ours, other in COMPARED:
            near, far = (select(results, grid=grid, method=method) for method in (ours, other))
            for column, unit in DISTANCES.items() if len(near) and len(far) else ():
                difference = seeds.difference(near, far, column)
                statement = f"{ours} ends nearer to the ideal point than {other}{unit} (difference of the distances)"
                name = f"{key(column)}/{key(place)}/{key(ours)}-{key(other)}"
                claims.append(claim(name, place, statement, difference, 0.0, "upper"))
    return tuple(claims)


def forgetting_claims(results: pd.DataFrame, names: Mapping[str, str]) -> tuple[Check, ...]:
    """Return the claim that Sequential forgets f_DPO, for every grid; `names` as for `distance_claims`."""
    claims = []
    statement = (
        "Sequential forgets: f_DPO rises from its minimum during the run to the end by at least "
        f"{FORGOTTEN:g} of the initial gap f(θ₀) − f* (the rise, normalized)"
    )
    for grid, place in names.items():
        own = select(results, grid=grid, method="Sequential")
        if len(own):
            rise = seeds.mean(seeds.by_seed(own, "forgetting_share").values())
            claims.append(claim(f"forgetting/{key(place)}", place, statement, rise, FORGOTTEN, "lower"))
    return tuple(claims)


def claim(name: str, place: str, statement: str, value: Mean, bound: float, kind: Any) -> Check:
    """Return an empirical claim about a mean over seeds, made for one setting (`place`; "": the only one)."""
    p_value = value.p_value(bound)
    return empirical(
        name, statement, value.value, value.interval, bound, kind, place=place, seeds=value.n, p_value=p_value
    )


def key(text: str) -> str:
    """Return a text in the spelling of check names: lower case, with hyphens."""
    return text.lower().replace(" ", "-").replace("_", "-")
