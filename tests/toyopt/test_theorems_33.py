"""Theorem 3.3 as records: in floats, as a certificate, and open where nothing is proven."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from toyopt import certify as cf
from toyopt.theorems.sequential.thm_33 import certified_33, level, of_certificate, thm_33
from toyopt.theorems.sequential.two_phases import TwoPhases


def test_theorem_33_in_floats_and_certified() -> None:
    for order in ("dpo-first", "sft-first"):
        record, proof = thm_33(order=order), certified_33(phases=cf.Phases(order=order))  # type: ignore[arg-type]
        assert record.verdict == proof.verdict == "holds"
        assert (record.evidence, proof.evidence) == ("property", "certified")
        # The certificate's search stops at three decimals.
        assert proof.bound == math.floor(1000 * record.bound) / 1000
        assert proof.attained == pytest.approx(record.bound, rel=1e-12)
        # The gap is least at T0 itself, for the λ that decides.
        run, lam = TwoPhases(order=order), 0.01 if order == "dpo-first" else 0.99  # type: ignore[arg-type]
        assert record.attained == pytest.approx(float(run.gap(lam, run.last(1000, 1000))), rel=1e-12)
        # Above what a run attains it fails; it is 0.00294... at T = 1000 for λ = 1/100.
        assert thm_33(order=order, g=record.attained + 1e-9).verdict == "fails"  # type: ignore[arg-type]
    assert thm_33(lam=(0.1, 0.9), T0=1000, g=0.235).verdict == "holds"
    assert thm_33(lam=(0.01, 0.9), T0=1000, g=0.235).verdict == "fails"
    # SFT first it is the largest λ that decides: the ends of an interval are not exchanged.
    run = TwoPhases(theta_ref=0.0, order="sft-first")
    assert level(run, (0.1, 0.5), 1000) > level(run, (0.5, 0.9), 1000)
    assert level(TwoPhases(theta_ref=0.0), (0.1, 0.5), 1000) < level(TwoPhases(theta_ref=0.0), (0.5, 0.9), 1000)


def test_a_certificate_that_is_not_proven_is_open() -> None:
    for record in (certified_33(T0=10), certified_33(g="1/100"), certified_33(prec=24, T0=10**9, g="1/500")):
        if record.verdict == "holds":  # 24 bits may or may not suffice
            continue
        assert (record.verdict, record.evidence) == ("open", "certified")
        assert record.note.startswith("not proven, stopped at")
    assert certified_33(T0=10).verdict == certified_33(g="1/100").verdict == "open"
    assert thm_33(T0=3).verdict == "open"  # no level is known that early
    assert certified_33(g="1/500").verdict == "holds"
    with pytest.raises(ValueError, match="certificate: one of `sequential_gap`"):
        of_certificate(cf.chord())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: thm_33(lam=(0.9, 0.1)), ValueError, "lam: .*0.9"),
        (lambda: thm_33(lam=0.5), TypeError, "lam: .*0.5"),  # type: ignore[arg-type]
        (lambda: thm_33(lam=(0.1, 0.2, 0.3)), ValueError, "lam: .*0.3"),  # type: ignore[arg-type]
        (lambda: thm_33(T0=0), ValueError, "T0: .*0"),
        (lambda: thm_33(T0=10, last=9), ValueError, "last: .*9"),
        (lambda: thm_33(g=-1.0), ValueError, "g: .*-1"),
        (lambda: certified_33(lam=(0.1, 0.9)), TypeError, "lam.*0.1"),  # type: ignore[arg-type]
    ],
)
def test_wrong_input(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
