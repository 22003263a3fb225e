"""Recorded runs of the real model that are joined with others: further seeds, runs made anew, other settings."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.run_folders import write as write_json_file

from figures.analysis import recorded_runs
from figures.artefact import Request
from figures.artefacts import chat
from figures.pipeline.paths import grid_of
from figures.recorded import joined, real_tables
from figures.recorded import real as record
from figures.recorded.__main__ import main
from figures.recorded.real_figures import CHAT

pytestmark = pytest.mark.usefixtures("present_code")

FACTS = {"scale": "M, 100 steps, 1 seed", "lr": 3e-4, "reference": "base", "precision": "fp32", "made": "then"}


def about(runs: dict[str, list[int]], code: str, **changes: Any) -> dict[str, Any]:
    """Return the description of runs, label -> seeds, by a training code."""
    seeds = sorted({seed for own in runs.values() for seed in own})
    return {
        "command": f"python paper_repro.py chat --scale real --seeds {seeds[-1] - 1} --preference FILE",
        "date": f"day of {code}", "machine": {"processor": "P", "cores": 2, "system": "S"},
        "versions": {"torch": "9"}, "git": {"commit": code * 10, "dirty": False}, "training_code": code,
        "facts": dict(FACTS), "sets": {"sft": {"name": "s"}}, "seeds": seeds,
        "runs": sum(map(len, runs.values())), "missing": {}, **changes,
    }  # fmt: skip


def rows(runs: dict[str, list[int]], value: str, kinds: tuple[str, ...] = ("",)) -> list[dict[str, str]]:
    """Return two rows for every kind and run."""
    return [
        {"rows": kind, "label": label, "seed": str(seed), "step": step, "steps": "100", "f_dpo": value}
        for kind in kinds
        for label, seeds in runs.items()
        for seed in seeds
        for step in ("0", "100")
    ]


OLD = {"A": [2], "B": [2]}


def test_a_further_seed_joins_and_the_page_says_where_it_was_made() -> None:
    new = {"A": [3], "B": [3]}
    described, table = joined.join(about(OLD, "aa"), rows(OLD, "1"), about(new, "bb"), rows(new, "2"))
    assert [(r["label"], r["seed"], r["step"], r["f_dpo"]) for r in table] == [
        ("A", "2", "0", "1"), ("A", "2", "100", "1"), ("A", "3", "0", "2"), ("A", "3", "100", "2"),
        ("B", "2", "0", "1"), ("B", "2", "100", "1"), ("B", "3", "0", "2"), ("B", "3", "100", "2"),
    ]  # fmt: skip
    assert (described["seeds"], described["runs"], described["missing"]) == ([2, 3], 4, {})
    assert described["command"] == "python paper_repro.py chat --scale real --seeds 2 --preference FILE"
    assert described["facts"]["scale"] == "M, 100 steps, 2 seeds"
    assert (
        described["facts"]["made"] == "day of aa, commit aaaaaaaaaa, P, 2 cores; 2 runs: day of bb, commit bbbbbbbbbb"
    )
    assert [(part["training_code"], part["runs"]) for part in described["parts"]] == [("aa", OLD), ("bb", new)]
    assert joined.origin(described, "B", 3)["training_code"] == "bb"
    assert joined.origin(described, "B", 2)["training_code"] == "aa"
    described["facts"] |= {"sft": "s", "preference": "p"}
    text = real_tables.runs({"chat": {**described, "rows": record.ends(table, ("f_dpo",))}}, CHAT)
    assert " Of these, seed 3: on day of bb at commit `bbbbbbbbbb`." in text


def test_runs_of_another_machine_are_shown_with_it() -> None:
    there = about({"A": [3]}, "bb", machine={"processor": "Q", "cores": 8, "system": "S"})
    described, _ = joined.join(about(OLD, "aa"), rows(OLD, "1"), there, rows({"A": [3]}, "2"))
    assert described["facts"]["made"].endswith("; 1 run: day of bb, commit bbbbbbbbbb, Q, 8 cores")
    assert described["missing"] == {"B": [3]}
    described["facts"] |= {"sft": "s", "preference": "p"}
    text = real_tables.runs({"chat": {**described, "rows": []}}, CHAT)
    assert " Of these, A (seed 3): on day of bb at commit `bbbbbbbbbb` (Q, 8 cores, S; torch 9)." in text
    assert "Not finished: B (seed 3)." in text


def test_runs_made_anew_replace_those_of_the_same_label_and_seed() -> None:
    described, table = joined.join(about(OLD, "aa"), rows(OLD, "1"), about({"B": [2]}, "bb"), rows({"B": [2]}, "2"))
    assert {(r["label"], r["f_dpo"]) for r in table} == {("A", "1"), ("B", "2")}
    assert described["runs"] == 2
    assert [part["runs"] for part in described["parts"]] == [{"A": [2]}, {"B": [2]}]
    again, table = joined.join(described, table, about(OLD, "cc"), rows(OLD, "3"))  # all of them
    assert {r["f_dpo"] for r in table} == {"3"}
    assert "parts" not in again
    assert (again["training_code"], again["date"]) == ("cc", "day of cc")


def test_the_part_with_the_most_runs_names_the_whole_record() -> None:
    new = {"A": [3, 4], "B": [3, 4]}
    described, _ = joined.join(about(OLD, "aa"), rows(OLD, "1"), about(new, "bb"), rows(new, "2"))
    assert described["training_code"] == "bb"
    assert [(name, part["training_code"]) for name, part in joined.further(described)] == [("seed 2", "aa")]


def test_a_page_that_leaves_out_runs_does_not_name_them() -> None:
    new = {"A": [2], "B": [2, 3]}
    described, _ = joined.join(
        about({"A": [2, 3], "B": [2, 3]}, "aa"), rows({"A": [2, 3], "B": [2, 3]}, "1"), about(new, "bb"), rows(new, "2")
    )
    described |= {name: described["parts"][0][name] for name in joined.ORIGIN}  # that of the one run that is left
    assert [name for name, _ in joined.further(described)] == ["A (seed 2), B (seeds 2, 3)"]
    assert [name for name, _ in joined.further(described, lambda label: label == "B")] == ["seeds 2, 3"]
    assert joined.further(described, lambda label: label == "C") == []


def test_rows_of_every_kind_stay_together() -> None:
    kinds = ("evaluations", "measures")
    _, table = joined.join(
        about(OLD, "aa"), rows(OLD, "1", kinds), about({"A": [3]}, "bb"), rows({"A": [3]}, "2", kinds)
    )
    assert [row["rows"] for row in table] == ["evaluations"] * 6 + ["measures"] * 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facts": FACTS | {"lr": 1e-3}}, r"lr of the recorded runs is 0\.0003, and of the new ones 0\.001"),
        ({"facts": FACTS | {"precision": "bf16"}}, "precision of the recorded runs is fp32"),
        ({"facts": FACTS | {"more": 1}}, "more of the recorded runs is None, and of the new ones 1"),
        ({"sets": {"sft": {"name": "t"}}}, "sets of the recorded runs is"),
    ],
)
def test_other_settings_or_sets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joined.join(about(OLD, "aa"), rows(OLD, "1"), about({"A": [3]}, "bb", **changes), rows({"A": [3]}, "2"))


def test_other_columns_are_refused_and_an_older_record_lacks_usual_options() -> None:
    old, new = about(OLD, "aa"), {"A": [3]}
    for name in ("reference", "precision"):
        del old["facts"][name]
    joined.join(old, rows(OLD, "1"), about(new, "bb"), rows(new, "2"))
    wider = [{**row, "skill": "0.5"} for row in rows(new, "2")]
    with pytest.raises(ValueError, match="columns of the recorded runs is"):
        joined.join(old, rows(OLD, "1"), about(new, "bb"), wider)


def test_a_column_has_one_form_whatever_the_parts_hold() -> None:
    """Without a run in stages `order` is NaN alone, and without a NaN `k` is an integer."""
    old_rows = [{**row, "order": "sft-dpo" if row["label"] == "A" else "", "k": "nan"} for row in rows(OLD, "1")]
    new_rows = [{**row, "order": "nan", "k": "10"} for row in rows({"B": [2]}, "2.5")]
    _, table = joined.join(about(OLD, "aa"), old_rows, about({"B": [2]}, "bb"), new_rows)
    assert [(r["order"], r["k"], r["f_dpo"], r["step"]) for r in table] == [
        ("sft-dpo", "nan", "1.0", "0"), ("sft-dpo", "nan", "1.0", "100"),
        ("", "10.0", "2.5", "0"), ("", "10.0", "2.5", "100"),
    ]  # fmt: skip


def test_joining_changes_neither_record() -> None:
    old, new = about(OLD, "aa"), about({"A": [3]}, "bb")
    before = copy.deepcopy((old, new))
    joined.join(old, rows(OLD, "1"), new, rows({"A": [3]}, "2"))
    assert (old, new) == before


def trained(root: Path, seed: int) -> None:
    """Write finished runs of `chat` with one seed, whose f_DPO at the end is the seed."""
    grids = chat.parameters(Request(scale="real", seeds=1, seed=seed - 2))["grids"]
    for run in (run for spec in grids.values() for run in grid_of(spec).runs()):
        folder, c = run.folder(root), run.config
        folder.mkdir(parents=True)
        lines = [
            {"step": step, "evaluation": "held_out", "f_dpo": value, "f_sft": 1.0, "rewards/accuracies": 0.5}
            for step, value in ((0, math.log(2.0)), (50, 0.7), (c.steps, float(seed)))
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in c.as_dict().items()}
        write_json_file(folder / "run.json", {"fingerprint": {"rows": {}, "base": ""}, "config": config})
        steps = {"dpo": c.steps, "sft": c.steps} if c.method == "mix" else {"dpo": 50, "sft": 50}
        summary = {"evaluation": lines[-1], "steps_by_objective": steps, "device": "CPU", "cpu_seconds": 1.0}
        write_json_file(folder / "summary.json", summary | {"versions": {"torch": "9"}})


@pytest.mark.slow
def test_seeds_of_two_trainings_are_one_record_and_one_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present_code: Callable[[str], None]
) -> None:
    results = tmp_path / "results"
    trained(tmp_path / "a" / "runs" / "aaaaaaaaaaaa", 2)
    trained(tmp_path / "b" / "runs" / "bbbbbbbbbbbb", 3)
    with pytest.raises(ValueError, match=r"are of another training code than this one \(0123456789ab\)"):
        record.write(results, tmp_path / "a")
    present_code("aaaaaaaaaaaa")
    assert record.write(results, tmp_path / "a", add=True) == ["chat: 6 of 6 runs of seed 2"]  # nothing is there yet
    present_code("bbbbbbbbbbbb")
    [line] = record.write(results, tmp_path / "b", add=True)
    assert line == "chat: 6 runs added; 12 of seeds 2, 3 are recorded now"
    described = recorded_runs.described(results / "chat")
    assert [part["training_code"] for part in described["parts"]] == ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]
    monkeypatch.setattr(chat, "FOLDER", results / "chat")
    data = chat.compute({"recorded": recorded_runs.digests(results / "chat")})
    assert all(check.holds for check in data.checks if check.must_hold)
    assert sorted({*data.table["seed"]}) == [2, 3]
    assert "2 seeds" in data.facts["scale"]
    alone = tmp_path / "alone"
    present_code("aaaaaaaaaaaa")
    record.write(alone, tmp_path / "a")
    present_code("bbbbbbbbbbbb")
    record.write(alone, tmp_path / "b")  # without `add` the last one is all
    assert recorded_runs.described(alone / "chat")["seeds"] == [3]


def test_add_without_runs_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--add"], tmp_path)
    assert error.value.code == 2
    assert "--add needs --real" in capsys.readouterr().err
