"""Processes forked from this pytest process as it was before its first test, without importing anything again.

Collection has imported torch, transformers and PEFT already. `prepare()`, called when all tests are collected, forks a
process that waits; `start(module)` has that process fork another one, which calls the module's `serve()` with its
standard input and output connected to this process. No test has run in them: no backward pass (after which torch allows
none in a fork), no replaced attribute.
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
_waiting: list[socket.socket] = []  # connection to the process that waits


def prepare() -> None:
    """Fork the process that waits; it ends with this one."""
    ours, theirs = socket.socketpair()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads: xdist's only reads what the controller sends
        pid = os.fork()
    if pid:
        theirs.close()
        _waiting.append(ours)
        atexit.register(ours.close)
        return
    try:
        _begin(keep=theirs.fileno())
        while True:
            name, ends, _, _ = socket.recv_fds(theirs, 200, 1)
            if not name:
                break
            if os.fork() == 0:
                _serve(name.decode(), ends[0])
            os.close(ends[0])
    finally:
        os._exit(0)


def start(module: str) -> tuple[TextIO, TextIO]:
    """Return the standard output and input of a new process that calls `serve()` of a module of `support`."""
    ours, theirs = socket.socketpair()
    socket.send_fds(_waiting[0], [module.encode()], [theirs.fileno()])
    theirs.close()
    streams = ours.makefile("r", encoding="utf-8"), ours.makefile("w", encoding="utf-8")
    ours.close()
    return streams


def _begin(keep: int) -> None:
    """Undo in this fork all that belongs to pytest: open files, streams, warning filters, hooks and handlers."""
    faulthandler.disable()
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    logging.getLogger().handlers.clear()
    _log_to_stderr()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes
    os.chdir(ROOT)


def _log_to_stderr() -> None:
    """Have the handlers of libraries, which were imported while pytest captured, write to this fork's standard error.

    Their files are closed. What they write to the number of a closed file reaches any file that has this number later:
    a warning in a socket between two processes makes both wait for ever.
    """
    for logger in list(logging.Logger.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if "stream" in vars(handler):  # others look for the standard error at every line
                handler.stream = sys.stderr


def _serve(module: str, connection: int) -> None:
    """Carry out `serve()` of a module in this fork, with the connection as its standard input and output."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(connection, 0)
        os.dup2(connection, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        importlib.import_module(module).serve()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)
