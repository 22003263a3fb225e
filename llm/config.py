"""The configuration of a run: all options in one flat dataclass, for the command line, a file, and Python alike."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm import options, rule_options
from llm.common.arguments import (
    annotations_of,
    check_fields,
    check_type,
    normalize,
    parse,
    reads_numbers,
    take_option,
)
from llm.data.chat import parse_date
from llm.data.templates import parse_kwargs
from llm.losses import PREFERENCE_LOSSES, PreferenceLoss
from llm.models.lora_settings import check_settings
from llm.models.packaged import located
from llm.presets import EMBEDDED_TARGETS, PRESETS
from toyopt.algorithms import RULES, Rule


# Python collects fields from the last base class to the first, so the bases stand in reverse order of the help text.
@dataclass(frozen=True)
class TrainConfig(
    options.RunOptions,
    options.MachineOptions,
    options.KeepOptions,
    options.EvaluationOptions,
    options.ComputationOptions,
    options.OptimizerOptions,
    options.AdapterOptions,
    options.BatchOptions,
    options.WorldOptions,
    options.ReferenceOptions,
    options.LossOptions,
    rule_options.OptimaOptions,
    rule_options.MixOptions,
    rule_options.MaxrightOptions,
    rule_options.AlrightOptions,
    rule_options.ReplayOptions,
    rule_options.SequentialOptions,
    rule_options.StageOptions,
    rule_options.AlgorithmOptions,
    options.TrainingOptions,
    options.DataOptions,
    options.ModelOptions,
):
    """Configuration of one run. The defaults train on the embedded world, which needs no network.

    Raises ValueError on construction if a value is out of its range, TypeError if it has another type.
    """

    def __post_init__(self) -> None:
        normalize(self)
        object.__setattr__(self, "model", located(self.model, self.cache_folder))
        self._fit_targets()
        check_fields(self)
        _check_combinations(self)

    def _fit_targets(self) -> None:
        """Replace the embedded preset's layer names by those of the chosen family."""
        family = self.world_family
        if self.model == "embedded" and family != "neox" and self.lora_targets in EMBEDDED_TARGETS.values():
            object.__setattr__(self, "lora_targets", EMBEDDED_TARGETS.get(family, self.lora_targets))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainConfig:
        """Return a named setting with changes on top of it."""
        return cls(**configure(name, changes, "preset"))

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        name = Path(self.model).name
        return Path(self.out or f"runs/{name}-{self.method}-lam{self.lam:g}-seed{self.seed}")

    @property
    def cache_folder(self) -> Path:
        """The folder of cached computations."""
        return Path(self.cache).expanduser() if self.cache else Path("~/.cache/forget-neither").expanduser()

    @property
    def loss(self) -> PreferenceLoss:
        """The loss on pairs of the training set."""
        return PREFERENCE_LOSSES[self.preference_loss].from_options(self)

    @property
    def reference_kind(self) -> str:
        """base, chosen, sft, or an adapter's folder; `paper` is resolved to the first objective's training set."""
        if self.reference == "paper":
            return "chosen" if self.order == "dpo-sft" else "sft"
        return self.reference

    def rule(self, f_star: tuple[float, float] = (0.0, 0.0)) -> Rule:
        """Return the decision rule of toyopt.algorithms; λ weighs DPO, and is its share of steps in stages."""
        return RULES[self.method].from_options(self, f_star)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, in the order of the fields."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def values_of(self, *groups: type) -> dict[str, Any]:
        """Return plain values of the options in these groups of options."""
        names = {field.name for group in groups for field in dataclasses.fields(group)}
        return {k: v for k, v in self.as_dict().items() if k in names}


# Every group of options: a field of the configuration belongs to exactly one.
GROUPS: tuple[type, ...] = TrainConfig.__bases__[::-1]
# Groups that decide a run's result.
RESULT = tuple(g for g in GROUPS if g not in (options.MachineOptions, options.RunOptions))
# Groups that decide the result of a run on one objective alone, beside its rows, its loss and the base's weights.
SINGLE_OBJECTIVE: tuple[type, ...] = (
    options.TrainingOptions,
    options.BatchOptions,
    options.AdapterOptions,
    options.OptimizerOptions,
    options.ComputationOptions,
    options.EvaluationOptions,
)
# Groups that decide the rows and the base's weights.
INPUTS: tuple[type, ...] = (options.ModelOptions, options.DataOptions, options.WorldOptions)


def unused_options(method: str) -> dict[str, Any]:
    """Return the options that other rules read and this one does not, by name, with their defaults."""
    groups = [g for g in GROUPS if method not in getattr(g, "rules", (method,))]
    return {f.name: f.default for g in groups for f in dataclasses.fields(g)}


def read(path: str | Path) -> dict[str, Any]:
    """Return the options of a TOML or YAML file.

    Raises ValueError for an unreadable file, FileNotFoundError for a missing one.
    """
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
    """Return the options of a preset ("": none) with `values` on top of them.

    origin  the source of the values, for error messages

    The types of the values are checked, their ranges are not: a later source may still change them.
    """
    if preset and preset not in PRESETS:
        raise ValueError(f"preset: must be one of {', '.join(PRESETS)}, got {preset}")
    return {**(PRESETS[preset] if preset else {}), **_known(values, origin)}


def config_from(argv: list[str], command: str, description: str, kind: type[TrainConfig] = TrainConfig) -> TrainConfig:
    """Return the configuration of defaults, --preset, --config, and the options in `argv`.

    kind  a subclass for commands with options of their own, which a file cannot set
    """
    preset, argv = take_option(argv, "--preset")
    file, argv = take_option(argv, "--config")
    values = read(file) if file else {}
    own = str(values.pop("preset", ""))
    preset = preset or own
    if not preset and "model" not in values and not any(a.partition("=")[0] == "--model" for a in argv):
        preset = "embedded"  # its lengths and rates suit no other model
    default = configure(preset, values, file)
    names = ", ".join(PRESETS)
    more = f"--preset NAME: one of {names} (default: embedded, if no --model is given).\n"
    text = f"{description}\n\n{more}--config FILE: options from TOML or YAML."
    return parse(kind, argv, command, text, default=default)  # type: ignore[no-any-return]


def _known(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return values under the names of options; ValueError for an unknown name, TypeError for a wrong type."""
    annotations = annotations_of(TrainConfig)
    known: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in annotations:
            close = ["lam"] if name == "lambda" else difflib.get_close_matches(name, annotations, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(annotations)}"
            raise ValueError(f"{origin}: {key} is no option{hint}")
        if reads_numbers(annotations[name]) and isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)
        known[name] = tuple(value) if isinstance(value, list) else value
        check_type(name, known[name], annotations[name])
    return known


def _check_combinations(c: TrainConfig) -> None:
    """Raise ValueError, naming the option, for values that exclude each other or cannot be read."""
    parse_kwargs(c.template_kwargs)
    joined = "stack" if c.stack else "average" if c.average else ""
    check_settings(c.lora, rank=c.lora_rank, adapter=c.adapter, joined=joined, precision=c.precision)
    if c.template_date:
        parse_date(c.template_date)
    if c.f_star == "given" and (c.f_dpo_star is None or c.f_sft_star is None):
        raise ValueError("f_star: given needs both --f-dpo-star and --f-sft-star")
    if c.neftune_alpha and c.compile:
        raise ValueError("neftune_alpha: not with compile, whose code would leave out the noise; use one of the two")
    if c.warmup and c.schedule == "constant":
        raise ValueError(f"warmup: the schedule constant has none, got {c.warmup}; use --schedule constant_with_warmup")
    for name in ("stack", "average"):
        if not getattr(c, name):
            continue
        if c.method not in rule_options.SequentialOptions.rules or c.lora_rank == 0:
            raise ValueError(f"{name}: is for the sequential method with LoRA, got {c.method}, rank {c.lora_rank}")
        if not c.stage_reset:
            raise ValueError(f"{name}: the second stage's adapter is a new one and begins afresh; leave stage_reset")
    _check_keeping(c)
    if c.stack and c.average:
        raise ValueError("average: stack joins the stages' adapters in another way; use one of the two")
    if c.label_smoothing and "label_smoothing" not in c.loss.numbers():
        raise ValueError(
            f"label_smoothing: {c.preference_loss} has none, got {c.label_smoothing}; "
            "use --preference-loss cdpo or robust"
        )
    if c.preference_loss != "dpo" and RULES[c.method].needs_optima and c.f_star == "given":
        loss = f"f_{c.preference_loss}"
        raise ValueError(
            f"f_star: given is f_DPO*, and {c.method} needs the optimum of {loss}; use compute or estimate"
        )
    if c.adapter and c.lora_rank == 0:
        raise ValueError("adapter: cannot be trained on with lora_rank 0, which trains all weights")
    if c.lora_rank == 0 and c.reference != "base":
        raise ValueError(f"reference: with lora_rank 0, which trains all weights, it must be base, got {c.reference}")


def _check_keeping(c: TrainConfig) -> None:
    """Raise ValueError, naming the option, for a choice of kept adapters that a run cannot have."""
    which = "stack" if c.stack else "average"
    for name, value, none in (("keep_every", c.keep_every, 0), ("keep_best", c.keep_best, "no")):
        if value != none and (c.stack or c.average):
            raise ValueError(f"{name}: with {which} a stage's adapter is not the model, got {value}; use {none}")
    if c.keep_best != "no" and c.eval_every == 0:
        raise ValueError(f"keep_best: {c.keep_best} is measured by evaluations on the way; give --eval-every")
    if c.keep_best in ("worst_gap", "ideal_distance") and c.f_star not in ("compute", "given"):
        raise ValueError(f"keep_best: {c.keep_best} is measured from optima; use --f-star compute or given, or mix")
    if c.patience and c.keep_best == "no":
        raise ValueError(f"patience: counts evaluations without a better one, got {c.patience}; give --keep-best")
