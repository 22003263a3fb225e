"""The base's fingerprint differs wherever a number of the forward pass does, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import tiny_models as tiny
from support.families import ROTARY, build

from llm import TrainConfig
from llm.models.fingerprints import base_fingerprint
from llm.models.loading import load_base


@pytest.mark.slow
def test_every_number_of_the_forward_pass_counts() -> None:
    seen = {base_fingerprint(tiny.model("llama"))}
    changed = tiny.model("llama")
    changed.model.layers[0].mlp.up_proj.weight.data[0, 0] += 1e-3
    seen.add(base_fingerprint(changed))
    changed = tiny.model("llama")
    changed.model.rotary_emb.inv_freq[0] *= 1.5  # a buffer that no checkpoint has
    seen.add(base_fingerprint(changed))
    for name, value in {
        "rms_norm_eps": 1e-3,
        "hidden_act": "gelu",
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
        "an_entry_of_a_later_version": 2.0,
    }.items():
        changed = tiny.model("llama")
        setattr(changed.config, name, value)
        seen.add(base_fingerprint(changed))
    assert len(seen) == 7
    mistral = [build("Mistral", sliding_window=w) for w in (4, 5, None)]
    assert len({base_fingerprint(model) for model in mistral}) == 3


def test_a_tied_head_is_another_model() -> None:
    assert base_fingerprint(build("Llama", tie_word_embeddings=True)) != base_fingerprint(build("Llama"))


@pytest.mark.slow
def test_folders_versions_and_earlier_batches_do_not_count(tmp_path: Path) -> None:
    made = tiny.base(tmp_path / "one", "llama")
    config = TrainConfig(model=str(made), sft="rows", preference="rows")
    memory = base_fingerprint(tiny.model("llama"))
    loaded = load_base(str(made), config)
    loaded.config.transformers_version = "0.0"
    assert base_fingerprint(loaded) == memory
    loaded.save_pretrained(tmp_path / "two")
    assert base_fingerprint(load_base(str(tmp_path / "two"), config)) == memory


@pytest.mark.parametrize("kind", ROTARY)
def test_frequencies_left_by_a_long_batch_do_not_count(kind: str) -> None:
    name, values = ROTARY[kind]
    model = build(name, **values)
    before = base_fingerprint(model)
    ids = torch.arange(3, 23)[None]
    model(input_ids=ids)
    assert base_fingerprint(model) == before
    assert before != base_fingerprint(build(name, **{k: v for k, v in values.items() if k != "rope_parameters"}))


@pytest.mark.slow
def test_several_configurations_in_a_folder(tmp_path: Path) -> None:
    """transformers may take another file than config.json; the fingerprint is of the loaded model."""
    made = tiny.base(tmp_path / "base", "llama")
    config = TrainConfig(model=str(made), sft="rows", preference="rows")
    before = base_fingerprint(load_base(str(made), config))
    text = (made / "config.json").read_text()
    (made / "config.5.0.0.json").write_text(text.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.1'))
    (made / "config.json").write_text(text.replace("{", '{"configuration_files": ["config.5.0.0.json"],', 1))
    loaded = load_base(str(made), config)
    assert loaded.config.rms_norm_eps == 0.1
    assert base_fingerprint(loaded) != before
