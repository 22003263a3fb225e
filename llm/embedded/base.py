"""The embedded base model: a tokenizer trained on the world's text, and a small network pre-trained on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GPTNeoXTokenizer, get_cosine_schedule_with_warmup
from transformers.utils import logging

from llm.embedded.networks import CONTEXT, Shape, new_model
from llm.embedded.sets import Document
from llm.models.architecture import is_encoder_decoder

EOS, PAD = "<|endoftext|>", "<|padding|>"
VOCABULARY = 1200
BATCH = 32  # documents of a step
WINDOW = 8  # batches whose documents are sorted by length
IGNORED = -100  # label of tokens without a loss
LEARNING_RATE, WARM_UP, WEIGHT_DECAY, CLIP = 3e-3, 0.05, 0.01, 1.0
WIDE = 128  # a wider network has a learning rate lower in proportion, and trains on a GPU or on all cores
THREADS = 1  # sums are in another order with another number of threads, and the base would not be the same bytes

Report = Callable[[float], None]


def train_tokenizer(texts: Iterable[str]) -> GPTNeoXTokenizer:
    """Return a byte-level BPE tokenizer of at most VOCABULARY tokens, which encodes every text without loss."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    model = json.loads(core.to_str())["model"]
    merges: list[Any] = [tuple(pair) for pair in model["merges"]]  # annotated as list[str], but pairs are needed
    return GPTNeoXTokenizer(
        vocab=model["vocab"],
        merges=merges,
        unk_token=EOS,
        bos_token=EOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )


class Encoded(NamedTuple):
    """A document's token ids, and the number of leading ids that are its prompt."""

    ids: list[int]
    prompt: int


def encode(documents: Sequence[Document], tokenizer: GPTNeoXTokenizer) -> list[Encoded]:
    """Return each document's token ids with an end-of-text id; prompt and response are tokenized separately."""
    prompts = tokenizer([d.prompt for d in documents], add_special_tokens=False)["input_ids"]
    responses = tokenizer([d.response for d in documents], add_special_tokens=False)["input_ids"]
    return [Encoded([*p, *r, tokenizer.eos_token_id], len(p)) for p, r in zip(prompts, responses, strict=True)]


def batches(documents: Sequence[Encoded], pad: int, chance: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (ids, labels) of shape (documents, tokens), endlessly: all documents in a new order each epoch.

    A row is one document, padded on the right, like a single prompt at inference. Prompts are random and cannot be
    learnt, so only responses have labels.
    """
    while True:
        for rows in _grouped(documents, chance):
            width = max(len(row.ids) for row in rows)
            ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows])
            masked = [[IGNORED] * r.prompt + r.ids[r.prompt :] + [IGNORED] * (width - len(r.ids)) for r in rows]
            yield ids, torch.tensor(masked)


def _grouped(documents: Sequence[Encoded], chance: np.random.Generator) -> list[list[Encoded]]:
    """Return one epoch's batches in random order; documents of similar lengths share a batch, for little padding."""
    order = chance.permutation(len(documents)).tolist()
    out = []
    for i in range(0, len(order), WINDOW * BATCH):
        window = sorted((documents[j] for j in order[i : i + WINDOW * BATCH]), key=lambda row: len(row.ids))
        out += [window[j : j + BATCH] for j in range(0, len(window), BATCH)]
    return [out[i] for i in chance.permutation(len(out)).tolist()]


def pretrain(
    documents: Sequence[Document], shape: Shape, seed: int, report: Report
) -> tuple[Any, GPTNeoXTokenizer, list[float]]:
    """Return the trained model, its tokenizer, and the loss of every step, in nats per token.

    A pure function of documents, shape and seed on one machine; on a CPU if the network is WIDE or less. `report` is
    called with the finished share of the steps.
    """
    tokenizer = train_tokenizer(chain.from_iterable(documents))
    losses: list[float] = []
    wide = shape.hidden > WIDE
    device = "cuda" if wide and torch.cuda.is_available() else "cpu"
    with _threads(torch.get_num_threads() if wide else THREADS):
        model = new_model(shape, tokenizer, seed).to(device)
        optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=LEARNING_RATE * min(1.0, WIDE / shape.hidden),
            betas=(0.9, 0.98),
            weight_decay=WEIGHT_DECAY,
        )
        schedule = get_cosine_schedule_with_warmup(optimiser, max(1, int(WARM_UP * shape.steps)), shape.steps)
        stream = batches(encode(documents, tokenizer), tokenizer.pad_token_id, np.random.default_rng([seed, 1]))
        inputs = _encoder_inputs if is_encoder_decoder(model) else _inputs
        for step in range(shape.steps):
            batch = inputs(*next(stream), tokenizer.pad_token_id)
            loss = model(**{k: v.to(device) for k, v in batch.items()}, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
            report((step + 1) / shape.steps)
    return model.cpu(), tokenizer, losses


def _inputs(ids: Tensor, labels: Tensor, _pad: int) -> dict[str, Tensor]:
    return {"input_ids": ids, "labels": labels}


def _encoder_inputs(ids: Tensor, labels: Tensor, pad: int) -> dict[str, Tensor]:
    """Return the rows for an encoder-decoder model: prompts as the encoder's input, labeled tokens as the decoder's."""
    answered = labels != IGNORED
    asked = (ids != pad) & ~answered
    width, length = int(asked.sum(1).max()), int(answered.sum(1).max())
    starts = asked.sum(1)
    places = (starts[:, None] + torch.arange(length)).clamp(max=ids.shape[1] - 1)
    written = torch.arange(length) < answered.sum(1)[:, None]
    return {
        "input_ids": ids[:, :width].masked_fill(~asked[:, :width], pad),
        "attention_mask": asked[:, :width].long(),
        "labels": labels.gather(1, places).masked_fill(~written, IGNORED),
    }


def save(folder: Path, model: Any, tokenizer: GPTNeoXTokenizer) -> None:
    """Write both as `from_pretrained` reads them."""
    bars: Any = logging  # whose functions are not annotated
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()  # one bar a file, for files of a few megabytes
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if shown:
            bars.enable_progress_bar()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
