"""An objective with its data: rows to batches, log-probabilities to losses, and the sums that processes add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from llm.data.collate import Batch, collate
from llm.data.sampler import Indices
from llm.losses import Preference, ReferenceFree, dpo, sft_losses

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset

# What is summed over rows and processes. "units" are response tokens for SFT and pairs for DPO; "loss" is summed over
# units, and so is "beside", a second loss; "means" and "parts" are micro-batches' means and their number.
SUMS = (
    "loss", "units", "means", "parts", "tokens", "chosen", "rejected", "correct", "logp_chosen", "logp_rejected",
    "beside",
)  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """f_DPO or f_SFT on a set of rows.

    name       "dpo" or "sft"
    tokens     its rows
    beta       DPO's β
    reference  (n, 2) float32, log-probabilities of chosen and rejected under the reference; None for SFT
    shared     a pair's prompt is computed once
    by_part    the value is the mean of micro-batches' means, not of all units (f_SFT as the paper's authors average)
    loss       "dpo" only: a loss in f_DPO's place; no reference is needed
    beside     "dpo" only: a loss that `metrics` tells as well
    """

    name: str
    tokens: TokenizedDataset
    beta: float = 0.1
    reference: torch.Tensor | None = None
    shared: bool = False
    by_part: bool = False
    loss: ReferenceFree | None = None
    beside: ReferenceFree | None = None
    lengths: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.shared or self.name == "sft":
            lengths = self.tokens.lengths()
        else:  # two sequences a row, padded to the longer one
            pairs = zip(self.tokens.prompts, self.tokens.responses, strict=True)
            lengths = np.array([2 * (len(p) + max(len(a) for a in r)) for p, r in pairs], dtype=np.int64)
        object.__setattr__(self, "lengths", np.asarray(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def label(self) -> str:
        """What its value is called: dpo, sft, or the name of the loss in DPO's place."""
        return self.loss.name if self.loss else self.name

    def batch(self, rows: Indices) -> Batch:
        """The rows as tensors, on the CPU."""
        return collate(
            [self.tokens.prompts[i] for i in rows], [self.tokens.responses[i] for i in rows], shared=self.shared
        )

    def units(self, rows: Indices) -> int:
        """What the mean is taken over: response tokens (SFT) or pairs (DPO)."""
        if self.name == "dpo":
            return len(rows)
        return sum(len(self.tokens.responses[i][0]) for i in rows)

    def measure(
        self, logps: torch.Tensor, batch: Batch, rows: Indices, keep: Sequence[bool] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(the summed loss with its graph, the sums without one in the order of SUMS, float64).

        logps  (S,) of the batch
        keep   (rows,): False for rows that fill up a batch and do not count
        """
        mask = torch.ones(len(rows), dtype=torch.bool) if keep is None else torch.tensor(list(keep), dtype=torch.bool)
        mask = mask.to(logps.device)
        extra = torch.zeros(6, dtype=torch.float64, device=logps.device)
        if self.name == "dpo":
            pairs = self._pairs(logps, batch, rows)
            beside = self.beside.of(logps.detach(), batch.counts).losses if self.beside else torch.zeros_like(mask)
            losses, units = pairs.losses, mask.double()
            won, lost = pairs.rewards_chosen.detach()[mask], pairs.rewards_rejected.detach()[mask]
            extra = torch.stack(
                [
                    won.double().sum(),
                    lost.double().sum(),
                    (won > lost).double().sum(),
                    logps.detach()[0::2][mask].double().sum(),
                    logps.detach()[1::2][mask].double().sum(),
                    beside[mask].double().sum(),
                ]
            )
        else:
            losses, units = sft_losses(logps), batch.counts.double() * mask
        total = losses[mask].sum()
        value = losses.detach()[mask].double().sum()
        counted = units.sum()
        head = torch.stack(
            [
                value,
                counted,
                value / counted.clamp(min=1.0),
                torch.ones_like(value),
                torch.full_like(value, float(batch.tokens)),
            ]
        )
        return total, torch.cat([head, extra])

    def _pairs(self, logps: torch.Tensor, batch: Batch, rows: Indices) -> Preference:
        if self.loss:
            return self.loss.of(logps, batch.counts)
        assert self.reference is not None
        reference = self.reference[torch.from_numpy(rows)].to(logps.device).flatten()
        return dpo(logps, reference, beta=self.beta)

    def value(self, sums: dict[str, float]) -> float:
        """The objective from its sums over all processes."""
        if self.by_part:
            return sums["means"] / max(sums["parts"], 1.0)
        return sums["loss"] / max(sums["units"], 1.0)

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """Under TRL's names, and the loss beside under its own; empty for SFT."""
        if self.name != "dpo" or sums["units"] == 0:
            return {}
        n = sums["units"]
        beside = {f"f_{self.beside.name}": sums["beside"] / n} if self.beside else {}
        return beside | {
            "rewards/chosen": sums["chosen"] / n,
            "rewards/rejected": sums["rejected"] / n,
            "rewards/margins": (sums["chosen"] - sums["rejected"]) / n,
            "rewards/accuracies": sums["correct"] / n,
            "logps/chosen": sums["logp_chosen"] / n,
            "logps/rejected": sums["logp_rejected"] / n,
        }


def chosen_only(tokens: TokenizedDataset) -> TokenizedDataset:
    """A preference set's chosen responses as an SFT set."""
    return dataclasses.replace(tokens, kind="sft", responses=tuple((r[0],) for r in tokens.responses))


def unmasked(tokens: TokenizedDataset) -> TokenizedDataset:
    """The same rows with all of the prompt but its first token trained on."""
    import numpy as np

    whole = [np.concatenate([p, r[0]]) for p, r in zip(tokens.prompts, tokens.responses, strict=True)]
    return dataclasses.replace(tokens, prompts=tuple(w[:1] for w in whole), responses=tuple((w[1:],) for w in whole))
