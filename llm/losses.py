"""The objectives, as functions of log-probabilities and never of models.

Letters and equations of arXiv 2410.15483v3: eq. (1) is f_DPO, eq. (2) is f_SFT. Log-probabilities are float32 or
better, natural logarithms, summed over a response's tokens. SimPO and ORPO may be trained on in DPO's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F


def sft_losses(logps: torch.Tensor) -> torch.Tensor:
    """-log π_θ(y|x) of each response, eq. (2) before it is averaged. (S,) -> (S,), nats.

    The trainer divides the sum by the number of response tokens in the step, as every public trainer does; the paper's
    mean over examples differs from that by the weights of long answers.
    """
    return -logps


@dataclass(frozen=True)
class Preference:
    """What a batch of n pairs gives; each (n,).

    losses            before they are averaged; for DPO -log σ(h), eq. (1)
    rewards_chosen    of the chosen responses; for DPO β (log π_θ(y_w|x) - log π_ref(y_w|x))
    rewards_rejected  the same of the rejected responses
    """

    losses: torch.Tensor
    rewards_chosen: torch.Tensor
    rewards_rejected: torch.Tensor


def dpo(logps: torch.Tensor, reference: torch.Tensor, *, beta: float) -> Preference:
    """DPO of pairs that stand in turn: logps[0::2] are the chosen, logps[1::2] the rejected responses.

    logps, reference  (2n,) summed log-probabilities under the policy and under the reference
    """
    rewards = beta * (logps - reference)
    chosen, rejected = rewards[0::2], rewards[1::2]
    return Preference(-F.logsigmoid(chosen - rejected), chosen, rejected)


@dataclass(frozen=True)
class ReferenceFree:
    """A preference loss that needs no reference.

    name  "simpo" or "orpo"
    of    `simpo` or `orpo` with its numbers
    """

    name: str
    of: partial[Preference]


def simpo(logps: torch.Tensor, counts: torch.Tensor, *, beta: float, gamma: float) -> Preference:
    """SimPO of pairs that stand in turn, arXiv 2405.14734 eq. (6): -log σ(r_w - r_l - γ) with r = β/|y| log π_θ(y|x).

    logps   (2n,) summed log-probabilities
    counts  (2n,) |y|, response tokens
    """
    rewards = beta * logps / counts
    chosen, rejected = rewards[0::2], rewards[1::2]
    return Preference(-F.logsigmoid(chosen - rejected - gamma), chosen, rejected)


def orpo(logps: torch.Tensor, counts: torch.Tensor, *, lam: float) -> Preference:
    """ORPO of pairs that stand in turn, arXiv 2403.07691 eq. (6) and (7): -1/|y_w| log π_θ(y_w|x) - λ log σ(the log of
    odds(y_w|x)/odds(y_l|x)), where odds = p/(1-p) with log p = 1/|y| log π_θ(y|x). Rewards are λ log p, as TRL's are.

    logps   (2n,) summed log-probabilities
    counts  (2n,) |y|, response tokens

    The first term is a mean over a response's tokens and over pairs. A p that rounding makes 1 has infinite odds; it is
    taken for 1 - eps of its precision, where the loss is flat.
    """
    mean = logps / counts
    below = mean.clamp(max=-torch.finfo(mean.dtype).eps)
    # log(1-p). One branch is enough: where p is small, log p is large beside what this loses.
    odds = below - torch.log(-torch.expm1(below))
    losses = -mean[0::2] - lam * F.logsigmoid(odds[0::2] - odds[1::2])
    rewards = lam * mean
    return Preference(losses, rewards[0::2], rewards[1::2])
