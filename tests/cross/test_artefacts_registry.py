"""Every registered artefact, and its module."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from figures.artefact import Request
from figures.registry import REGISTRY, load


@pytest.mark.parametrize(("name", "module"), REGISTRY.items())
def test_an_artefact_has_the_name_and_functions_of_its_module(name: str, module: str) -> None:
    artefact, own = load(name, module), importlib.import_module(module)
    assert module == f"figures.artefacts.{name}"
    assert (artefact.parameters, artefact.compute) == (own.parameters, own.compute)
    assert artefact.draw.__module__.startswith("figures.drawing.")
    assert artefact.title
    assert artefact.caption


@pytest.mark.parametrize("name", REGISTRY)
def test_parameters_are_the_same_for_the_same_request(name: str) -> None:
    artefact = load(name, REGISTRY[name])
    assert artefact.parameters(Request(scale="smoke")) == artefact.parameters(Request(scale="smoke"))


@pytest.mark.parametrize("name", REGISTRY)
def test_seeds_are_of_trained_models_and_toy_runs_of_the_toy_world(name: str) -> None:
    """Five seeds decide a claim about models, and are far too few for a mean over coins."""
    artefact = load(name, REGISTRY[name])

    def parts(**options: int) -> tuple[Any, dict[str, Any]]:
        own = artefact.parameters(Request(scale="smoke", **options))
        return own.get("grids"), {key: value for key, value in own.items() if key != "grids"}

    (grids, other), (more_grids, same), (same_grids, more) = parts(seeds=2), parts(seeds=4), parts(seeds=2, toy_runs=7)
    assert (other, grids) == (same, same_grids)
    of_one_seed = name in ("fig6", "fig9", "samples")
    assert (grids != more_grids) == bool(grids and not of_one_seed)
    draws = name in ("fig2", "forgetting", "pareto", "replay", "thm33", "thm41")
    assert (7 in more.values()) == draws
    assert (more != other) == draws
