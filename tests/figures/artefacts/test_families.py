"""The model families: one λ, own points and settings."""

from __future__ import annotations

import pytest
from support.grid_runs import STAR, data_of, install

from figures.artefacts import families


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_families_have_one_lam_their_own_points_and_settings() -> None:
    data = data_of(families, scale="embedded", seeds=3)
    assert set(data.table["lam"]) == {0.5}
    assert set(data.table["grid"]) == {"neox", "llama", "t5"}
    assert list(data.extra["ideal_t5"]) == pytest.approx([STAR["sft"], STAR["dpo"]])
    assert data.facts["setting_neox"] == "DPO first; LoRA on dense_h_to_4h, dense_4h_to_h"
    assert data.facts["setting_llama"] == "SFT first; LoRA on q_proj, v_proj"
    assert data.facts["setting_t5"] == "DPO first; LoRA on wi, wo"
