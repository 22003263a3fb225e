"""Losses on pairs of responses. TRL's names are those of `DPOConfig.loss_type` in TRL 1.16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm.losses.base import PreferenceLoss

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PreferenceTerms:
    """Losses and rewards of a batch of n pairs; each (n,).

    losses            before the mean; for DPO -log σ(h), eq. (1)
    rewards_chosen    rewards of the chosen responses; for DPO β (log π_θ(y_w|x) - log π_ref(y_w|x))
    rewards_rejected  rewards of the rejected responses
    """

    losses: torch.Tensor
    rewards_chosen: torch.Tensor
    rewards_rejected: torch.Tensor


class PairLoss(PreferenceLoss):
    """A loss on pairs of a chosen and a rejected response."""

    def __call__(self, logps: torch.Tensor, counts: torch.Tensor, reference: torch.Tensor | None) -> PreferenceTerms:
        """Return the terms of n pairs in alternating order: [0::2] are the chosen, [1::2] the rejected responses.

        logps      (2n,) summed log-probabilities under the policy
        counts     (2n,) response tokens |y|
        reference  (2n,) summed log-probabilities under the reference; None unless `needs_reference`
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ReferenceLoss(PairLoss):
    """A loss on DPO's rewards r = β (log π_θ(y|x) - log π_ref(y|x)), which TRL reports for all of these losses."""

    beta: float

    needs_reference = True

    @classmethod
    def from_options(cls, options: Any) -> ReferenceLoss:
        """Return the loss with `beta`."""
        return cls(options.beta)

    def __call__(self, logps: torch.Tensor, counts: torch.Tensor, reference: torch.Tensor | None) -> PreferenceTerms:
        """Return `pair_losses` with the rewards."""
        assert reference is not None
        rewards = self.beta * (logps - reference)
        return PreferenceTerms(self.pair_losses(rewards, logps, counts), rewards[0::2], rewards[1::2])

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Return the losses (n,) of n pairs from (2n,) rewards, log-probabilities and response tokens."""
        raise NotImplementedError


def _margins(rewards: torch.Tensor) -> torch.Tensor:
    """Return h = r_w - r_l, (n,), of (2n,) rewards."""
    return rewards[0::2] - rewards[1::2]


@dataclass(frozen=True)
class DPOLoss(ReferenceLoss):
    """DPO, eq. (1) and (3): -log σ(h) with h = r_w - r_l. TRL: sigmoid."""

    name = "dpo"
    title = "DPO"

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return -log σ of the reward margin."""
        from torch.nn import functional

        return -functional.logsigmoid(_margins(rewards))


@dataclass(frozen=True)
class IPOLoss(ReferenceLoss):
    """IPO, arXiv 2310.12036 eq. (17): (r_w/(β|y_w|) - r_l/(β|y_l|) - 1/(2β))², β being its τ. TRL: ipo.

    The log-ratios are means over a response's tokens, which the paper's authors confirm as the form of its results.
    """

    name = "ipo"
    title = "IPO"

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return the squared distance of the mean log-ratios' margin from 1/(2β)."""
        return (_margins(rewards / counts) / self.beta - 0.5 / self.beta) ** 2


@dataclass(frozen=True)
class HingeLoss(ReferenceLoss):
    """The hinge loss of SLiC, arXiv 2305.10425, on DPO's margin (arXiv 2309.06657): max(0, 1 - h). TRL: hinge."""

    name = "hinge"
    title = "hinge (SLiC)"

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return the part of the margin that is missing to 1."""
        return (1.0 - _margins(rewards)).relu()


@dataclass(frozen=True)
class ConservativeDPOLoss(ReferenceLoss):
    """Conservative DPO: -(1-ε) log σ(h) - ε log σ(-h), with the probability ε < ½ that a pair's labels are swapped.

    Source: E. Mitchell, A note on DPO with noisy preferences and relationship to IPO, 2023. ε = 0: DPO.
    """

    label_smoothing: float

    name = "cdpo"
    title = "conservative DPO"

    @classmethod
    def from_options(cls, options: Any) -> ConservativeDPOLoss:
        """Return the loss with `beta` and `label_smoothing`."""
        return cls(options.beta, options.label_smoothing)

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return the expected loss of DPO if the labels are swapped with probability ε."""
        from torch.nn import functional

        h, swapped = _margins(rewards), self.label_smoothing
        return -(1.0 - swapped) * functional.logsigmoid(h) - swapped * functional.logsigmoid(-h)


@dataclass(frozen=True)
class RobustDPOLoss(ReferenceLoss):
    """Robust DPO, arXiv 2403.00409: (-(1-ε) log σ(h) + ε log σ(-h)) / (1-2ε). TRL: robust.

    Its mean over pairs whose labels were swapped with probability ε < ½ is DPO's on the true labels. It has no
    lower bound.
    """

    label_smoothing: float

    name = "robust"
    title = "robust DPO"

    @property
    def is_bounded(self) -> bool:
        """Whether ε is 0: else the loss falls below any number as the margin grows."""
        return self.label_smoothing == 0.0

    @classmethod
    def from_options(cls, options: Any) -> RobustDPOLoss:
        """Return the loss with `beta` and `label_smoothing`."""
        return cls(options.beta, options.label_smoothing)

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return DPO's loss, corrected for swapped labels."""
        from torch.nn import functional

        h, swapped = _margins(rewards), self.label_smoothing
        clean, flipped = -(1.0 - swapped) * functional.logsigmoid(h), -swapped * functional.logsigmoid(-h)
        return (clean - flipped) / (1.0 - 2.0 * swapped)


@dataclass(frozen=True)
class RPOLoss(ReferenceLoss):
    """DPO with a likelihood term, arXiv 2404.19733 eq. (1): -log σ(h) - α/|y_w| log π_θ(y_w|x). TRL: sigmoid and sft.

    The likelihood is a mean over each chosen response's tokens, and then over pairs, so that the loss is a function of
    a pair; TRL's (`loss_weights=[1, α]`) is a mean over the tokens of a micro-batch, which weighs long responses more.
    """

    alpha: float

    name = "rpo"
    title = "RPO"

    @classmethod
    def from_options(cls, options: Any) -> RPOLoss:
        """Return the loss with `beta` and `rpo_alpha`."""
        return cls(options.beta, options.rpo_alpha)

    def pair_losses(self, rewards: torch.Tensor, logps: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Return DPO's loss plus α times the chosen response's mean negative log-probability."""
        from torch.nn import functional

        return -functional.logsigmoid(_margins(rewards)) - self.alpha * (logps / counts)[0::2]


@dataclass(frozen=True)
class SimPOLoss(PairLoss):
    """SimPO, arXiv 2405.14734 eq. (6): -log σ(r_w - r_l - γ) with r = β/|y| log π_θ(y|x)."""

    beta: float
    gamma: float

    name = "simpo"
    title = "SimPO"

    @classmethod
    def from_options(cls, options: Any) -> SimPOLoss:
        """Return SimPO with `simpo_beta` (0: `beta`) and `simpo_gamma`."""
        return cls(options.simpo_beta or options.beta, options.simpo_gamma)

    def __call__(self, logps: torch.Tensor, counts: torch.Tensor, reference: torch.Tensor | None) -> PreferenceTerms:  # noqa: ARG002
        """Return -log σ of the length-normalised margin less γ; `reference` is not used."""
        from torch.nn import functional

        rewards = self.beta * logps / counts
        chosen, rejected = rewards[0::2], rewards[1::2]
        return PreferenceTerms(-functional.logsigmoid(chosen - rejected - self.gamma), chosen, rejected)


@dataclass(frozen=True)
class ORPOLoss(PairLoss):
    """ORPO, arXiv 2403.07691 eq. (6), (7): -1/|y_w| log π_θ(y_w|x) - λ log σ(log odds(y_w|x)/odds(y_l|x)).

    odds = p/(1-p) with log p = 1/|y| log π_θ(y|x). Rewards are λ log p, as TRL's are. The first term is a mean over a
    response's tokens and over pairs. A p that rounding makes 1 has infinite odds; it counts as 1 - eps of its
    precision, where the loss is flat.
    """

    lam: float

    name = "orpo"
    title = "ORPO"

    @classmethod
    def from_options(cls, options: Any) -> ORPOLoss:
        """Return ORPO with `orpo_lambda`."""
        return cls(options.orpo_lambda)

    def __call__(self, logps: torch.Tensor, counts: torch.Tensor, reference: torch.Tensor | None) -> PreferenceTerms:  # noqa: ARG002
        """Return the likelihood term plus λ times the odds-ratio term; `reference` is not used."""
        import torch
        from torch.nn import functional

        mean = logps / counts
        below = mean.clamp(max=-torch.finfo(mean.dtype).eps)
        # log(1-p). One branch suffices: where p is small, log p is large beside the rounding error of this branch.
        odds = below - torch.log(-torch.expm1(below))
        losses = -mean[0::2] - self.lam * functional.logsigmoid(odds[0::2] - odds[1::2])
        rewards = self.lam * mean
        return PreferenceTerms(losses, rewards[0::2], rewards[1::2])
