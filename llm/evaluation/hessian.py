"""An objective's Hessian on an adapter's weights: exact products with it, and its two ends by Lanczos' method.

A product is a gradient of a gradient (B. A. Pearlmutter, "Fast exact multiplication by the Hessian", 1994), so nothing
of the size (weights)² is ever in memory. All operations must be differentiable twice: attention "eager", and the
model's own forward pass instead of `Policy.skip_prompt_logits`'s head, whose backward pass is written by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from llm.data.sampler import Indices, micro_batch_count, split
from llm.models.policy import Policy
from llm.training.objective import Objective

Vector = NDArray[np.float64]

# A product computed in float32 is off by less than this share of the Hessian's norm: some hundred roundings of 6e-8.
NOISE = 1e-5


class Surface:
    """An objective on fixed rows as a function of the policy's trainable weights, at their present values.

    policy  with `skip_prompt_logits` false and attention that can be differentiated twice
    most    padded tokens at once; where the rows are more, they are taken in parts, and a product computes each part's
            graph again instead of keeping it
    """

    def __init__(self, policy: Policy, task: Objective, rows: Indices, *, most: int) -> None:
        self.policy, self.task, self.rows = policy, task, rows
        self.weights = [p for p in policy.parameters() if p.requires_grad]
        self.size = sum(p.numel() for p in self.weights)
        self.parts = split(rows[np.argsort(task.lengths[rows], kind="stable")], self._count(most))
        self.value, self.gradient = 0.0, np.zeros(self.size)
        for part in self.parts:
            value, gradient = self._part(part)
            self.value += float(value.detach())
            self.gradient += _plain(gradient)
        self._kept = gradient if len(self.parts) == 1 else None

    def product(self, vector: Vector) -> Vector:
        """The Hessian times a vector, (size,) -> (size,); computed in the weights' precision."""
        total = np.zeros(self.size)
        for part in self.parts:
            gradient = self._part(part)[1] if self._kept is None else self._kept
            along = torch.from_numpy(vector).to(gradient)
            slopes = torch.autograd.grad(
                gradient, self.weights, along, retain_graph=self._kept is not None, materialize_grads=True
            )
            total += _plain(_flat(slopes))
        return total

    def _count(self, most: int) -> int:
        return micro_batch_count(self.rows, self.task.lengths, world=1, max_tokens=most)

    def _part(self, part: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """(the part's share of the objective, its gradient), both with a graph."""
        batch = self.task.batch(part).to(self.weights[0].device)
        total, _ = self.task.measure(self.policy(batch), batch, part)
        value = total / self.task.units(self.rows)
        return value, _flat(torch.autograd.grad(value, self.weights, create_graph=True, materialize_grads=True))


def _flat(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _plain(tensor: torch.Tensor) -> Vector:
    return tensor.detach().double().cpu().numpy()


@dataclass(frozen=True)
class Ends:
    """The smallest and the largest eigenvalue of a symmetric H, as Rayleigh quotients of unit vectors v.

    A Rayleigh quotient is never below the smallest eigenvalue nor above the largest, so a negative `smallest` proves
    that H has a negative eigenvalue. `residual_...` are ||Hv - λv||: within that distance of λ there is an eigenvalue.

    products  how many times H was multiplied
    """

    smallest: float
    largest: float
    residual_smallest: float
    residual_largest: float
    products: int

    @property
    def negative(self) -> bool:
        """Whether H has a negative eigenvalue, by more than what float32 is off by."""
        return self.smallest < -NOISE * max(abs(self.smallest), abs(self.largest))


def ends(
    product: Callable[[Vector], Vector],
    size: int,
    *,
    rng: np.random.Generator,
    tolerance: float = 0.01,
    products: int = 40,
) -> Ends:
    """Both ends of the spectrum of a symmetric (size, size) matrix, from a start that `rng` draws.

    tolerance  stop when both residuals are at most this share of the larger eigenvalue's magnitude
    products   stop after so many products (and two more, which measure the residuals)

    Lanczos' method with full reorthogonalisation. scipy's `eigsh` holds each end's residual against that very
    eigenvalue: where an end is next to 0 it asks for more digits than float32 has and goes on for ever. The tests hold
    this one against it.
    """
    basis = np.empty((min(products, size), size))
    start = rng.standard_normal(size)
    diagonal: list[float] = []
    beside: list[float] = []
    vector = start / np.linalg.norm(start)
    for m in range(len(basis)):
        basis[m] = vector
        image = product(vector)
        diagonal.append(float(vector @ image))
        for _ in range(2):  # once leaves what rounding put back
            image = image - basis[: m + 1].T @ (basis[: m + 1] @ image)
        rest = float(np.linalg.norm(image))
        values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside))
        scale = float(np.abs(values).max())
        if rest * max(abs(vectors[-1, 0]), abs(vectors[-1, -1])) <= tolerance * scale or rest <= NOISE * scale:
            break
        beside.append(rest)
        vector = image / rest
    found = [_checked(product, basis[: len(diagonal)].T @ vectors[:, j]) for j in (0, -1)]
    (low, off_low), (high, off_high) = found
    return Ends(low, high, off_low, off_high, len(diagonal) + 2)


def _checked(product: Callable[[Vector], Vector], vector: Vector) -> tuple[float, float]:
    """(Rayleigh quotient, residual) of a vector."""
    unit = vector / np.linalg.norm(vector)
    image = product(unit)
    quotient = float(unit @ image)
    return quotient, float(np.linalg.norm(image - quotient * unit))
