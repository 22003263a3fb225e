"""Progress of a study, and estimates of the remaining time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llm.common.files import read_json
from llm.common.processes import cores
from llm.study import measures
from llm.study.dependencies import Prerequisites, Rates, preparation, scale, work
from llm.study.status import is_finished, is_trained, last_step
from llm.study.sweep import StudyRun

if TYPE_CHECKING:
    from llm.common.scheduler import Running
    from llm.study.scheduler import RunJob

_AGAIN = 0.25  # of the time so far: how much longer a preparation takes that is beyond its estimate
# First guesses for the small embedded world, in seconds of one core, until a run of the study has shown its own: what a
# process takes beside training, and measures. From the 475 runs of `paper_repro --scale embedded --seeds 5`, two at a
# time on two cores, in 14 minutes.
OVERHEAD = 0.7
MEASURES = {"answers": 0.15, "questions": 0.3, "cosine": 0.5, "curvature": 5.0}


@dataclass(frozen=True)
class Progress:
    """Progress of a study.

    running  names with numbers of finished and of all steps; 0 finished steps: the run prepares
    left     estimate of the remaining seconds; None as long as no rate is known
    elapsed  seconds since the start of the study
    """

    total: int
    finished: int
    failed: int
    running: tuple[tuple[str, int, int], ...]
    left: float | None
    elapsed: float = 0.0


class Forecast:
    """Estimates of durations, learned from finished runs and from the steps of unfinished runs."""

    def __init__(
        self, runs: Sequence[StudyRun], root: Path, jobs: int, prerequisites: Mapping[str, Prerequisites]
    ) -> None:
        self.root, self.jobs, self.prerequisites = root, jobs, prerequisites
        self.total, self.began = len(runs), time.monotonic()
        self.done = 0
        # Missing computations of a run that makes them, by its name, and the time since when.
        self.making: dict[str, tuple[frozenset[str], float]] = {}
        self.crowding = max(1.0, jobs / cores())
        self.rates = Rates(self.crowding)
        # Seconds that a process takes beside training, measures and preparations, and estimates from processes that
        # prepared, in which time was also spent on waiting.
        self.overheads: list[float] = []
        self.likely_overheads: list[float] = []
        self.measured: dict[str, list[float]] = {}  # seconds that measures take
        for run in runs:
            self._learn(run)

    def _learn(self, run: StudyRun) -> None:
        folder = run.folder(self.root)
        if is_trained(run, self.root):
            summary = read_json(folder / "summary.json")
            self.rates.update(run, {"step": summary.get("steps", run.config.steps), "seconds": summary["seconds"]})
        else:
            self.rates.update(run, last_step(folder))
        if is_finished(run, self.root):
            self.done += 1
            for measure in run.measures:
                self.measured.setdefault(measure, []).append(measures.seconds_of(folder, measure))

    def finished(self, run: StudyRun, before: float, seconds: float, prepared: frozenset[str]) -> None:
        """Learn from a run that has just finished.

        before    seconds of training that the run's folder held when its process was started
        seconds   wall-clock time of the process
        prepared  shared resources that the process made or awaited, so that its time is not typical
        """
        self._learn(run)
        folder = run.folder(self.root)
        spent = float(last_step(folder)["seconds"]) - before
        spent += sum(measures.seconds_of(folder, m) for m in run.measures)
        if not prepared:
            self.overheads.append(max(0.0, seconds - spent))
        elif not prepared & self.prerequisites[run.name].base:  # the seconds of a base are written nowhere
            own = read_json(folder / "summary.json").get("preparation", {})
            spent += sum(float(own.get(f"{kind}_seconds", 0.0)) for kind in ("reference", "log_probs", "optima"))
            self.likely_overheads.append(max(0.0, seconds - spent))

    def size(self, run: StudyRun) -> float:
        """Return a run's length for ordering: seconds, or units of work as long as no rate is known."""
        seconds = self.length(run)
        return seconds if math.isfinite(seconds) else work(run.config)

    def length(self, run: StudyRun, wanted: Iterable[str] = ()) -> float:
        """Return about how many seconds a run still takes, with the computations in `wanted`; nan if unknown."""
        seconds = sum(self._measure(run, m) for m in measures.missing(run.folder(self.root), run.measures))
        if is_trained(run, self.root):
            return seconds
        left = 1.0 - last_step(run.folder(self.root))["step"] / run.config.steps
        units: float = work(run.config) * left + preparation(run.config, wanted)
        return seconds + units * self.rates.of(run)

    def progress(
        self, waiting: Sequence[StudyRun], running: Sequence[Running[RunJob]], there: Iterable[str], failed: int
    ) -> Progress:
        """Return the progress at this moment."""
        lines = {one.job.run.name: last_step(one.job.run.folder(self.root)) for one in running}
        for one in running:
            self.rates.update(one.job.run, lines[one.job.run.name])
        made, now, slow = set(there), time.monotonic(), 1.0
        sure: list[float] = []  # of each length, the part that `slow` does not correct
        lengths: list[float] = []
        for one in running:
            missing = one.prepares - made
            made |= missing
            rest = self.length(one.job.run)
            preparing = self.length(one.job.run, missing) - rest
            if missing:
                before, since = self.making.get(one.job.run.name, (missing, one.began))
                self.making[one.job.run.name] = missing, since if before == missing else now
                spent = now - self.making[one.job.run.name][1]
                # A preparation beyond its estimate is extended by a share of its time, and so are similar estimates.
                slow = max(slow, spent / preparing if preparing else 1.0)
                preparing = max(preparing - spent, _AGAIN * spent)
            lengths.append(rest + preparing)
            sure.append(preparing)
        for run in waiting:
            missing = self.prerequisites[run.name].all - made
            made |= missing
            lengths.append(self.length(run, missing) + self._overhead(run))
        if not self.rates:
            sure += [0.0] * len(waiting)
            lengths = [s + slow * (length - s) for s, length in zip(sure, lengths, strict=True)]
        # `jobs` runs at a time, and at least as long as the longest.
        left = max(sum(lengths) / self.jobs, max(lengths, default=0.0))
        shown = tuple(
            (one.job.run.name, int(lines[one.job.run.name]["step"]), one.job.run.config.steps) for one in running
        )
        known = left if math.isfinite(left) else None
        return Progress(self.total, self.done, failed, shown, known, now - self.began)

    def _measure(self, run: StudyRun, measure: str) -> float:
        """Return about how many seconds a measure of a run takes; 0 if nothing is known."""
        known = self.measured.get(measure, ())
        if known or run.config.model != "embedded":
            return sum(known) / len(known) if known else 0.0
        return MEASURES.get(measures.name_of(measure), 0.0) * scale(run.config) * self.crowding

    def _overhead(self, run: StudyRun) -> float:
        """Return about how many seconds a process takes beside training, measures and preparations."""
        known = self.overheads or self.likely_overheads
        if known:
            return sum(known) / len(known)
        return OVERHEAD * self.crowding if run.config.model == "embedded" else 0.0
