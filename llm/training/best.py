"""The step whose adapter is the result of a run with `keep_best`, found from the run's own evaluations.

Two objectives need a measure of both: the least f_DPO alone is attained where f_SFT is forgotten most, and vice versa.
`worst_gap` is the largest weighted gap, max(λ (f_DPO - f_DPO*), (1-λ)(f_SFT - f_SFT*)), which MAXRIGHT minimises;
`mix` is λ f_DPO + (1-λ) f_SFT, which Mix and ALRIGHT minimise and which needs no optima. Both are over all objectives.

Nothing of this is in a checkpoint: metrics.jsonl has every evaluation, and a resumed run reads those up to its step.
"""

from __future__ import annotations

import bisect
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.files import atomic_path, remove_unfinished

if TYPE_CHECKING:
    from llm.config import TrainConfig

HELD_OUT = "held_out"


@dataclass(frozen=True)
class Best:
    """The best evaluation so far.

    step   its step
    value  of the measure
    since  number of evaluations after it, none of which was better
    """

    step: int
    value: float
    since: int


def measure(config: TrainConfig, line: Mapping[str, Any]) -> float:
    """Return the measure `keep_best` of a line of an evaluation; less is better, NaN if a value is missing."""
    weights = {own.name: own.weight for own in config.objectives}
    if config.keep_best == "mix":
        return math.fsum(weight * line.get(f"f_{name}", math.nan) for name, weight in weights.items())
    if config.keep_best == "worst_gap":
        gaps = [weight * line.get(f"gap_{name}", math.nan) for name, weight in weights.items()]
        return math.nan if any(map(math.isnan, gaps)) else max(gaps)
    return float(line.get(config.keep_best, math.nan))


class BestSoFar:
    """The best of the evaluations up to any step. Each line is measured once, however often the best is asked for.

    begin  the step before the first of the last stage: before that, the method has not trained on both objectives
    """

    def __init__(self, config: TrainConfig, begin: int) -> None:
        self._config, self._begin = config, begin
        self._read = 0  # lines
        self._steps: list[int] = []  # of the evaluations that count, and the best up to each
        self._best: list[Best | None] = []

    def read(self, lines: Sequence[Mapping[str, Any]]) -> BestSoFar:
        """Measure the lines that were appended since the last call; return this object.

        lines  of metrics.jsonl from its beginning, in order; lines of steps are skipped
        """
        for line in lines[self._read :]:
            if line.get("evaluation") == HELD_OUT and line["step"] > self._begin:
                self._steps.append(line["step"])
                self._best.append(self._better(line["step"], measure(self._config, line)))
        self._read = len(lines)
        return self

    def at(self, end: int) -> Best | None:
        """Return the best of the evaluations up to step `end`; None if there is none.

        Of equal values the first counts, and a value that is not finite never does.
        """
        count = bisect.bisect_right(self._steps, end)
        return self._best[count - 1] if count else None

    def _better(self, step: int, value: float) -> Best | None:
        """Return the best up to a step whose value is new."""
        before = self._best[-1] if self._best else None
        if math.isfinite(value) and (before is None or value < before.value):
            return Best(step, value, 0)
        return None if before is None else Best(before.step, before.value, before.since + 1)


def find_best(config: TrainConfig, lines: Sequence[Mapping[str, Any]], begin: int, end: int) -> Best | None:
    """Return the best of the evaluations in `lines` after step `begin` and up to step `end`, as `BestSoFar` does."""
    return BestSoFar(config, begin).read(lines).at(end)


def best_folder(folder: Path, step: int) -> Path:
    """Return the folder of the adapter of a step that was the best when it was evaluated."""
    return folder / "best" / f"step-{step:06d}"


def forget_best(folder: Path, *, steps: Iterable[int] | None = None, after: int | None = None) -> None:
    """Remove adapters of best steps, and half-written files.

    steps  steps whose adapters stay; None: all
    after  last step whose adapter may stay, as the run will repeat the later ones; None: no limit
    """
    remove_unfinished(folder / "best")
    stay = None if steps is None else set(steps)
    for path in (folder / "best").glob("step-*"):
        step = int(path.name.removeprefix("step-"))
        if (after is not None and step > after) or (stay is not None and step not in stay):
            shutil.rmtree(path)


def copy_best(folder: Path, step: int, result: Path) -> None:
    """Copy the adapter of a best step to the folder `result`; the original stays until the run is finished."""
    with atomic_path(result) as temporary:
        shutil.copytree(best_folder(folder, step), temporary)
