"""Cosines of the objectives' mean gradients: before training, or along a finished run.

A small gradient step on objective j changes f_i by -η⟨∇f_i, ∇f_j⟩: where the cosine is negative, it raises f_i, and the
objectives conflict (T. Yu et al., "Gradient surgery for multi-task learning", arXiv 2001.06782). The gradients are
those of the trained weights, the adapter's, on random training rows, without dropout. Other optimizers than SGD do not
step along the gradient, so that the sign is a guide for these.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, Range
from llm.common.files import check_name, ensure_writable, write_json
from llm.common.processes import stop_requested
from llm.config import TrainConfig, configure
from llm.evaluation.cosine_estimates import CONFIDENCE, FEWEST, Cosines, estimate, interval
from llm.evaluation.curvature import kept_steps
from llm.evaluation.past_run import check_given, check_unchanged
from llm.training.run_folder import FinishedRun, load_run

if TYPE_CHECKING:
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset
    from llm.training.inputs import Inputs
    from llm.training.objective import Objective


@dataclass(frozen=True)
class CosineConfig(TrainConfig):
    """Options of `cosine`: those of a run before its training, or the folder of a finished run."""

    run: str = ""
    """Folder of a finished run with LoRA, measured at its start, at adapters that it kept (--keep-every) and at its
    end; empty: before training, with the options of `train`."""
    part: Literal["auto", "train", "held_out"] = "auto"
    """Rows to measure on; auto: training rows before the first step, and held-out rows of trained weights, which depend
    on the training rows."""
    rows: Annotated[int, NOT_NEGATIVE] = 128
    """Maximum number of rows of each set, drawn from the seed; 0: all."""
    groups: Annotated[int, Range(low=FEWEST)] = 8
    """Maximum number of groups of rows, whose differences give the errors; a gradient of each is held in memory."""
    points: Annotated[int, AT_LEAST_1] = 6
    """Maximum number of points along a run, evenly spread from its start to its end."""
    out: str = ""
    """Write the numbers to this .json as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out:
            check_name(self.out, ".json")
        if 0 < self.rows < FEWEST:
            raise ValueError(f"rows: must be 0, or at least {FEWEST}, got {self.rows}")


def measure(folder: Path) -> dict[str, Any]:
    """Return `cosine` of a finished run, as a study's measure."""
    return cosine(CosineConfig(run=str(folder)), quiet=True)


def cosine(config: TrainConfig, *, quiet: bool = False, **given: Any) -> dict[str, Any]:
    """Return the cosines of the objectives' mean gradients before training, or at points of a finished run.

    {"names": of the n objectives,
     "points": one a point: step, part ("train" or "held_out" rows), cosines (n lists of n numbers), errors (standard
               errors of these), raw (plain cosines, which noise draws towards 0), groups (their number), and by name
               rows (their number), values (of the objectives), norms (of the gradients) and noise (share of a squared
               norm, see `Cosines`),
     "A_B_start", "A_B_start_error", "A_B_end", "A_B_end_error": of every two names, at the first and the last point,
     "weights" (number of trained weights), "seed"}

    config  a `CosineConfig`, or the options of a run before its training

    A number that the rows do not determine is None. `given` takes model, tokenizer and sets, as `train` does. The
    reference is the run's, and is trained where the option `reference` asks for that (cached). Raises ValueError,
    TypeError or FileNotFoundError, in one line, for wrong input, and KeyboardInterrupt on Ctrl-C.
    """
    options = config if isinstance(config, CosineConfig) else CosineConfig(**config.as_dict() | {"out": ""})
    past = _finished(options, given) if options.run else None
    if options.out:
        ensure_writable("out", Path(options.out).parent)
    if past is None:
        names = [field.name for field in dataclasses.fields(TrainConfig) if field.name != "out"]
        training = TrainConfig(**{name: getattr(options, name) for name in names})
    else:
        training = past.config
    from llm.training.inputs import GivenInputs, open_inputs

    with stop_requested() as stop, open_inputs(training, GivenInputs(**given), quiet=quiet, stop=stop) as inputs:
        if past is None:
            inputs.check()
        else:
            check_unchanged(inputs, past)
        result = _measured(inputs, _points(past, options.points), options)
    if options.out:
        write_json(Path(options.out), result)
    return result


def _finished(config: CosineConfig, given: Mapping[str, Any]) -> FinishedRun:
    """Return the run that the options name; ValueError for one without a single adapter, and for further options."""
    own = {f.name for f in dataclasses.fields(config)} - {f.name for f in dataclasses.fields(TrainConfig)} | {"out"}
    plain, preset = TrainConfig(), TrainConfig(**configure("embedded", {}, "preset"))
    for name in (field.name for field in dataclasses.fields(TrainConfig) if field.name not in own):
        if getattr(config, name) not in (getattr(plain, name), getattr(preset, name)):
            raise ValueError(f"{name}: the run has options of its own; leave out --{name.replace('_', '-')}, or --run")
    past = load_run(config.run)
    if past.config.lora_rank == 0:
        raise ValueError("run: it trained all weights; give a run with LoRA, or leave out --run to measure its start")
    if past.config.stack or past.config.average:
        raise ValueError("run: it trained an adapter for each stage; give another, or leave out --run for its start")
    check_given(past, given, "llm.evaluation.cosine.cosine(CosineConfig(...)")
    return past


def _points(past: FinishedRun | None, count: int) -> dict[int, Path | None]:
    """Return at most `count` adapters of a run by step, None for the untrained one at step 0."""
    if past is None:
        return {0: None}
    from llm.training.checkpoint import kept_folder

    best = past.summary.get("best")
    adapters: dict[int, Path | None] = {int(best["step"] if best else past.summary["steps"]): past.folder}
    adapters |= {step: kept_folder(past.folder, step) for step in kept_steps(past.folder)} | {0: None}
    steps = sorted(adapters)
    chosen = np.linspace(0, len(steps) - 1, min(count, len(steps))).round()
    return {step: adapters[step] for step in (steps[int(j)] for j in chosen)}


def _measured(inputs: Inputs, points: Mapping[int, Path | None], config: CosineConfig) -> dict[str, Any]:
    """Return the content of `cosine`'s result."""
    from llm.evaluation.gradients import group_gradients, inner_products

    inputs.check_alone("cosine")
    names = inputs.config.names
    parts = {
        s: ("train" if a is None else "held_out") if config.part == "auto" else config.part for s, a in points.items()
    }
    drawn = {part: _drawn(inputs, config, part) for part in dict.fromkeys(parts.values())}
    records: list[dict[str, Any]] = []
    training = dataclasses.replace(inputs.config, base_dropout=False)
    with inputs.progress("cosine") as line:
        for step, adapter in points.items():
            at = training if adapter is None else dataclasses.replace(training, adapter=str(adapter))
            engine = inputs.base.open_for_training(at, 1)
            measured = []
            rows = {objective.name: len(objective) for objective in drawn[parts[step]]}
            count = min(config.groups, *rows.values())
            for objective in drawn[parts[step]]:
                groups = np.array_split(np.arange(len(objective), dtype=np.int64), count)
                laid_out = dataclasses.replace(objective, share_prompt=engine.raw.share_prompt)
                measured.append(group_gradients(engine, laid_out, groups))
                if inputs.stop():
                    raise KeyboardInterrupt
                done = len(records) * len(names) + len(measured)
                line(done, len(points) * len(names), f"step {step}  f_{objective.name.upper()}")
            gradients, units, values = zip(*measured, strict=True)
            about = {"step": step, "part": parts[step], "rows": rows, "groups": count}
            records.append(about | _record(names, values, estimate(inner_products(gradients), np.array(units))))
        if inputs.accelerator.device.type != "cpu":
            engine.close()  # its collection of garbage takes as long as a tiny model's gradients
    weights = int(gradients[0].shape[1])
    return {"names": list(names), "points": records, **_ends(names, records), "weights": weights, "seed": training.seed}


def _drawn(inputs: Inputs, config: CosineConfig, part: str) -> list[Objective]:
    """Return the objectives on random rows of a part of their sets, "train" or "held_out", in random order.

    Sets with equally many rows are drawn alike, so that objectives on one set share a row within a group only.
    """
    from llm.training.objectives import load_objectives

    sets = inputs.datasets.held_out if part == "held_out" else inputs.datasets.train
    rows: dict[int, Indices] = {}
    for i, own in enumerate(inputs.config.objectives):
        tokens = sets.get(own.set_name)
        count = 0 if tokens is None else len(tokens)
        if not count:
            raise ValueError(f"part: the run holds no rows of {own.name} out; give --part train")
        if count < FEWEST:
            remedy = "give more" if part == "train" else "give --part train, or train with a larger --held-out"
            raise ValueError(f"rows: {own.name} has {count} {part} rows, and at least {FEWEST} are needed; {remedy}")
        order = np.random.default_rng([inputs.config.seed, count]).permutation(count).astype(np.int64)
        rows[i] = (order if own.rows_kind != "unpaired" else _by_prompt(tokens, order))[: config.rows or count]
    if part == "train":
        objectives = load_objectives(inputs, trained=rows).train
    else:  # measured by DPO's loss in the short form, here by the loss that is trained
        all_rows = max(map(len, sets.values()))
        losses = [own.loss for own in inputs.config.objectives]
        held_out = load_objectives(inputs, all_rows, trained={}).held_out
        objectives = {i: dataclasses.replace(o, loss=losses[i], beside=None) for i, o in held_out.items()}
    return [objectives[i].select(rows[i]) for i in sorted(objectives)]


def _by_prompt(tokens: TokenizedDataset | None, order: Indices) -> Indices:
    """Return row indices with the rows of one prompt together, which are no independent sample; else in their order."""
    assert tokens is not None
    first: dict[str, int] = {}
    for place, i in enumerate(order):
        first.setdefault(tokens.keys[i], place)
    return order[np.argsort([first[tokens.keys[i]] for i in order], kind="stable")]


def _record(names: Sequence[str], values: Sequence[float], estimated: Cosines) -> dict[str, Any]:
    """Return the plain values of a point."""
    by_name = {"values": values, "norms": estimated.norms, "noise": estimated.noise}
    matrices = {"cosines": estimated.cosines, "errors": estimated.errors, "raw": estimated.raw}
    return {key: [[_plain(x) for x in row] for row in matrix] for key, matrix in matrices.items()} | {
        key: {name: _plain(x) for name, x in zip(names, numbers, strict=True)} for key, numbers in by_name.items()
    }


def _plain(value: float) -> float | None:
    """Return a number, None for one that is not finite."""
    return float(value) if math.isfinite(value) else None


def _pairs(names: Sequence[str]) -> Iterator[tuple[int, int, str, str]]:
    """Yield the positions and names of every two objectives."""
    for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
        yield i, j, a, b


def _ends(names: Sequence[str], records: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the cosines of every two objectives at the first and the last point, with their errors."""
    ends: dict[str, float | None] = {}
    for i, j, a, b in _pairs(names):
        for where, record in (("start", records[0]), ("end", records[-1])):
            ends[f"{a}_{b}_{where}"] = record["cosines"][i][j]
            ends[f"{a}_{b}_{where}_error"] = record["errors"][i][j]
    return ends


def table(record: dict[str, Any]) -> str:
    """Return the result of `cosine` as a table of text, with a sentence on every two objectives at both ends."""
    width = max(9, max(len(f"{a} {b}") for _, _, a, b in _pairs(record["names"])))
    head = f"{'step':>8} {'':>{width}} {'cosine':>8}  {f'{CONFIDENCE:.0%} interval':<18} {'raw':>8}"
    lines, sentences = [head], []
    for point in record["points"]:
        for i, j, a, b in _pairs(record["names"]):
            value, error, raw = (point[key][i][j] for key in ("cosines", "errors", "raw"))
            known = value is not None and error is not None
            low, high = interval(value, error, point["groups"]) if known else (math.nan, math.nan)
            span = f"[{low:.3f}, {high:.3f}]" if known else "-"
            lines.append(f"{point['step']:>8} {f'{a} {b}':>{width}} {_shown(value):>8}  {span:<18} {_shown(raw):>8}")
            if point in (record["points"][0], record["points"][-1]):
                sentences.append(f"step {point['step']}: {a} and {b} {_reading(low, high)}")
    lines.append(f"{'step':>8} {'':>{width}} {'value':>8}  {'norm':<18} {'noise':>8}  rows")
    for point in record["points"]:
        rows = point["part"].replace("_", "-").replace("train", "training")
        for name in record["names"]:
            value, norm, noise = (_shown(point[key][name]) for key in ("values", "norms", "noise"))
            shown = f"{point['rows'][name]} {rows}"
            lines.append(f"{point['step']:>8} {name:>{width}} {value:>8}  {norm:<18} {noise:>8}  {shown}")
    return "\n".join([*lines, *dict.fromkeys(sentences)])


def _shown(value: float | None) -> str:
    """Format a number of the table with three digits after the point."""
    return "-" if value is None else f"{value:.3f}"


def _reading(low: float, high: float) -> str:
    """Return the meaning of a cosine's interval in words."""
    if high < 0.0:
        return "conflict: a small gradient step on one raises the other"
    if low > 0.0:
        return "agree: a small gradient step on one lowers the other"
    if math.isnan(low):
        return "have no cosine: a gradient is 0, or all noise; give more --rows"
    return "may conflict or agree: the interval holds 0; more --rows shorten it"
