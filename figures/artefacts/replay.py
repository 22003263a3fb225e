"""How much replay is enough: the gap against the share of replay, in theory, in the simulator, and of models."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from figures.analysis import loss_space, real_sweeps, recorded_runs, seeds, sweep_summary, sweeps
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Check, Data, Request, lower, upper
from figures.drawing.replay import draw

PROVEN_FOR = (("1/1000", "1/300"), ("1/300", "1/100"), ("1/100", "1/30"), ("1/30", "1/10"), ("1/10", "1/3"))
LENGTHS = {"smoke": [100, 1000], "embedded": [100, 1000, 10_000], "paper": [100, 1000, 10_000]}
SEEDS = {"smoke": 20, "embedded": 100, "paper": 100}
GAPS = ("gap_mix", "gap_dpo", "gap_sft")
KEPT = ("skill_exact_match", "accuracy")  # of the recorded runs: shares of exact answers and of preferences


def parameters(request: Request) -> dict[str, Any]:
    """Return the problem, the shares and steps of the simulated runs, the runs of models, and the recorded ones."""
    return {
        "recorded": recorded_runs.digests_if_there(),
        "grids": sweeps.replayed(request),
        "lam": "1/2",
        "alpha": 1.0,
        "shares": [float(p) for p in np.round(np.geomspace(1e-3, 0.3, 11), 5)],
        "lengths": LENGTHS[request.size],
        "seed": request.seed,
        "seeds": request.toy_runs or SEEDS[request.size],
        "proven_for": [list(pair) for pair in PROVEN_FOR],
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Return the gaps of theory and simulator by share and length, the proven intervals, and the results of models."""
    toy, boxes = _toy(parameters), _proven(parameters)
    runs = sweep_summary.read_grids(parameters)
    models = _models(sweep_summary.all_results(runs))
    means = models.melt(["p", "seed"], list(GAPS), "quantity").pipe(seeds.summarize, ["p", "quantity"])
    table = {name: toy[name] for name in ("p", "T", "gap", "low", "high", "mean", "mean_low", "mean_high", "limit")}
    kept, kept_facts = _recorded(parameters)
    kept_means = kept.melt(["p", "seed"], list(KEPT), "quantity").pipe(seeds.summarize, ["p", "quantity"])
    columns = ("kind", *table, "seed", *GAPS, *KEPT)
    kinds = {"theory and simulator": pd.DataFrame(table), "model": models, "real model, recorded": kept}
    rows = pd.concat([frame.assign(kind=kind).reindex(columns=columns) for kind, frame in kinds.items()])
    return Data(
        table=seeds.columns(rows, columns),
        extra={f"toy_{name}": values for name, values in toy.items()}
        | boxes
        | pack("model", models)
        | pack("mean", means)
        | pack("real", kept)
        | pack("kept", kept_means),
        facts=kept_facts
        | {
            "scale": loss_space.scale(parameters, sweep_summary.all_results(runs)),
            "lam": 0.5,
            "coins": int(parameters["seeds"]),
            "largest difference of the coins' mean from full gradients": float(np.abs(toy["mean"] - toy["gap"]).max()),
        },
        checks=(
            *toy_checks(toy, boxes),
            *sweep_summary.consistency_checks(parameters, runs),
            *model_claims(models),
        ),
    )


def _recorded(parameters: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return share, seed and the shares of `KEPT` of every recorded run of the real model, and their origin.

    The first stage is SFT here, so that the skill is what replay keeps. No rows and no facts if nothing is recorded.
    """
    if not parameters["recorded"]:
        return pd.DataFrame(columns=["p", "seed", *KEPT], dtype=float), {}
    ends, facts = recorded_runs.ends()
    shares = {real_sweeps.replay_label(share): share for share in (0.0, *sweeps.REPLAY_SHARES["real"])}
    own = ends[ends["label"].isin(shares)]
    values = {name: seeds.numeric(own, name) for name in KEPT}
    rows = own[["seed"]].assign(p=own["label"].map(shares), **values)[["p", "seed", *KEPT]]
    return rows.sort_values(["p", "seed"], ignore_index=True), {"recorded": recorded_runs.origin(facts)}


def _toy(parameters: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return by length and share: the gap with full gradients, its bounds, the coins' gaps, the limit and the law.

    gap         (m,) of the second phase on the mixture; low, high its proven bounds
    mean        (m,) of Replay's coins, with its 95 % interval mean_low, mean_high
    limit       (m,) G at the point where the second phase comes to rest, its closed form
    law, error  (m,) λ log(1/p) + λcθ_ref - f*, and the proven bound of |limit - law|
    stopped     (m,) λ log(ηT) + λcθ_ref - f*, Sequential without replay
    """
    from fractions import Fraction

    from toyopt import Constant, Replay, simulate
    from toyopt.examples import table2
    from toyopt.theorems.sequential import any_steps, replay
    from toyopt.theorems.sequential.two_phases import TwoPhases

    run, problem, lam = TwoPhases(alpha=parameters["alpha"]), table2(), float(Fraction(parameters["lam"]))
    best, offset = run.f_mix(lam, run.turning_w(lam)), any_steps.constant(run, lam)
    coins = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    rows: list[dict[str, float]] = []
    for T in parameters["lengths"]:
        for p in parameters["shares"]:
            w, rounding = replay.follow(run, p, T, T)
            low, high = replay.enclosure(run, p, T, T)
            ends = sorted(float(run.gap(lam, end)) for end in (low, high))
            inside = low <= run.turning_w(lam) <= high
            room = rounding + float(run.gap_rounding(max(abs(low), abs(high))))
            drawn = simulate(problem, Replay((T, T), p=p), Constant(run.alpha), theta0=[5.0], steps=2 * T, seeds=coins)
            gaps = seeds.mean(problem.f_mix(drawn.last, lam) - best)
            rows.append(
                {
                    "T": T,
                    "p": p,
                    "gap": float(run.gap(lam, w)),
                    "low": 0.0 if inside else max(ends[0] - room, 0.0),
                    "high": ends[1] + room,
                    "mean": gaps.value,
                    "mean_low": gaps.low,
                    "mean_high": gaps.high,
                    "limit": replay.limit_gap(run, lam, p),
                    "law": lam * float(np.log(1.0 / p)) + offset,
                    "error": max(map(abs, replay.limit_error(run, lam, p))),
                    "stopped": lam * float(np.log(run.eta * T)) + offset,
                }
            )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _proven(parameters: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return intervals of p with bounds of the limit gap that ball arithmetic proves; NaN where it does not."""
    from fractions import Fraction

    from toyopt.certify import replay_gap
    from toyopt.theorems.sequential import replay
    from toyopt.theorems.sequential.two_phases import TwoPhases

    run, lam = TwoPhases(alpha=parameters["alpha"]), Fraction(parameters["lam"])
    boxes: list[tuple[float, float, float, float]] = []
    for ends in parameters["proven_for"]:
        least, most = (Fraction(end) for end in ends)
        # Three decimals, rounded outward: the gap decreases in p.
        low = Fraction(int(np.floor(1000 * replay.limit_gap(run, float(lam), float(most)))), 1000)
        high = Fraction(int(np.ceil(1000 * replay.limit_gap(run, float(lam), float(least)))), 1000)
        proven = replay_gap(lam, (least, most), low, high).proven
        bounds = (float(low), float(high)) if proven else (float("nan"), float("nan"))
        boxes.append((float(least), float(most), *bounds))
    return {"box": np.array(boxes)}


def _models(results: pd.DataFrame) -> pd.DataFrame:
    """Return share, seed and gaps of every run; gap_mix = λ gap_dpo + (1-λ) gap_sft."""
    gaps = {name: seeds.numeric(results, name) for name in ("gap_dpo", "gap_sft")}
    lam = seeds.numeric(results, "lam")
    mix = lam * gaps["gap_dpo"] + (1.0 - lam) * gaps["gap_sft"]
    own = results[["seed"]].assign(p=results["grid"].astype(float), gap_mix=mix, **gaps)
    return own.sort_values(["p", "seed"], ignore_index=True)


def toy_checks(toy: dict[str, np.ndarray], boxes: dict[str, np.ndarray]) -> tuple[Check, ...]:
    """Check the bounds of finite runs, the law of the limit, and the certificates."""
    box, long = boxes["box"], toy["T"] == toy["T"].max()
    inside = [
        (toy["limit"][own] >= low).all() and (toy["limit"][own] <= high).all()
        for least, most, low, high in box
        for own in [(toy["p"] >= least) & (toy["p"] <= most)]
    ]
    rest = long & (toy["p"] >= 0.01)
    return (
        upper(
            "below",
            "A finite run's gap is at least its proven lower bound (largest bound − gap)",
            0.0,
            float((toy["low"] - toy["gap"]).max()),
        ),
        upper(
            "above",
            "A finite run's gap is at most its proven upper bound (largest gap − bound)",
            0.0,
            float((toy["gap"] - toy["high"]).max()),
        ),
        upper(
            "law",
            "|limit gap − λ log(1/p) − λcθ_ref + f*| is at most its proven bound (largest ratio)",
            1.0,
            float((np.abs(toy["limit"] - toy["law"]) / toy["error"]).max()),
        ),
        upper(
            "limit",
            "For p >= 0.01 the longest run's gap is the closed form of its limit (largest difference)",
            0.05,
            float(np.abs(toy["gap"] - toy["limit"])[rest].max()),
        ),
        lower(
            "certified",
            "Intervals of p whose limit gaps are proven by ball arithmetic (number), and no limit gap lies outside",
            float(len(box)),
            float(np.isfinite(box).all(axis=1).sum()) if all(inside) else float("nan"),
        ),
    )


def model_claims(models: pd.DataFrame) -> tuple[Check, ...]:
    """Return the claims that each larger share leaves a smaller gap of f_DPO and of the mixture, over seeds."""
    claims = []
    shares = sorted(set(models["p"]))
    for quantity, name in (("gap_mix", "the mixture"), ("gap_dpo", "f_DPO")):
        for less, more in pairwise(shares):
            ours, theirs = (seeds.select(models, p=p) for p in (more, less))
            change = seeds.difference(ours, theirs, quantity)
            text = f"the gap of {name} with a share of {more:g} is below that with {less:g} (difference)"
            claims.append(sweep_summary.claim(f"{quantity}/{more:g}-{less:g}", "", text, change, 0.0, "upper"))
    return tuple(claims)


ARTEFACT = Artefact(
    name="replay",
    title="How much replay is enough",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=8.0,
    caption=(
        "Sequential, DPO first, whose second phase takes a share p of its steps on DPO again; λ = 1/2. (a) The "
        "lower-bound example of Theorem 3.3 with T steps in each phase, of the constant step α = 1. Dashed: λ "
        "log(1/p) + λcθ_ref − f*; grey boxes: the limit for T → ∞ of every p of an interval, proven by ball "
        "arithmetic; lines: full-gradient steps on the mixture pf_DPO + (1−p)f_SFT; marks: Replay's own coins, mean "
        "and 95 % interval over seeds. A run of T steps forgets about λ log min(ηT, 1/p), η = c²α = 1/4: replay of "
        "a share p acts as if Sequential had been stopped at ηT = 1/p. (b) Models of the embedded world, whose "
        "second stage has half of the steps: the gap to f* on held-out rows of λf_DPO + (1−λ)f_SFT and of its two "
        "parts against p, with Sequential at p = 0. Marks are means over seeds, pale dots the seeds, vertical lines "
        "95 % intervals, which may end at the frame. f* is that of runs on each objective alone. (c) Recorded "
        "runs of a real model, SmolLM2-135M-Instruct, with SFT first, so that replay keeps the skill: the share of "
        "exact answers at the end, and the accuracy on preferences (0.5: prefers neither), against the share of the "
        "second stage's steps that repeat SFT; `results/real` and the figure `real` have them. No theorem is about "
        "these models."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    reconstructed=(
        "The data of (a) (Table 2), with them c = 1/2 and θ_ref = 5, are reconstructed: the paper's text at hand has "
        "lost these numbers."
    ),
)
