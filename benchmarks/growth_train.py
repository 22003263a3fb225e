"""Curves of training: a step against weights, length, batch and objectives; a checkpoint against weights and time."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.growth import Curve, measured
from benchmarks.growth_study import seconds
from benchmarks.llm_rows import Size

if TYPE_CHECKING:
    from llm.data.rows import Kind

# Weights: 0.2, 2, 22 and 137 million (the last in the shape of a small model of today).
MODELS = (
    Size(vocabulary=588, hidden=64, layers=3, heads=2, batch_sft=4, batches=1, longest=0.5),
    Size(vocabulary=1200, hidden=160, layers=6, heads=4, batch_sft=4, batches=1, longest=0.5),
    Size(vocabulary=8000, hidden=448, layers=6, heads=8, batch_sft=4, batches=1, longest=0.5),
    Size(vocabulary=49152, hidden=640, layers=15, heads=10, batch_sft=4, batches=1, longest=0.5),
)
BASE = Size(vocabulary=1200, hidden=128, layers=4, heads=4, batch_sft=8, batches=2)
NAMES = "abcdefghijklmnopqrstuvwxyz"


def weights(size: Size) -> int:
    """Return the number of a model's weights."""
    return sum(p.numel() for p in size.model().parameters())


def tokens(size: Size, kind: Kind) -> int:
    """Return the mean number of tokens of a row, of a pair with its prompt once for each response."""
    from benchmarks import llm_rows

    batch = size.batch_sft if kind == "sft" else size.batch_preference
    return round(llm_rows.count(llm_rows.tokens(size, kind)) / (size.batches * batch))


def sides(of: Callable[[float], Size], kind: Kind) -> dict[str, Callable[[float], float]]:
    """Return the CPU seconds of a step on rows of a kind by a size of the input, the second epoch's, of each side.

    TRL computes the reference at every step, its default; ours has it from the cache, as in a run.
    """
    from benchmarks import llm_ours, llm_trl
    from toyopt.algorithms import DPO, SFT

    def step(make: Callable[[Size], Any], n: float) -> float:
        size = of(n)
        call = make(size)
        call()
        return float(call().processor / size.batches)

    def theirs(size: Size) -> Any:
        return llm_trl.sft(size) if kind == "sft" else llm_trl.dpo(size, precomputed=False)

    objective = SFT if kind == "sft" else DPO
    return {
        "llm": lambda n: step(lambda size: llm_ours.single(size, objective), n),
        "TRL": lambda n: step(theirs, n),
    }


def steps(
    models: Sequence[Size],
    longest: Sequence[float],
    batches: Sequence[int],
    *,
    kind: Kind = "sft",
    repeats: int = 1,
) -> list[Curve]:
    """Return the CPU time of a step against weights, tokens a row and tokens a batch, beside TRL's trainer of the kind.

    batches  numbers of rows, or of pairs for kind "preference"; the curve's sizes are the tokens of such batches, since
             the lengths of few rows vary
    """
    from benchmarks.llm_speed import prepare

    prepare()
    loss, row = ("SFT", "row") if kind == "sft" else ("DPO", "pair")
    batch = "batch_sft" if kind == "sft" else "batch_preference"
    lengths = [dataclasses.replace(BASE, longest=n) for n in longest]
    by_weights = {float(weights(size)): size for size in models}
    by_length = {float(tokens(size, kind)): size for size in lengths}
    shorter = dataclasses.replace(BASE, longest=0.5)
    sized = {n: dataclasses.replace(shorter, **{batch: n}) for n in batches}  # type: ignore[arg-type]
    by_batch = {float(n * tokens(size, kind)): size for n, size in sized.items()}
    curves = []
    for name, unit, sizes, excused in (
        (f"{loss} step by model", "weights", by_weights, False),
        (f"{loss} step by length", f"tokens a {row}", by_length, True),
        (f"{loss} step by batch", "tokens a batch", by_batch, False),
    ):
        made = sides(sizes.__getitem__, kind)
        curves.append(measured(name, unit, list(sizes), made, repeats=repeats, excused=excused))
    return curves


def objectives(counts: Sequence[int], *, steps: int = 12, rows: int = 64) -> list[Curve]:
    """Return the CPU time of a step and of the start of Mix against the number of objectives.

    rows  of each objective's SFT set
    """
    from benchmarks.llm_speed import prepare

    prepare()

    @cache
    def run(n: int) -> tuple[float, float]:
        from llm.config import TrainConfig
        from llm.training.metrics import read_metrics
        from llm.training.run import train

        size = dataclasses.replace(BASE, batch_sft=rows, batches=n, longest=0.25)
        texts, named = size.texts("sft"), [f"{NAMES[i // 26]}{NAMES[i % 26]}" for i in range(n)]
        sets = {name: texts[i * rows : (i + 1) * rows] for i, name in enumerate(named)}
        with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:
            config = TrainConfig(
                objective=tuple(text for name in named for text in (f"{name}=sft:memory", "batch=2")),
                method="mix", steps=steps, template="none", lora_targets=size.targets,
                eval_every=0, held_out=0.1, cache=f"{folder}/cache",
                out=f"{folder}/run", device="cpu", save_every=1_000_000,
            )  # fmt: skip
            model, tokenizer = size.model(), size.tokenizer()
            whole = seconds(lambda: train(config, quiet=True, model=model, tokenizer=tokenizer, rows=sets))
            lines = [line for line in read_metrics(Path(folder) / "run") if "objective" in line]
        step = (lines[-1]["cpu_seconds"] - lines[0]["cpu_seconds"]) / (len(lines) - 1)
        return step, whole - lines[-1]["cpu_seconds"]

    run(counts[0])  # imports
    run.cache_clear()
    parts = {"step of Mix by objectives": 0, "start and end of Mix by objectives": 1}
    return [
        measured(name, "objectives", counts, {"llm": lambda n, part=part: run(int(n))[part]})
        for name, part in parts.items()
    ]


def checkpoints(ranks: Sequence[int], earlier: Sequence[int]) -> list[Curve]:
    """Return CPU time and bytes of a checkpoint by trained weights, and the time of n checkpoints after one another.

    Beside SFTTrainer's, which holds tokenizer and random states as well; it keeps all checkpoints, and ours the newest.
    """
    from benchmarks.llm_speed import prepare

    prepare()
    from benchmarks import llm_trl
    from benchmarks.llm_ours import Ours
    from llm.training import checkpoint

    @cache
    def saved(rank: int, times: int) -> tuple[int, float, int]:
        ours = Ours(dataclasses.replace(BASE, batches=1, longest=0.1))
        config = dataclasses.replace(ours.config, lora_rank=rank, lora_alpha=rank)
        engine = ours.base.open_for_training(config, 1)
        for parameter in engine.policy.parameters():
            if parameter.requires_grad:
                parameter.grad = parameter.detach().clone()
        engine.update()  # so that the optimizer has its moments
        trained = sum(p.numel() for p in engine.policy.parameters() if p.requires_grad)
        with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:

            def save() -> None:
                for step in range(times):
                    checkpoint.save(Path(folder), {"step": step}, engine)

            spent = seconds(save)
            newest = checkpoint.newest(Path(folder))
            assert newest is not None
            written = sum(path.stat().st_size for path in newest.path.iterdir())
        engine.close()
        return trained, spent / times, written

    @cache
    def theirs(rank: int, times: int) -> tuple[float, int]:
        return llm_trl.checkpoints(dataclasses.replace(BASE, batches=times, batch_sft=2, longest=0.1), rank)

    for side in (saved, theirs):
        side(ranks[0], 1)  # imports
        side.cache_clear()
    rank_of = {float(saved(rank, 4)[0]): rank for rank in ranks}
    spent = {"llm": lambda n: saved(rank_of[n], 4)[1], "TRL": lambda n: theirs(rank_of[n], 4)[0] / 4}
    size = {"llm": lambda n: float(saved(rank_of[n], 4)[2]), "TRL": lambda n: float(theirs(rank_of[n], 4)[1])}
    series = {
        "llm": lambda n: saved(ranks[0], int(n))[1] * n, "TRL": lambda n: theirs(ranks[0], int(n))[0],
    }  # fmt: skip
    return [
        measured("checkpoint: time", "trained weights", list(rank_of), spent),
        measured("checkpoint: size", "trained weights", list(rank_of), size, quantity="bytes"),
        measured("checkpoints after one another", "checkpoints", [float(n) for n in earlier], series),
    ]
