"""Margins of any size: value, gradient and Hessian are right to rounding in *relative* terms.

The reference is mpmath at 800 digits: the definitions lose m/log(10) digits in 1 + e^-m, and what is smaller than
e^-745 is 0 in float64, so that 60 digits are left after losing 324 of them twice over. The features and parameters are
small integers and their products exact, so that the margins carry no error and what is left is the roundings of the
closed forms themselves.
"""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
from support import oracle
from support.oracle import Datum, Numbers, Spec

MARGINS = (-1e4, -700.0, -40.0, 0.0, 40.0, 700.0, 1e4)
EPS = np.finfo(float).eps
TINY = np.finfo(float).smallest_subnormal

# The longest chain: exp (1 ulp), expm1 and a sum (2), 1 + s (1/2), a quotient (1/2), a product of two such
# probabilities (4 + 4 + 1/2), a product with a feature (1/2), a sum of at most 3 of one sign (1) and a mean (1/2):
# less than 16 ulp, each at most EPS.
RELATIVE = 16 * EPS
# Where the true value is subnormal it is a multiple of TINY, and one so small carries exp's own rounding, 1 ulp, there.
ABSOLUTE = 4 * TINY


def mp_numbers() -> Numbers:
    return Numbers(mpmath.exp, mpmath.log, mpmath.fsum, lambda _: mpmath.mpf(0), mpmath.mpf)


def mp_hess(spec: Spec, theta: list[mpmath.mpf]) -> list[list[mpmath.mpf]]:
    """eq. (29), (31) from the definitions: β² h(1-h) ΔΔᵀ, and E[φφᵀ] - E[φ]E[φ]ᵀ."""
    n, d = mp_numbers(), len(theta)
    total = [[mpmath.mpf(0)] * d for _ in range(d)]
    for datum in spec.data:
        phi = [[mpmath.mpf(x) for x in row] for row in datum.outputs]
        if spec.is_dpo:
            h = mpmath.exp(-oracle.datum_value(spec, datum, theta, n))
            delta = [a - b for a, b in zip(phi[datum.wanted], phi[datum.loser], strict=True)]  # type: ignore[index]
            for i, j in itertools.product(range(d), range(d)):
                total[i][j] += spec.beta**2 * h * (1 - h) * delta[i] * delta[j]
            continue
        pi = [mpmath.exp(lp) for lp in oracle.log_policy(theta, datum, n)]
        mean = [mpmath.fsum(p * row[j] for p, row in zip(pi, phi, strict=True)) for j in range(d)]
        for i, j in itertools.product(range(d), range(d)):
            both = mpmath.fsum(p * row[i] * row[j] for p, row in zip(pi, phi, strict=True))
            total[i][j] += both - mean[i] * mean[j]
    return [[x / len(spec.data) for x in row] for row in total]


def assert_relative(computed: np.ndarray, exact: list[mpmath.mpf], what: str) -> None:
    for c, e in zip(np.ravel(computed), exact, strict=True):
        assert np.isfinite(c), what
        error = abs(mpmath.mpf(float(c)) - e)
        assert error <= RELATIVE * abs(e) + ABSOLUTE, f"{what}: {c!r} for {mpmath.nstr(e, 20)}"


def check(spec: Spec, theta: list[float]) -> None:
    o = spec.objective()
    with mpmath.workdps(800):
        exact = [mpmath.mpf(t) for t in theta]
        n = mp_numbers()
        f, g = oracle.value(spec, exact, n), oracle.grad(spec, exact, n)
        assert_relative(o.value(theta), [f], "value")
        assert_relative(o.grad(theta), g, "gradient")
        assert_relative(o.hess(theta), list(itertools.chain(*mp_hess(spec, exact))), "Hessian")
        assert_relative(
            o.target_probability(theta), [mpmath.exp(-oracle.datum_value(spec, spec.data[0], exact, n))], "probability"
        )


DPO = Spec("dpo", (Datum(((1.0,), (0.0,)), 0, 1),), 1.0, (0.0,))
HALF = Spec("dpo", (Datum(((3.0,), (1.0,), (7.0,)), 0, 1),), 0.5, (2.0,))  # margin theta - 2, one output unused
SFT = Spec("sft", (Datum(((0.0,), (1.0,)), 1),))
PLANE = Spec("sft", (Datum(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), 0),))  # margins theta_1, theta_2


@pytest.mark.parametrize("margin", [*MARGINS, -720.0, 720.0, -744.0, 744.0, 1.0, -1.0, 2.0**-40])
@pytest.mark.parametrize(("spec", "shift"), [(DPO, 0.0), (HALF, 2.0), (SFT, 0.0)], ids=["dpo", "beta", "sft"])
def test_two_answers(spec: Spec, shift: float, margin: float) -> None:
    if shift + margin - shift == margin:
        check(spec, [margin + shift])


@pytest.mark.parametrize("first", MARGINS)
def test_three_answers(first: float) -> None:
    for second in (-1e4, -700.0, -40.0, 0.0, 40.0, 700.0) if abs(first) == 1e4 else MARGINS[1:-1]:
        check(PLANE, [first, second])


def test_no_probability_is_lost_next_to_one() -> None:
    """At margin 700, h is 1 to the last bit, and h(1-h) is e^-700 all the same."""
    o = DPO.objective()
    with mpmath.workdps(60):
        small = float(mpmath.exp(-700))
    assert o.target_probability([700.0])[0] == 1.0
    np.testing.assert_allclose(o.hess([700.0])[0, 0], small, rtol=RELATIVE)
    np.testing.assert_allclose(o.grad([700.0])[0], -small, rtol=RELATIVE)
    np.testing.assert_allclose(o.value([700.0]), small, rtol=RELATIVE)


def test_the_tolerance_distinguishes_the_naive_forms() -> None:
    """h(1-h), log(1 + e^-m) and 1-h, written down as they stand, fail at a margin of 40 by far more than RELATIVE."""
    h = 1 / (1 + np.exp(-40.0))
    with mpmath.workdps(60):
        e = mpmath.exp(-40)
        exact = [mpmath.log(1 + e), e / (1 + e), e / (1 + e) ** 2]
    for naive, true in zip([np.log(1 + np.exp(-40.0)), 1 - h, h * (1 - h)], exact, strict=True):
        with pytest.raises(AssertionError):
            assert_relative(np.array([naive]), [true], "naive")


@pytest.mark.parametrize("margin", [1e6, 1e100, 1e300])
def test_far_beyond(margin: float) -> None:
    for spec in (DPO, SFT):
        o = spec.objective()
        assert o.value([-margin]) == margin
        assert o.value([margin]) == 0.0
        assert abs(o.grad([-margin])[0]) == 1.0
        assert o.grad([margin])[0] == 0.0
        assert o.hess([margin])[0, 0] == o.hess([-margin])[0, 0] == 0.0
