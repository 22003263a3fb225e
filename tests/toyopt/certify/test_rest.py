"""AdamW's condition by balls: proven for short steps, not for long ones, and never against a run."""

from __future__ import annotations

import pytest

from toyopt.certify import adamw_rest
from toyopt.theorems import adamw_comes_to_rest


@pytest.mark.parametrize(
    ("alpha", "more", "proven"),
    [
        ("1/100", {}, True),
        ("3/100", {}, True),
        ("335/10000", {}, False),
        ("4/100", {}, False),
        ("1/100", {"weight_decay": "1/1000000"}, True),
        ("1/2000", {"beta2": "999/1000"}, True),
        ("1/1000", {"beta2": "999/1000"}, False),
        ("9/10", {"beta1": 0, "beta2": 0}, True),
        (9, {"beta1": 0, "beta2": 0}, False),
        ("1/100", {"beta1": "98/100", "beta2": "95/100"}, False),
    ],
)
def test_short_steps_are_proven_to_come_to_rest(alpha, more, proven) -> None:
    """The condition is about a(k1 + k2) < 1/2, k = β/(1-β), and holds whatever the decay."""
    found = adamw_rest(alpha, **more)
    assert found.proven is proven, str(found)
    if proven:
        assert found.recheck().proven
    else:
        assert found.stopped_at is not None


@pytest.mark.slow
def test_runs_under_the_condition_come_to_rest() -> None:
    for alpha, gamma, T in (("3/100", "1/2", 9_000), ("1/50", "1/10", 30_000)):
        assert adamw_rest(alpha, weight_decay=gamma).proven
        for record in adamw_comes_to_rest(lam="1/2", T_DPO=T, T_SFT=T, alpha=alpha, weight_decay=gamma):  # type: ignore[arg-type]
            assert record.verdict == "holds"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"alpha": 0.01}, TypeError, "alpha must be exact"),
        ({"alpha": 0}, ValueError, "alpha must be positive"),
        ({"beta1": 1}, ValueError, "beta1 must be at least 0 and less than 1"),
        ({"beta2": "-1/2"}, ValueError, "beta2 must be at least 0 and less than 1"),
        ({"weight_decay": 0}, ValueError, "weight_decay must be positive"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, words) -> None:
    with pytest.raises(error, match=words):
        adamw_rest(**arguments)
