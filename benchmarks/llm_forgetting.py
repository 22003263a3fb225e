"""Compare the forgetting of Sequential with that of TRL's SFTTrainer and DPOTrainer, one after the other.

Both sides train the embedded world's base on the same rows and token ids, with the same sizes of batches, steps,
learning rates, optimizer and LoRA; the order of rows and the adapter's first weights are each side's own draws. Each
stage has an optimizer and a schedule of its own. The second stage goes on with the first one's adapter; DPO's reference
is the base in both orders. All adapters are evaluated on the same held-out rows, by plain forward passes.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.agreement import Agreement
from benchmarks.llm_authors import padded, token_logps
from llm.config import TrainConfig
from llm.data.formats import load
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.embedded.prepare import embedded_paths
from llm.models.loading import load_base, load_tokenizer

if TYPE_CHECKING:
    from llm.data.rows import Kind

Rows = list[dict[str, str]]
ORDERS: dict[str, tuple[Kind, Kind]] = {"dpo-sft": ("preference", "sft"), "sft-dpo": ("sft", "preference")}
# Of a difference in forgetting, the half-width of the interval may be this share of what TRL's stages forget.
WIDEST = 0.5
IGNORED = -100  # label of tokens that TRL does not train on


@dataclass(frozen=True)
class Setting:
    """A comparison's size: steps of each stage, rows of every batch, seeds."""

    steps: int = 40
    batch: int = 8
    seeds: int = 5
    world_size: str = "small"

    def config(self, order: str, seed: int, **options: Any) -> TrainConfig:
        """Return the configuration of our side, from which TRL's arguments are made."""
        return TrainConfig.preset(
            "embedded", method="sequential", order=order, lam=0.5, steps=2 * self.steps, batch_sft=self.batch,
            batch_preference=self.batch, seed=seed, world_size=self.world_size, template="none", device="cpu",
            keep_every=self.steps, eval_every=0, **options,
        )  # fmt: skip


@dataclass(frozen=True)
class World:
    """The base and the rows of both sides.

    rows    set -> rows as text, whose prompts end where a token ends, so that TRL has the ids that `llm` has
    tokens  held-out set -> token ids
    """

    base: Path
    tokenizer: Any
    rows: Mapping[str, Rows]
    tokens: Mapping[str, TokenizedDataset]

    @classmethod
    def of(cls, setting: Setting) -> World:
        """Return the embedded world, which is made if the cache lacks it."""
        paths = embedded_paths(setting.config("dpo-sft", 0))
        names = ("sft", "preference", "sft_held_out", "preference_held_out")
        lines = {name: getattr(paths, name).read_text(encoding="utf-8").splitlines() for name in names}
        rows = {name: [_as_text(json.loads(line)) for line in texts] for name, texts in lines.items()}
        tokenizer = load_tokenizer(str(paths.base), setting.config("dpo-sft", 0))
        tokens = {
            kind: tokenize(load(rows[f"{kind}_held_out"], kind=kind), tokenizer, template="none")
            for kind in ORDERS["dpo-sft"]
        }
        return cls(paths.base, tokenizer, rows, tokens)

    def model(self) -> Any:
        """Return the base model, loaded anew."""
        return load_base(str(self.base), TrainConfig(device="cpu"))


def _as_text(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row with its template written out; the space before a response belongs to the response."""
    prompt = f"User: {row['prompt']}\nAssistant:"
    return {"prompt": prompt, **{name: f" {row[name]}" for name in row if name != "prompt"}}


def ours(world: World, setting: Setting, order: str, seed: int, out: Path) -> list[Path]:
    """Train by `llm`; return the folders of the adapters after either stage."""
    from llm.training.checkpoint import kept_folder
    from llm.training.run import train

    config = setting.config(order, seed, model=str(world.base), out=str(out))
    train(config, quiet=True, **world.rows)
    return [kept_folder(out, setting.steps), kept_folder(out, 2 * setting.steps)]


def theirs(world: World, setting: Setting, order: str, seed: int, out: Path) -> list[Path]:
    """Train by TRL; return the folders of the adapters after either stage."""
    from peft import LoraConfig, PeftModel

    config = setting.config(order, seed)
    folders: list[Path] = []
    for stage, kind in enumerate(ORDERS[order]):
        model: Any = world.model()
        more: dict[str, Any] = {}
        if not folders:
            more["peft_config"] = LoraConfig(
                r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=list(config.lora_targets),
                task_type="CAUSAL_LM",
            )  # fmt: skip
        else:
            model = PeftModel.from_pretrained(model, str(folders[0]), is_trainable=True)
        if kind == "preference" and folders:  # without one, the reference is a copy of the adapter that comes in
            more["ref_model"] = world.model()
        trainer = trainer_of(kind, world, config, setting.steps, model, out, more)
        rows = load(world.rows[kind], kind=kind)
        check_ids(kind, trainer.train_dataset, tokenize(rows, world.tokenizer, template="none"))
        trainer.train()
        folders.append(out / f"stage{stage}")
        trainer.save_model(str(folders[-1]))
    return folders


def trainer_of(
    kind: Kind,
    world: World,
    config: TrainConfig,
    steps: int,
    model: Any,
    out: Path,
    more: Mapping[str, Any],
    *,
    shuffle: bool = True,
) -> Any:
    """Return TRL's trainer of a kind of rows, with our options under its names.

    more     further arguments of the trainer
    shuffle  whether TRL draws the order of the rows; else it takes them as they are
    """
    import trl
    from datasets import Dataset

    batch = config.batch_sft if kind == "sft" else config.batch_preference
    arguments: dict[str, Any] = {
        "output_dir": str(out), "max_steps": steps, "per_device_train_batch_size": batch, "learning_rate": config.lr,
        "lr_scheduler_type": config.schedule, "warmup_steps": config.warmup, "weight_decay": config.weight_decay,
        "adam_beta1": config.beta1, "adam_beta2": config.beta2, "max_grad_norm": config.clip, "max_length": None,
        "dataloader_drop_last": True, "seed": config.seed, "bf16": False, "activation_checkpointing": False,
        "save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
        "train_sampling_strategy": "random" if shuffle else "sequential",
    }  # fmt: skip
    given = {"model": model, "train_dataset": Dataset.from_list(world.rows[kind]), "processing_class": world.tokenizer}
    if kind == "sft":
        return trl.SFTTrainer(args=trl.SFTConfig(**arguments, completion_only_loss=True), **given, **more)
    return trl.DPOTrainer(args=trl.DPOConfig(**arguments, beta=config.beta), **given, **more)


def check_ids(kind: Kind, dataset: Any, tokens: TokenizedDataset) -> None:
    """Raise AssertionError unless TRL's rows have the token ids, row by row, that `llm` trains on."""
    if len(dataset) != len(tokens):
        raise AssertionError(f"TRL has {len(dataset)} rows of {kind} and llm {len(tokens)}")
    names = ("completion_ids",) if kind == "sft" else ("chosen_ids", "rejected_ids")
    for i, row in enumerate(dataset):
        if kind == "sft":
            n = sum(label == IGNORED for label in row["labels"])
            row = {"prompt_ids": row["input_ids"][:n], "completion_ids": row["input_ids"][n:]}
        own = [tokens.prompts[i].tolist(), *(ids.tolist() for ids in tokens.responses[i])]
        if own != [list(row["prompt_ids"]), *(list(row[name]) for name in names)]:
            raise AssertionError(f"row {i} of {kind}: TRL has other token ids than llm")


class Measure:
    """f_DPO, preference accuracy and f_SFT of an adapter on the held-out rows, by plain padded forward passes.

    batch  the largest number of rows at a time
    """

    def __init__(self, world: World, beta: float, batch: int = 1_000_000) -> None:
        self.world, self.beta, self.batch = world, beta, batch
        self.reference = self._margins(world.model())

    def __call__(self, adapter: Path) -> dict[str, float]:
        """Return the values of an adapter's folder; the reference is the base."""
        from peft import PeftModel

        model = PeftModel.from_pretrained(self.world.model(), str(adapter)).eval()
        rewards = self.beta * (self._margins(model) - self.reference)
        logps, count = self._logps(model, "sft", 0)
        return {
            "f_DPO": float(-F.logsigmoid(rewards).mean()),
            "preference accuracy": float((rewards > 0.0).double().mean()),
            "f_SFT": float(-logps.sum() / count),
        }

    def _margins(self, model: Any) -> torch.Tensor:
        """Return log π(chosen) - log π(rejected) of the held-out pairs, (n,)."""
        chosen, rejected = (self._logps(model, "preference", j)[0] for j in (0, 1))
        return chosen - rejected

    @torch.no_grad()
    def _logps(self, model: Any, kind: str, answer: int) -> tuple[torch.Tensor, int]:
        """Return the log-probabilities (n,) of a held-out set's responses, and their number of tokens."""
        rows = self.world.tokens[kind]
        values, count = [], 0
        for start in range(0, len(rows), self.batch):
            batch = padded(rows, range(start, min(start + self.batch, len(rows))), answer, "cpu")
            values.append(token_logps(model, batch).double().sum(1))
            count += int(batch[2].sum())
        return torch.cat(values), count


def compared(order: str, ours: Sequence[Sequence[Mapping[str, float]]], theirs: Sequence[Any]) -> Agreement:
    """Return the comparison of measurements in an order: seed -> after either stage -> quantity -> value."""
    first = "f_DPO" if order == "dpo-sft" else "f_SFT"
    sides = []
    for side in (ours, theirs):
        values = {
            f"{name} after {when}": np.array([seed[stage][name] for seed in side])
            for stage, when in enumerate(("the first stage", "both"))
            for name in side[0][0]
        }
        values[f"forgotten: rise of {first} in the second stage"] = (
            values[f"{first} after both"] - values[f"{first} after the first stage"]
        )
        sides.append(values)
    name = f"forgotten: rise of {first} in the second stage"
    return Agreement(order, sides[0], sides[1], {name: WIDEST * abs(float(sides[1][name].mean()))})


def forgetting(setting: Setting = Setting()) -> list[Agreement]:
    """Compare (n) forgetting, and both objectives after each stage, with TRL's."""
    from benchmarks.llm_speed import prepare

    prepare()
    logging.getLogger("trl").setLevel(logging.ERROR)
    world = World.of(setting)
    measure = Measure(world, setting.config("dpo-sft", 0).beta)
    out = []
    for order in ORDERS:
        sides: dict[Any, list[list[dict[str, float]]]] = {ours: [], theirs: []}
        for seed in range(setting.seeds):
            for train, values in sides.items():
                with tempfile.TemporaryDirectory(prefix="forgetting-") as folder:
                    values.append([measure(adapter) for adapter in train(world, setting, order, seed, Path(folder))])
                last = "  ".join(f"{name} {value:.3f}" for name, value in values[-1][-1].items())
                print(f"{order}, seed {seed}, {train.__name__}: {last}", flush=True)
        out.append(compared(order, sides[ours], sides[theirs]))
    return out
