"""Runs of `python -m llm` that can be killed, without paying for imports every time.

`server()` is a process that has imported the libraries of a run and does nothing else; it forks a child for every run,
or several that train together, with the environment that `torchrun` and `accelerate launch` would give them.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import forks, launchers

PATIENCE = 240.0  # seconds until a run counts as hanging; a run takes about one


@dataclass
class Job:
    """A run that was started: its processes, and what it said."""

    pids: list[int]
    log: Path
    statuses: list[int] | None = None

    @property
    def status(self) -> int:
        """The first process' exit status; minus the signal's number if it was killed."""
        assert self.statuses is not None
        return self.statuses[0]

    @property
    def said(self) -> str:
        """Its output and error stream."""
        logs = [self.log, *(self.log.with_name(f"{self.log.name}.{j}") for j in range(1, len(self.pids)))]
        return "".join(path.read_text(encoding="utf-8") for path in logs)

    def kill(self, number: signal.Signals = signal.SIGKILL, *, first: bool = False) -> None:
        """To all of its processes, or to the first one."""
        for pid in self.pids[:1] if first else self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


class Server:
    """The process that forks; one job at a time."""

    def __init__(self) -> None:
        self._out, self._in = forks.start(__name__)

    def start(
        self,
        argv: list[str],
        log: Path,
        *,
        after: Sequence[list[str]] = (),
        world: int = 1,
        kill_at: int = 0,
        kill_path: str = "",
        script: str = "",
        **env: str,
    ) -> Job:
        """`python -m llm ARGV`, in `world` processes.

        after      commands that the same processes carry out afterwards, up to the first that fails
        kill_at    the run kills itself, as SIGKILL does, right before it changes files for the n-th time; 0: never
        kill_path  only changes of paths with these words count
        script     Python source to carry out instead of a command, with `argv` as its arguments
        """
        if world > 1:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
        kill = {"kill_at": kill_at, "kill_path": kill_path}
        self._write({"commands": [argv, *after], "script": script, "log": str(log), "world": world, "env": env, **kill})
        return Job(self._read()["pids"], log)

    def wait(self, job: Job) -> int:
        """Until all processes of the job have ended; the first one's status."""
        job.statuses = self._read()["statuses"]
        return job.status

    def run(self, argv: list[str], log: Path, **more: Any) -> Job:
        """`start` and `wait`."""
        job = self.start(argv, log, **more)
        self.wait(job)
        return job

    def close(self) -> None:
        """End the process: nothing more can come."""
        self._in.close()
        self._out.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._in.write(json.dumps(values) + "\n")
        self._in.flush()

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._out.readline())
        return found


@functools.cache
def server() -> Server:
    """The one of this pytest process."""
    made = Server()
    atexit.register(made.close)
    return made


def command(folder: Path, **options: Any) -> list[str]:
    """`train --config FILE` for these options; the file lies beside the run's folder."""
    path = folder.with_suffix(".yaml")
    path.write_text(json.dumps({**options, "out": str(folder)}), encoding="utf-8")  # JSON is YAML
    return ["train", "--config", str(path)]


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the machine's mood."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "cpu_seconds", "memory_mb")} for line in found]


def weights(folder: Path) -> bytes:
    """The finished adapter's file."""
    return (folder / "adapter_model.safetensors").read_bytes()


@contextmanager
def patience(what: str) -> Iterator[Any]:
    """A function to call in a loop that waits for something; it fails when it has taken too long."""
    end = time.monotonic() + PATIENCE

    def still() -> None:
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.005)

    yield still


# --- the other side ---------------------------------------------------------------------------------------------------


def serve() -> None:
    """Fork a job for every line of the standard input; write its process numbers, then its statuses."""
    sys.argv = ["llm"]
    os.environ.update({"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
    os.environ.update({"COLUMNS": "120", "PYTHONPATH": str(forks.ROOT)})
    import torch.distributed.fsdp  # noqa: F401

    import llm.cli
    import llm.training.optima  # noqa: F401
    from llm.study.preload import import_libraries

    import_libraries()
    gc.collect()
    gc.freeze()  # children need not go through all of the imported libraries at every collection
    for line in sys.stdin:
        job = json.loads(line)
        pids = [_fork(job, rank) for rank in range(job["world"])]
        print(json.dumps({"pids": pids}), flush=True)
        print(json.dumps({"statuses": _reap(pids)}), flush=True)


def _reap(pids: list[int]) -> list[int]:
    """Statuses of all; like torchrun, it ends the others when one has failed."""
    found: dict[int, int] = {}
    end = time.monotonic() + PATIENCE
    while len(found) < len(pids):
        for pid in [p for p in pids if p not in found]:
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                found[pid] = os.waitstatus_to_exitcode(status)
                end = min(end, time.monotonic() + 2.0) if found[pid] else end  # the others may be about to end
            elif time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return [found[pid] for pid in pids]


def _fork(job: dict[str, Any], rank: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.environ.update(job["env"])
        if job["world"] > 1:
            os.environ.update(
                {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                | {name: str(job["world"]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
            )
        log = os.open(job["log"] + (f".{rank}" if rank else ""), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        launchers.allow_cpu()
        if job["kill_at"]:
            sys.addaudithook(_Killer(job["kill_at"], job["kill_path"]))
        if job["script"]:
            sys.argv = ["-c", *job["commands"].pop(0)]
            exec(compile(job["script"], "script", "exec"), {"__name__": "__main__"})
        from llm.cli import main

        status = next(filter(None, map(main, job["commands"])), 0)
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Killer:
    """Kills its own process before the n-th change to a file or folder that Python makes."""

    CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")

    def __init__(self, n: int, words: str) -> None:
        self.left, self.words = n, words

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in self.CHANGES) and any(self.words in str(path) for path in args[:2]):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
