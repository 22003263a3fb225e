"""What a run chooses is what `toyopt`'s controller chooses from the same numbers; streams, passes and optima follow."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.data.collate import Batch
from llm.models.policy import Policy
from llm.training.engine import Engine
from llm.training.metrics import read_metrics
from llm.training.optima import optima
from toyopt.algorithms import DPO, SFT, Controller, Maxright, Sequential, draw, even_draw
from toyopt.estimates import BestSoFar

NAMES = ("dpo", "sft")
STEPS, ROWS, PAIRS, SEED = 13, 20, 12, 3
MODEL, TOKENIZER = tiny.model(), tiny.tokenizer()


def config(folder: Path, **changes: Any) -> TrainConfig:
    """Batches of 5 SFT rows and of 3 pairs, so that a batch tells its objective; nothing held out."""
    options: dict[str, Any] = {
        "model": "tiny", "sft": "rows", "preference": "rows", "out": str(folder / "run"),
        "cache": str(folder.parent / "cache"), "steps": STEPS, "lam": 0.3, "lr": 2e-2, "lora_rank": 2,
        "batch_sft": 5, "batch_preference": 3, "held_out": 0.0, "save_every": 10**6,
        "seed": SEED, "device": "cpu", "max_length": 64,
    }  # fmt: skip
    return TrainConfig(**{**options, **changes})


def run(asked: TrainConfig) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    given = {"sft": tiny.sft_rows(ROWS), "preference": tiny.preference_rows(PAIRS)}
    result = train(asked, model=MODEL, tokenizer=TOKENIZER, quiet=True, **given)
    lines = read_metrics(result.folder)
    chosen = collections.Counter(n for line in lines for n in line.get("objective", "").split("+") if n)
    steps = json.loads((result.folder / "summary.json").read_text())["steps_by_objective"]
    assert steps == {n: chosen[n] for n in NAMES}
    return lines


def values(line: dict[str, Any]) -> dict[int, float]:
    return {i: line[f"f_{n}"] for i, n in enumerate(NAMES) if f"f_{n}" in line}


def objectives(lines: list[dict[str, Any]]) -> list[str]:
    return [line["objective"] for line in lines if "objective" in line]


def assert_streams(lines: list[dict[str, Any]], *, both: bool = False) -> None:
    """A stream moves when its objective is chosen and only then (`both`: always)."""
    done = [0, 0]
    for line in lines:
        for i, name in enumerate(NAMES):
            done[i] += both or name in line["objective"].split("+")
            assert line[f"epochs_{name}"] == pytest.approx(done[i] / (PAIRS // 3 if i == DPO else ROWS // 5), abs=1e-12)


# Which objective is trained when.

# tests/cross/test_invariants.py has every rule with all weight on one objective.
EXPECTED = {
    "dpo first": ({"method": "sequential"}, ["dpo"] * 4 + ["sft"] * 9),
    "sft first": ({"method": "sequential", "order": "sft-dpo"}, ["sft"] * 9 + ["dpo"] * 4),
    "one go": ({"method": "sequential", "stage_reset": False}, ["dpo"] * 4 + ["sft"] * 9),
    "sequential, dpo only": ({"method": "sequential", "lam": 1.0, "order": "sft-dpo"}, ["dpo"] * 13),
    "sequential, sft only": ({"method": "sequential", "lam": 0.0}, ["sft"] * 13),
    "mix": ({"method": "mix"}, ["dpo+sft"] * 13),
    "maxright, sft only": ({"method": "maxright", "lam": 0.0, "k": 3}, ["sft"] * 13),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_rules_without_chance(name: str, tmp_path: Path, passes: list[str]) -> None:
    """Also: a step has a pass for each objective that is trained on, and no other."""
    options, expected = EXPECTED[name]
    # Optima below all values: MAXRIGHT's gaps are positive, and a weight of 0 never lags.
    lines = run(config(tmp_path, f_star="given", f_dpo_star=0.0, f_sft_star=0.0, **options))
    assert objectives(lines) == expected
    assert_streams(lines)
    if options["method"] != "maxright":
        assert "+".join(passes) == "+".join(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("alternation", "block"), [("coin", 1), ("coin", 4), ("even", 4)])
def test_alright_draws_from_the_runs_seed(alternation: str, block: int, tmp_path: Path, passes: list[str]) -> None:
    lines = run(config(tmp_path, method="alright", alternation=alternation, block=block))
    coin = np.random.default_rng([SEED, 0xC0])
    drawn = [even_draw(j) if alternation == "even" else coin.random() for j in range(STEPS // block + 1)]
    us = [drawn[t // block] for t in range(STEPS)]
    found = objectives(lines)
    assert found == [NAMES[draw(u, (0.3, 0.7))] for u in us]
    assert set(found) == {"dpo", "sft"}
    assert passes == found
    assert_streams(lines)


def assert_maxright(lines: list[dict[str, Any]], rule: Maxright, *, estimate: bool) -> list[tuple[bool, bool]]:
    """Every line is the controller's; returns (evaluated, as expected) of each step."""
    control, best, found = Controller(rule, 2), BestSoFar(2), []
    for line in lines:
        needs, expected = control.needs(), control.expected
        seen = values(line)
        assert bool(needs) == (control.t % rule.k == 0)
        if needs:
            assert set(seen) == {DPO, SFT}

        def learn(what: dict[int, float]) -> None:
            for i, value in what.items():
                best.see(i, value)
            control.set_f_star(best.f_star)

        looked = {i: line.get(f"seen_{NAMES[i]}", value) for i, value in seen.items()}
        if needs and estimate:
            learn(looked)
        decision = control.decide(looked if needs else {})
        assert decision is not None
        assert decision.index is not None
        assert line["objective"] == NAMES[decision.index]
        if not needs:
            assert set(seen) == {decision.index}
            if estimate:
                learn(seen)
        control.record({decision.index: seen[decision.index]})
        assert isinstance(control.rule, Maxright)
        for i, name in enumerate(NAMES):
            assert line[f"gap_{name}"] == control.gaps[i]
            assert line[f"age_{name}"] == control.ages[i]
            assert line[f"f_{name}_star"] == control.rule.f_star[i]
        found.append((bool(needs), expected == decision.index))
    return found


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objective of every forward pass in training mode, in turn."""
    found: list[str] = []
    own = Policy.forward

    def forward(self: Policy, batch: Batch) -> Any:
        if self.training:
            found.append("sft" if len(batch.counts) == 5 else "dpo")
        return own(self, batch)

    monkeypatch.setattr(Policy, "forward", forward)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("f_star", "k"), [("given", 1), ("lowest", 3)])
def test_maxright_is_the_controllers(f_star: str, k: int, tmp_path: Path, passes: list[str]) -> None:
    """Also: an evaluation costs the passes of both objectives, and the step reuses the one that is trained on if it was
    the likely one; every other step has one pass."""
    star = (0.4, 4.1)
    given = {"f_star": f_star, "f_dpo_star": star[0], "f_sft_star": star[1]}
    asked = config(tmp_path, method="maxright", k=k, lam=0.6, **(given if f_star == "given" else {"f_star": f_star}))
    lines = run(asked)
    rule = Maxright(0.6, star if f_star == "given" else (0.0, 0.0), k)
    steps = assert_maxright(lines, rule, estimate=f_star == "lowest")
    assert set(objectives(lines)) == {"dpo", "sft"}
    assert_streams(lines)
    assert steps[0] == (True, False)  # nothing is known before the first step
    assert (True, True) in steps
    assert len(passes) == sum(1 if not evaluated else 2 if hit else 3 for evaluated, hit in steps)


@pytest.mark.slow
def test_estimated_gaps_of_dpo_with_a_trained_reference_are_of_means_over_training_batches(tmp_path: Path) -> None:
    """By NumPy from the steps' own f_DPO: a value's weight is its pairs, and falls by e^-1 in 13 steps, for k = 13."""
    lines = run(config(tmp_path, method="maxright", lam=1.0, k=13, reference="sft", reference_steps=4))
    assert objectives(lines) == ["dpo"] * STEPS
    shown = [line["gap_dpo"] + line["f_dpo_star"] for line in lines]  # the value that the rule compares
    trained = [line["f_dpo"] for line in lines]
    assert max(trained) - math.log(2.0) > 0.01  # the policy does not begin at the reference
    first = (5.0 * shown[0] - 3.0 * trained[0]) / 2.0  # the mean of two small batches of one pair each
    for t in range(STEPS):
        weights = np.exp(-np.array([t, *(t - s for s in range(t + 1))]) / 13.0) * [2.0, *[3.0] * (t + 1)]
        assert shown[t] == pytest.approx(np.average([first, *trained[: t + 1]], weights=weights), abs=1e-9)


@pytest.mark.slow
def test_draw_both_moves_both_streams(tmp_path: Path) -> None:
    star = {"f_star": "given", "f_dpo_star": 0.4, "f_sft_star": 4.1}
    lines = run(config(tmp_path, method="maxright", draw_both=True, lam=0.6, k=1, **star))
    assert len(set(objectives(lines))) == 2
    assert_streams(lines, both=True)


@pytest.mark.slow
def test_a_stream_gives_the_same_batches_whatever_the_other_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    own = Policy.forward

    def forward(self: Policy, batch: Batch) -> Any:
        if self.training:
            seen.append(("sft" if len(batch.counts) == 5 else "dpo", str(batch.input_ids.tolist())))
        return own(self, batch)

    monkeypatch.setattr(Policy, "forward", forward)
    found: dict[str, dict[str, list[str]]] = {}
    for name, lam in (("sequential", 0.0), ("sequential", 1.0), ("alright", 0.5)):
        run(config(tmp_path / f"{name}{lam}", method=name, lam=lam))
        found[f"{name}{lam}"] = {n: [x for kind, x in seen if kind == n] for n in NAMES}
        seen.clear()
    for name, alone in (("sft", "sequential0.0"), ("dpo", "sequential1.0")):
        mixed = found["alright0.5"][name]
        assert 0 < len(mixed) < STEPS
        assert mixed == found[alone][name][: len(mixed)]
    assert len(set(found["sequential0.0"]["sft"][:4])) == 4


# Optima.


@pytest.mark.slow
def test_optima_that_are_computed_are_the_least_values_of_runs_on_one_objective(tmp_path: Path) -> None:
    """The same runs, made by hand with their first rows as the evaluation set, and MAXRIGHT measures gaps from them."""
    few = {"eval_rows": 6, "eval_every": 4}
    asked = config(tmp_path, method="maxright", k=3, lam=0.5, f_star="compute", **few)
    lines = run(asked)
    rows = {"sft": tiny.sft_rows(ROWS), "preference": tiny.preference_rows(PAIRS)}
    found = optima(dataclasses.replace(asked, out=str(tmp_path / "other")), quiet=True, model=MODEL,
                   tokenizer=TOKENIZER, **rows)  # fmt: skip
    assert set(found) == {"train"}
    star = (found["train"]["dpo"], found["train"]["sft"])
    for i, name in enumerate(NAMES):
        alone = config(
            tmp_path / name, method="sequential", lam=1.0 - i, eval_on_train=True, held_out=0.99, **few
        )  # fmt: skip
        watched = [line for line in run(alone) if "evaluation" in line]
        assert [line["step"] for line in watched] == [0, 4, 8, 12, 13]
        least = min(line[f"f_{name}"] for line in watched)
        # Within one process, arrays lie differently in memory from run to run, and sums may be ordered by that.
        assert star[i] == pytest.approx(least, rel=1e-6, abs=0)
        assert least < watched[0][f"f_{name}"]
    assert_maxright([x for x in lines if "objective" in x], Maxright(0.5, star, 3), estimate=False)


@pytest.mark.slow
def test_gaps_are_reported_for_every_method_with_given_optima(tmp_path: Path) -> None:
    star = {"f_star": "given", "f_dpo_star": 0.25, "f_sft_star": 1.5}
    lines = run(config(tmp_path, method="mix", eval_on_train=True, held_out=0.5, eval_every=5, **star))
    watched = [line for line in lines if "evaluation" in line]
    assert [line["step"] for line in watched] == [0, 5, 10, 13]
    for line in watched:
        assert line["gap_dpo"] == line["f_dpo"] - 0.25
        assert line["gap_sft"] == line["f_sft"] - 1.5
        assert line["ideal_distance"] == math.hypot(line["gap_dpo"], line["gap_sft"])


@pytest.mark.parametrize(("lam", "steps"), [(0.0, (0, 13)), (0.3, (4, 9)), (0.5, (6, 7)), (1.0, (13, 0))])
def test_lambda_is_dpos_share_of_sequentials_steps(lam: float, steps: tuple[int, int], tmp_path: Path) -> None:
    asked = config(tmp_path, method="sequential", lam=lam)
    assert asked.rule() == Sequential(steps, (DPO, SFT))
    assert dataclasses.replace(asked, order="sft-dpo").rule() == Sequential(steps[::-1], (SFT, DPO))


# How it is computed does not count.


@pytest.mark.slow
def test_micro_batches_layout_and_graph_change_nothing_but_rounding(tmp_path: Path) -> None:
    """Plain gradient descent, so that rounding is not blown up: weights and values agree."""
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "micro": {"micro_tokens": 40},
        "rows": {"micro_tokens": 1, "share_prompt": "no"},
        "separate": {"share_prompt": "no"},
        "one graph": {"mix_one_graph": True},
        "one graph, micro": {"mix_one_graph": True, "micro_tokens": 40},
        "recomputed": {"gradient_checkpointing": True},
    }
    found = {}
    for name, way in ways.items():
        lines = run(config(tmp_path / name, method="mix", optimizer="sgd", lr=0.1, steps=3, **way))
        found[name] = lines, load_file(tmp_path / name / "run" / "adapter_model.safetensors")
    lines, weights = found["whole"]
    assert float(weights[next(n for n in weights if "lora_B" in n)].abs().max()) > 1e-2
    for name, (others, theirs) in found.items():
        assert set(theirs) == set(weights)
        for n, tensor in weights.items():
            assert float((theirs[n] - tensor).abs().max()) < 2e-5, (name, n)
        for one, other in zip(lines, others, strict=True):
            for key in ("f_dpo", "f_sft", "grad_norm", "rewards/margins", "logps/chosen", "tokens"):
                assert other[key] == pytest.approx(one[key], rel=2e-5, abs=2e-5), (name, key)


@pytest.mark.slow
def test_gap_rows_are_new_rows_every_time_and_no_pass_is_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[str]
) -> None:
    seen: list[tuple[str, list[int], bool]] = []
    whole = Engine.forward

    def forward(self: Engine, objective: Any, rows: Any, *, graph: bool) -> Any:
        seen.append((objective.name, list(rows), graph))
        return whole(self, objective, rows, graph=graph)

    monkeypatch.setattr(Engine, "forward", forward)
    lines = run(config(tmp_path, method="maxright", k=3, gap_rows=2, f_star="lowest"))
    evaluations = math.ceil(STEPS / 3)
    assert [(name, len(rows), graph) for name, rows, graph in seen] == [
        ("dpo", 2, False),
        ("sft", 2, False),
    ] * evaluations
    for name in NAMES:
        assert len({tuple(rows) for other, rows, _ in seen if other == name}) > 1
    assert len(passes) == STEPS + 2 * evaluations
    assert_maxright([x for x in lines if "objective" in x], Maxright(0.3, (0.0, 0.0), 3), estimate=True)
