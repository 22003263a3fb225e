"""The record of submitted jobs, and squeue's answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.slurm_fakes import Slurm

from llm.study.slurm.queue import Queue, QueueError, add_jobs, job_states, read_jobs


def test_jobs_are_kept_by_name_and_the_last_counts(tmp_path: Path) -> None:
    assert read_jobs(tmp_path) == {}
    add_jobs(tmp_path, {"a": "1", "b": "2_0"})
    add_jobs(tmp_path, {"a": "3_1"})
    assert read_jobs(tmp_path) == {"a": "3_1", "b": "2_0"}


@pytest.mark.slow
def test_states_of_the_jobs_that_wait_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = Slurm(tmp_path / "fake", monkeypatch)
    assert job_states({}) == {}
    assert Queue.read(tmp_path).state("a") == ""
    assert slurm.calls() == []  # a study that never was on a cluster asks nothing
    add_jobs(tmp_path, {"a": "1", "b": "2_0", "c": "2_1", "d": "9"})
    slurm.queue({"1": "PENDING", "2_0": "RUNNING", "3": "RUNNING", "12": "RUNNING"})
    queue = Queue.read(tmp_path)
    assert [queue.state(name) for name in "abcde"] == ["PENDING", "RUNNING", "", "", ""]
    assert slurm.calls() == ["squeue --noheader --array --format %i %T --jobs 1,2,9"]


@pytest.mark.slow
def test_an_answer_that_is_missing_is_no_empty_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = Slurm(tmp_path / "fake", monkeypatch)
    add_jobs(tmp_path, {"a": "1"})
    (slurm.folder / "broken").write_text("slurm_load_jobs error: Invalid job id specified\n", encoding="utf-8")
    assert job_states({"a": "1"}) == {}  # Slurm has forgotten the job, so it has ended
    (slurm.folder / "broken").write_text("error: Unable to contact\nslurm controller\n", encoding="utf-8")
    with pytest.raises(QueueError, match=r"squeue failed \(error: Unable to contact slurm controller\)"):
        job_states({"a": "1"})
    assert Queue.read(tmp_path).states is None
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(QueueError, match="no squeue on PATH"):
        job_states({"a": "1"})
