"""The loop that a user of torch would write for the same problem: losses of log-probabilities, autograd, SGD."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.nn import functional

from toyopt.algorithms import Alright, Maxright, Mix, Rule, draw, largest_weighted_gap
from toyopt.examples import TABLE3


class Policy(nn.Module):
    """pi_theta(y|x) proportional to exp(theta . phi(y,x))."""

    def __init__(self, theta0: ArrayLike) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(np.asarray(theta0, dtype=np.float64)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities (N, m) of the outputs with features (N, m, d)."""
        return functional.log_softmax(features @ self.theta, dim=-1)


def dpo_loss(logps: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """Return eq. (1); logps (N, 2): chosen, rejected."""
    margins = (logps[:, 0] - reference[:, 0]) - (logps[:, 1] - reference[:, 1])
    return -functional.logsigmoid(beta * margins).mean()


def sft_loss(logps: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return eq. (4)."""
    return functional.nll_loss(logps, targets)


def table3(theta_ref: ArrayLike) -> list[Callable[[Policy], torch.Tensor]]:
    """Return the two objectives of Table 3, f_DPO with β = 1 and f_SFT."""
    phi = {row.role: row.feature for row in TABLE3}
    pair = torch.tensor([[phi["chosen"], phi["rejected"]]], dtype=torch.float64)
    answers = torch.tensor([[phi["target"], phi["not trained on"]]], dtype=torch.float64)
    with torch.no_grad():
        reference = Policy(theta_ref)(pair)
    wanted = torch.zeros(1, dtype=torch.long)
    return [lambda policy: dpo_loss(policy(pair), reference, 1.0), lambda policy: sft_loss(policy(answers), wanted)]


def run(
    losses: list[Callable[[Policy], torch.Tensor]],
    rule: Rule,
    *,
    theta0: ArrayLike,
    alpha: float,
    weight_decay: float,
    steps: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the last iterate of full-gradient steps by Mix, ALRIGHT or MAXRIGHT with k = 1, shape (2,)."""
    policy = Policy(theta0)
    optimiser = torch.optim.SGD(policy.parameters(), lr=alpha, weight_decay=weight_decay)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        optimiser.zero_grad()
        if isinstance(rule, Alright):
            weights = (rule.lam, 1.0 - rule.lam)
            loss = losses[draw(rng.random(), weights)](policy)
        elif isinstance(rule, Mix):
            loss = rule.lam * losses[0](policy) + (1.0 - rule.lam) * losses[1](policy)
        elif isinstance(rule, Maxright) and rule.k == 1:
            both = [one(policy) for one in losses]
            gaps = [value.item() - star for value, star in zip(both, rule.f_star, strict=True)]
            loss = both[largest_weighted_gap((rule.lam, 1.0 - rule.lam), gaps)]
        else:
            raise TypeError(f"rule: Mix, Alright or Maxright with k = 1 is needed, got {rule!r}")
        loss.backward()
        optimiser.step()
    return policy.theta.detach().numpy().copy()
