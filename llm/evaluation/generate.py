"""Answers of a model to prompts, decoded by transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, Range, check_options
from llm.common.files import check_name, ensure_output, write_text
from llm.common.processes import preserve_torch_state, seeded_torch
from llm.data.encoding import as_row
from llm.data.messages import Text, as_messages, is_blank
from llm.data.rows import Row
from llm.data.templates import TemplateOptions
from llm.training.run_folder import load_model, run_options

if TYPE_CHECKING:
    from llm.data.collate import Ids


@dataclass(frozen=True)
class Decoding:
    """How a model answers prompts; the same options for `generate` and `judge`."""

    template: str = ""
    """Chat template, as in training; empty: the run's own, else auto."""
    eos: str = ""
    """End-of-text token, as in training; empty: the run's own, else the tokenizer's."""
    max_new_tokens: Annotated[int, AT_LEAST_1] = 256
    """Maximum number of tokens of an answer."""
    temperature: Annotated[float, NOT_NEGATIVE] = 0.0
    """Sampling temperature; 0: greedy. The paper samples at 1."""
    top_p: Annotated[float, Range(low=0.0, high=1.0, low_open=True)] = 1.0
    """Probability mass of nucleus sampling."""
    batch: Annotated[int, AT_LEAST_1] = 16
    """Number of prompts in a batch."""
    seed: Annotated[int, NOT_NEGATIVE] = 42
    """Seed of sampling."""
    precision: str = "fp32"
    """Precision of the model: fp32 or bf16."""
    remote_code: bool = False
    """Run Python code that a model repository contains."""

    def __post_init__(self) -> None:
        check_options(self)
        check_precision(self.precision)

    @property
    def decoding(self) -> Decoding:
        """The options of this group alone."""
        return Decoding(**{f.name: getattr(self, f.name) for f in fields(Decoding)})


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(Decoding):
    """Options of `generate`: a model, prompts, and the decoding."""

    model: str
    """Folder of a run, of an adapter or of a model, or a hub name."""
    prompts: tuple[str, ...] = ()
    """The prompts themselves."""
    file: str = ""
    """Data set with prompts in its column `prompt`: .jsonl, .json, .parquet, folder, or hub name."""
    limit: Annotated[int, NOT_NEGATIVE] = 0
    """Number of prompts from the start of the file; 0: all."""
    out: str = ""
    """Write {"prompt", "answer"} lines to this .jsonl as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.prompts) == bool(self.file):
            raise ValueError("prompts: give either --prompts TEXT ... or --file SET")
        if self.out:
            check_name(self.out, ".jsonl")


def generate(config: GenerateConfig) -> list[tuple[str, str]]:
    """Return (prompt, answer) of every prompt, in order; write them to `config.out` if that is set."""
    if config.out:
        ensure_output(config.out, file=config.file)
    prompts = list(config.prompts) or _read_prompts(config.file, config.limit)
    pairs = list(zip(prompts, generate_answers(config.model, prompts, config.decoding), strict=True))
    if config.out:
        lines = [json.dumps({"prompt": p, "answer": a}, ensure_ascii=False) + "\n" for p, a in pairs]
        write_text(Path(config.out), "".join(lines))
    return pairs


def generate_answers(
    name: str, prompts: Sequence[Text | Row], decoding: Decoding, *, kind: str = "sft", base: bool = False
) -> list[str]:
    """Return the answers of a run's, an adapter's or a model's folder, or of a hub name, in the order of the prompts.

    kind  "sft" or "preference": the run's set whose template the prompts get
    base  answer by the base model of a run or an adapter instead, without its adapter

    Template and end-of-text token are the run's own where `decoding` names none.
    """
    from llm.models.architecture import set_threads

    with preserve_torch_state(None):
        model, tokenizer = load_model(name, remote_code=decoding.remote_code, precision=decoding.precision)
        model = model.unload() if base else model
        if model.device.type == "cpu":
            set_threads(model)
        return list(
            answer(
                model,
                tokenizer,
                prompts,
                template=template_of(name, decoding.template, kind),
                eos=decoding.eos or str(run_options(name).get("eos", "")),
                max_new_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                batch=decoding.batch,
                seed=decoding.seed,
            )
        )


def template_of(folder: str, name: str = "", kind: str = "sft") -> TemplateOptions:
    """Return the template `name`, else that of a run's set, with the run's template arguments and date.

    folder  of a run, of an adapter (also one that a run kept) or of a model, or a hub name; without a run, the template
            is "auto"
    kind    "sft" or "preference"; of several objectives of a kind the first counts
    """
    options = run_options(folder)
    return TemplateOptions.named(options, name) if name else TemplateOptions.of(options, kind)


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Text | Row],
    *,
    template: str | TemplateOptions = "auto",
    eos: str = "",
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch: int = 16,
    seed: int = 42,
) -> Iterator[str]:
    """Yield the answers in the order of the prompts; a prompt's token ids are those of training.

    An answer ends where training taught it to, see `llm.data.stops`, and, unless `eos` names a token, where the model's
    own generation settings end one; of these settings nothing else counts, so that greedy decoding is greedy.

    Greedy answers depend neither on the position of a prompt nor on the other prompts of its batch, which is of one
    length where a model does not allow padding; samples are drawn from the seed and the index of the first.
    Raises ValueError for an empty prompt, for one with an id that the model has no embedding for, or for one that with
    `max_new_tokens` exceeds the model's context.
    """
    import torch

    from llm.data.stops import stop_ids
    from llm.data.tokenization import tokenize_prompts
    from llm.models.architecture import is_encoder_decoder
    from llm.models.padding import STEPS, allows_cache, allows_padding, left_padded
    from llm.training.export import generation_ends

    for i, text in enumerate(prompts):
        if all(is_blank(message) for message in as_messages(as_row(text).prompt, "user")):
            raise ValueError(f"prompt {i}: the prompt is empty")
    ends = stop_ids(tokenizer, template, eos or None)
    ends = list(dict.fromkeys([*ends, *([] if eos else generation_ends(model))]))
    end, encoder = ends[0], is_encoder_decoder(model)
    ids = tokenize_prompts(list(prompts), tokenizer, template=template, encoder=encoder)
    if not ids:
        return
    _check_ids(model, ids)
    _check_lengths(model, ids, max_new_tokens, encoder=encoder)
    settings = _greedy_or_sampling(model, ends, max_new_tokens, temperature, top_p)
    with _settings(model, settings):
        settings.use_cache = allows_cache(model, max(ids, key=len), end)
        padded = encoder or allows_padding(model, ids, end, min(STEPS, max_new_tokens))
    for start in range(0, len(ids), batch):
        rows = range(start, min(start + batch, len(ids)))
        lengths = [0] if padded else sorted({len(ids[j]) for j in rows})
        groups = [[j for j in rows if padded or len(ids[j]) == length] for length in lengths]
        answers: dict[int, str] = {}
        for group in groups:
            inputs = left_padded([ids[j] for j in group], end, model.device, right=encoder)
            with _settings(model, settings), seeded_torch(seed * 1_000_003 + group[0]), torch.no_grad():
                output = model.generate(**inputs)
            width = 1 if encoder else inputs["input_ids"].shape[1]  # the decoder's start token, or the prompt
            for j, line in zip(group, output[:, width:].tolist(), strict=True):
                stop = next((i for i, token in enumerate(line) if token in ends), len(line))
                answers[j] = tokenizer.decode(line[:stop], skip_special_tokens=True).strip()
        yield from (answers[j] for j in rows)


def _check_ids(model: Any, prompts: Sequence[Ids]) -> None:
    """Raise ValueError for a prompt with an id for which the model has no embedding."""
    from llm.models.architecture import vocabulary_size

    size = vocabulary_size(model)
    for i, row in enumerate(prompts):
        if (largest := int(max(row, default=0))) >= size:
            raise ValueError(
                f"prompt {i}: the tokenizer gives the id {largest}, and the model has embeddings for {size} ids; "
                "resize the embeddings as in training (resize_token_embeddings) and save it, or use its tokenizer"
            )


def _check_lengths(model: Any, prompts: Sequence[Sized], new: int, *, encoder: bool) -> None:
    """Raise ValueError for a prompt that with so many new tokens exceeds the model's context."""
    from llm.models.position_limits import max_positions, max_prompt_positions

    limits = max_prompt_positions(model), max_positions(model)
    for i, row in enumerate(prompts):
        # A separate decoder begins with one token more, and the prompt is not in its context.
        needed = (len(row), 1 + new) if encoder else (len(row) + new,) * 2
        for length, context in zip(needed, limits, strict=True):
            if context is not None and length > context:
                raise ValueError(
                    f"prompt {i}: {len(row)} tokens and {new} new tokens are more than the model's {context}; lower "
                    "--max-new-tokens or shorten the prompt"
                )


def _greedy_or_sampling(model: Any, ends: list[int], new: int, temperature: float, top_p: float) -> Any:
    """Return generation settings with nothing of the model's own but the tokens that begin a text."""
    from transformers import GenerationConfig

    own = model.generation_config
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=new,
        eos_token_id=ends,
        pad_token_id=ends[0],
        do_sample=temperature > 0.0,
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
        **({"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature > 0.0 else {}),
    )


@contextmanager
def _settings(model: Any, settings: Any) -> Iterator[None]:
    """Replace a model's generation settings for a while.

    Given to `generate`, settings would be completed by the model's own, such as a repetition penalty.
    """
    own, model.generation_config = model.generation_config, settings
    try:
        yield
    finally:
        model.generation_config = own


def _read_prompts(source: str, limit: int) -> list[str]:
    """Return the column `prompt` of a data set; ValueError that names the first row without a text there."""
    from llm.data.readers import read

    table = read(source, None, limit or None)
    absent = [i for i, row in enumerate(table.rows) if not isinstance(row.get("prompt"), str)]
    if absent or not table.rows:
        subject = f"row {absent[0]} has" if absent else "it has"
        raise ValueError(f"file: {source}: {subject} no text in a column `prompt`")
    return [row["prompt"] for row in table.rows]


def check_precision(precision: str) -> None:
    """Raise ValueError for a precision that is neither fp32 nor bf16."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision: must be fp32 or bf16, got {precision}")
