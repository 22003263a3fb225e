"""One base model, a LoRA adapter on it, and the log-probabilities of responses.

`Policy` goes the short way where it can: hidden states of the decoder, of these only the positions that predict a
response's token, the head on those, in pieces if they are many. The ways are not trusted but tried: `Policy.settle`
compares them with the model's own forward pass on a few rows, and falls back to that one for an architecture that does
something in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from llm.data.collate import Batch, Ids, attention_mask, collate

LOGITS_AT_ONCE = 1 << 26  # numbers: 256 MiB in float32
LOGITS_ON_CPU = 1 << 23  # about what its caches hold; more is no faster


class Policy(nn.Module):
    """log π_θ(y|x) of every response in a batch, with gradients.

    model    a causal or an encoder-decoder language model of transformers, with or without PEFT's adapters
    most     logits that are held at once; more are computed in pieces, which are computed again in the backward pass
    direct   decoder and head are called one after the other (else the model's own forward pass, all logits)
    shared   a pair's prompt is computed once

    An encoder-decoder model reads prompts with its encoder and writes responses with its decoder, beginning with the
    token that its configuration names; ValueError if that names none.
    """

    def __init__(self, model: nn.Module, *, most: int = LOGITS_AT_ONCE) -> None:
        super().__init__()
        self.model = model
        self.most = most
        self.direct = False
        self.shared = False
        self.start = decoder_start(self.causal) if encodes(self.causal) else None

    @property
    def causal(self) -> Any:
        """The model of transformers, below PEFT's wrapper."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def forward(self, batch: Batch) -> torch.Tensor:
        """(S,) float32: the sum of each response's token log-probabilities, in nats."""
        logps = self.token_logps(batch)
        zeros = torch.zeros(len(batch.counts), dtype=torch.float32, device=logps.device)
        return zeros.index_add(0, batch.owner, logps)

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """(N,) float32: log π of every response token."""
        causal = self.causal
        inputs, take = self._one_line(batch) if self.start is None else self._two_sides(batch, self.start)
        if not self.direct:
            logits = causal(**inputs).logits
            return _selected(logits.flatten(0, 1)[take], batch.targets)
        hidden = self._hidden(inputs).flatten(0, 1)[take]
        head = causal.get_output_embeddings()
        most = min(self.most, LOGITS_ON_CPU) if hidden.device.type == "cpu" else self.most
        rows = max(1, most // head.weight.shape[0])
        if _is_fixed(head):
            found: torch.Tensor = _Fixed.apply(hidden, batch.targets, head.weight, head.bias, rows)  # type: ignore[no-untyped-call]
            return found
        if len(hidden) <= rows:
            return _selected(head(hidden), batch.targets)
        pieces = zip(torch.split(hidden, rows), torch.split(batch.targets, rows), strict=True)
        return torch.cat([_piece(head, h, t) for h, t in pieces])

    def _one_line(self, batch: Batch) -> tuple[dict[str, Any], torch.Tensor]:
        """A causal model's inputs, and where in its outputs the response tokens are predicted."""
        inputs: dict[str, Any] = {
            "input_ids": batch.input_ids,
            "position_ids": batch.position_ids,
            "use_cache": False,
        }
        if batch.segments is not None:
            inputs["attention_mask"] = attention_mask(batch.segments, self.causal.dtype)
        return inputs, batch.take

    def _two_sides(self, batch: Batch, start: int) -> tuple[dict[str, Any], torch.Tensor]:
        """An encoder-decoder model's: the encoder goes over every row's prompt, its output to all the row's responses.

        The decoder needs no mask, for what pads its inputs is on the right.
        """
        from transformers.modeling_outputs import BaseModelOutput

        (width, length), counts = batch.widths, batch.counts
        mask = (torch.arange(width, device=counts.device) < batch.leads[:, None]).long()
        encoder = self.causal.get_encoder()
        states = encoder(input_ids=batch.input_ids[:, :width], attention_mask=mask).last_hidden_state
        each = len(counts) // len(states)  # responses a row
        within = torch.arange(len(batch.targets), device=counts.device) - (counts.cumsum(0) - counts)[batch.owner]
        shifted = torch.full((len(counts), length + 1), start, device=counts.device)  # a column more: the last targets
        shifted[batch.owner, within + 1] = batch.targets
        inputs = {
            "encoder_outputs": BaseModelOutput(last_hidden_state=states.repeat_interleave(each, dim=0)),
            "attention_mask": mask.repeat_interleave(each, dim=0),
            "decoder_input_ids": shifted[:, :-1],
            "use_cache": False,
        }
        return inputs, batch.owner * length + within

    def _hidden(self, inputs: dict[str, Any]) -> torch.Tensor:
        """What goes into the head."""
        if self.start is None:
            return self.causal.base_model(**inputs).last_hidden_state  # type: ignore[no-any-return]
        hidden: torch.Tensor = self.causal.get_decoder()(
            input_ids=inputs["decoder_input_ids"],
            encoder_hidden_states=inputs["encoder_outputs"].last_hidden_state,
            encoder_attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        scaled = getattr(self.causal.config, "scale_decoder_outputs", False)  # the first T5's
        return hidden * hidden.shape[-1] ** -0.5 if scaled else hidden

    def settle(
        self,
        call: Callable[[Batch], torch.Tensor],
        prompts: Sequence[Ids],
        pairs: Sequence[Sequence[Ids]],
        *,
        share: str,
    ) -> list[str]:
        """Choose `direct` and `shared` by trying them on these rows; returns in words what cannot be used and why.

        call   this policy as it is prepared, taking a batch on the CPU
        share  "auto": where it gives the same numbers; "yes": or ValueError; "no"
        """
        found: list[str] = []
        was_training = self.training
        self.eval()
        with torch.no_grad():
            self.direct = self.shared = False
            plain = call(collate(prompts, pairs))
            # Rounding depends on the batch's shape: rows alone against rows together show how much is usual.
            alone = torch.cat([call(collate([p], [r])) for p, r in zip(prompts, pairs, strict=True)])
            usual = float((plain - alone).abs().max())
            if _has_head(self.causal):
                self.direct, why = self._agrees(call, collate(prompts, pairs), plain, usual, direct=True)
            else:
                self.direct, why = False, "the model has no linear head of its own"
            if not self.direct:
                found.append(f"all logits are computed, not only those of responses: {why}")
            if share != "no" and any(len(r) > 1 for r in pairs):
                batch = collate(prompts, pairs, shared=True)
                self.shared, why = self._agrees(call, batch, plain, usual, direct=self.direct)
                if not self.shared and share == "yes":
                    raise ValueError(f"share_prompt: not possible with this model and attention: {why}; say auto or no")
                if not self.shared:
                    found.append(f"a pair's prompt is computed twice: {why}")
        self.train(was_training)
        return found

    def _agrees(
        self, call: Callable[[Batch], torch.Tensor], batch: Batch, plain: torch.Tensor, usual: float, *, direct: bool
    ) -> tuple[bool, str]:
        before, self.direct = self.direct, direct
        try:
            off = float((call(batch) - plain).abs().max())
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, IndexError) as error:
            return False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        finally:
            self.direct = before
        # Four times the usual rounding; the least is what float32 sums of some hundred terms differ by.
        return off <= 4.0 * usual + 1e-4 * (1.0 + float(plain.abs().max()) / 100.0), f"the numbers differ by {off:.3g}"


def _has_head(causal: Any) -> bool:
    head, decoder = causal.get_output_embeddings(), causal.get_decoder() if encodes(causal) else causal.base_model
    return isinstance(head, nn.Module) and getattr(head, "weight", None) is not None and decoder is not causal


def encodes(model: Any) -> bool:
    """Whether prompts go to an encoder of their own."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def decoder_start(model: Any) -> int:
    """The token that an encoder-decoder model's decoder begins with; ValueError if its configuration names none."""
    for config in (model.config, getattr(model, "generation_config", None)):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    raise ValueError("model: its configuration names no decoder_start_token_id; set it and save the model again")


def _selected(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log softmax(logits)[targets], summed in float32 whatever the model's dtype."""
    return -F.cross_entropy(logits.float(), targets, reduction="none")


def _is_fixed(head: nn.Module) -> bool:
    """Whether it is a plain linear map that is not trained, and nothing hangs on its calls (adapters, shards)."""
    trained = any(p.requires_grad for p in head.parameters())
    return type(head) is nn.Linear and not trained and not head._forward_hooks and not head._forward_pre_hooks


class _Fixed(torch.autograd.Function):
    """`_selected(F.linear(hidden, weight, bias), targets)` of a fixed head, at most `rows` rows of logits at a time.

    A row's gradient is (e_target - softmax(logits)) W times a number that only the backward pass knows, so it is
    computed while the logits are there: they are neither kept nor computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        rows: int,
    ) -> torch.Tensor:
        logps, slopes = [], []
        for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
            logits = F.linear(h, weight, bias).float().log_softmax(-1)
            logps.append(logits.gather(1, t[:, None])[:, 0])
            if ctx.needs_input_grad[0]:
                # The 1 is taken away before the product: for a likely target the two parts nearly cancel.
                errors = logits.exp_().scatter_add_(1, t[:, None], logits.new_full((len(t), 1), -1.0))
                slopes.append(errors.to(weight.dtype) @ weight)
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (-above[0][:, None] * slopes).to(slopes.dtype), None, None, None, None


def _piece(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if not torch.is_grad_enabled():
        return _selected(head(hidden), targets)
    return checkpoint(lambda h, t: _selected(head(h), t), hidden, targets, use_reentrant=False)  # type: ignore[no-any-return]


def share_cores(model: nn.Module, threads: int = 0) -> None:
    """How many threads torch takes on a CPU: `threads`, or if that is 0 one for less than 10 million weights.

    A small model's operations end before a second thread has begun; and where other programs take the cores, waiting
    for it takes most of the time.
    """
    if threads or sum(p.numel() for p in model.parameters()) < 10_000_000:
        torch.set_num_threads(threads or 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generators of the CPU and of every GPU at `seed`; afterwards they are what they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
