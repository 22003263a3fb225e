"""An objective with its data: rows to batches, log-probabilities to losses, and sums over rows and processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.data.collate import Batch, collate
from llm.data.sampler import Indices
from llm.losses import PairLoss, PreferenceLoss, PreferenceTerms, UnpairedLoss, divergence, sft_losses

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset

# Sums over rows and processes. "units" are response tokens for SFT, pairs for DPO and rows for KTO; "loss" is summed
# over units, and so are "beside", a second loss, and "kl", KTO's estimate; "means" and "parts" are micro-batches' means
# and their number, and "router" is summed over micro-batches: the auxiliary loss of routers, which the engine adds.
# "chosen" and "rejected" are rewards, of KTO those of desirable and undesirable rows; "desirable" is the number of the
# former. "tokens" are trained on, "mismatched" are those of KTO's passes without gradients.
SUMS = (
    "loss", "units", "means", "parts", "tokens", "chosen", "rejected", "correct", "logp_chosen", "logp_rejected",
    "beside", "router", "desirable", "kl", "mismatched",
)  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """A loss on preferences, or f_SFT, on a set of rows.

    name       name of the objective; in the short form "dpo" (any loss on pairs) or "sft"
    tokens     the rows, whose kind decides
    loss       the loss on preferences; None for an SFT set, and where only log-probabilities are wanted
    reference  (n, 2) float32, log-probabilities of both responses under the reference; None if not needed
    share_prompt  compute a pair's prompt once
    mean_by_part  the value is the mean of micro-batches' means, not of all units (the paper's authors' f_SFT)
    beside     pairs only: a second loss that `metrics` reports
    by_name    whether values are reported under `name`; else a loss on pairs under the loss's name
    suffix     end of the keys of rewards, where several objectives have some
    """

    name: str
    tokens: TokenizedDataset
    loss: PreferenceLoss | None = None
    reference: torch.Tensor | None = None
    share_prompt: bool = False
    mean_by_part: bool = False
    beside: PreferenceLoss | None = None
    by_name: bool = False
    suffix: str = ""
    lengths: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.is_sft or (self.share_prompt and self.is_pairs):
            lengths = self.tokens.lengths()
        else:  # of pairs two sequences a row, padded to the longer one; of unpaired rows one at a time
            pairs = zip(self.tokens.prompts, self.tokens.responses, strict=True)
            count = 2 if self.is_pairs else 1
            lengths = np.array([count * (len(p) + max(len(a) for a in r)) for p, r in pairs], dtype=np.int64)
        object.__setattr__(self, "lengths", np.asarray(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_pairs(self) -> bool:
        """Whether the rows are pairs."""
        return self.tokens.kind == "preference"

    @property
    def is_sft(self) -> bool:
        """Whether the objective is f_SFT."""
        return self.tokens.kind == "sft"

    @property
    def is_unpaired(self) -> bool:
        """Whether the rows are single responses with a label, and a mismatched response each."""
        return self.tokens.kind == "unpaired"

    @property
    def label(self) -> str:
        """The suffix of the value's name in metrics: the objective's name, or that of its loss on pairs."""
        return self.name if self.loss is None or self.by_name else self.loss.name

    def alone(self) -> Objective:
        """Return the objective as the only one of a run: equal for equal rows and losses, whatever its name."""
        return dataclasses.replace(self, name="sft" if self.is_sft else "dpo", by_name=False, suffix="")

    def describe(self) -> dict[str, Any]:
        """Return the plain values that decide the objective, for a cache key."""
        loss = {} if self.loss is None else {"loss": self.loss.name, **self.loss.numbers()}
        mean = {"mean_by_part": self.mean_by_part} if self.is_sft else {}
        return {"objective": self.alone().label, "rows": self.tokens.digest, **loss, **mean}

    def select(self, rows: Indices) -> Objective:
        """Return the objective on some of its rows."""
        reference = None if self.reference is None else self.reference[torch.from_numpy(rows)]
        return dataclasses.replace(self, tokens=self.tokens.select(rows), reference=reference)

    def batch(self, rows: Indices) -> Batch:
        """Return the rows as tensors, on the CPU; unpaired rows without their mismatched responses."""
        responses = [self.tokens.responses[i] for i in rows]
        return collate(
            [self.tokens.prompts[i] for i in rows],
            [r[:1] for r in responses] if self.is_unpaired else responses,
            share_prompt=self.share_prompt,
            trained=None if self.tokens.trained is None else [self.tokens.trained[i] for i in rows],
        )

    def mismatched_batch(self, rows: Indices) -> Batch:
        """Return the prompts of unpaired rows with their mismatched responses as tensors, on the CPU."""
        return collate([self.tokens.prompts[i] for i in rows], [self.tokens.responses[i][1:] for i in rows])

    def divergence(self, logps: torch.Tensor, rows: Indices, keep: Sequence[bool] | None) -> torch.Tensor:
        """Return (sum of log π_θ(y'|x) - log π_ref(y'|x), number of rows), (2,) float64, over the rows that count.

        logps  (rows,) summed log-probabilities of the mismatched responses
        keep   (rows,): False for rows that fill up a batch and do not count
        """
        assert self.reference is not None
        mask = _mask(rows, keep, logps.device)
        reference = self.reference[torch.from_numpy(rows), 1].to(logps.device)
        return torch.stack([divergence(logps[mask], reference[mask]), mask.double().sum()])

    def units(self, rows: Indices) -> int:
        """Return the number of units of the mean: response tokens (SFT), pairs, or unpaired rows."""
        if not self.is_sft:
            return len(rows)
        return sum(self.tokens.trained_tokens(int(i)) for i in rows)

    def measure(
        self, logps: torch.Tensor, batch: Batch, rows: Indices, keep: Sequence[bool] | None = None, *, kl: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (the summed loss with its graph, the sums without one in the order of SUMS, float64).

        logps  (S,) summed log-probabilities of the batch's responses
        keep   (rows,): False for rows that fill up a batch and do not count
        kl     KTO's estimate of the divergence on the whole step
        """
        mask = None if keep is None or all(keep) else _mask(rows, keep, logps.device)
        extra, more = logps.new_zeros(6, dtype=torch.float64), logps.new_zeros(3, dtype=torch.float64)
        counts = logps.new_ones(len(rows), dtype=torch.float64) if mask is None else mask.double()
        if self.is_pairs:
            pairs = self._pairs(self.loss, logps, batch, rows)
            beside = torch.zeros_like(counts)
            if self.beside is not None:
                beside = self._pairs(self.beside, logps.detach(), batch, rows).losses
            losses, units = pairs.losses, counts
            chosen, rejected = _kept(pairs.rewards_chosen.detach(), mask), _kept(pairs.rewards_rejected.detach(), mask)
            extra = torch.stack(
                [
                    chosen.double().sum(),
                    rejected.double().sum(),
                    (chosen > rejected).double().sum(),
                    _kept(logps.detach()[0::2], mask).double().sum(),
                    _kept(logps.detach()[1::2], mask).double().sum(),
                    _kept(beside, mask).double().sum(),
                ]
            )
        elif self.is_unpaired:
            units = counts
            losses, extra, more = self._unpaired(logps, rows, counts > 0.0, kl)
        else:
            losses, units = sft_losses(logps), batch.counts.double() * counts
        kept = _kept(losses, mask)
        value, counted = kept.detach().double().sum(), units.sum()
        head = torch.stack(
            [
                value,
                counted,
                value / counted.clamp(min=1.0),
                torch.ones_like(value),
                torch.full_like(value, float(batch.tokens)),
            ]
        )
        return kept.sum(), torch.cat([head, extra, torch.zeros_like(head[:1]), more])

    def value(self, sums: dict[str, float]) -> float:
        """Return the objective's value from its sums over all processes."""
        if self.mean_by_part:
            return sums["means"] / max(sums["parts"], 1.0)
        return sums["loss"] / max(sums["units"], 1.0)

    def value_at_reference(self, rows: Indices) -> float | None:
        """Return the objective's value on rows for the reference itself as the policy; None without a reference.

        Computed from the reference's log-probabilities, without a forward pass; of KTO with the estimate 0.
        """
        if self.reference is None:
            return None
        logps = self.reference[torch.from_numpy(rows)]
        logps = logps[:, 0] if self.is_unpaired else logps.flatten()
        sums = self.measure(logps, self.batch(rows), rows)[1]
        return self.value(dict(zip(SUMS, sums.tolist(), strict=True)))

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """Return rewards and log-probabilities under TRL's names, KTO's estimate, a loss beside, and routers' loss."""
        router = {f"router_loss_{self.name}": sums["router"] / sums["parts"]} if sums["router"] else {}
        if self.is_sft or sums["units"] == 0:
            return router
        n, end = sums["units"], self.suffix
        if self.is_unpaired:
            return router | self._unpaired_metrics(sums)
        beside = {f"f_{self.beside.name}": sums["beside"] / n} if self.beside else {}
        return (
            router
            | beside
            | {
                f"rewards/chosen{end}": sums["chosen"] / n,
                f"rewards/rejected{end}": sums["rejected"] / n,
                f"rewards/margins{end}": (sums["chosen"] - sums["rejected"]) / n,
                f"rewards/accuracies{end}": sums["correct"] / n,
                f"logps/chosen{end}": sums["logp_chosen"] / n,
                f"logps/rejected{end}": sums["logp_rejected"] / n,
            }
        )

    def _unpaired_metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """Return KTO's estimate, and the means over desirable and undesirable rows of those that there are."""
        counts = {"chosen": sums["desirable"], "rejected": sums["units"] - sums["desirable"]}
        values = {f"kl{self.suffix}": sums["kl"] / sums["units"]}
        for name, count in counts.items():
            if count:
                values[f"rewards/{name}{self.suffix}"] = sums[name] / count
                values[f"logps/{name}{self.suffix}"] = sums[f"logp_{name}"] / count
        if all(counts.values()):
            margin = sums["chosen"] / counts["chosen"] - sums["rejected"] / counts["rejected"]
            values[f"rewards/margins{self.suffix}"] = margin
        return values

    def _unpaired(
        self, logps: torch.Tensor, rows: Indices, mask: torch.Tensor, kl: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return losses (rows,) of unpaired rows, and the sums from "chosen" to "beside" and from "desirable" on."""
        assert isinstance(self.loss, UnpairedLoss)
        assert self.reference is not None
        assert self.tokens.labels is not None
        desirable = torch.tensor([self.tokens.labels[i] for i in rows], dtype=torch.bool, device=logps.device)
        reference = self.reference[torch.from_numpy(rows), 0].to(logps.device)
        terms = self.loss(logps, reference, desirable, kl)
        good, bad = desirable & mask, ~desirable & mask
        rewards, none = terms.rewards.detach().double(), torch.zeros((), dtype=torch.float64, device=logps.device)
        values = logps.detach().double()
        extra = [rewards[good].sum(), rewards[bad].sum(), none, values[good].sum(), values[bad].sum(), none]
        return terms.losses, torch.stack(extra), torch.stack([good.double().sum(), kl * mask.double().sum(), none])

    def _pairs(self, loss: PreferenceLoss | None, logps: torch.Tensor, batch: Batch, rows: Indices) -> PreferenceTerms:
        """Return the losses and rewards of a batch of pairs by a loss."""
        assert isinstance(loss, PairLoss)
        reference = None
        if loss.needs_reference:
            assert self.reference is not None
            reference = self.reference[torch.from_numpy(rows)].to(logps.device).flatten()
        return loss(logps, batch.counts, reference)


def _mask(rows: Indices, keep: Sequence[bool] | None, device: torch.device) -> torch.Tensor:
    """Return whether each row counts, (rows,) bool."""
    mask = torch.ones(len(rows), dtype=torch.bool) if keep is None else torch.tensor(list(keep), dtype=torch.bool)
    return mask.to(device)


def _kept(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the values (rows,) that count; all of them without a mask."""
    return values if mask is None else values[mask]


def chosen_only(tokens: TokenizedDataset) -> TokenizedDataset:
    """Return a preference set's chosen responses, or the desirable ones, as an SFT set."""
    if tokens.labels is not None:
        tokens = tokens.select([i for i, desirable in enumerate(tokens.labels) if desirable])
    return dataclasses.replace(tokens, kind="sft", labels=None, responses=tuple((r[0],) for r in tokens.responses))


def as_pairs(tokens: TokenizedDataset) -> TokenizedDataset:
    """Return unpaired rows with their mismatched responses as pairs, and any other set unchanged."""
    return dataclasses.replace(tokens, kind="preference", labels=None) if tokens.kind == "unpaired" else tokens


def unmasked(tokens: TokenizedDataset) -> TokenizedDataset:
    """Return the rows with all of the prompt but its first token as part of the response."""
    whole = [np.concatenate([p, r[0]]) for p, r in zip(tokens.prompts, tokens.responses, strict=True)]
    responses = tuple((w[1:],) for w in whole)
    return dataclasses.replace(tokens, prompts=tuple(w[:1] for w in whole), responses=responses, trained=None)
