"""The settings of objectives: weights, losses with numbers of their own, defaults, and what the short form excludes."""

from __future__ import annotations

from typing import Any

import pytest
from support.wrong import fails

from llm import TrainConfig
from llm.data.objective_settings import reference_source, shared_weights
from llm.losses import ConservativeDPOLoss, DPOLoss, SimPOLoss
from toyopt.algorithms import Alright, Maxright, Mix, Replay, Sequential

THREE = ("a=sft:x", "b=preference:y", "c=preference:z")


def test_objectives_without_a_weight_share_the_rest() -> None:
    assert shared_weights({"a": 0.2, "b": None, "c": None}) == (0.2, 0.4, 0.4)
    assert shared_weights({"a": None, "b": None, "c": None}) == (1 / 3, 1 / 3, 1 / 3)
    assert shared_weights({"a": 1.0, "b": None}) == (1.0, 0.0)
    assert shared_weights({"a": 0.3333333333, "b": 0.6666666667}) == (0.3333333333, 0.6666666667)
    for given, total, right in (
        ({"a": 0.5, "b": 0.7}, "1.2", "weight=0.416667 for a, weight=0.583333 for b"),
        ({"a": 0.2, "b": 0.2}, "0.4", "weight=0.5 for a, weight=0.5 for b"),
        ({"a": 0.9, "b": 0.9, "c": None}, "1.8", "weight=0.5 for a, weight=0.5 for b"),
        ({"a": 0.0, "b": 0.0}, "0", "weight=0.5 for a"),
    ):
        begins = f"objective: the weights sum to {total} and must sum to 1"
        fails(lambda given=given: shared_weights(given), ValueError, begins, right)


def test_an_objective_has_the_runs_options_and_its_own() -> None:
    texts = ["a=sft:x", "b=preference:y", "beta=0.5", "c=preference:z", "loss=cdpo", "d=preference:u", "loss=simpo"]
    config = TrainConfig(objective=texts, beta=0.2, label_smoothing=0.1, batch_preference=5, template="T {prompt}")
    a, b, c, d = config.objectives
    assert [own.loss for own in (a, b, c, d)] == [
        None,
        DPOLoss(0.5),
        ConservativeDPOLoss(0.2, 0.1),
        SimPOLoss(0.2, 0.5),
    ]
    assert [own.batch for own in (a, b, c, d)] == [24, 5, 5, 5]
    assert {own.template for own in config.objectives} == {"T {prompt}"}
    assert [(own.weight, own.held_out, own.set_name) for own in (a, d)] == [(0.25, 0.03, "a"), (0.25, 0.03, "d")]


def test_the_short_form_is_two_objectives() -> None:
    dpo, sft = TrainConfig(lam=0.3, sft="s", preference="p", preference_rows=7, sft_template="T {prompt}").objectives
    assert (dpo.name, dpo.set_name, dpo.source, dpo.weight, dpo.rows) == ("dpo", "preference", "p", 0.3, 7)
    assert (sft.name, sft.set_name, sft.source, sft.weight, sft.rows) == ("sft", "sft", "s", 0.7, None)
    assert (dpo.template, sft.template, dpo.loss, sft.loss) == ("auto", "T {prompt}", DPOLoss(0.1), None)


def test_rules_take_any_number_of_objectives() -> None:
    weights = (0.2, 0.3, 0.5)
    texts = [t for text, w in zip(THREE, weights, strict=True) for t in (text, f"weight={w}")]

    def rule(method: str, **options: Any) -> Any:
        f_star = (1.0, 2.0, 3.0)
        return TrainConfig(objective=texts, method=method, steps=10, **options).rule(f_star)

    assert rule("mix") == Mix(weights)
    assert rule("alright", block=2) == Alright(weights, "even", 2)
    assert rule("alright", alternation="coin") == Alright(weights)
    assert rule("maxright", k=4) == Maxright(weights, (1.0, 2.0, 3.0), 4)
    assert rule("sequential") == Sequential((2, 3, 5), (0, 1, 2))
    assert rule("sequential", order="c-a-b") == Sequential((5, 2, 3), (2, 0, 1))
    assert rule("replay", order="b-c-a", replay=0.2) == Replay((3, 5, 2), (1, 2, 0), 0.2)


@pytest.mark.parametrize("steps", [1, 7, 100, 101])
def test_the_steps_of_stages_sum_to_all_steps(steps: int) -> None:
    made = TrainConfig(objective=THREE, method="sequential", steps=steps).rule()
    counts = [count for _, count in made.stages]
    assert sum(counts) == steps
    assert max(abs(count - steps / 3) for count in counts) < 1.0


def test_the_reference_is_trained_on_the_one_set_of_its_kind() -> None:
    texts = ["a=sft:x", "b=preference:y"]
    chosen = reference_source(TrainConfig(objective=texts, reference="chosen"))
    sft = reference_source(TrainConfig(objective=texts, reference="paper"))  # the first objective's set
    assert chosen is not None
    assert sft is not None
    assert (chosen.name, sft.name) == ("b", "a")
    assert reference_source(TrainConfig(objective=THREE)) is None
    begins = "reference: chosen needs one preference set, and there are"
    fails(lambda: TrainConfig(objective=THREE, reference="chosen"), ValueError, begins, "2")


GIVEN = ("a=sft:x", "f_star=1", "b=preference:y", "c=preference:z", "f_star=1")
TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"lam": 0.3}, "lam: belongs to the short form for two objectives", "0.3"),
    ({"sft": "my.jsonl"}, "sft: belongs to the short form", "my.jsonl"),
    ({"preference_held_out": "p.jsonl"}, "preference_held_out: belongs to the short form", "p.jsonl"),
    ({"sft_columns": {"prompt": "q"}}, "sft_columns: belongs to the short form", "prompt"),
    ({"f_dpo_star": 0.5}, "f_dpo_star: belongs to the short form", "0.5"),
    ({"order": "a-b"}, "order: must be one of the names a, b, c joined by -", "a-b"),
    ({"order": "a-b-b"}, "order: must be one of the names a, b, c joined by -", "a-b-b"),
    ({"keep_best": "f_dpo"}, "keep_best: must be one of no, f_a, f_b, f_c, mix", "f_dpo"),
    ({"f_star": "given"}, "f_star: given needs each objective's field f_star", "a, b, c"),
    ({"f_star": "given", "objective": GIVEN}, "f_star: given needs each objective's field f_star", "from b"),
    ({"stack": True, "method": "sequential"}, "stack: joins two adapters, and there are 3 objectives", "average"),
    ({"label_smoothing": 0.1}, "label_smoothing: dpo has none", "0.1"),
    (
        {"objective": ("a=sft:x", "b=preference:y", "loss=ipo", "label_smoothing=0.1")},
        "objective b: label_smoothing: the loss ipo does not depend on it", "another loss",
    ),
    (
        {"objective": ("a=sft:x", "b=preference:y", "loss=simpo", "simpo_beta=2", "beta=1")},
        "objective b: beta: the loss simpo does not depend on it", "leave it out",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "begins", "shows"), TOGETHER, ids=lambda x: str(x)[:40])
def test_what_does_not_go_with_objectives(options: dict[str, Any], begins: str, shows: str) -> None:
    fails(lambda: TrainConfig(**{"objective": THREE, **options}), ValueError, begins, shows)


def test_an_order_of_the_short_form_is_one_of_two() -> None:
    assert (TrainConfig().order, TrainConfig(order="sft-dpo").order) == ("dpo-sft", "sft-dpo")
    begins = "order: must be one of dpo-sft, sft-dpo"
    fails(lambda: TrainConfig(order="sft"), ValueError, begins, "sft")
