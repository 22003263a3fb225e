"""Every causal and encoder-decoder architecture of transformers, built small from the defaults of its configuration."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Any

import numpy as np

from llm.config import TrainConfig
from llm.data.tokenization import TokenizedDataset
from llm.evaluation.conformance.forward import Checked, Subject
from llm.losses import DPOLoss
from llm.training.base import BaseModel
from llm.training.launch import make_accelerator

VOCABULARY = 64
WINDOW = 12  # tokens of every window, chunk and block
CONTEXT = 32  # tokens of the original context of scaled rotary embeddings
POSITIONS = 96  # most tokens of a sequence

# (whole name of a number in a configuration, its value); the first rule that fits counts, None keeps the default.
RULES: tuple[tuple[str, int | None], ...] = (
    (r".*(token_id|token_index|_index|_idx)", None),
    (r"(.*_)?vocab_size(_per_layer_input)?", VOCABULARY),
    (r"original_max_position_embeddings|context_length", CONTEXT),
    (r"(.*_)?(max_position_embeddings|positions|position_embeddings|n_ctx|max_seq_len|model_max_length)", POSITIONS),
    (r"(.*_)?(sliding_window(_size)?|window_size|attention_window|local_attention|attention_chunk_size|chunk_size|"
     r"attn_chunk_length|block_size|local_radius|attention_window_len)", WINDOW),
    (r"index_topk|index_topk_blocks", 8),
    (r"index_n_heads", 16),  # with few heads many scores are exactly 0, and rounding selects among them
    (r"(.*_)?(key_value_heads|kv_heads|kv_n_heads|query_groups)", 2),
    (r"(.*_)?(attention_heads|num_heads|n_heads?|key_heads|value_heads|linear_num_heads)", 4),
    (r"(.*_)?(head_dim|d_kv|d_head|kv_channels|head_size|rotary_dim|dim_head|headdim)", 8),
    (r"hidden_size_global", 32),
    (r"(.*_)?(hidden_size|d_model|n_embd|embedding_size|emb_dim|embedding_dim|embed_proj_dim|lru_width|embed_dim)", 32),
    (r"(.*_)?(intermediate_size|ffn_dim|ffn_hidden_size|size_mlp|d_inner|d_ff|dff|dim_ff|mlp_dim)", 48),
    (r"feed_forward_size", 48),
    (r"(.*_)?(num_experts|local_experts|routed_experts|n_experts|zero_expert_num)", 4),
    (r"(.*_)?(experts_per_tok|experts_per_token|moe_topk|moe_k|top_k)", 2),
    (r"(n_group|topk_group|num_expert_group|first_k_dense_replace)", 1),
    (r"(.*_)?(hidden_layers|n_layers?|encoder_layers|decoder_layers|num_layers|num_blocks)", 2),
    (r"(.*_)?(lora_rank|dt_rank|step_rank|laurel_rank)", 8),
    (r"(.*_)?(d_state|state_size)", 8),
)  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}  # 8 heads of 8: twice the hidden size
QSA = {
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 4, "ngram_vocab_size_base": 64, "split_ngram_parts": 2, "hc_lowrank": 8,
}  # fmt: skip
GEMMA4 = {"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "global_head_dim": 16}
NO_HEAD_DIM = {"head_dim": 8, "num_key_value_heads": 2}
# Architecture -> arguments of its configuration that the rules do not know, or that must fit one another.
HINTS: dict[str, dict[str, Any]] = {
    "bamba": {**MAMBA, "attn_layer_indices": [1]},
    "granitemoehybrid": {**MAMBA, "layer_types": ["linear_attention", "full_attention"], "num_hidden_layers": 2},
    "blt": {"encoder_hash_byte_group_vocab": VOCABULARY},
    "cohere_compass_text": {
        "rope_parameters": {"sliding_attention": ROPE, "full_attention": ROPE},
        "layer_types": ["sliding_attention", "full_attention"],
        "logit_scale": 1.0,
    },
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8}},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "doge": {"keep_window_size": POSITIONS},  # its scores of keys are so close that rounding selects among them
    "dots3_note_vision_encoder": {"adapter_in_dim": 32, "adapter_out_dim": 32},
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "dots3_note_text": {
        "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 8, "swa_kv_lora_rank": 8,
        "swa_head_dim": 16, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8, "sliding_window": WINDOW, "index_topk": 8,
        "head_dim": 16,
    },
    "falcon_h1": {**MAMBA, "mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_kv_shared_layers": 0, "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"],
        "intermediate_size": 48, "activation_sparsity_pattern": [0.5, 0.0], "hidden_size_per_layer_input": 8,
    },
    "gemma4_text": GEMMA4,
    "gemma4_unified_text": GEMMA4,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "intermediate_size": 48},
    "hunyuan_v1_dense": NO_HEAD_DIM,
    "hunyuan_v1_moe": NO_HEAD_DIM,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "lfm2": {"block_multiple_of": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2, "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 8},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "ministral": {"head_dim": 8},
    "nemotron": NO_HEAD_DIM,
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 2},
    "qwen4_exp_text": QSA,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "is_decoder": True, "attn_layers": ["local", "lsh"], "axial_pos_shape": [8, 12], "axial_pos_embds_dim": [8, 24],
    },
    "xlstm": {"num_heads": 2, "hidden_size": 64, "embedding_dim": 64, "chunk_size": 64},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4},
}  # fmt: skip
# Architecture of a configuration that differs from the default in kind -> (model type, arguments).
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3+longrope": (
        "phi3",
        {
            "original_max_position_embeddings": CONTEXT,
            "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 4,
                "long_factor": [4.0, 8.0, 16.0, 32.0], "original_max_position_embeddings": CONTEXT,
            },
        },
    ),
    "llama+dynamic": (
        "llama",
        {"max_position_embeddings": CONTEXT, "rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 4.0}},
    ),
    "llama+yarn": (
        "llama",
        {"rope_parameters": {
            **ROPE, "rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": CONTEXT}},
    ),
    "llama+tied": ("llama", {"tie_word_embeddings": True}),
    "qwen2+window": ("qwen2", {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]}),
    "falcon+alibi": ("falcon", {"alibi": True}),
    "gemma2+caps": ("gemma2", {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0}),
    "gemma4_text+moe": (
        "gemma4_text",
        {**GEMMA4, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16},
    ),
}  # fmt: skip
# Architecture -> layers that get LoRA, where PEFT refuses its own choice.
TARGETS = {
    "falcon_h1": ("q_proj", "v_proj", "in_proj"),
    "falcon_mamba": ("in_proj", "x_proj"),
    "mamba": ("in_proj", "x_proj"),
    "mamba2": ("in_proj",),
}
# Architectures that the trainer refuses in one line -> part of the line.
REFUSED = {
    "cpmant": "depends on later tokens",
    "prophetnet": "depends on later tokens",
    "prophetnet/seq2seq": "depend on the other rows of a batch",
    "reformer": "reversible layers",
    "xlm": "depends on later tokens",
    "xlnet": "depends on later tokens",
}
# Architectures that are not built -> (part of the error, reason).
NO_TEXT = ("no encoder of text", "listed beside encoder-decoders, but its encoder takes sounds only")
DRAFT = "drafts for another model, whose keys and values it reads"
LEFT_OUT: dict[str, tuple[str, str]] = {
    "gemma3n": ("timm", "its vision tower needs a library that is not installed; gemma3n_text is built"),
    "gemma4_assistant": ("hidden_size_per_layer_input must be 0", DRAFT),
    "gemma4_unified_assistant": ("layer types producing a cache", DRAFT),
    "musicgen": ("has no attribute 'dropout'", "predicts codes of sounds; its configuration is no decoder's"),
    "musicgen_melody": ("has no attribute 'dropout'", "predicts codes of sounds; its configuration is no decoder's"),
    "nemo_speechlm/seq2seq": ("blank_token_id", NO_TEXT[1]),
    "vibevoice_asr/seq2seq": ("acoustic_tokenizer_chunk_size", NO_TEXT[1]),
    **{
        f"{name}/seq2seq": NO_TEXT
        for name in (
            "audioflamingo3", "glmasr", "granite_speech", "granite_speech_plus", "moss_transcribe_diarize",
            "musicflamingo", "qwen2_audio", "qwen3_asr", "voxtral", "voxtral_realtime",
        )
    },
}  # fmt: skip


def names() -> list[str]:
    """Return the model types of both mappings, sorted, encoder-decoders as TYPE/seq2seq."""
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    pairs = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return sorted([*causal, *(f"{name}/seq2seq" for name in pairs), *VARIANTS])


def small_value(name: str, value: Any) -> Any:
    """Return a number of a configuration made small by the first rule that fits its name."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    for pattern, small in RULES:
        if re.fullmatch(pattern, name):
            return value if small is None else min(value, small) if value > 0 else value
    return value


def chosen_layers(lists: list[list[Any]]) -> list[int]:
    """Return the indices of the first layer of every kind, two at least, ascending.

    lists  a value for each layer, several times
    """
    first: dict[str, int] = {}
    for i, kinds in enumerate(zip(*lists, strict=True)):
        first.setdefault(repr(kinds), i)
    indices = sorted(first.values())
    return indices if len(indices) > 1 else [0, 0]


def small_options(config_class: Any, hints: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of a configuration's class that make its default configuration small."""
    from transformers import PreTrainedConfig

    default = config_class()
    default.allow_global_per_layer_attribute_access = True
    fields = {f.name: (f.default, getattr(default, f.name, None)) for f in dataclasses.fields(config_class) if f.init}
    layers = getattr(default, "num_hidden_layers", None)
    lists = {name: value for name, (_, value) in fields.items() if isinstance(value, list) and len(value) == layers}
    options: dict[str, Any] = {}
    for name, (declared, value) in fields.items():
        if small_value(name, declared) != declared:  # a number that is derived from others stays so
            options[name] = small_value(name, declared)
        elif isinstance(value, PreTrainedConfig):
            options[name] = type(value)(**small_options(type(value), HINTS.get(value.model_type, {})))
    indices = [name for name, value in lists.items() if value == list(range(layers))]
    if kinds := [value for name, value in lists.items() if name not in indices]:
        chosen = chosen_layers(kinds)
        lists.update({name: list(range(len(chosen))) for name in indices})
        options |= {name: v if name in indices else [v[i] for i in chosen] for name, v in lists.items()}
        options["num_hidden_layers"] = len(chosen)
    if "kv_lora_rank" in fields and "num_key_value_heads" in options:  # latent attention has as many keys as queries
        options["num_key_value_heads"] = options["num_attention_heads"]
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 2}
    options |= {k: v for k, v in ids.items() if k in fields}
    return options | hints


def build(name: str) -> Any:
    """Return a small model of an architecture, with random weights, in evaluation mode."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind, _, seq2seq = name.partition("/")
    kind, hints = VARIANTS.get(kind, (kind, HINTS.get(kind, {})))
    config_class = CONFIG_MAPPING[kind]
    options = small_options(config_class, hints)
    if not seq2seq and "is_decoder" in {f.name for f in dataclasses.fields(config_class)}:
        options["is_decoder"] = True  # BERT and its like are causal only so
    config = config_class(**options)
    if kind == "encoder-decoder":
        config = config_class.from_encoder_decoder_configs(config.encoder, config.decoder)
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = 2
    if seq2seq and not config.is_encoder_decoder:
        raise ValueError("no encoder of text")
    auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    with torch.device("meta"):
        count = sum(p.numel() for p in auto.from_config(config).parameters())
    if count > 3_000_000:
        raise ValueError(f"{count} parameters")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto.from_config(config).float()
    return randomize(model).eval()


def randomize(model: Any) -> Any:
    """Give a model's weights values under which hidden states stay of order 1 and attention is far from uniform."""
    import torch

    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                width = parameter[0].numel() if parameter.ndim == 2 else parameter.shape[-1]
                parameter.normal_(std=1.5 * width**-0.5, generator=draw)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    return model


# Prompt's and responses' tokens: shorter than every window, longer than a window, longer than the original context.
PAIRS = ((4, (3, 5)), (3, (4, 2)), (WINDOW + 6, (7, 4)), (CONTEXT - 8, (WINDOW + 4, 6)))
SFT = ((5, (4,)), (CONTEXT - 6, (WINDOW + 3,)), (9, (CONTEXT,)))


@cache
def rows(kind: str) -> TokenizedDataset:
    """Return random rows, "preference" or "sft", of the lengths PAIRS or SFT."""
    draw = np.random.default_rng(7)
    lengths = PAIRS if kind == "preference" else SFT

    def ids(n: int) -> Any:
        return draw.integers(3, VOCABULARY, n).astype(np.int32)

    prompts = tuple(ids(n) for n, _ in lengths)
    responses = tuple(tuple(ids(n) for n in counts) for _, counts in lengths)
    keys = tuple(f"{i:016x}" for i in range(len(lengths)))
    return TokenizedDataset(kind, prompts, responses, keys, 0, 0, 0)


def subject(name: str, *, quiet: bool = True, **options: Any) -> Subject:
    """Return an architecture's small model with rows to check it on."""
    config = TrainConfig(
        **{
            "model": name,
            "sft": "rows",
            "preference": "rows",
            "lora_rank": 4,
            "device": "cpu",
            "lora_targets": TARGETS.get(name, ()),
        }
        | options
    )
    base = BaseModel(make_accelerator(config), config, build(name), [rows("preference")], quiet=quiet)
    pairs = Checked("f_DPO", "dpo", rows("preference"), DPOLoss(config.beta))
    return Subject(base, config, (pairs, Checked("f_SFT", "sft", rows("sft"))))
