"""Lemma A.3 by balls on a concrete pair of runs."""

from __future__ import annotations

from support.certified_runs import stops

from toyopt import certify as cf


def test_lemma_a3() -> None:
    assert cf.lemma_a3("1/2", [1] * 200, 5, -5).proven
    assert cf.lemma_a3(1, ["4", "3", "1/3"], "1/100", "-1/100").proven
    assert cf.lemma_a3(1, ["1/7"] * 20, 3, 3).proven
    # Near 0 the map contracts by 1 - c a/4 a step: with 4.01 for 4 the product is too large at once.
    near = [1] * 3
    assert cf.lemma_a3("1/2", near, "1e-9", "-1e-9").proven
    stops(cf.lemma_a3("1/2", near, "1e-9", "-1e-9", divisor="4.2"), "θ_T - θ'_T >=")
    assert dict(cf.lemma_a3(1, [1, 1, 2], 1, 0).inputs)["steps"] == "1 ×2, 2 ×1"
