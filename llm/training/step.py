"""The passes of one step: gradients of the weighted objectives, and the values that a rule compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from llm.training.engine import Engine, ForwardResult

if TYPE_CHECKING:
    from llm.data.sampler import BatchSampler
    from llm.training.objective import Objective


def accumulate_gradients(
    engine: Engine,
    objectives: Mapping[int, Objective],
    samplers: Mapping[int, BatchSampler],
    coefficients: Sequence[float],
    evaluated: Mapping[int, ForwardResult],
    *,
    one_graph: bool,
) -> dict[int, ForwardResult]:
    """Accumulate gradients of the weighted sum on the next batches; objectives of weight 0 are not computed.

    evaluated  gap evaluations of this step; one with its graph is the step's own forward pass
    one_graph  one backward pass of the sum, if each batch is one part
    """
    chosen = [i for i, c in enumerate(coefficients) if c > 0.0]
    if len(chosen) > 1 and one_graph:
        both = {i: engine.forward(objectives[i], samplers[i].peek(), graph=True, noise=True) for i in chosen}
        losses = [coefficients[i] * result.loss for i, result in both.items() if result.loss is not None]
        if len(losses) == len(chosen):
            engine.accumulate(torch.stack(losses).sum())
            return both
    trained = {}
    for i in chosen:
        result = evaluated.get(i)
        if result is not None and result.loss is not None:
            engine.accumulate(coefficients[i] * result.loss)
            trained[i] = result
        else:
            trained[i] = engine.backward(objectives[i], samplers[i].peek(), coefficients[i], noise=True)
    return trained


def without_noise(
    engine: Engine, trained: Mapping[int, ForwardResult], evaluated: Mapping[int, ForwardResult], wanted: Sequence[int]
) -> dict[int, ForwardResult]:
    """Return forward passes without NEFTune's noise on the training batches, of objectives that were trained with it.

    evaluated  gap evaluations of this step, which have no noise; one on the same rows is taken
    wanted     objectives whose training values the rule stores
    """
    clean = {}
    for i in (i for i in wanted if i in trained and engine.has_noise(trained[i].objective)):
        result, known = trained[i], evaluated.get(i)
        same = known is not None and np.array_equal(known.rows, result.rows)
        clean[i] = known if known is not None and same else engine.forward(result.objective, result.rows, graph=False)
    return clean
