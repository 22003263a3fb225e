"""Set-up of the fork server's process: the standard library's server imports this module before it forks.

In any other process, where `llm.common.processes.SETTINGS` is not in the environment, importing it has no effect.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence

from llm.common.processes import SETTINGS, die_with


def set_up(preload: Sequence[str], log: str) -> None:
    """Import the libraries of the commands to come, and detach this process from its parent's streams and signals.

    preload  "MODULE" or "MODULE:FUNCTION", as `llm.common.processes.ForkServer` takes them
    log      file to which warnings and failures of these imports are appended
    """
    die_with(os.getppid())
    os.setsid()  # Ctrl-C on the terminal must not reach the commands
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # batch systems send SIGTERM to all; commands save first
    with open(log, "ab") as file:  # noqa: PTH123
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    for entry in preload:
        module, _, function = entry.partition(":")
        try:
            loaded = importlib.import_module(module)
            if function:
                getattr(loaded, function)()
        except Exception:  # an import that fails here fails in the command that needs it, which reports it
            traceback.print_exc()
    # Python 3.12 warns of forks where libraries have threads: the threads of linear algebra, which expect forks.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()  # children need not go through all of the imported libraries at every collection


if SETTINGS in os.environ:
    set_up(**json.loads(os.environ.pop(SETTINGS)))
