"""What a run leaves: an adapter that PEFT loads as it is, a model card, the configuration, and a summary."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.common.files import atomically, read_json
from llm.models.loading import join, load_adapter
from llm.training.metrics import read_metrics

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.splits import Datasets
    from llm.training.engine import Engine

PREFERENCE_LOSSES = {  # the model card's row on the loss in DPO's place
    "dpo": "",
    "simpo": "| loss on pairs | SimPO, β = {beta:g}, γ = {gamma:g}; f_dpo is only evaluated |\n",
    "orpo": "| loss on pairs | ORPO, λ = {lam:g}; f_dpo is only evaluated |\n",
}
LIBRARIES = ("forget-neither", "torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Python's and the libraries', by name; a library that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def save_adapter(session: Engine, folder: Path, name: str = "default") -> None:
    """The adapter `name` of the session's policy, or all weights if there is none, in PEFT's own format."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    model: Any = session.raw.model
    adapted = hasattr(model, "peft_config")
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=adapted)
    session.reshard()
    state = get_model_state_dict(session.policy, options=options)
    if session.accelerator.is_main_process:
        state = {k.removeprefix("model."): v for k, v in state.items()}
        with atomically(folder) as temporary:
            if adapted:
                model.save_pretrained(
                    temporary, state_dict=state, selected_adapters=[name], save_embedding_layers=False
                )
            else:
                model.save_pretrained(temporary, state_dict=state)
            inner = temporary / name
            if inner.is_dir():  # PEFT puts an adapter of another name than default into a folder of that name
                for path in inner.iterdir():
                    shutil.move(path, temporary / path.name)
                inner.rmdir()
            (temporary / "README.md").unlink(missing_ok=True)
    session.accelerator.wait_for_everyone()


def join_stages(base: Any, stages: list[Path], folder: Path, weights: Sequence[float]) -> None:
    """The weighted sum of the stages' adapters on their base, as one adapter in `folder`."""
    model = load_adapter(base, str(stages[0]), trainable=False, name="stage1")
    for j, stage in enumerate(stages[1:], start=2):
        model.load_adapter(str(stage), adapter_name=f"stage{j}")
    model = join(model, weights)
    with atomically(folder) as temporary:
        model.save_pretrained(temporary, selected_adapters=["default"], save_embedding_layers=False)
        (temporary / "README.md").unlink(missing_ok=True)
    model.unload()


def card(config: TrainConfig, summary: dict[str, Any]) -> str:
    """README.md of the result: data, method, λ and gaps, as numbers of this run."""
    final = summary.get("evaluation", {})
    rows = "\n".join(f"| {k} | {v:.6g} |" for k, v in final.items() if isinstance(v, float))
    steps = ", ".join(f"{v} on {k.upper()}" for k, v in summary["steps_by_objective"].items())
    trained = f"LoRA of rank {config.lora_rank}, alpha {config.lora_alpha}, on {summary['targets']}"
    trained = trained if config.lora_rank else "all weights"
    method = f"{config.method}, averaged" if config.average else config.method
    if config.average:
        trained = f"two adapters, each {trained}; this is their mean, weighted λ and 1-λ"
    pairs = PREFERENCE_LOSSES[config.preference_loss].format(
        beta=config.simpo_beta or config.beta, gamma=config.simpo_gamma, lam=config.orpo_lambda
    )
    header = "\n".join(
        [
            "---",
            "library_name: peft" if config.lora_rank else "library_name: transformers",
            f"base_model: {summary['base_model']}",
            "tags: [lora, sft, dpo, joint-training]" if config.lora_rank else "tags: [sft, dpo, joint-training]",
            "---",
        ]
    )
    return f"""{header}

# {Path(summary["base_model"]).name}, post-trained jointly by SFT and DPO

Method: **{method}**, λ = {config.lam:g} (weight of DPO), arXiv 2410.15483. {config.steps} steps: {steps}.

| | |
| --- | --- |
| SFT set | `{config.sft}`, {summary["rows"]["sft"]} rows |
| preference set | `{config.preference}`, {summary["rows"]["preference"]} pairs |
{pairs}| reference of DPO | {summary["reference"]}, β = {config.beta:g} |
| trained | {trained} |
| learning rate | {config.lr:g} ({config.optimizer}, {config.schedule}) |
| tokens, seconds | {summary["tokens"]:,}, {summary["seconds"]:.0f} |

On held-out rows ({", ".join(f"{v} {k}" for k, v in summary["held_out_rows"].items()) or "none"}):

| quantity | value |
| --- | --- |
{rows}

`run.json` holds the whole configuration and the versions, `metrics.jsonl` every step.
"""


def put_result(made: Path, folder: Path) -> None:
    """Move the files of a finished adapter into the run's folder, the weights last."""
    paths = sorted((p for p in made.iterdir() if p.is_file()), key=lambda p: p.suffix == ".safetensors")
    for path in paths:
        path.replace(folder / path.name)
    shutil.rmtree(made)


def device_name() -> str:
    """What it was computed on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def summary(
    folder: Path,
    config: TrainConfig,
    sets: Datasets,
    gaps: dict[int, float],
    reference: str,
    preparation: Mapping[str, float | None],
) -> dict[str, Any]:
    """What `summary.json` holds, from a run's metrics; `gaps` are the optima that gaps were measured from,
    `preparation` what it took to compute what the run relies on, also if that was in the cache.
    """
    lines = read_metrics(folder)
    last = [line for line in lines if "objective" in line][-1]
    evaluations = [line for line in lines if "evaluation" in line]
    held_out = {"SFT": sets.sft_held_out, "preference": sets.preference_held_out}
    described = folder / "adapter_config.json"
    own = f"f_{config.preference_loss}_star"  # MAXRIGHT's, of a loss in DPO's place
    known = {config.preference_loss: last[own]} if own in last else {}
    return {
        "method": config.method,
        "lam": config.lam,
        "base_model": config.model,
        "reference": reference,
        "rows": {"sft": len(sets.sft), "preference": len(sets.preference)},
        "held_out_rows": {k: len(t) for k, t in held_out.items() if t is not None},
        "targets": ", ".join(sorted(read_json(described)["target_modules"])) if described.exists() else "all weights",
        "steps_by_objective": steps_by_objective(lines),
        "f_star": known | {n: gaps.get(i, last.get(f"f_{n}_star")) for i, n in enumerate(("dpo", "sft"))},
        "evaluation": {k: v for k, v in evaluations[-1].items() if isinstance(v, float)} if evaluations else {},
        "tokens": last["tokens"],
        "forward_tokens": last.get("forward_tokens"),
        "seconds": last["seconds"],
        "cpu_seconds": last.get("cpu_seconds"),
        "preparation": dict(preparation),
        "memory_mb": last["memory_mb"],
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "device": device_name(),
        "versions": versions(),
    }


def steps_by_objective(lines: list[dict[str, Any]]) -> dict[str, int]:
    """How many steps were taken on each objective."""
    counts = {"dpo": 0, "sft": 0}
    for name in (name for line in lines for name in line.get("objective", "").split("+") if name):
        counts[name] += 1
    return counts
