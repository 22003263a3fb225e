"""The common part of all losses on preferences, and f_SFT."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch


def sft_losses(logps: torch.Tensor) -> torch.Tensor:
    """Return -log π_θ(y|x) of each response, eq. (4) before the mean: (S,) -> (S,), nats.

    The trainer divides the sum by the number of response tokens in the step, as every public trainer does; the paper's
    mean over examples weighs long answers differently.
    """
    return -logps


class PreferenceLoss:
    """A loss on preferences; subclasses are frozen dataclasses of their numbers.

    name             option value and the suffix of `f_NAME` in metrics
    title            display name
    needs_reference  whether reference log-probabilities must be given
    unpaired         whether its rows are single responses with a label, and not pairs
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs_reference: ClassVar[bool] = False
    unpaired: ClassVar[bool] = False

    @property
    def is_bounded(self) -> bool:
        """Whether the loss has a lower bound, so that there is an optimum to measure gaps from."""
        return True

    @classmethod
    def from_options(cls, options: Any) -> PreferenceLoss:
        """Return the loss with the numbers of a configuration (`llm.options.LossOptions`)."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return the name and numbers of the loss in words, for a model card."""
        numbers = ", ".join(f"{_LETTERS.get(name, name)} = {value:g}" for name, value in self.numbers().items())
        return f"{self.title}, {numbers}"

    def numbers(self) -> dict[str, float]:
        """Return the fields of the dataclass by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


_LETTERS = {
    "beta": "β",
    "gamma": "γ",
    "lam": "λ",
    "alpha": "α",
    "label_smoothing": "ε",
    "desirable_weight": "λ_D",
    "undesirable_weight": "λ_U",
}
