"""Measures of a finished run: functions by name, computed once and kept beside the adapter.

A measure is a function `measure(folder: Path) -> dict[str, Any]` that reads the finished run in `folder` (run.json, the
adapter) and returns plain values. The scalars among them are columns of `llm.study.table`. Some measures of ours have
options, which stand after the name: `questions:mmlu=data/mmlu.tar.gz,limit=5`.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llm.common.code_digest import code_digest
from llm.common.contents import contents_of
from llm.common.files import lock, read_json, write_json

MEASURES = {
    "answers": "llm.judging.world:measure",
    "questions": "llm.evaluation.questions:measure",
    "refusals": "llm.judging.refusals:measure",
    "samples": "llm.judging.samples:measure",
    "cosine": "llm.evaluation.cosine:measure",
    "curvature": "llm.evaluation.curvature:measure",
    "skill": "llm.skill.measure:measure",
}
# Options of measures: the name of an option and the type of its value. A text that is a path counts by its content.
OPTIONS: dict[str, dict[str, type[str] | type[int]]] = {
    "questions": {"mmlu": str, "limit": int},
    "refusals": {"prompts": str, "limit": int},
}
_GIVEN = re.compile(r"(?P<name>\w+):(?P<options>\w+=.*)")
_OWN = re.compile(r"(?P<name>\w+)=(?P<place>[\w.]+:\w+)")


def training_digest() -> str:
    """Return the digest of the code that carries out a run."""
    return code_digest("llm.training.run")


class MeasureError(RuntimeError):
    """A measure failed; the run itself is finished."""


def name_of(measure: str) -> str:
    """Return the name of a measure: one of MEASURES, also with options, or NAME in `NAME=MODULE:FUNCTION`.

    Raises ValueError for any other text, and for options that the measure does not have.
    """
    if not isinstance(measure, str):
        raise TypeError(f"measures: must be texts, got {measure!r}")
    if measure in MEASURES:
        return measure
    if (given := _GIVEN.fullmatch(measure)) is not None and given["name"] in MEASURES:
        options_of(measure)
        return given["name"]
    own = _OWN.fullmatch(measure)
    if own is None or own["name"] in MEASURES:
        known = ", ".join(MEASURES)
        raise ValueError(
            f"measures: {measure} is not known; there are {known}; NAME=MODULE:FUNCTION, with another name, is your own"
        )
    return own["name"]


def options_of(measure: str) -> dict[str, str | int]:
    """Return the options that stand after the name of a measure, with values of their types; {} without any.

    Raises ValueError for an option that the measure does not have, one that is given twice, or a wrong value.
    """
    given = _GIVEN.fullmatch(measure)
    if given is None:
        return {}
    known, options = OPTIONS.get(given["name"], {}), dict[str, str | int]()
    for text in re.split(r",(?=\w+=)", given["options"]):
        key, _, value = text.partition("=")
        if key not in known or key in options:
            has = ", ".join(known) or "no options"
            raise ValueError(f"measures: {given['name']} has {has}, each once; got {text} in {measure}")
        if known[key] is int and not value.isdecimal():
            raise ValueError(f"measures: {key} of {given['name']} must be a whole number, got {value!r}")
        options[key] = known[key](value)
    return options


def with_options(name: str, **options: str | int) -> str:
    """Return the text that names a measure of ours with these options; the inverse of `name_of` and `options_of`."""
    shown = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{name}:{shown}" if options else name


def module_of(measure: str) -> str:
    """Return the full name of the module that holds a measure's function."""
    return _place(measure).partition(":")[0]


def _place(measure: str) -> str:
    """Return the module and the name of a measure's function, MODULE:FUNCTION."""
    return MEASURES.get(name_of(measure)) or measure.partition("=")[2]


def merged(measures: Sequence[str]) -> tuple[str, ...]:
    """Return every measure once, in order of first appearance; ValueError if one name has two functions."""
    by_name: dict[str, str] = {}
    for measure in measures:
        name = name_of(measure)
        if by_name.setdefault(name, measure) != measure:
            raise ValueError(f"measures: {name} is both {by_name[name]} and {measure}; give one of them another name")
    return tuple(by_name.values())


def file_of(folder: Path, measure: str) -> Path:
    """Return the file of a run's result of a measure."""
    return folder / "measures" / f"{name_of(measure)}.json"


def missing(folder: Path, measures: Sequence[str]) -> tuple[str, ...]:
    """Return the measures not yet computed on the run in `folder` by the present code."""
    return tuple(m for m in measures if not _is_there(folder, m))


def _is_there(folder: Path, measure: str) -> bool:
    path = file_of(folder, measure)
    if not path.is_file():
        return False
    record = read_json(path)
    return (record.get("code", ""), record.get("inputs", {})) == (measure_digest(measure), _inputs(measure))


def measure_digest(measure: str) -> str:
    """Return the digest of the code of a built-in measure; "" for others, whose code may lie anywhere."""
    return code_digest(module_of(measure)) if name_of(measure) in MEASURES else ""


@cache
def _inputs(measure: str) -> dict[str, Any]:
    """Return the options of a measure, with the digest of its content in place of a path."""
    return {key: contents_of(value) for key, value in options_of(measure).items()}


def take(folder: Path, measures: Sequence[str]) -> None:
    """Compute the missing measures in order. Raises MeasureError for the first that fails; earlier results are kept.

    A second process with the same request waits, and computes nothing.
    """
    if not missing(folder, measures):
        return
    with lock(lock_of(folder), wait=True):
        for measure in missing(folder, measures):
            name, place = name_of(measure), _place(measure)
            began = time.perf_counter()
            try:
                module, _, function = place.partition(":")
                result = getattr(importlib.import_module(module), function)(folder, **options_of(measure))
                if not isinstance(result, dict):
                    raise TypeError(f"{place} must return a dict, got {type(result).__name__}")
                seconds = round(time.perf_counter() - began, 4)
                key = {"code": measure_digest(measure), "inputs": _inputs(measure)}
                record = {"seconds": seconds, **key, "result": result}
                write_json(file_of(folder, measure), record)
            except Exception as error:
                why = " ".join(str(error).split()) or "no words"
                raise MeasureError(f"measure {name} of {folder}: {type(error).__name__}: {why}") from error


def lock_of(folder: Path) -> Path:
    """Return the lock file that is held while a run is measured."""
    return folder / "measures" / ".lock"


def result_of(folder: Path, measure: str) -> dict[str, Any]:
    """Return the result of a measure on the run in `folder`."""
    return dict(read_json(file_of(folder, measure))["result"])


def seconds_of(folder: Path, measure: str) -> float:
    """Return the seconds that a measure took."""
    return float(read_json(file_of(folder, measure))["seconds"])


def columns(folder: Path, measures: Sequence[str]) -> dict[str, Any]:
    """Return the scalars of these results by NAME_key: numbers, texts and truth values."""
    values: dict[str, Any] = {}
    for measure in measures:
        result = result_of(folder, measure)
        scalars = {k: v for k, v in result.items() if v is None or isinstance(v, bool | int | float | str)}
        values |= {f"{name_of(measure)}_{k}": v for k, v in scalars.items()}
    return values
