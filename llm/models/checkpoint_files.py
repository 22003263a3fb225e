"""Checks of a model's folder and of a loaded checkpoint; a fault is an error in one line that names file or weight."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from llm.models.architecture import is_encoder_decoder

# Ends of the names of transformers' classes whose models predict no text from left to right.
OTHER_KINDS = (
    "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice", "ForMaskedLM",
    "ForNextSentencePrediction", "ForImageClassification", "ForAudioClassification", "RewardModel",
)  # fmt: skip
POINTER = b"version https://git-lfs"  # the first bytes of a file that git-lfs has not fetched


def check_no_adapter(name: str) -> None:
    """Raise ValueError, with the base and the adapter to give, if a folder holds an adapter and not a model."""
    described = Path(name) / "adapter_config.json"
    if not described.is_file():
        return
    try:
        base = json.loads(described.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        base = None
    raise ValueError(f"model: {name} holds an adapter; use --model {base or 'BASE'} --adapter {name}")


def check_kind(name: str, config: Any) -> None:
    """Raise ValueError if a configuration is of a model that predicts no text, such as a reward model."""
    for architecture in getattr(config, "architectures", None) or []:
        if str(architecture).endswith(OTHER_KINDS):
            raise ValueError(
                f"model: {name} is a {architecture}, which predicts no text; give the language model it was made from"
            )
    # Encoders such as BERT have a causal class as well, whose mask is causal only if the configuration says so.
    if getattr(config, "is_decoder", True) is False and not is_encoder_decoder(config) and _is_encoder(config):
        raise ValueError(f"model: {name} is an encoder ({config.model_type}); give a causal or encoder-decoder model")


def auto_class(name: str, config: Any) -> Any:
    """Return the class of transformers that loads the language model `name` of a configuration.

    A vision-language model without a class for text alone is loaded as it is; texts without images then pass through
    its language model. Raises ValueError for a configuration that none of these classes knows.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSeq2SeqLM
    from transformers.models.auto import modeling_auto as known

    if is_encoder_decoder(config):
        return AutoModelForSeq2SeqLM
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if own_code or type(config) in known.MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise ValueError(
        f"model: {name} is of type {config.model_type}, of which transformers has no language model; give one of text"
    )


def check_checkpoint(name: str) -> None:
    """Raise FileNotFoundError for a file of weights in a folder that is missing, cut, or a pointer of git-lfs."""
    folder = Path(name)
    if not folder.is_dir():
        return
    index = folder / "model.safetensors.index.json"
    files = {folder / "model.safetensors"} if (folder / "model.safetensors").exists() else set()
    if not files and index.is_file():
        try:
            files = {folder / file for file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError) as error:
            raise FileNotFoundError(f"model: {index} is damaged; download it again") from error
    for path in sorted(files):
        if not path.is_file():
            raise FileNotFoundError(f"model: {folder} lacks {path.name}, which its index names; download it again")
        check_safetensors(path, "model")


def check_safetensors(path: Path, what: str) -> None:
    """Raise FileNotFoundError unless a file is a whole safetensors file.

    what  first words of the message
    """
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise FileNotFoundError(
                f"{what}: {path} is a pointer of git-lfs, not the weights; fetch them (git lfs pull)"
            )
    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"{what}: {path} is damaged or cut ({reason}); download it again") from error


def check_loaded(name: str, model: Any, report: Mapping[str, Any]) -> None:
    """Raise ValueError, naming weights, if a checkpoint does not fit the model that its configuration describes.

    report  of transformers' `output_loading_info`

    The names of further weights of the checkpoint, which are not used, are kept for `unused_note`.
    """
    mismatched = sorted(report["mismatched_keys"])
    if mismatched:
        weight, saved, expected = mismatched[0]
        raise ValueError(
            f"model: {name} is not the model of its config.json: {weight} has the shape {tuple(saved)} in the file and "
            f"{tuple(expected)} by the configuration{_more(mismatched)}; download the folder again"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"model: {name} lacks the weights {', '.join(missing[:3])}{_more(missing, 3)}, which would be random; "
            "give a whole checkpoint of this architecture"
        )

    unused = sorted(report["unexpected_keys"])
    # Such as q_proj.weight_scale_inv: without its scale the weight is another number.
    starts = tuple(parameter + mark for parameter, _ in model.named_parameters() for mark in "_.")
    scales = [key for key in unused if key.startswith(starts)]
    if scales and getattr(model.config, "quantization_config", None) is None:
        raise ValueError(
            f"model: {name} has scales of quantised weights ({scales[0]}{_more(scales)}), and its config.json has no "
            "quantization_config, so that they would not be applied; give the model's own config.json, or a copy that "
            "is dequantised"
        )
    model.unused_weights = unused


def unused_note(model: Any) -> str | None:
    """Return a line on weights of a loaded checkpoint that its model has no place for; None without any."""
    unused = getattr(model, "unused_weights", None)
    if not unused:
        return None
    return (
        f"{len(unused)} weights of the checkpoint are not used, the first is {unused[0]}; this is right for towers of "
        "images and for heads of other tasks, and wrong where config.json has fewer layers than the checkpoint"
    )


def _more(names: list[Any], shown: int = 1) -> str:
    """Return " and N more" for the names that are not shown."""
    return f" and {len(names) - shown} more" if len(names) > shown else ""


def _is_encoder(config: Any) -> bool:
    """Return whether transformers has a masked language model of this configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_MASKED_LM_MAPPING
