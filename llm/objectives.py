"""The two objectives, as functions of log-probabilities and never of models.

Letters and equations of arXiv 2410.15483v3: eq. (1) is f_DPO, eq. (2) is f_SFT. Log-probabilities are float32 or
better, natural logarithms, summed over a response's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    losses            -log σ(h), eq. (1) before it is averaged
    rewards_chosen    β (log π_θ(y_w|x) - log π_ref(y_w|x))
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
