"""Artefacts that cost nothing, and the checks of Figure 5."""

from __future__ import annotations

import json

import pytest

from figures import registry
from figures.artefact import Request


@pytest.mark.parametrize("name", ["fig5", "table2", "table3"])
def test_artefacts_of_no_cost(name: str) -> None:
    artefact = registry.load(name, registry.REGISTRY[name])
    parameters = artefact.parameters(Request())
    assert json.loads(json.dumps(parameters)) == parameters
    data = artefact.compute(parameters)
    assert data.checks
    assert all(check.holds for check in data.checks)
    assert artefact.reconstructed


def test_a_wrong_curve_fails_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    from figures.artefacts import fig5
    from toyopt import examples

    good = fig5.compute(fig5.parameters(Request()))
    assert [check.holds for check in good.checks] == [True, True]
    swapped = tuple(
        examples.DataRow(r.input, r.output, r.label, r.role, (1.5 - r.feature[0],)) for r in examples.TABLE2
    )
    monkeypatch.setattr(examples, "TABLE2", swapped)
    bad = fig5.compute(fig5.parameters(Request()))
    assert [check.holds for check in bad.checks] == [False, False]
