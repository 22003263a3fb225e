"""The ledger as an artefact."""

from __future__ import annotations

import importlib.util

import pytest

from figures.artefact import Request
from figures.artefacts.claims import ARTEFACT


def test_without_torch_the_theory_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert ARTEFACT.parameters(Request()) == {}
