"""The methods of arXiv 2410.15483 as semidefinite programs: worst cases of their gaps after a few steps.

Every program is a maximum over all convex objectives f_i with subgradients of norm at most C_i, all dimensions, all
starts at distance at most D from a comparator θ*, and all f_i*. Function values are relative to those at θ*: for
MAXRIGHT φ_i = λ_i (f_i - f_i*) - F(θ*), so that φ_i(θ*) <= 0. T iterates are T-1 updates, full gradients. A choice that
depends on values, as MAXRIGHT's, makes one program for each sequence of choices: the worst case is the largest optimum.
Ties may be broken either way. Statement and proof: docs/theory.md, part P.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from toyopt import _numbers
from toyopt.pep.program import Point, Program, combine

Method = Literal["mix", "alright", "maxright"]
Measure = Literal["last", "average", "best"]
METHODS: tuple[Method, ...] = ("mix", "alright", "maxright")
MEASURES: tuple[Measure, ...] = ("last", "average", "best")
MOST_PROGRAMS = 4096
MOST_ITERATES = 64
MOST_NODES = 31  # of ALRIGHT's tree of draws: T = 5 for two objectives


@dataclass(frozen=True)
class Setting:
    """A method with all numbers that its worst case depends on; see `setting`.

    lam      the n weights, positive, of sum 1
    bounds   the n C_i, not negative
    steps    α_1 .. α_{T-1}, positive
    """

    method: Method
    lam: tuple[Fraction, ...]
    bounds: tuple[Fraction, ...]
    distance: Fraction
    steps: tuple[Fraction, ...]
    k: int = 1
    measure: Measure = "last"

    @property
    def T(self) -> int:
        """Number of iterates."""
        return len(self.steps) + 1

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """The T weights of the average, α_1 .. α_T over their sum, with α_T = α_{T-1} (the step that is not made)."""
        steps = (*self.steps, self.steps[-1])
        return tuple(step / sum(steps) for step in steps)

    @property
    def weighted(self) -> tuple[Fraction, ...]:
        """The n slopes λ_i C_i."""
        return tuple(w * c for w, c in zip(self.lam, self.bounds, strict=True))

    def __str__(self) -> str:
        parts = [
            self.method.upper() if self.method != "mix" else "Mix",
            "λ = " + ", ".join(map(str, self.lam)),
            "C = " + ", ".join(map(str, self.bounds)),
            f"D = {self.distance}",
            f"T = {self.T}",
            "α = " + (_text(self.steps[0]) if len(set(self.steps)) == 1 else ", ".join(map(_text, self.steps))),
        ]
        return "; ".join(parts + ([f"k = {self.k}"] if self.k > 1 else []))


def setting(
    method: str,
    *,
    lam: Any,
    bounds: Any,
    steps: Any,
    distance: Any = 1,
    k: Any = 1,
    measure: str = "last",
) -> Setting:
    """Check the numbers of a worst case and make them exact.

    method    "mix", "alright" or "maxright"
    lam       λ in (0, 1), or n positive weights of sum 1
    bounds    (n,) the C_i; one at least is positive
    steps     (T-1,) α_1 .. α_{T-1}, positive; floats stand for the shortest decimals that are read as them
    distance  D > 0
    k         MAXRIGHT: steps from one evaluation of all gaps to the next; 2 and more need a constant step
    measure   "last": the gap of θ_T; "average": the mean of the gaps, weighted by the steps; "best": the least gap

    Raises ValueError or TypeError naming the argument.
    """
    if method not in METHODS:
        raise ValueError(f"method: one of {', '.join(METHODS)} is needed, got {method!r}")
    if measure not in MEASURES:
        raise ValueError(f"measure: one of {', '.join(MEASURES)} is needed, got {measure!r}")
    weights = _list("lam", lam, above=True)
    if len(weights) == 1:
        weights = (weights[0], 1 - weights[0])
    if min(weights) <= 0 or abs(sum(weights, Fraction(-1))) > Fraction(1, 10**9):
        raise ValueError(f"lam: λ in (0, 1), or positive weights of sum 1, are needed, got {lam!r}")
    weights = tuple(w / sum(weights) for w in weights)
    slopes = _list("bounds", bounds, above=False)
    if len(slopes) != len(weights):
        raise ValueError(f"bounds: {len(weights)} numbers are needed, one an objective, got {len(slopes)}")
    if max(slopes) <= 0:
        raise ValueError(f"bounds: one C_i at least must be positive, got {bounds!r}")
    sizes, far = _list("steps", steps, above=True), _list("distance", distance, above=True)
    if len(far) != 1:
        raise ValueError(f"distance: one number is needed, got {distance!r}")
    every = _numbers.whole("k", k, low=1)
    if every > 1 and method != "maxright":
        raise ValueError(f"k: only MAXRIGHT evaluates all gaps every k steps, got k = {every} for {method}")
    if every > 1 and len(set(sizes)) > 1:
        raise ValueError(f"steps: the bounds for k = {every} are of a constant step, got {steps!r}")
    out = Setting(method, weights, slopes, far[0], sizes, every, measure)
    if out.T > MOST_ITERATES:
        raise ValueError(
            f"steps: at most {MOST_ITERATES} iterates are solved, with T² conditions, got T = {out.T}: lower T"
        )
    if method == "alright" and sum(len(weights) ** t for t in range(out.T)) > MOST_NODES:
        raise ValueError(f"steps: ALRIGHT's draws have at most {MOST_NODES} paths here (T = 5), got T = {out.T}")
    if method == "maxright" and _count(out) > MOST_PROGRAMS:
        raise ValueError(f"steps: at most {MOST_PROGRAMS} sequences of choices are solved, got {_count(out)}: lower T")
    return out


def programs(given: Setting) -> Iterator[Program]:
    """Yield the programs whose largest optimum is the worst case of a setting."""
    if given.method == "mix":
        yield _sequence(given, [sum(given.weighted, Fraction(0))] * given.T, list(given.steps))
    elif given.method == "alright":
        yield _tree(given)
    elif given.k == 1:
        # Only λ_i and C_i of a step's objective matter, and of the last one, from which no step is made, only λ_i C_i.
        kinds = sorted(set(zip(given.lam, given.bounds, strict=True)))
        for pairs in itertools.product(kinds, repeat=given.T - 1):
            slopes = [*(w * c for w, c in pairs), max(given.weighted)]
            yield _sequence(given, slopes, [a / w for a, (w, _) in zip(given.steps, pairs, strict=True)])
    else:
        objectives = range(len(given.lam))
        measured = [objectives if t % given.k else [None] for t in range(given.T)]
        if given.measure == "last":
            measured[:-1] = [[None]] * (given.T - 1)
        for chosen, largest in itertools.product(
            itertools.product(objectives, repeat=given.T), itertools.product(*measured)
        ):
            yield _stale(given, chosen, [i if m is None else m for i, m in zip(chosen, largest, strict=True)])


def _count(given: Setting) -> int:
    """Return the number of programs of MAXRIGHT."""
    if given.k == 1:
        return int(len(set(zip(given.lam, given.bounds, strict=True))) ** (given.T - 1))
    times = range(given.T - 1, given.T) if given.measure == "last" else range(given.T)
    return int(len(given.lam) ** (given.T + sum(t % given.k > 0 for t in times)))


def _measure(program: Program, given: Setting, gaps: list[dict[int, Fraction]]) -> None:
    """Set the objective: the gaps at t = 1 .. T, as combinations of values, make the last, the mean or the least."""
    if given.measure == "last":
        program.objective = gaps[-1]
    elif given.measure == "average":
        program.objective = dict(combine(*zip(given.shares, gaps, strict=True)))
    else:
        least = program.value()
        for gap in gaps:
            program.at_most({least: Fraction(1)}, gap)
        program.objective = {least: Fraction(1)}


def _sequence(given: Setting, slopes: list[Fraction], steps: list[Fraction]) -> Program:
    """Return the program of the subgradient method on one convex F, with its own slope bound and step at each iterate.

    MAXRIGHT is this method on F for a sequence of choices: the tangents at the iterates where i is chosen make φ_i.
    """
    program = Program()
    start = program.vector(given.distance**2)
    points, values, tangents = [start], [], []
    for t, slope in enumerate(slopes):
        tangents.append(program.vector(slope**2))
        values.append(program.value())
        if t < len(steps):
            points.append(combine((1, points[-1]), (-steps[t], tangents[-1])))
    _convex(program, points, values, tangents)
    _measure(program, given, [{value: Fraction(1)} for value in values])
    return program


def _convex(program: Program, points: list[Point], values: list[int], tangents: list[Point]) -> None:
    """Require that values and subgradients at the points are those of a convex function that is at most 0 at θ* = 0."""
    for s, (there, value, slope) in enumerate(zip(points, values, tangents, strict=True)):
        program.cut(value, slope, there, None, {})
        for p, (here, other) in enumerate(zip(points, values, strict=True)):
            if p != s:
                program.cut(value, slope, there, other, here)


def _tree(given: Setting) -> Program:
    """Return the program of ALRIGHT: a point for each sequence of draws, and all f_i at all points; f_i(θ*) = 0."""
    program = Program()
    n = len(given.lam)
    points: list[Point] = [program.vector(given.distance**2)]
    chances, level = [Fraction(1)], [0]
    values: list[list[int]] = [[] for _ in range(n)]
    tangents: list[list[Point]] = [[] for _ in range(n)]
    gaps = []
    for t in range(given.T):
        for i in range(n):
            tangents[i] += [program.vector(given.bounds[i] ** 2) for _ in level]
            values[i] += [program.value() for _ in level]
        nodes = list(itertools.product(level, range(n)))
        gaps.append({values[i][node]: chances[node] * given.lam[i] for node, i in nodes})
        if t < given.T - 1:
            level = list(range(len(points), len(points) + len(nodes)))
            points += [combine((1, points[node]), (-given.steps[t], tangents[i][node])) for node, i in nodes]
            chances += [chances[node] * given.lam[i] for node, i in nodes]
    for i in range(n):
        _convex(program, points, values[i], tangents[i])
    _measure(program, given, gaps)
    return program


def _stale(given: Setting, chosen: tuple[int, ...], largest: list[int]) -> Program:
    """Return the program of memory-efficient MAXRIGHT for a sequence of choices and of objectives that attain F."""
    program = Program()
    n, T = len(given.lam), given.T
    points: list[Point] = [program.vector(given.distance**2)]
    values: list[list[int]] = [[] for _ in range(n)]
    tangents: list[list[Point]] = [[] for _ in range(n)]
    stored = [0] * n  # the time of each stored gap
    for t in range(T):
        for i in range(n):
            tangents[i].append(program.vector(given.weighted[i] ** 2))
            values[i].append(program.value())
        i = chosen[t]
        if t % given.k == 0:
            stored = [t] * n
        for j in range(n):
            if j != i:
                program.at_most({values[j][stored[j]]: Fraction(1)}, {values[i][stored[i]]: Fraction(1)})
        stored[i] = t
        if t < T - 1:
            points.append(combine((1, points[-1]), (-given.steps[t] / given.lam[i], tangents[i][t])))
    for i in range(n):
        _convex(program, points, values[i], tangents[i])
    _measure(program, given, [{values[m][t]: Fraction(1)} for t, m in enumerate(largest)])
    return program


def _list(name: str, value: Any, *, above: bool) -> tuple[Fraction, ...]:
    """Return a number, a sequence of numbers or text with commas as exact numbers, positive or at least 0."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    numbers = value if isinstance(value, list | tuple) else [value]
    if not numbers:
        raise ValueError(f"{name}: one number at least is needed, got {value!r}")
    out = tuple(_numbers.exact(name, number) for number in numbers)
    if min(out) < 0 or (above and min(out) == 0):
        raise ValueError(f"{name}: numbers {'above' if above else 'of at least'} 0 are needed, got {value!r}")
    return out


def _text(number: Fraction) -> str:
    """Return a number as a short fraction, else with six digits."""
    return str(number) if number.denominator <= 1000 else f"{float(number):.6g}"
