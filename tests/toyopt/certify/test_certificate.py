"""Certificates: their contents, their steps, and the truth value that they refuse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from toyopt import certify as cf
from toyopt.certify.certificate import Claim, Proof, certify, input_text
from toyopt.certify.exact import weights


def test_str_has_the_claim_the_precision_and_the_duration() -> None:
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


def family() -> cf.Family:
    return cf.Family("3/2", "-7/3")


def phases() -> cf.Phases:
    return cf.Phases(family(), "1/3", "2", "sft-first")


FAMILY = "c = 3/2, theta_ref = -7/3"


PHASES = f"{FAMILY}, alpha = 1/3, theta_1 = 2, order = sft-first"


ON_FAMILY = "f_DPO = log(1+e^(-c(θ-θ_ref))), f_SFT = log(1+e^(cθ)), c = 3/2, cθ_ref = -7/2"


ON_PHASES = f"f_DPO = log(1+e^(-c(θ-θ_ref))), f_SFT = log(1+e^(cθ)), full gradients, constant α: {PHASES}"


QUADRATIC = "f_Mix,λ has exactly one minimiser, log(z)/c with z the positive root of (1-λ)z² + (1-2λ)Kz - λK"


@pytest.mark.parametrize(
    ("make", "claim", "pieces", "statement", "assumptions", "inputs", "kept"),
    [
        (
            lambda: cf.logistic_variance("3/10", prec=70),
            "sigma(1-sigma)",
            2,
            "σ(v)(1-σ(v)) <= 3/10 for every real v",
            (),
            "bound = 3/10",
            {},
        ),
        (
            lambda: cf.chord("7/2", "5/4", prec=70),
            "chord",
            2,
            "e^s <= 1 + 5/4 s(e^η-1)/η for all 0 <= s <= η, 0 < η <= 7/2",
            (),
            "eta_max = 7/2, factor = 5/4",
            {},
        ),
        (
            lambda: cf.exp_remainder("7/2", "1/7", prec=70, max_pieces=500),
            "exp-remainder",
            8,
            "φ(s) = (e^s-1-s-s²/2)/s³ is increasing on [0, 7/2] and at least 1/7 there",
            (),
            "eta_max = 7/2, least = 1/7, max_pieces = 500",
            {"φ(7/2)": "0.5245586462668761225 ± 9.91e-20"},
        ),
        (
            lambda: cf.closed_form_minimiser(("1/3", "2/3"), family=family(), tol="1/8", prec=100, max_pieces=99),
            "minimiser",
            47,
            f"for every λ in [1/3, 2/3]: {QUADRATIC}, enclosed to 1/8",
            (f"{ON_FAMILY}, K = e^(cθ_ref)",),
            f"{FAMILY}, lam = [1/3, 2/3], tol = 1/8, branch = 1",
            {
                "θ*": "-1e+0 ± 0.455",
                "θ* at λ = 1/3": "-1.4386489140445886835411222638 ± 5.41e-29",
                "θ* at λ = 2/3": "-0.8946844192887446497922110695 ± 1.97e-29",
            },
        ),
        (
            lambda: cf.gap_on_half_line(-9, "1/3", ("1/3", "2/3"), family=family(), prec=100),
            "half-line",
            2,
            "for every λ in [1/3, 2/3] and every θ <= -9: G_Mix,λ(θ) >= 1/3",
            (ON_FAMILY,),
            f"{FAMILY}, a = -9, g = 1/3, lam = [1/3, 2/3], side = left",
            {},
        ),
        (
            lambda: cf.gap_on_half_line(7, "1/3", ("1/3", "2/3"), side="right", family=family(), prec=100),
            "half-line",
            2,
            "for every λ in [1/3, 2/3] and every θ >= 7: G_Mix,λ(θ) >= 1/3",
            (ON_FAMILY,),
            f"{FAMILY}, a = 7, g = 1/3, lam = [1/3, 2/3], side = right",
            {},
        ),
        (
            lambda: cf.lemma_a3("1/2", [1, 1, "3/2"], 3, "-1/2", divisor="7/2", prec=100),
            "A.3",
            8,
            "after 3 steps from θ_0 = 3, θ'_0 = -1/2: θ_T - θ'_T >= (θ_0-θ'_0) Π(1 - c a_t/7/2) >= 0",
            ("c = 1/2, a_t in [1, 3/2], c a_t <= 4",),
            "c = 1/2, theta_0 = 3, theta_0_prime = -1/2, divisor = 7/2, steps = 1 ×2, 3/2 ×1",
            {
                "θ_T - θ'_T": "2.3869989380113266622616640140 ± 7.35e-29",
                "bound": "2.0204081632653061224489795918 ± 4.43e-29",
            },
        ),
        (
            lambda: cf.sequential_constant("1/3", "1/2", T0=5000, phases=phases(), prec=100),
            "S-constant",
            8,
            "Sequential, sft-first: for λ = 1/3 and all T_DPO = T_SFT = T >= 5000: "
            "|G_Mix,λ(θ_T) - 2/3 log T - κ| <= 1/2",
            (ON_PHASES,),
            f"{PHASES}, lam = 1/3, error = 1/2, T0 = 5000",
            {
                "κ": "-2.6754102644458001390407249384 ± 1.78e-29",
                "κ + μ log T0": "3.0027185298316914787290975265 ± 8.33e-29",
                "error below at T0": "-0.0018075179148899289580583878926 ± 4.43e-32",
                "error above at T0": "0.0059923051416618416210750238422 ± 8.39e-32",
            },
        ),
        (
            lambda: cf.sequential_trajectory("1/3", 30, 40, phases=phases(), within=("1/5", "1/3"), prec=100),
            "trajectory",
            73,
            "Sequential, sft-first, 30 and 40 steps, λ = 1/3: θ_T and G_Mix,λ(θ_T), which lies in [1/5, 1/3]: "
            "θ_T = -0.0658653612306 ± 3.57e-14, gap = 0.290619539156 ± 2.15e-13",
            (ON_PHASES,),
            f"{PHASES}, lam = 1/3, T_first = 30, T_second = 40, within = [1/5, 1/3]",
            {
                "first phase's lower envelope": "2.86265954472 ± 2.43e-12",
                "first phase's upper envelope": "2.88362903166 ± 2.18e-12",
                "second phase's lower envelope": "3.39933233120 ± 4.88e-12",
                "second phase's upper envelope": "3.40200161178 ± 7.27e-13",
                "θ_T": "-0.065865361230635645491214487 ± 4.87e-28",
                "gap": "0.2906195391557857323867968657 ± 7.57e-29",
            },
        ),
        (
            lambda: cf.sequential_gap(("1/3", "1/2"), "1/2", ratio="3/2", phases=phases(), prec=100),
            "S",
            4,
            "Sequential, SFT first, all T_DPO >= 126 and every T_SFT <= 3/2 T_DPO, every λ in [1/3, 1/2]: "
            "G_Mix,λ(θ_T) >= 1/2",
            (ON_PHASES,),
            f"{PHASES}, lam = [1/3, 1/2], g = 1/2, T0 = 126, ratio = 3/2",
            {"lower bound of the last iterate's w (or v) from T0 on": "4.50158429637311544613432832729 ± 3.13e-30"},
        ),
        (
            lambda: cf.theorem_3_3(("1/3", "1/2"), T0=900, phases=phases(), prec=100),
            "3.3",
            4,
            "Sequential, SFT first, all T_DPO >= 900 and every T_SFT <= T_DPO, every λ in [1/3, 1/2]: "
            "G_Mix,λ(θ_T) >= 683/500",
            (ON_PHASES,),
            f"{PHASES}, lam = [1/3, 1/2], g = 683/500, T0 = 900, ratio = 1",
            {"lower bound of the last iterate's w (or v) from T0 on": "6.50381114719191463154769595496 ± 1.37e-30"},
        ),
    ],
)
def test_a_certificate_is_about_its_arguments(
    make: Callable[[], cf.Certificate],
    claim: str,
    pieces: int,
    statement: str,
    assumptions: tuple[str, ...],
    inputs: str,
    kept: dict[str, str],
) -> None:
    certificate = make()
    assert certificate.proven
    assert (certificate.claim, certificate.pieces) == (claim, pieces)
    assert certificate.statement == statement
    assert certificate.assumptions == assumptions
    assert ", ".join(f"{name} = {input_text(value)}" for name, value in certificate.inputs) == inputs
    for name, enclosure in certificate.enclosures:  # radii may be a digit off where flint's last bit is
        assert enclosure.mid == Decimal(kept[name].partition("±")[0].strip())
        assert enclosure.rad <= 2 * Decimal(kept[name].partition("±")[2].strip() or "0")
    assert set(kept) == {name for name, _ in certificate.enclosures}
    assert certificate.source.startswith(("arXiv 2410.15483v3", "beyond the paper"))
    assert certificate.recheck(certificate.prec) == certificate


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cf.logistic_variance("x"), "bound must"),
        (lambda: cf.chord(1, "x"), "factor must"),
        (lambda: cf.exp_remainder(-1), "eta_max must"),
        (lambda: cf.exp_remainder(1, "x"), "least must"),
        (lambda: cf.gap_on_half_line("x", 1, "1/2"), "a must"),
        (lambda: cf.lemma_a3("x", [1], 1, 0), "c must"),
        (lambda: cf.lemma_a3(1, ["x"], 1, 0), "steps must"),
        (lambda: cf.lemma_a3(1, [1], "x", 0), "theta_0 must"),
        (lambda: cf.lemma_a3(1, [1], 1, "x"), "theta_0_prime must"),
        (lambda: cf.lemma_a3(1, [1], 1, 0, divisor="x"), "divisor must"),
        (lambda: cf.lemma_a3(1, [1], 1, 0, divisor=0), "c and divisor must be positive, got 1, 0"),
        (lambda: cf.lemma_a3(1, [1, 0], 1, 0), "steps must be non-empty with 0 < c a_t <= 4"),
        (lambda: cf.sequential_trajectory("1/2", 1, 1, within=("x", 1)), "within must"),
        (lambda: cf.sequential_trajectory("1/2", 1, 1, within=(0, "x")), "within must"),
        (lambda: cf.sequential_constant("1/2", "x", T0=10), "error must"),
        (lambda: cf.Family("x"), "c must"),
        (lambda: cf.Family(1, "x"), "theta_ref must"),
        (lambda: cf.Phases(alpha="x"), "alpha must"),
        (lambda: cf.Phases(theta_1="x"), "theta_1 must"),
    ],
)
def test_a_message_names_the_argument(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def test_the_edges_are_allowed() -> None:
    assert cf.lemma_a3(2, [2, 1], 1, 1).proven  # c a = 4, and equal starts
    assert cf.logistic_variance("1/4").proven
    assert cf.exp_remainder("1/2", "1/6").proven
    assert cf.sequential_trajectory("1/2", 0, 1).proven
    assert cf.Phases(alpha=16).eta == 4


WIDE = ("1/100", "99/100")


def stop(certificate: cf.Certificate) -> str:
    """Where a proof stopped."""
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    return certificate.stopped_at


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cf.sequential_constant("1/2", 1, T0=0), "T0 must"),
        (lambda: cf.theorem_3_3(T0=0), "T0 must"),
        (lambda: cf.sequential_gap("1/2", 0), "g must"),
        (lambda: cf.find_T0("1/2", 0), "g must"),
        (lambda: weights(("1/2", "x")), "lam must be a number"),
        *((lambda pair=pair: weights(pair), r"lam must lie in \(0, 1\)") for pair in ((1, "1/2"), ("1/2", 0), (2, 2))),
    ],
)
def test_a_message_names_the_argument_and_its_bound(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def test_where_a_proof_stops() -> None:
    assert stop(cf.chord(4, "9/10")) == "at s = η the difference is (factor - 1)(e^η - 1), factor - 1 = -1/10"
    # c a_t = 2 and divisor 1: the product is -1, below the difference, but no bound below 0 is claimed.
    assert stop(cf.lemma_a3(1, [2], 1, 0, divisor=1)) == "the product is >= 0"
    assert stop(cf.sequential_trajectory("1/2", 100, 100, within=(2, 3))).startswith("the gap 1.19277724975 ± ")
    cover = cf.closed_form_minimiser(WIDE, max_pieces=50)
    assert stop(cover) == "width of the enclosure of θ*, λ in [0.015742188, 0.01765625]"


def test_how_many_pieces_a_proof_may_take() -> None:
    assert [cf.closed_form_minimiser(WIDE, max_pieces=n).pieces for n in (42, 50)] == [43, 53]
    assert cf.closed_form_minimiser("1/2", prec=53).pieces == 3  # a point is not divided
    assert cf.exp_remainder(300, max_pieces=19).pieces == 13
    remainder = cf.exp_remainder(300, max_pieces=20)
    assert (remainder.pieces, remainder.stopped_at) == (16, "φ' > 0 on [2.34375, 4.6875]")
    assert cf.chord("1/2").proven
    assert cf.lemma_a3(1, ["1/2"], 1, 0, divisor=1).proven


def test_what_is_proven_by_default() -> None:
    made = {
        64: [cf.logistic_variance(), cf.chord(), cf.exp_remainder()],
        96: [cf.lemma_a3(1, [1], 1, 0), cf.sequential_trajectory("1/2", 1, 1)],
        128: [
            cf.closed_form_minimiser("1/2"),
            cf.gap_on_half_line(-20, 1, "1/2"),
            cf.sequential_constant("1/2", 1, T0=1000),
            cf.sequential_gap("1/2", 1, T0=1000),
            cf.theorem_3_3(T0=1000),
        ],
    }
    assert all(c.proven and c.prec == prec for prec, some in made.items() for c in some)
    assert [value for c in made[64] for _, value in c.inputs] == [Fraction(1, 4), 4, 1, 4, Fraction(1, 6), 2000]


def test_a_stopped_proof_states_no_more_than_the_claim() -> None:
    def body(proof: Proof) -> None:
        proof.statement = "a claim, and what was found besides"
        proof.require(False, "here")

    c = certify(Claim("x", "a claim", (), "none", ()), body, prec=64, rerun=cf.logistic_variance)
    assert (c.statement, c.stopped_at) == ("a claim", "here")
