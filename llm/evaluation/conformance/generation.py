"""Greedy answers beside plain forward passes: the prompt's ids, each token's rank, and where an answer stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from llm.data.rows import Row
from llm.data.templates import TemplateOptions
from llm.data.tokenization import tokenize_prompts
from llm.evaluation.conformance.finding import Finding, compared, stated
from llm.models.architecture import decoder_start, is_encoder_decoder

GROUP = "generation"
NEW_TOKENS = 8


def check_generation(
    model: Any, tokenizer: Any, rows: Sequence[Row], options: TemplateOptions, eos: str, tolerance: float
) -> list[Finding]:
    """Return findings on answers at temperature 0 to the prompts of some rows.

    eos        token that ends a response, "" for the tokenizer's own
    tolerance  largest difference of log-probabilities that is rounding
    """
    from llm.evaluation.generate import answer

    encoder = is_encoder_decoder(model)
    prompts = [ids.tolist() for ids in tokenize_prompts(rows, tokenizer, template=options, encoder=encoder)]
    calls: list[tuple[dict[str, Any], torch.Tensor, list[int]]] = []
    with _recorded(model, calls):
        list(answer(model, tokenizer, rows, template=options, eos=eos, max_new_tokens=NEW_TOKENS))
    given: list[list[int]] = []
    worst, late = 0.0, 0
    for inputs, outputs, ends in calls:
        width = 1 if encoder else inputs["input_ids"].shape[1]
        for ids, mask, line in zip(inputs["input_ids"], inputs["attention_mask"], outputs, strict=True):
            given.append(ids[mask.bool()].tolist())
            new = line[width:].tolist()
            stop = next((i + 1 for i, token in enumerate(new) if token in ends), len(new))
            late += any(token not in (ends[0], *ends) for token in new[stop:])
            worst = max(worst, _distance_from_greedy(model, given[-1], new[:stop]))
    return [
        stated(GROUP, "prompts have the ids of training", sorted(given) == sorted(prompts), f"{len(given)} prompts"),
        compared(GROUP, "every token is the most likely one of a plain forward pass", worst, tolerance),
        stated(GROUP, "nothing follows the end of an answer", late == 0),
    ]


def _distance_from_greedy(model: Any, prompt: list[int], new: list[int]) -> float:
    """Return the largest difference between the greatest log-probability and that of the token that was taken."""
    with torch.no_grad():
        if is_encoder_decoder(model):
            before = torch.tensor([[decoder_start(model), *new[:-1]]], device=model.device)
            ids = torch.tensor([prompt], device=model.device)
            logits = model(input_ids=ids, decoder_input_ids=before, use_cache=False).logits[0]
        else:
            ids = torch.tensor([[*prompt, *new[:-1]]], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :]
        logps = logits.float().log_softmax(-1)
        taken = logps.gather(1, torch.tensor(new, device=logps.device)[:, None])[:, 0]
        return float((logps.amax(-1) - taken).max())


@contextmanager
def _recorded(model: Any, calls: list[tuple[dict[str, Any], torch.Tensor, list[int]]]) -> Iterator[None]:
    """Append the inputs, the outputs and the ending ids of every `model.generate` to `calls`."""
    own = model.generate

    def generate(**inputs: Any) -> torch.Tensor:
        outputs: torch.Tensor = own(**inputs)
        calls.append((inputs, outputs, list(model.generation_config.eos_token_id)))
        return outputs

    model.generate = generate
    try:
        yield
    finally:
        del model.generate
