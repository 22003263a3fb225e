"""The registry of artefacts."""

from __future__ import annotations

import pytest

from figures import registry


def test_registry() -> None:
    names = list(registry.REGISTRY)
    paper = [*(f"fig{i}" for i in range(1, 10)), *(f"table{i}" for i in range(1, 4))]
    assert names[: len(paper) + 1] == ["claims", *paper]
    for name, module in registry.REGISTRY.items():
        assert registry.load(name, module).name == name
    with pytest.raises(ValueError, match="calls itself 'fig5'"):
        registry.load("fig6", "figures.artefacts.fig5")
