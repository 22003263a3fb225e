"""Answers of a model to prompts, decoded by transformers; adapters merged into their base model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm.common.files import atomic_path, ensure_writable, read_json
from llm.common.processes import preserve_torch_state, seeded_torch
from llm.data.formats import Text, as_messages
from llm.training.run_folder import load_model, read_fingerprint


@dataclass(frozen=True)
class GenerateConfig:
    """What is answered by whom."""

    model: str
    """Folder of a run, of an adapter or of a model, or a hub name."""
    prompts: tuple[str, ...] = ()
    """The prompts themselves."""
    file: str = ""
    """A set to take the column `prompt` from: .jsonl, .json, .parquet, folder, or hub name."""
    out: str = ""
    """Write {"prompt", "answer"} lines to this .jsonl as well."""
    template: str = ""
    """As in training; empty: the run's own, else auto."""
    eos: str = ""
    """End-of-text token, as in training; empty: the run's own, else the tokeniser's."""
    max_new_tokens: int = 256
    """Most tokens of an answer."""
    temperature: float = 0.0
    """0: greedy; the paper samples at 1."""
    top_p: float = 1.0
    """Nucleus sampling."""
    batch: int = 16
    """Prompts at once."""
    limit: int = 0
    """The first so many prompts of the file; 0: all."""
    seed: int = 42
    """Of sampling."""
    precision: str = "fp32"
    """fp32 or bf16."""
    remote_code: bool = False
    """Run code that a model on the hub brings along."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if not self.temperature >= 0.0 or not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"temperature, top_p: must be >= 0 and in (0, 1], got {self.temperature}, {self.top_p}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision: must be fp32 or bf16, got {self.precision}")
        if bool(self.prompts) == bool(self.file):
            raise ValueError("prompts: give either --prompts TEXT ... or --file SET")
        if self.limit < 0 or self.seed < 0:
            raise ValueError(f"limit, seed: must be at least 0, got {self.limit}, {self.seed}")
        if self.out and (not self.out.endswith(".jsonl") or Path(self.out).is_dir()):
            raise ValueError(f"out: must be a .jsonl file, got {self.out}")


def generate(config: GenerateConfig) -> list[tuple[str, str]]:
    """(prompt, answer) of every prompt, in order."""
    if config.out:
        ensure_writable("out", Path(config.out).parent)
    prompts = list(config.prompts) or _from_file(config.file, config.limit)
    template = config.template or _own(config.model, "template") or "auto"
    from llm.models.architecture import set_threads

    with preserve_torch_state(None):
        model, tokenizer = load_model(config.model, remote_code=config.remote_code, precision=config.precision)
        if model.device.type == "cpu":
            set_threads(model)
        answers = list(
            answer(
                model,
                tokenizer,
                prompts,
                template=template,
                eos=config.eos or _own(config.model, "eos"),
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                batch=config.batch,
                seed=config.seed,
            )
        )
    found = list(zip(prompts, answers, strict=True))
    if config.out:
        lines = [json.dumps({"prompt": p, "answer": a}, ensure_ascii=False) + "\n" for p, a in found]
        with atomic_path(Path(config.out)) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    return found


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Text],
    *,
    template: str = "auto",
    eos: str = "",
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch: int = 16,
    seed: int = 42,
) -> Iterator[str]:
    """Answers in the order of the prompts; the prompts' ids are those that training sees.

    A prompt's answer depends neither on its place nor on its neighbours when greedy; a sample is drawn from (seed,
    number of the batch).
    """
    import torch

    from llm.data.tokenization import eos_id, tokenize_prompts
    from llm.models.architecture import is_encoder_decoder, max_positions

    for i, text in enumerate(prompts):
        if not any(message["content"].strip() for message in as_messages(text, "user")):
            raise ValueError(f"prompt {i}: the prompt is empty")
    end = eos_id(tokenizer, eos or None)
    ends = [end, *_ends(model)]  # a chat template's turn may end in another token
    apart = is_encoder_decoder(model)
    ids = tokenize_prompts(list(prompts), tokenizer, template=template, encoder=apart)
    most = max_positions(model)
    for i, one in enumerate(ids):
        # A decoder of its own begins with one token more, and the prompt is not before it.
        if most is not None and (max(len(one), 1 + max_new_tokens) if apart else len(one) + max_new_tokens) > most:
            raise ValueError(
                f"prompt {i}: {len(one)} tokens and {max_new_tokens} new ones are more than the model's {most}; "
                "lower --max-new-tokens or shorten the prompt"
            )
    for start in range(0, len(ids), batch):
        some = ids[start : start + batch]
        width = max(map(len, some))
        tokens = np.full((len(some), width), end, dtype=np.int64)
        mask = np.zeros((len(some), width), dtype=np.int64)
        for j, one in enumerate(some):  # padded on the left, so that answers begin together; an encoder as in training
            at = 0 if apart else width - len(one)
            tokens[j, at : at + len(one)], mask[j, at : at + len(one)] = one, 1
        with seeded_torch(seed * 1_000_003 + start), torch.no_grad():
            sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
            made = model.generate(
                input_ids=torch.from_numpy(tokens).to(model.device),
                attention_mask=torch.from_numpy(mask).to(model.device),
                max_new_tokens=max_new_tokens,
                eos_token_id=ends,
                pad_token_id=end,
                **(sampling if temperature > 0.0 else {"do_sample": False}),
            )
        for line in made[:, 1 if apart else width :].tolist():  # before it: where the decoder starts, or the prompt
            until = next((i for i, token in enumerate(line) if token in ends), len(line))
            yield tokenizer.decode(line[:until], skip_special_tokens=True).strip()


def _ends(model: Any) -> list[int]:
    """The tokens that end a text for the model's own generation."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if found is None else [int(i) for i in (found if isinstance(found, list | tuple) else [found])]


def _own(folder: str, option: str) -> str:
    """An option of the run in a folder, or "" if there is none."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        return ""
    read_fingerprint(path)
    return str(read_json(path)["config"].get(option, ""))


def _from_file(source: str, limit: int) -> list[str]:
    from llm.data.readers import read

    table = read(source, None, limit or None)
    absent = [i for i, row in enumerate(table.rows) if not isinstance(row.get("prompt"), str)]
    if absent or not table.rows:
        where = f"row {absent[0]} has" if absent else "it has"
        raise ValueError(f"file: {source}: {where} no text in a column `prompt`")
    return [row["prompt"] for row in table.rows]


@dataclass(frozen=True)
class MergeConfig:
    """What is merged, and where it goes."""

    adapter: str
    """Folder of a run or of an adapter."""
    out: str
    """Folder for the merged model; must not be there yet."""
    precision: str = "fp32"
    """fp32 or bf16: of the merged weights."""
    remote_code: bool = False
    """Run code that a model on the hub brings along."""

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision: must be fp32 or bf16, got {self.precision}")
        if not (Path(self.adapter) / "adapter_config.json").is_file():
            raise FileNotFoundError(
                f"adapter: {self.adapter} has no adapter_config.json; give a folder with an adapter"
            )
        if Path(self.out).exists():
            raise ValueError(f"out: {self.out} is there already; give another folder")


def merge(config: MergeConfig) -> Path:
    """The folder with model and tokeniser, as `from_pretrained` takes it."""
    ensure_writable("out", Path(config.out).parent)
    with preserve_torch_state(None):
        model, tokenizer = load_model(config.adapter, remote_code=config.remote_code, precision=config.precision)
        merged = model.cpu().merge_and_unload()
    with atomic_path(Path(config.out)) as temporary:
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return Path(config.out)
