"""Commands of `paper_repro.py` as real processes, forked from a process that has imported what a command needs."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0  # seconds; only a test that fails waits for so long


class Command:
    """A command in a session of its own, as a terminal starts it: the part of subprocess.Popen that tests use."""

    def __init__(self, values: dict[str, Any], out: Path, err: Path) -> None:
        self._out, self._err = out, err
        self.returncode: int | None = None
        self.pid: int = _ask({**values, "stdout": str(out), "stderr": str(err)})

    def poll(self) -> int | None:
        """The exit status, minus the signal's number if it was killed; None while it runs."""
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def said(self) -> str:
        """Its output so far."""
        return self._out.read_text(encoding="utf-8")

    def communicate(self) -> tuple[str, str]:
        """Wait for the end; its output and error stream."""
        end = time.monotonic() + DEADLINE
        while self.poll() is None:
            assert time.monotonic() < end, f"it does not end: {self.said()}"
            time.sleep(0.01)
        return self.said(), self._err.read_text(encoding="utf-8")

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; the one of this pytest process."""
    made = subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def close() -> None:
        assert made.stdin is not None
        assert made.stdout is not None
        made.stdin.close()
        made.wait(10)
        made.stdout.close()

    atexit.register(close)
    return made


def _ask(request: dict[str, Any]) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


# --- the other side ---------------------------------------------------------------------------------------------------


def _serve() -> None:
    import gc

    import figures.cli
    import figures.options
    import figures.pipeline.report
    import figures.pipeline.run  # noqa: F401
    import llm.study  # noqa: F401

    os.fsync = lambda _: None  # as in conftest.py
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = _fork(request)
        print(json.dumps(answer), flush=True)


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.path[:1] = [request["folder"], str(ROOT)]
        from figures.cli import main
        from figures.pipeline import jobs, paths

        paths.STUDY = request["study"]
        jobs.LIBRARIES, jobs.MORE_LIBRARIES = tuple(request["libraries"]), ()
        status = main(request["argv"], request["registry"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
