"""The grids of the figures at every scale."""

from __future__ import annotations

from typing import Any

import pytest

from figures.analysis import empirical_claims, real_sweeps, sweeps
from figures.artefact import Request
from figures.pipeline.paths import grid_of
from figures.registry import REGISTRY, load
from llm.config import TrainConfig
from llm.study.dependencies import prerequisites


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["smoke", "embedded", "real", "paper"])
def test_every_specification_is_a_grid_with_its_seeds(scale: Any) -> None:
    request = Request(scale=scale)
    specs = [
        empirical_claims.parameters(request)["grids"],
        sweeps.one_lam(request),
        sweeps.others(request),
        sweeps.conflict(request),
        sweeps.replayed(request),
    ]
    specs += [real_sweeps.real(request)] if scale == "real" else []
    specs += [sweeps.sensitivity(request), sweeps.curved(request), sweeps.encoder_decoder(request)]
    for spec in (s for found in specs for s in found.values()):
        runs = grid_of(spec).runs()
        assert runs
        assert len({run.config.seed for run in runs}) == len(spec["seeds"])


def test_small_models_adapt_the_layers_of_their_family() -> None:
    request = Request()
    grids = {"neox": sweeps.one_lam(request), "llama": sweeps.llama(request), "t5": sweeps.encoder_decoder(request)}
    for family, specs in grids.items():
        config = grid_of(specs["all"]).base
        assert config.world_family == family
        assert list(config.lora_targets) == sweeps.TARGETS[family]
        assert config.lora_rank == TrainConfig.preset("embedded").lora_rank


def test_the_joint_methods_are_shared_between_both_orders() -> None:
    request = Request()
    names = [
        {run.name for spec in sweeps.in_order(request, order).values() for run in grid_of(spec).runs()}
        for order in ("dpo-sft", "sft-dpo")
    ]
    assert len(names[0]) == len(names[1]) == 100
    assert len(names[0] & names[1]) == 75


def test_the_real_models_options_reach_its_runs_and_no_other_scale() -> None:
    request = Request(
        scale="real", reference="sft", precision="bf16", preference="some/pairs", mmlu="hub", mmlu_questions=3
    )
    specs = [*sweeps.judged(request).values(), *sweeps.others(request).values(), *real_sweeps.real(request).values()]
    configs = [run.config for spec in specs for run in grid_of(spec).runs()]
    assert {(c.reference, c.precision, c.preference) for c in configs} == {("sft", "bf16", "some/pairs")}
    assert {c.replay for c in configs if c.method == "replay"} == {0.01, 0.05, 0.2}
    assert "questions:mmlu=hub,limit=3" in sweeps.judged(request)["dpo_first"]["measures"]
    assert real_sweeps.real(request)["joint"]["measures"] == ["skill"]
    assert sweeps.embedded(request) == Request(scale="embedded")


@pytest.mark.parametrize("scale", ["real", "paper"])
def test_every_artefact_has_parameters_at_every_scale(scale: Any) -> None:
    names = [name for name, module in REGISTRY.items() if load(name, module).parameters(Request(scale=scale))]
    assert len(names) >= len(REGISTRY) - 3  # a few depend on nothing


@pytest.mark.parametrize("scale", ["smoke", "embedded"])
def test_runs_that_are_evaluated_more_often_share_the_optima_of_the_others(scale: Any) -> None:
    request = Request(scale=scale, seeds=1)
    often, usual = (
        {needed for spec in specs.values() for run in grid_of(spec).runs() for needed in prerequisites(run.config).rest}
        for specs in (sweeps.stale(request), sweeps.in_order(request, "dpo-sft"))
    )
    assert often == usual
    assert {spec["options"]["eval_every"] for spec in sweeps.stale(request).values()} == {7}
