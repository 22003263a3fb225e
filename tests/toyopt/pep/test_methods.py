"""The methods as programs: published and independent optima, and the worst functions, run step by step."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from toyopt.pep import methods
from toyopt.pep.methods import Setting, programs, setting
from toyopt.pep.program import Program, Solution, solve

EQUAL = {"lam": "3/10", "bounds": "1,1"}
STEEP = {"lam": "4/5", "bounds": "1,2"}


def solved(given: Setting) -> list[tuple[Program, Solution]]:
    return [(program, solve(program)) for program in programs(given)]


def worst(given: Setting) -> float:
    return max(solution.optimum for _, solution in solved(given))


# Optima of the same worst cases by PEPit 0.5.1 (ConvexLipschitzFunction, both gaps as expressions, all sequences of
# choices), with cvxpy 1.9.3 and Clarabel: T = 3, α = 1/2, D = 1.
PEPIT = [
    ("maxright", STEEP, {"measure": "last"}, 0.87390948),
    ("maxright", STEEP, {"measure": "average"}, 0.47541976),
    ("maxright", STEEP, {"measure": "last", "k": 2}, 1.62220501),
    ("maxright", EQUAL, {"measure": "average", "k": 3}, 0.45640786),
]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(("method", "numbers", "other", "expected"), PEPIT)
def test_the_optima_are_those_of_pepit(
    method: str, numbers: dict[str, str], other: dict[str, Any], expected: float
) -> None:
    assert worst(setting(method, **numbers, **other, steps="1/2,1/2")) == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize("T", [2, 3, 5])
def test_linear_decay_ends_at_the_published_optimum(T: int) -> None:
    """Zamani and Glineur (arXiv 2307.11134): DC/√T is the exact worst case for α_t = (D/(C√T))(1 - t/T)."""
    steps = [3.0 / (2.0 * math.sqrt(T)) * (1 - t / T) for t in range(1, T)]
    given = setting("mix", lam="1/4", bounds="2,2", steps=steps, distance=3)
    assert worst(given) == pytest.approx(6.0 / math.sqrt(T), rel=1e-7)


def test_mix_is_the_subgradient_method_with_the_mean_slope() -> None:
    """Without a step the largest gap at distance D is C̄ D, with C̄ = Σ λ_i C_i."""
    given = setting("mix", lam="1/4", bounds="1,3", steps="1e-9", distance=2)  # a step that hardly moves
    assert worst(given) == pytest.approx((0.25 * 1 + 0.75 * 3) * 2, rel=1e-6)


@pytest.mark.slow
def test_stale_gaps_that_are_evaluated_each_step_are_not_stale() -> None:
    """The program with all values and subgradients of all objectives, for k = 1, has the optimum of the small one."""
    given = setting("maxright", **STEEP, steps="1/2,1/2")
    full = max(
        solve(methods._stale(given, chosen, list(chosen))).optimum for chosen in itertools.product((0, 1), repeat=3)
    )
    assert full == pytest.approx(worst(given), abs=1e-7)


@pytest.mark.slow
def test_a_longer_time_between_evaluations_is_not_better_for_the_last_iterate() -> None:
    """For k >= T gaps are evaluated once; with k = 1 the last iterate's worst case is smaller."""
    last = [worst(setting("maxright", **EQUAL, steps="1/2,1/2,1/2", k=k)) for k in (1, 3)]
    assert last[1] > 1.5 * last[0]
    once = [worst(setting("maxright", **EQUAL, steps="1/2,1/2", k=k)) for k in (3, 7)]
    assert once[0] == pytest.approx(once[1], abs=1e-8)


def factor(gram: np.ndarray) -> np.ndarray:
    """Vectors (rows) with this Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def test_mixs_worst_function_is_worst_when_it_is_run() -> None:
    """f = max of the tangents, run by plain steps: it ends at the optimum."""
    given = setting("mix", lam="1/2", bounds="1,1", steps="1/2,1/4,3/4")
    ((_, answer),) = solved(given)
    vectors = factor(answer.gram)
    x, slopes = vectors[0], vectors[1:]
    assert np.linalg.norm(x) <= 1 + 1e-6
    assert np.linalg.norm(slopes, axis=1).max() <= 1 + 1e-6
    points = [x]
    for step, slope in zip((0.5, 0.25, 0.75), slopes, strict=False):
        points.append(points[-1] - step * slope)

    def f(y: np.ndarray) -> np.ndarray:
        return np.array([v + g @ (y - p) for v, g, p in zip(answer.values, slopes, points, strict=True)])

    for t, point in enumerate(points):
        assert f(point).max() - f(point)[t] <= 1e-6  # the t-th tangent is active: its slope is a subgradient
    assert f(np.zeros_like(x)).max() <= 1e-6
    assert f(points[-1]).max() == pytest.approx(answer.optimum, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
def test_memory_efficient_maxrights_worst_functions_are_worst_when_they_are_run(k: int) -> None:
    """A plain loop with stored gaps on φ_i = max of tangents: it may make the sequence's choices, and ends so high."""
    given = setting("maxright", **EQUAL, steps="1/2,1/2,1/2", k=k)
    lam = (0.3, 0.7)
    answer = max((solution for _, solution in solved(given)), key=lambda solution: solution.optimum)
    vectors = factor(answer.gram)
    # The order of the vectors and values: the start; at each t the subgradient, and the value, of each objective.
    slopes, values = vectors[1:].reshape(4, 2, -1), answer.values.reshape(4, 2)
    assert (np.linalg.norm(slopes, axis=2) <= np.array(lam) + 1e-6).all()
    best = -math.inf
    for chosen in itertools.product((0, 1), repeat=4):
        points = [vectors[0]]
        for t in range(3):
            points.append(points[-1] - 0.5 / lam[chosen[t]] * slopes[t, chosen[t]])

        def phi(i: int, y: np.ndarray, points: list[np.ndarray] = points) -> float:
            return max(float(values[s, i] + slopes[s, i] @ (y - points[s])) for s in range(4))

        stored, allowed = [0.0, 0.0], phi(0, 0 * vectors[0]) <= 1e-6 and phi(1, 0 * vectors[0]) <= 1e-6
        for t in range(4):
            if t % k == 0:
                stored = [phi(0, points[t]), phi(1, points[t])]
            i = chosen[t]
            here = phi(i, points[t])
            allowed &= stored[i] >= stored[1 - i] - 1e-6 and abs(here - values[t, i]) <= 1e-6
            stored[i] = here
        if allowed:
            best = max(best, phi(0, points[-1]), phi(1, points[-1]))
    assert best == pytest.approx(answer.optimum, abs=1e-4)


@pytest.mark.slow
def test_alrights_worst_functions_are_worst_in_expectation() -> None:
    """f_i = max of tangents over the tree of draws: the mean over the four paths of two draws is the optimum."""
    given = setting("alright", **STEEP, steps="1/2,1/2")
    ((_, answer),) = solved(given)
    vectors, lam = factor(answer.gram), (0.8, 0.2)
    # Vectors: the start, then for each level all of f_1, all of f_2; so are the values.
    tangents: list[list[np.ndarray]] = [[], []]
    values: list[list[float]] = [[], []]
    at = 0
    for width in (1, 2, 4):
        for i in (0, 1):
            tangents[i] += list(vectors[1 + at : 1 + at + width])
            values[i] += answer.values[at : at + width].tolist()
            at += width
    points, chances = [vectors[0]], [1.0]
    for node in range(3):
        for i in (0, 1):
            points.append(points[node] - 0.5 * tangents[i][node])
            chances.append(chances[node] * lam[i])

    def f(i: int, y: np.ndarray) -> float:
        return max(v + float(g @ (y - p)) for v, g, p in zip(values[i], tangents[i], points, strict=True))

    for i in (0, 1):
        assert max(np.linalg.norm(g) for g in tangents[i]) <= (1, 2)[i] + 1e-6
        assert f(i, 0 * vectors[0]) <= 1e-6
        for node in range(3):  # its tangent is a subgradient there
            assert f(i, points[node]) == pytest.approx(values[i][node], abs=1e-5)
    mean = sum(chances[n] * sum(w * f(i, points[n]) for i, w in enumerate(lam)) for n in range(3, 7))
    assert mean == pytest.approx(answer.optimum, abs=1e-5)


def test_alrights_least_gap_is_at_most_the_mean_of_its_gaps() -> None:
    """Both are positive and at most the first gap, D Σ λ_i C_i = 1.2."""
    values = [worst(setting("alright", **STEEP, steps="1/2", measure=m)) for m in ("best", "average")]
    assert 0.0 < values[0] <= values[1] + 1e-8 < 1.2


@pytest.mark.slow
def test_equal_objectives_need_one_sequence() -> None:
    assert len(list(programs(setting("maxright", lam="1/2", bounds="1,1", steps="1/2,1/2,1/2")))) == 1
    assert len(list(programs(setting("maxright", **STEEP, steps="1/2,1/2,1/2")))) == 8
    assert len(list(programs(setting("maxright", **STEEP, steps="1/2,1/2,1/2", k=2)))) == 2 ** (4 + 1)
    assert len(list(programs(setting("maxright", **STEEP, steps="1/2,1/2,1/2", k=2, measure="best")))) == 2 ** (4 + 2)
    for given in (
        setting("maxright", **STEEP, steps="1/2,1/2,1/2"),
        setting("maxright", **STEEP, steps="1/2,1/2,1/2", k=3),
        setting("maxright", **STEEP, steps="1/2,1/2,1/2", k=3, measure="average"),
    ):
        assert methods._count(given) == len(list(programs(given)))


def test_numbers_are_exact_however_they_are_written() -> None:
    text = setting("maxright", lam="0.3", bounds="1, 2", steps="0.5,1/4", distance="3/2")
    assert text == setting("maxright", lam=[0.3, 0.7], bounds=[1, 2.0], steps=[0.5, 0.25], distance=1.5)
    assert str(text) == "MAXRIGHT; λ = 3/10, 7/10; C = 1, 2; D = 3/2; T = 3; α = 1/2, 1/4"
    assert str(setting("maxright", **EQUAL, steps="1/2,1/2", k=2)).endswith("α = 1/2; k = 2")
    assert [float(share) for share in text.shares] == [0.5, 0.25, 0.25]


GOOD: dict[str, Any] = {"method": "maxright", **EQUAL, "steps": "1/2,1/2"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "sgd"}, "method: one of mix, alright, maxright is needed, got 'sgd'"),
        ({"measure": "first"}, "measure: one of last, average, best is needed, got 'first'"),
        ({"lam": "1"}, r"lam: λ in \(0, 1\), or positive weights of sum 1, are needed, got '1'"),
        ({"lam": "0.5,0.6"}, "lam: λ in"),
        ({"lam": "x"}, "lam: a number such as"),
        ({"bounds": "1,1,1"}, "bounds: 2 numbers are needed, one an objective, got 3"),
        ({"bounds": "0,0"}, "bounds: one C_i at least must be positive"),
        ({"bounds": "-1,1"}, "bounds: numbers of at least 0 are needed"),
        ({"steps": "1/2,0"}, "steps: numbers above 0 are needed, got"),
        ({"steps": []}, "steps: one number at least is needed"),
        ({"distance": "1,2"}, "distance: one number is needed"),
        ({"distance": 0}, "distance: numbers above 0 are needed"),
        ({"k": 0}, "k: a whole number of at least 1 is needed, got 0"),
        ({"k": 2, "method": "mix"}, "k: only MAXRIGHT evaluates all gaps every k steps, got k = 2 for mix"),
        ({"k": 2, "steps": "1/2,1/4"}, "steps: the bounds for k = 2 are of a constant step"),
        ({"bounds": "1,1", "steps": ["1/2"] * 64}, r"steps: at most 64 iterates are solved, .* got T = 65: lower T"),
        ({"steps": ["1/2"] * 13}, "steps: at most 4096 sequences of choices are solved, got 8192: lower T"),
        ({"method": "alright", "steps": ["1/2"] * 5}, r"steps: ALRIGHT's draws have at most 31 paths here \(T = 5\)"),
    ],
)
def test_a_wrong_number_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        setting(**(GOOD | wrong))


def test_a_bool_is_no_number() -> None:
    with pytest.raises(TypeError, match=r"^distance: a number such as"):
        setting(**(GOOD | {"distance": True}))
