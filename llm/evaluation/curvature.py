"""Curvature of the objectives along a run: the ends of their Hessians' spectra, on the adapter's weights.

The paper's theorems assume convex objectives. This module measures how far the objectives of a run and their weighted
sum, λ f_DPO + (1-λ) f_SFT in the short form, are from convexity, on a fixed draw of training rows, at the adapters kept
along the run (`--keep-every`). KTO's estimate of the divergence from the reference, through which no gradient goes, is
held at its value on these rows.

LoRA's product B A is itself not convex in (A, B): where B = 0, as at the start, there are eigenvalues of either sign
unless the gradient in the adapted weights is 0. So a negative eigenvalue shows that the
theorems do not apply as they stand, not how much that matters; the curvature along the gradient, the direction of a
step, is the better guide to that.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, Range, check_options
from llm.common.files import check_name, ensure_writable, write_json
from llm.common.processes import stop_requested
from llm.common.progress import Line
from llm.evaluation.curvature_points import at_point
from llm.evaluation.past_run import check_given, check_unchanged
from llm.training.run_folder import FinishedRun, load_run

if TYPE_CHECKING:
    from llm.training.inputs import Inputs
    from llm.training.objective import Objective

MIX = "mix"  # name of the weighted sum


@dataclass(frozen=True)
class CurvatureConfig:
    """Options of `curvature`: a run, its rows and points, and the accuracy of the eigenvalues."""

    run: str
    """Folder of a finished run that kept adapters along the way (--keep-every)."""
    out: str = ""
    """Write the numbers to this .json as well."""
    rows: Annotated[int, AT_LEAST_1] = 16
    """Number of rows of each training set in the objectives, drawn from the seed."""
    points: Annotated[int, AT_LEAST_1] = 5
    """Maximum number of kept adapters, evenly spread from the first to the last."""
    tolerance: Annotated[float, Range(low=0.0, high=1.0, low_open=True, high_open=True)] = 0.01
    """Residual ||Hv - λv|| at which an eigenvalue counts as converged, as a share of the larger magnitude of both."""
    products: Annotated[int, Range(low=3)] = 40
    """Steps of the Lanczos method, each a product with a Hessian; `margin` and `converged` show if they are too few."""
    seed: Annotated[int, NOT_NEGATIVE] = 0
    """Seed of the rows and of the Lanczos method's start."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.out:
            check_name(self.out, ".json")


def measure(folder: Path) -> dict[str, Any]:
    """Return `curvature` of a finished run on few rows and with few products, as a study's measure."""
    config = CurvatureConfig(run=str(folder), rows=8, points=6, products=20, tolerance=0.05)
    return curvature(config, quiet=True)


def curvature(config: CurvatureConfig, *, quiet: bool = False, **given: Any) -> dict[str, Any]:
    """Return the curvature of a run's objectives and of their weighted sum at the adapters that the run kept.

    {"rows": one for each point and objective: step, objective (its name, or "mix": the weighted sum), value,
             grad_norm, along_gradient (g'Hg / g'g; None where the gradient is 0), smallest, largest (eigenvalues),
             residual (the larger one of ||Hv - λv||), residual_smallest, residual_largest, margin (no eigenvalue is
             further outside [smallest, largest], with probability 0.99), converged (the residuals are within the
             tolerance), products, negative (H has a negative eigenvalue, by more than rounding),
     "negative_share_NAME": the share of points with a negative eigenvalue, for each objective and the sum,
     "negative_along_gradient_share_NAME": the share of points where along_gradient < 0,
     "lam" (short form only), "points", "rows_used" (of each set), "weights" (of the adapter), "tolerance", "seed"}

    Dropout is off, and everything is computed in float32. `given` takes model, tokenizer and sets, as `train` does:
    those that the run had in memory. Raises FileNotFoundError if the run kept no adapters, ValueError if it is not
    finished, trained no adapter, or if its rows or its base have changed since.
    """
    past, steps = load_run(config.run), kept_steps(config.run)
    if MIX in past.config.names:
        raise ValueError(f"run: an objective is named {MIX}, which is the name of the weighted sum here; rename it")
    if past.config.quantization != "none":
        raise ValueError("run: its base has 4 bits, whose layers cannot be differentiated twice; give one without nf4")
    if past.config.lora_rank == 0:
        raise ValueError("run: it trained all weights, and curvature is measured on an adapter's; give a run with LoRA")
    if not steps:
        raise FileNotFoundError(
            f"run: {config.run} kept no adapters along the way; train again with --keep-every "
            f"{max(1, past.config.steps // 5)} and another --out"
        )
    check_given(past, given, "llm.evaluation.curvature.curvature(CurvatureConfig(...)")
    if config.out:
        ensure_writable("out", Path(config.out).parent)
    from llm.training.inputs import GivenInputs, open_inputs

    spread = np.linspace(0, len(steps) - 1, min(config.points, len(steps)))
    chosen = [steps[int(j)] for j in spread.round()]
    with stop_requested() as stop, open_inputs(past.config, GivenInputs(**given), quiet=quiet, stop=stop) as inputs:
        inputs.check_alone("curvature")
        rows, sizes = _measured(inputs, past, config, chosen)
    lam = {} if past.config.objective else {"lam": past.config.lam}
    result = {"rows": rows, **_shares(rows), **lam, "points": len(chosen), **sizes}
    result |= {"tolerance": config.tolerance, "seed": config.seed}
    if config.out:
        write_json(Path(config.out), result)
    return result


def kept_steps(folder: str | Path) -> list[int]:
    """Return the steps of a run's kept adapters, in order."""
    matches = (re.fullmatch(r"step-(\d+)", p.name) for p in (Path(folder) / "kept").glob("step-*"))
    return sorted(int(match[1]) for match in matches if match)


def _measured(
    inputs: Inputs, past: FinishedRun, config: CurvatureConfig, steps: list[int]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the records of all points, and the numbers of rows and weights."""
    from llm.training.checkpoint import kept_folder

    check_unchanged(inputs, past)
    most = min(map(len, inputs.datasets.train.values()))
    if config.rows > most:
        raise ValueError(f"rows: the run has {most} training rows in its smallest set, got {config.rows}")
    tasks = _draw(inputs, config)
    own_weights = {own.name: own.weight for own in inputs.config.objectives}
    parts = {**{name: {name: 1.0} for name in tasks}, MIX: own_weights}
    rows: list[dict[str, Any]] = []
    weights = 0
    with _plain_base(inputs) as base, Line("curvature", active=not inputs.quiet) as line:
        for step in steps:

            def report(name: str, done: int, step: int = step, before: int = len(rows)) -> None:
                line(before + done, len(parts) * len(steps), f"step {step}  f_{name.upper()}")

            numbers, weights = at_point(inputs, base, kept_folder(past.folder, step), tasks, parts, config, report)
            rows += [{"step": step, "objective": name, **own} for name, own in numbers.items()]
    return rows, {"rows_used": config.rows, "weights": weights}


def _draw(inputs: Inputs, config: CurvatureConfig) -> dict[str, Objective]:
    """Return the objectives by name on the drawn training rows, with the reference's log-probabilities of these."""
    from llm.training.objectives import load_objectives

    rows = {}
    for i, own in enumerate(inputs.config.objectives):
        tokens = inputs.datasets.train[own.set_name]
        rows[i] = np.sort(np.random.default_rng([config.seed, i]).choice(len(tokens), config.rows, replace=False))
    whole = load_objectives(inputs, trained=rows).train
    return {own.name: whole[i].select(rows[i]) for i, own in enumerate(inputs.config.objectives)}


@contextmanager
def _plain_base(inputs: Inputs) -> Iterator[Any]:
    """Yield the run's base model in float32 on the run's device, with attention that can be differentiated twice."""
    import torch

    from llm.models.architecture import attention, set_threads

    base = inputs.base.model
    if base.dtype != torch.float32:
        base = copy.deepcopy(base).float()
    if inputs.accelerator.device.type == "cpu":
        set_threads(base, inputs.config.threads)
    base = base.to(inputs.accelerator.device)
    with attention(base, "eager"):  # whose every operation has a second derivative
        yield base


def _shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the shares of points with a negative eigenvalue, and with a negative curvature along the gradient."""
    shares = {}
    for name in dict.fromkeys(row["objective"] for row in rows):
        mine = [row for row in rows if row["objective"] == name]
        bent = [row for row in mine if row["along_gradient"] is not None and row["along_gradient"] < 0.0]
        shares[f"negative_share_{name}"] = sum(row["negative"] for row in mine) / len(mine)
        shares[f"negative_along_gradient_share_{name}"] = len(bent) / len(mine)
    return shares


def table(record: dict[str, Any]) -> str:
    """Return the record of `curvature` as a table of text, with a line for eigenvalues that did not converge."""
    columns = ("value", "grad_norm", "along_gradient", "smallest", "largest", "residual", "margin")
    names = list(dict.fromkeys(row["objective"] for row in record["rows"]))
    width = max(9, *map(len, names))
    lines = [f"{'step':>8} {'objective':>{width}}" + "".join(f" {c:>14}" for c in columns)]
    for row in record["rows"]:
        cells = ("-" if row[c] is None else f"{row[c]:.4g}" for c in columns)
        lines.append(f"{row['step']:>8} {row['objective']:>{width}}" + "".join(f" {cell:>14}" for cell in cells))
    lines.append("  ".join(f"negative_share_{o} {record[f'negative_share_{o}']:.2f}" for o in names))
    open_rows = sum(not row["converged"] for row in record["rows"])
    if open_rows:
        lines.append(
            f"{open_rows} of {len(record['rows'])} rows have a residual above the tolerance {record['tolerance']:g}; "
            "give more --products"
        )
    return "\n".join(lines)
