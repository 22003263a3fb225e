"""Paired gaps: how difficult rows are cancels, no objective is starved, and a checkpoint continues the same way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from llm.config import TrainConfig
from llm.data.sampler import BatchSampler
from llm.training.errors import StoppedRunError
from llm.training.gaps import BatchGaps, PairedGaps, gap_evaluator
from llm.training.streams import training_sampler
from toyopt.algorithms import DPO, SFT, Controller, Maxright, Sequential

ROWS = 400


@dataclass
class World:
    """Two objectives whose rows differ in difficulty far more than training changes them; it is its own engine.

    A step on an objective lowers it towards its optimum, by a share of what is left, and raises the other one.
    """

    difficulty: dict[str, Any] = field(
        default_factory=lambda: {n: 3.0 * np.random.default_rng(len(n)).standard_normal(ROWS) for n in ("dpo", "sft ")}
    )
    left: dict[str, float] = field(default_factory=lambda: {"dpo": 0.2, "sft ": 0.2})

    def evaluate(self, objective: Any, rows: Any) -> dict[str, float]:
        return {"value": float(self.difficulty[objective.key][rows].mean()) + self.left[objective.key]}

    def forward(self, objective: Any, rows: Any, *, graph: bool) -> Any:  # noqa: ARG002
        return type("Result", (), {"value": self.evaluate(objective, rows)["value"]})()

    def step(self, trained: str) -> None:
        other = "dpo" if trained != "dpo" else "sft "
        self.left[trained] *= 0.9
        self.left[other] += 0.003


class Rows:
    """Rows of one objective."""

    label = "rows"

    def __init__(self, name: str) -> None:
        self.name, self.lengths = name, np.full(ROWS, 7)
        self.key = "dpo" if name == "dpo" else "sft "

    def __len__(self) -> int:
        return ROWS

    def value(self, sums: dict[str, float]) -> float:
        return sums["value"]


OBJECTIVES: Any = {DPO: Rows("dpo"), SFT: Rows("sft")}


def carry_out(world: World, config: TrainConfig, steps: int, *, cut: int | None = None) -> tuple[list[int], Any]:
    """Return the choices of MAXRIGHT in the world; after `cut` steps evaluator and controller are made anew."""
    control = Controller(Maxright(0.5, (0.0, 0.0), config.k), 2)
    samplers = {i: training_sampler(config, o) for i, o in OBJECTIVES.items()}
    gaps, chosen = gap_evaluator(control, OBJECTIVES, samplers, config), []
    gaps.start(world, OBJECTIVES)  # type: ignore[arg-type]
    for t in range(steps):
        if t == cut:
            state, f_star = json.loads(json.dumps(gaps.state())), control.f_star
            control = Controller(Maxright(0.5, f_star, config.k), 2, **json.loads(json.dumps(control.state())))
            gaps = gap_evaluator(control, OBJECTIVES, samplers, config)
            gaps.restore(state)
            gaps.start(world, OBJECTIVES)  # type: ignore[arg-type]
        evaluated, values = gaps.evaluate(world, OBJECTIVES, control)  # type: ignore[arg-type]
        decision = control.decide(values)
        assert decision is not None
        i = decision.index
        assert i is not None
        before = world.evaluate(OBJECTIVES[i], samplers[i].peek())["value"]
        world.step(OBJECTIVES[i].key)
        control.record(gaps.after_step(control, {i: before}, evaluated=bool(evaluated)))
        samplers[i].advance()
        chosen.append(i)
    return chosen, gaps


def config(**options: Any) -> TrainConfig:
    return TrainConfig(method="maxright", batch_sft=16, batch_preference=16, k=10, window=0, **options)


def test_which_gaps_a_run_takes() -> None:
    rule = Controller(Maxright(0.5, (0.0, 0.0)), 2)
    for options, kind in (({}, PairedGaps), ({"f_star": "lowest"}, BatchGaps), ({"f_star": "compute"}, BatchGaps)):
        assert type(gap_evaluator(rule, {}, {}, config(**options))) is kind
    assert type(gap_evaluator(rule, {}, {}, config(draw_both=True))) is BatchGaps
    assert type(gap_evaluator(Controller(Sequential((1, 1)), 2), {}, {}, config())) is BatchGaps


def test_difficulty_of_rows_cancels() -> None:
    """Of values that vary by 2 with the rows (a deviation of 3 over two rows) nothing is left but the change."""
    world = World()
    gaps = carry_out(world, config(), 1)[1]
    control = Controller(Maxright(0.5, (0.0, 0.0), 1), 2)
    world.left = {"dpo": 0.2 - 0.01, "sft ": 0.2 + 0.02}
    raw, paired = [], []
    assert gaps.change == {}  # before the first step nothing has changed, so that nothing was evaluated
    for turn in range(128):
        results, values = gaps.evaluate(world, OBJECTIVES, control)
        assert list(results) == [(DPO, SFT)[turn % 2]]  # one at a time
        for result in results.values():
            assert len(result.rows) == 2  # an eighth of a batch
        raw += [result.value for i, result in results.items() if i == SFT]
        paired.append(values[SFT])
    base = sum(gaps.first[SFT]) / 16
    assert paired[-1] - base == pytest.approx(0.02, abs=1e-6)  # 0.75^64 of the first change, 0, is left
    assert gaps.change[DPO] == pytest.approx(-0.01, abs=1e-6)
    assert np.std(raw) > 1.0
    assert len({tuple(r) for r in (gaps.own_samplers[SFT].batch_at(j) for j in range(16))}) == 16


@pytest.mark.slow
def test_no_objective_is_starved() -> None:
    """The objectives are alike, so that each deserves half of the steps; by the lowest batch values luck decides."""
    paired = [carry_out(World(), config(seed=seed), 100)[0].count(DPO) for seed in range(6)]
    assert all(40 <= count <= 60 for count in paired)
    lowest = [carry_out(World(), config(seed=seed, f_star="lowest"), 100)[0].count(DPO) for seed in range(6)]
    assert max(lowest) - min(lowest) > 30


def test_a_checkpoint_continues_the_same_way() -> None:
    whole, cut = carry_out(World(), config(), 60), carry_out(World(), config(), 60, cut=33)
    assert cut[0] == whole[0]
    assert cut[1].state() == whole[1].state()


def test_batches_are_repeated_in_a_cycle() -> None:
    sampler = BatchSampler("x", np.full(10, 3), 2, 0, 0, cycle=3)
    seen = []
    for _ in range(7):
        seen.append(tuple(sampler.peek()))
        sampler.advance()
    assert seen[3:6] == seen[:3]
    assert len(set(seen)) == 3
    assert sampler.epoch == 0
    few = BatchSampler("x", np.full(4, 3), 2, 0, 0, cycle=3)  # fewer batches than the cycle: all of one epoch
    for _ in range(5):
        few.advance()
    assert (few.epoch, few.position) == (0, 1)


def test_a_value_that_is_not_finite_stops_the_run() -> None:
    """A comparison with it would choose one objective for ever."""
    world = World()
    gaps = carry_out(world, config(), 1)[1]
    world.left["dpo"] = float("nan")
    control = Controller(Maxright(0.5, (0.0, 0.0), 1), 2)
    with pytest.raises(StoppedRunError, match="a gap evaluation of f_DPO gives nan"):
        gaps.evaluate(world, OBJECTIVES, control)
    with pytest.raises(StoppedRunError, match="a gap evaluation of f_DPO gives nan"):
        carry_out(world, config(), 1)
