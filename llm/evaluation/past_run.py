"""Checks of a finished run whose model and sets are loaded once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.training.inputs import Inputs
    from llm.training.run_folder import FinishedRun


def check_given(past: FinishedRun, given: Mapping[str, Any], call: str) -> None:
    """Raise ValueError unless every input that the run had in memory is given once more.

    given  inputs in memory, as `llm.train` takes them
    call   the function that takes them, with its options: "evaluate(EvaluateConfig(...)"
    """
    known = {**given, **given.get("rows", {})}
    absent = [name for name in past.in_memory if known.get(name) is None]
    if absent:
        raise ValueError(
            f"run: its {absent[0]} was given in memory and no name leads to it; give it once more, by "
            f"{call}, {absent[0]}=...)"
        )


def check_unchanged(inputs: Inputs, past: FinishedRun) -> None:
    """Raise ValueError if a set or the base model of the run is not the one that it was trained on."""
    for name, digest in past.rows.items():
        if inputs.datasets.digests.get(name) != digest:
            raise ValueError(f"run: its {name} set has changed since; restore it, or train again on the present one")
    if inputs.base.fingerprint != past.base:
        raise ValueError("run: its base model has changed since; restore it, or train again on the present one")
