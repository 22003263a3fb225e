"""Peak memory of a side beyond imports, weights and rows: `python -m benchmarks.llm_memory SIDE SIZE`.

Every measurement has a process of its own. On a GPU it is the memory that torch allocates; on a CPU the resident set,
whose high-water mark can be reset on Linux.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.llm_rows import Workload, described, read

ROOT = Path(__file__).parents[1]
# Without these glibc keeps freed blocks, some on some sides, and the figures jump.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def side(name: str, size: Workload) -> Callable[[], object]:
    """Return the side of a comparison by its name, ready to be called."""
    from benchmarks import llm_authors, llm_ours, llm_trl
    from toyopt.algorithms import DPO, SFT

    sides: dict[str, Callable[[], Callable[[], object]]] = {
        "llm sft": lambda: llm_ours.single(size, SFT),
        "llm dpo": lambda: llm_ours.single(size, DPO),
        "llm alright": lambda: llm_ours.alright(size),
        "llm sft checkpointing": lambda: llm_ours.single(size, SFT, gradient_checkpointing=True),
        "llm dpo checkpointing": lambda: llm_ours.single(size, DPO, gradient_checkpointing=True),
        "trl sft": lambda: llm_trl.sft(size),
        "trl dpo": lambda: llm_trl.dpo(size, precomputed=False),
        "trl dpo precomputed": lambda: llm_trl.dpo(size, precomputed=True),
        "trl sft, head on labels only": lambda: llm_trl.sft(size, compact=True),
        "trl dpo, head on labels only": lambda: llm_trl.dpo(size, precomputed=False, compact=True),
        "trl sft checkpointing": lambda: llm_trl.sft(size, checkpointing=True),
        "trl dpo checkpointing": lambda: llm_trl.dpo(size, precomputed=False, checkpointing=True),
        "authors": lambda: llm_authors.alright(size),
    }
    return sides[name]()


def resident(name: str) -> int:
    """Return VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def peak(call: Callable[[], object]) -> int:
    """Return the peak memory of a call in bytes, less the memory held before the call."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return int(torch.cuda.max_memory_allocated() - before)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark begins anew
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


class EndedError(RuntimeError):
    """A process that measures a side ended without a result."""


def measured(name: str, size: Workload) -> int:
    """Return `peak` of a side in bytes, measured in a new process with one thread; EndedError if it ended before."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.llm_memory", name, described(size)]
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        killed = "; the system kills what needs more memory than there is" if done.returncode == -signal.SIGKILL else ""
        raise EndedError(f"the process that measures {name} ended with status {done.returncode}{killed}")
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    import datasets

    datasets.disable_progress_bars()
    print(peak(side(sys.argv[1], read(sys.argv[2]))))
