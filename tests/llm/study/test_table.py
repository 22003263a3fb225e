"""The tables of a study and its distances."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wrong import fails

pytest.importorskip("torch")

from support import study_fakes as made

from llm import TrainConfig
from llm.study import Grid, describe, fronts, hypervolume, paths, scale_free_distance, table, write_csv

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


@given(st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES), max_size=6))
def test_the_hypervolume_of_three_objectives_counts_the_dominated_cubes(points: list[tuple[float, ...]]) -> None:
    cubes = itertools.product(range(5), repeat=3)
    inside = [c for c in cubes if any(all(p <= i for p, i in zip(point, c, strict=True)) for point in points)]
    assert hypervolume(points, (5.0, 5.0, 5.0)) == len(inside)


def test_the_scale_free_distance_is_independent_of_the_scale() -> None:
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


@pytest.mark.slow
def test_a_row_a_finished_run(tmp_path: Path) -> None:
    grid = _finished(tmp_path, f_star="compute")
    unfinished = dataclasses.replace(grid, seeds=(1, 2, 3))
    made.start_or_resume(unfinished.runs()[-1].folder(tmp_path))
    frame = table(unfinished, tmp_path)
    assert str(frame["k"].dtype) == "Int64"
    rows = made.records(frame)
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
    row = made.records(table(_finished(tmp_path), tmp_path))[0]
    assert row["f_dpo_star"] is row["scale_free_distance"] is row["hypervolume_share"] is None
    assert row["hypervolume"] == pytest.approx(0.25 * 0.75)
    assert "gap_dpo" not in row


def test_a_row_an_evaluation(tmp_path: Path) -> None:
    rows = made.records(paths(_finished(tmp_path, lams=(0.5,)), tmp_path))
    assert [(r["seed"], r["method"], r["step"], r["f_dpo"], r["f_sft"]) for r in rows[:4]] == [
        (1, "mix", 0, 1.0, 3.0), (1, "mix", 4, 0.75, 2.25),
        (1, "maxright", 0, 1.0, 3.0), (1, "maxright", 4, 0.75, 2.25),
    ]  # fmt: skip
    assert [(r["tokens"], r["seconds"]) for r in rows[:2]] == [(0, 0.0), (40, 8.0)]


@pytest.mark.slow
def test_a_row_a_front(tmp_path: Path) -> None:
    rows = made.records(fronts(_finished(tmp_path, f_star="compute"), tmp_path))
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
    assert list(read[0]) == list(rows)
    assert [float(r["f_dpo"]) for r in read] == list(rows["f_dpo"])
    assert [r["k"] for r in read[:4]] == ["", "", "10", "10"]
    assert [r["lam"] for r in read[:4]] == ["0.5", "1.0", "0.5", "1.0"]
    write_csv(rows[:0], empty := io.StringIO())
    assert empty.getvalue() == ""


def test_options_in_which_grids_differ_are_columns(tmp_path: Path) -> None:
    grids = [Grid(dataclasses.replace(made.BASE, lr=lr), methods=("mix",), lams=(0.25, 0.5)) for lr in (1e-3, 1e-4)]
    for run in (run for grid in grids for run in grid.runs()):
        made.finish(run.folder(tmp_path), run.placed(tmp_path).as_dict())
    assert [r["lr"] for r in made.records(table(grids, tmp_path))] == [1e-3, 1e-3, 1e-4, 1e-4]
    assert [(f["lr"], f["points"]) for f in made.records(fronts(grids, tmp_path))] == [(1e-3, 2), (1e-4, 2)]
    assert "lr" not in table(grids[0], tmp_path)
    said = describe(grids[0])
    assert said["options"] == {"steps": 4, "lr": 1e-3}
    assert (said["methods"], said["lams"], said["runs"], said["measures"]) == (["mix"], [0.25, 0.5], 2, [])


def test_a_run_of_three_objectives_has_columns_by_their_names(tmp_path: Path) -> None:
    """Volumes by hand: the start is (1, 2, 3), the ends of two runs (0.5, 1, 2) and (0.75, 1.5, 1)."""
    texts = ("chat=sft:x", "safe=preference:y", "warm=preference:z")
    weights = ((0.2, 0.3, 0.5), (0.5, 0.3, 0.2))
    base = TrainConfig(model="m", objective=texts, steps=4, seed=1)
    grid = Grid(base, methods=("mix",), weights=weights)
    for run, end in zip(grid.runs(), ((0.5, 1.0, 2.0), (0.75, 1.5, 1.0)), strict=True):
        folder = run.folder(tmp_path)
        folder.mkdir(parents=True)
        evaluations = [
            {"step": step, "evaluation": "held_out", **dict(zip(("f_chat", "f_safe", "f_warm"), values, strict=True))}
            for step, values in ((0, (1.0, 2.0, 3.0)), (4, end))
        ]
        lines = "".join(json.dumps(line) + "\n" for line in evaluations)
        (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
        (folder / "run.json").write_text("{}", encoding="utf-8")
        steps = {"chat": 4, "safe": 4, "warm": 4}
        last = {k: v for k, v in evaluations[1].items() if k.startswith("f_")}
        summary = {"evaluation": last, "steps_by_objective": steps, "device": "abacus", "seconds": 8.0, "tokens": 40}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    first, second = made.records(table(grid, tmp_path))
    assert (first["lam"], first["weights"], second["weights"]) == (None, "0.2,0.3,0.5", "0.5,0.3,0.2")
    assert (first["f_chat"], first["f_warm_start"], first["steps_safe"]) == (0.5, 3.0, 4)
    assert first["hypervolume"] == pytest.approx(0.5 * 1.0 * 1.0)
    assert second["hypervolume"] == pytest.approx(0.25 * 0.5 * 2.0)
    front = made.records(fronts(grid, tmp_path))
    both = 0.25 * 0.5 * 1.0  # where the two boxes overlap
    assert [row["hypervolume"] for row in front] == [pytest.approx(0.5 + 0.25 - both)]
