"""The runs that artefacts need: carried out once, in a folder of their code's own, stopped and gone on with."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from support.commands import Command
from support.pipeline_fakes import Cli, cli_in_process, gone, strict, until

from figures.cli import main
from figures.pipeline import paths, training
from figures.pipeline.build import present
from figures.pipeline.paths import grid_of

pytestmark = [pytest.mark.process, pytest.mark.slow]

DIGEST = "abcdef012345"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """An artefact `a` that needs no run, and `r` and `s` that do; a fake study in place of the real one."""
    found = cli_in_process(tmp_path, monkeypatch)
    monkeypatch.setattr(paths, "STUDY", "fake_study")
    monkeypatch.delitem(sys.modules, "fake_study", raising=False)  # another test's
    paths.training_digest.cache_clear()
    found.study()
    found.add_with_runs("r", ("mix", "alright"))
    found.add_with_runs("s", ("mix", "maxright"))
    return found


def run(cli: Cli, *arguments: str) -> int:
    paths.training_digest.cache_clear()
    return main([*arguments, "--out", str(cli.out)], cli.registry)


def runs(cli: Cli) -> set[str]:
    return {path.parent.name for path in (cli.out / "runs" / DIGEST).glob("*/summary.json")}


def test_every_run_once_and_then_nothing(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli) == 0
    assert [line for line in cli.log() if "train" in line] == ["train " + n for n in sorted(runs(cli))]
    assert runs(cli) == {"mix-seed0", "alright-seed0", "maxright-seed0"}
    assert "runs  3 of 3 runs are finished" in capsys.readouterr().out
    assert strict(cli.out / "r.json")["runs"] == f"runs/{DIGEST}"
    assert "root" not in strict(cli.out / "r.json")["parameters"]
    assert strict(cli.out / "a.json")["runs"] == ""
    before = cli.files()
    assert run(cli) == 0
    assert cli.files() == before
    assert cli.log() == []
    assert "runs" not in capsys.readouterr().out.replace("index.html", "").split()


def test_nothing_is_trained_for_data_that_are_cached(cli: Cli) -> None:
    run(cli, "r")
    for path in cli.out.glob("runs/*/*/summary.json"):
        path.unlink()
    (cli.out / "r.csv").unlink()
    cli.log()
    assert run(cli, "r") == 0
    assert cli.log() == ["draw r"]


def test_force_computes_again_from_the_runs_that_are_there(cli: Cli) -> None:
    run(cli, "r")
    cli.log()
    assert run(cli, "r", "--force") == 0
    assert cli.log() == ["compute r", "draw r"]


def test_verify_trains_only_missing_runs(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    run(cli, "r")
    cli.log()
    assert run(cli, "r", "--verify") == 0
    assert cli.log() == ["compute r"]
    (cli.out / "runs" / DIGEST / "mix-seed0" / "summary.json").unlink()
    (cli.out / "runs" / DIGEST / "mix-seed0").rmdir()
    assert run(cli, "r", "--verify") == 0
    assert cli.log() == ["compute r", "train mix-seed0"]
    assert "same: " in capsys.readouterr().out
    (cli.out / "r.csv").unlink()
    assert run(cli, "s", "r", "--verify") == 1
    assert cli.log() == []  # what is missing needs no runs to be found missing


def test_other_training_code_begins_anew_and_reports_the_unused_folders(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cli, "r")
    key = strict(cli.out / "r.json")["key"]
    before = {n: c for n, c in cli.files().items() if n.startswith("runs")}
    (cli.folder / "digest").write_text("f" * 64)
    cli.log()
    assert run(cli, "r") == 0
    assert sum(line.startswith("train") for line in cli.log()) == 2
    assert strict(cli.out / "r.json")["key"] != key
    assert before.items() <= cli.files().items()
    assert "1 folder of runs by other training code in" in capsys.readouterr().out


def test_a_failed_run_costs_those_that_need_it(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    (cli.folder / "fail alright-seed0").touch()
    assert run(cli) == 1
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("r  failed")]
    log = cli.out / "runs" / DIGEST / "logs" / "alright-seed0.log"
    assert line == f"r  failed: run alright-seed0 failed: error: no luck (log: {log})"
    assert present(cli.out, "a")
    assert present(cli.out, "s")
    assert not present(cli.out, "r")
    (cli.folder / "fail alright-seed0").unlink()
    cli.log()
    assert run(cli) == 0
    assert cli.log() == ["compute r", "draw r", "train alright-seed0"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("'steps': 3", "'stepz': 3", "did you mean steps?"),
        ("'methods'", "'method'", "'method' is no part of a grid"),
        ("'steps': 3", "'steps': -3", "steps"),
    ],
)
def test_a_grid_that_is_none_costs_its_own_artefact(
    cli: Cli, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.change("r", old, new)
    assert run(cli) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("r  failed")]
    assert words in line
    assert present(cli.out, "s")


def test_what_needs_no_runs_is_made_at_the_scale_paper_whatever_becomes_of_the_others(cli: Cli) -> None:
    cli.change("r", "'steps': 3", "'steps': -3")
    assert run(cli, "a", "r", "--scale", "paper") == 1
    assert present(cli.out, "a")


def test_as_many_runs_as_cores_or_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    from llm import TrainConfig
    from llm.study import Grid, resources

    monkeypatch.setattr(training, "cores", lambda: 4)
    monkeypatch.setattr(resources, "gpus", lambda: 0)
    small = Grid(TrainConfig.preset("embedded", world_size="small"))
    real = Grid(TrainConfig.preset("smollm2-135m"))
    assert training._at_a_time([small, small]) == training._at_a_time([real, small]) == 4
    monkeypatch.setattr(resources, "gpus", lambda: 3)
    assert training._at_a_time([small, small]) == 4
    assert training._at_a_time([real, small]) == 3


def test_without_llm(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.study("\nraise ModuleNotFoundError(\"llm needs torch: pip install -e '.[llm]'\")\n")
    assert run(cli) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if " failed: " in line]
    assert len(failed) == 2
    assert all("pip install -e '.[llm]'" in line for line in failed)
    assert present(cli.out, "a")


def test_a_specification_is_a_grid_of_the_real_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STUDY", "llm.study")
    options = {"steps": 3, "stack": True}  # which only Sequential can have
    grid = grid_of({"preset": "embedded", "options": options, "lams": [0.1, 0.9], "seeds": [1, 2]})
    assert (grid.lams, grid.seeds, grid.base.batch_sft) == ((0.1, 0.9), (1, 2), 12)
    assert {run.config.method for run in grid.runs()} == {"sequential", "mix", "alright", "maxright", "replay"}
    assert grid_of({"methods": ["mix"], "lams": [1]}).base.lora_rank == 32


def training_now(cli: Cli) -> tuple[Command, int]:
    """A run of the cli in which a run is being trained, and the process that trains it."""
    (cli.folder / "slow").touch()
    process = cli.start()
    try:
        until(lambda: (cli.folder / "training").exists() or process.poll() is not None, "it trains")
        # what needs no runs is made meanwhile
        until(lambda: any(line.split()[:2] == ["a", "done"] for line in process.said().splitlines()), "a is made")
        assert process.poll() is None, process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process, int((cli.folder / "training").read_text())


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM to all", "kill"])
def test_a_stop_lets_the_runs_save_and_the_same_command_goes_on(cli: Cli, how: str) -> None:
    process, trainer = training_now(cli)
    if how == "kill":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
    _, err = process.communicate()
    until(lambda: gone(trainer), "the runs end with the cli")
    assert "saved mix-seed0" in cli.log()
    if how != "kill":
        assert process.returncode == 130
        assert err == "paper_repro: stopped; finished: a; run the same command to resume\n"
    if how == "SIGTERM to all":
        return  # what is left is what Ctrl-C leaves
    (cli.folder / "go").touch()
    again = cli.start()
    out, err = again.communicate()
    assert (again.returncode, err) == (0, ""), out
    assert all(present(cli.out, name) for name in cli.registry)


def test_a_second_stop_ends_runs_that_do_not_save(cli: Cli) -> None:
    (cli.folder / "stubborn").touch()
    process, trainer = training_now(cli)
    os.killpg(process.pid, signal.SIGINT)
    until(lambda: "saving" in process.said(), "it says that the runs save")
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, gone(trainer)) == (130, True)
    assert err.startswith("paper_repro: stopped; finished: a")
    assert not any("saved" in line for line in cli.log())


def test_a_process_of_runs_that_dies_is_reported(cli: Cli) -> None:
    process, trainer = training_now(cli)
    os.kill(trainer, signal.SIGKILL)
    out, _ = process.communicate()
    assert process.returncode == 1
    assert "the process of the runs ended with status -9" in out
    assert present(cli.out, "a")


def test_missing_resources_end_the_command_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(paths, "STUDY", "llm.study")
    paths.training_digest.cache_clear()
    cli.registry = {"a": cli.registry["a"]}
    cli.add_with_runs("r")
    cli.change("r", "'embedded'", "'pythia-1b'")
    assert main(["--scale", "paper", "--out", str(cli.out)], cli.registry) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("paper_repro: the runs of EleutherAI/pythia-1b need a GPU, and there is no CUDA device; ")
    assert "H100 hours" in said.out
    assert "1 to be carried out" in said.out
    assert cli.log() == []  # nothing was begun
    assert not list(cli.out.glob("runs/*"))
    assert main(["a", "--scale", "paper", "--out", str(cli.out)], cli.registry) == 0
