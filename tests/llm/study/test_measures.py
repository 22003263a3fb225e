"""What is measured on finished runs: when, how often, and what becomes of a measure that fails."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.wrong import fails

pytest.importorskip("torch")

from support import study_fakes as made
from support import study_measures as around

from llm.study import Grid, commands, measure, status, table
from llm.study import measures as kept
from llm.study.cli import study
from llm.study.status import is_finished, write_config

SIZE = f"size={around.__name__}:size"


def prepared(root: Path, *measures: str, lams: tuple[float, ...] = (0.25, 0.5)) -> Grid:
    """A grid of trained runs, with these measures."""
    grid = Grid(made.BASE, methods=("mix",), lams=lams, measures=measures)
    for run in grid.runs():
        made.finish(run.folder(root), run.placed(root).as_dict())
    return grid


def one(grid: Grid, root: Path, at: int = 0) -> int:
    """`study one` for a run of the grid, in this process."""
    run = grid.runs()[at]
    said = ["--measures", *run.measures] if run.measures else []
    return study(["one", "--config", str(write_config(run, root)), *said])


@pytest.mark.slow
def test_a_run_is_finished_with_its_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = prepared(tmp_path, SIZE)
    plain = dataclasses.replace(grid, measures=())
    assert [s.state for s in status(plain, tmp_path)] == ["finished"] * 2
    assert [s.state for s in status(grid, tmp_path)] == ["stopped"] * 2
    assert [s.state for s in status([plain, grid], tmp_path)] == ["stopped"] * 2
    assert table(grid, tmp_path).empty
    assert one(grid, tmp_path) == 0
    assert capsys.readouterr().out == f"{grid.runs()[0].folder(tmp_path)}: finished\n"
    assert [s.state for s in status(grid, tmp_path)] == ["finished", "stopped"]
    (row,) = made.records(table(grid, tmp_path))
    assert (row["size_dpo"], row["size_sft"], row["size_text"]) == (1, 3, "yes")
    assert "size_all" not in row
    ((about, result),) = measure(grid, tmp_path, "size")
    assert about == {**grid.runs()[0].about, "run": row["run"], "folder": row["folder"]}
    assert result == {"dpo": 1, "sft": 3, "text": "yes", "all": [1, 2]}
    file = kept.file_of(grid.runs()[0].folder(tmp_path), SIZE)
    assert json.loads(file.read_text(encoding="utf-8"))["seconds"] >= 0.0
    before = file.stat().st_mtime_ns
    assert one(grid, tmp_path) == 0  # computed once
    assert file.stat().st_mtime_ns == before
    assert len(table(plain, tmp_path)) == 2


def test_a_measure_by_other_code_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kept.MEASURES, "size", SIZE.partition("=")[2])
    codes = iter("abb")
    monkeypatch.setattr(kept, "measure_digest", lambda _: code)
    (folder,) = {run.folder(tmp_path) for run in prepared(tmp_path, "size", lams=(0.25,)).runs()}
    for code, taken in zip(codes, (True, True, False), strict=True):
        assert kept.missing(folder, ("size",)) == (("size",) if taken else ())
        kept.take(folder, ("size",))
        assert json.loads(kept.file_of(folder, "size").read_text(encoding="utf-8"))["code"] == code


def test_a_measure_of_ours_has_the_name_of_its_code() -> None:
    assert kept.measure_digest("answers") == kept.code_digest("llm.judging.world")
    assert kept.measure_digest(SIZE) == ""


def test_a_failed_measure_is_one_line_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = prepared(tmp_path, SIZE, f"bad={around.__name__}:fails")
    folder = grid.runs()[0].folder(tmp_path)
    trained = (folder / "summary.json").stat().st_mtime_ns
    assert one(grid, tmp_path) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"error: measure bad of {folder}: KeyError: 'no such\\nanswer'"
    assert kept.missing(folder, grid.measures) == (grid.measures[1],)
    assert (folder / "summary.json").stat().st_mtime_ns == trained
    assert not is_finished(grid.runs()[0], tmp_path)
    for name, why in (("no_dict", "TypeError: support.study_measures:no_dict must return a dict, got list"),
                      ("absent", "module 'support.study_measures' has no attribute 'absent'")):  # fmt: skip
        with pytest.raises(kept.MeasureError, match=why):
            kept.take(folder, [f"{name}={around.__name__}:{name}"])


@pytest.mark.slow
def test_several_grids_share_runs_and_add_up_measures(tmp_path: Path) -> None:
    grid = prepared(tmp_path, lams=(0.25, 0.5, 0.75))
    some = dataclasses.replace(grid, lams=(0.5,), measures=(SIZE,))
    other = dataclasses.replace(some, measures=("answers", SIZE))
    lines = commands([grid, some, other], tmp_path)
    assert len(lines) == 1
    words = shlex.split(lines[0])
    assert words[3:8] == [sys.executable, "-m", "llm", "study", "one"]
    assert words[-3:] == ["--measures", SIZE, "answers"]
    assert one(some, tmp_path) == 0
    assert [r["lam"] for r in made.records(table([grid, some], tmp_path))] == [0.25, 0.5, 0.75]
    assert [r["size_dpo"] for r in made.records(table([grid, some], tmp_path))] == [None, 1, None]


@pytest.mark.parametrize(
    ("call", "error", "argument", "value"),
    [
        (lambda _: Grid(made.BASE, measures=("anser",)), ValueError, "measures: anser is not known", "answers"),
        (lambda _: Grid(made.BASE, measures=("answers=a:b",)), ValueError, "measures: answers=a:b", "another name"),
        (lambda _: Grid(made.BASE, measures=("a=b:c", "a=b:d")), ValueError, "measures: a is both a=b:c", "a=b:d"),
        (lambda _: Grid(made.BASE, measures=(3,)), TypeError, "measures: ", "3"),  # type: ignore[arg-type]
        (lambda p: measure(Grid(made.BASE), p, "answers"), ValueError, "measures: answers is not one", "none"),
        (lambda _: study(["run", "--measures", "best"]), ValueError, "measures: best is not known", "questions"),
        (lambda _: study(["one"]), ValueError, "config: is missing; use --config FILE", "study commands"),
        (lambda _: study(["one", "--config", "a.yaml", "--steps", "3"]), ValueError, "study one: --steps", "measures"),
        (lambda _: study(["one", "--config", "a.yaml"]), FileNotFoundError, "config: there is no file", "a.yaml"),
    ],
)
def test_wrong_input(
    tmp_path: Path, call: Callable[[Path], object], error: type[Exception], argument: str, value: str
) -> None:
    fails(lambda: call(tmp_path), error, argument, value)


def test_options_of_a_measure_are_read_and_checked() -> None:
    text = kept.with_options("questions", mmlu="/data/a,b/mmlu.tar.gz", limit=5)
    assert text == "questions:mmlu=/data/a,b/mmlu.tar.gz,limit=5"
    assert kept.name_of(text) == "questions"
    assert kept.options_of(text) == {"mmlu": "/data/a,b/mmlu.tar.gz", "limit": 5}
    assert kept.module_of(text) == "llm.evaluation.questions"
    assert (kept.with_options("skill"), kept.options_of("skill"), kept.options_of(SIZE)) == ("skill", {}, {})
    wrong = {
        "questions:shots=3": "questions has mmlu, limit, each once; got shots=3",
        "questions:limit=3,limit=4": "each once; got limit=4",
        "questions:limit=some": "limit of questions must be a whole number, got 'some'",
        "skill:rows=3": "skill has no options, each once; got rows=3",
    }
    for named, words in wrong.items():
        with pytest.raises(ValueError, match=words):
            kept.name_of(named)
    with pytest.raises(ValueError, match="questions is both questions and questions:mmlu="):
        kept.merged(["questions", text])


def test_a_measure_with_other_options_or_another_file_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text("one", encoding="utf-8")
    asked: list[dict[str, str | int]] = []

    def measured(_folder: Path, **options: str | int) -> dict[str, int]:
        asked.append(options)
        return {"n": len(asked)}

    monkeypatch.setattr("llm.judging.refusals.measure", measured)
    (folder,) = {run.folder(tmp_path) for run in prepared(tmp_path, "refusals", lams=(0.25,)).runs()}
    first, second = (kept.with_options("refusals", prompts=str(file), limit=n) for n in (3, 4))
    kept.take(folder, [first])
    kept.take(folder, [first])
    assert (kept.missing(folder, [first]), kept.missing(folder, [second])) == ((), (second,))
    kept.take(folder, [second])
    assert asked == [{"prompts": str(file), "limit": 3}, {"prompts": str(file), "limit": 4}]
    assert kept.columns(folder, [second]) == {"refusals_n": 2}
    file.write_text("another", encoding="utf-8")
    kept._inputs.cache_clear()
    assert kept.missing(folder, [second]) == (second,)
