"""Recorded benchmarks of the real model: which runs, which files, and the table of the pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import binomtest

from figures.analysis import recorded_runs
from figures.recorded import benchmarks, pages
from figures.recorded.tables import BLOCKS
from llm.common.cache import sha256
from llm.common.contents import contents_of


def run(root: Path, name: str, files: dict[str, Path], *, accuracy: float = 0.3, **config: Any) -> Path:
    """Write the folder of a finished run with both benchmarks."""
    folder = root / name
    (folder / "measures").mkdir(parents=True)
    own = {"method": "alright", "order": "dpo-sft", "lam": 0.5, "seed": 2, "replay": 0.05, "average": False}
    own |= {
        "preference_loss": "dpo",
        "model": "m",
        "sft": "skill",
        "preference": "p",
        "reference": "base",
        "steps": 120,
    }
    write(folder / "run.json", {"config": own | config})
    summary = {"evaluation": {"rewards/accuracies": 0.55}, "versions": {"python": "3"}}
    write(folder / "summary.json", summary)
    questions = {"accuracy": accuracy, "n": 20, "shots": 1, "limit": 2, "base_accuracy": 0.25}
    refused = {"safe": 0.0, "safe_n": 10, "unsafe": 0.5, "unsafe_n": 8, "base_safe": 0.1, "base_unsafe": 0.25}
    refused |= {"judge": "xstest-string-rule", "limit": 18}
    refused |= {"answers": [{"answer": text} for text in (' {"a": 1}', "No.", "Yes {}", "{")]}
    inputs = {
        "questions": {"mmlu": contents_of(str(files["mmlu"])), "limit": 2},
        "refusals": {"prompts": contents_of(str(files["xstest"])), "limit": 18},
    }
    for measure, result in (("questions", questions), ("refusals", refused)):
        record = {"seconds": 3.0, "code": "", "inputs": inputs[measure], "result": result}
        write(folder / "measures" / f"{measure}.json", record)
    write(folder / "measures" / "skill.json", {"result": {"exact_match": 0.9}})
    return folder


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {"mmlu": tmp_path / "mmlu.tar.gz", "xstest": tmp_path / "xstest.csv"}
    for name, path in made.items():
        path.write_text(name, encoding="utf-8")
    return made


def test_the_runs_with_both_benchmarks_and_their_base_are_recorded(tmp_path: Path, files: dict[str, Path]) -> None:
    root = tmp_path / "out" / "runs" / "c0de"
    run(root, "a", files)
    run(root, "b", files, method="sequential", order="sft-dpo", accuracy=0.4)
    run(root, "c", files, method="replay", order="sft-dpo", replay=0.2)
    for name, changed in (("d", {"lam": 0.25}), ("e", {"preference_loss": "simpo"}), ("f", {"average": True})):
        run(root, name, files, **changed)
    (run(root, "g", files, method="mix") / "measures" / "questions.json").unlink()
    neither = run(root, "h", files, method="maxright") / "measures"
    (neither / "questions.json").unlink()
    (neither / "refusals.json").unlink()
    folder = tmp_path / "record"
    line = benchmarks.write(folder, tmp_path / "out", **files)
    assert line == "benchmarks of 4 runs and their base"
    rows, origin = recorded_runs.benchmarks(folder)
    labels = ["base", "Sequential, SFT first", "Replay 20%, SFT first", "ALRIGHT", "Mix"]
    assert sorted(rows["label"]) == sorted(labels)
    assert list(rows["label"])[:2] == labels[:2]
    row = rows.set_index("label").loc["Sequential, SFT first"]
    wilson = binomtest(8, 20).proportion_ci(method="wilson")
    assert (row["mmlu"], row["mmlu_low"], row["mmlu_high"]) == pytest.approx((0.4, wilson.low, wilson.high), rel=1e-5)
    assert (row["unsafe"], row["unsafe_n"], row["preferences"], row["skill"]) == (0.5, 8, 0.55, 0.9)
    base = rows.set_index("label").loc["base"]
    assert (base["mmlu"], base["safe"], base["unsafe"]) == (0.25, 0.1, 0.25)
    assert pd.isna(base["skill"])
    about = json.loads((folder / recorded_runs.ABOUT_BENCHMARKS).read_text(encoding="utf-8"))
    assert about["files"]["mmlu"] == {"name": "mmlu.tar.gz", "sha256": sha256(files["mmlu"])}
    assert (about["training_code"], about["seeds"], about["runs"]) == ("c0de", [2], 4)
    assert "MMLU, 1-shot, 20 questions; XSTest, 18 prompts, refusals by xstest-string-rule" in origin
    assert str(tmp_path) not in (folder / recorded_runs.ABOUT_BENCHMARKS).read_text(encoding="utf-8")
    assert len(recorded_runs.benchmark_digests(folder)) == 2
    text = BLOCKS["benchmarks"]({"benchmarks": {**about, "rows": pages.rows_of(folder / recorded_runs.BENCHMARKS)}})
    assert "| base | 25 [11, 47] | 10 [2, 40] | 25 [7, 59] |  |" in text
    assert "| Sequential, SFT first, seed 2 | 40 [22, 61] | 0 [0, 28] | 50 [22, 78] | 50 [15, 85] |" in text
    assert "Files: mmlu `mmlu.tar.gz`, xstest `xstest.csv`." in text
    assert "| Mix, seed 2 |  | 0 [0, 28] | 50 [22, 78] | 50 [15, 85] |" in text
    assert BLOCKS["benchmarks"]({}) == "Nothing is recorded yet."
    assert recorded_runs.benchmark_digests(tmp_path) == {}
    assert benchmarks.write(folder, tmp_path / "out", xstest=files["xstest"]) == line
    about = json.loads((folder / recorded_runs.ABOUT_BENCHMARKS).read_text(encoding="utf-8"))
    assert list(about["files"]) == ["xstest"]
    text = BLOCKS["benchmarks"]({"benchmarks": {**about, "rows": pages.rows_of(folder / recorded_runs.BENCHMARKS)}})
    assert "MMLU" not in text
    assert "| base | 10 [2, 40] | 25 [7, 59] |  |" in text


def test_what_cannot_be_recorded_is_one_line(tmp_path: Path, files: dict[str, Path]) -> None:
    root = tmp_path / "out" / "runs" / "c0de"
    folder = tmp_path / "record"
    root.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no finished run in .* has mmlu or xstest"):
        benchmarks.write(folder, tmp_path / "out", **files)
    run(root, "a", files)
    files["xstest"].write_text("other", encoding="utf-8")
    with pytest.raises(ValueError, match=r"xstest\.csv is not the file that the runs were asked"):
        benchmarks.write(folder, tmp_path / "out", **files)
    run(root, "b", files)
    with pytest.raises(ValueError, match="the runs differ in refusals"):
        benchmarks.write(folder, tmp_path / "out", **files)
    (root.parent / "other").mkdir()
    with pytest.raises(ValueError, match="must have runs of one training code, and has those of 2"):
        benchmarks.write(folder, tmp_path / "out", **files)
    assert not folder.exists()
