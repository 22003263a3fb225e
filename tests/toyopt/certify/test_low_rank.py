"""Certificates of Theorem 3.3 for LoRA: proven levels hold for runs, and levels that runs refute are not proven."""

from __future__ import annotations

from fractions import Fraction

import pytest

from toyopt.certify import Phases, low_rank_gap
from toyopt.theorems import sequential_low_rank


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
@pytest.mark.parametrize(("lam", "g"), [("1/2", "1"), ("3/10", "1/2")])
def test_proven_levels_hold_for_runs_of_adapters_and_higher_ones_are_not_proven(order, lam: str, g: str) -> None:
    found = low_rank_gap(lam, g, phases=Phases(order=order))
    assert found.proven
    T0 = dict(found.inputs)["T0"]
    assert isinstance(T0, int)
    for longer in (T0, 2 * T0, 50 * T0):
        for first in (1, longer // 3, longer):
            lengths = {"T_DPO": first, "T_SFT": longer} if order == "dpo-first" else {"T_DPO": longer, "T_SFT": first}
            gap = sequential_low_rank(lam=lam, a=1.0, order=order, **lengths)[0].attained  # type: ignore[arg-type]
            assert gap >= float(Fraction(g))
    # The gap of the very run of T0 steps is less than this, so that no proof may exist.
    attained = sequential_low_rank(lam=lam, T_DPO=T0, T_SFT=T0, a=1.0, order=order)[0].attained  # type: ignore[arg-type]
    assert not low_rank_gap(lam, f"{attained + 1e-3:.6f}", T0=T0, phases=Phases(order=order)).proven
    assert found.recheck().proven


def test_the_search_is_near_the_least_and_a_smaller_adapter_takes_longer() -> None:
    """The run itself reaches a gap of 1 after 12 steps on each; the proof, for every T_1, needs 17."""
    T0 = [dict(low_rank_gap("1/2", 1, size=size).inputs)["T0"] for size in (1, "1/100", "1/10000")]
    assert T0[0] == 17
    assert T0[0] < T0[1] < T0[2]  # type: ignore[operator]
    reached = [T for T in range(1, 30) if sequential_low_rank(lam=0.5, T_DPO=T, T_SFT=T)[0].attained >= 1.0]
    assert reached == list(range(12, 30))


def test_a_bound_that_might_fall_with_longer_phases_is_not_used() -> None:
    """With a step of 1/10 from θ_1 = 0 the first phase grows faster at T0 = 30 than the last one can make up for."""
    slow = Phases(alpha="1/10", theta_1=0)
    stopped = low_rank_gap("1/2", "1/1000000", T0=30, phases=slow)
    assert "T -> R(T) increases beyond T0 = 30" in str(stopped.stopped_at)
    assert low_rank_gap("1/2", "1/1000000", T0=40, phases=slow).proven


def test_every_weight_of_an_interval_is_covered() -> None:
    found = low_rank_gap(("1/100", "99/100"), "1/10")
    assert found.proven
    assert "every λ in [1/100, 99/100]" in found.statement
    assert dict(found.inputs)["T0"] < 1_000_000  # type: ignore[operator]
    assert not low_rank_gap(("1/100", "99/100"), "1/10", T0=10_000).proven


@pytest.mark.parametrize(
    ("arguments", "more", "error", "words"),
    [
        (("1/2", 0.5), {}, TypeError, "g must be exact"),
        (("1/2", 0), {}, ValueError, "g must be positive"),
        (("1/2", 1), {"size": 0}, ValueError, "size must be positive"),
        (("1/2", 1), {"T0": 0}, ValueError, "T0 must be at least 1"),
        (("1/2", 1), {"phases": Phases(alpha=2)}, ValueError, "alpha must keep c alpha < 1"),
        (("3/2", 1), {}, ValueError, "lam must lie in"),
        (("1/2", 1), {"prec": 8}, ValueError, "prec"),
    ],
)
def test_a_wrong_argument_is_named(arguments, more, error, words) -> None:
    with pytest.raises(error, match=words):
        low_rank_gap(*arguments, **more)
