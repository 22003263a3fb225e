"""Make the embedded data sets and base model once; each cache entry is complete or absent."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.cache import ContentCache, digest
from llm.data.objective_options import parse_objectives
from llm.embedded import sets, tasks
from llm.embedded.world import VERSION, World
from toyopt import _check

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.objective_settings import ObjectiveSettings

Report = Callable[[str, float], None]

FAMILIES = ("neox", "llama", "t5")
SIZES: dict[str, dict[str, int]] = {
    "standard": {},
    "small": {
        "places": 40, "hidden": 64, "layers": 2, "heads": 2, "pretrain_steps": 1000,
        "sft_rows": 80, "preference_rows": 80, "held_out_rows": 40, "questions": 120,  # every fact is in one row
    },
    "large": {
        "places": 400, "hidden": 384, "layers": 6, "heads": 6, "pretrain_steps": 6000,
        "sft_rows": 2000, "preference_rows": 2000, "held_out_rows": 330, "questions": 400,
    },
}  # fmt: skip

# Of pre-training: a t5 learns more slowly. (The standard one answers 62 % of the questions after these.)
STEPS: dict[tuple[str, str], int] = {("standard", "t5"): 3000, ("large", "t5"): 10000}


@dataclass(frozen=True)
class EmbeddedConfig:
    """Options of the world, its data sets and its base. Raises ValueError or TypeError for values out of range.

    seed             of all random draws, >= 0
    places           number of places, each with six facts
    conflict         in [0, 1]: share of preference rows whose rejected answer is in SFT's manner; in the other rows the
                     rejected answer is evasive
    overlap          in [0, 1]: share of preference rows whose prompts are in SFT's wordings, so that both objectives
                     act on the same kind of prompt
    hidden           the width of the base, a multiple of 8 * heads
    layers, heads    of the base
    pretrain_steps   steps of its pre-training
    sft_rows         number of SFT training rows; no two prompts are equal
    preference_rows  number of preference training rows; no two prompts are equal
    held_out_rows    number of further rows of each kind, about facts of no training row
    questions        number of multiple-choice questions
    family           of the base: neox, llama, or t5 (an encoder-decoder model)
    """

    seed: int = 0
    places: int = 120
    conflict: float = 0.5
    overlap: float = 0.0
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    pretrain_steps: int = 1200
    sft_rows: int = 600
    preference_rows: int = 600
    held_out_rows: int = 100
    questions: int = 120
    family: str = "neox"

    def __post_init__(self) -> None:
        World(self.seed, self.places)
        for field in fields(self):
            if field.name not in ("conflict", "overlap", "family"):
                low = 0 if field.name == "seed" else 1
                object.__setattr__(self, field.name, _check.whole(field.name, getattr(self, field.name), low=low))
        if self.hidden % (8 * self.heads) != 0:  # a quarter of a head is rotated, in pairs
            raise ValueError(f"hidden: must be a multiple of 8 heads = {8 * self.heads}, got {self.hidden}")
        for name in ("conflict", "overlap"):
            value = _check.real(name, getattr(self, name), low=0.0)
            if value > 1.0:
                raise ValueError(f"{name}: must be at most 1, got {value!r}")
            object.__setattr__(self, name, value)
        if self.family not in FAMILIES:
            raise ValueError(f"family: must be one of {', '.join(FAMILIES)}, got {self.family}")
        sets.check(self.places, self.sizes)

    @classmethod
    def of_size(cls, size: str, family: str = "neox", **changes: Any) -> EmbeddedConfig:
        """Return the options of a named size, with changes; ValueError for an unknown size."""
        if size not in SIZES:
            raise ValueError(f"size: must be one of {', '.join(SIZES)}, got {size}")
        steps = {} if (size, family) not in STEPS else {"pretrain_steps": STEPS[size, family]}
        return cls(**{**SIZES[size], **steps, "family": family, **changes})

    @property
    def world(self) -> World:
        """The world itself."""
        return World(self.seed, self.places)

    @property
    def sizes(self) -> sets.Sizes:
        """The inputs of the data sets beside the world."""
        return sets.Sizes(
            self.sft_rows, self.preference_rows, self.held_out_rows, self.questions, self.conflict, self.overlap
        )


@dataclass(frozen=True)
class Paths:
    """Paths of a prepared world: `base` for `from_pretrained`, `world` for `read_world`, and files of rows.

    Rows: sft and sft_held_out {"prompt", "completion"}; preference and preference_held_out {"prompt", "chosen",
    "rejected"}; questions {"question", "choices", "answer"}, where answer is the index of the right one of 4 choices.
    Prompts are plain questions, for `language.TEMPLATE`.
    """

    base: Path
    sft: Path
    sft_held_out: Path
    preference: Path
    preference_held_out: Path
    questions: Path
    world: Path


def prepare(config: EmbeddedConfig, cache: Path, *, report: Report | None = None) -> Paths:
    """Return the paths of data and base, which are made if the cache lacks them.

    config  options; equal options give equal bytes on one machine
    cache   a folder, made if absent. Data that differ in `conflict` or in their rows share one base.
    report  called with the current step and its finished share, from 0 to 1

    Processes that need the same entry at the same time wait for the process that makes it. A killed process leaves no
    complete entry, and an entry with changed or lost files is made again. Raises ValueError if `cache`
    cannot be a folder, and OSError if it cannot be written.
    """
    cache = Path(cache)
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cache: {cache} cannot be a folder ({error.strerror}); give another one") from error
    report = report or (lambda _task, _done: None)
    network: dict[str, Any] = {name: getattr(config, name) for name in ("seed", "places", "hidden", "layers", "heads")}
    network["pretrain_steps"] = config.pretrain_steps
    if config.family != "neox":  # whose bases were made before there were others, and keep their names
        network["family"] = config.family
    rows = {"seed": config.seed, "places": config.places, **vars(config.sizes)}
    if config.overlap == 0.0:  # these, too
        del rows["overlap"]
    data = _made(cache, "data", rows, lambda folder: _write_data(config, folder), report)
    base = _made(cache, "base", network, lambda folder: _write_base(config, folder, report), report)
    names = ("sft", "sft_held_out", "preference", "preference_held_out", "questions")
    return Paths(base=base, world=data / "world.json", **{name: data / f"{name}.jsonl" for name in names})


def prepare_tasks(world: World, cache: Path, *, report: Report | None = None) -> dict[str, Path]:
    """Return the files of the rows of the world's tasks, by NAME and by NAME_held_out, made if the cache lacks them.

    The arguments and errors are those of `prepare`, whose base and world these rows are about.
    """
    rows = {"tasks": tasks.VERSION, "seed": world.seed, "places": world.places}
    folder = _made(Path(cache), "tasks", rows, lambda folder: _write_rows(tasks.generate_tasks(world), folder), report)
    return {name + end: folder / f"{name}{end}.jsonl" for name in tasks.TASKS for end in ("", "_held_out")}


def _made(
    cache: Path, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], None], report: Report | None
) -> Path:
    """Return the folder of the content that these inputs determine, made by `make(folder)` if absent."""
    report = report or (lambda _task, _done: None)

    def save(folder: Path) -> None:
        report(f"making the {kind}", 0.0)
        make(folder)
        report(f"making the {kind}", 1.0)

    return ContentCache(cache, kind).fetch(
        digest({"version": VERSION, **inputs}), lambda folder: folder, save,
        waiting=lambda: report(f"waiting for another process, which makes the {kind}", 0.0),
    )  # fmt: skip


def _write_rows(rows_of: Mapping[str, sets.Dataset], folder: Path) -> None:
    for name, rows in rows_of.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def _write_data(config: EmbeddedConfig, folder: Path) -> None:
    _write_rows(sets.generate(config.world, config.sizes), folder)
    (folder / "world.json").write_text(config.world.to_json() + "\n", encoding="utf-8")


def _write_base(config: EmbeddedConfig, folder: Path, report: Report) -> None:
    from llm.embedded import base, networks  # here, for torch takes seconds to import, and is often not needed

    shape = networks.Shape(config.hidden, config.layers, config.heads, config.pretrain_steps, config.family)
    model, tokenizer, losses = base.pretrain(
        sets.documents(config.world),
        shape,
        config.seed,
        lambda done: report("pre-training the base", done),
    )
    base.save(folder, model, tokenizer)
    (folder / "pretraining.json").write_text(json.dumps({"loss": losses}), encoding="utf-8")


def embedded_paths(config: TrainConfig, *, report: Report | None = None) -> Paths:
    """Return the paths of a configuration's embedded world, which is made if the cache lacks it."""
    return prepare(_world_config(config), config.cache_folder, report=report)


def _world_config(config: TrainConfig) -> EmbeddedConfig:
    return EmbeddedConfig.of_size(
        config.world_size, config.world_family, seed=config.world_seed, conflict=config.conflict, overlap=config.overlap
    )


def with_embedded(config: TrainConfig, in_memory: Sequence[str], report: Report) -> TrainConfig:
    """Return the configuration with the embedded world's files in place of `embedded` and `embedded:TASK`.

    The files are made if the cache lacks them. Sets and models given in memory take precedence over names.
    """
    named = [o for o in config.objectives if tasks.is_embedded(o.source) and o.set_name not in in_memory]
    of_model = config.model == "embedded" and "model" not in in_memory
    if not named and not of_model:
        return config
    paths = embedded_paths(config, report=report)
    changes: dict[str, Any] = {"model": str(paths.base)} if of_model else {}
    tables = {table.name: table for table in parse_objectives(config.objective)}
    for own in named:
        held_out = own.evaluation or f"{own.set_name}_held_out" in in_memory or config.eval_on_train
        source, evaluation = _files(config, paths, own, report)
        if tables:
            evaluation = own.evaluation if held_out else evaluation
            tables[own.name] = dataclasses.replace(tables[own.name], source=source, evaluation=evaluation)
        else:
            changes |= {own.kind: source} | ({} if held_out else {f"{own.kind}_held_out": evaluation})
    texts = tuple(text for table in tables.values() for text in table.texts())
    return dataclasses.replace(config, **changes, objective=texts)


def _files(config: TrainConfig, paths: Paths, own: ObjectiveSettings, report: Report) -> tuple[str, str]:
    """Return the files of an objective's training rows and held-out rows in the embedded world."""
    task = tasks.task_of(own.source)
    if task is None:
        return str(getattr(paths, own.kind)), str(getattr(paths, f"{own.kind}_held_out"))
    files = prepare_tasks(_world_config(config).world, config.cache_folder, report=report)
    return str(files[task]), str(files[f"{task}_held_out"])
