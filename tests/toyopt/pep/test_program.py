"""The semidefinite program: optima that are known, the solver's multipliers, and what is said without the solver."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

from toyopt.pep.program import Constraint, Program, combine, solve

ONE = Fraction(1)


def spread(n: int) -> Program:
    """The largest -Σ_{i<j} <u_i, u_j> of n vectors of length at most 1: n/2, where their sum is 0."""
    program = Program()
    vectors = [program.vector(ONE) for _ in range(n)]
    value = program.value()
    pairs = tuple((vectors[i], vectors[j]) for i in range(n) for j in range(i))
    program.constraints.append(Constraint(pairs, {value: ONE}, Fraction(0)))
    program.objective = {value: ONE}
    return program


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_optimum_of_vectors_that_spread_is_half_their_number(n: int) -> None:
    solution = solve(spread(n))
    expected = n / 2
    assert solution.optimum == pytest.approx(expected, abs=1e-7)
    assert solution.dual == pytest.approx(expected, abs=1e-7)
    assert solution.values[0] == pytest.approx(expected, abs=1e-7)
    assert np.diag(solution.gram) == pytest.approx(np.ones(n), abs=1e-6)
    if n > 2:  # their sum has length 0
        assert float(solution.gram.sum()) == pytest.approx(0.0, abs=1e-6)


def test_the_multipliers_make_the_bound() -> None:
    """Weak duality by hand: Σ y_k c_k is the optimum, Σ y_k b_k the objective, Σ y_k A_k has no negative eigenvalue."""
    program = spread(3)
    y = solve(program).multipliers
    assert min(y) >= 0.0
    bound = sum(float(c.bound) * m for c, m in zip(program.constraints, y, strict=True))
    assert bound == pytest.approx(1.5, abs=1e-7)
    assert y[-1] == pytest.approx(1.0, abs=1e-7)
    matrix = np.zeros((3, 3))
    for constraint, m in zip(program.constraints, y, strict=True):
        for place, entry in constraint.matrix().items():
            matrix[place] += m * float(entry)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-7


def test_a_program_without_a_bound_has_no_optimum() -> None:
    program = Program()
    program.vector(ONE)
    value = program.value()
    program.at_most({}, {value: ONE})
    program.objective = {value: ONE}
    assert math.isnan(solve(program).optimum)
    assert math.isnan(solve(program).dual)


def test_an_order_of_values_and_a_tangent_are_required() -> None:
    """v <= w <= 0 at θ* and w + <g, -x> <= 0 with ‖g‖ <= 2, ‖x‖ <= 3: v is at most 6."""
    program = Program()
    x, g = program.vector(Fraction(9)), program.vector(Fraction(4))
    v, w = program.value(), program.value()
    program.at_most({v: ONE}, {w: ONE})
    program.cut(w, g, x, None, {})
    program.objective = {v: ONE}
    assert solve(program).optimum == pytest.approx(6.0, abs=1e-6)


def test_a_combination_of_points_drops_zeros() -> None:
    assert combine((2, {0: ONE, 1: ONE}), (-1, {0: Fraction(2), 2: ONE})) == {1: Fraction(2), 2: Fraction(-1)}
    assert Constraint((({0: ONE}, {1: ONE}), ({1: -ONE}, {0: ONE})), {}, ONE).matrix() == {}


def test_without_the_solver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clarabel", None)
    with pytest.raises(ModuleNotFoundError, match=r"^the semidefinite solver Clarabel .* -e '\.\[pep\]'"):
        solve(spread(2))
