"""Wrong input to problems and λ: one ValueError or TypeError that names the argument *and* the value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.wrong import Case, fails, ids

from toyopt import Alright, Constant, Controller, Maxright, Mix, Objective, Problem, dpo, sft, simulate
from toyopt.examples import table2

NAN, INF = math.nan, math.inf
P = table2()
GOOD_DPO: dict[str, Any] = {
    "chosen": [[1.0, 0.0], [0.0, 1.0]], "rejected": [[0.0, 0.0], [1.0, 1.0]], "beta": 0.5, "theta_ref": [1.0, 2.0]
}  # fmt: skip
GOOD_SFT: dict[str, Any] = {
    "features": [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]], "targets": [0, 2]
}  # fmt: skip
GOOD_SIM: dict[str, Any] = {
    "problem": P, "rule": Alright(0.5), "schedule": Constant(0.1), "theta0": [0.0], "steps": 3
}  # fmt: skip

DPO_CASES: list[Case] = [
    ({"chosen": [[1.0, 0.0]]}, ValueError, "rejected", "(2, 2)"),
    ({"rejected": [[1.0], [0.0]]}, ValueError, "rejected", "(2, 1)"),
    ({"chosen": [1.0, 0.0]}, ValueError, "chosen", "(2,)"),
    ({"chosen": 3.0}, ValueError, "chosen", "()"),
    ({"chosen": []}, ValueError, "chosen", "(0,)"),
    ({"chosen": np.empty((0, 2)), "rejected": np.empty((0, 2))}, ValueError, "chosen", "(0, 2)"),
    ({"chosen": [[1.0, 0.0], [1.0]]}, ValueError, "chosen", "inhomogeneous"),
    ({"chosen": [["a", "b"], ["c", "d"]]}, ValueError, "chosen", "'a'"),
    ({"chosen": [[1j, 0.0], [0.0, 1.0]]}, ValueError, "chosen", "1j"),
    ({"chosen": [[NAN, 0.0], [0.0, 1.0]]}, ValueError, "chosen", "nan at (0, 0)"),
    ({"rejected": [[0.0, 0.0], [0.0, INF]]}, ValueError, "rejected", "inf at (1, 1)"),
    ({"rejected": [[0.0, -INF], [0.0, 0.0]]}, ValueError, "rejected", "-inf at (0, 1)"),
    ({"theta_ref": [NAN, 0.0]}, ValueError, "theta_ref", "nan"),
    ({"theta_ref": [0.0, INF]}, ValueError, "theta_ref", "inf"),
    ({"theta_ref": [0.0]}, ValueError, "theta_ref", "1"),
    ({"theta_ref": [0.0, 1.0, 2.0]}, ValueError, "theta_ref", "3"),
    ({"theta_ref": 0.0}, ValueError, "theta_ref", "()"),
    ({"beta": 0.0}, ValueError, "beta", "0.0"),
    ({"beta": -0.5}, ValueError, "beta", "-0.5"),
    ({"beta": NAN}, ValueError, "beta", "nan"),
    ({"beta": INF}, ValueError, "beta", "inf"),
    ({"beta": 10**400}, ValueError, "beta", "1000"),
    ({"beta": "0.5"}, TypeError, "beta", "'0.5'"),
    ({"beta": None}, TypeError, "beta", "None"),
    ({"beta": 1j}, TypeError, "beta", "1j"),
    ({"beta": np.complex128(1j)}, TypeError, "beta", "1j"),
    ({"beta": [0.5]}, TypeError, "beta", "[0.5]"),
]


@pytest.mark.parametrize("case", DPO_CASES, ids=ids)
def test_dpo(case: Case) -> None:
    fails(lambda: dpo(**GOOD_DPO | case[0]), *case[1:])


SFT_CASES: list[Case] = [
    ({"features": []}, ValueError, "features", "empty"),
    ({"features": 3.0}, TypeError, "features", "3.0"),
    ({"features": [[1.0, 0.0]]}, ValueError, "features[0]", "(2,)"),
    ({"features": [[[1.0, 0.0], [0.0, 1.0]], []]}, ValueError, "features[1]", "(0,)"),
    ({"features": [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0]]]}, ValueError, "features[1]", "(1, 2)"),
    ({"features": [[[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0], [2.0]]]}, ValueError, "features[1]", "(3, 1)"),
    ({"features": [[[1.0, 0.0], [0.0, NAN]]], "targets": [0]}, ValueError, "features[0]", "nan at (1, 1)"),
    ({"features": [[[1.0, 0.0], [INF, 0.0]]], "targets": [0]}, ValueError, "features[0]", "inf at (1, 0)"),
    ({"targets": [0]}, ValueError, "targets", "1 for 2 data"),
    ({"targets": [0, 1, 1]}, ValueError, "targets", "3 for 2 data"),
    ({"targets": []}, ValueError, "targets", "0 for 2 data"),
    ({"targets": [2, 0]}, ValueError, "targets[0]", "2"),
    ({"targets": [0, 3]}, ValueError, "targets[1]", "3"),
    ({"targets": [0, -1]}, ValueError, "targets[1]", "-1"),
    ({"targets": [0.0, 1.0]}, TypeError, "targets[0]", "0.0"),
    ({"targets": [False, True]}, TypeError, "targets[0]", "False"),
    ({"targets": [[0, 1]]}, TypeError, "targets[0]", "[0, 1]"),
]


@pytest.mark.parametrize("case", SFT_CASES, ids=ids)
def test_sft(case: Case) -> None:
    fails(lambda: sft(**GOOD_SFT | case[0]), *case[1:])


A, B = dpo(**GOOD_DPO), sft(**GOOD_SFT)


@pytest.mark.parametrize(
    "case",
    [
        ({"phi": 2.9}, ValueError, "phi", "3.0"),
        ({"phi": 2.9}, ValueError, "phi", "2.9"),
        ({"phi": 0.0}, ValueError, "phi", "0.0"),
        ({"phi": -3.0}, ValueError, "phi", "-3.0"),
        ({"phi": NAN}, ValueError, "phi", "nan"),
        ({"phi": INF}, ValueError, "phi", "inf"),
        ({"phi": "3"}, TypeError, "phi", "'3'"),
        ({"objectives": (A,)}, ValueError, "objectives", "1"),
        ({"objectives": ()}, ValueError, "objectives", "0"),
        ({"objectives": 3}, TypeError, "objectives", "3"),
        ({"objectives": (A, A)}, ValueError, "objectives", "('dpo', 'dpo')"),
        ({"objectives": (A, P.objectives[1])}, ValueError, "objectives", "{'dpo': 2, 'sft': 1}"),
    ],
    ids=ids,
)
def test_problem(case: Case) -> None:
    fails(lambda: Problem(**{"objectives": (A, B)} | case[0]), *case[1:])


@pytest.mark.parametrize(
    "case",
    [
        ({"rows": [[NAN]]}, ValueError, "own.rows", "nan"),
        ({"rows": []}, ValueError, "own.rows", "(0,)"),
        ({"counts": [2]}, ValueError, "own.counts", "2"),
        ({"counts": [1, 0]}, ValueError, "own.counts", "0"),
        ({"counts": [1.0]}, TypeError, "own.counts", "1.0"),
        ({"counts": [True]}, TypeError, "own.counts", "True"),
        ({"counts": 1}, TypeError, "own.counts", "1"),
        ({"origin": [0.0, 1.0]}, ValueError, "own.origin", "2"),
        ({"origin": [INF]}, ValueError, "own.origin", "inf"),
    ],
    ids=ids,
)
def test_objective(case: Case) -> None:
    good = {"name": "own", "rows": [[1.0]], "counts": [1], "origin": [0.0]}
    fails(lambda: Objective(**good | case[0]), *case[1:])


THETA_CALLS = ["values", "grads", "hessians", "f_dpo", "grad_sft", "hess_dpo"]


@pytest.mark.parametrize("call", THETA_CALLS)
@pytest.mark.parametrize(
    ("theta", "value"),
    [
        ([NAN], "nan"), ([[0.0], [-INF]], "-inf"), (0.0, "()"), ([0.0, 1.0], "(2,)"), ([[0.0, 1.0]], "(1, 2)"),
        ("a", "'a'"), ([1j], "1j"), ([[1.0], [1.0, 2.0]], "inhomogeneous"), ([], "(0,)"),
    ],
    ids=str,
)  # fmt: skip
def test_theta(call: str, theta: Any, value: str) -> None:
    fails(lambda: getattr(P, call)(theta), ValueError, "theta", value)


LAM_CASES: list[tuple[Any, type[Exception], str, str]] = [
    (1.5, ValueError, "lam", "1.5"),
    (-0.25, ValueError, "lam", "-0.25"),
    (math.nextafter(1, 2), ValueError, "lam", "1.0000000000000002"),
    (NAN, ValueError, "lam", "nan"),
    ((0.5, 0.6), ValueError, "lam", "1.1"),
    ((0.5, 0.5 - 1e-8), ValueError, "lam", "0.99999999"),
    ((0.5, 0.25, 0.25), ValueError, "lam", "3"),
    ((1.0,), ValueError, "lam", "1"),
    ((1.5, -0.5), ValueError, "lam[1]", "-0.5"),
    ((NAN, 1.0), ValueError, "lam[0]", "nan"),
    (("a", 1.0), TypeError, "lam[0]", "'a'"),
    ("0.5", TypeError, "lam", "'0.5'"),
    (None, TypeError, "lam", "None"),
]


@pytest.mark.parametrize("case", LAM_CASES, ids=lambda c: str(c[0]))
@pytest.mark.parametrize("where", ["f_mix", "grad_mix", "hess_mix", "Mix", "Alright", "Maxright", "Controller"])
def test_lam(case: tuple[Any, type[Exception], str, str], where: str) -> None:
    lam, error, argument, value = case
    rules = {"Mix": Mix, "Alright": Alright, "Maxright": lambda w: Maxright(w, (0.0, 0.0)), "Controller": Mix}
    if where == "Controller":
        fails(lambda: Controller(Mix(lam), 2), error, argument, value)
    elif where in rules:
        fails(lambda: simulate(**GOOD_SIM | {"rule": rules[where](lam)}), error, argument, value)
    else:
        fails(lambda: getattr(P, where)([0.0], lam), error, argument, value)


def test_a_scalar_lam_cannot_weigh_three_objectives() -> None:
    fails(lambda: Controller(Alright(0.5), 3), ValueError, "lam", "3")


def test_the_good_arguments_of_this_file_are_good() -> None:
    """So that each case above fails for its own change."""
    assert Problem((dpo(**GOOD_DPO), sft(**GOOD_SFT)), phi=3.0).dim == 2
    assert simulate(**GOOD_SIM).steps.tolist() == [3]
