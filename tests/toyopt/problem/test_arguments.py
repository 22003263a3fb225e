"""Origins, letters, defaults and wrong data of a problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toyopt import dpo, sft
from toyopt.problem import Objective, Problem

# One datum with two answers and one with three, in two dimensions.
THREE = Problem(
    (
        dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0]),
        sft([[[0.0, 0.0], [0.0, -1.0], [0.0, -2.0]]], [0]),
    )
)


def test_the_origin_of_an_objective_is_its_own() -> None:
    o = Objective("own", np.array([[2.0]]), np.array([1]), np.array([3.0]))
    assert o.value([3.0]) == np.log(2.0)
    assert o.phi is None


def test_the_papers_letters_name_their_own_objective() -> None:
    theta = np.array([0.3, -0.7])
    for letters, o in zip(("dpo", "sft"), THREE.objectives, strict=True):
        for what, method in (("f", "value"), ("grad", "grad"), ("hess", "hess")):
            np.testing.assert_array_equal(getattr(THREE, f"{what}_{letters}")(theta), getattr(o, method)(theta))
    assert not np.allclose(THREE.hess_dpo(theta), THREE.hess_sft(theta))
    assert (THREE.C1, THREE.C2) == (1.0, 2.0)


def test_defaults_and_stated_bounds_of_a_problem() -> None:
    data: dict[str, Any] = {"chosen": [[0.5]], "rejected": [[0.0]], "features": [[[0.0], [0.5]]], "targets": [0]}
    p = Problem.dpo_sft(theta_ref=[0.0], **data)
    assert p.objectives[0].rows.tolist() == [[-0.5]]
    assert p.phi == 0.5
    assert Problem.dpo_sft(theta_ref=[0.0], phi=0.5, **data).phi == 0.5
    bare = [Objective(name, np.array([[2.0]]), np.array([1]), np.array([0.0])) for name in "ab"]
    assert Problem(tuple(bare)).phi is None
    assert Problem(tuple(bare), phi=0.25).phi == 0.25
    for phi in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"^phi: must be more than 0, got"):
            Problem(tuple(bare), phi=phi)
    mixed = Problem((bare[0], dpo([[3.0]], [[0.0]], beta=1.0, theta_ref=[0.0])))
    assert mixed.phi == 3.0


def test_the_only_datum_with_too_few_outputs_is_named() -> None:
    with pytest.raises(ValueError, match=r"^features\[0\]: shape \(2 or more, 2\) is needed, got \(1, 2\)$"):
        sft([[[1.0, 0.0]]], [0])
