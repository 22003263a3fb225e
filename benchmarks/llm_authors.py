"""ALRIGHT as a loop in the authors' manner: two models, both batches at every step, all logits.

Written anew for the comparison, with the habits of such code: the reference is a second full model
whose forward pass is taken at every DPO step; both data sets are drawn from at every step, whichever is trained on;
batches are padded in the order of shuffling; log-softmax is taken over the whole vocabulary at every position.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model

from benchmarks import llm_rows
from benchmarks.llm_ours import Turn, clocks, config_of
from benchmarks.llm_rows import Workload
from llm.data.tokenization import TokenizedDataset
from toyopt.algorithms import DPO, SFT, even_draw

Padded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def padded(rows: TokenizedDataset, chosen: Sequence[int], answer: int, device: Any) -> Padded:
    """Return (ids, attention mask, response mask), each (n, L), of prompts with the response of number `answer`."""
    pairs = [(rows.prompts[i], rows.responses[i][answer]) for i in chosen]
    shape = len(pairs), max(len(p) + len(a) for p, a in pairs)
    ids, attention, response = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    for j, (p, a) in enumerate(pairs):
        n = len(p) + len(a)
        ids[j, :n] = torch.from_numpy(np.concatenate([p, a]).astype(np.int64))
        attention[j, :n] = 1
        response[j, len(p) : n] = 1
    return ids.to(device), attention.to(device), response.to(device)


def pad(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """Pad to a width with zeros on the right."""
    return F.pad(tensor, (0, width - tensor.shape[1]))


def token_logps(model: Any, batch: Padded) -> torch.Tensor:
    """Return log-probabilities of the tokens, shape (n, L-1), 0 outside the responses."""
    ids, attention, response = batch
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1]
    logps = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    return logps * response[:, 1:]


def alright(size: Workload) -> Callable[[], Turn]:
    """Return a call of 2 x `size.batches` steps, DPO and SFT alternating by `even_draw`; every row is used once."""
    settings = config_of(size)
    rows = {DPO: llm_rows.tokens(size, "preference"), SFT: llm_rows.tokens(size, "sft")}
    tokens = sum(llm_rows.count(t) for t in rows.values())
    base = size.model()
    device = base.device
    lora = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=list(settings.lora_targets))

    def run() -> Turn:
        reference = copy.deepcopy(base).eval().requires_grad_(False)
        model = get_peft_model(copy.deepcopy(base), lora).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        betas = settings.beta1, settings.beta2
        optimiser = torch.optim.AdamW(trained, lr=settings.lr, betas=betas, weight_decay=settings.weight_decay)
        rng = np.random.default_rng(0)
        orders = {i: rng.permutation(len(t)).reshape(size.batches, -1) for i, t in rows.items()}
        place, start_or_resume = {DPO: 0, SFT: 0}, clocks()
        for t in range(2 * size.batches):
            at = {i: orders[i][min(place[i], size.batches - 1)] for i in rows}
            pairs = [padded(rows[DPO], at[DPO], answer, device) for answer in (0, 1)]
            answers = padded(rows[SFT], at[SFT], 0, device)
            objective = DPO if even_draw(t) < 0.5 else SFT
            loss = dpo_loss(model, reference, pairs, settings.beta) if objective == DPO else sft_loss(model, answers)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, settings.clip)
            optimiser.step()
            optimiser.zero_grad()
            loss.item()
            place[objective] += 1
        end = clocks()
        return Turn(end[0] - start_or_resume[0], end[1] - start_or_resume[1], tokens, place)

    return run


def sft_loss(model: Any, batch: Padded) -> torch.Tensor:
    """Return the mean loss over response tokens."""
    return -token_logps(model, batch).sum() / batch[2][:, 1:].sum()


def dpo_loss(model: Any, reference: Any, pairs: Sequence[Padded], beta: float) -> torch.Tensor:
    """Return the DPO loss; chosen and rejected share one forward pass, padded to the longest of both."""
    width = max(one[0].shape[1] for one in pairs)
    joined = [torch.cat([pad(tensor, width) for tensor in same]) for same in zip(*pairs, strict=True)]
    both: Padded = joined[0], joined[1], joined[2]
    with torch.no_grad():
        before = token_logps(reference, both).sum(1)
    chosen, rejected = (token_logps(model, both).sum(1) - before).chunk(2)
    return -F.logsigmoid(beta * (chosen - rejected)).mean()
