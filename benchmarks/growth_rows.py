"""Curves against the rows of a set: `python -m benchmarks.growth_rows SIDE ROWS` measures one side in its own process.

A set is a generated .jsonl file of prompts and completions of 12 words each. The first step is that of a tiny model.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.growth import Curve, measured
from benchmarks.llm_memory import MALLOC, resident
from benchmarks.llm_rows import Size
from benchmarks.timing import Row

ROOT = Path(__file__).parents[1]
MODEL = Size(vocabulary=2352, hidden=16, layers=1, heads=2)
WORDS = 12  # of a text
PAIRS = 100_000
AGAIN_BAR = 10.0  # seconds until so many pairs are ready the second time


def texts(rows: int, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield rows of random texts of 12 words, the first column's with a space at the end."""
    rng = np.random.default_rng(0)
    for ids in rng.integers(1, MODEL.vocabulary, (rows, len(names), WORDS)):
        cells = [" ".join(f"w{i}" for i in part) for part in ids]
        yield dict(zip(names, [cells[0] + " ", *cells[1:]], strict=True))


def write_rows(path: Path, rows: int, names: Sequence[str]) -> Path:
    """Write rows as JSON Lines, and return the path."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in texts(rows, names))
    return path


def ours(file: Path, folder: Path) -> Callable[[], object]:
    """Return a call that trains one step on a set; the second call finds the token ids in the cache."""
    from llm.config import TrainConfig
    from llm.training.run import train

    small, model = write_rows(folder / "small.jsonl", 64, ("prompt", "completion")), MODEL.model()
    tokenizer = MODEL.tokenizer()
    config = TrainConfig(
        objective=(f"large=sft:{file}", "batch=4", f"small=sft:{small}", "batch=4"), method="mix", steps=1,
        template="none",
        lora_targets=MODEL.targets, eval_every=0, held_out=0.0, cache=str(folder / "cache"), out=str(folder / "run"),
        overwrite=True, device="cpu",
    )  # fmt: skip
    return lambda: train(config, quiet=True, model=model, tokenizer=tokenizer)


def trl(file: Path, folder: Path) -> Callable[[], object]:
    """Return a call that takes one step of TRL's SFTTrainer on a set."""
    import datasets
    import trl
    from peft import LoraConfig

    model, tokenizer = MODEL.model(), MODEL.tokenizer()

    def step() -> object:
        settings = trl.SFTConfig(
            output_dir=str(folder / "trl"), max_steps=1, per_device_train_batch_size=4, report_to="none",
            disable_tqdm=True, use_cpu=True, save_strategy="no", bf16=False, completion_only_loss=True,
        )  # fmt: skip
        rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder / "datasets"))
        lora = LoraConfig(r=8, target_modules=list(MODEL.targets), task_type="CAUSAL_LM")
        return trl.SFTTrainer(
            model=model, args=settings, train_dataset=rows, processing_class=tokenizer, peft_config=lora
        ).train()  # fmt: skip

    return step


def costs(call: Callable[[], object]) -> tuple[float, int]:
    """Return the CPU seconds of a call and its peak memory in bytes, less the memory held before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark begins anew
    before, began = resident("VmRSS"), time.process_time()
    call()
    return time.process_time() - began, resident("VmHWM") - before


@cache
def in_process(side: str, rows: int) -> dict[str, Any]:
    """Measure the costs of a side in a separate process, after the imports of its libraries."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.growth_rows", side, str(rows)]
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def rows(sizes: Sequence[int]) -> list[Curve]:
    """Return CPU time up to the end of the first step, and peak memory, against the rows of a set."""
    kinds = {"seconds": "first step", "bytes": "peak memory up to the first step"}
    return [
        measured(f"{title}: SFT set on disk", "rows", sizes, _sides(kind), quantity=kind)
        for kind, title in kinds.items()
    ]


def _sides(kind: str) -> dict[str, Callable[[float], float]]:
    """Return the cost of each side, in seconds or bytes, against the rows of a set."""
    return {
        "llm": lambda n: float(in_process("llm", int(n))[f"first {kind}"]),
        "llm, token ids cached": lambda n: float(in_process("llm", int(n))[f"again {kind}"]),
        "TRL": lambda n: float(in_process("trl", int(n))[f"first {kind}"]),
    }


def tokens(pairs: int = PAIRS) -> list[Row]:
    """Measure (o) preference pairs on disk to token ids, the first time and from the cache."""
    done = in_process("pairs", pairs)
    times = {name: np.array([float(done[name])]) for name in ("from the cache", "the first time")}
    return [Row(f"{pairs:,} pairs of {3 * WORDS} words, CPU time", "all", times, {"from the cache": AGAIN_BAR})]


def _pairs(file: Path, folder: Path) -> dict[str, float]:
    from llm.data.formats import load
    from llm.data.token_cache import cached_tokens
    from llm.data.tokenization import tokenize

    tokenizer = MODEL.tokenizer()

    def once() -> Any:
        def compute() -> Any:
            return tokenize(load(file, kind="preference"), tokenizer, template="none"), []

        return cached_tokens(folder / "cache", file, tokenizer, {}, compute)[0]

    times, digests = {}, []
    for name in ("the first time", "from the cache"):
        began = time.process_time()
        made = once()
        times[name] = time.process_time() - began
        digests.append(made.digest)
    if digests[0] != digests[1]:
        raise AssertionError("the cache returns other token ids")
    return times


def main(side: str, rows: int) -> dict[str, float]:
    """Return the costs of one side in this process."""
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="llm-bench-") as name:
        folder = Path(name)
        if side == "pairs":
            return _pairs(write_rows(folder / "pairs.jsonl", rows, ("prompt", "chosen", "rejected")), folder)
        make = {"llm": ours, "trl": trl}[side]
        warm = make(write_rows(folder / "warm.jsonl", 64, ("prompt", "completion")), folder)
        warm()  # imports, and whatever a library does once
        call = make(write_rows(folder / "rows.jsonl", rows, ("prompt", "completion")), folder)
        done = {"first": costs(call)} | ({"again": costs(call)} if side == "llm" else {})
        return {
            f"{key} {kind}": value
            for key, pair in done.items()
            for kind, value in zip(("seconds", "bytes"), pair, strict=True)
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
