"""The benchmarks of `llm`: one function a benchmark, which returns its rows with our side first."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import llm_memory, report
from benchmarks.llm_rows import LIGHT_HEAD, RealSize, Size
from benchmarks.timing import Row

if TYPE_CHECKING:
    from benchmarks.llm_ours import Turn
    from benchmarks.llm_rows import Workload

SFT_BAR, DPO_BAR, PRECOMPUTED_BAR, AUTHORS_BAR = 1 / 1.3, 1 / 1.5, 1 / 1.2, 1 / 2.0
METHOD_BAR = 1.01
SHAPES = {"50304 ids": Size(batches=2), "head's share as in pythia-1b": LIGHT_HEAD}
# Many steps, since MAXRIGHT's first evaluation is a whole batch of both; batches of which an eighth is a row.
METHODS = Size(
    vocabulary=588, hidden=64, layers=3, heads=2, batch_sft=8, batch_preference=8, batches=100, longest=0.5
)  # fmt: skip
QUICK = {name: dataclasses.replace(s, batch_sft=6, batch_preference=4, batches=2) for name, s in SHAPES.items()}
QUICK_METHODS = dataclasses.replace(METHODS, batches=30)
QUICK_MEMORY = dict(list(QUICK.items())[1:])  # a process each, and the larger vocabulary takes minutes


def turns(
    name: str,
    calls: Mapping[str, Callable[[], Turn]],
    repeats: int,
    bars: Mapping[str, float],
    *,
    warm: bool = True,
) -> list[Row]:
    """Measure seconds a real token in turns.

    warm  call each side once before, unmeasured; where a call takes minutes its first is like the others

    The bars are on processor time, or on the clock where a GPU works. The other is shown beside it.
    """
    import torch

    frozen = gc.get_freeze_count()
    gc.freeze()  # the imported libraries: to go through them at every collection takes longer than a small turn
    by_side: dict[str, list[Turn]] = {label: [] for label in calls}
    for turn in range(-1 if warm else 0, repeats):
        for label, call in calls.items():
            gc.collect()
            by_side[label].append(call())
            if not warm:
                last = by_side[label][-1]
                took = f"{last.processor:.0f} s of processor time, {last.clock:.0f} s by the clock"
                print(f"{name}, {label}, turn {turn + 1} of {repeats}: {took}", flush=True)
    counts = {label: measured[0].tokens for label, measured in by_side.items()}
    if len(set(counts.values())) > 1:
        raise AssertionError(f"{name}: not the same rows on all sides, but {counts} tokens")
    by_side = {label: measured[1 if warm else 0 :] for label, measured in by_side.items()}
    if not frozen:
        gc.unfreeze()
    on_gpu = torch.cuda.is_available()
    times = {
        what: {label: np.array([getattr(t, what) / t.tokens for t in all_]) for label, all_ in by_side.items()}
        for what in ("processor", "clock")
    }
    own, none = dict(bars), dict[str, float]()
    rows = [Row(f"{name}, by the clock", "token", times["clock"], own if on_gpu else none)]
    return rows if on_gpu else [Row(f"{name}, processor time", "token", times["processor"], own), *rows]


def operations(name: str, calls: Mapping[str, Callable[[], Turn]], bars: Mapping[str, float]) -> Row:
    """Count the floating-point operations of matrix products a token, which load on the machine cannot change."""
    from torch.utils.flop_counter import FlopCounterMode

    counts = {}
    for label, call in calls.items():
        with FlopCounterMode(display=False) as counter:
            turn = call()
        counts[label] = np.array([counter.get_total_flops() / turn.tokens])
    return Row(f"{name}, operations", "token", counts, dict(bars), quantity="operations")


def prepare() -> None:
    """Set one thread, no network and no progress bars of other libraries."""
    import datasets
    import torch

    os.environ["HF_HUB_OFFLINE"] = os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    datasets.disable_progress_bars()


def sft(shapes: Mapping[str, Size] = SHAPES, repeats: int = 5) -> list[Row]:
    """Time (h) SFT beside TRL's SFTTrainer."""
    rows = [row for shape, size in shapes.items() for row in _sft(shape, size, repeats)]
    from benchmarks import llm_ours, llm_trl
    from toyopt.algorithms import SFT

    shape, size = list(shapes.items())[-1]
    checkpointing = {
        "llm": llm_ours.single(size, SFT, gradient_checkpointing=True),
        "TRL": llm_trl.sft(size, checkpointing=True),
    }
    return rows + turns(f"SFT, {shape}, gradient checkpointing", checkpointing, repeats, {"TRL": SFT_BAR})


def _sft(shape: str, size: Workload, repeats: int, *, warm: bool = True) -> list[Row]:
    prepare()
    from benchmarks import llm_ours, llm_trl
    from toyopt.algorithms import SFT

    sides = {
        "llm": llm_ours.single(size, SFT),
        "TRL": llm_trl.sft(size),
        "TRL, head on labels only": llm_trl.sft(size, compact=True),
    }
    return turns(f"SFT, {shape}", sides, repeats, dict.fromkeys(list(sides)[1:], SFT_BAR), warm=warm)


def dpo(shapes: Mapping[str, Size] = SHAPES, repeats: int = 5) -> list[Row]:
    """Time (i) DPO beside TRL's DPOTrainer, by default and with precomputed reference."""
    rows = [row for shape, size in shapes.items() for row in _dpo(shape, size, repeats)]
    from benchmarks import llm_ours, llm_trl
    from toyopt.algorithms import DPO

    shape, size = list(shapes.items())[-1]
    checkpointing = {
        "llm": llm_ours.single(size, DPO, gradient_checkpointing=True),
        "TRL": llm_trl.dpo(size, precomputed=False, checkpointing=True),
    }
    return rows + turns(f"DPO, {shape}, gradient checkpointing", checkpointing, repeats, {"TRL": DPO_BAR})


def _dpo(shape: str, size: Workload, repeats: int, *, warm: bool = True) -> list[Row]:
    prepare()
    from benchmarks import llm_ours, llm_trl
    from toyopt.algorithms import DPO

    sides = {
        "llm": llm_ours.single(size, DPO),
        "TRL": llm_trl.dpo(size, precomputed=False),
        "TRL, precomputed": llm_trl.dpo(size, precomputed=True),
        "TRL, head on labels only": llm_trl.dpo(size, precomputed=False, compact=True),
        "TRL, precomputed, head on labels only": llm_trl.dpo(size, precomputed=True, compact=True),
    }
    bars = {label: PRECOMPUTED_BAR if "precomputed" in label else DPO_BAR for label in list(sides)[1:]}
    return turns(f"DPO, {shape}", sides, repeats, bars, warm=warm)


def real(size: RealSize, repeats: int = 2) -> list[Row]:
    """Measure (m) a model and sets from disk beside TRL: seconds a real token, and peak memory."""
    name = f"{Path(size.path).name}, {size.precision}, batches of {size.batch_sft} and {size.batch_preference}"
    compared = [
        ("SFT", "llm sft", {"trl sft": 1.0, "trl sft, head on labels only": 1.0}),
        ("DPO", "llm dpo", {"trl dpo": 1.0, "trl dpo, head on labels only": 1.0}),
    ]
    peaks = _peaks({name: size}, compared, 1)  # first: the timed sides stay in the memory of this process
    report.show(peaks)
    return _sft(name, size, repeats, warm=False) + _dpo(name, size, repeats, warm=False) + peaks


def authors(shapes: Mapping[str, Size] = SHAPES, repeats: int = 5) -> list[Row]:
    """Time (j) ALRIGHT beside a loop in the authors' manner."""
    prepare()
    from benchmarks import llm_authors, llm_ours

    rows = []
    for shape, size in shapes.items():
        calls = {"llm": llm_ours.alright(size), "the authors' way": llm_authors.alright(size)}
        rows += turns(f"ALRIGHT, {shape}", calls, repeats, {"the authors' way": AUTHORS_BAR})
    return rows


def methods(size: Size = METHODS, repeats: int = 9) -> list[Row]:
    """Measure (k) every method beside Sequential with the same steps on the same rows."""
    prepare()
    from benchmarks.llm_ours import Ours
    from toyopt.algorithms import DPO, SFT, Alright, Maxright, Mix, Rule, Sequential

    few = max(1, min(size.batch_sft, size.batch_preference) // 8)
    plain, one_graph = Ours(size), Ours(size, mix_one_graph=True)
    lowest, few_rows = Ours(size, f_star="lowest"), Ours(size, f_star="lowest", gap_rows=few)
    steps = 2 * size.batches
    cases: list[tuple[str, Ours, Rule, int, dict[str, float]]] = [
        ("ALRIGHT", plain, Alright(0.5), steps, {"Sequential": METHOD_BAR}),
        ("MAXRIGHT k=10", plain, Maxright(0.5, (0.0, 0.0), k=10), steps, {"Sequential": METHOD_BAR}),
        ("MAXRIGHT k=10, f* lowest", lowest, Maxright(0.5, (0.0, 0.0), k=10), steps, {"Sequential": METHOD_BAR}),
        (
            "MAXRIGHT k=10, f* lowest, gap_rows 1/8 of the batch",
            few_rows,
            Maxright(0.5, (0.0, 0.0), k=10),
            steps,
            {"Sequential": METHOD_BAR},
        ),
        ("MAXRIGHT k=1", plain, Maxright(0.5, (0.0, 0.0), k=1), steps, {}),
        ("Mix, two backward passes", plain, Mix(0.5), size.batches, {}),
        ("Mix, one graph", one_graph, Mix(0.5), size.batches, {}),
    ]
    rows = []
    for name, ours, rule, n, bars in cases:
        chosen = ours.run(rule, n).chosen
        parts = [i for i in (DPO, SFT) if chosen[i]]
        same = Sequential(tuple(chosen[i] for i in parts), tuple(parts))
        calls = {
            name: lambda ours=ours, rule=rule, n=n: ours.run(rule, n),
            "Sequential": lambda ours=ours, same=same: ours.run(same, sum(same.steps)),
        }
        title = f"{name}, {chosen[DPO]} steps on DPO, {chosen[SFT]} on SFT"
        rows += [*turns(title, calls, repeats, bars), operations(title, calls, bars)]
    return rows


def memory(shapes: Mapping[str, Size] = SHAPES, repeats: int = 3) -> list[Row]:
    """Measure (l) peak memory beyond imports, weights and rows, each in a separate process."""
    compared = [
        ("SFT", "llm sft", {"trl sft": 1.0, "trl sft, head on labels only": 1.0}),
        ("DPO", "llm dpo", {"trl dpo": 1.0, "trl dpo precomputed": 1.0, "trl dpo, head on labels only": 1.0}),
        ("SFT, gradient checkpointing", "llm sft checkpointing", {"trl sft checkpointing": 1.0}),
        ("DPO, gradient checkpointing", "llm dpo checkpointing", {"trl dpo checkpointing": 1.0}),
        ("ALRIGHT", "llm alright", {"authors": 0.5}),
    ]
    return _peaks(shapes, compared, repeats)


def _peaks(
    shapes: Mapping[str, Workload], compared: list[tuple[str, str, dict[str, float]]], repeats: int
) -> list[Row]:
    return [
        Row(
            f"{name}, {shape}, peak memory",
            "process",
            {
                label: np.array([llm_memory.measured(label, size) for _ in range(repeats)], dtype=np.float64)
                for label in (ours, *bars)
            },
            dict(bars),
            quantity="bytes",
        )
        for shape, size in shapes.items()
        for name, ours, bars in compared
    ]
