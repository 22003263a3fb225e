"""The answers that are judged: made by a model and kept beside the verdicts, or read from a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.files import read_json, write_json
from llm.common.processes import preserve_torch_state
from llm.data.formats import Text
from llm.data.readers import read
from llm.evaluation.generate import _own, answer
from llm.judging.items import Item, shown

_FILES = (".jsonl", ".json", ".parquet", ".gz")


@dataclass(frozen=True)
class Decoding:
    """How a model answers; the names and meanings are those of `llm.generate.GenerateConfig`."""

    template: str = ""
    eos: str = ""
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    batch: int = 16
    seed: int = 42
    precision: str = "fp32"
    remote_code: bool = False


def is_file(source: str) -> bool:
    """Whether a name is a file of answers, not a model."""
    return Path(source).suffix in _FILES


def from_file(source: str, items: Sequence[Item]) -> list[str]:
    """The answers to these prompts in a set of {"prompt", "answer"}. ValueError if one is not there, or not sure."""
    table = read(source, None, None)
    found: dict[str, set[str]] = {}
    order = []
    for i, row in enumerate(table.rows):
        said = row.get("answer")
        if row.get("prompt") is None or not isinstance(said, str):
            raise ValueError(
                f"row {i} of {table.origin}: a file of answers has texts in its columns prompt and answer; its columns "
                f"are {', '.join(table.columns)}"
            )
        asked = shown(row["prompt"])
        order.append((asked, said))
        found.setdefault(asked, set()).add(said)
    if [asked for asked, _ in order] == [item.shown for item in items]:
        return [said for _, said in order]
    absent = [item.shown for item in items if item.shown not in found]
    if absent:
        raise ValueError(
            f"{table.origin}: {len(absent)} of {len(items)} prompts have no answer in it, first {absent[0][:80]!r}"
        )
    unsure = [item.shown for item in items if len(found[item.shown]) > 1]
    if unsure:
        raise ValueError(f"{table.origin}: it has several answers to the prompt {unsure[0][:80]!r}")
    return [next(iter(found[item.shown])) for item in items]


def prompts_in(source: str) -> list[Item]:
    """The prompts of a file of answers, without references."""
    return [Item(row["prompt"]) for row in read(source, None, None).rows if row.get("prompt")]


def from_model(name: str, items: Sequence[Item], how: Decoding, kept: Path) -> list[str]:
    """A model's answers; they are read from `kept` if the same model has answered the same prompts in the same way."""
    identity = {"model": fingerprint(name), "decoding": vars(how), "prompts": _digest([item.prompt for item in items])}
    if kept.is_file():
        before = read_json(kept)
        if before.get("identity") == identity:
            return [str(row["answer"]) for row in before["answers"]]
    found = generated(name, [item.prompt for item in items], how)
    rows = [{"prompt": item.shown, "answer": said} for item, said in zip(items, found, strict=True)]
    write_json(kept, {"identity": identity, "answers": rows})
    return found


def generated(name: str, prompts: Sequence[Text], how: Decoding) -> list[str]:
    """Answers of a run's, an adapter's or a model's folder, or of a hub name, in its own template if it has one."""
    from llm.models.architecture import set_threads
    from llm.training.run_folder import load_model

    with preserve_torch_state(None):
        model, tokenizer = load_model(name, remote_code=how.remote_code, precision=how.precision)
        if model.device.type == "cpu":
            set_threads(model)
        return list(
            answer(
                model,
                tokenizer,
                prompts,
                template=how.template or _own(name, "template") or "auto",
                eos=how.eos or _own(name, "eos"),
                max_new_tokens=how.max_new_tokens,
                temperature=how.temperature,
                top_p=how.top_p,
                batch=how.batch,
                seed=how.seed,
            )
        )


def fingerprint(name: str) -> list[Any]:
    """The name, and of a folder its weights' names, sizes and times: what is trained anew answers anew."""
    folder = Path(name)
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return [name, *([file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files)]


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
