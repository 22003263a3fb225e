"""The objectives' losses, as functions of log-probabilities and never of models.

Letters and equations of arXiv 2410.15483v3: eq. (1) is f_DPO, eq. (4) and (5) are f_SFT and its gradient.
Log-probabilities are float32 or better, natural logarithms, summed over a response's tokens. A preference loss is one
frozen dataclass in `PREFERENCE_LOSSES`; SimPO and ORPO can replace DPO on training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch


def sft_losses(logps: torch.Tensor) -> torch.Tensor:
    """Return -log π_θ(y|x) of each response, eq. (4) before the mean: (S,) -> (S,), nats.

    The trainer divides the sum by the number of response tokens in the step, as every public trainer does; the paper's
    mean over examples weighs long answers differently.
    """
    return -logps


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


class PreferenceLoss:
    """A loss on pairs; subclasses are frozen dataclasses of their numbers.

    name             option value and the suffix of `f_NAME` in metrics
    title            display name
    needs_reference  whether `reference` must be given
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs_reference: ClassVar[bool] = False

    @classmethod
    def from_options(cls, options: Any) -> PreferenceLoss:
        """Return the loss with the numbers of a configuration (`llm.options.LossOptions`)."""
        raise NotImplementedError

    def __call__(self, logps: torch.Tensor, counts: torch.Tensor, reference: torch.Tensor | None) -> PreferenceTerms:
        """Return the terms of n pairs in alternating order: [0::2] are the chosen, [1::2] the rejected responses.

        logps      (2n,) summed log-probabilities under the policy
        counts     (2n,) response tokens |y|
        reference  (2n,) summed log-probabilities under the reference; None unless `needs_reference`
        """
        raise NotImplementedError

    def describe(self) -> str:
        """Return the name and numbers of the loss in words, for a model card."""
        numbers = ", ".join(f"{_LETTERS.get(name, name)} = {value:g}" for name, value in self.numbers().items())
        return f"{self.title}, {numbers}"

    def numbers(self) -> dict[str, float]:
        """Return the fields of the dataclass by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


_LETTERS = {"beta": "β", "gamma": "γ", "lam": "λ"}


@dataclass(frozen=True)
class DPOLoss(PreferenceLoss):
    """DPO, eq. (1) and (3): -log σ(h) with h = r_w - r_l and r = β (log π_θ(y|x) - log π_ref(y|x))."""

    beta: float

    name = "dpo"
    title = "DPO"
    needs_reference = True

    @classmethod
    def from_options(cls, options: Any) -> DPOLoss:
        """Return DPO with `beta`."""
        return cls(options.beta)

    def __call__(self, logps: torch.Tensor, counts: torch.Tensor, reference: torch.Tensor | None) -> PreferenceTerms:  # noqa: ARG002
        """Return -log σ of the reward margin; `counts` is not used."""
        from torch.nn import functional

        assert reference is not None
        rewards = self.beta * (logps - reference)
        chosen, rejected = rewards[0::2], rewards[1::2]
        return PreferenceTerms(-functional.logsigmoid(chosen - rejected), chosen, rejected)


@dataclass(frozen=True)
class SimPOLoss(PreferenceLoss):
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
class ORPOLoss(PreferenceLoss):
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


PREFERENCE_LOSSES: Mapping[str, type[PreferenceLoss]] = {loss.name: loss for loss in (DPOLoss, SimPOLoss, ORPOLoss)}
