"""Measures for the tests of studies: what they find is the state in which a fork finds its process."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def size(folder: Path) -> dict[str, Any]:
    """Scalars, and a list that no column can hold."""
    steps = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["steps_by_objective"]
    return {"dpo": steps["dpo"], "sft": steps["sft"], "text": "yes", "all": [1, 2]}


def fails(_: Path) -> dict[str, Any]:
    """A measure that cannot."""
    raise KeyError("no such\nanswer")


def no_dict(_: Path) -> list[int]:
    """A result of another kind."""
    return [1]


def look(_: Path) -> dict[str, Any]:
    """The state of this process."""
    import numpy as np
    import torch

    return {
        "pid": os.getpid(), "parent": os.getppid(), "mark": os.environ.get("MARK"), "argv": sys.argv[1:4],
        "torch": torch.initial_seed(), "numpy": float(np.random.random()), "random": random.random(),  # noqa: NPY002
        "threads": torch.get_num_threads(), "grad": torch.is_grad_enabled(), "filters": len(warnings.filters),
        "spoilt": "SPOILT" in os.environ,
        "signals": [repr(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGCHLD)],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "files": _files() if sys.platform == "linux" else [],
    }  # fmt: skip


def _files() -> list[str]:
    return sorted(str(Path(f"/proc/self/fd/{n}").readlink()) for n in (0, 1, 2))


def spoil(_: Path) -> dict[str, Any]:
    """Change whatever a process has for itself."""
    import numpy as np
    import torch

    held = np.ones(50_000_000)  # 400 MB
    torch.manual_seed(7)
    torch.set_num_threads(3)
    torch.set_grad_enabled(False)
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    warnings.filterwarnings("error", message="anything")
    os.environ["SPOILT"] = "yes"
    return {"sum": float(held.sum()), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def hang(folder: Path) -> dict[str, Any]:
    """Tell who it is, and stay."""
    (folder / "pid").write_text(f"{os.getpid()} {os.getppid()}", encoding="utf-8")
    time.sleep(300)
    return {}
