"""The configuration of a run: all options in one flat dataclass, for the command line, a file, and Python alike."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llm import options, rule_options
from llm.common.arguments import (
    annotations_of,
    check_fields,
    check_type,
    gather_option,
    normalize,
    parse,
    reads_numbers,
    take_option,
)
from llm.common.option_file import read
from llm.data import set_options
from llm.data.objective_options import canonical
from llm.data.objective_settings import ObjectiveSettings, settings_of
from llm.losses import PREFERENCE_LOSSES, PreferenceLoss
from llm.models.packaged import located
from llm.presets import EMBEDDED_TARGETS, PRESETS
from llm.training.combinations import check_combinations, check_named_model, check_named_sets, check_objectives
from toyopt.algorithms import RULES, Rule


# Python collects fields from the last base class to the first, so the bases stand in reverse order of the help text.
@dataclass(frozen=True)
class TrainConfig(
    options.RunOptions,
    options.MachineOptions,
    options.KeepOptions,
    options.BenchmarkOptions,
    options.EvaluationOptions,
    options.ComputationOptions,
    options.OptimizerOptions,
    options.AdapterOptions,
    options.BatchOptions,
    options.WorldOptions,
    options.ReferenceOptions,
    options.LossOptions,
    rule_options.TwoOptimaOptions,
    rule_options.OptimaOptions,
    rule_options.MixOptions,
    rule_options.MaxrightOptions,
    rule_options.AlrightOptions,
    rule_options.ReplayOptions,
    rule_options.SequentialOptions,
    rule_options.StageOptions,
    rule_options.AlgorithmOptions,
    rule_options.WeightOptions,
    options.TrainingOptions,
    options.DataOptions,
    set_options.ObjectivesOptions,
    set_options.TwoSetsOptions,
    options.ModelOptions,
):
    """Configuration of one run. The defaults train on the embedded world, which needs no network.

    Raises ValueError on construction if a value is out of its range, TypeError if it has another type.
    """

    def __post_init__(self) -> None:
        normalize(self)
        object.__setattr__(self, "model", located(self.model, self.cache_folder))
        object.__setattr__(self, "objective", canonical(self.objective))
        self._fit_targets()
        check_fields(self)
        object.__setattr__(self, "order", self._named_order())
        check_objectives(self, SHORT_FORM)
        check_combinations(self)

    def _fit_targets(self) -> None:
        """Replace the embedded preset's layer names by those of the chosen family."""
        family = self.world_family
        if self.model == "embedded" and family != "neox" and self.lora_targets in EMBEDDED_TARGETS.values():
            object.__setattr__(self, "lora_targets", EMBEDDED_TARGETS.get(family, self.lora_targets))

    def _named_order(self) -> str:
        """Return the order by the objectives' names; in the short form `dpo` stands for any loss on preferences."""
        given = self.order.split("-") if self.order else list(self.names)
        return "-".join(self.names[0] if name == "dpo" and not self.objective else name for name in given)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainConfig:
        """Return a named setting with changes on top of it."""
        return cls(**configure(name, changes, "preset"))

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        name = Path(self.model).name
        return Path(self.out or f"runs/{name}-{self.method}-{self.shown_weights}-seed{self.seed}")

    @property
    def cache_folder(self) -> Path:
        """The folder of cached computations."""
        return Path(self.cache or "~/.cache/forget-neither").expanduser()

    @functools.cached_property
    def objectives(self) -> tuple[ObjectiveSettings, ...]:
        """The objectives: DPO and SFT in the short form, else those of `objective`, in order."""
        return settings_of(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the objectives."""
        return tuple(o.name for o in self.objectives)

    @property
    def sft_first(self) -> list[ObjectiveSettings]:
        """The objectives by kind, SFT sets first: the order in which sets are read and named in messages."""
        return sorted(self.objectives, key=lambda own: own.is_pairs)

    @property
    def shown_weights(self) -> str:
        """The weights in the name of a folder: `lam0.5`, or the names with their weights, at most 80 characters."""
        if not self.objective:
            return f"lam{self.lam:g}"
        return "-".join(f"{o.name}{o.weight:g}" for o in self.objectives)[:80]

    @property
    def loss(self) -> PreferenceLoss:
        """The loss on pairs of the short form."""
        return PREFERENCE_LOSSES[self.preference_loss].from_options(self)

    @property
    def reference_kind(self) -> str:
        """base, chosen, sft, or an adapter's folder; `paper` is resolved to the first objective's training set."""
        if self.reference == "paper":
            first = self.objectives[self.names.index(self.order.partition("-")[0])]
            return "chosen" if first.is_pairs else "sft"
        return self.reference

    @property
    def optima_interval(self) -> int:
        """The number of steps between evaluations of a run that computes an optimum; 0: it is evaluated at its end."""
        return self.optima_every or self.eval_every

    def rule(self, f_star: tuple[float, ...] = ()) -> Rule:
        """Return the decision rule of toyopt.algorithms; weights are shares of the steps in stages.

        f_star  optima at the start, one an objective; () for 0
        """
        weights = tuple(o.weight for o in self.objectives)
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["lam"] = weights[0] if len(weights) == 2 else weights
        values["order"] = tuple(self.names.index(name) for name in self.order.split("-"))
        return RULES[self.method].from_options(SimpleNamespace(**values), f_star or (0.0,) * len(weights))

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
INPUTS: tuple[type, ...] = (
    options.ModelOptions,
    set_options.TwoSetsOptions,
    set_options.ObjectivesOptions,
    options.DataOptions,
    options.WorldOptions,
)
# Options that have no meaning beside `objective`, with their defaults.
SHORT_FORM: dict[str, Any] = {
    field.name: field.default_factory() if callable(field.default_factory) else field.default
    for group in GROUPS
    if getattr(group, "short_form", False)
    for field in dataclasses.fields(group)
}


def unused_options(method: str) -> dict[str, Any]:
    """Return the options that other rules read and this one does not, by name, with their defaults."""
    groups = [g for g in GROUPS if method not in getattr(g, "rules", (method,))]
    return {f.name: f.default for g in groups for f in dataclasses.fields(g)}


def configure(preset: str, values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return the options of a preset ("": none) with `values` on top of them.

    origin  the source of the values, for error messages

    The types of the values are checked, their ranges are not: a later source may still change them.
    """
    if preset and preset not in PRESETS:
        raise ValueError(f"preset: must be one of {', '.join(PRESETS)}, got {preset}")
    known = _known(values, origin)
    base = PRESETS[preset] if preset else {}
    if known.get("objective"):  # takes the place of the preset's two sets
        base = {name: value for name, value in base.items() if name not in (*SHORT_FORM, "order")}
    return {**base, **known}


def config_from(argv: list[str], command: str, description: str, kind: type[TrainConfig] = TrainConfig) -> TrainConfig:
    """Return the configuration of defaults, --preset, --config, and the options in `argv`.

    kind  a subclass for commands with options of their own, which a file cannot set
    """
    preset, argv = take_option(argv, "--preset")
    file, argv = take_option(argv, "--config")
    values, argv = with_objectives(read(file) if file else {}, argv)
    own = str(values.pop("preset", ""))
    preset = preset or own
    asks_help = bool({"-h", "--help"} & set(argv))  # which shows the defaults for a model that is named
    named = "model" in values or any(a.partition("=")[0] == "--model" for a in argv)
    implied = not (preset or asks_help or named)
    if implied:
        preset = "embedded"  # its lengths and rates suit no other model
    default = configure(preset, values, file)
    if command != "check" and not asks_help:  # check makes rows of its own for a set that is not named
        check_named_sets(default, argv)
    names = ", ".join(PRESETS)
    more = f"--preset NAME: one of {names}. Without it and without --model it is embedded.\n"
    more += f"The defaults below are those {f'of {preset}' if preset else 'without a preset'}."
    text = f"{description}\n\n--config FILE: options from TOML or YAML.\n{more}"
    config: TrainConfig = parse(kind, argv, command, text, default=default)
    if implied:
        check_named_model(config)
    return config


def with_objectives(values: dict[str, Any], argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a file and the arguments, with the objectives of all `--objective` in the values.

    Objectives of the command line take the place of the file's.
    """
    argv = gather_option(argv, "--objective")
    if "--objective" not in argv:
        return values, argv
    at = argv.index("--objective")
    if at + 1 == len(argv):
        raise ValueError("--objective: a value is missing; NAME=KIND:SOURCE, and fields of the objective after it")
    rest = {name: value for name, value in values.items() if name not in ("objective", "objectives")}
    return {**rest, "objective": argv[at + 1 :]}, argv[:at]


def _known(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return values under the names of options; ValueError for an unknown name, TypeError for a wrong type."""
    annotations = annotations_of(TrainConfig)
    known: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name == "objectives":  # tables of a file
            name = "objective"
        if name == "objective" and isinstance(value, list | tuple):
            value = canonical(value)
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
