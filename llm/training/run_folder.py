"""Finished runs: reading their configuration back, and loading their model for use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm.common.files import UNFINISHED, ensure_writable, write_json
from llm.config import NOT_THE_RESULT

if TYPE_CHECKING:
    from llm.data.splits import Datasets

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.files import read_json
from llm.config import TrainConfig


@dataclass(frozen=True)
class FinishedRun:
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


def load_run(folder: str | Path) -> FinishedRun:
    """The run in a folder. FileNotFoundError if there is none, ValueError if it is not finished."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"run: {folder} holds no run; give the --out folder of `python -m llm train`")
    if not (folder / "summary.json").is_file():
        raise ValueError(f"run: the run in {folder} is not finished; run the same `train` command again, it goes on")
    same = read_fingerprint(folder / "run.json")
    saved = read_json(folder / "run.json")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved["config"].items()}
    names = {f.name for f in dataclasses.fields(TrainConfig)}
    values = {k: v for k, v in values.items() if k in names} | {"out": str(folder), "overwrite": False}
    config = TrainConfig(**values)
    summary = read_json(folder / "summary.json")
    return FinishedRun(folder, config, summary, same["rows"], same["base"], tuple(saved.get("in_memory", ())))


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


# What a run writes into its folder: the rest of it is the user's, and stays when a run begins anew.
OURS = (
    "run.json summary.json metrics.jsonl README.md checkpoints kept measures stage[0-9] adapter adapter_* tokenizer* "
    "special_tokens* added_tokens* chat_template* vocab* merges* config.json generation_config.json "
    "model*.safetensors* *.unfinished"
).split()


def identity(config: TrainConfig, sets: Datasets, base: str) -> dict[str, Any]:
    """What a run's result depends on: its options, the rows and the weights."""
    options = {k: v for k, v in config.as_dict().items() if k not in NOT_THE_RESULT}
    return {"options": options, "rows": sets.digests, "base": base}


def read_fingerprint(path: Path) -> dict[str, Any]:
    """The identity in a run.json; ValueError if it is another program's."""
    saved = read_json(path)
    if not isinstance(saved, dict) or not {"identity", "config"} <= set(saved):
        raise ValueError(f"out: {path} is not a run's of this program; give another folder")
    return dict(saved["identity"])


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Where two identities differ, in words."""
    names = sorted(set(ours["options"]) | set(theirs["options"]))
    before = TrainConfig().as_dict() | theirs["options"]  # an option that did not exist then did nothing
    found = [
        f"{n} was {before.get(n)!r} and is {ours['options'].get(n)!r}"
        for n in names
        if ours["options"].get(n) != before.get(n)
    ]
    found += ["the rows are others"] if ours["rows"] != theirs["rows"] else []
    return found + (["the base model is another"] if ours["base"] != theirs["base"] else [])


@contextmanager
def claimed(config: TrainConfig) -> Iterator[Path]:
    """The run's folder, this process's own while the block lasts. ValueError if it is not a folder of a run."""
    from filelock import FileLock, Timeout

    folder = config.folder
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file; give a folder")
    if folder.is_dir() and any(_foreign(p) for p in folder.iterdir()) and not (folder / "run.json").exists():
        raise ValueError(f"out: {folder} holds something else than a run; give another folder")
    ensure_writable("cache", config.cache_folder)
    ensure_writable("out", folder)
    if int(os.environ.get("RANK", "0")) != 0:
        yield folder
        return
    try:
        with FileLock(folder / ".lock", timeout=0):
            try:
                yield folder
            finally:
                if all(p.name == ".lock" for p in folder.iterdir()):  # nothing came of it
                    shutil.rmtree(folder, ignore_errors=True)
    except Timeout as error:
        raise ValueError(f"out: another process is running in {folder}; wait for it, or give another folder") from error


def _foreign(path: Path) -> bool:
    """Whether it is neither a lock nor what a killed process left half-written."""
    return path.name != ".lock" and not path.name.endswith(UNFINISHED)


def start_or_resume(folder: Path, config: TrainConfig, ours: dict[str, Any], about: dict[str, Any]) -> bool:
    """Whether the folder's run is to be carried out: False if it is finished. ValueError if it is another run's."""
    path = folder / "run.json"
    if path.exists() and not config.overwrite:
        different = differences(ours, read_fingerprint(path))
        if different:
            raise ValueError(
                f"out: {folder} holds another run ({'; '.join(different[:3])}); give another --out, or --overwrite"
            )
        return not (folder / "summary.json").exists()
    if path.exists():
        read_fingerprint(path)  # what is no run is not removed
        for pattern in OURS:
            for old in folder.glob(pattern):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_json(path, {"identity": ours, "config": config.as_dict(), **about})
    return True
