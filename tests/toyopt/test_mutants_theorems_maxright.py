"""What mutants of the bounds for MAXRIGHT showed to be untested: the names in messages, edges, two terms by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from toyopt.theorems import (
    Staleness,
    average_terms,
    best_terms,
    last_exact_terms,
    last_terms,
    optimum_error_terms,
    scaled_terms,
    staleness,
)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: best_terms(0.3, ["x"], distance=1, alpha0=1, T=1), ValueError, "grad_bounds: not"),
        (lambda: best_terms(0.3, [1.0], distance=1, alpha0=1, T=1), ValueError, r"grad_bounds: one an .* got \[1\.0\]"),
        (lambda: best_terms(0.3, [1, -2], distance=1, alpha0=1, T=1), ValueError, r"grad_bounds: .* got .*-2\.0"),
        (lambda: best_terms(0.3, [1, 2], distance="x", alpha0=1, T=1), TypeError, "distance: "),
        (lambda: best_terms(0.3, [1, 2], distance=-1, alpha0=1, T=1), ValueError, "distance: must be at least 0"),
        (lambda: best_terms(0.3, [1, 2], distance=1, alpha0="x", T=1), TypeError, "alpha0: "),
        (lambda: best_terms(0.3, [1, 2], distance=1, alpha0=0, T=1), ValueError, "alpha0: must be more than 0"),
        (lambda: best_terms(0.3, [1, 2], distance=1, alpha0=1, T=1.0), TypeError, "T: "),
        (lambda: best_terms(0.3, [1, 2], distance=1, alpha0=1, T=0), ValueError, "T: must be at least 1, got 0"),
        (lambda: last_exact_terms(0.3, [1, 2], distance="x", alphas=[1]), TypeError, "distance: "),
        (lambda: last_exact_terms(0.3, [1, 2], distance=-1, alphas=[1]), ValueError, "distance: must be at least 0"),
        (lambda: last_exact_terms(0.3, [0, 0], distance=1, alphas=[1]), ValueError, "grad_bounds: must be more than 0"),
        (lambda: scaled_terms(0.3, [1, 2], distance="x", T=1), TypeError, "distance: "),
        (lambda: scaled_terms(0.3, [1, 2], distance=-1, T=1), ValueError, "distance: must be at least 0"),
        (lambda: scaled_terms(0.3, [1, 2], distance=1, T=0), ValueError, "T: must be at least 1, got 0"),
        (lambda: scaled_terms(0.3, [1, 2], distance=1, T=1.0), TypeError, "T: "),
        (lambda: staleness(0.3, [1, 2], alpha="x", k=1, T=1), TypeError, "alpha: "),
        (lambda: staleness(0.3, [1, 2], alpha=0, k=1, T=1), ValueError, "alpha: must be more than 0"),
        (lambda: staleness(0.3, [1, 2], alpha=1, k=0, T=1), ValueError, "k: must be at least 1, got 0"),
        (lambda: staleness(0.3, [1, 2], alpha=1, k=1.0, T=1), TypeError, "k: "),
        (lambda: staleness(0.3, [1, 2], alpha=1, k=1, T=0), ValueError, "T: must be at least 1, got 0"),
        (lambda: staleness(0.3, [1, 2], alpha=1, k=1, T=1.0), TypeError, "T: "),
        (lambda: optimum_error_terms(0.3, ["x", 1]), ValueError, "errors: not"),
    ],
)
def test_a_message_names_the_argument(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        call()


def test_terms_by_hand() -> None:
    """λ = (0.3, 0.7), C = (4, 1), D = 3, α0 = 2, T = 4: unequal, and the heavier objective is the flatter one."""
    setting = {"distance": 3.0, "alpha0": 2.0, "T": 4}
    # 0.3 (9/8 + 16/2) = 2.7375 is more than 0.7 (9/8 + 1/2) = 1.1375.
    assert best_terms(0.3, [4, 1], **setting) == pytest.approx({"distance": 0.3 * 9 / 8, "steps": 0.3 * 16 / 2})
    assert average_terms(0.3, [4, 1], **setting) == pytest.approx({"distance": 0.7 * 9 / 8, "steps": 0.7 * 16 / 2})
    last = last_terms(0.3, [4, 1], **setting)
    assert last == pytest.approx({"distance": 0.7 * 9 / 8, "steps": 5.6, "log": 5.6 * (1 + 1 / 2 + 1 / 3)})
    assert scaled_terms(0.3, [4, 1], distance=3.0, T=4) == pytest.approx({"distance": 0.9, "steps": 0.9})
    assert last_exact_terms(0.3, [4, 1], distance=1.0, alphas=[0.5]) == pytest.approx(
        {"distance": 0.7 / 4, "steps": 0.7 * 8}
    )
    assert optimum_error_terms(0.3, [2.0, -1.0]) == pytest.approx({"over": 0.6, "under": 0.7})
    # Nothing is needed of a start at the comparator, or of gradients that vanish.
    assert best_terms(0.3, [0, 0], distance=0, alpha0=1, T=1) == {"distance": 0.0, "steps": 0.0}
    assert scaled_terms(0.3, [1, 2], distance=0, T=1) == {"distance": 0.0, "steps": 0.0}
    assert last_exact_terms(0.3, [4, 1], distance=0.0, alphas=[0.5])["distance"] == 0.0


def direct(e: Callable[[int], float], d: Callable[[int], float], slope: float, k: int, T: int) -> Staleness:
    """`staleness` as it is stated, with slope α C L_1."""
    mean = sum(d((t - 1) % k) for t in range(1, T + 1)) / T
    last = min(
        slope * (kappa - 1) / 2 + sum(d((T - m - 1) % k) / max(m + 1, kappa) for m in range(T))
        for kappa in range(1, T + 1)
    )
    return Staleness(max(e(j) for j in range(min(k, T))), mean, last)


@pytest.mark.parametrize(("k", "T"), [(1, 5), (3, 8), (4, 4), (9, 6), (2, 1), (5, 60)])
def test_staleness_as_it_is_stated(k: int, T: int) -> None:
    alpha, steep = 0.1, 4.0

    def two(j: int) -> float:  # λC = (1.2, 0.7): L_1 = 1.2, L_2 = 0.7; the lighter weight has C = 4
        return alpha * steep * (1.2 * j + 0.7) if j else 0.0

    expected = direct(two, lambda j: two(j) + alpha * steep * 0.4 * 4 * j, alpha * steep * 1.2, k, T)
    found = staleness(0.3, [4, 1], alpha=alpha, k=k, T=T)
    assert (found.worst, found.mean, found.last) == pytest.approx((expected.worst, expected.mean, expected.last))

    def three(j: int) -> float:  # λC = (0.8, 0.3, 1.0)
        return alpha * steep * 1.8 * j

    expected = direct(three, lambda j: three(j) * 2.5, alpha * steep * 1.0, k, T)
    found = staleness((0.2, 0.3, 0.5), [4, 1, 2], alpha=alpha, k=k, T=T)
    assert (found.worst, found.mean, found.last) == pytest.approx((expected.worst, expected.mean, expected.last))
    assert math.isfinite(found.last)
