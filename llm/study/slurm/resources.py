"""Resources that a study asks Slurm for: estimates from its runs, and the user's own `--slurm KEY=VALUE`.

Keys are sbatch's long options, such as partition, account, qos, time or mem; the value `true` is for options without a
value. Further keys: array-parallelism (jobs of an array at a time), max-num-timeout (how often a job that runs out of
time is requeued), setup (a shell command before the job).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm.config import TrainConfig
from llm.study.dependencies import Rates, preparation, prerequisites, work
from llm.study.operations import CPU_RATE, PEAK, UTILISATION, operations, weights
from llm.study.resources import wants_gpu
from llm.study.sweep import StudyRun

# Chosen. A job that runs out of time saves and is requeued, so that a low estimate costs a wait and no work.
MARGIN = 3.0  # the time asked for, as a multiple of the estimate
LEAST_MINUTES, MEASURE_MINUTES = 30, 30  # of a job, and for each measure besides
TIMEOUTS = 20  # how often a job that runs out of time is requeued
GPU_CPUS = 4  # processor cores beside a GPU
# GiB of host memory for libraries, data and an embedded base (peak of a run: 0.50 GiB with world_size small, 0.82 GiB
# with standard, by GNU time), and bytes a weight of other bases (two copies in float32; chosen).
LEAST_GIB, WEIGHT_BYTES = 4.0, 8.0
# Options of sbatch that the study sets itself, or that a job of one process on one node has no use for.
SET = (
    "array dependency error kill-on-invalid-dep nodes no-requeue ntasks ntasks-per-node open-mode output parsable "
    "requeue signal wait wrap"
).split()
_ITEM = re.compile(r"(?P<key>[a-z][a-z_-]*)=(?P<value>.+)", re.DOTALL)
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<a>\d+)(?::(?P<b>\d+))?(?::(?P<c>\d+))?")


def options(items: Sequence[str]) -> dict[str, str]:
    """Return `KEY=VALUE` items as a dictionary, with dashes in the keys; ValueError for an item that cannot be used."""
    values: dict[str, str] = {}
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"slurm: must be KEY=VALUE with an option of sbatch, such as partition=long, got {item}")
        key = match["key"].replace("_", "-")
        if key in SET:
            raise ValueError(f"slurm: {key} is set by the study itself, got {item}; leave it out")
        if key in values:
            raise ValueError(f"slurm: {key} is given twice, as {values[key]} and {match['value']}; give it once")
        values[key] = match["value"]
    for key, low in (("array-parallelism", 1), ("max-num-timeout", 0), ("cpus-per-task", 1)):
        if key in values and not (values[key].isdecimal() and int(values[key]) >= low):
            raise ValueError(f"slurm: {key} must be a whole number of at least {low}, got {values[key]}")
    if "time" in values:
        minutes(values["time"])
    return values


def minutes(text: str) -> int:
    """Return sbatch's --time in whole minutes, rounded up.

    text  MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES or
          DAYS-HOURS:MINUTES:SECONDS
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"slurm: time must be as MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, got {text}")
    a, b, c = (int(match[name] or 0) for name in "abc")
    if match["days"]:
        seconds = int(match["days"]) * 86_400 + a * 3600 + b * 60 + c
    elif match["c"]:
        seconds = a * 3600 + b * 60 + c
    else:
        seconds = a * 60 + b
    if not seconds:
        raise ValueError(f"slurm: time must be more than 0, got {text}")
    return math.ceil(seconds / 60)


def requested(runs: Iterable[StudyRun], rates: Rates, given: Mapping[str, str]) -> dict[str, Any]:
    """Return submitit's parameters of jobs, each of which can carry out any of these runs or its preparations.

    rates  seconds a unit of work, from the runs so far
    given  the user's `options`, which take precedence

    Raises ValueError if a run's time cannot be estimated and is not given.
    """
    runs = list(runs)
    gpu = any(wants_gpu(run.config) for run in runs)
    values = dict(given)
    if gpu and not values.keys() & {"gpus", "gpus-per-node", "gpus-per-task", "gres"}:
        values["gpus-per-node"] = "1"
    values.setdefault("cpus-per-task", str(GPU_CPUS if gpu else 1))
    if not values.keys() & {"mem", "mem-per-cpu", "mem-per-gpu"}:
        memory = max(_gibibytes(run.config) for run in runs)
        values |= {} if math.isnan(memory) else {"mem": f"{math.ceil(memory)}G"}
    if "time" not in values:
        values["time"] = str(max(_minutes(run, rates, int(values["cpus-per-task"])) for run in runs))
    return _parameters(values)


def _parameters(values: Mapping[str, str]) -> dict[str, Any]:
    """Return options of sbatch as parameters of submitit's AutoExecutor; unknown ones go to sbatch as they are."""
    from submitit.slurm.slurm import SlurmExecutor

    known = SlurmExecutor._valid_parameters()
    own: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if key == "max-num-timeout":
            continue
        if name in known:
            own[f"slurm_{name}"] = _converted(key, value)
        else:
            more[key] = _converted(key, value)
    # Since Slurm 22.05, srun does not read sbatch's --cpus-per-task.
    own["slurm_srun_args"] = [f"--cpus-per-task={values['cpus-per-task']}"]
    return {**own, "slurm_additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", **more}}


def _converted(key: str, value: str) -> Any:
    """Return an option's value in the type that submitit computes with."""
    if key == "time":
        return minutes(value)
    if key in ("array-parallelism", "cpus-per-task"):
        return int(value)
    return [value] if key == "setup" else True if value == "true" else value


def _gibibytes(config: TrainConfig) -> float:
    """Return the host memory of a run in GiB; nan for a model of unknown size."""
    if config.model == "embedded":
        return LEAST_GIB
    return LEAST_GIB + WEIGHT_BYTES * weights(config.model) / 2**30


def _minutes(run: StudyRun, rates: Rates, cores: int) -> int:
    """Return the minutes to ask for: a run with all its preparations and measures, and a margin."""
    config, rate = run.config, rates.of(run)
    if config.model == "embedded" or len(rates):
        seconds = rate * (work(config) + preparation(config, prerequisites(config).all))
    elif wants_gpu(config):
        seconds = operations([config]) / (PEAK * UTILISATION)
    else:
        seconds = operations([config]) / (CPU_RATE * cores)
    if math.isnan(seconds):
        raise ValueError(
            f"slurm: the duration of a run of {config.model} is not known; give --slurm time=HOURS:MINUTES:SECONDS"
        )
    return max(LEAST_MINUTES, math.ceil(MARGIN * seconds / 60)) + MEASURE_MINUTES * len(run.measures)
