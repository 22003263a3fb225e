"""AdamW's rest: the sets that no step leaves, torch's own runs in them, and wrong places of rest."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from toyopt import minimise
from toyopt.examples import table2
from toyopt.optimizers import AdamW
from toyopt.theorems import adamw_comes_to_rest
from toyopt.theorems.sequential.rest import Averages, resting_margin, trapped


def torchs_margins(gamma: float, beta2: float, lengths: tuple[int, int], alpha: float) -> list[float]:
    """Margins w = -θ/2 of the last phase by torch.optim.AdamW, a new one for each phase, DPO first from θ = 5."""
    theta, out = torch.tensor([5.0], dtype=torch.float64), []
    for steps, sign, origin in ((lengths[0], -1.0, 5.0), (lengths[1], 1.0, 0.0)):
        stepper, out = torch.optim.AdamW([theta], lr=alpha, betas=(0.9, beta2), weight_decay=gamma), []
        for _ in range(steps):
            slope = sign * 0.5 / (1.0 + math.exp(-sign * 0.5 * (theta.item() - origin)))
            theta.grad = torch.tensor([slope], dtype=torch.float64)
            stepper.step()
            out.append(-0.5 * theta.item())
    return out


@pytest.mark.oracle
@pytest.mark.slow
def test_torchs_run_stays_in_the_interval_and_its_gap_is_the_records() -> None:
    """After 1000 steps of the last phase torch's margin is in the interval that is proven there, up to the 2000th."""
    run = torchs_margins(0.5, 0.95, (400, 2_000), 0.02)
    records = adamw_comes_to_rest(lam=0.3, T_DPO=400, T_SFT=2_000, weight_decay=0.5, alpha=0.02)
    gap = float(table2().f_mix([-2.0 * run[-1]], 0.3)) - minimise(table2(), 0.3).value
    assert records[0].attained == pytest.approx(gap, rel=1e-10)
    assert [r.verdict for r in records] == ["holds"] * 3
    low, high = (float(text) for text in records[0].note.rsplit("[", 1)[1].rstrip("]").split(", "))
    assert low - 1e-9 <= min(run[1_000:]) <= max(run[1_000:]) <= high + 1e-9
    assert high - low < 0.05
    # Before, the run was outside: the interval says something.
    assert min(run[:500]) < low


@pytest.mark.parametrize("delta", [1e-4, 0.002, 0.02])
@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.0, 0.9), (0.5, 0.0)])
def test_averages_of_a_margin_that_moves_little_are_bounded(delta: float, betas: tuple[float, float]) -> None:
    """Walks of at most δ a step: random ones, and up and down all the way, which come near the bounds."""
    kept, (beta1, beta2) = Averages(delta, *betas), betas
    rng, reached = np.random.default_rng(1), []
    for walk in (*rng.uniform(-1.0, 1.0, size=(20, 900)), np.ones(900), -np.ones(900)):
        w, mean, square = 9.0 + 900 * delta, 0.0, 0.0
        for move in walk:  # 0.95^900 is 1e-20, so that the start has died out
            w += delta * move
            s = 1.0 / (1.0 + math.exp(w))
            mean, square = beta1 * mean + (1 - beta1) * s, beta2 * square + (1 - beta2) * s * s
        assert kept.mean[0] <= mean / s * (1 + 1e-9) <= kept.mean[1] * (1 + 2e-9)
        assert kept.root[0] <= math.sqrt(square) / s * (1 + 1e-9) <= kept.root[1] * (1 + 2e-9)
        reached.append(mean / s)
    # s = e^{-w} up to e^{-9}: the straight walks attain the bounds but for that.
    assert max(reached) == pytest.approx(kept.mean[1], rel=1e-3)
    assert min(reached) == pytest.approx(kept.mean[0], rel=1e-3)


def test_no_step_leaves_the_set_from_its_corners() -> None:
    """Runs that begin in the corners of (S.21), with the most adverse averages, stay in [w-, w+]."""
    c, gamma, epsilon, alpha, optimizer = 0.5, 0.1, 1e-2, 0.02, AdamW(0.9, 0.95, 1e-2)
    rest = (c, gamma, epsilon, 0.0)
    at_rest = resting_margin(*rest[:3])
    found = trapped(at_rest + 0.05, 1.0, 1.0, rest, alpha, optimizer)
    assert found is not None
    low, high = found
    assert low < at_rest < high < at_rest + 2.0
    # The δ of that set: the least of those tried at which the interval is this one.
    deltas = [d for d in np.geomspace(1e-9, 1.0, 400).tolist() if d < 0.02]
    delta = min(d for d in deltas if resting_margin(*rest, Averages(d, 0.9, 0.95).ratio[1]) >= high * (1 - 1e-12))
    kept = Averages(delta, 0.9, 0.95)
    for w in (low, high):
        for first in kept.mean:
            for second in kept.root:
                state, s = w, 1.0 / (1.0 + math.exp(w))
                mean, square = first * s, (second * s) ** 2
                for _ in range(3_000):
                    state += c * alpha * mean / (math.sqrt(square) + epsilon / c) - alpha * gamma * state
                    assert low - 1e-12 <= state <= high + 1e-12
                    s = 1.0 / (1.0 + math.exp(state))
                    mean, square = 0.9 * mean + 0.1 * s, 0.95 * square + 0.05 * s * s
                assert state == pytest.approx(at_rest, abs=1e-3)


def test_a_memory_that_is_too_long_has_no_set() -> None:
    """At rest itself: 2a(k1 + k2) is 1.4 for α = 0.05, so that a move of δ allows the next one to be larger than δ."""
    w = resting_margin(0.5, 0.1, 1e-8)
    for alpha, beta2, there in ((0.05, 0.95, False), (0.02, 0.95, True), (0.01, 0.999, False), (0.0005, 0.999, True)):
        found = trapped(w, 1.0, 1.0, (0.5, 0.1, 1e-8, 0.0), alpha, AdamW(0.9, beta2, 1e-8))
        assert (found is not None) is there, alpha


def test_the_place_of_rest_is_a_fixed_point_in_either_order() -> None:
    for home in (0.0, -2.5):
        w = resting_margin(0.5, 0.1, 1e-3, home)
        s = 1.0 / (1.0 + math.exp(w))
        assert 0.1 * (w - home) == pytest.approx(0.5 * s / (s + 2e-3), rel=1e-13)
    assert resting_margin(0.5, 0.1, 0.0) == 5.0
    assert resting_margin(0.5, 0.1, 0.0, -2.5, 0.5) == 0.0


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_wrong_places_of_rest_are_caught(order: Any) -> None:
    """The gap at twice the decay, at half, and where the other objective would rest."""
    records = adamw_comes_to_rest(lam=0.3, T_DPO=30_000, T_SFT=30_000, order=order)
    assert [r.verdict for r in records] == ["holds"] * 3
    assert records[1].bound - records[0].bound < 1e-5
    home = 0.0 if order == "dpo-first" else -2.5
    for wrong in (0.05, 0.2, 0.101):
        w = resting_margin(0.5, wrong, 1e-8, home)
        theta = -2.0 * w if order == "dpo-first" else 5.0 + 2.0 * w
        gap = float(table2().f_mix([theta], 0.3)) - minimise(table2(), 0.3).value
        assert {"fails"} <= {dataclasses.replace(r, attained=gap).verdict for r in records[:2]}


def test_a_run_that_is_not_near_rest_is_open() -> None:
    """Neither is one whose gradient is 0 in floats; a decay of 1e-60 rests far out."""
    far = adamw_comes_to_rest(lam=0.5, T_DPO=300, T_SFT=300, theta_1=-1e9)
    weak = adamw_comes_to_rest(lam=0.5, T_DPO=300, T_SFT=300, weight_decay=1e-60)
    for record in (*far, *weak, *adamw_comes_to_rest(lam=0.5, T_DPO=300, T_SFT=300)):
        assert (record.verdict, record.note) == ("open", "the run is not near rest yet")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"weight_decay": 0.0}, "weight_decay: must be more than 0"),
        ({"weight_decay": 101.0}, "weight_decay: must keep alpha weight_decay <= 1"),
        ({"beta1": 0.99}, r"beta1: must keep beta1² < beta2"),
        ({"lam": 0.0}, "lam: "),
        ({"T_SFT": 0}, "T_SFT: "),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        adamw_comes_to_rest(**({"lam": 0.5, "T_DPO": 9, "T_SFT": 9} | wrong))
