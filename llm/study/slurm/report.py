"""The report of a submission on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from llm.study.slurm.submit import submit_study
from llm.study.sweep import Grid


def submitted(grid: Grid, root: Path, slurm: Sequence[str], launcher: str) -> int:
    """Submit the missing runs of a grid, print the counts and job ids, and return the exit status 0."""
    submission = submit_study(grid, root, slurm=slurm, launcher=launcher)
    for line in submission.failed:
        print(f"{line}; submitted again", file=sys.stderr)
    names = {run.name for run in grid.runs()}
    runs = sum(name in names for name in submission.submitted)
    parts = [f"{runs} runs submitted"]
    if preparations := len(submission.submitted) - runs:
        parts.append(f"{preparations} preparations submitted")
    parts += [f"{len(submission.queued)} runs queued before", f"{len(submission.finished)} finished"]
    print(f"{root}: {', '.join(parts)}")
    if submission.submitted:
        arrays = dict.fromkeys(job.partition("_")[0] for job in submission.submitted.values())
        print(f"jobs: {' '.join(arrays)}; see squeue, and python -m llm study status --root {root} ...")
    return 0
