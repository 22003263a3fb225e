"""The objectives' losses, as functions of log-probabilities and never of models.

Letters and equations of arXiv 2410.15483v3: eq. (1) is f_DPO, eq. (4) and (5) are f_SFT and its gradient.
Log-probabilities are float32 or better, natural logarithms, summed over a response's tokens. A preference loss is one
frozen dataclass in `PREFERENCE_LOSSES`; every other loss can replace DPO on training rows.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm.losses.base import PreferenceLoss, sft_losses
from llm.losses.pairs import (
    ConservativeDPOLoss,
    DPOLoss,
    HingeLoss,
    IPOLoss,
    ORPOLoss,
    PairLoss,
    PreferenceTerms,
    ReferenceLoss,
    RobustDPOLoss,
    RPOLoss,
    SimPOLoss,
)
from llm.losses.unpaired import KTOLoss, UnpairedLoss, UnpairedTerms, divergence

__all__ = [
    "PREFERENCE_LOSSES",
    "ConservativeDPOLoss",
    "DPOLoss",
    "HingeLoss",
    "IPOLoss",
    "KTOLoss",
    "ORPOLoss",
    "PairLoss",
    "PreferenceLoss",
    "PreferenceTerms",
    "RPOLoss",
    "ReferenceLoss",
    "RobustDPOLoss",
    "SimPOLoss",
    "UnpairedLoss",
    "UnpairedTerms",
    "divergence",
    "sft_losses",
]

_LOSSES: tuple[type[PreferenceLoss], ...] = (
    DPOLoss,
    IPOLoss,
    HingeLoss,
    ConservativeDPOLoss,
    RobustDPOLoss,
    RPOLoss,
    SimPOLoss,
    ORPOLoss,
    KTOLoss,
)
PREFERENCE_LOSSES: Mapping[str, type[PreferenceLoss]] = {loss.name: loss for loss in _LOSSES}
