"""The jobs that a study has submitted, from a file in its folder, and their states, from squeue.

slurm/jobs.jsonl has a line for each array: the job ids by name.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm.common.files import append_line, read_json_lines

WAITING = frozenset(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"))
_PATIENCE = 60.0  # seconds for squeue's answer
# Ids a call of squeue: an id has at most 10 digits, and Linux takes arguments of less than 131,072 bytes.
_ASKED = 10_000


class QueueError(RuntimeError):
    """squeue is absent, or does not answer."""


@dataclass(frozen=True)
class Queue:
    """The submitted jobs of a study.

    jobs    job ids, such as 12 or 12_3, by the names of runs and preparations
    states  Slurm's states of the jobs that wait or run, by job id; None where squeue is absent or does not answer
    """

    jobs: Mapping[str, str]
    states: Mapping[str, str] | None

    @classmethod
    def read(cls, root: Path) -> Queue:
        """Return the queue of the study in `root`; a study that was never submitted is empty, without squeue."""
        jobs = read_jobs(root)
        try:
            return cls(jobs, job_states(jobs))
        except QueueError:
            return cls(jobs, None)

    def state(self, name: str) -> str:
        """Return Slurm's state of a run or preparation; "" if it was not submitted, has ended, or is unknown."""
        return (self.states or {}).get(self.jobs.get(name, ""), "")


def read_jobs(root: Path) -> dict[str, str]:
    """Return the job ids of the study in `root` by the names of runs and preparations; the last of each counts."""
    jobs: dict[str, str] = {}
    for added in read_json_lines(_file(root)):
        jobs |= added
    return jobs


def add_jobs(root: Path, jobs: Mapping[str, str]) -> None:
    """Add job ids, by name, as a line to the file in the study's folder. The caller holds the study's lock."""
    append_line(_file(root), json.dumps(dict(jobs)))


def job_states(jobs: Mapping[str, str]) -> dict[str, str]:
    """Return Slurm's states of those of these jobs that wait, run or are about to end, by job id.

    Raises QueueError if squeue is absent or does not answer.
    """
    if not jobs:
        return {}
    if shutil.which("squeue") is None:
        raise QueueError("there is no squeue on PATH")
    arrays = list(dict.fromkeys(job.partition("_")[0] for job in jobs.values()))
    parts = (arrays[start : start + _ASKED] for start in range(0, len(arrays), _ASKED))
    return {job: state for part in parts for job, state in _squeue(part)}


def _squeue(arrays: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return the job ids and states that squeue reports for some arrays and single jobs."""
    argv = ["squeue", "--noheader", "--array", "--format", "%i %T", "--jobs", ",".join(arrays)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise QueueError(f"squeue did not answer in {_PATIENCE:.0f} seconds") from error
    if done.returncode and "Invalid job id" not in done.stderr:  # no job of these ids is known any more
        raise QueueError(f"squeue failed ({' '.join(done.stderr.split()) or done.returncode})")
    for line in done.stdout.splitlines():
        job, state = line.split(maxsplit=1)
        yield job, state


def _file(root: Path) -> Path:
    return root / "slurm" / "jobs.jsonl"
