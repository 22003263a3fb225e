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


def written() -> int:
    """Bytes that this process has written so far, by the kernel's count."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="the kernel counts no bytes of a process here")
def test_an_array_costs_as_many_bytes_as_it_has_jobs_however_many_came_before(tmp_path: Path) -> None:
    """n arrays of equal size: the last one writes what the first one wrote, so that n arrays write n times as much."""
    costs = []
    for i in range(100, 200):
        before = written()
        add_jobs(tmp_path, {f"mix-lam0.5-seed{i}": f"{i}_0"})
        costs.append(written() - before)
    assert costs == [costs[0]] * 100
    assert costs[0] >= len('{"mix-lam0.5-seed100": "100_0"}')
    assert len(read_jobs(tmp_path)) == 100


@pytest.mark.slow
def test_more_jobs_than_one_command_line_holds_are_asked_for_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = Slurm(tmp_path / "fake", monkeypatch).folder / "bin" / "squeue"
    running = '#!/bin/bash\necho call >> "$0.calls"\ntr , "\\n" <<< "${@: -1}" | sed "s/$/ RUNNING/"\n'
    squeue.write_text(running, encoding="utf-8")  # every job that it is asked for is running
    ids = [str(i) for i in range(10_000_000, 10_020_001)]  # 180 kB; Linux takes 128 KiB an argument
    assert job_states({f"run{job}": job for job in ids}) == dict.fromkeys(ids, "RUNNING")
    assert squeue.with_name("squeue.calls").read_text(encoding="utf-8") == "call\n" * 3


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
