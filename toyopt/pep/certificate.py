"""Certificates of worst cases: a program's multipliers, rounded to rationals, and checked by ball arithmetic.

Multipliers y >= 0 with Σ y_k b_k = b and Σ y_k A_k positive definite prove that no point of the program is above
Σ y_k c_k (weak duality), whatever the solver did. The multipliers of an interior-point method nearly have both
properties: the equations are restored exactly, by the change that is smallest in units of the multipliers, and a small
multiple of the squared norms makes the matrix definite. Proof: docs/theory.md, part P.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import partial

import numpy as np
from flint import arb, fmpq, fmpq_mat

from toyopt._check import Array
from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, ball, positive
from toyopt.pep.compare import MEASURED, SOURCE, WorstGap
from toyopt.pep.program import Program

GRID = 2**44  # multipliers are rounded to multiples of 1/GRID
SMALL = 1e-8  # a smaller multiplier of a value is the solver's error, and 0
# Of the tangents between values that have no other multipliers: both ways, so that it cancels.
LEAST = Fraction(1, 2**26)
MARGIN = Fraction(1, 10**6)  # by which the bound that is proven by default exceeds the solver's
SHIFT = Fraction(1, 10**9)  # added to the multipliers of the squared norms, besides the negative part of the spectrum

Matrix = Mapping[tuple[int, int], Fraction]


def certify_worst_gap(worst: WorstGap, bound: Exact | None = None, *, prec: int = 128) -> Certificate:
    """Prove that a setting's worst case is at most a bound.

    worst    from `toyopt.pep.compare.worst_gap`
    bound    a positive exact number; None: the solver's own, a millionth larger and rounded up to six digits
    prec     bits of ball arithmetic

    Returns a Certificate, proven if all programs have multipliers that give at most the bound.
    Raises TypeError for floats, ValueError for numbers that are not positive, and where a program was not solved.
    """
    if math.isnan(worst.dual):
        raise ValueError(f"worst: a program of the setting was not solved, got {worst.given}")
    level = _rounded_up(worst.dual) if bound is None else positive(bound, "bound")
    given = worst.given
    claim = Claim(
        "P",
        f"{given}: the largest {MEASURED[given.measure]} over all convex objectives is at most {level}",
        ("convex f_i with subgradients of norm at most C_i, full gradients, a start at distance at most D of θ*",),
        SOURCE,
        (
            ("lam", given.lam),
            ("C", given.bounds),
            ("D", given.distance),
            ("steps", given.steps),
            ("k", given.k),
            ("bound", level),
        ),
    )

    def body(proof: Proof) -> None:
        largest = Fraction(0)
        for number, (program, solution) in enumerate(worst.solved, start=1):
            which = f"program {number} of {len(worst.solved)}"
            largest = max(largest, _prove(proof, program, solution.multipliers, which))
        proof.keep("the bound that the multipliers give", ball(largest), 12)
        proof.require(largest <= level, f"the multipliers give at most {level}: they give {float(largest):.12g}")

    return certify(claim, body, prec=prec, rerun=partial(certify_worst_gap, worst, level))


def _prove(proof: Proof, program: Program, multipliers: Array, which: str) -> Fraction:
    """Check the rational multipliers of one program and return the bound that they give, exact."""
    y = rational(program, multipliers)
    proof.require(min(y) >= 0, f"{which}: multipliers are at least 0")
    left = dict(program.objective)
    for factor, constraint in zip(y, program.constraints, strict=True):
        for v, coefficient in constraint.values.items():
            left[v] = left.get(v, Fraction(0)) - factor * coefficient
    proof.require(not any(left.values()), f"{which}: the multipliers reproduce the objective")
    for i, pivot in enumerate(_pivots(_matrix(program, y), program.vectors)):
        proof.require(bool(pivot > 0), f"{which}: pivot {i + 1} of the matrix is positive")
    return sum((f * c.bound for f, c in zip(y, program.constraints, strict=True)), Fraction(0))


def rational(program: Program, multipliers: Array) -> list[Fraction]:
    """Return rational multipliers near the given ones that reproduce the objective exactly, the matrix being definite.

    The change is y_k² (b_k·μ): in units of y_k it is smallest, so that small multipliers keep their sign.
    """
    values = [constraint.values for constraint in program.constraints]
    kept = [float(m) if m >= SMALL or not of else 0.0 for m, of in zip(multipliers, values, strict=True)]
    y = [Fraction(round(m * GRID), GRID) for m in kept]
    used = {v for m, of in zip(kept, values, strict=True) if m for v in of}
    for k, constraint in enumerate(program.constraints):
        if constraint.inner and len(constraint.values) == 2 and not used >= set(constraint.values):
            y[k] += LEAST
    n = program.values
    normal, rest = [[Fraction(0)] * n for _ in range(n)], [program.objective.get(v, Fraction(0)) for v in range(n)]
    for factor, constraint in zip(y, program.constraints, strict=True):
        for v, a in constraint.values.items():
            rest[v] -= factor * a
            for w, b in constraint.values.items():
                normal[v][w] += factor**2 * a * b
    mu = _solve(normal, rest)
    for k, constraint in enumerate(program.constraints):
        y[k] += y[k] ** 2 * sum((a * mu[v] for v, a in constraint.values.items()), Fraction(0))
    dense = np.zeros((program.vectors, program.vectors))
    for (i, j), entry in _matrix(program, y).items():
        dense[i, j] = float(entry)
    shift = SHIFT + Fraction(max(0.0, -2.0 * float(np.linalg.eigvalsh(dense)[0])))
    for k in program.squares:
        y[k] += shift
    return y


def _solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    """Return a solution of linear equations in rational numbers, 0 where it is free; of those that have one."""
    n = len(right)
    entries = [x for row, last in zip(matrix, right, strict=True) for x in (*row, last)]
    reduced, rank = fmpq_mat(n, n + 1, [fmpq(x.numerator, x.denominator) for x in entries]).rref()
    out = [Fraction(0)] * n
    for i in range(rank):
        pivot = next(j for j in range(n + 1) if reduced[i, j] != 0)
        if pivot < n:
            out[pivot] = Fraction(int(reduced[i, n].p), int(reduced[i, n].q))
    return out


def _matrix(program: Program, y: list[Fraction]) -> Matrix:
    """Return Σ y_k A_k, exact, by row and column."""
    out: dict[tuple[int, int], Fraction] = {}
    for factor, constraint in zip(y, program.constraints, strict=True):
        for place, entry in constraint.matrix().items():
            out[place] = out.get(place, Fraction(0)) + factor * entry
    return out


def _pivots(matrix: Matrix, n: int) -> list[arb]:
    """Return the pivots of Gauss's elimination, as balls: all positive if and only if the matrix is definite."""
    rows = [[ball(matrix.get((i, j), Fraction(0))) for j in range(n)] for i in range(n)]
    pivots = []
    for k in range(n):
        pivots.append(rows[k][k])
        for i in range(k + 1, n):
            factor = rows[i][k] / rows[k][k]
            for j in range(k + 1, n):
                rows[i][j] -= factor * rows[k][j]
    return pivots


def _rounded_up(value: float) -> Fraction:
    """Return a number above `value` by a millionth, rounded up to six significant digits."""
    exact = Fraction(value) * (1 + MARGIN)
    unit = Fraction(10) ** (len(str(int(exact))) - 6 if exact >= 1 else -6)
    return -(-exact // unit) * unit
