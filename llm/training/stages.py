"""Stages of a run: consecutive steps with one optimizer and, on request, with an adapter of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toyopt.algorithms import Rule


@dataclass(frozen=True)
class Stage:
    """Steps begin + 1 .. end of a run.

    index  position among the rule's stages, stages without steps included
    """

    index: int
    begin: int
    end: int

    @property
    def steps(self) -> int:
        """The number of steps."""
        return self.end - self.begin


def stages_of(rule: Rule, steps: int) -> tuple[Stage, ...]:
    """Return the stages of a rule that have any steps; a rule without stages has one of all `steps`."""
    if not rule.stages:
        return (Stage(0, 0, steps),)
    stages, begin = [], 0
    for index, (_, count) in enumerate(rule.stages):
        if count:
            stages.append(Stage(index, begin, begin + count))
        begin += count
    return tuple(stages)


def adapter_name(index: int) -> str:
    """Return the name of a stage's own adapter, which is also the name of its folder."""
    return f"stage{index + 1}"


def stage_adapters(folder: Path, stages: Sequence[Stage]) -> dict[int, Path]:
    """Return the folders of the stages' saved adapters, by position."""
    folders = {stage.index: folder / adapter_name(stage.index) for stage in stages}
    return {index: path for index, path in folders.items() if path.is_dir()}
