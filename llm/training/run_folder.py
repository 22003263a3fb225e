"""A run's folder: claimed by one process, bound to one fingerprint, and finished when summary.json is there."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from llm.common.files import (
    UNFINISHED,
    BusyError,
    ensure_writable,
    lock,
    read_json,
    remove_unfinished,
    write_json,
    write_text,
)
from llm.common.progress import hide_unused_kernel
from llm.config import RESULT, TrainConfig
from llm.models.packaged import located
from llm.training.relative_names import with_names_from

# Files of a run; any other file in the folder is the user's, and stays when a run restarts.
FILES = (
    "run.json summary.json metrics.jsonl README.md checkpoints kept best measures stage[0-9] stage[0-9][0-9] "
    "adapter adapter_* tokenizer* special_tokens* added_tokens* chat_template* vocab* merges* config.json "
    "generation_config.json model*.safetensors* forget-neither *.unfinished"
).split()


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, locked by this process.

    path     the folder
    is_main  whether this process writes (the first of several processes)
    """

    path: Path
    is_main: bool

    @classmethod
    @contextmanager
    def claim(cls, config: TrainConfig) -> Iterator[RunFolder]:
        """Lock the folder of a configuration; an empty folder is removed at the end.

        Raises ValueError if the folder holds other files than a run's, cannot be written, or is locked.
        """
        path = config.folder
        if path.exists() and not path.is_dir():
            raise ValueError(f"out: {path} is a file; give a folder")
        if path.is_dir() and any(_is_foreign(p) for p in path.iterdir()) and not (path / "run.json").exists():
            raise ValueError(f"out: {path} holds something else than a run; give another folder")
        if config.overwrite:
            _keep_inputs(path, config)
        ensure_writable("cache", config.cache_folder)
        ensure_writable("out", path)
        if int(os.environ.get("RANK", "0")) != 0:
            yield cls(path, is_main=False)
            return
        try:
            with lock(path / ".lock"):
                try:
                    yield cls(path, is_main=True)
                finally:
                    if all(p.name == ".lock" for p in path.iterdir()):
                        shutil.rmtree(path, ignore_errors=True)
        except BusyError as error:
            raise ValueError(
                f"out: another process is running in {path}; wait for it, or give another folder"
            ) from error

    def with_first_date(self, config: TrainConfig) -> TrainConfig:
        """Return a configuration with the date of the first start of the folder's run, if the run depends on one.

        Only chat templates that write today's date do; see the option `template_date`.
        """
        path = self.path / "run.json"
        if config.template_date or config.overwrite or not path.is_file():
            return config
        read_fingerprint(path)
        return dataclasses.replace(config, template_date=read_json(path)["config"].get("template_date", ""))

    def start_or_resume(self, fingerprint: Mapping[str, Any], config: TrainConfig, about: Mapping[str, Any]) -> bool:
        """Bind the folder to a fingerprint; return whether its run is unfinished.

        about  further values for run.json

        Raises ValueError if the folder holds a run with another fingerprint, unless `overwrite` is set.
        """
        path = self.path / "run.json"
        if path.exists() and not config.overwrite:
            if different := differences(fingerprint, read_fingerprint(path)):
                raise ValueError(
                    f"out: {self.path} holds another run ({'; '.join(different[:3])}); "
                    "give another --out, or --overwrite"
                )
            return not (self.path / "summary.json").exists()
        if path.exists():
            read_fingerprint(path)  # files of another program are not removed
            for pattern in FILES:
                for old in self.path.glob(pattern):
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
        write_json(path, {"fingerprint": fingerprint, "config": config.as_dict(), **about})
        return True

    def summary(self) -> dict[str, Any]:
        """Return the summary of the finished run."""
        return dict(read_json(self.path / "summary.json"))

    def remove_unfinished(self) -> None:
        """Remove files that a killed process left half-written."""
        if self.is_main:
            remove_unfinished(self.path)

    def take_adapter(self, folder: Path) -> None:
        """Move the files of a finished adapter into this folder, the weights last."""
        paths = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: p.suffix == ".safetensors")
        for path in paths:
            # The run's own settings, which also end a response where training taught it to end, are there already.
            if path.name != "generation_config.json" or not (self.path / path.name).exists():
                path.replace(self.path / path.name)
        shutil.rmtree(folder)

    def finish(self, summary: Mapping[str, Any], card: str) -> None:
        """Write the model card, and then summary.json, which marks the run as finished."""
        write_text(self.path / "README.md", card)
        write_json(self.path / "summary.json", dict(summary))
        shutil.rmtree(self.path / "best", ignore_errors=True)


def _keep_inputs(folder: Path, config: TrainConfig) -> None:
    """Raise ValueError if `overwrite` would remove an input of the run: files of an earlier run in its folder."""
    sources = {f"objective {o.name}": (o.source, o.evaluation) for o in config.objectives}
    named = {"model": (config.model,), "adapter": (config.adapter,), "reference": (config.reference,), **sources}
    for name, value in ((name, value) for name, values in named.items() for value in values if value):
        place = Path(value).expanduser().resolve()
        if not place.exists() or not place.is_relative_to(folder.resolve()):
            continue
        inside = place.relative_to(folder.resolve()).parts
        if not inside or any(fnmatch(inside[0], pattern) for pattern in FILES):
            raise ValueError(
                f"out: --overwrite would remove the run in {folder}, from which {name} takes {value}; "
                "give another --out, or copy what it takes"
            )


def fingerprint_of(config: TrainConfig, rows: Mapping[str, str], base: str) -> dict[str, Any]:
    """Return the values that decide a run's result: options, digests of the rows, fingerprint of the base's weights."""
    return {"options": config.values_of(*RESULT), "rows": dict(rows), "base": base}


def read_fingerprint(path: Path) -> dict[str, Any]:
    """Return the fingerprint in a run.json; ValueError if another program wrote the file."""
    saved = read_json(path)
    own = saved.get("fingerprint") if isinstance(saved, dict) else None
    if not isinstance(own, dict) or not isinstance(saved.get("config"), dict):
        raise ValueError(f"out: {path} is not a run's of this program; give another folder")
    return dict(own)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return descriptions of the differences between two fingerprints."""
    if not {"options", "rows", "base"} <= theirs.keys() or not isinstance(theirs["options"], dict):
        return ["its run.json is damaged"]
    before = TrainConfig().values_of(*RESULT) | theirs["options"]  # an option that did not exist then had no effect
    different = [
        f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in sorted(ours["options"].items())
        if value != before.get(name)
    ]
    different += ["the training rows differ"] if ours["rows"] != theirs["rows"] else []
    return different + (["the base model differs"] if ours["base"] != theirs["base"] else [])


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    rows       digests of its sets
    base       fingerprint of the base's weights
    in_memory  names of the inputs (model, sets) that were given in memory
    """

    folder: Path
    config: TrainConfig
    summary: dict[str, Any]
    rows: dict[str, str]
    base: str
    in_memory: tuple[str, ...]


def load_run(folder: str | Path) -> FinishedRun:
    """Return the run in a folder; FileNotFoundError if there is none, ValueError if the run is not finished."""
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"run: {folder} holds no run; give the --out folder of `python -m llm train`")
    if not (folder / "summary.json").is_file():
        raise ValueError(f"run: the run in {folder} is not finished; run the same `train` command again, which resumes")
    fingerprint = {"rows": {}, "base": ""} | read_fingerprint(folder / "run.json")
    saved = read_json(folder / "run.json")
    names = {f.name for f in dataclasses.fields(TrainConfig)}
    values = {k: v for k, v in saved["config"].items() if k in names} | {"out": str(folder), "overwrite": False}
    values = with_names_from(values, str(saved.get("directory", "")))
    summary = read_json(folder / "summary.json")
    in_memory = tuple(saved.get("in_memory", ()))
    return FinishedRun(folder, TrainConfig(**values), summary, fingerprint["rows"], fingerprint["base"], in_memory)


def load_model(
    folder: str | Path, *, remote_code: bool = False, precision: str = "fp32", dequantize: bool = False
) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a run's folder, an adapter's, or a whole model (any `--model`), ready to generate.

    dequantize  the base of an adapter that was trained on weights of 4 bits has the numbers that these stand for

    A run's folder needs nothing but PEFT: the adapter's configuration names its base model. The base is quantised as
    the run's was.
    """
    import torch
    from transformers import GenerationConfig

    from llm.models.loading import load_base, load_tokenizer
    from llm.models.lora import load_adapter
    from llm.models.quantization import dequantized

    config = TrainConfig(remote_code=remote_code, precision=precision)  # type: ignore[arg-type]
    path = Path(folder := located(str(folder), config.cache_folder))
    config = dataclasses.replace(config, **_quantization(path))
    if config.quantization == "none":
        hide_unused_kernel()
    own_base = base_of(path)
    base_name = own_base or str(folder)
    model = load_base(base_name, config)
    model = dequantized(model) if dequantize else model
    places = (path, run_of_kept(path))  # a kept adapter has neither settings nor a tokenizer of its own
    if own_base:
        if settings := next((place for place in places if (place / "generation_config.json").is_file()), None):
            model.generation_config = GenerationConfig.from_pretrained(settings)
        model = load_adapter(model, str(folder), trainable=False, any_kind=True)
    own = next((str(place) for place in places if (place / "tokenizer_config.json").is_file()), base_name)
    tokenizer = load_tokenizer(own, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device).eval(), tokenizer


def run_options(folder: str | Path) -> dict[str, Any]:
    """Return the options of the run in a folder, or of the run that kept the adapter or model there; none without."""
    folder = Path(folder)
    path = next((place / "run.json" for place in (folder, run_of_kept(folder)) if (place / "run.json").is_file()), None)
    if path is None:
        return {}
    read_fingerprint(path)
    return dict(read_json(path)["config"])


def run_of_kept(folder: Path) -> Path:
    """Return the folder of the run whose adapter `folder` is, by its name: RUN/kept/STEP; else the folder itself."""
    folder = folder.absolute()
    return folder.parent.parent if folder.parent.name in ("kept", "best") else folder


def _quantization(folder: Path) -> dict[str, Any]:
    """Return the options of the base's quantisation of the run in a folder, or of a run's kept adapter."""
    if not (folder / "adapter_config.json").is_file():
        return {}
    names = ("quantization", "double_quantization")
    return {name: value for name, value in run_options(folder).items() if name in names}


def base_of(folder: str | Path) -> str | None:
    """Return the folder or hub name of the base model of an adapter; None for a folder or name of another kind.

    Raises ValueError if the adapter's adapter_config.json names no base.
    """
    described = Path(folder) / "adapter_config.json"
    if not described.is_file():
        return None
    values = read_json(described)
    name = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"model: {described} names no base model (base_model_name_or_path); save the adapter again")
    return name


def _is_foreign(path: Path) -> bool:
    """Return whether a file is neither a lock nor left half-written by a killed process."""
    return path.name != ".lock" and not path.name.endswith(UNFINISHED)
