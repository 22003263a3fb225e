"""The one configuration: every option of the trainer, with what it means; on the command line, in a file, in Python."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm._checks import Method as Method
from llm._checks import Schedule as Schedule
from llm._checks import check, check_type
from llm.common.cache import digest as digest


@dataclass(frozen=True)
class TrainConfig:
    """One run. The defaults train on the embedded world, which needs no network.

    Raises ValueError on construction if a value is out of its range, TypeError if it is of another type.
    """

    # --- what is trained on what ---
    model: str = "embedded"
    """Base model: a hub name, a folder, or `embedded`."""
    sft: str = "embedded"
    """SFT set: a hub name, a .jsonl/.json/.parquet file, a folder, or `embedded`."""
    preference: str = "embedded"
    """Preference set: the same kinds."""
    out: str = ""
    """Folder of the run; empty: runs/MODEL-METHOD-lamLAM-seedSEED."""

    # --- the algorithm ---
    method: Method = "alright"
    """sequential (one after the other), mix (weighted sum), alright (a coin), maxright (always the one that lags)."""
    lam: float = 0.5
    """λ in [0, 1], the weight of DPO; for sequential, its share of the steps."""
    steps: int = 400
    """Optimiser steps T of all."""
    order: Literal["dpo-sft", "sft-dpo"] = "dpo-sft"
    """Sequential: which comes first."""
    stack: bool = False
    """Sequential: the second stage trains an adapter of its own on top of the first; both are joined in the end."""
    average: bool = False
    """Sequential: each stage trains an adapter of its own on the base; the result is their mean, with the weights λ of
    DPO's and 1-λ of SFT's."""
    stage_reset: bool = True
    """Sequential: the second stage begins with a fresh optimiser and schedule, as a second run would."""
    alternation: Literal["coin", "even"] = "coin"
    """ALRIGHT: a coin, or an even alternation with the same share and no chance in it."""
    block: int = 1
    """ALRIGHT: what is drawn holds for so many steps."""
    k: int = 10
    """MAXRIGHT: both objectives are evaluated every k steps; in between the other's last value is used."""
    gap_rows: int = 0
    """MAXRIGHT: evaluate on so many rows; 0: on a whole batch, which is the step's own if it is chosen as expected."""
    f_star: Literal["estimate", "compute", "given"] = "estimate"
    """Optima that MAXRIGHT subtracts: estimated on the way, computed by a run on each objective (cached), or given.
    With computed or given ones every method reports its gaps."""
    f_dpo_star: float | None = None
    """f_DPO*, if given."""
    f_sft_star: float | None = None
    """f_SFT*, if given."""
    optima_steps: int = 0
    """Steps of each run that computes an optimum; 0: as many as `steps`."""
    draw_both: bool = False
    """MAXRIGHT: both data sets move on at every step, also the one that is not trained on."""

    # --- objectives ---
    beta: float = 0.1
    """β of DPO."""
    preference_loss: Literal["dpo", "simpo", "orpo"] = "dpo"
    """What is trained on pairs: DPO, or SimPO or ORPO, which need no reference. Held-out rows always tell f_DPO."""
    simpo_beta: float = 0.0
    """β of SimPO; 0: DPO's."""
    simpo_gamma: float = 0.5
    """γ of SimPO, the margin that is aimed at."""
    orpo_lambda: float = 0.1
    """λ of ORPO, the weight of its odds ratio."""
    reference: str = "base"
    """DPO's reference: base (the bare model), chosen, sft (an adapter trained on the chosen responses, or the SFT set),
    paper (chosen or sft, whichever comes first in `order`), or the folder of an adapter."""
    reference_steps: int = 0
    """Steps of the run that trains the reference; 0: as many as `steps`."""
    reference_prompts: bool = False
    """The reference is trained on prompts as well (not masked)."""
    sft_mean: Literal["step", "batch"] = "step"
    """f_SFT is a mean over the response tokens of the whole step, or of each micro-batch."""

    # --- data ---
    sft_split: str = "train"
    """Split of the SFT set."""
    preference_split: str = "train"
    """Split of the preference set."""
    sft_format: str = "auto"
    """How its columns are read: auto, prompt-completion, messages, instruction."""
    preference_format: str = "auto"
    """How its columns are read: auto, explicit, implicit."""
    sft_columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """Our column names to theirs in the SFT set, for example prompt question completion answer."""
    preference_columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """The same for the preference set, for example chosen better rejected worse."""
    ignore_input: bool = False
    """Instruction sets: leave the input column out."""
    bad_rows: Literal["error", "drop"] = "error"
    """What to do with rows that cannot be used."""
    sft_rows: int = 0
    """Use the first so many rows; 0: all."""
    preference_rows: int = 0
    """Use the first so many rows; 0: all."""
    template: str = "auto"
    """auto: the chat template, else `User: {prompt}\\nAssistant: `; none: texts as they are; or a text with {prompt}"""
    max_length: int = 2048
    """Most tokens of a prompt with a response; prompts are cut at their beginning."""
    overflow: Literal["truncate", "drop", "error"] = "truncate"
    """What to do with longer ones."""
    eos: str = ""
    """End-of-text token, where the tokeniser has none."""
    held_out: float = 0.03
    """Share of each set, by prompts, that is held out for evaluation."""
    sft_held_out: str = ""
    """An evaluation set instead; rows with its prompts are taken out of the training set."""
    preference_held_out: str = ""
    """An evaluation set instead; rows with its prompts are taken out of the training set."""
    eval_on_train: bool = False
    """Evaluate on the first `held_out` share of the training rows, which stay in the training set."""

    conflict: float = 0.5
    """Embedded sets: how much the preferences contradict the SFT answers, from 0 to 1."""
    overlap: float = 0.0
    """Embedded sets: the share of preference prompts that are worded as SFT's are, from 0 to 1."""
    world_seed: int = 0
    """Embedded world: which one."""
    world_size: Literal["standard", "small", "large"] = "standard"
    """Embedded world: 120 places and a base of 1.1 million parameters; 40 and 0.2 million; 400 and 11 million."""
    world_family: Literal["neox", "llama", "t5"] = "neox"
    """Embedded world: the base's architecture; t5 is an encoder-decoder. The preset's lora_targets become its own."""

    # --- batches ---
    batch_sft: int = 24
    """SFT rows a step, over all processes."""
    batch_preference: int = 8
    """Pairs a step, over all processes."""
    micro_tokens: int = 16384
    """Most padded tokens that a process computes at once; a larger batch is accumulated."""
    window: int = 50
    """Batches sorted by length together; 0: plain shuffling."""
    share_prompt: Literal["auto", "yes", "no"] = "auto"
    """Compute a pair's prompt once: if it gives the same numbers, always, never."""

    # --- adapter ---
    lora_rank: int = 32
    """Rank; 0: no adapter, all weights are trained."""
    lora_alpha: int = 32
    """LoRA's alpha; the update is scaled by alpha/rank."""
    lora_targets: tuple[str, ...] = ()
    """Layers by their last name; empty: PEFT's choice for the architecture, else all linear layers."""
    lora_dropout: float = 0.0
    """Dropout before the adapter."""
    adapter: str = ""
    """Folder of an adapter to go on training."""

    # --- optimiser ---
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """torch's."""
    lr: float = 5e-5
    """Learning rate."""
    beta1: float = 0.9
    """AdamW's β₁."""
    beta2: float = 0.95
    """AdamW's β₂."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    schedule: Schedule = "constant"
    """transformers'."""
    warmup: int = 0
    """Warm-up steps; `constant` has none."""

    # --- machine ---
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the base model and of the computation; the adapter and log-probabilities are float32."""
    attention: str = ""
    """Attention implementation of transformers: sdpa, eager, flash_attention_2; empty: its default."""
    gradient_checkpointing: bool = False
    """Less memory, a third more time."""
    compile: bool = False
    """torch.compile."""
    threads: int = 0
    """On a CPU: torch's threads; 0: one for a model of less than 10 million weights, else torch's own choice."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU if there is one."""
    mix_one_graph: bool = False
    """Mix: one backward pass of the sum (faster, more memory) instead of two."""
    remote_code: bool = False
    """Run code that a model on the hub brings along."""

    # --- the run ---
    seed: int = 42
    """Of data order, coin and adapter."""
    eval_every: int = 100
    """Evaluate every so many steps and at the end; 0: only at the end."""
    eval_rows: int = 240
    """At most so many rows of each held-out set."""
    save_every: int = 100
    """A checkpoint every so many steps."""
    keep_every: int = 0
    """Keep the adapter every so many steps, at the start and at the end, in OUT/kept; 0: only the last one."""
    explode: float = 10.0
    """Stop if a loss is above so many times its first value (and above 10) three times in a row."""
    log_with: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Trackers besides metrics.jsonl."""
    cache: str = ""
    """Folder for what is computed once (references, optima, the embedded base); empty: ~/.cache/forget-neither."""
    overwrite: bool = False
    """Begin anew in a folder that holds another run."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # a run's identity must not depend on how a value is written
            value = getattr(self, field.name)
            if str(field.type).startswith("float") and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, field.name, float(value))
            elif str(field.type).startswith("tuple") and isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        self._fit_targets()
        check(self)

    def _fit_targets(self) -> None:
        """The embedded preset's layers, which have other names in another family: said here, so that they are told."""
        from llm.presets import EMBEDDED_TARGETS

        family = self.world_family
        if self.model == "embedded" and family != "neox" and self.lora_targets in EMBEDDED_TARGETS.values():
            object.__setattr__(self, "lora_targets", EMBEDDED_TARGETS.get(family, self.lora_targets))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainConfig:
        """A named setting with changes on top of it."""
        return cls(**configure(name, changes, "preset"))

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        name = Path(self.model).name
        return Path(self.out or f"runs/{name}-{self.method}-lam{self.lam:g}-seed{self.seed}")

    @property
    def cache_folder(self) -> Path:
        """Where things that are computed once are kept."""
        return Path(self.cache).expanduser() if self.cache else Path("~/.cache/forget-neither").expanduser()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the fields."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


# Options that say where and how it is computed and shown, not what the result is.
NOT_THE_RESULT = frozenset("out cache overwrite log_with save_every device threads explode".split())
# Options that a run on one objective alone does not have, or that its rows' token ids already tell.
METHOD = frozenset(
    "method lam order stack average stage_reset alternation block k gap_rows f_star f_dpo_star f_sft_star optima_steps "
    "draw_both mix_one_graph reference reference_steps reference_prompts adapter "
    "preference_loss simpo_beta simpo_gamma orpo_lambda".split()  # `Run._single` names the loss where there is another
)
DATA = frozenset(
    "model sft preference sft_split preference_split sft_format preference_format sft_columns preference_columns "
    "ignore_input bad_rows sft_rows preference_rows template max_length overflow eos held_out sft_held_out "
    "preference_held_out eval_on_train conflict overlap world_seed world_size world_family remote_code".split()
)


def read(path: str | Path) -> dict[str, Any]:
    """The options in a TOML or YAML file; ValueError names a key that is not one, FileNotFoundError a missing file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"config: there is no file {path}")
    if path.suffix == ".toml":
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"config: {path} is not TOML: {error}") from error
    elif path.suffix in (".yaml", ".yml"):
        import yaml

        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"config: {path} is not YAML: {' '.join(str(error).split())}") from error
    else:
        raise ValueError(f"config: {path} must end in .toml, .yaml or .yml")
    if not isinstance(values, dict):
        raise ValueError(f"config: {path} must hold names with values, got {type(values).__name__}")
    return values


def configure(preset: str, values: dict[str, Any], origin: str) -> dict[str, Any]:
    """The options of a preset ("": none) with `values` on top of them.

    The types of the values are checked, their ranges are not: what comes on top of these may change them once more.
    """
    from llm.presets import PRESETS

    if preset and preset not in PRESETS:
        raise ValueError(f"preset: must be one of {', '.join(PRESETS)}, got {preset}")
    return {**(PRESETS[preset] if preset else {}), **_known(values, origin)}


def _known(values: dict[str, Any], origin: str) -> dict[str, Any]:
    kinds = {f.name: str(f.type) for f in dataclasses.fields(TrainConfig)}
    known: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in kinds:
            close = ["lam"] if name == "lambda" else difflib.get_close_matches(name, kinds, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(kinds)}"
            raise ValueError(f"{origin}: {key} is no option{hint}")
        if kinds[name].startswith("float") and isinstance(value, str):  # YAML's 5e-5 is a text, 5.0e-5 is not
            with contextlib.suppress(ValueError):
                value = float(value)
        known[name] = tuple(value) if isinstance(value, list) else value
        check_type(name, known[name], kinds[name])
    return known


def reference_kind(config: TrainConfig) -> str:
    """base, chosen, sft, or an adapter's folder; `paper` is what comes first in the order of training."""
    if config.reference == "paper":
        return "chosen" if config.order == "dpo-sft" else "sft"
    return config.reference
