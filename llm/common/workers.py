"""Runs as children of a process that has imported what they need: a fork takes milliseconds, the imports seconds.

A child is a process of its own, so a run begins in a state that no other run has touched, ends without taking another
one with it, and has its own processor time and memory. It carries out `python -m llm ARGUMENTS` as a new process would.
What a child had to import, the process that forks imports after it, and the next child finds it there.

Requests and answers are lines of JSON:
    {"id": 1, "argv": [...], "log": "...", "env": {...}}    {"id": 1, "signal": 15}
    {"id": 1, "status": 0}
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 10.0  # seconds to end in, when there is nothing left to do


class Child:
    """A run; what is used of subprocess.Popen."""

    def __init__(self, workers: Workers, number: int) -> None:
        self._workers, self._number = workers, number

    def poll(self) -> int | None:
        """The exit status, minus the number of the signal that ended it; None while it runs."""
        return self._workers.status(self._number)

    def terminate(self) -> None:
        """Ask it to save and stop."""
        self._workers.send({"id": self._number, "signal": int(signal.SIGTERM)})

    def kill(self) -> None:
        """End it at once."""
        self._workers.send({"id": self._number, "signal": int(signal.SIGKILL)})

    def wait(self) -> int:
        """The exit status, when there is one."""
        while (code := self.poll()) is None:
            self._workers.look(0.1)
        return code


class Workers:
    """Starts children: `workers(argv, log, env)`, as `start_process` does. To be closed; none outlives this process.

    The process that forks is started with the first run, in its environment, and again if somebody killed it; the runs
    that it had going then count as killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._statuses: dict[int, int | None] = {}
        self._half = b""

    def __call__(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
        """Start `PYTHON -m llm ...`; both streams go to the end of `log`."""
        number = len(self._statuses)
        request = {"id": number, "argv": list(argv[3:]), "log": str(log.resolve()), "env": dict(env)}
        for _ in range(2):  # one that was killed is noticed at the first try, at the latest
            if self._process is None:
                self._process = _serving(log, env)
            self._statuses[number] = None
            if self.send(request):
                break
        return Child(self, number)

    def status(self, number: int) -> int | None:
        """A child's exit status; None while it runs."""
        self.look(0.0)
        return self._statuses[number]

    def send(self, request: Mapping[str, Any]) -> bool:
        """Whether the request could be handed over."""
        if self._process is None:
            return False
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._lost()
            return False
        return True

    def look(self, seconds: float) -> None:
        """Take in what children have said; wait for it so long at most."""
        if self._process is None:
            return
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], seconds)[0]:
            found = os.read(self._process.stdout.fileno(), 65536)
            if not found:
                self._lost()
                return
            *lines, self._half = (self._half + found).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                self._statuses[answer["id"]] = answer["status"]
            seconds = 0.0

    def close(self) -> None:
        """End it with all its children."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        self._killed()

    def _lost(self) -> None:
        """The process that forks is gone, or cannot be talked to: a new one will be started when it is needed."""
        process, self._process, self._half = self._process, None, b""
        if process is not None:
            _end(process)
        self._killed()

    def _killed(self) -> None:
        self._statuses = {n: -int(signal.SIGKILL) if s is None else s for n, s in self._statuses.items()}


def _serving(log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A new process that forks. What it says before it does is in the log of the run for which it was started."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", "import sys; from llm.common import forks; forks.serve(int(sys.argv[1]))",
             str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, env=dict(env), start_new_session=True,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it end: it does when nothing more can come; or kill it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
