"""A GGUF file is a base like any other: the weights that its own library dequantises, and its tokenizer's ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

from support import text_data, tiny_models  # noqa: E402

from llm.config import TrainConfig  # noqa: E402
from llm.models.gguf import gguf_file  # noqa: E402
from llm.models.loading import load_base, load_tokenizer  # noqa: E402

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
} | {
    f"model.layers.{n}.{ours}": f"blk.{n}.{theirs}"
    for n in range(2)
    for ours, theirs in {
        **{f"self_attn.{p}_proj.{kind}": f"attn_{p}.{kind}" for p in "qkv" for kind in ("weight", "bias")},
        "self_attn.o_proj.weight": "attn_output.weight",
        **{f"mlp.{p}_proj.weight": f"ffn_{p}.weight" for p in ("gate", "up", "down")},
        "input_layernorm.weight": "attn_norm.weight",
        "post_attention_layernorm.weight": "ffn_norm.weight",
    }.items()
}
CHAT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"


def write(path: Path, *, architecture: str = "qwen2", kind: Any = gguf.GGMLQuantizationType.Q8_0) -> tuple[Any, Any]:
    """Write a tiny model with gguf's own writer; return it with the weights that the file holds, and its tokenizer."""
    tokenizer = text_data.byte_level(chat=CHAT)
    model = tiny_models.model("qwen2", vocabulary=len(tokenizer), hidden=32)
    config, inner = model.config, json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokenizer))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in inner["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(CHAT)
    weights = model.state_dict()
    for ours, theirs in NAMES.items():
        data = weights[ours].numpy()
        if data.ndim == 2:
            packed = gguf.quants.quantize(data, kind)
            writer.add_tensor(theirs, packed, raw_dtype=kind)
            weights[ours] = torch.from_numpy(gguf.quants.dequantize(packed, kind).astype(np.float32))
        else:
            writer.add_tensor(theirs, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert set(weights) == set(NAMES)
    model.load_state_dict(weights)
    return model, tokenizer


def config_of(cache: Path, **options: Any) -> TrainConfig:
    return TrainConfig(cache=str(cache), **options)


@pytest.mark.slow
@pytest.mark.oracle
def test_weights_and_ids_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.Q8_0.gguf"
    expected, own = write(path)
    config = config_of(tmp_path / "cache")
    model, tokenizer = load_base(str(path), config), load_tokenizer(str(path), config)
    for name, weights in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], weights), name
    ids = own("User: where is it\nAssistant: it is here</s>", return_tensors="pt").input_ids
    assert torch.equal(tokenizer("User: where is it\nAssistant: it is here</s>", return_tensors="pt").input_ids, ids)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, expected(ids).logits)
    assert tokenizer.chat_template == CHAT
    assert (tokenizer.eos_token, model.generation_config.eos_token_id) == ("</s>", own.eos_token_id)
    assert model.name_or_path == str(path)  # what an adapter names as its base
    (folder,) = (tmp_path / "cache" / "gguf").glob("*/")
    assert load_base(str(tmp_path), config).name_or_path == str(tmp_path)  # the only file of a folder
    assert list((tmp_path / "cache" / "gguf").glob("*/")) == [folder]
    half = load_base(str(path), config_of(tmp_path / "cache", precision="bf16"))
    assert half.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.process
def test_a_run_trains_and_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm import train
    from llm.cli import main

    monkeypatch.setenv("HOME", str(tmp_path))

    path = tmp_path / "base" / "tiny.gguf"
    path.parent.mkdir()
    write(path)
    for name, rows in (("sft", tiny_models.sft_rows()), ("pairs", tiny_models.preference_rows())):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = config_of(
        tmp_path / ".cache" / "forget-neither", model=str(path), sft=str(tmp_path / "sft.jsonl"),
        preference=str(tmp_path / "pairs.jsonl"),
        steps=2, batch_sft=2, batch_preference=2, out=str(tmp_path / "run"),
    )  # fmt: skip
    train(config, quiet=True)
    described = json.loads((tmp_path / "run" / "adapter_config.json").read_text(encoding="utf-8"))
    assert described["base_model_name_or_path"] == str(path)
    assert main(["merge", "--adapter", str(tmp_path / "run"), "--out", str(tmp_path / "merged")]) == 0
    plain = load_base(str(tmp_path / "merged"), TrainConfig())  # safetensors, like any model
    assert plain.config.model_type == "qwen2"
    assert not hasattr(plain.config, "quantization_config")


def test_names_that_are_no_single_gguf_file(tmp_path: Path) -> None:
    assert gguf_file("org/name") is None
    assert gguf_file(str(tmp_path)) is None
    with pytest.raises(FileNotFoundError, match=r"^model: there is no file .*absent.gguf; give a GGUF file"):
        gguf_file(str(tmp_path / "absent.gguf"))
    for name in ("a.gguf", "b-00001-of-00002.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"^model: .* has 2 GGUF files; name one of them, such as .*a\.gguf$"):
        gguf_file(str(tmp_path))
    with pytest.raises(ValueError, match=r"^model: .* is a part of a split GGUF file; join the parts"):
        gguf_file(str(tmp_path / "b-00001-of-00002.gguf"))
    (tmp_path / "config.json").touch()
    assert gguf_file(str(tmp_path)) is None  # a folder of transformers that also holds GGUF files


@pytest.mark.parametrize("fault", ["architecture", "damaged"])
def test_a_file_that_cannot_be_read_is_an_error_in_one_line(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    if fault == "architecture":
        write(path, architecture="rwkv7")
    else:
        path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ValueError, match=rf"^model: transformers cannot read {path} \([^\n]*\); give the model in"):
        load_base(str(path), config_of(tmp_path / "cache"))
    assert not list((tmp_path / "cache" / "gguf").glob("*/"))
