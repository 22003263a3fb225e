"""Rows of token ids to one batch of tensors: no token is computed twice, and no mask is made that is not needed.

Every row is a prompt with one response (SFT) or two (a preference pair: chosen, rejected). There are two layouts:

separate      a sequence for each response, the prompt repeated; padding on the right, so that a causal model needs no
              mask
share_prompt  one sequence for each row, `prompt chosen rejected`; the prompt is computed once. Both responses have the
              positions after the prompt, and a mask hides the first response from the second

An encoder-decoder model takes the same batches: `llm.models.architecture` splits them into prompts and responses.

Only the positions that predict a response's token go through the model's head; no loss mask over prompts is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Trained = NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Tensors of a batch: `rows` sequences of at most L tokens, with S responses and N response tokens in all.

    input_ids        (rows, L) int64, padded with 0 on the right
    position_ids     (rows, L) int64; with a shared prompt both responses of a row begin at the same position
    segments         (rows, L) int8 with a shared prompt: 0 prompt, 1 chosen, 2 rejected, -1 padding; else None
    logit_positions  (N,) int64, flat indices into (rows·L): the positions whose logits predict `targets`
    targets          (N,) int64, the response tokens that are trained
    response_index   (N,) int64, the response 0 .. S-1 of each token; a pair's are 2i (chosen) and 2i+1 (rejected)
    counts           (S,) int64, trained tokens of each response
    prompt_lengths   (rows,) int64, tokens of each sequence's prompt
    max_lengths      tokens of the longest prompt, and of the longest response
    tokens           tokens without padding: every prompt once for each of its responses, and all responses
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    segments: torch.Tensor | None
    logit_positions: torch.Tensor
    targets: torch.Tensor
    response_index: torch.Tensor
    counts: torch.Tensor
    prompt_lengths: torch.Tensor
    max_lengths: tuple[int, int]
    tokens: int

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on a device."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                values[name] = value.to(device, non_blocking=True)
        return Batch(**values)


def collate(
    prompts: Sequence[Ids],
    responses: Sequence[Sequence[Ids]],
    *,
    share_prompt: bool = False,
    trained: Sequence[Trained] | None = None,
) -> Batch:
    """Return rows as one batch, on the CPU.

    prompts       int32 ids, one array for each row, none of them empty
    responses     row -> int32 ids of its responses, equally many for every row, none of them empty
    share_prompt  one sequence for each row; without effect where rows have a single response
    trained       for rows with a single response: whether each of its tokens is trained; the others are context

    Raises ValueError for rows that are empty or have unequal numbers of responses.
    """
    per_row = {len(r) for r in responses}
    if len(per_row) != 1 or len(prompts) != len(responses):
        raise ValueError(f"responses: as many a row, for {len(prompts)} prompts, are needed, got {sorted(per_row)}")
    layout = _Layout(share_prompt and per_row != {1})
    for i, (prompt, of_prompt) in enumerate(zip(prompts, responses, strict=True)):
        layout.add(prompt, of_prompt, None if trained is None else trained[i])
    return layout.batch()


class _Layout:
    """Rows laid out as sequences of pieces (a prompt, then one response or two), until they are padded."""

    def __init__(self, share_prompt: bool) -> None:
        self.share_prompt = share_prompt
        self.pieces: list[list[Ids]] = []  # sequence -> its pieces' ids
        self.positions: list[list[Ids]] = []  # sequence -> its pieces' positions
        self.segments: list[list[int]] = []  # sequence -> its pieces' segments
        self.sources: list[tuple[int, Ids]] = []  # response -> its sequence, the positions that predict its tokens
        self.targets: list[Ids] = []  # response -> its ids
        self.tokens = 0

    def add(self, prompt: Ids, responses: Sequence[Ids], trained: Trained | None = None) -> None:
        """Append a row; `trained` is for a row with a single response."""
        p = len(prompt)
        if p == 0 or any(len(response) == 0 for response in responses):
            raise ValueError("a prompt and its responses must have one token at least, got an empty one")
        self.tokens += sum(p + len(response) for response in responses)
        for j, response in enumerate(responses):
            if j == 0 or not self.share_prompt:
                self.pieces.append([prompt])
                self.positions.append([np.arange(p, dtype=np.int32)])
                self.segments.append([0])
            offset = sum(len(piece) for piece in self.pieces[-1])  # where the response begins in its sequence
            # The prompt's last position predicts the first token; each token predicts the next.
            source = np.arange(offset - 1, offset - 1 + len(response), dtype=np.int32)
            source[0] = p - 1
            self.pieces[-1].append(response)
            self.positions[-1].append(np.arange(p, p + len(response), dtype=np.int32))
            self.segments[-1].append(j + 1)
            self.sources.append((len(self.pieces) - 1, source if trained is None else source[trained]))
            self.targets.append(response if trained is None else response[trained])

    def batch(self) -> Batch:
        """Return the rows, padded to the longest sequence."""
        rows, length = len(self.pieces), max(sum(len(piece) for piece in pieces) for pieces in self.pieces)
        ids = np.zeros((rows, length), dtype=np.int64)
        positions = np.zeros((rows, length), dtype=np.int64)
        segments = np.full((rows, length), -1, dtype=np.int8)
        for i, pieces in enumerate(self.pieces):
            sequence = np.concatenate(pieces)
            ids[i, : len(sequence)] = sequence
            positions[i, : len(sequence)] = np.concatenate(self.positions[i])
            segments[i, : len(sequence)] = np.repeat(self.segments[i], [len(piece) for piece in pieces])
        logit_positions = np.concatenate([i * length + source.astype(np.int64) for i, source in self.sources])
        counts = np.array([len(t) for t in self.targets], dtype=np.int64)
        prompt_lengths = np.array([len(pieces[0]) for pieces in self.pieces], dtype=np.int64)
        return Batch(
            input_ids=torch.from_numpy(ids),
            position_ids=torch.from_numpy(positions),
            segments=torch.from_numpy(segments) if self.share_prompt else None,
            logit_positions=torch.from_numpy(logit_positions),
            targets=torch.from_numpy(np.concatenate(self.targets).astype(np.int64)),
            response_index=torch.from_numpy(np.repeat(np.arange(len(counts), dtype=np.int64), counts)),
            counts=torch.from_numpy(counts),
            prompt_lengths=torch.from_numpy(prompt_lengths),
            max_lengths=(int(prompt_lengths.max()), int(counts.max())),
            tokens=self.tokens,
        )
