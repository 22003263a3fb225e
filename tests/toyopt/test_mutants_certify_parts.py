"""Small facts about the parts of `toyopt.certify` that only a mutant showed to be untested."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from flint import arb, ctx

from toyopt import certify as cf
from toyopt.certify import family as fam
from toyopt.certify import scalar
from toyopt.certify.certificate import Claim, Proof, UnprovenStep, certify
from toyopt.certify.exact import ball, integer_text, weights
from toyopt.certify.minimiser import max_ball, min_ball
from toyopt.certify.sequential import PhaseLengths, _floor, _proves, _round_up
from toyopt.certify.trajectory import enclose_phase

WIDE = ("1/100", "99/100")


def stop(certificate: cf.Certificate) -> str:
    """Where a proof stopped."""
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    return certificate.stopped_at


# --- input and text ---------------------------------------------------------------------------------------------------


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
def test_a_message_names_the_argument(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def test_a_long_whole_number_is_written_with_an_exponent() -> None:
    assert integer_text(10**11) == "1" + 11 * "0"
    assert integer_text(12 * 10**12) == "12e12"


def test_the_claim_with_a_longest_first_phase() -> None:
    c = cf.sequential_gap("1/2", 1, T0=100, T_first=7)
    assert c.statement == "Sequential, DPO first, all T_SFT >= 100 and every T_DPO <= 7, λ = 1/2: G_Mix,λ(θ_T) >= 1"
    assert c.inputs[-1] == ("T_first", 7)
    assert c.source == "beyond the paper (Theorem S)"
    assert cf.theorem_3_3(T0=1000).source == "arXiv 2410.15483v3, Theorem 3.3"


def test_where_a_proof_stops() -> None:
    assert stop(cf.chord(4, "9/10")) == "at s = η the difference is (factor - 1)(e^η - 1), factor - 1 = -1/10"
    # c a_t = 2 and divisor 1: the product is -1, below the difference, but no bound below 0 is claimed.
    assert stop(cf.lemma_a3(1, [2], 1, 0, divisor=1)) == "the product is >= 0"
    assert stop(cf.sequential_trajectory("1/2", 100, 100, within=(2, 3))).startswith("the gap 1.19277724975 ± ")
    cover = cf.closed_form_minimiser(WIDE, max_pieces=50)
    assert stop(cover) == "width of the enclosure of θ*, λ in [0.015742188, 0.01765625]"


def test_the_end_of_a_phase_beyond_its_envelope_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cf.Potential, "over", lambda _self, _start: arb("-0.5"))
    first = stop(cf.sequential_trajectory("1/2", 500, 500))
    assert first.startswith("the first phase's end 4.801691703 ± ")


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


def test_the_ledger_shows_these_runs() -> None:
    inputs = [(c.claim, dict(c.inputs)) for c in cf.standard_certificates(steps=10)]
    assert [(i["steps"], i["theta_0"], i["theta_0_prime"]) for claim, i in inputs if claim == "A.3"] == [
        ("1 ×200", 5, -5)
    ]
    lengths = [(i.get("ratio"), i.get("T_first")) for claim, i in inputs if claim == "S"]
    assert lengths[-3:] == [(1, None), (100, None), (None, 1000000)]


# --- the minimiser ----------------------------------------------------------------------------------------------------


def test_the_minimiser_claimed_by_default_and_again() -> None:
    assert dict(cf.closed_form_minimiser("1/2").inputs)["tol"] == Fraction(1, 10**20)
    assert dict(cf.closed_form_minimiser(("1/3", "1/2")).inputs)["tol"] == Fraction(1, 4)
    wrong = cf.closed_form_minimiser("1/2", branch=-1)
    assert "z the negative root of" in wrong.statement
    assert stop(wrong.recheck()) == stop(wrong) == "a positive root z, λ in [0.5, 0.5]"
    assert not cf.closed_form_minimiser(WIDE, max_pieces=50).recheck().proven


@pytest.mark.parametrize("missing", [0, 1])
def test_both_ends_need_a_root(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def one_missing(_lam: Fraction, _x: Fraction, branch: int = 1) -> arb:
        calls.append(branch)
        return arb.nan() if len(calls) - 1 == missing else arb(0)

    monkeypatch.setattr(fam, "minimiser", one_missing)
    assert stop(cf.closed_form_minimiser("1/2", branch=-1)).startswith("a positive root z")
    assert calls == [-1, -1]


@pytest.mark.parametrize("convex", [True, False])
def test_the_second_derivative_weighs_both_curvatures(convex: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """λ q(x-u) + (1-λ) q(u) with q(x-u) = -2/3 and q(u) = 1/3 ± 1/100 at λ = 1/3 has the sign of ±."""
    x, u = ball(fam.TABLE_2.x), fam.minimiser(Fraction(1, 3), fam.TABLE_2.x)
    where: list[arb] = []

    def q(v: arb) -> arb:
        where.append(v)
        return ball(Fraction(-2, 3)) if len(where) == 1 else ball(Fraction(1, 3) + Fraction(1 if convex else -1, 100))

    monkeypatch.setattr(fam, "curvature", q)
    c = cf.closed_form_minimiser("1/3")
    assert c.proven is convex
    assert convex or stop(c).startswith("f''_Mix > 0 near θ*, λ in [0.3333")
    assert where[0].overlaps(x - u)
    assert where[1].overlaps(u)


def test_the_least_and_the_greatest_ball() -> None:
    for numbers in ([1, 2, 3], [3, 1, 2], [2, 3, 1]):
        assert min_ball([arb(n) for n in numbers]) == 1
        assert max_ball([arb(n) for n in numbers]) == 3


# --- balls ------------------------------------------------------------------------------------------------------------


def test_the_pieces_cover_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """φ' > 0 is proven on all of [0, η], with no part left out."""
    right, covered = scalar.exp_tail_slope, []

    def noted(s: arb) -> arb:
        slope = right(s)
        if slope > 0:
            covered.append((float(s.lower()), float(s.upper())))
        return slope

    monkeypatch.setattr(scalar, "exp_tail_slope", noted)
    for top in (Fraction(1, 2), Fraction(4), Fraction(8)):
        covered.clear()
        assert cf.exp_remainder(top).proven
        end = 0.0
        for lo, hi in sorted(covered):
            assert lo <= end
            end = max(end, hi)
        assert end >= top


def test_a_phase_encloses_the_images_of_its_ends_at_any_precision() -> None:
    """F(v) = v + ησ(-v) >= v, and from 2^20 on the rounded sum of the radii must not fall below the first of them."""
    with ctx.workprec(24):
        assert enclose_phase(arb(300, 2**20), Fraction(4), 1).contains(arb(300 + 2**20))


@pytest.mark.parametrize(("tries", "grows"), [(1, True), (5, True), (6, False)])
def test_the_inverse_widens_its_ball_sixteenfold_up_to_five_times(
    tries: int, grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ψ^{-1}(1) is about 0.1; from a wrong start 5 a radius of 6 reaches it, and a sixteenth of that does not."""
    pot = cf.Potential(Fraction(1, 4))
    slope = 2 * (pot.value(arb(5)) - 1) / 6 * 16**tries
    monkeypatch.setattr(cf.Potential, "_newton", lambda _self, _y: arb(5))
    monkeypatch.setattr(cf.Potential, "derivative", lambda _self, _v: slope)
    if grows:
        # 16^5 times the last bits that are added to the first radius stay below 1e-8
        assert float(pot.inverse(arb(1)).rad()) == pytest.approx(6, rel=1e-6)
    else:
        with pytest.raises(UnprovenStep):
            pot.inverse(arb(1))


# --- the search -------------------------------------------------------------------------------------------------------


def far() -> cf.Phases:
    """w_0 is about 30 after a short first phase and about 0 after a long one."""
    return cf.Phases(cf.Family(1, -30), "1/4", -30)


@pytest.mark.parametrize(
    ("lam", "g", "settings"),
    [
        ("1/2", "1/1000", {}),
        ("1/10", 1, {}),
        ("9/10", 2, {}),
        ("1/2", 1, {"ratio": 100}),
        ("1/10", 1, {"T_first": 10**6}),
        ("1/2", 1, {"alpha": 16}),
        ("1/10", 1, {"alpha": 16}),
    ],
)
def test_the_least_T0_is_found(lam: str, g: Any, settings: dict[str, Any]) -> None:
    phases = cf.Phases(alpha=settings.get("alpha", 1))
    chosen = {name: value for name, value in settings.items() if name != "alpha"}
    T0 = cf.find_T0(lam, g, phases=phases, **chosen)
    assert cf.sequential_gap(lam, g, T0=T0, phases=phases, **chosen).proven
    assert not cf.sequential_gap(lam, g, T0=T0 - 1, phases=phases, **chosen).proven


@pytest.mark.parametrize(("lam", "g", "prec", "share"), [("1/2", 7, 24, 1000), ("1/10", 1, 28, 10**4)])
def test_a_T0_that_takes_many_tries(lam: str, g: int, prec: int, share: int) -> None:
    """At few bits the first tries fail; what is found is an int all the same, proven so, and not far off."""
    T0, least = cf.find_T0(lam, g, prec=prec), cf.find_T0(lam, g)
    assert isinstance(T0, int)
    assert least <= T0 <= least + least // share
    assert cf.sequential_gap(lam, g, T0=T0, prec=prec).proven


def test_T0_far_out_is_not_far_off() -> None:
    T0 = cf.find_T0("1/10", 1, phases=far())
    assert cf.sequential_gap("1/10", 1, T0=T0, phases=far()).proven
    assert not cf.sequential_gap("1/10", 1, T0=T0 - T0 // 10**12, phases=far()).proven


def test_T0_may_be_1() -> None:
    """A first phase of at most one step from v_0 = -30 leaves w_0 near 30."""
    assert cf.find_T0("1/2", 1, phases=cf.Phases(cf.Family(1, 0), "1/4", -30), T_first=1) == 1
    assert [_floor(arb(y)) for y in ("-3.5", "0.5", "1.5", "2.5")] == [1, 1, 1, 2]


def test_what_stops_is_no_proof() -> None:
    assert not _proves(PhaseLengths.of(far(), 1, None), 2, arb(-1000))


def test_how_far_the_search_goes() -> None:
    """G is about (x + w)/2 at λ = 1/2, and w is looked for up to 2^17."""
    assert cf.sequential_gap("1/2", 50_000).proven
    with pytest.raises(ValueError, match="no T0 was found"):
        cf.find_T0("1/2", 80_000)


def test_a_huge_T0_has_15_digits() -> None:
    for T in (1, 10**20 - 1, 10**20):
        assert _round_up(T) == T
    for T in (10**20 + 1, 123456789012345678901, 2**70, 10**40 - 1, 7 * 10**6000 + 1):
        unit = 10 ** (len(integer_text(T).split("e")[0]) - 15)
        assert T <= _round_up(T) < T + unit
        assert _round_up(T) % unit == 0


@pytest.mark.parametrize(("lam", "T0", "low"), [(WIDE, 686, 1), ("1/2", 438, 2047), ("1/2", 605, 2220)])
def test_the_greatest_g_of_three_decimals(lam: Any, T0: int, low: int) -> None:
    """At T0 = 438 it lies just below the power of two up to which the search doubles."""
    c = cf.theorem_3_3(lam, T0=T0)
    assert c.proven
    assert dict(c.inputs)["g"] == Fraction(low, 1000)
    assert not cf.sequential_gap(lam, Fraction(low + 1, 1000), T0=T0).proven


def test_where_nothing_holds_the_least_g_is_asked_for() -> None:
    c = cf.theorem_3_3("1/2", T0=3, phases=cf.Phases(theta_1=-60))
    assert not c.proven
    assert dict(c.inputs)["g"] == Fraction(1, 1000)
