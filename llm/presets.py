"""Named settings: the embedded world, the paper's models, and the authors' own manner of running them.

The paper's settings are those of the authors' published scripts (arXiv 2410.15483v3, App. D, agrees where it gives a
value). docs/deviations.md lists the differences between the `xright` presets and the corrected defaults.
"""

from __future__ import annotations

from typing import Any

# All linear layers of each family of embedded base.
EMBEDDED_TARGETS: dict[str, tuple[str, ...]] = {
    "neox": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "t5": ("q", "k", "v", "o", "wi", "wo"),
}
# Chosen by measurement: after 400 steps the joint methods do well on both objectives, and their answers stay sane text.
_EMBEDDED: dict[str, Any] = {
    "reference": "base",
    # A small beta asks for log-ratios so large that the policy unlearns to write before it has them.
    "beta": 2.0,
    "batch_sft": 12,
    "batch_preference": 8,
    "lora_rank": 8,
    "lora_alpha": 8,
    "lora_targets": EMBEDDED_TARGETS["neox"],
    "lr": 2e-3,
    # A gradient of f_DPO is up to a hundred times one of f_SFT: unclipped, Adam's scale would be of the former alone.
    "clip": 0.1,
    # Answers of one kind are of one length here: sorted batches would hold one kind of pair each.
    "window": 0,
    "schedule": "linear",  # at a constant rate Adam's weights still move after the loss has converged
    "max_length": 128,
    "template": "User: {prompt}\nAssistant: ",
}
_PAPER: dict[str, Any] = {
    "alternation": "coin",
    "sft": "vicgalle/alpaca-gpt4",
    "preference": "Dahoas/rm-hh-rlhf",
    "sft_rows": 24000,
    "template": "User: {prompt}\nAssistant: ",
    "reference": "paper",
    "lr": 5e-5,
    "beta": 0.1,
    "max_length": 2048,
    "precision": "bf16",
    "k": 10,
    "seed": 42,
    "eval_every": 100,
    "bad_rows": "drop",
}
_PYTHIA: dict[str, Any] = {
    **_PAPER,
    "model": "EleutherAI/pythia-1b",
    "preference_rows": 8000,
    "batch_sft": 24,
    "batch_preference": 8,
    "steps": 6000,
    "lora_rank": 32,
    "lora_alpha": 32,
    "lora_targets": ("query_key_value",),
}
_OPT: dict[str, Any] = {**_PYTHIA, "model": "facebook/opt-1.3b", "lora_targets": ("q_proj", "v_proj")}
_LLAMA: dict[str, Any] = {
    **_PAPER,
    "model": "meta-llama/Meta-Llama-3-8B",
    "preference_rows": 6000,
    "batch_sft": 16,
    "batch_preference": 4,
    "steps": 6000,
    "order": "sft-dpo",
    "lora_rank": 16,
    "lora_alpha": 16,
    "lora_targets": ("q_proj", "v_proj"),
    "gradient_checkpointing": True,
}
_XRIGHT: dict[str, Any] = {
    "eval_on_train": True,  # the first 3 % of the training rows
    "sft_mean": "batch",
    "ignore_input": True,
    "draw_both": True,
    "window": 0,
    "share_prompt": "no",
    "f_star": "given",
}

# A real model that two cores train in minutes, on the sets of the paper.
_SMOLLM2: dict[str, Any] = {
    "model": "smollm2-135m",
    "sft": "vicgalle/alpaca-gpt4",
    "preference": "Dahoas/rm-hh-rlhf",
    "reference": "base",
    "beta": 0.1,
    "batch_sft": 8,
    "batch_preference": 8,
    "steps": 100,
    "lora_rank": 16,
    "lora_alpha": 16,
    "lora_targets": ("q_proj", "v_proj"),
    "lr": 3e-4,
    "max_length": 512,
    "k": 10,
    "bad_rows": "drop",
}

PRESETS: dict[str, dict[str, Any]] = {
    "embedded": _EMBEDDED,
    "smollm2-135m": _SMOLLM2,
    "pythia-1b": _PYTHIA,
    "opt-1.3b": _OPT,
    "llama3-8b": _LLAMA,
    "pythia-1b-xright": {**_PYTHIA, **_XRIGHT, "reference_prompts": True, "f_dpo_star": 0.0647, "f_sft_star": 1.4980},
    "llama3-8b-xright": {**_LLAMA, **_XRIGHT, "f_dpo_star": 0.04935, "f_sft_star": 1.02426},
}
