"""Train by LLaMA-Factory, with its own command in an environment of its own, for the benchmark of that name.

Its versions of transformers, PEFT and TRL are older than those here. So it gets the rows as files in the form that it
documents for conversations, starts from our adapter, and leaves its adapters in folders, which are measured like all
others. Its template `smollm2` writes the ids; those that it trained on are compared with ours, row by row.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.llm_forgetting import IGNORED, ORDERS
from benchmarks.llm_memory import EndedError

if TYPE_CHECKING:
    from benchmarks.llm_forgetting import Rows, World
    from llm.config import TrainConfig
    from llm.data.rows import Kind
    from llm.data.tokenization import TokenizedDataset

TEMPLATE = "smollm2"
TAGS = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
    "system_tag": "system",
}  # fmt: skip


def theirs(
    cli: Path,
    world: World,
    trained: Mapping[Kind, TokenizedDataset],
    config: TrainConfig,
    start: Path,
    out: Path,
) -> list[Path]:
    """Train both stages by LLaMA-Factory; return the folders of the adapters after either.

    cli    its command, llamafactory-cli
    start  the folder of the adapter that the first stage goes on with

    Raises EndedError with the last lines of its output if it fails.
    """
    folders = [start]
    for stage, kind in enumerate(ORDERS[config.order]):
        folder = out / f"stage{stage}"
        train(cli, world, kind, trained[kind], config, folders[-1], folder)
        folders.append(folder)
    return folders[1:]


def name_of(cli: Path) -> str:
    """Return the trainer's name with the version that its command names."""
    said = subprocess.run([str(cli), "version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\S+)", said.stdout)
    if not found:
        raise EndedError(f"{cli} version names none: {' '.join(said.stderr.split()[-20:])}")
    return f"LLaMA-Factory {found[1]}"


def seconds(folder: Path) -> float:
    """Return the wall-clock seconds of a stage's steps."""
    return float(json.loads((folder / "train_results.json").read_text(encoding="utf-8"))["train_runtime"])


def train(
    cli: Path,
    world: World,
    kind: Kind,
    tokens: TokenizedDataset,
    config: TrainConfig,
    start: Path,
    out: Path,
    **more: Any,
) -> None:
    """Train one stage in the order of the rows, and leave the adapter in `out`; `more` are options of the stage."""
    out.mkdir(parents=True)
    write_rows(world.rows[kind], kind, out / "data")
    tokenized = out / "tokenized"
    settings = {**arguments(world, kind, config, start, out), "tokenized_path": str(tokenized), **more}
    run(cli, settings, out / "train.yaml")
    check_ids(kind, tokenized, tokens)


def write_rows(rows: Rows, kind: Kind, folder: Path) -> None:
    """Write conversations and their description as LLaMA-Factory reads them."""
    folder.mkdir()
    columns = {"messages": "messages"}
    if kind == "sft":
        written = [{"messages": [*row["prompt"], *row["completion"]]} for row in rows]
    else:
        columns |= {"chosen": "chosen", "rejected": "rejected"}
        written = [
            {"messages": row["prompt"], "chosen": row["chosen"][0], "rejected": row["rejected"][0]} for row in rows
        ]
    described = {
        "file_name": "rows.json", "formatting": "sharegpt", "columns": columns, "tags": TAGS,
        **({"ranking": True} if kind == "preference" else {}),
    }  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(written), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": described}), encoding="utf-8")


def arguments(world: World, kind: Kind, config: TrainConfig, start: Path, out: Path) -> dict[str, Any]:
    """Return our options of a stage under LLaMA-Factory's names."""
    from llm.models.gguf import loadable

    return {
        "stage": "sft" if kind == "sft" else "dpo", "do_train": True, "finetuning_type": "lora",
        "model_name_or_path": str(loadable(str(world.base), config)), "adapter_name_or_path": str(start),
        "template": TEMPLATE, "dataset": "rows", "dataset_dir": str(out / "data"), "cutoff_len": 8192,
        "output_dir": str(out), "max_steps": config.steps // 2, "gradient_accumulation_steps": 1,
        "per_device_train_batch_size": config.batch_sft if kind == "sft" else config.batch_preference,
        "learning_rate": config.lr, "lr_scheduler_type": config.schedule, "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay, "adam_beta1": config.beta1, "adam_beta2": config.beta2,
        "max_grad_norm": config.clip, "pref_beta": config.beta, "pref_loss": "sigmoid", "seed": config.seed,
        "disable_shuffling": True, "disable_gradient_checkpointing": True, "save_strategy": "no",
        "logging_steps": 10, "report_to": "none", "bf16": False, "fp16": False, "use_cpu": True,
    }  # fmt: skip


def run(cli: Path, settings: Mapping[str, Any], file: Path) -> None:
    """Run `llamafactory-cli train` with settings that are written to a file, on one thread as our side."""
    file.write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [str(cli), "train", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    file.with_suffix(".log").write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        last = " ".join(done.stdout.split("\n")[-4:])
        raise EndedError(f"{cli} train ended with status {done.returncode}: {last}")


def check_ids(kind: Kind, folder: Path, tokens: TokenizedDataset) -> None:
    """Raise AssertionError unless LLaMA-Factory's rows have the token ids, row by row, that `llm` trains on."""
    from datasets import load_from_disk

    rows: Any = load_from_disk(str(folder))["train"]
    if len(rows) != len(tokens):
        raise AssertionError(f"LLaMA-Factory has {len(rows)} rows of {kind} and llm {len(tokens)}")
    names: Sequence[str] = ("",) if kind == "sft" else ("chosen_", "rejected_")
    for i, row in enumerate(rows):
        prompt, responses = tokens.prompts[i].tolist(), [ids.tolist() for ids in tokens.responses[i]]
        for name, response in zip(names, responses, strict=True):
            labels = [IGNORED] * len(prompt) + response
            if (list(row[f"{name}input_ids"]), list(row[f"{name}labels"])) != (prompt + response, labels):
                raise AssertionError(f"row {i} of {kind}: LLaMA-Factory has other token ids than llm")
