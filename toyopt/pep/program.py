"""The semidefinite program of a worst case, in exact numbers, and its solution by Clarabel.

The unknowns are vectors, of which only the Gram matrix G occurs, and function values v. The program is

    maximise  b·v   subject to   tr(A_k G) + b_k·v <= c_k for all k,   G positive semidefinite,

with rational A_k, b_k, c_k. It is the performance estimation problem of Drori and Teboulle (2014) in the form of
Taylor, Hendrickx and Glineur (2017): a convex function with given values v_s and subgradients g_s at given points x_s
exists if and only if v_s + <g_s, x_p - x_s> <= v_p for all s and p, so the optimum is the exact worst case over all
convex functions and all dimensions. Nothing of `toyopt.theorems` is used: the two are independent of one another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from toyopt._check import Array

Point = Mapping[int, Fraction]  # a linear combination of the program's vectors, by their number

COARSEST = 1e-6  # tolerance that a solution reaches at least
REMEDY = "the semidefinite solver Clarabel is not installed: pip install -e '.[pep]' installs it"


@dataclass(frozen=True)
class Constraint:
    """One inequality: Σ <u, w> over the pairs of `inner`, plus Σ coefficient · value, is at most `bound`."""

    inner: tuple[tuple[Point, Point], ...]
    values: Mapping[int, Fraction]
    bound: Fraction

    def matrix(self) -> dict[tuple[int, int], Fraction]:
        """Return the symmetric matrix A of the inner products, by row and column."""
        entries: dict[tuple[int, int], Fraction] = {}
        for u, w in self.inner:
            for i, a in u.items():
                for j, b in w.items():
                    for place in ((i, j), (j, i)):
                        entries[place] = entries.get(place, Fraction(0)) + a * b / 2
        return {place: entry for place, entry in entries.items() if entry}


@dataclass
class Program:
    """A semidefinite program under construction: its vectors and values are numbered as they are added.

    squares[i] is the number of the constraint that bounds the squared norm of vector i: every vector has one.
    """

    vectors: int = 0
    values: int = 0
    constraints: list[Constraint] = field(default_factory=list)
    squares: list[int] = field(default_factory=list)
    objective: dict[int, Fraction] = field(default_factory=dict)

    def vector(self, square: Fraction) -> Point:
        """Add a vector of squared norm at most `square`."""
        point = {self.vectors: Fraction(1)}
        self.vectors += 1
        self.squares.append(len(self.constraints))
        self.constraints.append(Constraint(((point, point),), {}, square))
        return point

    def value(self) -> int:
        """Add a value, unbounded by itself, and return its number."""
        self.values += 1
        return self.values - 1

    def at_most(self, smaller: Mapping[int, Fraction], larger: Mapping[int, Fraction]) -> None:
        """Require one combination of values to be at most another."""
        self.constraints.append(Constraint((), combine((1, smaller), (-1, larger)), Fraction(0)))

    def cut(self, value: int, slope: Point, there: Point, other: int | None, here: Point) -> None:
        """Require that a tangent (its value and slope at `there`) is at most the value `other` (None: 0) at `here`."""
        values = {value: Fraction(1)} | ({} if other is None else {other: Fraction(-1)})
        step = combine((1, here), (-1, there))
        self.constraints.append(Constraint(((slope, step),), values, Fraction(0)))


def combine(*terms: tuple[Fraction | int, Point]) -> Point:
    """Return a linear combination of points, or of combinations of values."""
    out: dict[int, Fraction] = {}
    for factor, point in terms:
        for i, coefficient in point.items():
            out[i] = out.get(i, Fraction(0)) + factor * coefficient
    return {i: coefficient for i, coefficient in out.items() if coefficient}


@dataclass(frozen=True, eq=False)
class Solution:
    """The solver's answer to a program, in floating point.

    optimum      the value attained by `gram` and `values`; NaN if the solver did not succeed
    dual         the bound that the multipliers give; equal to `optimum` up to the solver's tolerance
    multipliers  (constraints,) one for each constraint, at least 0
    gram         (vectors, vectors) the Gram matrix of a worst function's start and subgradients
    values       (values,) its function values
    """

    optimum: float
    dual: float
    multipliers: Array
    gram: Array
    values: Array


def solver() -> ModuleType:
    """Import Clarabel; raise ModuleNotFoundError with the remedy where it is not installed."""
    try:
        import clarabel
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(REMEDY) from error
    module: ModuleType = clarabel
    return module


def solve(program: Program, *, tolerance: float = 1e-9) -> Solution:
    """Maximise the objective of a program with Clarabel.

    program    from `Program`
    tolerance  of feasibility and of the duality gap, absolute and relative

    Where the solver makes no progress it begins again with ten times the tolerance, up to `COARSEST`. Returns a
    Solution, whose optimum is NaN if that was not reached either.
    Raises ModuleNotFoundError where Clarabel is not installed.
    """
    clarabel = solver()
    from scipy import sparse

    n, width = program.vectors, program.vectors * (program.vectors + 1) // 2
    rows, columns, entries = [], [], []
    bounds = []
    for k, constraint in enumerate(program.constraints):
        for (i, j), entry in constraint.matrix().items():
            if i <= j:
                rows.append(k)
                columns.append(_place(i, j))
                entries.append(float(entry) * (1.0 if i == j else math.sqrt(2.0)))
        for v, coefficient in constraint.values.items():
            rows.append(k)
            columns.append(width + v)
            entries.append(float(coefficient))
        bounds.append(float(constraint.bound))
    m, size = len(bounds), width + program.values
    linear = sparse.csc_matrix((entries, (rows, columns)), shape=(m, size))
    cone = sparse.hstack([-sparse.identity(width), sparse.csc_matrix((width, program.values))])
    target = np.zeros(size)
    for v, coefficient in program.objective.items():
        target[width + v] = -float(coefficient)
    while True:
        answer = clarabel.DefaultSolver(
            sparse.csc_matrix((size, size)),
            target,
            sparse.csc_matrix(sparse.vstack([linear, cone])),
            np.concatenate([bounds, np.zeros(width)]),
            [clarabel.NonnegativeConeT(m), clarabel.PSDTriangleConeT(n)],
            _settings(clarabel, tolerance),
        ).solve()
        solved = str(answer.status) in ("Solved", "AlmostSolved")
        if solved or tolerance >= COARSEST:
            break
        tolerance *= 10
    x, z = np.asarray(answer.x), np.asarray(answer.z)
    gram = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            gram[i, j] = gram[j, i] = x[_place(i, j)] / (1.0 if i == j else math.sqrt(2.0))
    return Solution(
        optimum=-float(answer.obj_val) if solved else math.nan,
        dual=-float(answer.obj_val_dual) if solved else math.nan,
        multipliers=np.maximum(z[:m], 0.0),
        gram=gram,
        values=x[width:].copy(),
    )


def _settings(clarabel: ModuleType, tolerance: float) -> Any:
    """Return settings of the solver: silent, one thread, the tolerance, and `COARSEST` where that is not reached."""
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
    settings.reduced_tol_gap_abs = settings.reduced_tol_gap_rel = settings.reduced_tol_feas = COARSEST
    return settings


def _place(i: int, j: int) -> int:
    """Return the place of entry (i, j), i <= j, among the columns of the upper triangle."""
    return j * (j + 1) // 2 + i
