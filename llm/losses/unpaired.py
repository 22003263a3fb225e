"""Losses on single responses that are labelled desirable or undesirable. TRL's names are those of its `KTOConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm.losses.base import PreferenceLoss

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class UnpairedTerms:
    """Losses, before the mean, and rewards β (log π_θ(y|x) - log π_ref(y|x)) of a batch of n responses; each (n,)."""

    losses: torch.Tensor
    rewards: torch.Tensor


def divergence(logps: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the sum of log π_θ(y'|x) - log π_ref(y'|x) over n mismatched rows, (), float64 and without a graph.

    logps, reference  (n,) summed log-probabilities of responses y' to other prompts

    Its mean over all rows of a step, or 0 if that is negative, is KTO's estimate of KL(π_θ ‖ π_ref).
    """
    return (logps.detach() - reference).double().sum()


class UnpairedLoss(PreferenceLoss):
    """A loss on rewards r = β (log π_θ(y|x) - log π_ref(y|x)) of responses with a label."""

    needs_reference = True
    unpaired = True

    def __call__(
        self, logps: torch.Tensor, reference: torch.Tensor, desirable: torch.Tensor, kl: float
    ) -> UnpairedTerms:
        """Return the terms of n responses.

        logps, reference  (n,) summed log-probabilities under the policy and under the reference
        desirable         (n,) bool, the labels
        kl                estimate of KL(π_θ ‖ π_ref), at least 0, through which no gradient goes
        """
        raise NotImplementedError


@dataclass(frozen=True)
class KTOLoss(UnpairedLoss):
    """KTO, arXiv 2402.01306 eq. (7), (8): λ_D (1 - σ(r - βz)) of desirable, λ_U (1 - σ(βz - r)) of undesirable rows.

    z is the estimate of KL(π_θ ‖ π_ref) from mismatched prompts and responses. TRL: kto.
    """

    beta: float
    desirable_weight: float
    undesirable_weight: float

    name = "kto"
    title = "KTO"

    @classmethod
    def from_options(cls, options: Any) -> KTOLoss:
        """Return the loss with `beta`, `desirable_weight` and `undesirable_weight`."""
        return cls(options.beta, options.desirable_weight, options.undesirable_weight)

    def __call__(
        self, logps: torch.Tensor, reference: torch.Tensor, desirable: torch.Tensor, kl: float
    ) -> UnpairedTerms:
        """Return the weighted value-function losses with the rewards."""
        import torch

        rewards = self.beta * (logps - reference)
        margin = rewards - self.beta * kl
        # 1 - σ(x) = σ(-x), without the rounding of a difference.
        losses = torch.where(
            desirable,
            self.desirable_weight * torch.sigmoid(-margin),
            self.undesirable_weight * torch.sigmoid(margin),
        )
        return UnpairedTerms(losses, rewards)
