"""Every registered artefact, and its module."""

from __future__ import annotations

import importlib

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
