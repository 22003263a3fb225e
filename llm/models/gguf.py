"""GGUF files as base models: dequantised by transformers, once, into a folder of the cache."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.common.cache import ContentCache, digest, sha256

if TYPE_CHECKING:
    from llm.config import TrainConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file that a model's name means: the file itself, or the only one of a folder with no other model.

    Returns None for any other name. Raises FileNotFoundError if the file is absent, and ValueError, in one line, for a
    folder with several GGUF files and for a part of a split file, which transformers does not read.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise FileNotFoundError(f"model: there is no file {name}; give a GGUF file, a folder or a hub name")
    elif path.is_dir() and not any((path / known).exists() for known in ("config.json", "adapter_config.json")):
        files = sorted(path.glob("*.gguf"))
        if len(files) > 1:
            raise ValueError(f"model: {name} has {len(files)} GGUF files; name one of them, such as {files[0]}")
        if not files:
            return None
        path = files[0]
    else:
        return None
    if "-of-" in path.stem:
        raise ValueError(f"model: {path} is a part of a split GGUF file; join the parts (llama-gguf-split --merge)")
    return path


def loadable(name: str, config: TrainConfig) -> str:
    """Return the name that transformers loads: a GGUF file's converted folder in the cache, and any other name itself.

    config  its precision is that of the converted weights, its cache holds them

    Raises ValueError, in one line, if the extra `gguf` is not installed or transformers cannot read the file.
    """
    path = gguf_file(name)
    if path is None:
        return name
    status = path.stat()
    return str(_converted(path, (status.st_size, status.st_mtime_ns), config.precision, config.cache_folder))


@lru_cache(maxsize=8)
def _converted(path: Path, version: tuple[int, int], precision: str, cache: Path) -> Path:  # noqa: ARG001
    """Return the folder of a converted file; `version`, size and time of change, tells a changed file from the old."""
    try:
        versions = {name: metadata.version(name) for name in ("gguf", "transformers")}
    except metadata.PackageNotFoundError as error:
        raise ValueError(f"model: to read {path} install the extra gguf: pip install -e '.[gguf]'") from error
    key = digest({"file": sha256(path), "precision": precision, **versions})
    return ContentCache(cache, "gguf").fetch(
        key, lambda folder: folder, lambda folder: _convert(path, precision, folder)
    )


def _convert(path: Path, precision: str, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into an empty folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"converting {path}, once", file=sys.stderr)
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=DTYPES[precision])
        tokenizer = AutoTokenizer.from_pretrained(**source)
    except Exception as error:  # damaged files and unknown architectures give errors of all types
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"model: transformers cannot read {path} ({reason}); give the model in safetensors") from error
    described = type(loaded.config).from_dict(
        {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    )
    # What was loaded counts as quantised, which transformers does not save: its weights go into a new model.
    with torch.device("meta"):
        model = type(loaded)(described)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    if tokenizer.eos_token_id is not None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
