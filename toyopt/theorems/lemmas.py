"""Lemmas A.3, A.5, A.6 and A.7 of arXiv 2410.15483v3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.expectation.paths import branches

_U = 2.0**-53


@reads_numbers
def lemma_a3(theta: float, theta_prime: float, *, alphas: ArrayLike, c: float) -> Record:
    """Compute both sides of Lemma A.3 for two runs of theta <- theta + a_t (1 - σ(c theta)).

    Problem: real starts theta >= theta', any steps a_t with 0 < c a_t <= 4 (they may vary and, with c, be negative).
    Statement: theta_T - theta'_T >= (theta_0 - theta'_0) Π_t (1 - c a_t/4) >= 0.
    Kind: lower. Source: arXiv 2410.15483v3, Lemma A.3.
    Arguments: theta, theta_prime the starts; alphas (T,) a_1 .. a_T, T >= 1; c.
    Returns: a Record; `terms` has the start's difference and the product, and the bound is their product.
    Raises: ValueError if theta < theta_prime or some c a_t is not in (0, 4]; as usual otherwise.
    """
    x, y = _check.real("theta", theta), _check.real("theta_prime", theta_prime)
    if x < y:
        raise ValueError(f"theta: must be at least theta_prime = {y!r}, got {x!r}")
    c, a = _check.real("c", c), _check.array("alphas", alphas, 1)
    wrong = ~((c * a > 0) & (c * a <= 4))
    if wrong.any():
        t = int(np.argmax(wrong))
        raise ValueError(f"alphas: c a_t must be in (0, 4], got {c * a[t]!r} at t = {t + 1}")
    start, error = x - y, _U * (abs(x) + abs(y))
    for step in a.tolist():
        x, y = x + step * float(expit(-c * x)), y + step * float(expit(-c * y))
        # Each run: 1 - σ to 4 u of itself and to |c theta| u of its argument's, which σ' <= 1/4 makes c theta u/4; then
        # a product and a sum. The exact map does not increase earlier errors.
        error += _U * (8 * abs(step) + (1 + abs(c * step)) * (abs(x) + abs(y)))
    product = float(np.prod(1 - c * a / 4))
    return Record(
        claim="A.3",
        statement="θ_T - θ'_T >= (θ_0 - θ'_0) Π_t (1 - c a_t/4)",
        kind="lower",
        bound=start * product,
        attained=x - y,
        source="arXiv 2410.15483v3, Lemma A.3",
        terms={"difference": start, "product": product},
        tolerance=2 * error + 4 * len(a) * _U * start,
        scale=max(abs(x), abs(y)),
    )


@reads_numbers
def lemma_a5(problem: Problem, theta_t: ArrayLike, theta: ArrayLike, *, lam: float | Sequence[float]) -> Record:
    """Compute both sides of Lemma A.5: f_Mix lies above its tangents.

    Problem: any; λ in [0, 1], or weights.
    Statement: f_Mix(theta_t) - f_Mix(theta) <= ⟨∇f_Mix(theta_t), theta_t - theta⟩ for all theta_t, theta.
    Kind: upper. Source: arXiv 2410.15483v3, Lemma A.5, eq. (46).
    Arguments: theta_t, theta (..., d), two batches that broadcast; lam.
    Returns: a Record of the pair with the least slack in units of its tolerance.
    Raises: ValueError or TypeError naming the argument.
    """
    here = _check.theta("theta_t", theta_t, problem.dim)
    there = _check.theta("theta", theta, problem.dim)
    try:
        here, there = np.broadcast_arrays(here, there)
    except ValueError as problem_of_shapes:
        message = f"theta: shape {there.shape} does not broadcast with theta_t's {here.shape}"
        raise ValueError(message) from problem_of_shapes
    here, there = here.reshape(-1, problem.dim), there.reshape(-1, problem.dim)
    if len(here) == 0:
        raise ValueError("theta_t: is empty, one parameter at least is needed")
    rise = problem.f_mix(here, lam) - problem.f_mix(there, lam)
    tangent = (problem.grad_mix(here, lam) * (here - there)).sum(axis=-1)
    error = rounding(problem, here) + rounding(problem, there)
    worst = int(np.argmin((tangent - rise) / error))
    return Record(
        claim="A.5",
        statement="f_Mix(θ_t) - f_Mix(θ) <= ⟨∇f_Mix(θ_t), θ_t - θ⟩",
        kind="upper",
        bound=float(tangent[worst]),
        attained=float(rise[worst]),
        source="arXiv 2410.15483v3, Lemma A.5, eq. (46)",
        terms={"inner product": float(tangent[worst])},
        tolerance=float(error[worst]),
        scale=float(max(problem.f_mix(here[worst], lam), problem.f_mix(there[worst], lam))),
    )


def rounding(problem: Problem, theta: Array) -> Array:
    """Bound (...) the rounding of f_Mix(theta), and of the product of a gradient with a vector of that length.

    A margin a_rᵀ(theta - o) is off by (d + 3) u ‖a_r‖(‖theta‖ + ‖o‖); values move with it, at slope 1, and their sum
    over R rows and N data adds (R + 10) u of their size, at most log(1+R) and the largest margin. A probability is off
    by twice the margins' error, but then so is the tangent of the same function at a shifted point: slope again.
    """
    out = np.zeros(theta.shape[:-1])
    for o in problem.objectives:
        reach = o.grad_bound * (np.sqrt((theta**2).sum(axis=-1)) + float(np.sqrt((o.origin**2).sum())))
        many = len(o.rows) + problem.dim + 13
        out = np.maximum(out, 4 * many * _U * (1 + np.log1p(len(o.rows)) + reach))
    return out


def lemma_a6(eta: ArrayLike, q: ArrayLike) -> Record:
    """Compute both sides of Lemma A.6: the last member of a weighted sequence against its average and tails.

    Problem: η_1 >= η_2 >= ... >= η_T > 0 and q_t >= 0, T >= 1.
    Statement: η_T q_T <= (1/T) Σ_{t=1..T} η_t q_t + Σ_{k=1..T-1} [1/(k(k+1))] Σ_{t=T-k+1..T} η_t (q_t - q_{T-k}).
    Kind: upper; equal for a constant η, and then for any real q.
    Source: arXiv 2410.15483v3, Lemma A.6 (Orabona).
    Arguments: eta, q (T,).
    Returns: a Record; terms "average" and "tails" sum to the bound. O(T).
    Raises: ValueError if eta increases or is not positive, if q is negative somewhere and eta not constant, or on
        lengths that differ; as usual otherwise.
    """
    weights, values = _check.array("eta", eta, 1), _check.array("q", q, 1)
    T = len(weights)
    if len(values) != T:
        raise ValueError(f"q: length {T} is needed, as eta has, got {len(values)}")
    if not (weights > 0).all():
        raise ValueError(f"eta: must be positive, got {weights[~(weights > 0)][0]!r}")
    if (np.diff(weights) > 0).any():
        t = int(np.argmax(np.diff(weights) > 0))
        raise ValueError(f"eta: must not increase, got {weights[t]!r} before {weights[t + 1]!r}")
    constant = bool((weights == weights[0]).all())
    if not constant and (values < 0).any():
        raise ValueError(f"q: must not be negative where eta is not constant, got {values[values < 0][0]!r}")
    average = float((weights * values).sum()) / T
    k = np.arange(1, T)
    # Tails t = T-k+1 .. T for k = 1 .. T-1: the k last members.
    weight_sums = np.cumsum(weights[::-1])[:-1]
    value_sums = np.cumsum((weights * values)[::-1])[:-1]
    before = values[::-1][1:]  # q_{T-k}
    tails = float(((value_sums - before * weight_sums) / (k * (k + 1.0))).sum())
    # Sums of at most T products, twice: each member is in 2 + log T of the averages at most.
    size = float((weights * np.abs(values)).max()) + float(np.abs(values).max()) * float(weights[0])
    return Record(
        claim="A.6",
        statement="η_T q_T against the average of η_t q_t and the tails' differences",
        kind="equal" if constant else "upper",
        bound=average + tails,
        attained=float(weights[-1] * values[-1]),
        source="arXiv 2410.15483v3, Lemma A.6",
        terms={"average": average, "tails": tails},
        tolerance=4 * (T + 4) * _U * size * (2 + float(np.log(T))),
        scale=size,
    )


def noise_level(problem: Problem, lam: float | Sequence[float], constants: Sequence[float] | None = None) -> float:
    """Compute C² = λ C1² + (1-λ) C2², with the data's own C1 and C2 unless `constants` are given."""
    weights = _check.weights("lam", lam, len(problem))
    if constants is None:
        each: tuple[float, ...] = tuple(o.grad_bound for o in problem.objectives)
    else:
        each = tuple(_check.real(f"constants[{i}]", c, low=0.0) for i, c in enumerate(constants))
        if len(each) != len(problem):
            raise ValueError(f"constants: {len(problem)} numbers are needed, one an objective, got {len(each)}")
    return sum(w * c**2 for w, c in zip(weights, each, strict=True))


def mean_square_constants(problem: Problem) -> tuple[float, ...]:
    """Compute constants for A.7, 4.1 and A that are at most C1, C2: the root of the data's mean square.

    All that those proofs use is E‖u_t‖² <= C², and a mean over the data of ‖g‖² is at most the mean of each datum's own
    squared constant. They agree with C1, C2 where the data are equally long (docs/theory.md, A1).
    """
    each = (np.maximum.reduceat((o.rows**2).sum(axis=1), o.starts) for o in problem.objectives)
    return tuple(float(np.sqrt(squares.mean())) for squares in each)


@reads_numbers
def lemma_a7(
    problem: Problem,
    theta_t: ArrayLike,
    theta: ArrayLike,
    *,
    lam: float | Sequence[float],
    alpha: float,
    stochastic: bool = False,
    constants: Sequence[float] | None = None,
) -> Record:
    """Compute both sides of Lemma A.7: the expected progress of one step of ALRIGHT.

    Problem: any; λ in [0, 1] or weights; step size alpha > 0.
    Statement: alpha (f_Mix(theta_t) - f_Mix(theta)) <= ½‖theta_t-theta‖² - ½E‖theta_{t+1}-theta‖² + (alpha²/2) C² for
        every theta_t and theta, C² = λC1² + (1-λ)C2². (The paper takes expectations over theta_t as well.)
    Kind: upper. Source: arXiv 2410.15483v3, Lemma A.7, eq. (48).
    Arguments: theta_t, theta (d,); lam; alpha; stochastic: each outcome is a datum, not an objective; constants:
        (C1, C2) to use in place of the data's own.
    Returns: a Record, how "enumerated": E is the sum over all outcomes. Terms "progress" (½‖..‖² - ½E‖..‖²) and
        "noise" sum to the bound. The progress is Σ_j p_j ⟨alpha g_j, theta_t - theta - alpha g_j/2⟩, where no squares
        cancel.
    Raises: ValueError or TypeError naming the argument.
    """
    here, there = _check.theta("theta_t", theta_t, problem.dim), _check.theta("theta", theta, problem.dim)
    for name, point in (("theta_t", here), ("theta", there)):
        if point.ndim != 1:
            raise ValueError(f"{name}: shape ({problem.dim},) is needed, got {point.shape}")
    alpha = _check.real("alpha", alpha, above=0.0)
    progress = 0.0
    for outcome in branches(problem, lam, stochastic=stochastic):
        move = alpha * outcome.objective.grad(here)
        progress += outcome.probability * float(move @ (here - there - move / 2))
    noise = alpha**2 / 2 * noise_level(problem, lam, constants)
    error = rounding(problem, np.stack([here, there])).sum()
    return Record(
        claim="A.7",
        statement="α(f_Mix(θ_t) - f_Mix(θ)) <= ½‖θ_t-θ‖² - ½E‖θ_{t+1}-θ‖² + (α²/2)(λC1² + (1-λ)C2²)",
        kind="upper",
        bound=progress + noise,
        attained=alpha * float(problem.f_mix(here, lam) - problem.f_mix(there, lam)),
        source="arXiv 2410.15483v3, Lemma A.7, eq. (48)",
        evidence="enumerated",
        terms={"progress": progress, "noise": noise},
        tolerance=float(alpha * error + noise * 1e-14),  # the noise: 2 data + 20 roundings, fewer than 90
        scale=alpha * float(max(problem.f_mix(here, lam), problem.f_mix(there, lam))),
    )
