"""The log-probabilities of responses under a language model, with or without adapters.

`Policy` takes two shortcuts where the model allows them: of the decoder's hidden states only the positions that predict
a response's token go through the head, in pieces if they are many; and a pair's prompt is computed once. Neither
shortcut is assumed to be right: `Policy.select_forward_path` compares each with the model's own forward pass on a few
rows, and drops the shortcut for an architecture that does something in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from llm.data.collate import Batch, Ids, collate
from llm.models.architecture import (
    causal_inputs,
    decoder_start,
    encoder_decoder_inputs,
    has_separate_head,
    hidden_states,
    is_encoder_decoder,
)
from llm.models.frozen_head import head_logps, target_logps
from llm.models.positions import largest_shared_row, layer_windows, regimes, reset_rotary_frequencies, rotary_limit
from llm.models.rounding import change_by_one_rounding
from llm.models.routers import logits_and_router_loss, sequence_mask, states_and_router_loss

Row = tuple[Ids, Sequence[Ids]]  # a prompt's token ids, and those of its responses
Rows = tuple[Sequence[Ids], Sequence[Sequence[Ids]], torch.Tensor, float]

MAX_LOGITS = 1 << 26  # numbers: 256 MiB in float32
MAX_LOGITS_CPU = 1 << 23  # about the size of a CPU's caches; more is no faster


class Policy(nn.Module):
    """Log-probabilities log π_θ(y|x) of all responses in a batch, in nats, with gradients.

    model               a causal or an encoder-decoder language model of transformers, with or without PEFT's adapters
    max_logits          most logits that are held at once; more are computed in pieces, once more in the backward pass
    skip_prompt_logits  the head is applied to the positions of response tokens only; False: the model's own forward
                        pass computes all logits
    share_prompt        a pair's prompt is computed once; the callers collate their batches accordingly

    The encoder of an encoder-decoder model gets the prompts; its decoder predicts the responses, beginning with the
    token that the configuration names. Raises ValueError if the configuration names none.
    """

    def __init__(self, model: nn.Module, *, max_logits: int = MAX_LOGITS) -> None:
        super().__init__()
        self.model = model
        self.max_logits = max_logits
        self.skip_prompt_logits = False
        self.share_prompt = False
        self.twice_differentiable = False  # whether gradients of the log-probabilities can be differentiated once more
        self.whole_logits = False  # whether a trained head is called once: processes must call it equally often
        self.windows = True  # whether the mask of a shared prompt has the windows that the configuration names
        self.positions = True  # whether the model is given positions where prompts are not shared
        self.start = decoder_start(self.causal) if is_encoder_decoder(self.causal) else None
        self.rotary_limit = rotary_limit(self.causal)
        self.router_coefficient = 0.0  # weight of the routers' auxiliary loss; computed only with gradients
        self.router_losses: list[tuple[int, torch.Tensor]] = []  # sequences and loss of each pass of the latest batch

    @property
    def causal(self) -> Any:
        """The model of transformers, below PEFT's wrapper."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return each response's summed token log-probabilities, shape (S,), float32, in nats."""
        logps = self.token_logps(batch)
        zeros = torch.zeros(len(batch.counts), dtype=torch.float32, device=logps.device)
        return zeros.index_add(0, batch.response_index, logps)

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Return log π of every response token, shape (N,), float32, in the order of `batch.targets`."""
        causal = self.causal
        if self.start is None:
            inputs, positions = causal_inputs(causal, batch, windows=self.windows, positions=self.positions)
        else:
            inputs, positions = encoder_decoder_inputs(causal, batch, self.start)
        router = bool(self.router_coefficient) and torch.is_grad_enabled()
        if router:
            inputs["attention_mask"], self.router_losses = sequence_mask(batch), []
        output = self._by_regime(lambda part: self._pass(part, router=router), inputs, batch).flatten(0, 1)[positions]
        if not self.skip_prompt_logits:
            return target_logps(output, batch.targets)
        head = causal.get_output_embeddings()
        if self.twice_differentiable:
            return target_logps(head(output), batch.targets)
        max_logits = min(self.max_logits, MAX_LOGITS_CPU) if output.device.type == "cpu" else self.max_logits
        rows = max(1, max_logits // head.weight.shape[0])
        return head_logps(head, output, batch.targets, rows=rows, whole=self.whole_logits)

    def _pass(self, inputs: dict[str, Any], *, router: bool) -> torch.Tensor:
        """Return the states before the head with `skip_prompt_logits`, else the logits; keep the routers' loss."""
        causal = self.causal
        if not router:
            return hidden_states(causal, inputs) if self.skip_prompt_logits else causal(**inputs).logits
        compute = states_and_router_loss if self.skip_prompt_logits else logits_and_router_loss
        output, loss = compute(causal, inputs)
        self.router_losses.append((len(output), loss))
        return output

    def router_loss(self) -> torch.Tensor | None:
        """Return the routers' auxiliary loss () of the latest batch, with its graph; None if it is not trained on.

        Of several passes it is the mean, weighted by sequences.
        """
        if not self.router_losses:
            return None
        count = sum(rows for rows, _ in self.router_losses)
        return torch.stack([loss * (rows / count) for rows, loss in self.router_losses]).sum()

    def _by_regime(
        self, compute: Callable[[dict[str, Any]], torch.Tensor], inputs: dict[str, Any], batch: Batch
    ) -> torch.Tensor:
        """Return `compute(inputs)`, a pass for each group of sequences whose rotary frequencies are the same."""
        if self.rotary_limit is None:
            return compute(inputs)
        lengths, width = batch.position_ids.amax(dim=1) + 1, batch.position_ids.shape[1]
        codes = regimes(self.causal, lengths)
        outputs, order = [], []
        for code in torch.unique(codes):
            rows = (codes == code).nonzero()[:, 0]
            reset_rotary_frequencies(self.causal)
            part = {k: v[rows] if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
            # Without positions a model takes the padded width for the length.
            cut = int(lengths[rows].max()) if batch.segments is None and self.start is None else width
            part = {k: v[:, :cut] if isinstance(v, torch.Tensor) else v for k, v in part.items()}
            outputs.append(nn.functional.pad(compute(part), (0, 0, 0, width - cut)))
            order.append(rows)
        return torch.cat(outputs)[torch.cat(order).argsort()]

    def select_forward_path(
        self,
        call: Callable[[Batch], torch.Tensor],
        prompts: Sequence[Ids],
        responses: Sequence[Sequence[Ids]],
        *,
        share_prompt: str,
        longest: Row | None = None,
    ) -> list[str]:
        """Set `skip_prompt_logits` and `share_prompt` by comparing each shortcut with the plain forward pass.

        call          this policy as accelerate prepared it: a batch on the CPU -> (S,) log-probabilities
        prompts       token ids of the rows to compare on
        responses     row -> token ids of its responses
        share_prompt  "auto": where the log-probabilities agree; "yes": ValueError where they do not; "no": never
        longest       the longest row of the run, prompt and responses, on which a shared prompt is compared as well

        Returns one line for each shortcut that cannot be used, with the reason. Raises ValueError, in one line, if the
        model's prediction of a token depends on later tokens, or on other rows of a batch.
        """
        notes: list[str] = []
        was_training = self.training
        self.eval()
        with torch.no_grad():
            self.skip_prompt_logits = self.share_prompt = self.positions = False
            plain, difference = self._plain(call, prompts, responses)
            batch = collate(prompts, responses)
            rounding = max(difference, change_by_one_rounding(call, self.causal, batch, plain))
            if self.start is None:
                self._check_causal(call, [(p, r[0]) for p, r in zip(prompts, responses, strict=True)])
                self.positions = True
                self.positions, _ = self._agrees(call, batch, plain, rounding, skip_prompt_logits=False)
            self._check_independent(plain, difference)
            if has_separate_head(self.causal):
                agrees, reason = self._agrees(call, batch, plain, rounding, skip_prompt_logits=True)
            else:
                agrees, reason = False, "the model has no linear head of its own"
            self.skip_prompt_logits = agrees
            if not agrees:
                notes.append(f"all logits are computed, not only those of responses: {reason}")
            if share_prompt != "no" and any(len(r) > 1 for r in responses):
                rows: list[Rows] = [(prompts, responses, plain, rounding)]
                if longest is not None:
                    rows.append(self._with_rounding(call, longest))
                agrees, reason = self._can_share(call, rows)
                if not agrees and share_prompt == "yes":
                    raise ValueError(
                        f"share_prompt: not possible with this model and attention: {reason}; use auto or no"
                    )
                self.share_prompt = agrees
                if not agrees:
                    notes.append(f"a pair's prompt is computed twice: {reason}")
        self.train(was_training)
        return notes

    def _plain(
        self, call: Callable[[Batch], torch.Tensor], prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]]
    ) -> tuple[torch.Tensor, float]:
        """Return log-probabilities (S,) of rows in separate sequences, and the largest difference of rows alone.

        Rounding depends on a batch's shape, so the difference is not 0 for a right model; below float32 both can agree
        by chance.
        """
        plain = call(collate(prompts, responses))
        pairs = zip(prompts, responses, strict=True)
        if len(prompts) > 1:
            alone = torch.cat([call(collate([p], [r])) for p, r in pairs])
        else:
            alone = torch.cat([call(collate([p], [(y,)])) for p, r in pairs for y in r])
        return plain, float((plain - alone).abs().max())

    def _with_rounding(self, call: Callable[[Batch], torch.Tensor], row: Row) -> Rows:
        """Return one row for `_can_share`: prompt, responses, their plain log-probabilities and the usual rounding."""
        prompts, responses = [row[0]], [row[1]]
        plain, difference = self._plain(call, prompts, responses)
        moved = change_by_one_rounding(call, self.causal, collate(prompts, responses), plain)
        return prompts, responses, plain, max(difference, moved)

    def _check_independent(self, plain: torch.Tensor, difference: float) -> None:
        """Raise ValueError if rows together have other log-probabilities than rows alone, by more than rounding.

        plain       log-probabilities (S,) of the rows together
        difference  the largest difference from those of the rows alone
        """
        unit = 1e-3 if self.causal.dtype == torch.float32 else 0.5
        if difference > unit * (1.0 + float(plain.abs().max())):
            raise ValueError(
                f"model: log-probabilities of a row depend on the other rows of a batch (by {difference:.3g}), so that "
                "training in batches would be wrong; give another model"
            )

    def _check_causal(self, call: Callable[[Batch], torch.Tensor], rows: Sequence[tuple[Ids, Ids]]) -> None:
        """Raise ValueError unless, on a row, log π(ab|p) = log π(a|p) + log π(b|pa): nothing depends on later tokens.

        rows  prompts with a response each; several, as rounding may send a token to another expert
        """
        unit = 1e-4 if self.causal.dtype == torch.float32 else 0.05
        difference = 0.0
        for prompt, response in rows:
            ids = np.concatenate([prompt, response])
            if len(ids) < 3:
                return
            whole, begin = call(collate([ids[:1]], [(ids[1:],)])), call(collate([ids[:1]], [(ids[1:-1],)]))
            difference = float((whole - begin - call(collate([ids[:-1]], [(ids[-1:],)]))).abs())
            if not np.isfinite(difference) or difference <= unit * (1.0 + float(whole.abs())):
                return  # what is not finite is an error of its own, where the number is used
        raise ValueError(
            f"model: its prediction of a token depends on later tokens (by {difference:.3g}); give a causal model"
        )

    def _can_share(self, call: Callable[[Batch], torch.Tensor], rows: Sequence[Rows]) -> tuple[bool, str]:
        """Return whether a pair's prompt can be computed once, and the reason if not; sets `windows`.

        rows  groups of prompts, responses, their plain log-probabilities, and the usual rounding
        """
        shared = max(len(p) + sum(map(len, r)) for group in rows for p, r in zip(group[0], group[1], strict=True))
        single = max(len(p) + max(map(len, r)) for group in rows for p, r in zip(group[0], group[1], strict=True))
        if self.start is None:
            if not self.positions:
                return False, "the model counts positions in its own way"
            limit = largest_shared_row(self.causal)
            if limit is not None and shared > limit:
                return False, f"a pair has {shared} tokens, and the local or selecting layers read {limit}"
            if self.rotary_limit is not None and single > self.rotary_limit:
                return (
                    False,
                    f"rows longer than {self.rotary_limit} tokens have other rotary frequencies, and one has {single}",
                )
        reason = ""
        named = self.start is None and any(layer_windows(self.causal.config).values())
        for self.windows in (True, False) if named else (True,):
            for prompts, responses, plain, rounding in rows:
                batch = collate(prompts, responses, share_prompt=True)
                agrees, new = self._agrees(call, batch, plain, rounding, skip_prompt_logits=self.skip_prompt_logits)
                if not agrees:
                    reason = reason or new
                    break
            else:
                return True, ""
        return False, reason

    def _agrees(
        self,
        call: Callable[[Batch], torch.Tensor],
        batch: Batch,
        plain: torch.Tensor,
        rounding: float,
        *,
        skip_prompt_logits: bool,
    ) -> tuple[bool, str]:
        """Return whether a forward path gives the log-probabilities `plain` (S,), and the reason if it does not."""
        before, self.skip_prompt_logits = self.skip_prompt_logits, skip_prompt_logits
        try:
            difference = float((call(batch) - plain).abs().max())
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, LookupError) as error:
            return False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        finally:
            self.skip_prompt_logits = before
        # Four times the usual rounding, and at least the error of float32 sums of some hundred terms.
        tolerance = 4.0 * rounding + 1e-4 * (1.0 + float(plain.abs().max()) / 100.0)
        return difference <= tolerance, f"the numbers differ by {difference:.3g}"
