"""Measures of a finished run: functions by name, computed once and kept beside the adapter.

A measure is a function `measure(folder: Path) -> dict[str, Any]` that reads the finished run in `folder` (run.json, the
adapter) and returns plain values. The scalars among them are columns of `llm.study.table`.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.common.code_digest import code_digest
from llm.common.files import lock, read_json, write_json

MEASURES = {
    "answers": "llm.judging.world:measure",
    "questions": "llm.evaluation.benchmark:measure",
    "cosine": "llm.evaluation.cosine:measure",
    "curvature": "llm.evaluation.curvature:measure",
    "skill": "llm.skill.measure:measure",
}
_OWN = re.compile(r"(?P<name>\w+)=(?P<place>[\w.]+:\w+)")


def training_digest() -> str:
    """Return the digest of the code that carries out a run."""
    return code_digest("llm.training.run")


class MeasureError(RuntimeError):
    """A measure failed; the run itself is finished."""


def name_of(measure: str) -> str:
    """Return the name of a measure: one of MEASURES, or NAME in `NAME=MODULE:FUNCTION`; else ValueError."""
    if not isinstance(measure, str):
        raise TypeError(f"measures: must be texts, got {measure!r}")
    if measure in MEASURES:
        return measure
    own = _OWN.fullmatch(measure)
    if own is None or own["name"] in MEASURES:
        known = ", ".join(MEASURES)
        raise ValueError(
            f"measures: {measure} is not known; there are {known}; NAME=MODULE:FUNCTION, with another name, is your own"
        )
    return own["name"]


def module_of(measure: str) -> str:
    """Return the full name of the module that holds a measure's function."""
    return MEASURES.get(measure, measure.partition("=")[2]).partition(":")[0]


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
    return path.is_file() and read_json(path).get("code", "") == _code(measure)


def _code(measure: str) -> str:
    """Return the digest of the code of a built-in measure; "" for others, whose code may lie anywhere."""
    return code_digest(MEASURES[measure].partition(":")[0]) if measure in MEASURES else ""


def take(folder: Path, measures: Sequence[str]) -> None:
    """Compute the missing measures in order. Raises MeasureError for the first that fails; earlier results are kept.

    A second process with the same request waits, and computes nothing.
    """
    if not missing(folder, measures):
        return
    with lock(lock_of(folder), wait=True):
        for measure in missing(folder, measures):
            name, place = name_of(measure), MEASURES.get(measure, measure.partition("=")[2])
            began = time.perf_counter()
            try:
                module, _, function = place.partition(":")
                result = getattr(importlib.import_module(module), function)(folder)
                if not isinstance(result, dict):
                    raise TypeError(f"{place} must return a dict, got {type(result).__name__}")
                seconds = round(time.perf_counter() - began, 4)
                record = {"seconds": seconds, "code": _code(measure), "result": result}
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
