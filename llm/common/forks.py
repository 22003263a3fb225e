"""The process that forks: it has imported what a run needs, and a child for every request begins with that.

Requests come on the standard input, answers go to the standard output; see `llm.study.workers`, which starts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any


def die_with(parent: int) -> None:
    """This process is killed when `parent` ends, however that ends. On Linux; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), signal.SIGKILL)


class _Server:
    """Forks a child for each request, tells how each ended, and ends with all of them when nothing more can come."""

    def __init__(self) -> None:
        self.answers = os.dup(1)
        os.dup2(2, 1)  # what is printed here must not stand between the answers
        os.set_inheritable(self.answers, False)
        self.ended, wake = os.pipe()
        os.set_blocking(wake, False)
        self.wake = wake
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):  # a scheduler may send them to all; children are to save first
            signal.signal(number, signal.SIG_IGN)
        self.children: dict[int, tuple[int, IO[str]]] = {}  # pid: (id, file for the names of what it imported)
        self.half = b""
        self.known: set[str] = set()

    def serve(self) -> None:
        """Until nothing more can come."""
        while self._requests():
            self._reap()
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            os.waitpid(pid, 0)

    def _requests(self) -> bool:
        ready = select.select([0, self.ended], [], [])[0]
        if self.ended in ready:
            os.read(self.ended, 4096)
        if 0 in ready:
            found = os.read(0, 65536)
            if not found:
                return False
            *lines, self.half = (self.half + found).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if "signal" in request:
                    for pid in [p for p, (number, _) in self.children.items() if number == request["id"]]:
                        os.kill(pid, request["signal"])
                else:
                    self._fork(request)
        return True

    def _fork(self, request: dict[str, Any]) -> None:
        names = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (read when the child has ended)
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _carry_out(request, server, names, (self.answers, self.ended, self.wake))
        self.children[pid] = request["id"], names

    def _reap(self) -> None:
        imported: list[str] = []
        for pid in list(self.children):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                number, names = self.children.pop(pid)
                answer = {"id": number, "status": os.waitstatus_to_exitcode(status)}
                os.write(self.answers, json.dumps(answer).encode() + b"\n")
                with names:
                    names.seek(0)
                    imported += names.read().split()
        self._import(imported)

    def _import(self, names: Sequence[str]) -> None:
        """What a child had to import."""
        import gc
        import importlib

        new = [name for name in names if name not in sys.modules and name not in self.known]
        self.known |= set(new)
        for name in new:
            with contextlib.suppress(Exception):  # it only saves time: a child imports it by itself, and tells why not
                importlib.import_module(name)
        if new:
            gc.collect()
            gc.freeze()


def _carry_out(request: Mapping[str, Any], server: int, names: IO[str], close: Sequence[int]) -> None:
    """The child: the command, as in a process of its own. Does not return."""
    import random

    status = 1
    try:
        die_with(server)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor in close:
            os.close(descriptor)
        for at, descriptor in ((0, null), (1, log), (2, log)):
            os.dup2(descriptor, at)
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["llm", *request["argv"]]
        random.seed()
        before = set(sys.modules)
        status = _call(request["argv"])
        names.write("\n".join(name for name in list(sys.modules) if name not in before))
        names.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _call(argv: Sequence[str]) -> int:
    from llm.cli import main

    try:
        return main(argv)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def import_all() -> None:
    """What every run needs, also where it is imported when it is needed."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import tyro  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler  # noqa: F401

    import llm.training.run  # noqa: F401
    from llm.cli import config_from

    config_from([], "train", "")  # reading the options for the first time takes as long as some runs' training


def serve(parent: int) -> None:
    """Serve the process `parent`, on the standard streams, as long as it lives."""
    import gc
    import warnings

    die_with(parent)
    server = _Server()
    import_all()
    # Python 3.12 warns of forks where libraries have threads: those of the linear algebra, which are made for it.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    gc.collect()
    gc.freeze()  # children need not go through all of the imported libraries at every collection
    server.serve()
