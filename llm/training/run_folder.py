"""Finished runs: reading their configuration back, and loading their model for use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.files import read_json
from llm.config import TrainConfig
from llm.training.train import identity_in


@dataclass(frozen=True)
class Finished:
    """A run that is at its end.

    rows       its sets' digests
    base       its base weights' fingerprint
    in_memory  the sets, and the model, that no name leads to
    """

    folder: Path
    config: TrainConfig
    summary: dict[str, Any]
    rows: dict[str, str]
    base: str
    in_memory: tuple[str, ...]


def finished(folder: str | Path) -> Finished:
    """The run in a folder. FileNotFoundError if there is none, ValueError if it is not finished."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"run: {folder} holds no run; give the --out folder of `python -m llm train`")
    if not (folder / "summary.json").is_file():
        raise ValueError(f"run: the run in {folder} is not finished; run the same `train` command again, it goes on")
    same = identity_in(folder / "run.json")
    saved = read_json(folder / "run.json")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved["config"].items()}
    names = {f.name for f in dataclasses.fields(TrainConfig)}
    values = {k: v for k, v in values.items() if k in names} | {"out": str(folder), "overwrite": False}
    config = TrainConfig(**values)
    summary = read_json(folder / "summary.json")
    return Finished(folder, config, summary, same["rows"], same["base"], tuple(saved.get("in_memory", ())))


def load_model(folder: str | Path, *, remote_code: bool = False, precision: str = "fp32") -> tuple[Any, Any]:
    """(model, tokenizer) of a run's folder, an adapter's, or a whole model's, ready to generate.

    A run's folder needs nothing but PEFT: the adapter's configuration names its base model.
    """
    import torch

    from llm.models.loading import load_adapter, load_base, load_tokenizer

    config = TrainConfig(remote_code=remote_code, precision=precision)  # type: ignore[arg-type]
    path = Path(folder)
    described = path / "adapter_config.json"
    base_name = str(read_json(described)["base_model_name_or_path"]) if described.is_file() else str(folder)
    model = load_base(base_name, config)
    if described.is_file():
        model = load_adapter(model, str(folder), trainable=False)
    own_tokenizer = path.is_dir() and (path / "tokenizer_config.json").is_file()
    tokenizer = load_tokenizer(str(folder) if own_tokenizer else base_name, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device).eval(), tokenizer
