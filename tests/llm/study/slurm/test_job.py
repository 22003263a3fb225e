"""A job on a node: commands, failures, and the signals on which a command saves and the job is requeued."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("submitit")

from submitit import JobEnvironment
from submitit.core.job_environment import SignalHandler
from submitit.core.utils import DelayedSubmission, JobPaths
from support import slurm_fakes

from llm.study.slurm.job import Job, JobError, preemption_signal

# A command that writes a line, and on SIGTERM saves and ends as a run does.
WORK = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
print("started", flush=True)
time.sleep(60)
"""


def job(root: Path, *sources: str, done: str = "") -> Job:
    return Job("one", str(root), tuple((sys.executable, "-c", source) for source in sources), done)


def log(root: Path) -> list[str]:
    path = root / "logs" / "one.log"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[slurm_fakes.Slurm]:
    """Submitit's own handler of the signal, on a fake Slurm whose commands are recorded."""
    fake = slurm_fakes.Slurm(tmp_path / "fake", monkeypatch)
    for name, value in {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    fake.queue({"7": "RUNNING"})
    before = {s: signal.getsignal(s) for s in (preemption_signal(), signal.SIGTERM, signal.SIGCONT)}
    submission = DelayedSubmission(job(tmp_path, WORK))
    submission.set_timeout(60, 3)
    handler = SignalHandler(JobEnvironment(), JobPaths(tmp_path, "7", 0), submission)
    signal.signal(preemption_signal(), handler.checkpoint_and_try_requeue)
    yield fake
    for number, old in before.items():
        signal.signal(number, old)


def later(root: Path, number: int, *, child: bool = False) -> None:
    """Send a signal to this process, or to its child alone, once the child has started."""

    def wait() -> None:
        while "started" not in log(root):
            time.sleep(0.01)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
        os.kill(int(children[-1]) if child else os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.slow
@pytest.mark.process
def test_commands_are_carried_out_in_order(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    failure = root / "logs" / "one.failed.json"
    failure.write_text("{}", encoding="utf-8")
    job(root, "print('a')", "import os; print(os.environ['OMP_NUM_THREADS'])", done=str(root / "slurm" / "made"))()
    assert log(root) == ["a", "5"]
    assert (root / "slurm" / "made").read_text(encoding="utf-8") == "one\n"
    assert not failure.exists()


@pytest.mark.slow
@pytest.mark.process
def test_the_first_command_that_fails_is_named_with_its_log(root: Path) -> None:
    failing = job(root, "print('a')", "import sys; print('no such file'); sys.exit(3)", "print('never')", done="made")
    with pytest.raises(JobError, match=r"one failed \(exit status 3\); its log is .*logs/one.log"):
        failing()
    assert log(root) == ["a", "no such file"]
    saved = json.loads((root / "logs" / "one.failed.json").read_text(encoding="utf-8"))
    assert saved == {"status": 3, "last": ["a", "no such file"]}
    assert not Path("made").exists()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("child", [False, True], ids=["slurm's signal", "SIGTERM to the command"])
def test_a_preempted_command_saves_and_the_job_is_requeued(root: Path, handled: slurm_fakes.Slurm, child: bool) -> None:
    later(root, signal.SIGTERM if child else preemption_signal(), child=child)
    with pytest.raises(SystemExit):
        job(root, WORK)()
    assert log(root) == ["started", "saved"]
    assert handled.calls()[-1] == "scontrol requeue 7"
    assert not (root / "logs" / "one.failed.json").exists()
    again = DelayedSubmission.load(JobPaths(root, "7", 0).submitted_pickle)
    assert again.function == job(root, WORK)


@pytest.mark.slow
@pytest.mark.process
def test_a_cancelled_job_saves_and_is_not_requeued(root: Path, handled: slurm_fakes.Slurm) -> None:
    handled.queue({"7": "COMPLETING"})
    later(root, signal.SIGTERM, child=True)
    with pytest.raises(JobError, match=r"was stopped \(exit status 130\)"):
        job(root, WORK)()
    assert log(root) == ["started", "saved"]
    assert not any("requeue" in call for call in handled.calls())
    assert not (root / "logs" / "one.failed.json").exists()  # interrupted, not failed


@pytest.mark.slow
@pytest.mark.process
def test_commands_ignore_the_signal_that_slurm_sends_to_all_processes(root: Path) -> None:
    source = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('alive')"
    job(root, source)()
    assert log(root) == ["alive"]
