"""Base models and tokenizers from folders: equal to transformers' own, and one line for each unusable folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.models.loading import load_base, load_config, load_tokenizer
from llm.training.run_folder import load_model

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


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LLaVA, for which transformers has no class of text alone."""
    from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, LlavaConfig

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=28, patch_size=14),
        text_config=LlamaConfig(**sizes, vocab_size=60, max_position_embeddings=128, bos_token_id=2, eos_token_id=1),
        image_token_index=59,
    )
    folder = tmp_path_factory.mktemp("vision")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AutoModelForImageTextToText.from_config(config)
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    made.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.oracle
def test_a_vision_language_model_is_trained_on_texts(vision: Path, tmp_path: Path) -> None:
    """Its numbers are those of its own forward pass without images, and its adapter is one of the language model."""
    from peft import PeftModel
    from safetensors import safe_open
    from transformers import AutoModelForImageTextToText

    from llm.evaluation.check import CheckConfig, check

    sets = {"sft": tiny.sft_rows(6), "preference": tiny.preference_rows(6)}
    options = {"model": str(vision), "device": "cpu", "lora_rank": 4, "cache": str(tmp_path), "max_length": 64}
    findings = check(CheckConfig(**options, rows=2, parts=("forward", "generation", "adapter")), **sets)
    assert [f for f in findings if f.holds is False] == []
    assert {"f_DPO", "gradient of f_SFT", "merged into the base's weights"} <= {f.claim for f in findings if f.holds}
    run = {"steps": 2, "batch_sft": 2, "batch_preference": 2, "held_out": 0.0, "method": "mix", "lr": 0.05}
    folder = train(TrainConfig(**options, **run, out=str(tmp_path / "run")), quiet=True, **sets).folder
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        assert all("language_model" in name for name in file.keys())  # noqa: SIM118 (no mapping)
    bare = AutoModelForImageTextToText.from_pretrained(vision).eval()
    with torch.no_grad():
        before = bare(input_ids=IDS).logits
        loaded = PeftModel.from_pretrained(bare, str(folder))(input_ids=IDS).logits
        ours = load_model(folder)[0](input_ids=IDS).logits
    assert float((loaded - before).abs().max()) > 1e-3
    torch.testing.assert_close(ours, loaded)


def test_a_type_without_a_language_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match=r"^model: .* is of type clip, of which transformers has no language"):
        load_config(str(tmp_path), CONFIG)
