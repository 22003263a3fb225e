"""Times of fresh processes: imports, the first simulation, the CLI. The compile cache is warm throughout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import Row, interleave

ROOT = Path(__file__).parents[1]
FIRST = (
    "from toyopt import *; from toyopt.examples import Figure2; f = Figure2(); "
    "simulate(f.problem(), Alright(0.5), Constant(0.01), theta0=f.start, steps=10_000)"
)


def python(*arguments: str) -> Callable[[], object]:
    """Return a call that runs a fresh interpreter to its end and raises CalledProcessError if it fails."""
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


def imports() -> list[Row]:
    """Time (e): processes that import toyopt, its compiled loop (which the first simulation loads), NumPy, nothing."""
    calls = {
        "import toyopt": python("-c", "import toyopt"),
        "import toyopt, toyopt._kernel (numba)": python("-c", "import toyopt, toyopt._kernel"),
        "import numpy": python("-c", "import numpy"),
        "nothing": python("-c", "pass"),
    }
    return [Row("import", "process", interleave(calls, 9), {"import toyopt": 0.5})]


def first() -> list[Row]:
    """Time (f): a process that imports, loads the compiled loop and runs two simulations, beside the imports alone."""
    calls = {
        "import and simulate": python("-c", FIRST),
        "import toyopt, toyopt._kernel (numba)": python("-c", "import toyopt, toyopt._kernel"),
    }
    return [Row("first simulation", "process", interleave(calls, 7))]


def cli() -> list[Row]:
    """Time (g): `python paper_repro.py fig2` into an empty folder, so that nothing but compiled code is cached."""

    def fig2() -> object:
        out = tempfile.mkdtemp(prefix="toyopt-bench-")
        try:
            return python("paper_repro.py", "fig2", "--out", out)()
        finally:
            shutil.rmtree(out)

    return [
        Row(
            "paper_repro.py fig2",
            "process",
            interleave({"paper_repro.py fig2": fig2}, 3),
            {"paper_repro.py fig2": 10.0},
        )
    ]
