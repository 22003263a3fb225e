"""Progress of a long computation: when it is shown, what is counted, and what Ctrl-C does."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from toyopt import progress
from toyopt.progress import Progress, counted

ROOT = Path(__file__).parents[2]


def test_a_loop_is_not_touched_where_no_progress_is_shown() -> None:
    items = [1, 2, 3]
    assert counted(items, 3, "steps") is items


def test_a_short_computation_shows_nothing(capsys) -> None:
    with Progress("claim A"):
        assert list(counted(iter("abc"), 3, "steps")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


class Stream(io.StringIO):
    """An error stream, of a terminal or not; `wait` returns as soon as a text has been written."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal, self.changed = terminal, threading.Condition()

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        with self.changed:
            self.changed.notify_all()
            return super().write(text)

    def wait(self, text: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.getvalue(), timeout=60)


def test_a_long_loop_shows_its_numbers_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("claim A", after=0.01, every=0.01):
        for n in counted(range(1000), 1000, "steps"):
            if n == 500:
                stream.wait("claim A: steps, 500 of 1,000, about ")
        stream.wait("claim A: computing for ")  # no loop is left


def test_what_is_left_is_in_proportion_to_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress("claim A") as shown:
        clock[0] = 10.0
        outer = iter(counted(range(5), 5, "settings"))
        next(outer)
        assert shown.line() == "claim A: settings, 0 of 5"
        clock[0] = 30.0
        next(outer)
        assert shown.line() == "claim A: settings, 1 of 5, about 80 s left"
        inner = iter(counted(range(100), 100, "steps"))
        next(inner)
        assert shown.line() == "claim A: steps, 0 of 100"
        assert list(inner) == list(range(1, 100))
        assert shown.line() == "claim A: settings, 1 of 5, about 80 s left"


def test_a_terminal_has_one_bar_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("claim A", after=0.01):
        for n in counted(range(4), 4, "steps"):
            if n == 1:
                stream.wait("steps")
    assert "claim A" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")  # the line is erased


def test_the_handling_of_signals_is_put_back() -> None:
    before = signal.set_wakeup_fd(-1)
    try:
        with Progress("claim A"):
            assert signal.set_wakeup_fd(-1) >= 0
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)


def interrupt(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code until it prints "ready", send SIGINT, and return its end.

    The child does not ignore the signal, as it would below a command in the background.
    """
    command = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    finally:
        signal.signal(signal.SIGINT, before)
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=100)
        finally:
            child.kill()
    return subprocess.CompletedProcess(command, child.returncode, out, err)


@pytest.mark.slow
@pytest.mark.process
def test_ctrl_c_ends_a_claim_with_one_line() -> None:
    code = """
import sys
from dataclasses import replace
from toyopt import cli, claims
def judge():
    print("ready", flush=True)
    while True:
        pass
claims.CLAIMS["A.6"] = replace(claims.CLAIMS["A.6"], judge=judge)
sys.exit(cli.main(["claim", "A.6"]))
"""
    ended = interrupt(code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.slow
@pytest.mark.process
def test_ctrl_c_ends_a_compiled_loop_that_does_not_notice_it() -> None:
    code = """
import math
import threading
import time
from numba import njit
from toyopt import progress
def ready():
    begun = time.process_time()
    while time.process_time() < begun + 0.3:  # of the loop: a signal before it would be noticed as usual
        time.sleep(0.01)
    print("ready", flush=True)
@njit(nogil=True)
def spin(n):
    x = 0.0
    for i in range(n):
        x = math.sin(x + i)
    return x
spin(1)
progress.GRACE = 0.1
with progress.Progress("claim A"):
    threading.Thread(target=ready, daemon=True).start()
    spin(10**12)
"""
    ended = interrupt(code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "error: interrupted\n")
