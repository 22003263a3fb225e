"""The inputs of a run: configuration, tokenizer, data sets and base model, from names or from memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.common.processes import preserve_torch_state
from llm.common.progress import Line, say
from llm.data.chat import today
from llm.data.splits import Datasets, load_datasets
from llm.data.templates import needs_date
from llm.embedded.prepare import with_embedded
from llm.models import loading
from llm.models.architecture import check_trainable, is_encoder_decoder, vocabulary_size
from llm.models.checkpoint_files import unused_note
from llm.models.lora_check import adapter_note, check_adapters, other_base_note
from llm.models.position_limits import max_positions, max_prompt_positions
from llm.models.quantization import check_quantization
from llm.models.tokenizer_files import replacement_note
from llm.training.base import BaseModel
from llm.training.deepspeed_config import is_zero, shares_weights
from llm.training.engine import from_main
from llm.training.launch import make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig


@dataclass(frozen=True)
class GivenInputs:
    """Inputs in memory, in place of the inputs that a configuration names; None where a name is used.

    model      a language model of transformers; training gives it back without adapters
    tokenizer  its tokenizer
    sft, preference, sft_held_out, preference_held_out  lists of dicts or `datasets.Dataset`s, of the short form
    rows       the same for the objectives of `objective`, by name; by NAME_held_out for evaluations
    """

    model: Any = None
    tokenizer: Any = None
    sft: Any = None
    preference: Any = None
    sft_held_out: Any = None
    preference_held_out: Any = None
    rows: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.model is None) != (self.tokenizer is None):
            raise TypeError("model and tokenizer: give both or neither")
        if hasattr(self.model, "peft_config"):
            raise TypeError(
                "model: has adapters of PEFT; give its base model, and a saved adapter's folder as the option adapter"
            )
        if self.model is not None:
            _check_types(self.model, self.tokenizer)
        if not isinstance(self.rows, Mapping):
            raise TypeError(f"rows: must be sets by the names of objectives, got {type(self.rows).__name__}")

    @property
    def sets(self) -> dict[str, Any]:
        """The sets in memory, by name."""
        names = ("sft", "preference", "sft_held_out", "preference_held_out")
        short = {name: getattr(self, name) for name in names}
        return {name: rows for name, rows in {**short, **self.rows}.items() if rows is not None}

    @property
    def names(self) -> list[str]:
        """The names of the inputs that are given."""
        return [*(["model"] if self.model is not None else []), *self.sets]

    def check_names(self, set_names: Sequence[str]) -> None:
        """Raise TypeError for a set in memory that belongs to no objective.

        set_names  the names of the objectives' sets
        """
        known = {name + end for name in set_names for end in ("", "_held_out")}
        for name in self.sets.keys() - known:
            raise TypeError(f"{name}: is given in memory, and the objectives' sets are {', '.join(set_names)}")


def _check_types(model: Any, tokenizer: Any) -> None:
    """Raise TypeError, in one line, unless a model predicts texts and a tokenizer is one of transformers."""
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    if not isinstance(model, PreTrainedModel) or not model.can_generate():
        name = repr(model) if isinstance(model, str) else type(model).__name__
        raise TypeError(f"model: must be a language model such as AutoModelForCausalLM loads, got {name}")
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    if isinstance(getattr(tokenizer, "tokenizer", None), PreTrainedTokenizerBase):
        raise TypeError(
            f"tokenizer: is a processor ({type(tokenizer).__name__}); give its tokenizer (processor.tokenizer), with "
            "the processor's chat_template if the tokenizer has none"
        )
    name = repr(tokenizer) if isinstance(tokenizer, str) else type(tokenizer).__name__
    raise TypeError(f"tokenizer: must be one of transformers, such as AutoTokenizer loads, got {name}")


@dataclass
class Inputs:
    """The loaded inputs of a run.

    asked      the configuration as the user wrote it, with the date for templates that write today's
    config     the configuration with the embedded world's files in place of its name
    is_encoder_decoder  whether prompts are encoded apart from responses
    costs      (computation, seconds by `metrics.KINDS`) of every cached file or folder that is reused
    quiet      whether progress is hidden
    stop       whether a stop is requested
    """

    asked: TrainConfig
    config: TrainConfig
    given: GivenInputs
    tokenizer: Any
    datasets: Datasets
    base: BaseModel
    is_encoder_decoder: bool
    quiet: bool
    stop: Callable[[], bool]
    costs: dict[Path, tuple[str, Mapping[str, float | None]]] = field(default_factory=dict)

    @property
    def accelerator(self) -> Accelerator:
        """The handle of the processes."""
        return self.base.accelerator

    @property
    def cache(self) -> Path:
        """The folder of cached computations."""
        return self.config.cache_folder

    def check(self) -> None:
        """Raise ValueError or FileNotFoundError, in one line, for inputs that do not fit.

        Called before any file is written.
        """
        check_fits(self.datasets, self.base.model, self.config, world=self.accelerator.num_processes)
        check_gradients(self.base.model)
        kind = self.config.reference_kind
        check_adapters(self.base.model, self.config, kind)
        adapters = {"adapter": self.config.adapter, "reference": kind if kind not in ("base", "chosen", "sft") else ""}
        base = str(getattr(self.base.model, "name_or_path", ""))
        others = (other_base_note(option, folder, base) for option, folder in adapters.items())
        for note in (unused_note(self.base.model), adapter_note(self.config), *others):
            say(note or "", active=not self.quiet and bool(note))

    def check_alone(self, command: str) -> None:
        """Raise ValueError unless a command, which reads gradients or weights itself, runs in one plain process."""
        if self.accelerator.num_processes > 1 or is_zero(self.accelerator):
            raise ValueError(f"{command}: runs in one process; start the command without a launcher")

    def main_decides(self, value: bool) -> bool:
        """Return the main process's value on all processes."""
        return bool(from_main(self.accelerator, value))

    def from_main(self, value: Any) -> Any:
        """Return the main process's object on all processes."""
        return from_main(self.accelerator, value)

    def progress(self, title: str) -> Line:
        """Return a progress line, hidden if the run is quiet."""
        return Line(title, active=not self.quiet)


@contextmanager
def open_inputs(
    config: TrainConfig, given: GivenInputs, *, quiet: bool = False, stop: Callable[[], bool] = lambda: False
) -> Iterator[Inputs]:
    """Load a run's inputs; a model given in memory, and torch's state, are afterwards as before."""
    given.check_names([o.set_name for o in config.objectives])
    with preserve_torch_state(given.model):
        accelerator = make_accelerator(config)
        check_quantization(config, given=given.model is not None, sharded=bool(shares_weights(accelerator)))
        if given.model is not None and is_zero(accelerator):
            raise ValueError(
                "model: in memory is not with DeepSpeed, which moves weights; save it, and name its folder"
            )
        quiet = quiet or not accelerator.is_main_process
        tokenizer = given.tokenizer
        if tokenizer is None and config.model != "embedded":  # a wrong name fails before any long computation
            tokenizer = loading.load_tokenizer(config.model, config)
        with Line("the embedded world", active=not quiet) as line:
            named = with_embedded(config, given.names, lambda text, share: line(round(100 * share), 100, text))
        tokenizer = tokenizer or loading.load_tokenizer(named.model, named)
        described = loading.load_config(named.model, named) if given.model is None else given.model
        encoder = is_encoder_decoder(described)
        templates = [o.template for o in named.objectives]
        if needs_date(named.template_date, templates, tokenizer):
            # The same on the days on which the run resumes or is evaluated.
            date = from_main(accelerator, today())
            config, named = (dataclasses.replace(c, template_date=date) for c in (config, named))
        datasets = load_datasets(named, tokenizer, given.sets, encoder=encoder)
        for note in (replacement_note(tokenizer), *datasets.notes):
            say(note or "", active=not quiet and note is not None)
        base = BaseModel(accelerator, named, given.model, datasets.for_layout, quiet=quiet)
        try:
            yield Inputs(config, named, given, tokenizer, datasets, base, encoder, quiet, stop)
        finally:
            base.give_back()


def check_fits(sets: Datasets, model: Any, config: TrainConfig, *, world: int = 1) -> None:
    """Check that the sets fit the model (token ids, lengths) and the batches fit the sets; ValueError if not.

    world  processes that share a batch
    """
    check_trainable(model)
    low = {str(p.dtype) for p in model.parameters() if p.dtype in (torch.bfloat16, torch.float16)}
    if low and config.lora_rank == 0:  # of a model in memory: a named one is loaded in the configured precision
        raise ValueError(
            f"model: has weights in {', '.join(sorted(low))}, which would round most updates of all weights "
            "(lora_rank 0) away; give it in float32 (model.float()), or a --lora-rank"
        )
    if is_encoder_decoder(model) and config.reference_prompts:
        raise ValueError("reference_prompts: not with an encoder-decoder model, which never writes a prompt")
    _check_rows(sets, model)
    for own in config.sft_first if config.keep_best != "no" else ():
        measured = config.keep_best in (f"f_{own.name}", "mix", "worst_gap", "ideal_distance")
        if measured and own.set_name not in sets.held_out:
            name = "SFT" if own.set_name == "sft" else own.set_name
            raise ValueError(f"keep_best: {config.keep_best} needs held-out {name} rows; give --held-out, or a set")
    _check_batches(sets, config, world)


def check_gradients(model: Any) -> None:
    """Raise ValueError for a model with weights in float16, through which gradients pass in float16.

    An adapter's own weights and gradients are in float32, but a mean loss's gradients of activations are mostly below
    6e-5, where float16 loses digits, and then all; the loss is not scaled. Such a model is only evaluated.
    """
    if any(p.dtype == torch.float16 for p in model.parameters()):
        raise ValueError(
            "model: has weights in torch.float16, in which gradients underflow; give it in bfloat16 (model.bfloat16()) "
            "or float32 (model.float()), or load it so (dtype=torch.bfloat16, in 4 bits also bnb_4bit_compute_dtype)"
        )


def _check_rows(sets: Datasets, model: Any) -> None:
    """Raise ValueError, naming the set, for a token id or a length that a model does not take."""
    vocabulary = vocabulary_size(model)
    apart = is_encoder_decoder(model)
    limits = max_prompt_positions(model), max_positions(model)
    for name, tokens in sets.shown.items():
        shown = name.replace("_held_out", " (held out)")
        for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True):
            largest = max(int(ids.max()) for ids in (prompt, *responses))
            if largest >= vocabulary:
                raise ValueError(
                    f"{shown}: the tokenizer gives the id {largest}, the model has embeddings for {vocabulary} ids; "
                    "give the model's own tokenizer, or resize its embeddings (resize_token_embeddings) and save it"
                )
            longest = max(map(len, responses))
            # A decoder of its own reads its start token and all of a response but the last token.
            lengths = (len(prompt), longest) if apart else (len(prompt) + longest,) * 2
            for length, most in zip(lengths, limits, strict=True):
                if most is not None and length > most:
                    raise ValueError(
                        f"{shown}: a row has {length} tokens, and the model takes {most}; use --max-length {most}"
                    )


def _check_batches(sets: Datasets, config: TrainConfig, world: int) -> None:
    """Raise ValueError, naming the option, for a batch that a set or the processes cannot share out."""
    for own in config.sft_first:
        rows, batch = len(sets.train[own.set_name]), own.batch
        name = f"objective {own.name}: batch" if config.objective else f"batch_{own.kind}"
        option = "batch=" if config.objective else f"--batch-{own.kind} "
        if batch > rows:
            raise ValueError(
                f"{name}: must be at most the number of training rows, {rows}, got {batch}; "
                f"use {option}{rows} or less, or give more rows"
            )
        if batch % world:
            raise ValueError(
                f"{name}: must be a multiple of the number of processes, {world}, got {batch}; "
                f"use {option}{batch + -batch % world}, or another number of processes"
            )
        if config.gap_rows % world or config.gap_rows > rows:
            raise ValueError(
                f"gap_rows: must be a multiple of the number of processes, {world}, and at most {rows}, the number of "
                f"{own.set_name} rows, got {config.gap_rows}"
            )
