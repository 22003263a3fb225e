"""A command for tests of child processes: `python -m support.child ACTION FILE`, which reports on its own process."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

PRELOADED: list[int] = []  # process numbers in which `preload` was called


def preload() -> None:
    """Note that this process imported the module ahead of a fork."""
    PRELOADED.append(os.getpid())


def fail_to_preload() -> None:
    """Fail as an import of a broken library does."""
    raise OSError("no such library")


def state() -> dict[str, Any]:
    """Return the state of this process that others could have changed."""
    return {
        "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "mark": os.environ.get("MARK"),
        "spoilt": "SPOILT" in os.environ, "name": __name__, "argv": sys.argv[1:], "cwd": str(Path.cwd()),
        "random": random.random(), "filters": len(warnings.filters),
        "signals": [repr(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)],
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "files": [str(Path(f"/proc/self/fd/{n}").readlink()) for n in (0, 1, 2)] if sys.platform == "linux" else [],
        "settings": [name for name in os.environ if "FORK_SERVER" in name],
        "preloaded": sys.modules["support.child"].PRELOADED if "support.child" in sys.modules else [],
    }  # fmt: skip


def main(action: str, file: str = "") -> int | str | None:
    """Carry out an action; what is returned is the exit status, as `sys.exit` takes it."""
    if action == "state":
        Path(file).write_text(json.dumps(state()), encoding="utf-8")
        return None
    if action == "spoil":
        os.environ["SPOILT"] = "yes"
        random.seed(7)
        warnings.filterwarnings("error", message="anything")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.chdir("/")
        return None
    if action == "hang":
        Path(file).write_text(f"{os.getpid()} {os.getppid()}", encoding="utf-8")
        time.sleep(600)
    if action == "print":
        print("to the output")
        print("to the errors", file=sys.stderr)
        return 3
    if action == "words":
        return "error: in words"
    raise KeyError("no such\naction")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
