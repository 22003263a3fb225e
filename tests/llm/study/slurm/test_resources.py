"""Options of sbatch as KEY=VALUE, and estimates of what a run needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.study_fakes import BASE
from support.wrong import fails

pytest.importorskip("torch")

from llm import TrainConfig
from llm.study.dependencies import Rates
from llm.study.resources import gpu_hours
from llm.study.slurm.resources import minutes, options, requested
from llm.study.sweep import StudyRun


@pytest.mark.parametrize(
    ("text", "expected"),  # the formats that sbatch(1) lists for --time
    [
        ("90", 90), ("90:00", 90), ("1:30", 2), ("1:30:00", 90), ("0:0:1", 1), ("2-0", 2880), ("1-2:30", 1590),
        ("1-00:00:30", 1441),
    ],
)  # fmt: skip
def test_times_of_sbatch_in_minutes(text: str, expected: int) -> None:
    assert minutes(text) == expected


def test_options_are_keys_and_values() -> None:
    given = ["partition=long", "cpus_per_task=4", "comment=a=b c", "gres=gpu:a100:1"]
    assert options(given) == {
        "partition": "long", "cpus-per-task": "4", "comment": "a=b c", "gres": "gpu:a100:1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("partition", "must be KEY=VALUE"),
        ("partition=", "must be KEY=VALUE"),
        ("--mem=4G", "must be KEY=VALUE"),
        ("dependency=afterok:1", "dependency is set by the study"),
        ("ntasks_per_node=2", "ntasks-per-node is set by the study"),
        ("cpus-per-task=0", "cpus-per-task must be a whole number of at least 1"),
        ("array-parallelism=all", "array-parallelism must be a whole number"),
        ("time=soon", "time must be as MINUTES"),
        ("time=0", "time must be more than 0"),
    ],
)
def test_wrong_options(item: str, expected: str) -> None:
    fails(lambda: options([item]), ValueError, f"slurm: {expected}", item.rpartition("=")[2] or item)


def test_an_option_that_is_given_twice() -> None:
    fails(lambda: options(["qos=a", "qos=b"]), ValueError, "slurm: qos is given twice", "a and b")


def asked(*configs: TrainConfig, rates: Rates | None = None, measures: tuple[str, ...] = (), **given: str) -> Any:
    pytest.importorskip("submitit")
    runs = [StudyRun(f"run{i}", config, measures) for i, config in enumerate(configs)]
    values = options([f"{key}={value}" for key, value in given.items()])
    return requested(runs, rates or Rates(), values)


def test_a_run_on_the_embedded_world_needs_one_core() -> None:
    values = asked(BASE)
    assert values["slurm_cpus_per_task"] == 1
    assert "slurm_gpus_per_node" not in values
    assert values["slurm_mem"] == "4G"
    assert values["slurm_time"] == 30
    assert asked(BASE, measures=("answers", "questions"))["slurm_time"] == 90


def test_the_measured_rate_decides_the_time_of_a_run() -> None:
    """Without shared computations, thrice the 7200 s that the steps of such a run have taken."""
    config = TrainConfig(model="some/model", device="cpu", steps=100, reference="base", f_star="estimate")
    rates = Rates()
    rates.update(StudyRun("before", config), {"step": 100, "seconds": 7200.0})
    assert asked(config, rates=rates)["slurm_time"] == pytest.approx(3 * 120, abs=1)
    assert asked(config, rates=rates, time="1-0")["slurm_time"] == 1440


def test_a_large_model_needs_a_gpu() -> None:
    config = TrainConfig.preset("pythia-1b", method="mix")
    values = asked(config)
    assert values["slurm_gpus_per_node"] == "1"
    assert values["slurm_cpus_per_task"] == 4
    assert values["slurm_mem"] == "12G"  # 4 GiB, and 8 bytes for each of 1.01e9 weights: 11.5 GiB
    # Three times the hours of an H100, shared computations included.
    assert values["slurm_time"] == pytest.approx(max(30, 3 * 60 * gpu_hours([StudyRun("x", config)])), abs=1)
    assert "slurm_gpus_per_node" not in asked(config, gres="gpu:a100:1")
    assert "slurm_mem" not in asked(config, mem_per_cpu="8G")


def test_an_array_asks_for_its_longest_run() -> None:
    config = TrainConfig.preset("pythia-1b", method="mix")
    short = dataclasses.replace(config, steps=10, reference_steps=10)
    assert asked(short, config)["slurm_time"] == asked(config)["slurm_time"] > asked(short)["slurm_time"]


def test_a_duration_that_is_unknown_must_be_given() -> None:
    unknown = TrainConfig(model="some/model", device="cpu")
    fails(lambda: asked(unknown), ValueError, "slurm: the duration of a run of some/model", "--slurm time=")
    values = asked(unknown, time="60")
    assert values["slurm_time"] == 60
    assert "slurm_mem" not in values  # Slurm's own default
