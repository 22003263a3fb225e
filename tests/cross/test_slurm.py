"""A study on a real Slurm: one node on the loopback with two processors, where a run is preempted and resumes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("submitit")

import submitit
from support import pipeline_runs, slurm_cluster
from support import run_worker as worker

from llm.cli import main
from llm.study.slurm.job import Job
from llm.study.slurm.queue import read_jobs

ROOT = Path(__file__).parents[2]
PATIENCE = 1500.0  # seconds until the jobs count as hanging
pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm_cluster.Cluster]:
    if absent := slurm_cluster.missing():
        pytest.skip(f"not installed: {absent} (packages slurm-wlm and munge)")
    try:
        with slurm_cluster.cluster() as made:
            yield made
    except slurm_cluster.UnstartableError as error:
        pytest.skip(f"Slurm's daemons do not start here: {error}")


@pytest.fixture
def login(cluster: slurm_cluster.Cluster, monkeypatch: pytest.MonkeyPatch) -> slurm_cluster.Cluster:
    """This process as one on the cluster's login node, whose environment jobs inherit."""
    folders = [str(ROOT), str(Path(submitit.__file__).parents[1])]
    environment = {**cluster.environment, "PYTHONPATH": os.pathsep.join(folders)}
    for name in ("SLURM_CONF", "PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, environment[name])
    return cluster


def wait(what: str, cluster: slurm_cluster.Cluster, ready: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f"waited too long for {what}; {cluster.states()}\n{cluster.logs()}"
        time.sleep(0.1)


def step(folder: Path) -> int:
    return len((folder / "metrics.jsonl").read_bytes().splitlines()) if (folder / "metrics.jsonl").is_file() else 0


def test_a_study_on_slurm_is_that_of_one_machine_also_after_a_preemption(
    tmp_path: Path, login: slurm_cluster.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    def study(command: str, **options: Any) -> pipeline_runs.Said:
        """The command `python -m llm study COMMAND`, in this process."""
        _, *argv = pipeline_runs.argv(command, **options)
        capsys.readouterr()
        return pipeline_runs.Said(main(["study", command, *argv]), *capsys.readouterr())

    common = {**pipeline_runs.place(tmp_path), "out": None, "steps": 400, "optima_steps": 4, "f_star": "compute"}
    common |= {"methods": ["mix", "alright"], "eval_every": 100, "save_every": 1000}
    root, alone, bad = tmp_path / "cluster", tmp_path / "alone", tmp_path / "bad"
    slurm = {"executor": "slurm", "slurm": ["mem=2G", "time=30", "partition=study"]}
    said = study("run", **common, root=root, **slurm)
    assert said.status == 0, said.err
    assert said.out.startswith(f"{root}: 2 runs submitted, 2 preparations submitted, 0 runs queued before, 0 finished")
    jobs = read_jobs(root)
    preempted, other = [name for name in jobs if "lam" in name]

    # Again: nothing is submitted twice. And a study whose preparation cannot succeed.
    again = study("run", **common, root=root, **slurm)
    assert again.out == f"{root}: 0 runs submitted, 2 runs queued before, 0 finished\n"
    impossible = {**common, "methods": "mix", "batch_sft": 1000, "f_star": "estimate"}
    assert study("run", **impossible, root=bad, **slurm).status == 0

    wait("the first run", login, lambda: step(root / preempted) > 10)
    login("scancel", "--signal=USR2", jobs[preempted])  # as Slurm sends before a time limit
    wait("the end of all jobs", login, lambda: not login.states())

    log = (root / "logs" / f"{preempted}.log").read_text(encoding="utf-8")
    assert log.count("as asked; the same command resumes") == 1, log
    assert f"Requeued job {jobs[preempted]}" in reports(root, jobs[preempted])
    assert "Requeued" not in reports(root, jobs[other])
    assert study("status", **common, root=root).out.endswith(f"{root}: 2 finished\n")

    # The same runs on this machine alone, from a cache of its own.
    local = study("run", **{**common, "cache": tmp_path / "other cache"}, root=alone, jobs=2)
    assert local.status == 0, local.err
    for name in (preempted, other):
        assert worker.weights(root / name) == worker.weights(alone / name)
        assert worker.lines(root / name) == worker.lines(alone / name)

    # The preparation that cannot succeed is named with its log, and its run is not left in the queue.
    listed = study("status", **impossible, root=bad).out
    assert f"{bad}: 1 missing" in listed
    line = listed.splitlines()[-1]
    assert line.startswith("reference-")
    assert " failed (exit status 2): error: batch_sft: must be at most the number of training rows" in line
    assert Path(line.rpartition("; log: ")[2]).is_file()


def reports(root: Path, job: str) -> str:
    """What submitit reports of a job."""
    return (root / "slurm" / f"{job}_0_log.out").read_text(encoding="utf-8")


# A command that counts its starts in a file, saves on SIGTERM as a run does, and succeeds when it starts again.
WORK = """
import signal, sys, time
from pathlib import Path
starts = Path("starts")
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
starts.open("a").write("x")
if starts.read_text() == "x":
    time.sleep(600)
"""


def test_a_job_that_another_partition_preempts_saves_and_starts_again(
    tmp_path: Path, login: slurm_cluster.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    executor = submitit.AutoExecutor(tmp_path / "slurm", cluster="slurm")
    executor.update_parameters(
        cpus_per_task=2, slurm_partition="study", slurm_mem="1G", slurm_time=60,
        slurm_additional_parameters={"requeue": True},
    )  # fmt: skip
    job = executor.submit(Job("one", str(tmp_path), ((sys.executable, "-c", WORK),), str(tmp_path / "made"))).job_id
    wait("the job", login, (tmp_path / "starts").exists)
    urgent = login("sbatch", "--parsable", "--partition=urgent", "--cpus-per-task=2", "--mem=1G", "--wrap=sleep 1")
    wait("the urgent job", login, lambda: urgent not in login.states())
    wait("the job's second end", login, lambda: not login.states())
    assert (tmp_path / "logs" / "one.log").read_text(encoding="utf-8") == "saved\n"
    assert (tmp_path / "starts").read_text(encoding="utf-8") == "xx"
    assert (tmp_path / "made").is_file()
    assert "DUE TO PREEMPTION" in (tmp_path / "slurm" / f"{job}_0_log.err").read_text(encoding="utf-8")
    assert "Requeued" not in reports(tmp_path, job)  # Slurm did it, not submitit
