"""The empirical claims on made-up runs whose verdicts are known."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from figures.analysis import empirical_claims, seeds
from figures.artefact import Check, Request

SEEDS = (1, 2, 3)
LAMS = (0.25, 0.75)
START, STAR = (0.7, 0.9), (0.0, 0.1)
# DPO's gap, SFT's gap and processor time of each method before noise
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
    rows = []
    for where in ("DPO first/all", "SFT first/all", "Llama/all", "judged/all"):
        rows += [result(where, m, lam, s) for m in TRUE for lam in LAMS for s in SEEDS]
    for k, far in ((1, 0.1), (33, 0.4)):
        rows += [result("k/k", "MAXRIGHT", 0.5, s, k=k, ideal_distance=far, run=f"k{k}-{s}") for s in SEEDS]
    return rows


def evaluations(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return evaluations: Sequential's f_DPO falls and rises again, f_SFT falls and stays low."""
    rows = []
    for row in runs:
        for step, t in enumerate((0.0, 0.5, 1.0, 1.0)):
            rise = 0.3 * (step == 3)
            swing = (step % 2) * (0.001 if row.get("k") == 1 else 0.2 + 0.01 * row["seed"])
            f_dpo = START[0] * (1 - t) + rise
            f_sft = START[1] * (1 - t) + 1e-3 * row["seed"] + (swing if row["method"] == "MAXRIGHT" else 0.0)
            about = {c: row[c] for c in ("grid", "method", "seed", "k", "run", "lam")}
            rows.append({**about, "step": step, "f_dpo": f_dpo, "f_sft": f_sft})
    return rows


PLACES = {place: [f"{place}/all"] for place in ("DPO first", "SFT first", "Llama", "judged")} | {"k": ["k/k"]}


def install(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(seeds, "results", lambda _: pd.DataFrame(rows))
    monkeypatch.setattr(seeds, "paths", lambda _: pd.DataFrame(evaluations(rows)))


def judged() -> tuple[Check, ...]:
    return empirical_claims.judge({"places": PLACES})


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    install(monkeypatch, results())
    return {check.name: check.verdict for check in judged()}


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"MAXRIGHT": (0.9, 0.3, 10.0)}, "distance/dpo-first/maxright-sequential", "not seen"),
        ({"Mix": (0.2, 0.1, 10.2)}, "cost/dpo-first/mix", "not seen"),
        ({"MAXRIGHT": (0.1, 0.1, 12.0)}, "cost/dpo-first/maxright", "not seen"),
        ({"MAXRIGHT": (0.7, 0.1, 10.0)}, "benchmarks/dpo-first/win-rate-maxright", "not seen"),
    ],
)
def test_a_claim_that_does_not_hold_is_not_seen(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], name: str, verdict: str
) -> None:
    for method, true in changed.items():
        monkeypatch.setitem(TRUE, method, true)
    install(monkeypatch, results())
    assert {c.name: c.verdict for c in judged()}[name] == verdict


@pytest.mark.slow
def test_no_empirical_claim_must_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, results())
    assert not any(check.must_hold for check in judged())


@pytest.mark.slow
def test_with_one_seed_everything_is_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in results() if row["seed"] == 1]
    install(monkeypatch, rows)
    assert {check.verdict for check in judged()} == {"mixed"}


@pytest.mark.parametrize(
    ("dpo", "sft", "wanted"), [(0.7, 0.0, 0.0), (0.0, 0.4, 1.0), (0.35, 0.4, 0.5), (0.0, 0.0, 0.5)]
)
def test_the_balance_is_of_normalized_gaps(dpo: float, sft: float, wanted: float) -> None:
    row = pd.DataFrame([result("x", "Mix", 0.5, 1, gap_dpo=dpo, gap_sft=sft)])
    assert empirical_claims.balance(row).tolist() == pytest.approx([wanted])


@pytest.mark.slow
def test_a_claim_has_its_place_as_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, results())
    by_name = {check.name: check for check in judged()}
    assert by_name["distance/llama/alright-sequential"].place == "Llama"
    assert by_name["k/dpo-first/distance"].place == by_name["benchmarks/dpo-first/choice-alright"].place == "DPO first"
    first, second = (by_name[f"cost/{place}/mix"] for place in ("dpo-first", "sft-first"))
    assert first.claim == second.claim
    assert first.statement == f"DPO first: {first.claim} [3 seeds]"


def test_every_place_names_grids_of_the_parameters() -> None:
    parameters = empirical_claims.parameters(Request())
    assert set(parameters["places"]) == set(PLACES)
    assert sorted(name for names in parameters["places"].values() for name in names) == sorted(parameters["grids"])
