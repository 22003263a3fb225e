"""The command line of studies: grids from files and options, exit statuses, one line of progress."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support import study_fakes as made
from support.wrong import fails

pytest.importorskip("torch")

from llm.study import Progress, run_study
from llm.study import cli as study_cli
from llm.study.cli import in_words, study


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> made.World:
    """Studies of the command line start fakes."""
    fakes = made.World()
    monkeypatch.setattr(study_cli, "run_study", lambda *a, **o: run_study(*a, **o, start=fakes, pause=0.0))
    return fakes


@pytest.mark.slow
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


@pytest.mark.slow
def test_measures_of_the_command_line(tmp_path: Path, world: made.World, capsys: pytest.CaptureFixture[str]) -> None:
    size = "size=support.study_measures:size"
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


@pytest.mark.slow
def test_the_exit_status_reports_failures(
    tmp_path: Path, world: made.World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.plan = lambda c: "fail" if c["method"] == "mix" else "finish"
    options = ["run", "--root", str(tmp_path), "--model", "some/model", "--steps", "4", "--stack"]
    assert study(options) == 1
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}: 4 runs are finished\n"
    assert "mix-lam0.5-seed42-" in said.err
    assert "failed (exit status 1); " in said.err
    assert said.err.endswith("    error: no such thing\nerror: 1 runs failed; the same command tries them again\n")
    stacked = {f.config["method"]: f.config["stack"] for f in world.started}
    assert stacked == {"sequential": True, "mix": False, "alright": False, "maxright": False, "replay": False}


@pytest.mark.slow
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
        (["run", "--lam", "0.5"], ValueError, "lam: a study takes several; use lams", "--lams A B"),
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
        (["run", "--config", "{h}/executor.yaml"], ValueError, "executor: must be one of local, slurm", "sge"),
        (["run", "--slurm", "qos=low"], ValueError, "slurm: has no meaning with --executor local", "use slurm"),
        (["run", "--launcher", "torchrun"], ValueError, "launcher: has no meaning with --executor local", "use slurm"),
        (["run", "--executor", "slurm", "--jobs", "2"], ValueError, "jobs: has no meaning with --executor", "local"),
        (["prepare"], ValueError, "config: is missing", "study commands"),
        (
            ["prepare", "--config", "{h}/methods.yaml", "--all"],
            ValueError,
            "study prepare: --all is no option",
            "--part",
        ),
    ],
)
def test_wrong_input(
    tmp_path: Path, world: made.World, arguments: list[str], error: type[Exception], argument: str, value: str
) -> None:
    files = {"seed": "seed: 5", "typo": "lamms: [1]", "root": "root: 5", "methods": "methods: best"}
    files["executor"] = "executor: sge"
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "file").touch()
    arguments = [a.replace("{h}", str(tmp_path)) for a in arguments]
    fails(lambda: study(arguments), error, argument.replace("{h}", str(tmp_path)), value)
    assert world.started == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["run", "--lams", "much"], ["run", "--methods", "best"], ["status", "stray"]])
def test_usage_errors_are_tyros(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        study(arguments)
    assert left.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_no_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
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
