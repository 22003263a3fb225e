"""What mutants of `toyopt.certify` showed to be untested: a certificate's own words, inputs and enclosures, with no
argument at its default, and that its recheck has the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import pytest
from flint import arb

from toyopt import certify as cf
from toyopt.certify.certificate import input_text
from toyopt.certify.family import curvature


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
def test_a_certificate_is_about_what_it_was_asked(
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


def test_what_the_ledger_shows() -> None:
    """The standard certificates' own arguments, as far as their statements do not fix them."""
    found: dict[str, list[dict[str, str]]] = {}
    for certificate in cf.standard_certificates(steps=10):
        found.setdefault(certificate.claim, []).append({name: input_text(value) for name, value in certificate.inputs})
    assert [i["lam"] for i in found["minimiser"]] == ["[1/2, 1/2]", "[1/100, 99/100]"]
    assert [(i["a"], i["g"], i["side"]) for i in found["half-line"]] == [
        ("-20", "1/50", "left"),
        ("25", "1/50", "right"),
    ]
    assert [(i["lam"], i["T0"], i["order"]) for i in found["3.3"]] == [
        ("[1/100, 99/100]", "1000", order) for order in ("dpo-first", "sft-first")
    ]
    assert [(i["lam"], i["g"], i["order"]) for i in found["S"]] == [
        ("[1/100, 99/100]", "1/10", "dpo-first"),
        ("[1/100, 99/100]", "1/10", "sft-first"),
        ("[1/100, 99/100]", "1", "dpo-first"),
        ("[1/2, 1/2]", "1", "dpo-first"),
        ("[1/2, 1/2]", "10", "dpo-first"),
        ("[1/2, 1/2]", "1", "dpo-first"),
        ("[1/2, 1/2]", "1", "dpo-first"),
    ]
    assert [(i["error"], i["T0"], i["order"]) for i in found["S-constant"]] == [
        ("1/100000", "10000000", order) for order in ("dpo-first", "sft-first")
    ]


def test_curvature_of_the_family() -> None:
    assert float(curvature(arb(0))) == 0.25
    assert float(curvature(arb(2))) == pytest.approx(1 / (2 + math.exp(2) + math.exp(-2)), rel=1e-14)
