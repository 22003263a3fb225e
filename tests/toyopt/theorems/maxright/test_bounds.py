"""The bounds for MAXRIGHT: their values by hand, and a search for problems beyond them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
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
from toyopt.theorems.maxright import bounds

RUN = {"distance": 3.0, "alpha0": 0.7, "T": 4}


UNEQUAL = (0.3, [2.0, 0.5])  # λ = (0.3, 0.7), C = (2, 1/2): the lighter objective is the steeper


def total(terms):
    return math.fsum(terms.values())


def test_best_terms_by_hand():
    # i = 1: 0.3·9/2.8 + 0.3·0.7·4/4 = 1.174..; i = 2: 0.7·9/2.8 + 0.7·0.7·0.25/4 = 2.280625
    assert bounds.best_terms(*UNEQUAL, **RUN) == pytest.approx({"distance": 2.25, "steps": 0.030625}, rel=1e-15)
    near = bounds.best_terms(*UNEQUAL, **(RUN | {"distance": 0.1}))
    assert near == pytest.approx({"distance": 0.003 / 2.8, "steps": 0.21}, rel=1e-15)


def test_average_and_last_terms_by_hand():
    assert bounds.average_terms(*UNEQUAL, **RUN) == pytest.approx({"distance": 2.25, "steps": 0.49}, rel=1e-15)
    last = bounds.last_terms(*UNEQUAL, **RUN)  # H_3 = 11/6
    assert last == pytest.approx({"distance": 2.25, "steps": 0.49, "log": 0.49 * 11 / 6}, rel=1e-15)


def test_exact_terms_by_hand():
    # One update of 1/2: B = max(4/2, 3/2) = 2, D²/(2B) = 9/4, (C²/2)(B - 2/2) = 2.
    terms = bounds.last_exact_terms(*UNEQUAL, distance=3.0, alphas=[0.5])
    assert terms == pytest.approx({"distance": 0.7 * 2.25, "steps": 0.7 * 2.0}, rel=1e-15)


def test_scaled_terms_by_hand():
    # L = max(0.3·2, 0.7·0.5) = 0.6
    assert bounds.scaled_terms(*UNEQUAL, distance=3.0, T=4) == pytest.approx({"distance": 0.45, "steps": 0.45})


def test_staleness_by_hand():
    # L = (0.6, 0.35), αC = 0.2: e = 0, 0.19, 0.31; the lighter one has C_ = 2: d = e + 0.2·0.4·2 j = 0, 0.35, 0.63.
    price = bounds.staleness(*UNEQUAL, alpha=0.1, k=3, T=5)
    assert price.worst == pytest.approx(0.31, rel=1e-15)
    assert price.mean == pytest.approx((0 + 0.35 + 0.63 + 0 + 0.35) / 5, rel=1e-14)
    d = [0.35, 0, 0.63] * 10  # from the 29th iterate back; one more, the first, has 0 here as well
    for T in (29, 5, 2):
        back = (d[1:] if T % 3 == 1 else d)[:T]
        by_hand = [0.12 * (c - 1) / 2 + sum(x / max(m, c) for m, x in enumerate(back, 1)) for c in range(1, T + 1)]
        last = bounds.staleness(*UNEQUAL, alpha=0.1, k=3, T=T).last
        assert last == pytest.approx(min(by_hand), rel=1e-13)
        assert T != 29 or by_hand.index(min(by_hand)) not in (0, T - 1)  # the minimum over κ is inside


def test_staleness_of_three_objectives_by_hand():
    # λC = 0.4, 0.75, 0.4·0.5 = 0.2: e = 0.1·2.5·(0.75 + 0.4) j; d = (0.4/0.2... = λ̄/λ_) e
    price = bounds.staleness([0.2, 0.3, 0.5], [2.0, 2.5, 0.4], alpha=0.1, k=3, T=7)
    e = 0.25 * (0.75 + 0.4)
    assert price.worst == pytest.approx(2 * e, rel=1e-14)
    assert price.mean == pytest.approx(2.5 * (0 + 1 + 2 + 0 + 1 + 2 + 0) * e / 7, rel=1e-14)


@pytest.mark.parametrize("k", [1, 2, 7, 50])
def test_staleness_is_0_for_k_1_and_bounded_by_the_age(k):
    price = bounds.staleness(*UNEQUAL, alpha=0.1, k=k, T=40)
    assert price.worst <= 0.2 * 0.6 * min(k, 40)  # α C max λ_i C_i k
    assert (k == 1) == (price.worst == price.mean == price.last == 0.0)
    assert price == bounds.staleness(*UNEQUAL, alpha=0.1, k=k, T=40)


def test_optimum_error_terms_count_the_spread_only():
    assert bounds.optimum_error_terms(0.3, [2.0, -0.5]) == pytest.approx({"over": 0.6, "under": 0.35})
    assert bounds.optimum_error_terms(0.3, [2.0, 0.5]) == pytest.approx({"over": 0.6, "under": -0.35})
    assert total(bounds.optimum_error_terms(0.25, [3.0, 1.0])) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("T", [2, 3, 10, 500])
def test_closed_forms_agree_with_the_exact_worst_case(T):
    D, C, alpha0 = 1.7, 2.3, 0.9
    odd = sum(1 / (2 * j - 1) for j in range(1, T))
    half = 0.7 * (D**2 / (2 * alpha0 * math.sqrt(T) * (2 - 1 / T)) + (1 + odd) * C**2 * alpha0 / (2 * math.sqrt(T)))
    exact = total(bounds.last_exact_terms(0.3, [1.0, C], distance=D, alphas=np.full(T - 1, alpha0 / math.sqrt(T))))
    plain = total(bounds.last_terms(0.3, [1.0, C], distance=D, alpha0=alpha0, T=T))
    assert exact <= half * (1 + 1e-12)
    assert half <= plain * (1 + 1e-12)
    decay = D / (C * math.sqrt(T)) * (1 - np.arange(1, T) / T)
    log_free = total(bounds.last_exact_terms(0.3, [1.0, C], distance=D, alphas=decay))
    assert log_free == pytest.approx(0.7 * D * C / math.sqrt(T), rel=1e-12)


def piecewise_run(rng):
    n, d, T = int(rng.choice([2, 2, 3])), int(rng.integers(1, 3)), int(rng.integers(2, 9))
    k = int(rng.choice([1, 1, 2, 5]))
    weights = np.maximum(rng.dirichlet(np.full(n, rng.choice([0.3, 1.0]))), 1e-3)
    weights /= weights.sum()
    pieces = [(rng.normal(size=(int(rng.integers(1, 3)), d)) * rng.choice([0.3, 1, 3])) for _ in range(n)]
    offsets = rng.normal(size=n) * rng.choice([0, 0.01, 0.3])
    alphas = np.full(T - 1, rng.choice([0.1, 1.0]))
    if k == 1:
        alphas = alphas * rng.choice([1.0, 3.0], size=T - 1)
    theta = rng.normal(size=d) * rng.choice([0, 0.01, 0.1, 1])
    path, stored = [theta], np.zeros(n)
    for s in range(T - 1):
        now = np.array([(g @ theta).max() for g in pieces]) - offsets
        stored = now.copy() if s % k == 0 else stored
        i = int(np.argmax(weights * stored))
        stored[i] = now[i]
        theta = theta - alphas[s] * pieces[i][np.argmax(pieces[i] @ theta)]
        path.append(theta)
    F = [max(w * ((g @ x).max() - b) for w, g, b in zip(weights, pieces, offsets, strict=True)) for x in path]
    grad_bounds = [float(np.linalg.norm(g, axis=1).max()) for g in pieces]
    return weights, grad_bounds, alphas, k, path, np.array(F)


@pytest.mark.slow
def test_a_search_over_piecewise_linear_problems_comes_close_and_never_beyond():
    rng = np.random.default_rng(7)
    reached = dict.fromkeys(["last", "mean", "best", "stale"], 0.0)
    broken = dict.fromkeys(["lightest weight", "smallest C", "paired mean"], 0.0)
    for _ in range(2500):
        weights, C, alphas, k, path, F = piecewise_run(rng)
        c = int(rng.choice([0, 0, int(np.argmin(F))]))
        distance, T = float(np.linalg.norm(path[0] - path[c])), len(path)
        if k == 1:
            exact = total(bounds.last_exact_terms(weights, C, distance=distance, alphas=alphas))
            reached["last"] = max(reached["last"], (F[-1] - F[c]) / exact)
            light = exact * weights.min() / weights.max()
            broken["lightest weight"] = max(broken["lightest weight"], (F[-1] - F[c]) / light)
            flat = total(bounds.last_exact_terms(weights, [min(C)] * len(C), distance=distance, alphas=alphas))
            broken["smallest C"] = max(broken["smallest C"], (F[-1] - F[c]) / flat)
        if (alphas != alphas[0]).any():
            continue
        run = {"distance": distance, "alpha0": alphas[0] * math.sqrt(T), "T": T}
        price = bounds.staleness(weights, C, alpha=alphas[0], k=k, T=T)
        mean = total(bounds.average_terms(weights, C, **run)) + price.mean
        paired = total(bounds.best_terms(weights, C, **run))
        reached["mean"] = max(reached["mean"], (F.mean() - F[c]) / mean)
        reached["best"] = max(reached["best"], (F.min() - F[c]) / min(mean, paired + price.worst))
        reached["stale"] = max(
            reached["stale"], (F[-1] - F[c]) / (total(bounds.last_terms(weights, C, **run)) + price.last)
        )
        broken["paired mean"] = max(broken["paired mean"], (F.mean() - F[c]) / (paired + price.mean))
    assert max(reached.values()) <= 1 + 1e-12
    assert min(reached["last"], reached["mean"]) > 0.95
    assert min(broken.values()) > 1.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.best_terms(0.3, [1.0], distance=1.0, alpha0=1.0, T=2), "grad_bounds: one an objective"),
        (lambda: bounds.best_terms(0.3, [1.0, -1.0], distance=1.0, alpha0=1.0, T=2), "grad_bounds: must be at least 0"),
        (lambda: bounds.best_terms(0.3, [1.0, 1.0], distance=-1.0, alpha0=1.0, T=2), "distance: must be at least 0"),
        (lambda: bounds.last_terms(0.3, [1.0, 1.0], distance=1.0, alpha0=1.0, T=0), "T: must be at least 1"),
        (lambda: bounds.last_exact_terms(0.3, [1, 1], distance=1.0, alphas=[0.0]), "alphas: step sizes must be pos"),
        (lambda: bounds.last_exact_terms(0.3, [0, 0], distance=1.0, alphas=[1.0]), "grad_bounds: must be more than 0"),
        (lambda: bounds.staleness(0.3, [1, 1], alpha=1.0, k=0, T=3), "k: must be at least 1"),
        (lambda: bounds.staleness(0.3, [1, 1], alpha=0.0, k=1, T=3), "alpha: must be more than 0"),
        (lambda: bounds.optimum_error_terms([0.2, 0.8], [1.0]), "lam: 1 weights are needed"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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


def test_staleness_where_the_second_weight_is_the_lighter():
    """λ = 0.7, C = (4, 1): e(1) = α 4 (2.8 + 0.3), d(1) = e(1) + α 4 (0.4) 1; k = 2, T = 2, α = 0.1."""
    found = bounds.staleness(0.7, [4.0, 1.0], alpha=0.1, k=2, T=2)
    assert found.worst == pytest.approx(1.24)
    assert found.mean == pytest.approx((1.24 + 0.16) / 2)
