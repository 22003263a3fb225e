"""Which runs share what, about how long they take, and the name of the code that they depend on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

pytest.importorskip("torch")

from llm import TrainConfig
from llm.study import Grid, StudyRun
from llm.study.dependencies import Rates, preparation, prerequisites, work

BASE = TrainConfig(f_star="compute", reference="chosen", steps=10)


def shared(**changes: Any) -> tuple[bool, int]:
    """Whether the base is shared with a run of other options; and how many of its two other prerequisites are."""
    ours, theirs = prerequisites(BASE), prerequisites(dataclasses.replace(BASE, **changes))
    assert len(ours.rest) == 2
    return ours.base == theirs.base, len(ours.rest & theirs.rest)


@pytest.mark.parametrize(
    ("changes", "base", "rest"),
    [
        ({"method": "mix", "lam": 0.1, "k": 3, "threads": 2, "save_every": 7, "keep_every": 5}, True, 2),
        ({"reference": "paper"}, True, 2),  # the same, for this order
        ({"reference": "paper", "order": "sft-dpo"}, True, 0),
        ({"lr": 1e-3}, True, 0),
        ({"beta": 0.3}, True, 0),
        ({"seed": 2}, True, 0),
        ({"optima_steps": 10, "reference_steps": 10}, True, 2),
        ({"optima_steps": 20}, True, 1),
        ({"eval_every": 3}, True, 1),
        ({"eval_every": 3, "optima_every": BASE.eval_every}, True, 2),
        ({"optima_every": 3}, True, 1),
        ({"f_star": "estimate"}, True, 1),
        ({"preference_loss": "simpo"}, True, 2),
        ({"conflict": 0.1}, True, 0),
        ({"world_seed": 1}, False, 0),
        ({"world_size": "small"}, False, 0),
        ({"model": "some/model"}, False, 0),
    ],
)
def test_shared_prerequisites_depend_on_their_options(changes: dict[str, Any], base: bool, rest: int) -> None:
    assert shared(**changes) == (base, rest)


def test_a_bare_reference_is_shared_by_all_learning_rates() -> None:
    bare = TrainConfig()
    assert prerequisites(bare) == prerequisites(dataclasses.replace(bare, lr=1e-3, batch_sft=2))
    assert prerequisites(dataclasses.replace(bare, model="some/model")).base == frozenset()


def test_work_and_preparations_in_steps() -> None:
    small = dataclasses.replace(BASE, world_size="small", method="alright")
    assert work(small) == 10.0
    assert work(dataclasses.replace(small, method="mix")) == 20.0
    assert 10.0 < work(dataclasses.replace(small, method="maxright", k=10)) < 11.0
    assert work(dataclasses.replace(small, method="maxright", k=1)) == 15.0
    wanted = prerequisites(small)
    assert preparation(small, wanted.rest) == 10.0 + 20.0
    assert preparation(small, wanted.base) > 1000.0
    assert preparation(small, ()) == 0.0


def test_rates_are_of_the_nearest_run_that_is_known() -> None:
    def run(name: str, **changes: Any) -> StudyRun:
        return StudyRun(name, dataclasses.replace(BASE, **{"method": "alright", "world_size": "small", **changes}))

    rates, ours = Rates(), run("ours")
    assert 0.0 < rates.of(ours) < 1.0  # a guess
    assert math.isnan(rates.of(run("other", model="some/model")))
    rates.update(run("large", world_size="large"), {"step": 10, "seconds": 600.0 * 10})
    assert rates.of(ours) == pytest.approx(600.0 / work(run("x", world_size="large").config) * 10)
    rates.update(run("mix", method="mix"), {"step": 5, "seconds": 1.0})
    assert rates.of(ours) == pytest.approx(0.1)
    rates.update(run("alike", lam=0.1), {"step": 2, "seconds": 0.6})
    assert rates.of(ours) == pytest.approx(0.3)
    rates.update(ours, {"step": 0, "seconds": 0.0})
    rates.update(ours, {"step": 10, "seconds": 5.0})
    assert rates.of(ours) == pytest.approx(0.5)


def test_runs_of_one_seed_share_their_prerequisites() -> None:
    runs = Grid(BASE, seeds=(1, 2)).runs()
    assert len({prerequisites(run.config).all for run in runs}) == 2
