"""The tables of a study, its distances, and its command line."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wrong import fails

pytest.importorskip("torch")

from support import study_fakes as made

from llm.study import Grid, Progress, fronts, hypervolume, paths, run_study, scale_free_distance, table, write_csv
from llm.study import cli as study_cli
from llm.study.cli import in_words, study

COORDINATES = st.integers(0, 6).map(float)


# Distances.


@given(st.lists(st.tuples(COORDINATES, COORDINATES), max_size=6))
def test_the_hypervolume_counts_the_dominated_cells(points: list[tuple[float, float]]) -> None:
    cells = {(i, j) for i in range(5) for j in range(5) if any(x <= i and y <= j for x, y in points)}
    assert hypervolume(points, (5.0, 5.0)) == len(cells)


def test_the_hypervolume_of_a_staircase_in_unequal_units() -> None:
    points = [(0.5, 40.0), (0.25, 70.0), (0.4, 75.0), (2.0, 0.0), (0.5, 40.0)]  # dominated; outside; twice
    assert hypervolume(points, (1.0, 100.0)) == pytest.approx(0.5 * 60 + 0.25 * 30)
    assert hypervolume([], (1.0, 1.0)) == 0.0
    fails(lambda: hypervolume([(0.0, math.nan)], (1.0, 1.0)), ValueError, "points: must be finite", "nan")
    fails(lambda: hypervolume([(0.0, 0.0)], (1.0, math.inf)), ValueError, "points: must be finite", "inf")


def test_the_scale_free_distance_does_not_know_the_scale() -> None:
    assert scale_free_distance((0.3, 8.0), (0.7, 12.0), (0.1, 2.0)) == pytest.approx(math.hypot(0.5, 0.8))
    once = scale_free_distance((0.3, 0.008), (0.7, 0.012), (0.1, 0.002))
    assert once == pytest.approx(math.hypot(0.5, 0.8))
    fails(lambda: scale_free_distance((0, 0), (1.0, 2.0), (0.5, 2.0)), ValueError, "start: must be above", "(1.0, 2.0)")


# Tables. The fakes: start (1, 3), end (1 - λ/2, 2 + λ/2), optima (1/4, 1).


def _finished(root: Path, *, lams: tuple[float, ...] = (0.5, 1.0), **changes: Any) -> Grid:
    base = dataclasses.replace(made.BASE, **changes)
    grid = Grid(base, methods=("mix", "maxright"), lams=lams, seeds=(1, 2))
    for run in grid.runs():
        made.finish(run.folder(root), run.placed(root).as_dict())
    return grid


def test_a_row_a_finished_run(tmp_path: Path) -> None:
    grid = _finished(tmp_path, f_star="compute")
    unfinished = dataclasses.replace(grid, seeds=(1, 2, 3))
    made.start_or_resume(unfinished.runs()[-1].folder(tmp_path))
    rows = table(unfinished, tmp_path)
    assert [(r["method"], r["lam"], r["order"], r["k"], r["seed"]) for r in rows[:4]] == [
        ("mix", 0.5, None, None, 1), ("mix", 1.0, None, None, 1),
        ("maxright", 0.5, None, 10, 1), ("maxright", 1.0, None, 10, 1),
    ]  # fmt: skip
    assert len(rows) == 8
    first = rows[0]
    assert (first["f_dpo"], first["f_sft"], first["gap_dpo"], first["gap_sft"]) == (0.75, 2.25, 0.5, 1.25)
    assert (first["f_dpo_start"], first["f_sft_start"]) == (1.0, 3.0)
    assert (first["f_dpo_star"], first["f_sft_star"]) == (0.25, 1.0)
    assert first["scale_free_distance"] == pytest.approx(math.hypot(0.5 / 0.75, 1.25 / 2.0))
    assert first["hypervolume"] == pytest.approx(0.25 * 0.75)
    assert first["hypervolume_share"] == pytest.approx(0.25 * 0.75 / (0.75 * 2.0))
    assert (first["steps"], first["steps_dpo"], first["steps_sft"]) == (4, 1, 3)
    assert (first["seconds"], first["tokens"], first["memory_mb"], first["rewards/margins"]) == (8.0, 40, 100.0, 0.5)
    assert first["folder"] == str(grid.runs()[0].folder(tmp_path))


def test_without_optima_there_are_no_gaps(tmp_path: Path) -> None:
    row = table(_finished(tmp_path), tmp_path)[0]
    assert row["f_dpo_star"] is row["scale_free_distance"] is row["hypervolume_share"] is None
    assert row["hypervolume"] == pytest.approx(0.25 * 0.75)
    assert "gap_dpo" not in row


def test_a_row_an_evaluation(tmp_path: Path) -> None:
    rows = paths(_finished(tmp_path, lams=(0.5,)), tmp_path)
    assert [(r["seed"], r["method"], r["step"], r["f_dpo"], r["f_sft"]) for r in rows[:4]] == [
        (1, "mix", 0, 1.0, 3.0), (1, "mix", 4, 0.75, 2.25),
        (1, "maxright", 0, 1.0, 3.0), (1, "maxright", 4, 0.75, 2.25),
    ]  # fmt: skip
    assert [(r["tokens"], r["seconds"]) for r in rows[:2]] == [(0, 0.0), (40, 8.0)]


def test_a_row_a_front(tmp_path: Path) -> None:
    rows = fronts(_finished(tmp_path, f_star="compute"), tmp_path)
    assert [(r["method"], r["k"], r["seed"], r["points"]) for r in rows] == [
        ("mix", None, 1, 2), ("maxright", 10, 1, 2), ("mix", None, 2, 2), ("maxright", 10, 2, 2),
    ]  # fmt: skip
    area = 0.5 * 0.5 + 0.25 * 0.25  # (1/2, 5/2) and (3/4, 9/4) from (1, 3)
    assert rows[0]["hypervolume"] == pytest.approx(area)
    assert rows[0]["hypervolume_share"] == pytest.approx(area / 1.5)


def test_csv_reads_back(tmp_path: Path) -> None:
    rows, file = table(_finished(tmp_path), tmp_path), io.StringIO()
    write_csv(rows, file)
    read = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert list(read[0]) == list(rows[0])
    assert [float(r["f_dpo"]) for r in read] == [r["f_dpo"] for r in rows]
    assert [r["k"] for r in read[:4]] == ["", "", "10", "10"]
    write_csv([], empty := io.StringIO())
    assert empty.getvalue() == ""


# The command line.


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> made.World:
    """Studies of the command line start fakes."""
    fakes = made.World()
    monkeypatch.setattr(study_cli, "run_study", lambda *a, **o: run_study(*a, **o, start=fakes, pause=0.0))
    return fakes


def test_the_grid_from_a_file_and_the_command_line(
    tmp_path: Path, world: made.World, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = tmp_path / "grid.toml", tmp_path / "root"
    file.write_text(
        f'preset = "embedded"\nmethods = ["mix", "maxright"]\nlams = [0.5, 1]\nseeds = [1, 2]\n'
        f'ks = 5\nroot = "{root}"\n'
        "steps = 8\nf-star = 'compute'\nreference = 'paper'\n",
        encoding="utf-8",
    )
    options = ["--config", str(file), "--seeds", "3", "--steps", "4"]
    assert study(["run", *options, "--jobs", "2"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{root}: 4 runs are finished\n"
    assert said.err.splitlines()[0].startswith("study: 0 of 4 finished, 0 failed, 1 running (mix-lam0.5-dpo-sft-seed3")
    found = [(f.config["method"], f.config["lam"], f.config["seed"], f.config["steps"]) for f in world.started]
    assert sorted(found) == sorted((m, lam, 3, 4) for m in ("mix", "maxright") for lam in (0.5, 1.0))
    assert {(f.config["lora_rank"], f.config["f_star"]) for f in world.started} == {(8, "compute")}
    assert {f.config["k"] for f in world.started if f.config["method"] == "maxright"} == {5}
    assert study(["status", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in lines[1:5]] == [["finished", "4", "4"]] * 4
    assert lines[5] == f"{root}: 4 finished"
    assert study(["table", *options, "--what", "paths", "--csv", str(tmp_path / "paths.csv")]) == 0
    assert len((tmp_path / "paths.csv").read_text(encoding="utf-8").splitlines()) == 1 + 8
    assert study(["table", *options]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 4
    assert study(["commands", *options]) == 0
    assert capsys.readouterr().out == ""
    assert study(["commands", *options, "--lams", "0.25"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_measures_of_the_command_line(tmp_path: Path, world: made.World, capsys: pytest.CaptureFixture[str]) -> None:
    size = "size=llm_study_measures:size"
    options = ["--root", str(tmp_path), "--methods", "mix", "--measures", "answers", size]
    assert study(["run", *options]) == 1  # fakes take no measures
    (argv,) = world.said
    assert argv[3:5] == ["study", "one"]
    assert argv[-3:] == ["--measures", "answers", size]
    capsys.readouterr()
    assert study(["commands", *options]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"--measures answers {size}")
    assert study(["run", *options[:4]]) == 0
    assert study(["status", *options[:4]]) == 0
    assert capsys.readouterr().out.rstrip().endswith("1 finished")
    with pytest.raises(ValueError, match="no run of this grid is finished"):
        study(["table", *options])


def test_the_exit_status_tells_of_failures(
    tmp_path: Path, world: made.World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.plan = lambda c: "fail" if c["method"] == "mix" else "finish"
    options = ["run", "--root", str(tmp_path), "--model", "some/model", "--steps", "4", "--stack"]
    assert study(options) == 1
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}: 3 runs are finished\n"
    assert "mix-lam0.5-seed42-" in said.err
    assert "failed (exit status 1); " in said.err
    assert said.err.endswith("    error: no such thing\nerror: 1 runs failed; the same command tries them again\n")
    stacked = {f.config["method"]: f.config["stack"] for f in world.started}
    assert stacked == {"sequential": True, "mix": False, "alright": False, "maxright": False}


def test_without_a_model_it_is_the_embedded_setting(tmp_path: Path, world: made.World) -> None:
    from llm.presets import PRESETS

    for model in ([], ["--model", "some/model"]):
        assert study(["run", "--root", str(tmp_path), "--methods", "mix", *model]) == 0
    found = [f.config["lora_rank"] for f in world.started]
    assert found == [PRESETS["embedded"]["lora_rank"], made.BASE.lora_rank]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("arguments", "error", "argument", "value"),
    [
        (["best"], ValueError, "study: best is no command", "run, status"),
        (["run", "--lam", "0.5"], ValueError, "lam: a study takes several; say lams", "--lams A B"),
        (["status", "--method=mix"], ValueError, "method: a study takes several", "methods"),
        (["run", "--lams", "2"], ValueError, "lam: must be between 0 and 1", "2.0"),
        (["run", "--config", "nowhere.toml"], FileNotFoundError, "config: there is no file", "nowhere.toml"),
        (["run", "--preset", "gpt"], ValueError, "preset: must be one of", "gpt"),
        (["run", "--out", "here"], ValueError, "out: a study names the folders", "here"),
        (["run", "--overwrite"], ValueError, "overwrite: ", "True"),
        (["run", "--jobs", "0"], ValueError, "jobs: must be at least 1", "0"),
        (["run", "--root", "{h}/file"], ValueError, "root: ", "--root"),
        (["table", "--root", "{h}"], ValueError, "root: no run of this grid is finished", "study status"),
        (["run", "--config", "{h}/seed.yaml"], ValueError, "seed: a study takes several", "seeds"),
        (["run", "--config", "{h}/typo.yaml"], ValueError, "{h}/typo.yaml: lamms is no option", "did you mean lam"),
        (["run", "--config", "{h}/root.yaml"], TypeError, "root: must be a text", "5"),
        (["run", "--config", "{h}/methods.yaml"], ValueError, "method: must be one of", "best"),
    ],
)
def test_wrong_input(
    tmp_path: Path, world: made.World, arguments: list[str], error: type[Exception], argument: str, value: str
) -> None:
    files = {"seed": "seed: 5", "typo": "lamms: [1]", "root": "root: 5", "methods": "methods: best"}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "file").touch()
    arguments = [a.replace("{h}", str(tmp_path)) for a in arguments]
    fails(lambda: study(arguments), error, argument.replace("{h}", str(tmp_path)), value)
    assert world.started == []


@pytest.mark.parametrize("arguments", [["run", "--lams", "much"], ["run", "--methods", "best"], ["status", "stray"]])
def test_usage_errors_are_tyros(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        study(arguments)
    assert left.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_no_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert study([]) == 2
    assert study(["--help"]) == 0
    assert capsys.readouterr().out == study_cli.USAGE * 2


def test_progress_in_words() -> None:
    running = (("mix-lam0.5-seed1-abc", 40, 400), ("mix-lam1-seed1-abd", 0, 400))
    assert in_words(Progress(12, 3, 1, running, 300.0)) == (
        "study: 3 of 12 finished, 1 failed, 2 running (mix-lam0.5-seed1 40/400, mix-lam1-seed1 prepares), "
        "about 5 min left"
    )
    assert in_words(Progress(12, 3, 1, running[:1], 42.4)).endswith(", about 42 s left")
    assert in_words(Progress(12, 3, 1, (("mix-abc", 400, 400),), 42.4, 180.0)).endswith(
        "(mix ends), 3 min, about 42 s left"
    )
    assert in_words(Progress(1, 0, 0, running[:1], None)).endswith("(mix-lam0.5-seed1 40/400)")
    assert in_words(Progress(1, 1, 0, (), 0.0)) == "study: 1 of 1 finished, 0 failed, 0 running"
