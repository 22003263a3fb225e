"""A damaged, incomplete or foreign checkpoint is refused in one line with the true reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny_models as tiny
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, LlamaConfig, LlamaForSequenceClassification

from llm import TrainConfig
from llm.models.checkpoint_files import unused_note
from llm.models.loading import load_base
from llm.models.lora import add_adapter
from llm.training.inputs import GivenInputs, open_inputs

CONFIG = TrainConfig(model="x", sft="rows", preference="rows", lora_rank=2)
SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.base(tmp_path / "base", "llama")


def refusal(folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Return the error's text, which is one line; nothing else is printed but progress."""
    capfd.readouterr()
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_base(str(folder), CONFIG)
    printed = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert [line for line in printed if line and not line.startswith(("Loading weights", "Writing model"))] == []
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "FOLDER")


def test_weights_that_are_missing(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = load_file(base / "model.safetensors")
    for name in [name for name in weights if "mlp" in name][:4]:
        del weights[name]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    assert refusal(base, capfd) == (
        "model: FOLDER lacks the weights model.layers.0.mlp.down_proj.weight, model.layers.0.mlp.gate_proj.weight, "
        "model.layers.0.mlp.up_proj.weight and 1 more, which would be random; give a whole checkpoint of this "
        "architecture"
    )


def test_scales_without_a_configuration_of_them(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """transformers reads such weights without their scales, and says nothing of these."""
    weights = load_file(base / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    weights |= {name: (weights[name] / 0.01).to(torch.float8_e4m3fn), f"{name}_scale_inv": torch.full((1, 1), 0.01)}
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    assert refusal(base, capfd) == (
        "model: FOLDER has scales of quantised weights (model.layers.0.self_attn.q_proj.weight_scale_inv), and its "
        "config.json has no quantization_config, so that they would not be applied; give the model's own config.json, "
        "or a copy that is dequantised"
    )


def test_weights_that_the_configuration_has_no_place_for_are_named(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unused_note(load_base(str(base), CONFIG)) is None
    described = json.loads((base / "config.json").read_text()) | {"num_hidden_layers": 1}
    (base / "config.json").write_text(json.dumps(described))
    note = unused_note(load_base(str(base), CONFIG))
    assert note is not None
    assert note.startswith(
        "9 weights of the checkpoint are not used, the first is model.layers.1.input_layernorm.weight;"
    )
    sets = {"sft": tiny.sft_rows(6), "preference": tiny.preference_rows(6)}
    options = {"model": str(base), "device": "cpu", "lora_rank": 2, "cache": str(tmp_path / "cache"), "max_length": 64}
    config = TrainConfig(**options, batch_sft=2, batch_preference=2, held_out=0.0)
    with open_inputs(config, GivenInputs(**sets)) as inputs:
        inputs.check()
    assert note in capsys.readouterr().err


@pytest.mark.slow
def test_a_tied_head_is_not_missing(tmp_path: Path) -> None:
    model = tiny.model("gpt_neox")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "tied")
    assert len(load_file(tmp_path / "tied" / "model.safetensors")) == len(list(model.named_parameters()))
    load_base(str(tmp_path / "tied"), CONFIG)


def test_a_configuration_of_another_size(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    described = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(described | {"intermediate_size": 24}))
    assert refusal(base, capfd) == (
        "model: FOLDER is not the model of its config.json: model.layers.0.mlp.down_proj.weight has the shape (16, 32) "
        "in the file and (16, 24) by the configuration and 5 more; download the folder again"
    )


def test_a_pointer_of_git_lfs(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (base / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n")
    assert refusal(base, capfd) == (
        "model: FOLDER/model.safetensors is a pointer of git-lfs, not the weights; fetch them (git lfs pull)"
    )


def test_a_file_that_is_cut(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = (base / "model.safetensors").read_bytes()
    for length in (len(whole) // 2, len(whole) - 1, 7, 0):
        (base / "model.safetensors").write_bytes(whole[:length])
        assert refusal(base, capfd).startswith("model: FOLDER/model.safetensors is damaged or cut (")


@pytest.mark.slow
def test_a_shard_that_is_missing(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_base(str(base), CONFIG).save_pretrained(base, max_shard_size="4KB")
    (base / "model.safetensors").unlink(missing_ok=True)
    load_base(str(base), CONFIG)
    gone = sorted(base.glob("model-*.safetensors"))[1]
    gone.unlink()
    assert refusal(base, capfd) == (f"model: FOLDER lacks {gone.name}, which its index names; download it again")
    (base / "model.safetensors.index.json").write_text('{"weight_map": ')
    assert refusal(base, capfd) == "model: FOLDER/model.safetensors.index.json is damaged; download it again"


def test_weights_in_another_format(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    assert refusal(base, capfd) == (
        "model: FOLDER has no safetensors, and nothing else is loaded; save it again with save_pretrained"
    )


def test_a_reward_model(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LlamaForSequenceClassification(LlamaConfig(**SIZES)).save_pretrained(base)
    assert refusal(base, capfd) == (
        "model: FOLDER is a LlamaForSequenceClassification, which predicts no text; give the language model it was "
        "made from"
    )
    described = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(described | {"architectures": None}))
    assert refusal(base, capfd).startswith("model: FOLDER lacks the weights lm_head.weight, which would be random; ")


@pytest.mark.slow
def test_an_encoder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    BertForMaskedLM(BertConfig(**SIZES)).save_pretrained(tmp_path / "bert")
    assert "is a BertForMaskedLM, which predicts no text" in refusal(tmp_path / "bert", capfd)
    described = json.loads((tmp_path / "bert" / "config.json").read_text())
    (tmp_path / "bert" / "config.json").write_text(json.dumps(described | {"architectures": None}))
    assert refusal(tmp_path / "bert", capfd) == (
        "model: FOLDER is an encoder (bert); give a causal or encoder-decoder model"
    )
    BertLMHeadModel(BertConfig(**SIZES, is_decoder=True)).save_pretrained(tmp_path / "decoder")
    load_base(str(tmp_path / "decoder"), CONFIG)


@pytest.mark.slow
def test_an_adapter_in_place_of_a_model(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = base.parent / "adapter"
    add_adapter(load_base(str(base), CONFIG), CONFIG, seed=0).save_pretrained(folder)
    expected = f"model: FOLDER holds an adapter; use --model {base} --adapter FOLDER"
    assert refusal(folder, capfd) == expected
    (folder / "config.json").write_text((base / "config.json").read_text())  # transformers would load the adapter
    assert refusal(folder, capfd) == expected
