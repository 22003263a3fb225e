"""Wrong input to rules, schedules and the simulator: one error that names the argument *and* the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.wrong import Case, fails, ids

from toyopt import (
    Alright,
    Constant,
    Controller,
    InverseRootHorizon,
    LinearDecay,
    Maxright,
    Merit,
    Sequential,
    ZamaniGlineur,
    simulate,
)
from toyopt.examples import LowerBound, random_problem, table2

NAN, INF = math.nan, math.inf
P = table2()
GOOD_SIM: dict[str, Any] = {
    "problem": P, "rule": Alright(0.5), "schedule": Constant(0.1), "theta0": [0.0], "steps": 3
}  # fmt: skip

RULE_CASES: list[tuple[Any, type[Exception], str, str]] = [
    (Maxright(0.5, (0.0, 0.0), k=0), ValueError, "k", "0"),
    (Maxright(0.5, (0.0, 0.0), k=-3), ValueError, "k", "-3"),
    (Maxright(0.5, (0.0, 0.0), k=2.0), TypeError, "k", "2.0"),  # type: ignore[arg-type]
    (Maxright(0.5, (0.0, 0.0), k=True), TypeError, "k", "True"),
    (Maxright(0.5, (0.0, 0.0), k=np.array([1, 2])), TypeError, "k", "[1, 2]"),  # type: ignore[arg-type]
    (Maxright(0.5, (0.25,)), ValueError, "f_star", "(0.25,)"),
    (Maxright(0.5, (0.0, 0.0, 0.125)), ValueError, "f_star", "0.125"),
    (Maxright(0.5, 0.125), TypeError, "f_star", "0.125"),  # type: ignore[arg-type]
    (Maxright(0.5, (0.0, NAN)), ValueError, "f_star[1]", "nan"),
    (Maxright(0.5, (-INF, 0.0)), ValueError, "f_star[0]", "-inf"),
    (Sequential(()), ValueError, "steps", "()"),
    (Sequential((0, 0)), ValueError, "steps", "(0, 0)"),
    (Sequential((5, -1)), ValueError, "steps[1]", "-1"),
    (Sequential((5.0, 1)), TypeError, "steps[0]", "5.0"),  # type: ignore[arg-type]
    (Sequential((5, True)), TypeError, "steps[1]", "True"),
    (Sequential(5), TypeError, "steps", "5"),  # type: ignore[arg-type]
    (Sequential((5,)), ValueError, "order", "(0, 1)"),
    (Sequential((5, 5), (0, 2)), ValueError, "order[1]", "2"),
    (Sequential((5, 5), (-1, 0)), ValueError, "order[0]", "-1"),
    (Sequential((5, 5), (0, 1.0)), TypeError, "order[1]", "1.0"),  # type: ignore[arg-type]
    (Sequential((5,), 0), TypeError, "order", "0"),  # type: ignore[arg-type]
    (Sequential((5, 5), thresholds=(0.125,)), ValueError, "thresholds", "(0.125,)"),
    (Sequential((5, 5), thresholds=(0.1, NAN)), ValueError, "thresholds[1]", "nan"),
    (Sequential((5, 5), thresholds=0.125), TypeError, "thresholds", "0.125"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("case", RULE_CASES, ids=lambda c: repr(c[0]))
def test_rules(case: tuple[Any, type[Exception], str, str]) -> None:
    rule, *expected = case
    fails(lambda: rule.check(2), *expected)
    fails(lambda: Controller(rule, 2), *expected)
    fails(lambda: simulate(**GOOD_SIM | {"rule": rule, "steps": 3}), *expected)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda x: Constant(x), "alpha"),
        (lambda x: InverseRootHorizon(x, 5), "alpha0"),
        (lambda x: LinearDecay(x, 2.0, 5), "D"),
        (lambda x: LinearDecay(2.0, x, 5), "C"),
        (lambda x: ZamaniGlineur(x, 2.0, 5), "R"),
        (lambda x: ZamaniGlineur(2.0, x, 5), "B"),
        (lambda x: LowerBound(c=x), "c"),
    ],
)
def test_step_sizes_and_lengths_must_be_positive(make: Callable[[Any], Any], argument: str) -> None:
    for value in (0.0, -0.5, NAN, INF):
        fails(lambda value=value: make(value), ValueError, argument, repr(value))
    for value in ("0.5", None):
        fails(lambda value=value: make(value), TypeError, argument, repr(value))


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda x: InverseRootHorizon(0.5, x), "T"),
        (lambda x: LinearDecay(2.0, 3.0, x), "T"),
        (lambda x: ZamaniGlineur(2.0, 3.0, x), "N"),
        (lambda x: simulate(**GOOD_SIM | {"steps": x}), "steps"),
        (lambda x: simulate(**GOOD_SIM, record=x), "record"),
        (lambda x: simulate(**GOOD_SIM, threads=x), "threads"),
        (lambda x: random_problem(np.random.default_rng(0), dim=x), "dim"),
        (lambda x: random_problem(np.random.default_rng(0), n_dpo=x), "n_dpo"),
        (lambda x: random_problem(np.random.default_rng(0), n_sft=x), "n_sft"),
        (lambda x: random_problem(np.random.default_rng(0), outputs=x), "outputs"),
    ],
)
def test_counts_are_whole_and_at_least_one(make: Callable[[Any], Any], argument: str) -> None:
    for value in (0, -1, np.int64(-7)):
        fails(lambda value=value: make(value), ValueError, argument, str(value))
    for value in (1.5, 2.0, True, "3", np.float64(3.0)):
        fails(lambda value=value: make(value), TypeError, argument, repr(value))


class Sizes:
    """A user's own schedule."""

    def __init__(self, at: Callable[[Any], Any]) -> None:
        self.at = at


SIM_CASES: list[Case] = [
    ({"theta0": [NAN]}, ValueError, "theta0", "nan"),
    ({"theta0": [[INF]]}, ValueError, "theta0", "inf"),
    ({"theta0": [0.0, 1.0]}, ValueError, "theta0", "(2,)"),
    ({"theta0": 0.0}, ValueError, "theta0", "()"),
    ({"theta0": "a"}, ValueError, "theta0", "'a'"),
    ({"theta0": [[0.0], [0.0], [0.0]], "seeds": [1, 2]}, ValueError, "theta0", "(3, 1)"),
    ({"theta0": [[[0.0]]]}, ValueError, "theta0", "(1, 1, 1)"),
    ({"steps": None}, ValueError, "steps", "ALRIGHT"),
    ({"seeds": -1}, ValueError, "seeds", "-1"),
    ({"seeds": [0, -5]}, ValueError, "seeds", "-5"),
    ({"seeds": []}, ValueError, "seeds", "empty"),
    ({"seeds": 1.0}, TypeError, "seeds", "1.0"),
    ({"seeds": [True]}, TypeError, "seeds", "True"),
    ({"seeds": None}, TypeError, "seeds", "None"),
    ({"record": [-1]}, ValueError, "record", "-1"),
    ({"record": [1.5]}, TypeError, "record", "1.5"),
    ({"weight_decay": -0.1}, ValueError, "weight_decay", "-0.1"),
    ({"weight_decay": NAN}, ValueError, "weight_decay", "nan"),
    ({"weight_decay": "0"}, TypeError, "weight_decay", "'0'"),
    ({"gaps": "sampled"}, ValueError, "gaps", "stochastic=False"),
    ({"gaps": "Exact"}, ValueError, "gaps", "'Exact'"),
    ({"merit": Merit("best", 0.5)}, ValueError, "merit.kind", "'best'"),  # type: ignore[arg-type]
    ({"merit": Merit("mix", 1.5)}, ValueError, "merit.lam", "1.5"),
    ({"merit": Merit("mix", 0.5, (0.25,))}, ValueError, "merit.shift", "1"),
    ({"merit": Merit("worst", 0.5, (0.25, NAN))}, ValueError, "merit.shift", "nan"),
    ({"rule": "alright"}, TypeError, "rule", "'alright'"),
    ({"rule": None}, TypeError, "rule", "None"),
    ({"merit": "mix"}, TypeError, "merit", "'mix'"),
    ({"schedule": 0.1}, TypeError, "schedule", "0.1"),
    ({"schedule": LinearDecay(2.0, 3.0, 3)}, ValueError, "schedule", "0.0"),  # alpha_T = 0, so T - 1 updates
    ({"schedule": LinearDecay(2.0, 3.0, 2)}, ValueError, "schedule", "0.0"),
    ({"schedule": ZamaniGlineur(2.0, 3.0, 2)}, ValueError, "schedule", "0.0"),
    ({"schedule": Sizes(lambda t: 0.25 - 0.125 * t)}, ValueError, "schedule", "0.0"),
    ({"schedule": Sizes(lambda t: t * NAN)}, ValueError, "schedule", "nan"),
    ({"schedule": Sizes(lambda t: t * INF)}, ValueError, "schedule", "inf"),
    ({"schedule": Sizes(lambda t: t[:2] * 0.5)}, ValueError, "schedule", "(2,)"),  # one short of 3 updates
    ({"schedule": Sizes(lambda _: 0.5)}, ValueError, "schedule", "()"),
]


@pytest.mark.parametrize("case", SIM_CASES, ids=ids)
def test_simulate(case: Case) -> None:
    fails(lambda: simulate(**GOOD_SIM | case[0]), *case[1:])


@pytest.mark.parametrize("rule", ["mix", None, 3])
def test_a_controller_wants_one_of_the_four_rules(rule: Any) -> None:
    fails(lambda: Controller(rule, 2), TypeError, "rule", repr(rule))


def test_unknown_names_of_the_package() -> None:
    import toyopt

    with pytest.raises(AttributeError, match=r"'toyopt'.*'Allright'"):
        toyopt.Allright  # noqa: B018


def test_the_good_arguments_of_this_file_are_good() -> None:
    """So that each case above fails for its own change."""
    assert simulate(**GOOD_SIM).steps.tolist() == [3]
    assert simulate(**GOOD_SIM | {"schedule": LinearDecay(2.0, 3.0, 4)}).steps.tolist() == [3]
    assert simulate(**GOOD_SIM | {"schedule": ZamaniGlineur(2.0, 3.0, 3)}).steps.tolist() == [3]
    assert simulate(**GOOD_SIM | {"schedule": Sizes(lambda t: 0.5 / t)}).steps.tolist() == [3]
