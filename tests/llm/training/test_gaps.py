"""Gaps with estimated optima: rows' difficulty and noise are no loss, nothing is starved, a checkpoint goes on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("torch")

from llm.config import TrainConfig
from llm.data.sampler import BatchSampler
from llm.training.errors import StoppedRunError
from llm.training.gaps import BatchGaps, ComparableGaps, gap_evaluator
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

    def value_at_reference(self, rows: Any) -> float | None:  # noqa: ARG002
        return None


class Pairs(Rows):
    """Rows whose value under the reference is ln 2, as that of pairs is; the policy begins elsewhere."""

    def value_at_reference(self, rows: Any) -> float | None:  # noqa: ARG002
        return math.log(2.0)


OBJECTIVES: Any = {DPO: Rows("dpo"), SFT: Rows("sft")}
WITH_REFERENCE: Any = {DPO: Pairs("dpo"), SFT: Rows("sft")}


def carry_out(
    world: World, config: TrainConfig, steps: int, *, cut: int | None = None, objectives: Any = OBJECTIVES
) -> tuple[list[int], Any]:
    """Return the choices of MAXRIGHT in the world; after `cut` steps evaluator and controller are made anew."""
    control = Controller(Maxright(0.5, (0.0, 0.0), config.k), 2)
    samplers = {i: training_sampler(config, o) for i, o in objectives.items()}
    gaps, chosen = gap_evaluator(control, objectives, samplers, config), []
    gaps.start(world, objectives)  # type: ignore[arg-type]
    for t in range(steps):
        if t == cut:
            state, f_star = json.loads(json.dumps(gaps.state())), control.f_star
            control = Controller(Maxright(0.5, f_star, config.k), 2, **json.loads(json.dumps(control.state())))
            gaps = gap_evaluator(control, objectives, samplers, config)
            gaps.restore(state)
            gaps.start(world, objectives)  # type: ignore[arg-type]
        evaluated, values = gaps.evaluate(world, objectives, control)  # type: ignore[arg-type]
        decision = control.decide(values)
        assert decision is not None
        i = decision.index
        assert i is not None
        before = world.evaluate(objectives[i], samplers[i].peek())["value"]
        world.step(objectives[i].key)
        control.record(gaps.after_step(control, {i: before}, evaluated=bool(evaluated)))
        samplers[i].advance()
        chosen.append(i)
    return chosen, gaps


def config(**options: Any) -> TrainConfig:
    return TrainConfig(method="maxright", batch_sft=16, batch_preference=16, k=10, window=0, **options)


def test_which_gaps_a_run_takes() -> None:
    rule = Controller(Maxright(0.5, (0.0, 0.0)), 2)
    for options, kind in (({}, ComparableGaps), ({"f_star": "lowest"}, BatchGaps), ({"f_star": "compute"}, BatchGaps)):
        assert type(gap_evaluator(rule, {}, {}, config(**options))) is kind
    assert type(gap_evaluator(rule, {}, {}, config(draw_both=True))) is BatchGaps
    assert type(gap_evaluator(Controller(Sequential((1, 1)), 2), {}, {}, config())) is BatchGaps


def evaluator(world: World, k: int = 10) -> tuple[Any, Controller]:
    """Return the gap evaluations before the first step, and their controller."""
    settings, control = replace(config(), k=k), Controller(Maxright(0.5, (0.0, 0.0), k), 2)
    samplers = {i: training_sampler(settings, o) for i, o in OBJECTIVES.items()}
    gaps = gap_evaluator(control, OBJECTIVES, samplers, settings)
    gaps.start(world, OBJECTIVES)  # type: ignore[arg-type]
    return gaps, control


def test_difficulty_of_rows_is_no_part_of_a_gap() -> None:
    """Values that vary by 1 with the rows (a deviation of 3 over 8 rows) are held against those of the same rows."""
    world = World()
    gaps, control = evaluator(world, 1)
    assert gaps.same_start == set()
    assert gaps.evaluate(world, OBJECTIVES, control)[0] == {}  # before the first step nothing has changed
    control.record({DPO: 0.0})
    lost = []
    for step in range(1, 40):
        control.t, world.left["sft "] = step, 0.2 + 0.02 * (step % 3)
        results, values = gaps.evaluate(world, OBJECTIVES, control)
        assert list(results) == [DPO, SFT]
        assert values[SFT] - gaps.first[SFT] == pytest.approx(0.02 * (step % 3), abs=1e-12)
        lost.append(gaps.estimator.lost[SFT])
    assert lost == pytest.approx([0.02 * (step % 3) for step in range(1, 40)], abs=1e-12)


@pytest.mark.parametrize(("k", "rows"), [(1, 1), (5, 4), (10, 8), (100, 8)])
def test_more_frequent_evaluations_take_fewer_rows(k: int, rows: int) -> None:
    own = gap_evaluator(Controller(Maxright(0.5, (0.0, 0.0), k), 2), OBJECTIVES, {}, replace(config(), k=k))
    assert [sampler.batch for sampler in own.own_samplers.values()] == [rows, rows]


def same_start() -> World:
    """Return a world in which all rows of DPO have one value before the first step, as ln 2 is."""
    world = World()
    world.difficulty["dpo"] = np.full(ROWS, math.log(2.0) - world.left["dpo"])
    return world


def test_batches_that_begin_at_one_value_tell_the_value() -> None:
    """An evaluation takes the rows of such an objective only when the last step trained the other one."""
    world = same_start()
    gaps, control = evaluator(world)
    assert gaps.same_start == {DPO}
    assert gaps.after_step(control, {DPO: math.log(2.0) - 0.05}, evaluated=False) == {DPO: math.log(2.0) - 0.05}
    control.t = 10
    assert list(gaps.evaluate(world, OBJECTIVES, control)[0]) == [SFT]
    assert gaps.after_step(control, {SFT: 1.0}, evaluated=True) == {}  # other rows than those before the first step
    results = [gaps.evaluate(world, OBJECTIVES, control)[0] for _ in range(8)]
    assert all(list(result) == [DPO, SFT] for result in results)
    assert len({tuple(result[DPO].rows) for result in results}) == 8  # one batch after another
    assert len({tuple(result[SFT].rows) for result in results}) == 1  # always the same rows


def test_an_objective_whose_rows_would_begin_at_one_value_under_the_reference_is_averaged() -> None:
    """Its values are means by NumPy of the two first small batches and of training batches, with Student's error."""
    world, settings, control = World(), config(seed=1), Controller(Maxright(0.5, (0.0, 0.0), 10), 2)
    samplers = {i: training_sampler(settings, o) for i, o in WITH_REFERENCE.items()}
    gaps: Any = gap_evaluator(control, WITH_REFERENCE, samplers, settings)
    gaps.start(world, WITH_REFERENCE)
    assert (gaps.same_start, gaps.averaged, gaps.reads_training_values) == (set(), {DPO}, (DPO,))
    small = [world.evaluate(WITH_REFERENCE[DPO], gaps.own_samplers[DPO].batch_at(j))["value"] for j in range(2)]
    values, weights = [*small, 1.0, 2.0, 0.5], [8.0, 8.0, 16.0, 16.0, 16.0]
    for value in values[2:]:  # all before the first step, so that no value is older than another one
        told = gaps.after_step(control, {DPO: value}, evaluated=False)
    mean = np.average(values, weights=weights)
    assert told == {DPO: pytest.approx(mean)}
    variance = np.average((np.array(values) - mean) ** 2, weights=weights)
    degrees = np.sum(weights) ** 2 / np.square(weights).sum() - 1.0
    half_width = stats.t.ppf(stats.norm.cdf(1.5), degrees) * math.sqrt(variance / degrees)
    assert gaps.mean.student_error(DPO, 1.5) * 1.5 == pytest.approx(half_width)
    assert gaps.estimator.lowest[DPO] <= mean + half_width + 1e-12
    assert gaps.after_step(control, {SFT: 1.0}, evaluated=True) == {}
    control.t = 10
    results = [gaps.evaluate(world, WITH_REFERENCE, control)[0] for _ in range(8)]
    assert len({tuple(result[DPO].rows) for result in results}) == 8  # one batch after another
    assert len({tuple(result[SFT].rows) for result in results}) == 1


class Apart(World):
    """A world in which each step on DPO moves its rows by different amounts, whose mean over all rows is 0."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.moves = np.random.default_rng([seed, 7]).standard_normal(ROWS)
        self.moves -= self.moves.mean()
        self.difficulty["dpo"] *= 0.3
        self.taken = 0

    def evaluate(self, objective: Any, rows: Any) -> dict[str, float]:
        moved = 0.05 * self.taken * float(self.moves[rows].mean()) if objective.key == "dpo" else 0.0
        return {"value": super().evaluate(objective, rows)["value"] + moved}

    def step(self, trained: str) -> None:
        super().step(trained)
        self.taken += trained == "dpo"


@pytest.mark.slow
def test_rows_that_move_apart_are_no_loss() -> None:
    """The objectives are alike, so that each deserves half of the steps; one small batch would make losses of moves."""
    averaged = [carry_out(Apart(s), config(seed=s), 100, objectives=WITH_REFERENCE)[0].count(DPO) for s in range(8, 14)]
    assert all(40 <= count <= 60 for count in averaged)
    fixed = [carry_out(Apart(s), config(seed=s), 100)[0].count(DPO) for s in range(8, 14)]
    assert max(fixed) > 80


def test_one_small_batch_does_not_tell_whether_rows_begin_at_one_value() -> None:
    """A set of 400 rows has one small batch of 300."""
    control = Controller(Maxright(0.5, (0.0, 0.0), 10), 2)
    gaps: Any = gap_evaluator(control, OBJECTIVES, {}, config(gap_rows=300))
    gaps.start(same_start(), OBJECTIVES)
    assert gaps.same_start == set()


@pytest.mark.parametrize(("k", "memory"), [(3, 10), (30, 30)])
def test_a_mean_is_over_the_steps_between_evaluations_at_least(k: int, memory: int) -> None:
    assert evaluator(World(), k)[0].mean.memory == memory


def test_noise_alone_is_no_loss_and_a_loss_beyond_it_is() -> None:
    """Values of training batches with a deviation of 0.1 about 0.6; then their mean rises by 0.3."""
    rng, (gaps, control) = np.random.default_rng(3), evaluator(same_start())
    lost = []
    for step in range(400):
        control.t = step
        gaps.after_step(control, {DPO: float(rng.normal(0.6 if step < 300 else 0.9, 0.1))}, evaluated=False)
        lost.append(gaps.estimator.lost[DPO])
    raw = gaps.mean.error(DPO)
    assert 0.01 < raw < 0.05  # 0.1 over the root of about 20 values is 0.022
    assert max(lost[20:300]) < 0.05
    assert lost[-1] == pytest.approx(0.3, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("make", [World, same_start])
def test_no_objective_is_starved(make: Any) -> None:
    """The objectives are alike, so that each deserves half of the steps; by the lowest batch values luck decides."""
    paired = [carry_out(make(), config(seed=seed), 100)[0].count(DPO) for seed in range(6)]
    assert all(40 <= count <= 60 for count in paired)
    lowest = [carry_out(World(), config(seed=seed, f_star="lowest"), 100)[0].count(DPO) for seed in range(6)]
    assert max(lowest) - min(lowest) > 30


@pytest.mark.slow
def test_an_objective_learnt_fast_and_large_is_not_given_up() -> None:
    """One objective falls by 3 and the other by 0.1, and each forgets the other: neither ends far from its lowest."""
    for seed in range(4):
        world = same_start()
        world.left = {"dpo": 0.1, "sft ": 3.0}
        world.difficulty["dpo"][:] = math.log(2.0) - 0.1
        chosen, _ = carry_out(world, config(seed=seed), 120)
        assert 20 <= chosen[60:].count(SFT) <= 40
        assert world.left["sft "] < 0.15
        assert world.left["dpo"] < 0.1


def test_a_checkpoint_continues_the_same_way() -> None:
    whole, cut = carry_out(World(), config(), 60), carry_out(World(), config(), 60, cut=33)
    assert cut[0] == whole[0]
    assert cut[1].state() == whole[1].state()


def test_a_checkpoint_of_averaged_objectives_continues_the_same_way() -> None:
    whole = carry_out(Apart(1), config(), 60, objectives=WITH_REFERENCE)
    cut = carry_out(Apart(1), config(), 60, cut=33, objectives=WITH_REFERENCE)
    assert cut[0] == whole[0]
    assert cut[1].state() == whole[1].state()
    assert cut[1].averaged == {DPO}


def test_an_earlier_checkpoint_continues_in_its_own_way() -> None:
    """Before objectives with a reference were averaged, only those with the same start were, and the state was so."""
    gaps, _ = evaluator(same_start())
    state = json.loads(json.dumps(gaps.state()))
    del state["comparable_gaps"]["averaged"]
    again: Any = gap_evaluator(Controller(Maxright(0.5, (0.0, 0.0), 10), 2), WITH_REFERENCE, {}, config())
    again.restore(state)
    assert (again.same_start, again.averaged) == ({DPO}, {DPO})
    state["comparable_gaps"]["same_start"] = []
    again.restore(state)
    assert (again.same_start, again.averaged) == (set(), set())


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
    gaps, control = evaluator(world)
    world.left["dpo"], control.t = float("nan"), 10
    with pytest.raises(StoppedRunError, match="a gap evaluation of f_DPO gives nan"):
        gaps.evaluate(world, OBJECTIVES, control)
    with pytest.raises(StoppedRunError, match="a gap evaluation of f_DPO gives nan"):
        carry_out(world, config(), 1)
