"""The closed-form minimiser, with wrong quadratics and roots that are not proven."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from flint import arb
from support.certified_runs import stops

from toyopt import certify as cf
from toyopt.certify import family as fam
from toyopt.certify import scalar
from toyopt.certify.exact import ball

WIDE = ("1/100", "99/100")


@pytest.mark.parametrize("lam", ["1/2", "1/100", "0.99", WIDE, ("1/3", "2/3")])
def test_minimiser(lam: Any) -> None:
    assert cf.closed_form_minimiser(lam).proven
    assert cf.closed_form_minimiser(lam, family=cf.Family("3/2", "-7/3")).proven
    stops(cf.closed_form_minimiser(lam, branch=-1), "a positive root z")


def test_minimiser_needs_pieces_and_precision() -> None:
    stops(cf.closed_form_minimiser(WIDE, max_pieces=50), "width of the enclosure")
    stops(cf.closed_form_minimiser("1/2", prec=53), "width of the enclosure")  # 1e-20 is beyond 53 bits
    assert cf.closed_form_minimiser("1/2", prec=53, tol="1e-12").proven


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lam, K: (1 - lam, (1 - lam) * K, -lam * K),  # 1-λ for 1-2λ
        lambda lam, K: (lam, (2 * lam - 1) * K, (lam - 1) * K),  # λ and 1-λ swapped
        lambda lam, K: (1 - lam, (1 - 2 * lam) * K, -lam),  # K missing
    ],
)
def test_a_wrong_quadratic_is_caught(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fam, "quadratic", wrong)
    stops(cf.closed_form_minimiser("1/3"), "is not the quadratic in z")


def test_a_wrong_minimiser_is_caught_by_the_sign_change(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fam.minimiser
    for shift, words in ((1, "f'_Mix < 0 left"), (-1, "f'_Mix > 0 right")):

        def moved(lam: Fraction, x: Fraction, branch: int = 1, shift: int = shift) -> Any:
            return right(lam, x, branch) + shift

        monkeypatch.setattr(fam, "minimiser", moved)
        stops(cf.closed_form_minimiser("1/3"), words)


def stop(certificate: cf.Certificate) -> str:
    """Where a proof stopped."""
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    return certificate.stopped_at


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
