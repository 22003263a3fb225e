"""Figure 2: the toy illustration (arXiv 2410.15483v3, section 3.1 and App. D.1), in weight space and in loss space."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, lower, upper
from figures.drawing.fig2 import draw

EVERY = 10  # steps between the recorded iterates
SEEDS = {"smoke": 10, "embedded": 100, "paper": 1000}
SHOWN = 30  # number of coin sequences with a drawn path
GOOD = 0.25  # both objectives are below this value in the region that counts as good for both
X_RANGE, Y_RANGE = (-11.5, 11.5), (-12.5, 15.5)


def parameters(request: Request) -> dict[str, Any]:
    """Return the settings of App. D.1 (reconstructed) and the seeds of the coins."""
    from dataclasses import asdict

    from toyopt.examples import Figure2

    return asdict(Figure2()) | {
        "seed": request.seed,
        "seeds": request.toy_runs or SEEDS[request.size],
        "record_every": EVERY,
        "grid": [*X_RANGE, *Y_RANGE, 121],
        "good": GOOD,
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Return the paths of all methods, contours, optima, and the paper's statements about them as checks."""
    from toyopt import Alright, Constant, Maxright, Mix, ideal_point, minimise, simulate
    from toyopt.examples import Figure2

    names = (
        "start",
        "alpha",
        "weight_decay",
        "reference_steps",
        "sequential_steps",
        "threshold",
        "joint_steps",
        "lam",
    )
    settings = Figure2(**{name: parameters[name] for name in names})
    problem, ideal = settings.problem(), ideal_point(settings.problem())
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    lam, decay = settings.lam, settings.weight_decay
    shared: dict[str, Any] = {"theta0": settings.start, "weight_decay": decay}
    step, every = Constant(settings.alpha), parameters["record_every"]
    # A first run determines the end of Sequential's first stage, so that this iterate is recorded.
    stage_end = int(simulate(problem, settings.sequential(), step, **shared).stage_ends[0, 0])
    kept = [*range(0, sum(settings.sequential_steps), every), stage_end]
    joint = shared | {"steps": settings.joint_steps, "record": every}
    runs = {
        "Sequential": simulate(problem, settings.sequential(), step, record=kept, **shared),
        "ALRIGHT": simulate(problem, Alright(lam), step, seeds=seeds, **joint),
        "MAXRIGHT": simulate(problem, Maxright(lam, tuple(ideal)), step, **joint),
        "Mix": simulate(problem, Mix(lam), step, **joint),
    }
    paths = {name: run.path() for name, run in runs.items()}
    coins = [runs["ALRIGHT"].path(r).values for r in range(len(seeds))]
    low_x, high_x, low_y, high_y, n = parameters["grid"]
    x, y = np.linspace(low_x, high_x, n), np.linspace(low_y, high_y, n)
    grid = problem.values(np.stack(np.meshgrid(x, y), axis=-1))
    optima = [minimise(problem, w, weight_decay=decay).theta for w in (1.0, 0.0, lam)]
    sequential = paths["Sequential"]
    facts, checks = checks_of(
        {name: path.values for name, path in paths.items()},
        coins,
        ideal,
        turn=sequential.values[int(np.searchsorted(sequential.step, stage_end))],
        threshold=settings.threshold,
    )
    return Data(
        table={
            "method": np.concatenate([[name] * len(path.step) for name, path in paths.items()]),
            "step": np.concatenate([path.step for path in paths.values()]),
            "theta_1": np.concatenate([path.theta[:, 0] for path in paths.values()]),
            "theta_2": np.concatenate([path.theta[:, 1] for path in paths.values()]),
            "f_dpo": np.concatenate([path.values[:, 0] for path in paths.values()]),
            "f_sft": np.concatenate([path.values[:, 1] for path in paths.values()]),
        },
        extra={
            "x": x,
            "y": y,
            "grid_f_dpo": grid[..., 0],
            "grid_f_sft": grid[..., 1],
            "optima": np.stack([o for o in optima if o is not None]),
            "ideal": ideal,
            "stage_end": np.array(stage_end),
            "coin_theta": np.stack([runs["ALRIGHT"].path(r).theta[::10] for r in range(len(seeds))[:SHOWN]]),
            "coin_values": np.stack([v[::10] for v in coins[:SHOWN]]),
            "good": np.array(parameters["good"]),
        },
        facts={"sequential_stage_end": stage_end, "coins": len(seeds), **facts},
        checks=checks,
    )


def chord_deviation(values: np.ndarray) -> float:
    """Return the largest distance of a path in loss space, (m, 2), from the line through its end points."""
    along = values[-1] - values[0]
    along = along / np.linalg.norm(along)
    away = values - values[0]
    return float(np.abs(away[:, 0] * along[1] - away[:, 1] * along[0]).max())


def checks_of(
    values: dict[str, np.ndarray],
    coins: list[np.ndarray],
    ideal: np.ndarray,
    turn: np.ndarray,
    threshold: float,
) -> tuple[dict[str, float], tuple[Check, ...]]:
    """Return facts and checks of the paper's statements about the figure.

    values  method -> losses (m, 2) along its path; coins: the same of ALRIGHT for every coin sequence
    turn    the losses at the end of Sequential's first stage
    """
    away = {name: float(np.linalg.norm(v[-1] - ideal)) for name, v in values.items()}
    bend = {name: chord_deviation(v) for name, v in values.items()}
    coin_away = [float(np.linalg.norm(v[-1] - ideal)) for v in coins]
    coin_bend = [chord_deviation(v) for v in coins]
    start, end = values["Sequential"][0], values["Sequential"][-1]
    facts = {f"ideal_distance_{name}": d for name, d in away.items()}
    facts |= {f"chord_deviation_{name}": d for name, d in bend.items()}
    facts |= {
        "ideal_distance_ALRIGHT_min": min(coin_away),
        "ideal_distance_ALRIGHT_max": max(coin_away),
        "chord_deviation_ALRIGHT_min": min(coin_bend),
        "chord_deviation_ALRIGHT_max": max(coin_bend),
    }
    every = f"each of {len(coins)} coin sequences"
    checks = (
        upper(
            "dpo-learnt",
            "Sequential's first stage brings f_DPO below the threshold",
            threshold,
            float(turn[0]),
        ),
        lower(
            "sft-sacrificed",
            "Sequential's first stage leaves f_SFT worse than at the start",
            float(start[1]),
            float(turn[1]),
        ),
        lower(
            "dpo-forgotten",
            "Sequential's second stage leaves f_DPO worse than at the start",
            float(start[0]),
            float(end[0]),
        ),
        lower(
            "sequential-far",
            f"Sequential ends at least 10 times as far from the ideal point as ALRIGHT, for {every}",
            10 * max(coin_away),
            away["Sequential"],
        ),
        upper(
            "maxright-nearer",
            f"MAXRIGHT ends nearer to the ideal point than ALRIGHT, for {every}",
            min(coin_away),
            away["MAXRIGHT"],
        ),
        upper(
            "maxright-straighter",
            "The largest distance in loss space of MAXRIGHT's path from its chord is at most 0.6 times ALRIGHT's, "
            f"for {every}",
            0.6 * min(coin_bend),
            bend["MAXRIGHT"],
        ),
    )
    return facts, checks


ARTEFACT = Artefact(
    name="fig2",
    title="The toy illustration: three methods in weight space and in loss space",
    paper="Figure 2",
    cost="seconds",
    seconds=5.0,
    caption=(
        "Top: the parameter's path over the contours of the two objectives, with the region where both are below "
        f"{GOOD:g} shaded. Bottom: the same runs in loss space. (a) Sequential learns DPO first, forgets DPO while it "
        "learns SFT, and ends far from the ideal point. (b) ALRIGHT, one coin sequence bold and others faint, enters "
        "the region that is good for both. (c) MAXRIGHT ends nearer to the ideal point, and its path in loss space "
        "is straighter. The dotted grey path is Mix. The optima shown include the weight decay of the runs: without "
        "weight decay no objective of this example has a minimizer."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    reconstructed=(
        "The data (Table 3), the start, the weight decay and λ = ½ are reconstructed: the paper's text at hand has "
        "lost these numbers."
    ),
)
