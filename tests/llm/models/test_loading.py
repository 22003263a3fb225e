"""Base models and tokenizers from folders: equal to transformers' own, and one line for each unusable folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import tiny_models as tiny

from llm import TrainConfig
from llm.models.loading import load_base, load_config, load_tokenizer

CONFIG = TrainConfig()
IDS = torch.arange(3, 13)[None]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_loaded_base_has_the_logits_of_the_saved_model(family: str, tmp_path: Path) -> None:
    saved = tiny.model(family)
    saved.save_pretrained(tmp_path)
    loaded = load_base(str(tmp_path), CONFIG).eval()
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=IDS).logits, saved(input_ids=IDS).logits)
    assert load_config(str(tmp_path), CONFIG).model_type == family


def test_precision_and_attention_are_those_of_the_configuration(tmp_path: Path) -> None:
    tiny.base(tmp_path)
    loaded = load_base(str(tmp_path), TrainConfig(precision="bf16", attention="eager"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert loaded.config._attn_implementation == "eager"


def test_an_encoder_decoder_is_loaded_as_one(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 60}
    T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)).save_pretrained(tmp_path)
    assert isinstance(load_base(str(tmp_path), CONFIG), T5ForConditionalGeneration)


def test_a_loaded_tokenizer_has_the_ids_of_the_saved_one(tmp_path: Path) -> None:
    tiny.base(tmp_path)
    text = "User: bax fir\nAssistant: gos"
    assert load_tokenizer(str(tmp_path), CONFIG)(text)["input_ids"] == tiny.tokenizer()(text)["input_ids"]


@pytest.mark.parametrize("load", [load_base, load_config, load_tokenizer])
def test_an_absent_folder_is_named_with_the_remedy(load: object, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^model: there is no folder .*absent; give a folder") as caught:
        load(str(tmp_path / "absent"), CONFIG)  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("load", "file"),
    [(load_base, "config.json"), (load_config, "config.json"), (load_tokenizer, "tokenizer_config.json")],
)
def test_a_folder_without_the_file_is_named(load: object, file: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^model: .* has no {file}; give a folder"):
        load(str(tmp_path), CONFIG)  # type: ignore[operator]


def test_weights_in_another_format_are_refused(tmp_path: Path) -> None:
    tiny.base(tmp_path)
    torch.save(tiny.model().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_base(str(tmp_path), CONFIG)
    assert "safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_the_hub_cannot_provide_is_one_line() -> None:
    with pytest.raises(FileNotFoundError, match=r"^model: nobody/nothing is neither a folder") as caught:
        load_config("nobody/nothing", CONFIG)
    assert "\n" not in str(caught.value)
