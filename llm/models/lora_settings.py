"""Fields of PEFT's LoraConfig that the option `lora` sets by name: read, checked by name and type, or refused.

`check_settings` needs no PEFT and is for the configuration; `lora_settings` checks names and types against the
LoraConfig that is installed. `llm.models.lora_check` measures whether fields are right on a model.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

# Fields with an option of their own.
OWN_OPTION = {
    "r": "--lora-rank",
    "lora_alpha": "--lora-alpha",
    "lora_dropout": "--lora-dropout",
    "target_modules": "--lora-targets",
    "target_parameters": "--lora-parameters",
}
_BY_TRAINER = "is set by the trainer, from the model"
_BY_DATA = "needs passes over data, or a quantised base, before training"
REFUSED = {
    **dict.fromkeys(("task_type", "peft_type", "auto_mapping", "peft_version", "inference_mode"), _BY_TRAINER),
    **dict.fromkeys(("base_model_name_or_path", "revision", "exclude_modules"), _BY_TRAINER),
    **dict.fromkeys(("eva_config", "corda_config", "lora_ga_config", "loftq_config"), _BY_DATA),
    "bias": "changes biases of the base, which is DPO's reference",
    "layer_replication": "changes layers of the base, which is DPO's reference",
    "kasa_config": "truncates weights of the base, which is DPO's reference",
    "monteclora_config": "adds a term of its own to the loss",
    "use_qalora": "is for GPTQ layers, which are not loaded",
    "qalora_group_size": "is for GPTQ layers, which are not loaded",
}
DATA_STARTS = ("eva", "corda", "lora_ga", "loftq")
# Fields with which adapters can be joined into one whose update is exactly the sum of theirs.
JOINABLE = ("use_rslora", "init_lora_weights", "layers_to_transform", "layers_pattern")


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of texts NAME=VALUE by name; a value is JSON, true, false, none, or else a text.

    Raises ValueError, in one line, for another form, a name given twice, or a field that is refused whatever its value.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ValueError(f"lora: each must be NAME=VALUE, such as use_dora=true, got {text!r}")
        if name in OWN_OPTION:
            raise ValueError(f"lora: {name} has an option of its own; use {OWN_OPTION[name]}")
        if name in REFUSED:
            raise ValueError(f"lora: {name} {REFUSED[name]}; leave it out")
        if name in values:
            raise ValueError(f"lora: {name} is given twice; give it once")
        values[name] = _read(value)
    if values.get("init_lora_weights") in DATA_STARTS:
        raise ValueError(
            f"lora: init_lora_weights={values['init_lora_weights']} {_BY_DATA}; use true, gaussian, orthogonal, "
            "pissa, pissa_niter_16 or olora"
        )
    return values


def check_settings(texts: Sequence[str], *, rank: int, adapter: str, joined: str, precision: str) -> None:
    """Raise ValueError, in one line, for settings that do not go with a configuration's other options.

    rank       the option `lora_rank`
    adapter    the option `adapter`
    joined     the option by which a run joins adapters, `stack` or `average`, or ""
    precision  the option `precision`
    """
    values = parse_settings(texts)
    if not values:
        return
    if rank == 0:
        raise ValueError("lora: with lora_rank 0 there is no adapter; leave it out")
    if adapter:
        raise ValueError("lora: --adapter goes on with a saved adapter, which has its own settings; leave it out")
    exact = ", ".join(JOINABLE)
    for name in values:
        if joined and name not in JOINABLE:
            raise ValueError(
                f"lora: {joined} joins adapters, which is exact with {exact} only, got {name}; leave it out"
            )
    start = values.get("init_lora_weights")
    if subtracts(start):
        if precision != "fp32":
            raise ValueError(
                f"lora: init_lora_weights={start} changes the base's weights, which bf16 would round; "
                "use --precision fp32, or gaussian or orthogonal"
            )
        if values.get("use_rslora") is True and (values.get("rank_pattern") or values.get("alpha_pattern")):
            raise ValueError(
                f"lora: init_lora_weights={start} with use_rslora and patterns of ranks cannot be saved for the "
                "original base; leave one of the three out"
            )


def subtracts(start: Any) -> bool:
    """Return whether an initialisation takes a part of the base's weights into the adapter: PiSSA and OLoRA."""
    return isinstance(start, str) and (start in ("pissa", "olora") or start.startswith("pissa_niter_"))


def lora_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of the installed PEFT's LoraConfig that texts NAME=VALUE set.

    Raises ValueError for an unknown field, TypeError for a value of another type, each in one line.
    """
    values = parse_settings(texts)
    if not values:
        return {}
    from peft import LoraConfig

    kinds = typing.get_type_hints(LoraConfig)
    known = {f.name for f in dataclasses.fields(LoraConfig) if f.init}
    made = {}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
            raise ValueError(f"lora: {name} is no field of the installed PEFT's LoraConfig{hint}")
        # PEFT's annotation writes the number of iterations of PiSSA's fast start as a placeholder.
        if name == "init_lora_weights" and isinstance(value, str) and re.fullmatch(r"pissa_niter_\d+", value):
            made[name] = value
            continue
        if not _fits(value, kinds[name]):
            raise TypeError(f"lora: {name} must be {_in_words(kinds[name])}, got {json.dumps(value)}")
        made[name] = _with_classes(name, value, kinds[name])
    return made


def _read(text: str) -> Any:
    """Return the value of a text: JSON, or true, false and none in any case, or the text itself."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return the types that an annotation allows."""
    if get_origin(kind) is typing.Union or isinstance(kind, types.UnionType):
        return tuple(part for each in get_args(kind) for part in _parts(each))
    return (kind,)


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a JSON value is of an annotated type; objects stand for dataclasses, lists for tuples."""
    return any(_fits_one(value, part) for part in _parts(kind))


def _fits_one(value: Any, kind: Any) -> bool:
    """Return whether a JSON value is of a type that is no union."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return value in arguments
    if origin in (int, float):
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    if origin is list:
        return isinstance(value, list) and (not arguments or all(_fits(item, arguments[0]) for item in value))
    if origin is tuple:
        items = zip(value, arguments, strict=False) if isinstance(value, list) else ()
        return isinstance(value, list) and len(value) == len(arguments) and all(_fits(v, k) for v, k in items)
    if origin is dict:
        return isinstance(value, dict) and (not arguments or all(_fits(item, arguments[1]) for item in value.values()))
    if dataclasses.is_dataclass(origin):
        return isinstance(value, dict)
    return isinstance(value, origin) if isinstance(origin, type) else value is None


def _in_words(kind: Any) -> str:
    """Return an annotated type in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "none"}
    said = []
    for part in _parts(kind):
        origin, arguments = get_origin(part) or part, get_args(part)
        if origin is Literal:
            said.append(", ".join(map(str, arguments)))
        elif origin is list:
            said.append("a list in JSON" + (f" (each {_in_words(arguments[0])})" if arguments else ""))
        elif origin is dict or dataclasses.is_dataclass(origin):
            said.append("an object in JSON")
        else:
            said.append(words.get(part, getattr(part, "__name__", str(part))))
    return " or ".join(dict.fromkeys(said))


def _with_classes(name: str, value: Any, kind: Any) -> Any:
    """Return a value with PEFT's own classes in place of objects; TypeError, in one line, for an unknown entry."""
    for part in _parts(kind):
        if isinstance(value, dict) and dataclasses.is_dataclass(part) and isinstance(part, type):
            names = {f.name for f in dataclasses.fields(part) if f.init}
            if unknown := sorted(set(value) - names):
                raise TypeError(f"lora: {name} has no entry {unknown[0]}; there are {', '.join(sorted(names))}")
            return part(**value)
    return value
