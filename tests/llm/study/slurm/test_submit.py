"""What a study asks of Slurm: arrays, dependencies and resources, on commands that record their calls."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.slurm_fakes import Slurm
from support.study_fakes import BASE, finish, start_or_resume
from support.wrong import fails

pytest.importorskip("torch")
pytest.importorskip("submitit")

from submitit.core.utils import DelayedSubmission

from llm.study import Grid, status
from llm.study.slurm import submit
from llm.study.slurm.job import Job
from llm.study.slurm.queue import add_jobs, read_jobs
from llm.study.slurm.submit import MOST, Submission, submit_study

COMPUTED = dataclasses.replace(BASE, f_star="compute")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(tmp_path / "fake", monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my study"


def pickled(root: Path, job: str) -> Job:
    """The job that submitit has kept for the node."""
    found = DelayedSubmission.load(root / "slurm" / f"{job}_submitted.pkl").function
    assert isinstance(found, Job)
    return found


@pytest.mark.slow
@pytest.mark.process
def test_the_runs_are_one_array_after_their_preparations(root: Path, slurm: Slurm) -> None:
    grid = Grid(COMPUTED, lams=(0.25, 0.5))
    submission = submit_study(grid, root)
    names = [run.name for run in grid.runs()]
    assert len(names) == 10
    parts = [name.partition("-")[0] for name in submission.submitted]
    assert parts[:3] == ["base", "reference", "optima"]
    assert list(submission.submitted)[3:] == names
    assert list(submission.submitted.values()) == ["11", "12", "13", *(f"14_{i}" for i in range(10))]
    scripts = slurm.submitted()
    assert [s.options.get("dependency") for s in scripts] == [None, "afterok:11", "afterok:11:12", "afterok:11:12:13"]
    assert [s.options.get("array") for s in scripts] == [None, None, None, "0-9%10"]
    for script in scripts:
        assert script.options["requeue"] is True
        assert script.options["kill-on-invalid-dep"] == "yes"  # a run without its preparation would wait for ever
        assert script.options["signal"] == "USR2@90"
        assert script.options["job-name"] == "my study"
        assert script.options["nodes"] == "1"
    assert read_jobs(root) == submission.submitted
    assert submission == Submission((), (), submission.submitted, ())


@pytest.mark.slow
@pytest.mark.process
def test_jobs_carry_out_the_commands_of_a_study(root: Path, slurm: Slurm) -> None:
    grid = Grid(COMPUTED, methods=("mix", "alright"), measures=("answers",))
    submit_study(grid, root)
    place = str(root.resolve())
    python = [sys.executable, "-m", "llm", "study"]
    for number, part in (("11", "base"), ("12", "reference"), ("13", "optima")):
        job = pickled(root, number)
        (argv,) = job.commands
        assert list(argv[:6]) == [*python, "prepare", "--config"]
        assert Path(argv[6]).is_file()
        assert list(argv[7:]) == ["--part", part]
        assert (job.root, job.done) == (place, f"{place}/slurm/made/{job.name}")
    for i, run in enumerate(grid.runs()):
        job = pickled(root, f"14_{i}")
        assert (job.name, job.root, job.done) == (run.name, place, "")
        config = str(root / "configs" / f"{run.name}.yaml")
        assert job.commands == ((*python, "one", "--config", config, "--measures", "answers"),)
    assert "export PYTHONPATH=" in slurm.submitted()[-1].text


@pytest.mark.slow
@pytest.mark.process
def test_every_seed_waits_for_its_own_preparations_only(root: Path, slurm: Slurm) -> None:
    grid = Grid(BASE, methods=("mix", "alright"), seeds=(1, 2))
    jobs = submit_study(grid, root).submitted
    scripts = slurm.submitted()
    assert [s.options.get("array") for s in scripts] == [None, "0-1%2", "0-1%2", "0-1%2"]
    assert [s.options.get("dependency") for s in scripts] == [
        None, "afterok:11", "afterok:11:12_0", "afterok:11:12_1",
    ]  # fmt: skip
    for run in grid.runs():
        assert jobs[run.name].partition("_")[0] == ("13" if run.config.seed == 1 else "14")


@pytest.mark.slow
@pytest.mark.process
def test_the_record_of_jobs_grows_by_each_array_and_is_not_written_anew(
    root: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each array the record begins with the bytes that it had before, in the same file on disk."""
    seen: list[tuple[int, bytes]] = []
    once = submit.add_jobs

    def add(folder: Path, jobs: Mapping[str, str]) -> None:
        once(folder, jobs)
        (file,) = (folder / "slurm").glob("jobs.json*")
        seen.append((file.stat().st_ino, file.read_bytes()))

    monkeypatch.setattr(submit, "add_jobs", add)
    jobs = submit_study(Grid(BASE, methods=("mix",), seeds=tuple(range(6))), root).submitted
    assert len(seen) == len(slurm.submitted()) == 2 + 6  # bases, references, and an array for each seed's runs
    assert len({inode for inode, _ in seen}) == 1
    assert all(after.startswith(before) for (_, before), (_, after) in itertools.pairwise(seen))
    assert [text.count(b"\n") for _, text in seen] == list(range(1, 9))
    assert read_jobs(root) == jobs


@pytest.mark.slow
@pytest.mark.process
def test_a_second_call_submits_what_is_missing_and_not_queued(root: Path, slurm: Slurm) -> None:
    grid = Grid(BASE, methods=("mix", "alright", "maxright"))
    first = submit_study(grid, root)
    names = [run.name for run in grid.runs()]
    slurm.queue({"11": "RUNNING", "12": "PENDING", "13_0": "PENDING", "13_1": "PENDING", "13_2": "PENDING"})
    again = submit_study(grid, root)
    assert (again.submitted, again.queued) == ({}, tuple(names))
    assert len(slurm.submitted()) == 3
    # A further run depends on the preparations that are queued already.
    more = submit_study(dataclasses.replace(grid, lams=(0.25, 0.5)), root)
    assert len(more.submitted) == 3
    assert slurm.submitted()[-1].options["dependency"] == "afterok:11:12"
    # All has ended: one run is finished, one failed, one was cancelled; the preparations have been made.
    slurm.queue({})
    runs = {run.name: run for run in grid.runs()}
    finish(runs[names[0]].folder(root), runs[names[0]].placed(root).as_dict())
    failed = root / "logs" / f"{names[1]}.failed.json"
    failed.write_text(json.dumps({"status": 3, "last": ["a", "no such file"]}), encoding="utf-8")
    before = {s.run.name: (s.state, s.note) for s in status(grid, root)}
    assert before == {
        names[0]: ("finished", ""), names[1]: ("failed", "no such file"), names[2]: ("missing", "job 13_2 has ended"),
    }  # fmt: skip
    last = submit_study(grid, root)
    assert last.finished == (names[0],)
    assert sorted(last.submitted) == sorted(names[1:])
    assert last.failed == (
        f"{names[1]} failed (exit status 3): no such file; log: {root / 'logs' / names[1]}.log",
    )  # fmt: skip
    assert "dependency" not in slurm.submitted()[-1].options  # the finished run's folder shows that they exist
    assert not failed.exists()
    assert first.submitted[names[1]] != last.submitted[names[1]]


@pytest.mark.slow
@pytest.mark.process
def test_a_preparation_that_a_job_has_made_is_not_made_again(root: Path, slurm: Slurm) -> None:
    grid = Grid(BASE, methods=("mix",))
    for name in submit_study(grid, root).submitted:
        if name.startswith("base"):
            (root / "slurm" / "made").mkdir()
            (root / "slurm" / "made" / name).touch()
    parts = [name.partition("-")[0] for name in submit_study(grid, root).submitted]
    assert parts == ["reference", "mix"]
    assert [s.options.get("dependency") for s in slurm.submitted()[3:]] == [None, "afterok:14"]


@pytest.mark.slow
@pytest.mark.process
def test_options_of_sbatch_and_a_launcher(root: Path, slurm: Slurm) -> None:
    given = ("partition=long", "account=me", "qos=low", "time=2:00:00", "gpus-per-node=a100:2", "reservation=mine",
             "cpus_per_task=8", "array-parallelism=3", "setup=module load cuda", "mem=50G", "exclusive=true",
             "job-name=ours")  # fmt: skip
    launcher = "accelerate launch --multi_gpu --num_processes 2"
    grid = Grid(BASE, lams=(0.5,), measures=("answers",))
    submit_study(grid, root, slurm=given, launcher=launcher)
    script = slurm.submitted()[-1]
    wanted = {
        "partition": "long", "account": "me", "qos": "low", "time": "120", "gpus-per-node": "a100:2", "mem": "50G",
        "reservation": "mine", "cpus-per-task": "8", "exclusive": True, "array": "0-4%3", "job-name": "ours",
    }  # fmt: skip
    assert {k: v for k, v in script.options.items() if k in wanted} == wanted
    assert "\nmodule load cuda\n" in script.text
    assert " --cpus-per-task=8 " in script.text.splitlines()[-1]  # of srun, which does not take it from sbatch
    run = grid.runs()[0]
    config = str(root / "configs" / f"{run.name}.yaml")
    train, measure = pickled(root, "13_0").commands
    assert train == (*launcher.split(), "-m", "llm", "train", "--config", config)
    assert measure[3:] == ("study", "one", "--config", config, "--measures", "answers")
    assert pickled(root, "12").commands[0][0] == sys.executable  # preparations are one process


@pytest.mark.slow
@pytest.mark.process
def test_a_trained_run_is_only_measured(root: Path, slurm: Slurm) -> None:
    grid = Grid(BASE, methods=("mix",), measures=("size=support.study_measures:size",))
    (run,) = grid.runs()
    finish(run.folder(root), run.placed(root).as_dict())
    assert list(submit_study(grid, root, launcher="torchrun").submitted) == [run.name]
    assert "dependency" not in slurm.submitted()[0].options
    assert [argv[3:5] for argv in pickled(root, "11").commands] == [("study", "one")]


@pytest.mark.slow
@pytest.mark.process
def test_optima_are_prepared_for_the_rule_that_reads_all_of_them(root: Path, slurm: Slurm) -> None:
    grid = Grid(dataclasses.replace(COMPUTED, preference_loss="ipo"), methods=("mix", "maxright"), lams=(0.5,))
    submit_study(grid, root)
    (argv,) = pickled(root, "13").commands
    assert Path(argv[6]).stem.startswith("maxright")
    assert [pickled(root, f"14_{i}").name.partition("-")[0] for i in range(2)] == ["mix", "maxright"]
    assert len(slurm.submitted()) == 4


def test_arrays_are_no_longer_than_slurm_accepts() -> None:
    from llm.study.slurm.submit import Task, _arrays

    (run,) = Grid(BASE, methods=("mix",)).runs()
    tasks = [Task(Job(f"mix-{i}", "", ()), run, ()) for i in range(MOST + 1)]
    assert [len(array) for array in _arrays(tasks)] == [1000, 1]


@pytest.mark.slow
@pytest.mark.process
def test_refusals_are_one_line_and_keep_what_was_submitted(root: Path, slurm: Slurm) -> None:
    grid = Grid(BASE, methods=("mix",))
    (slurm.folder / "refuse").write_text("sbatch: error: invalid partition specified: nowhere\n", encoding="utf-8")
    fails(
        lambda: submit_study(grid, root, slurm=("partition=nowhere",)), ValueError, "slurm: sbatch refuses", "nowhere"
    )
    assert read_jobs(root) == {}
    (slurm.folder / "refuse").unlink()
    submit_study(grid, root)
    (slurm.folder / "broken").write_text("error: Unable to contact slurm controller\n", encoding="utf-8")
    fails(lambda: submit_study(grid, root), ValueError, "executor: squeue failed", "submitted twice")
    assert len(slurm.submitted()) == 3


def test_wrong_input(root: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    grid = Grid(BASE, methods=("mix",))
    fails(lambda: submit_study(grid, root, slurm="time=5"), TypeError, "slurm: must be a list", "time=5")
    fails(lambda: submit_study(grid, root, launcher=5), TypeError, "launcher: ", "5")  # type: ignore[arg-type]
    fails(lambda: submit_study(grid, root, slurm=("array=1-5",)), ValueError, "slurm: array is set", "array=1-5")
    root.mkdir()
    with FileLock(root / ".lock"):
        fails(lambda: submit_study(grid, root), ValueError, "root: another study is running", "--root")
    other = dataclasses.replace(BASE, model="some/model", device="cpu")
    fails(lambda: submit_study(Grid(other), root), ValueError, "slurm: the duration of a run of some/model", "time=")
    assert slurm.submitted() == []
    monkeypatch.setenv("PATH", os.devnull)
    fails(lambda: submit_study(grid, root), ValueError, "executor: slurm needs sbatch", "--executor local")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    fails(
        lambda: submit_study(grid, root),
        ValueError,
        "executor: slurm needs submitit, which is not",
        "pip install -e '.[slurm]'",
    )


def test_states_from_the_queue_and_from_the_files(root: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3, 0.4, 0.5))
    runs = grid.runs()
    add_jobs(root, {run.name: f"5_{i}" for i, run in enumerate(runs)})
    slurm.queue({"5_0": "PENDING", "5_1": "RUNNING", "5_2": "RUNNING", "5_3": "PENDING"})
    for run in (runs[2], runs[3], runs[4]):  # begun on another node, whose locks are not seen here
        start_or_resume(run.folder(root))
    assert [(s.state, s.step, s.note) for s in status(grid, root)] == [
        ("queued", 0, "job 5_0"), ("prepares", 0, ""), ("running", 2, ""), ("queued", 2, "job 5_3"),
        ("stopped", 2, "job 5_4 has ended"),
    ]  # fmt: skip
    monkeypatch.setenv("PATH", os.devnull)  # a node without squeue
    assert [(s.state, s.note) for s in status(grid, root)] == [
        ("queued", "job 5_0"), ("queued", "job 5_1"), *[("stopped", "")] * 3,
    ]  # fmt: skip
