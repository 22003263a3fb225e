"""Curvature at one point: an adapter that a run kept. Runs that kept the same adapter share the numbers of a point."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.cache import ContentCache, digest
from llm.common.code_digest import code_digest
from llm.common.files import read_json, write_json

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.evaluation.curvature import CurvatureConfig
    from llm.evaluation.hessian import Surface, Vector
    from llm.training.inputs import Inputs
    from llm.training.objective import Objective

Parts = Mapping[str, Mapping[str, float]]  # name of a weighted sum -> weights of the objectives by name
Numbers = dict[str, dict[str, Any]]  # name of a weighted sum -> its record


def at_point(
    inputs: Inputs,
    base: Any,
    adapter: Path,
    tasks: Mapping[str, Objective],
    parts: Parts,
    config: CurvatureConfig,
    report: Callable[[str, int], None],
) -> tuple[Numbers, int]:
    """Return the records of weighted sums of objectives at an adapter, and its number of weights.

    base    the base model, as `curvature` prepares it
    tasks   the objectives on the drawn rows, by name
    report  called with the name of a finished sum, and the number of those that are finished

    Cached: the methods of a study begin at one adapter, at which the first of their measures computes the numbers. A
    cache that cannot be written costs time alone.
    """
    cache, key = ContentCache(inputs.cache, "curvature_points"), _key(inputs, config, adapter, tasks, parts)
    known = cache.read(key, _load)
    if known is None:
        numbers: Numbers = {}
        with _surfaces(base, adapter, tasks, inputs.config) as surfaces:
            for name, weighted in parts.items():
                numbers[name] = numbers_at(weighted, surfaces, config)
                report(name, len(numbers))
            known = numbers, next(iter(surfaces.values())).size
        computed = known
        try:
            cache.write(key, lambda folder: write_json(folder / "point.json", computed))
        except OSError:
            return computed
    return known


def _load(folder: Path) -> tuple[Numbers, int]:
    """Return the records and the number of weights of a cache entry."""
    numbers, weights = read_json(folder / "point.json")
    return numbers, weights


def _key(
    inputs: Inputs,
    config: CurvatureConfig,
    adapter: Path,
    tasks: Mapping[str, Objective],
    parts: Parts,
) -> str:
    """Return the name of everything that the numbers at a point depend on."""
    from llm.models.fingerprints import adapter_fingerprint
    from llm.training.cached_run import computing_code, key_values

    references = (task.reference for task in tasks.values() if task.reference is not None)
    values: dict[str, Any] = {
        "code": [code_digest("llm.evaluation.curvature"), computing_code()],
        "base": inputs.base.fingerprint,
        "adapter": adapter_fingerprint(adapter),
        "objectives": {name: task.describe() for name, task in tasks.items()},
        "references": [hashlib.sha256(reference.numpy().tobytes()).hexdigest() for reference in references],
        "parts": {name: dict(weighted) for name, weighted in parts.items()},
        "accuracy": [config.tolerance, config.products, config.seed],
        "options": key_values(inputs.config),
        "device": inputs.accelerator.device.type,
    }
    return digest(values)


@contextmanager
def _surfaces(
    base: Any, adapter: Path, tasks: Mapping[str, Objective], config: TrainConfig
) -> Iterator[dict[str, Surface]]:
    """Yield the objectives at an adapter, by name; the base has no adapter afterwards."""
    from llm.evaluation.hessian import Surface
    from llm.models.lora import load_adapter, unload
    from llm.models.policy import Policy
    from llm.training.base import longest_row
    from llm.training.engine import micro_tokens

    model = load_adapter(base, str(adapter), trainable=True)
    try:
        policy = Policy(model).to(base.device).eval()
        first = next((task for task in tasks.values() if not task.is_sft), next(iter(tasks.values())))
        probe, share = first.tokens.select([0]), "no" if config.share_prompt == "no" else "auto"
        policy.select_forward_path(
            lambda batch: policy(batch.to(base.device)),
            probe.prompts,
            probe.responses,
            share_prompt=share,
            longest=longest_row(first.tokens),
        )
        policy.twice_differentiable = True
        surfaces = {}
        for name, task in tasks.items():
            laid_out = dataclasses.replace(task, share_prompt=policy.share_prompt)
            rows = np.arange(len(task), dtype=np.int64)
            surfaces[name] = Surface(policy, laid_out, rows, most=micro_tokens(config, base.device.type))
        yield surfaces
    finally:
        unload(model)


def numbers_at(parts: Mapping[str, float], surfaces: dict[str, Surface], config: CurvatureConfig) -> dict[str, Any]:
    """Return the numbers of a weighted sum of objectives at one point; `parts` has the weights by name."""
    from llm.evaluation.hessian import ends

    weighted = [(weight, surfaces[name]) for name, weight in parts.items() if weight > 0.0]

    def product(vector: Vector) -> Vector:
        return sum((weight * surface.product(vector) for weight, surface in weighted), np.zeros(len(vector)))

    gradient = sum((weight * surface.gradient for weight, surface in weighted), np.zeros(weighted[0][1].size))
    norm = float(np.linalg.norm(gradient))
    along = float(gradient @ product(gradient / norm)) / norm if norm > 0.0 else None
    spectrum = ends(
        product, len(gradient), rng=np.random.default_rng(config.seed), tolerance=config.tolerance,
        products=config.products,
    )  # fmt: skip
    return {
        "value": sum(weight * surface.value for weight, surface in weighted),
        "grad_norm": norm,
        "along_gradient": along,
        "smallest": spectrum.smallest,
        "largest": spectrum.largest,
        "residual": max(spectrum.residual_smallest, spectrum.residual_largest),
        "residual_smallest": spectrum.residual_smallest,
        "residual_largest": spectrum.residual_largest,
        "margin": spectrum.margin,
        "converged": spectrum.converged,
        "products": spectrum.products,
        "negative": spectrum.negative,
    }
