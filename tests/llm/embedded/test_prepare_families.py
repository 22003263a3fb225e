"""Sizes and families of the embedded world in the cache and in runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.wrong import fails
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from llm import TrainConfig, train
from llm.data.splits import load_datasets
from llm.embedded import EmbeddedConfig, Paths
from llm.embedded.networks import CONTEXT
from llm.embedded.prepare import FAMILIES, SIZES, embedded_paths, prepare, with_embedded
from llm.embedded.sets import generate
from llm.presets import EMBEDDED_TARGETS
from llm.training.run_folder import load_run

TINY: dict[str, int] = {
    "places": 8, "hidden": 16, "layers": 1, "heads": 2, "pretrain_steps": 4,
    "sft_rows": 12, "preference_rows": 12, "held_out_rows": 8, "questions": 9,
}  # fmt: skip


def config(**changes: Any) -> TrainConfig:
    few = {"steps": 4, "batch_sft": 4, "batch_preference": 4, "device": "cpu", "world_size": "small"}
    return TrainConfig.preset("embedded", **{**few, **changes})


def test_the_standard_world_keeps_the_name_under_which_it_lies_in_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def made(cache: Path, kind: str, *_: Any) -> Path:
        names.append(kind + "-" + json.dumps(_[0]))
        return cache / kind

    assert EmbeddedConfig.of_size("standard") == EmbeddedConfig()
    monkeypatch.setattr(sys.modules[EmbeddedConfig.__module__], "_made", made)
    embedded_paths(TrainConfig())
    network = {"seed": 0, "places": 120, "hidden": 128, "layers": 4, "heads": 4, "pretrain_steps": 1200}
    rows = {"sft": 600, "preference": 600, "held_out": 100, "questions": 120, "conflict": 0.5}
    data = {"seed": 0, "places": 120, **rows}
    assert names == ["data-" + json.dumps(data), "base-" + json.dumps(network)]
    names.clear()
    embedded_paths(TrainConfig(world_family="llama", world_seed=3, conflict=1.0))
    network |= {"seed": 3, "family": "llama"}
    assert names == ["data-" + json.dumps(data | {"seed": 3, "conflict": 1.0}), "base-" + json.dumps(network)]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_size_has_its_stated_number_of_rows(size: str) -> None:
    own = EmbeddedConfig.of_size(size)
    sets = generate(own.world, own.sizes)
    assert [len(rows) for rows in sets.values()] == [
        own.sft_rows, own.held_out_rows, own.preference_rows, own.held_out_rows, own.questions
    ]  # fmt: skip
    assert len({row["prompt"] for name, rows in sets.items() if name != "questions" for row in rows}) == (
        own.sft_rows + own.preference_rows + 2 * own.held_out_rows
    )


def test_sizes_and_families_that_there_are_not() -> None:
    fails(lambda: EmbeddedConfig.of_size("huge"), ValueError, "size", "huge")
    fails(lambda: EmbeddedConfig(family="gpt"), ValueError, "family", "gpt")
    fails(lambda: TrainConfig(world_size="huge"), ValueError, "world_size", "huge")  # type: ignore[arg-type]
    fails(lambda: TrainConfig(world_family="gpt"), ValueError, "world_family", "gpt")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_family_s_base_loads_and_shares_the_data(family: str, tmp_path: Path) -> None:
    paths = prepare(EmbeddedConfig(**TINY, family=family), tmp_path)
    other = prepare(EmbeddedConfig(**TINY), tmp_path)
    assert (paths.sft, paths.base) != (other.sft, other.base)
    assert paths.sft == other.sft
    auto: Any = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    made, tokenizer = auto.from_pretrained(paths.base), AutoTokenizer.from_pretrained(paths.base)
    assert made.config.model_type == family
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(other.base).get_vocab()
    assert made.config.eos_token_id == tokenizer.eos_token_id
    if family == "llama":
        assert (made.config.num_attention_heads, made.config.num_key_value_heads) == (2, 1)
        assert made.config.max_position_embeddings == CONTEXT
    else:
        assert made.config.decoder_start_token_id == tokenizer.pad_token_id
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (paths.base / name).read_bytes() == (other.base / name).read_bytes()


@pytest.fixture
def tiny_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "small", TINY)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_worlds")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_on_every_family(family: str, tmp_path: Path) -> None:
    asked = config(world_family=family, out=str(tmp_path / "run"), cache=str(tmp_path / "cache"), method="mix")
    result = train(asked, quiet=True)
    saved = json.loads((result.folder / "run.json").read_text())
    assert saved["config"]["lora_targets"] == list(EMBEDDED_TARGETS[family])
    adapter = json.loads((result.folder / "adapter_config.json").read_text())
    assert sorted(adapter["target_modules"]) == sorted(EMBEDDED_TARGETS[family])
    paths: Paths = embedded_paths(load_run(result.folder).config)
    assert adapter["base_model_name_or_path"] == str(paths.base)
    sets = load_datasets(with_embedded(asked, [], lambda *_: None), AutoTokenizer.from_pretrained(paths.base), {},
                     encoder=family == "t5")  # fmt: skip
    assert sets.digests == saved["fingerprint"]["rows"]
