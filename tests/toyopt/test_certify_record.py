"""What a certificate is: its verdict, its text, its recheck; exact input; wrong input by name."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import pytest

from toyopt import certify as cf
from toyopt.certify.certificate import Claim, Proof, certify
from toyopt.certify.exact import exact, integer_text
from toyopt.certify.family import minimiser


@pytest.fixture(scope="module")
def standard() -> tuple[cf.Certificate, ...]:
    return cf.standard_certificates(steps=20_000)


def test_every_standard_certificate_is_proven(standard: tuple[cf.Certificate, ...]) -> None:
    assert [c.claim for c in standard if not c.proven] == []
    assert {"S", "3.3", "S-constant", "A.3", "minimiser", "half-line", "trajectory"} <= {c.claim for c in standard}
    assert sum(c.seconds for c in standard) < 20


def test_recheck_is_a_fresh_proof_of_the_same_claim_at_higher_precision(
    standard: tuple[cf.Certificate, ...],
) -> None:
    for first in standard:
        again = first.recheck()
        assert again.proven
        assert again.prec == first.prec + 64
        assert again.inputs == first.inputs
        assert again is not first
        assert first.recheck(first.prec) == first  # deterministic: seconds aside, the same record


def test_str_says_what_at_which_precision_and_how_long() -> None:
    text = str(cf.closed_form_minimiser("1/2", prec=100))
    for part in ("PROVEN", "100 bits", "pieces", " s ", "λ = 1/2", "exactly one minimiser", "θ* = ", "±"):
        assert part in text
    failed = str(cf.logistic_variance("0.2499"))
    assert "NOT PROVEN" in failed
    assert "stopped at: bound - 1/4" in failed
    assert "holds" not in failed
    assert "false" not in failed.lower()


def test_no_truth_value_frozen_and_picklable() -> None:
    c = cf.logistic_variance()
    with pytest.raises(TypeError, match="not proven"):
        bool(c)
    with pytest.raises(FrozenInstanceError):
        c.status = "not proven"  # type: ignore[misc]
    copy = pickle.loads(pickle.dumps(cf.sequential_gap("1/2", 1)))
    assert copy.recheck().proven
    assert cf.closed_form_minimiser("1/2").enclosure("θ*").text.startswith("2.5000")
    with pytest.raises(KeyError):
        c.enclosure("nothing")


@pytest.mark.parametrize("answer", [None, False, 1, "yes"])
def test_only_a_literal_true_goes_on(answer: Any) -> None:
    def body(proof: Proof) -> None:
        proof.require(answer, "here")
        raise AssertionError("the proof went on")

    rerun = cf.logistic_variance
    c = certify(Claim("x", "a claim", (), "none", ()), body, prec=64, rerun=rerun)
    assert (c.status, c.stopped_at) == ("not proven", "here")


@pytest.mark.parametrize(
    "call",
    [
        lambda: cf.logistic_variance(0.25),  # type: ignore[arg-type]
        lambda: cf.chord(4.0),  # type: ignore[arg-type]
        lambda: cf.exp_remainder("4", 0.1),  # type: ignore[arg-type]
        lambda: cf.closed_form_minimiser(0.5),  # type: ignore[arg-type]
        lambda: cf.closed_form_minimiser(("1/3", 0.5)),  # type: ignore[arg-type]
        lambda: cf.gap_on_half_line(-20.0, 1, "1/2"),  # type: ignore[arg-type]
        lambda: cf.sequential_gap("1/2", 1.0),  # type: ignore[arg-type]
        lambda: cf.sequential_gap("1/2", True),
        lambda: cf.Family(c=0.5),  # type: ignore[arg-type]
        lambda: cf.Phases(alpha=1.0),  # type: ignore[arg-type]
        lambda: cf.Phases(theta_1=5.0),  # type: ignore[arg-type]
        lambda: cf.lemma_a3("1/2", [0.1], 1, 0),  # type: ignore[list-item]
    ],
)
def test_floats_are_refused_with_advice(call: Any) -> None:
    with pytest.raises(TypeError, match=r"must be exact .* Fraction or a string"):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cf.closed_form_minimiser(1), r"lam .*\(0, 1\), got 1"),
        (lambda: cf.closed_form_minimiser(("1/2", 1)), r"lam .*\(0, 1\)"),
        (lambda: cf.closed_form_minimiser(("0", "1/2")), r"lam .*\(0, 1\)"),
        (lambda: cf.closed_form_minimiser(("2/3", "1/3")), "lam .*empty interval"),
        (lambda: cf.closed_form_minimiser(("1/3", "1/2", "2/3")), "lam must be .*pair"),  # type: ignore[arg-type]
        (lambda: cf.closed_form_minimiser("half"), "lam must be a number .*'half'"),
        (lambda: cf.closed_form_minimiser("1/2", tol=0), "tol must be positive, got 0"),
        (lambda: cf.closed_form_minimiser("1/2", branch=0), "branch .*got 0"),
        (lambda: cf.closed_form_minimiser("1/2", prec=23), "prec .*24 bits, got 23"),
        (lambda: cf.gap_on_half_line(-20, 1, "1/2", side="up"), "side .*'up'"),  # type: ignore[arg-type]
        (lambda: cf.gap_on_half_line(-20, "-1", "1/2"), "g must be positive, got '-1'"),
        (lambda: cf.sequential_gap("1/2", 1, T0=0), "T0 must be at least 1, got 0"),
        (lambda: cf.sequential_gap("1/2", 1, ratio=0), "ratio must be positive"),
        (lambda: cf.sequential_gap("1/2", 1, T_first=-1), "T_first must be at least 0, got -1"),
        (lambda: cf.sequential_gap("1/2", 1, prec=8), "prec .*got 8"),
        (lambda: cf.sequential_constant("1/2", 0, T0=10), "error must be positive"),
        (lambda: cf.sequential_constant("1/2", 1, T0=9, phases=cf.Phases(alpha=9)), r"alpha .*<= 2 .*9/4"),
        (lambda: cf.sequential_trajectory("1/2", -1, 5), "T_first must be at least 0, got -1"),
        (lambda: cf.sequential_trajectory("1/2", 5, 0), "T_second must be at least 1, got 0"),
        (lambda: cf.find_T0("1/2", 10**6), "no T0 was found"),
        (lambda: cf.Family(c=0), "c must be positive, got 0"),
        (lambda: cf.Phases(alpha=17), r"alpha .*<= 4, got alpha = 17, η = 17/4"),
        (lambda: cf.Phases(alpha=0), "alpha must be positive"),
        (lambda: cf.Phases(order="mix"), "order .*'mix'"),  # type: ignore[arg-type]
        (lambda: cf.lemma_a3(0, [1], 1, 0), "c and divisor must be positive, got 0"),
        (lambda: cf.lemma_a3(1, [], 1, 0), "steps must be non-empty"),
        (lambda: cf.lemma_a3(1, [5], 1, 0), r"0 < c a_t <= 4"),
        (lambda: cf.lemma_a3(1, [1], 0, 1), "theta_0 must be at least theta_0_prime"),
        (lambda: cf.chord(-1), "eta_max must be positive, got -1"),
    ],
)
def test_wrong_input_is_named(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("steps", [1.0, "1", True])
def test_steps_and_bits_are_ints(steps: Any) -> None:
    with pytest.raises(TypeError, match="T0 must be an int"):
        cf.sequential_gap("1/2", 1, T0=steps)
    with pytest.raises(TypeError, match="prec must be an int"):
        cf.logistic_variance(prec=steps)


def test_exact_numbers() -> None:
    assert exact("0.1", "a") == Fraction(1, 10) != Fraction(0.1)
    assert exact("1e-3", "a") == Fraction(1, 1000)
    assert exact(Fraction(2, 3), "a") == Fraction(2, 3)
    assert integer_text(10**20) == "1e20"
    assert integer_text(120) == "120"
    # A few thousand digits, beyond what str(int) allows.
    assert len(integer_text(10**6000 + 1)) == 6001
    assert not minimiser(Fraction(1, 2), Fraction(5, 2), branch=-1).is_finite()
