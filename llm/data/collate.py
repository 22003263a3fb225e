"""Rows of token ids -> one batch of tensors, without a token that is computed twice or a mask that is not needed.

Every row is a prompt with one response (SFT) or two (a preference pair: chosen, rejected). Two layouts:

separate  a sequence for each response, the prompt repeated; padding on the right, so that a causal model needs no mask
shared    one sequence for each row, `prompt chosen rejected`; the prompt is computed once. Both responses have the
          positions after the prompt, and a mask keeps the second from seeing the first

An encoder-decoder model takes the same batches: `llm.model` cuts them into prompts and responses.

Only the positions that predict a response's token go through the model's head: prompts are masked by being left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """A batch of `examples` rows with S sequences of R responses in all, N response tokens.

    input_ids     (rows, L) int64, padded with 0 on the right
    position_ids  (rows, L) int64; in the shared layout the responses of a row begin at the same position
    segments      (rows, L) int8, shared layout only: 0 prompt, 1 chosen, 2 rejected, -1 padding; else None
    take          (N,) int64, flat indices into (rows·L): the positions whose outputs predict `targets`
    targets       (N,) int64, the response tokens
    owner         (N,) int64, the response that the token belongs to, 0 .. S-1; pairs are 2i (chosen), 2i+1 (rejected)
    counts        (S,) int64, tokens a response
    leads         (rows,) int64, tokens a prompt
    widths        the longest prompt's tokens, and the longest response's
    tokens        real tokens of the batch as a reader counts them: every prompt once a response, and all responses
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    segments: torch.Tensor | None
    take: torch.Tensor
    targets: torch.Tensor
    owner: torch.Tensor
    counts: torch.Tensor
    leads: torch.Tensor
    widths: tuple[int, int]
    tokens: int

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, torch.Tensor):
                moved[name] = value.to(device, non_blocking=True)
        return Batch(**moved)


def collate(prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], *, shared: bool = False) -> Batch:
    """The batch of these rows. `shared` takes effect where a row has more than one response."""
    per_row = {len(r) for r in responses}
    if len(per_row) != 1 or len(prompts) != len(responses):
        raise ValueError(f"responses: as many a row, for {len(prompts)} prompts, are needed, got {sorted(per_row)}")
    shared = shared and per_row != {1}
    layout = _Layout(shared)
    for prompt, answers in zip(prompts, responses, strict=True):
        layout.add(prompt, answers)
    return layout.batch()


class _Layout:
    """Collects rows, then pads them."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self.ids: list[list[Ids]] = []  # a sequence's pieces
        self.positions: list[list[Ids]] = []
        self.marks: list[list[int]] = []  # a sequence's pieces -> segment
        self.sources: list[tuple[int, Ids]] = []  # a response -> its sequence, the positions that predict it
        self.targets: list[Ids] = []
        self.tokens = 0

    def add(self, prompt: Ids, answers: Sequence[Ids]) -> None:
        p = len(prompt)
        if p == 0 or any(len(a) == 0 for a in answers):
            raise ValueError("a prompt and its responses must have one token at least, got an empty one")
        self.tokens += sum(p + len(a) for a in answers)
        start = np.arange(p, dtype=np.int32)
        for j, answer in enumerate(answers):
            after = np.arange(p, p + len(answer), dtype=np.int32)
            if j == 0 or not self.shared:
                self.ids.append([prompt])
                self.positions.append([start])
                self.marks.append([0])
            offset = sum(len(piece) for piece in self.ids[-1])  # where the response begins in its sequence
            # The first token is predicted by the prompt's last position, the others by the token before.
            source = np.arange(offset - 1, offset - 1 + len(answer), dtype=np.int32)
            source[0] = p - 1
            self.ids[-1].append(answer)
            self.positions[-1].append(after)
            self.marks[-1].append(j + 1)
            self.sources.append((len(self.ids) - 1, source))
            self.targets.append(answer)

    def batch(self) -> Batch:
        rows, width = len(self.ids), max(sum(len(piece) for piece in s) for s in self.ids)
        ids = np.zeros((rows, width), dtype=np.int64)
        positions = np.zeros((rows, width), dtype=np.int64)
        segments = np.full((rows, width), -1, dtype=np.int8)
        for i in range(rows):
            line = np.concatenate(self.ids[i])
            ids[i, : len(line)] = line
            positions[i, : len(line)] = np.concatenate(self.positions[i])
            segments[i, : len(line)] = np.repeat(self.marks[i], [len(piece) for piece in self.ids[i]])
        take = np.concatenate([sequence * width + source.astype(np.int64) for sequence, source in self.sources])
        counts = np.array([len(t) for t in self.targets], dtype=np.int64)
        leads = np.array([len(pieces[0]) for pieces in self.ids], dtype=np.int64)
        return Batch(
            input_ids=torch.from_numpy(ids),
            position_ids=torch.from_numpy(positions),
            segments=torch.from_numpy(segments) if self.shared else None,
            take=torch.from_numpy(take),
            targets=torch.from_numpy(np.concatenate(self.targets).astype(np.int64)),
            owner=torch.from_numpy(np.repeat(np.arange(len(counts), dtype=np.int64), counts)),
            counts=torch.from_numpy(counts),
            leads=torch.from_numpy(leads),
            widths=(int(leads.max()), int(counts.max())),
            tokens=self.tokens,
        )


def attention_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(rows, 1, L, L), 0 where a position may look and the dtype's least number where not, from `Batch.segments`."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    same = segments[:, :, None] == segments[:, None, :]
    allowed = causal & (same | (segments[:, None, :] == 0))
    mask = torch.zeros(allowed.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
