"""The empirical claims on made-up runs whose verdicts are known, and the statistics under them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from figures.analysis import empirical_claims, seeds, sweeps
from figures.artefact import Request
from figures.artefacts.claims import ARTEFACT

SEEDS = (1, 2, 3)
LAMS = (0.25, 0.75)
START, STAR = (0.7, 0.9), (0.0, 0.1)
# DPO's gap, SFT's gap and processor time of each method in the world of this test, before noise
TRUE = {
    "Sequential": (0.60, 0.01, 10.0),
    "Mix": (0.20, 0.10, 18.0),
    "ALRIGHT": (0.25, 0.12, 10.1),
    "MAXRIGHT": (0.10, 0.10, 10.3),
}


def result(grid: str, method: str, lam: float, seed: int, **changes: Any) -> dict[str, Any]:
    dpo, sft, seconds = TRUE[method]
    noise = 0.002 * (seed - 2)
    if method == "ALRIGHT":  # its balance follows λ
        dpo, sft = (dpo, sft / 4) if lam < 0.5 else (dpo / 4, sft)
    gaps = {"gap_dpo": dpo + noise, "gap_sft": sft + noise}
    return {
        "grid": grid, "method": method, "lam": lam, "seed": seed, "order": "dpo-sft",
        "k": 10 if method == "MAXRIGHT" else None,
        "run": f"{grid}-{method}-{lam}-{seed}", **gaps, "ideal_distance": math.hypot(*gaps.values()),
        "f_dpo_start": START[0], "f_sft_start": START[1], "f_dpo_star": STAR[0], "f_sft_star": STAR[1],
        "cpu_seconds": seconds + noise, "answers_win_rate": 0.5 - dpo / 2 + noise,
        "questions_accuracy": 0.9 if seed != 2 else 0.9 + (0.1 if method == "Sequential" else -0.1), **changes,
    }  # fmt: skip


def results() -> list[dict[str, Any]]:
    found = []
    for where in ("DPO first/all", "SFT first/all", "Llama/all", "judged/all"):
        found += [result(where, m, lam, s) for m in TRUE for lam in LAMS for s in SEEDS]
    for k, far in ((1, 0.1), (33, 0.4)):
        found += [result("k/k", "MAXRIGHT", 0.5, s, k=k, ideal_distance=far, run=f"k{k}-{s}") for s in SEEDS]
    return found


def evaluations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sequential's first objective falls and rises again where DPO is first, and stays low where SFT is."""
    found = []
    for row in rows:
        for step, t in enumerate((0.0, 0.5, 1.0, 1.0)):
            rise = 0.3 * (step == 3)
            swing = (step % 2) * (0.001 if row.get("k") == 1 else 0.2 + 0.01 * row["seed"])
            f_dpo = START[0] * (1 - t) + rise
            f_sft = START[1] * (1 - t) + 1e-3 * row["seed"] + (swing if row["method"] == "MAXRIGHT" else 0.0)
            about = {c: row[c] for c in ("grid", "method", "seed", "k", "run", "lam")}
            found.append({**about, "step": step, "f_dpo": f_dpo, "f_sft": f_sft})
    return found


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    rows = results()
    monkeypatch.setattr(seeds, "results", lambda _: rows)
    monkeypatch.setattr(seeds, "paths", lambda _: evaluations(rows))
    return {check.name: check.verdict for check in empirical_claims.judge({"grids": {}})}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("forgetting/dpo-first", "seen"),
        ("forgetting/sft-first", "not seen"),
        ("control/dpo-first/range", "seen"),
        ("control/dpo-first/evenness", "not seen"),
        ("distance/dpo-first/maxright-sequential", "seen"),
        ("distance/dpo-first/maxright-mix", "seen"),
        ("distance/llama/alright-sequential", "seen"),
        ("cost/dpo-first/alright", "seen"),
        ("cost/dpo-first/maxright", "seen"),
        ("cost/dpo-first/mix", "seen"),
        ("k/dpo-first/distance", "seen"),
        ("k/dpo-first/oscillation", "seen"),
        ("benchmarks/dpo-first/win-rate-maxright", "seen"),
        ("benchmarks/dpo-first/choice-alright", "mixed"),  # equal for two seeds, worse for one
    ],
)
def test_a_verdict_follows_from_the_runs(verdicts: dict[str, str], name: str, verdict: str) -> None:
    assert verdicts[name] == verdict


def test_every_claim_is_there_once(verdicts: dict[str, str]) -> None:
    assert len(verdicts) == 3 * (1 + 2 + 4 + 3) + 2 + 4


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"MAXRIGHT": (0.9, 0.3, 10.0)}, "distance/dpo-first/maxright-sequential", "not seen"),
        ({"Mix": (0.2, 0.1, 10.2)}, "cost/dpo-first/mix", "not seen"),
        ({"MAXRIGHT": (0.1, 0.1, 12.0)}, "cost/dpo-first/maxright", "not seen"),
        ({"MAXRIGHT": (0.7, 0.1, 10.0)}, "benchmarks/dpo-first/win-rate-maxright", "not seen"),
    ],
)
def test_a_claim_that_does_not_hold_is_said_not_to(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], name: str, verdict: str
) -> None:
    for method, true in changed.items():
        monkeypatch.setitem(TRUE, method, true)
    rows = results()
    monkeypatch.setattr(seeds, "results", lambda _: rows)
    monkeypatch.setattr(seeds, "paths", lambda _: evaluations(rows))
    assert {c.name: c.verdict for c in empirical_claims.judge({"grids": {}})}[name] == verdict


def test_none_of_them_must_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = results()
    monkeypatch.setattr(seeds, "results", lambda _: rows)
    monkeypatch.setattr(seeds, "paths", lambda _: evaluations(rows))
    assert not any(check.must_hold for check in empirical_claims.judge({"grids": {}}))


def test_with_one_seed_everything_is_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in results() if row["seed"] == 1]
    monkeypatch.setattr(seeds, "results", lambda _: rows)
    monkeypatch.setattr(seeds, "paths", lambda _: evaluations(rows))
    assert {check.verdict for check in empirical_claims.judge({"grids": {}})} == {"mixed"}


def test_the_mean_is_students() -> None:
    values = [0.3, 0.5, 0.9, 0.4]
    found = seeds.mean(values)
    wanted = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(values))
    assert found.interval == pytest.approx((wanted.low, wanted.high))


def test_a_difference_is_paired_by_seed() -> None:
    ours = [{"seed": 1, "x": 1.0}, {"seed": 1, "x": 3.0}, {"seed": 2, "x": 12.0}]
    theirs = [{"seed": 2, "x": 11.0}, {"seed": 1, "x": 1.0}]
    found = seeds.difference(ours, theirs, "x")
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="seeds must be the same"):
        seeds.difference(ours, theirs[:1], "x")


@pytest.mark.parametrize(
    ("dpo", "sft", "wanted"), [(0.7, 0.0, 0.0), (0.0, 0.4, 1.0), (0.35, 0.4, 0.5), (0.0, 0.0, 0.5)]
)
def test_the_balance_is_in_units_of_what_there_was_to_gain(dpo: float, sft: float, wanted: float) -> None:
    row = result("x", "Mix", 0.5, 1, gap_dpo=dpo, gap_sft=sft)
    assert empirical_claims.balance(row) == pytest.approx(wanted)


@pytest.mark.parametrize("scale", ["smoke", "embedded", "paper"])
def test_every_recipe_is_a_grid(scale: Any) -> None:
    from figures.pipeline.training import grid_of

    request = Request(scale=scale)
    specs = [empirical_claims.grids(request), sweeps.one_lam(request), sweeps.others(request), sweeps.conflict(request)]
    specs += [sweeps.sensitivity(request), sweeps.curved(request), sweeps.encoder_decoder(request)]
    for spec in (s for found in specs for s in found.values()):
        found = grid_of(spec).runs()
        assert found
        assert len({run.config.seed for run in found}) == len(spec["seeds"])


def test_the_joint_methods_are_shared_between_both_orders() -> None:
    from figures.pipeline.training import grid_of

    request = Request()
    names = [
        {run.name for spec in sweeps.in_order(request, order).values() for run in grid_of(spec).runs()}
        for order in ("dpo-sft", "sft-dpo")
    ]
    assert len(names[0]) == len(names[1]) == 60
    assert len(names[0] & names[1]) == 45


def test_without_torch_the_theory_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert ARTEFACT.parameters(Request()) == {}
