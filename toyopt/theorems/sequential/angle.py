"""The critical angle: Sequential forgets for ever only if the two pulls are nearly opposite.

Two dimensions: DPO pulls along the first axis, SFT against the direction at the angle ψ to it, so that ψ = 0 is the
lower-bound family (opposite pulls), ψ = π/2 no conflict, ψ = π agreement. After T_1 steps on DPO and T_2 on SFT the gap
is λ log(1 + e^K (ηT_2)^{cos ψ} (ηT_1)^{-sin² ψ}) + o(1). Beyond the paper: docs/theory.md, S10.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.record import Record
from toyopt.theorems.sequential.potential import envelope, softplus
from toyopt.theorems.sequential.two_phases import TwoPhases

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S10"


@reads_numbers
def critical_angle(first: float = 1.0, second: float = 1.0) -> float:
    """Compute ψ* in (0, π/2] below which the gap diverges for T_1 = T^first, T_2 = T^second: second cos = first sin².

    Source: beyond the paper, docs/theory.md, S10. Arguments: first, second > 0. For equal phases cos ψ* = (√5 - 1)/2.
    Returns: ψ*, in radians. Raises: ValueError or TypeError naming the argument.
    """
    ratio = _check.real("second", second, above=0.0) / _check.real("first", first, above=0.0)
    return math.acos(2.0 / (1.0 + math.sqrt(1.0 + 4.0 / ratio**2)) / ratio)  # (√(r²+4) - r)/2 without cancelling


def growth(psi: float, first: float = 1.0, second: float = 1.0) -> float:
    """Compute (second cos ψ - first sin² ψ)₊: the gap is λ times that times log T, and O(1)."""
    psi = angle(psi)
    return max(second * math.cos(psi) - first * math.sin(psi) ** 2, 0.0)


def angle(psi: float) -> float:
    """Return ψ, checked to lie in (0, π], where inf f_Mix,λ is 0."""
    psi = _check.real("psi", psi, above=0.0)
    if psi > math.pi:
        raise ValueError(f"psi: must be in (0, π], in radians, got {psi!r}")
    return psi


def enclosure(run: TwoPhases, psi: float, start: float, T_1: int, T_2: int) -> tuple[Array, Array]:
    """Compute (low, high) of DPO's margin -c(θ_1 - θ_ref) and of SFT's -w at the end, each (2,): docs/theory.md, S10.

    start is c times the second coordinate of the first iterate.
    """
    cos, sin = math.cos(psi), math.sin(psi)
    v = np.array(envelope(run.start, run.eta, T_1)).reshape(2)
    w0 = np.sort(-(run.x + v) * cos) - start * sin
    room = 16 * _U * (abs(run.x) + np.abs(v).max() + abs(start))
    w = np.array([envelope(w0[0] - room, run.eta, T_2)[0], envelope(w0[1] + room, run.eta, T_2)[1]], dtype=float)
    fixed = run.x * cos**2 + start * sin * cos
    ends = np.sort(cos * w) - np.sort(sin**2 * v)[::-1] + fixed
    room = 16 * _U * (abs(fixed) + np.abs(w).max() + np.abs(v).max())
    return np.array([ends[0] - room, -w[1]]), np.array([ends[1] + room, -w[0]])


def follow(run: TwoPhases, psi: float, start: float, T_1: int, T_2: int) -> tuple[float, float, float]:
    """Compute DPO's margin and SFT's at the end by the recursions, and a bound of their rounding."""
    from toyopt.theorems.sequential import _recursion

    cos, sin = math.cos(psi), math.sin(psi)
    v = float(_recursion.one_run(run.start, run.eta, np.array([T_1]))[0])
    w0 = -(run.x + v) * cos - start * sin
    w = float(_recursion.one_run(w0, run.eta, np.array([T_2]))[0])
    M, N = max(abs(v), abs(run.start)) + abs(run.x) + abs(start), max(abs(w0), abs(w))
    return cos * (w - w0) - v, -w, _U * ((M + abs(v)) * (16 + M) + (N + abs(w)) * (16 + N) + 16 * (M + N))


def law(run: TwoPhases, psi: float, start: float, T_1: int, T_2: int) -> float:
    """Compute K + cos ψ log(ηT_2) - sin² ψ log(ηT_1), which DPO's margin tends to."""
    cos, sin = math.cos(psi), math.sin(psi)
    fixed = run.x * cos**2 + start * sin * cos
    return fixed + cos * math.log(run.eta * T_2) - sin**2 * math.log(run.eta * T_1)


@reads_numbers
def sequential_angle(
    *,
    psi: float,
    lam: float,
    T_DPO: int,
    T_SFT: int,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 1.0,
    theta_1: float | None = None,
    theta_2: float = 0.0,
) -> tuple[Record, Record, Record]:
    """Compute both sides of the law of the angle: bounds of Sequential's gap, and its closed form with an error.

    Problem: d = 2, f_DPO = l(-c(θ_1 - θ_ref)), f_SFT = l(c(θ_1 cos ψ + θ_2 sin ψ)), l(z) = log(1+e^z), 0 < ψ <= π; full
        gradients, constant alpha, 0 < η = c² alpha <= 4; DPO first.
    Statement: G_Mix,λ = f_Mix,λ lies between its values at the ends of an enclosure by Lemma P for each phase; and
        |G_Mix,λ - λ log(1 + e^K (ηT_SFT)^{cos ψ} (ηT_DPO)^{-sin² ψ})| <= an explicit error that tends to 0,
        K = c θ_ref cos² ψ + c θ_2 sin ψ cos ψ. So for T_DPO = T_SFT the gap diverges if and only if cos ψ > (√5 - 1)/2.
    Kind: lower, and upper twice. Source: beyond the paper, docs/theory.md, S10; sharpens its Remark A.4.
    Arguments: psi in radians; lam in (0, 1); T_DPO, T_SFT >= 1; theta_1 (None: θ_ref) and theta_2, the start.
    Returns: three Records. Raises: ValueError or TypeError naming the argument.
    """
    run, psi = TwoPhases(c, theta_ref, alpha, theta_1), angle(psi)
    lam, start = run.weight(lam), c * _check.real("theta_2", theta_2)
    T_1, T_2 = _check.whole("T_DPO", T_DPO, low=1), _check.whole("T_SFT", T_SFT, low=1)
    weights = np.array([lam, 1.0 - lam])
    low, high = enclosure(run, psi, start, T_1, T_2)
    *margins, rounding = follow(run, psi, start, T_1, T_2)
    attained = float(weights @ softplus(np.array(margins)))
    limit = law(run, psi, start, T_1, T_2)
    size = 1.0 + float(np.abs(margins).max())
    rounding += 16 * _U * size
    away = np.abs(softplus(np.array([low[0], high[0]])) - softplus(limit))  # l increases
    error = lam * float(away.max()) + (1.0 - lam) * float(softplus(high[1]))
    degrees = f"{math.degrees(psi):.4g}°"

    def record(kind: Literal["lower", "upper"], text: str, bound: float, value: float) -> Record:
        return Record("S-angle", f"ψ = {degrees}: {text}", kind, bound, value, _SOURCE, tolerance=rounding, scale=size)

    return (
        record("lower", "G_Mix,λ(θ_T) >= its least by Lemma P", float(weights @ softplus(low)), attained),
        record("upper", "G_Mix,λ(θ_T) <= its largest by Lemma P", float(weights @ softplus(high)), attained),
        record(
            "upper",
            "|G_Mix,λ(θ_T) - λ log(1 + e^K (ηT_SFT)^{cos ψ} (ηT_DPO)^{-sin² ψ})| <= an explicit error",
            error,
            abs(attained - lam * float(softplus(limit))),
        ),
    )
