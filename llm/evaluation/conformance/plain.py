"""Log-probabilities, losses and gradients by transformers' own forward pass: one row at a time, without padding.

Nothing here uses the trainer's batches, masks, positions, caches or heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from llm.common.processes import seeded_torch
from llm.losses import DPOLoss, KTOLoss, PairLoss
from llm.models.architecture import decoder_start, is_encoder_decoder

if TYPE_CHECKING:
    from llm.data.collate import Ids
    from llm.data.tokenization import TokenizedDataset
    from llm.losses import PreferenceLoss


def token_logps(model: Any, prompt: Ids, response: Ids) -> torch.Tensor:
    """Return log p of each token of a response after a prompt, shape (len(response),), float32, with a graph.

    model  a language model of transformers, whose layers may have adapters
    """
    targets = torch.as_tensor(response, dtype=torch.long, device=model.device)
    before = torch.as_tensor(prompt, dtype=torch.long, device=model.device)
    _forget_lengths(model)
    if is_encoder_decoder(model):
        start = torch.tensor([decoder_start(model)], device=model.device)
        shifted = torch.cat([start, targets[:-1]])[None]
        logits = model(input_ids=before[None], decoder_input_ids=shifted, use_cache=False).logits[0]
    else:
        logits = model(input_ids=torch.cat([before, targets])[None], use_cache=False).logits[0, len(before) - 1 : -1]
    logps: torch.Tensor = logits.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    return logps


def _forget_lengths(model: Any) -> None:
    """Undo the effect of earlier rows on dynamic rotary frequencies, which stay until a row of few tokens comes."""
    if any("dynamic" in str(getattr(module, "rope_type", "")) for module in model.modules()):
        with torch.no_grad():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), use_cache=False)


def response_logps(model: Any, tokens: TokenizedDataset) -> torch.Tensor:
    """Return the summed log-probabilities (n, R) of the trained tokens of n rows, float32, with a graph."""
    rows = []
    for i, (prompt, responses) in enumerate(zip(tokens.prompts, tokens.responses, strict=True)):
        logps = [token_logps(model, prompt, response) for response in responses]
        if tokens.trained is not None:
            logps = [logps[0][torch.from_numpy(tokens.trained[i]).to(logps[0].device)]]
        rows.append(torch.stack([each.sum() for each in logps]))
    return torch.stack(rows)


def f_sft(logps: torch.Tensor, tokens: TokenizedDataset) -> torch.Tensor:
    """Return the mean negative log-probability of the trained tokens, from log-probabilities (n, 1)."""
    counted = tokens.trained or [np.ones(len(responses[0]), dtype=bool) for responses in tokens.responses]
    return -logps.sum() / float(sum(mask.sum() for mask in counted))


def f_pairs(
    loss: PreferenceLoss, logps: torch.Tensor, reference: torch.Tensor | None, tokens: TokenizedDataset
) -> torch.Tensor:
    """Return the mean loss of pairs, from log-probabilities (n, 2) under policy and reference; DPO's by eq. (1)."""
    if isinstance(loss, DPOLoss):
        assert reference is not None
        margins = (logps - reference.to(logps.device)) @ torch.tensor([1.0, -1.0], device=logps.device)
        return -nn.functional.logsigmoid(loss.beta * margins).mean()
    assert isinstance(loss, PairLoss)
    counts = torch.tensor([len(ids) for responses in tokens.responses for ids in responses], device=logps.device)
    before = None if reference is None else reference.to(logps.device).flatten()
    return loss(logps.flatten(), counts, before).losses.mean()


def f_kto(loss: KTOLoss, logps: torch.Tensor, reference: torch.Tensor, tokens: TokenizedDataset) -> torch.Tensor:
    """Return KTO's mean loss of unpaired rows by arXiv 2402.01306 eq. (7), (8).

    logps, reference  (n, 2) of each row's response and of a mismatched one, under policy and reference
    """
    assert tokens.labels is not None
    ratios = logps - reference.to(logps.device)
    divergence = ratios[:, 1].detach().mean().clamp(min=0.0)
    losses = []
    for ratio, desirable in zip(ratios[:, 0], tokens.labels, strict=True):
        above = loss.beta * (ratio - divergence)
        weight, signed = (loss.desirable_weight, above) if desirable else (loss.undesirable_weight, -above)
        losses.append(weight * (1.0 - torch.sigmoid(signed)))
    return torch.stack(losses).mean()


def gradient(value: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the gradient of a number with respect to parameters, flat, float32; zeros where it does not depend."""
    grads = torch.autograd.grad(value, list(parameters), allow_unused=True)
    pairs = zip(grads, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).float().flatten() for g, p in pairs])


@contextmanager
def perturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Multiply every output of every innermost module by 1 + eps·ξ, with ξ uniform in [-1, 1], while the block lasts.

    Differences under this perturbation measure the effect of rounding (Monte Carlo arithmetic, Parker 1997); eps is
    that of the outputs' dtype.
    """

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return output
        noise = torch.rand(output.shape, device=output.device) * 2.0 - 1.0
        return (output * (1.0 + torch.finfo(output.dtype).eps * noise)).to(output.dtype)

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    handles = [module.register_forward_hook(hook) for module in leaves]
    try:
        with seeded_torch(seed):
            yield
    finally:
        for handle in handles:
            handle.remove()
