"""Numbers are collected from the files of artefacts and runs, without recomputing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from figures.artefact import Request
from figures.options import parse
from figures.recorded import record
from figures.recorded.__main__ import main
from figures.recorded.pages import PAGES

JUDGED = {"name": "a/b", "statement": "s", "kind": "upper", "bound": 0.0, "attained": 1.0, "interval": [0.5, 1.5]}


def artefact(name: str, **values: Any) -> dict[str, Any]:
    """Return the fields of an artefact's JSON file that are read."""
    return {
        "name": name, "scale": "smoke", "seed": 0, "parameters": {"grids": {"a": {"seeds": [1, 2]}}},
        "runs": "runs/1", "versions": {"numpy": "2"}, "git": {"commit": "c" * 40},
        "computed": "2026-01-02T00:00:10+00:00", "drawn": "2026-01-02T00:01:00+00:00",
        "seconds": {"compute": 10.0, "draw": 1.0}, "facts": {"scale": "small", "seconds": 3},
        "checks": [{**JUDGED, "verdict": "not seen", "holds": False}, {**JUDGED, "verdict": "", "interval": None}],
        **values,
    }  # fmt: skip


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a folder with the files of a whole run."""
    for name in (*record.EMPIRICAL, "baselines", "cost"):
        (tmp_path / f"{name}.json").write_text(json.dumps(artefact(name)), encoding="utf-8")
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    columns = ",".join(record.BASELINE_COLUMNS)
    rows = "\n".join(f"{name},{','.join([str(value)] * 6)}" for name, value in (("A", 1), ("B", 5), ("A", 3)))
    (tmp_path / "baselines.csv").write_text(f"baseline,{columns}\n{rows}\n", encoding="utf-8")
    run = tmp_path / "runs/1/mix"
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"versions": {"torch": "9"}}), encoding="utf-8")
    return tmp_path


def test_a_run_of_all_artefacts_is_recorded_with_its_conditions(out: Path) -> None:
    recorded = record.reproduction(out)
    assert recorded["command"] == "python paper_repro.py --scale smoke --seeds 2"
    assert recorded["date"] == "2026-01-02"
    assert recorded["seconds"] == 60
    assert recorded["runs"] == 1
    assert recorded["versions"] == {"numpy": "2", "torch": "9"}
    assert recorded["verdicts"]["claims"] == [{**JUDGED, "verdict": "not seen"}]
    assert [(r["baseline"], r["seeds"], r["f_dpo"]) for r in recorded["baselines"]] == [("A", 2, 2.0), ("B", 1, 5.0)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seeds": 2, "toy_runs": 400, "seed": 7}, "--scale smoke --seeds 2 --toy-runs 400 --seed 7"),
        ({"toy_runs": None, "parameters": {}}, "--scale smoke"),
        ({"scale": "embedded", "parameters": {"grids": {"a": {"seeds": [1]}, "b": {"seeds": [1, 2, 3, 4, 5]}}}},
         "--scale embedded --seeds 5"),
    ],
)  # fmt: skip
def test_the_recorded_command_makes_the_same_runs_whatever_the_defaults_are(values: dict[str, Any], words: str) -> None:
    command = record.command_of(artefact("claims", **values))
    assert command == f"python paper_repro.py {words}"
    options = parse(command.split()[2:], {})
    asked = Request(**{name: getattr(options, name) for name in ("scale", "seeds", "toy_runs")})
    grids = values.get("parameters", artefact("claims")["parameters"]).get("grids", {})
    assert asked.seeds == (max(len(spec["seeds"]) for spec in grids.values()) if grids else None)


def test_verdicts_are_recorded_with_the_correction_over_artefacts_and_over_all(out: Path) -> None:
    """5 artefacts with one claim of p = 0.02 each: it survives alone, 5 · 0.02 does not; the p-values are kept."""
    assert record.reproduction(out)["correction"] is None  # an artefact of before
    for name in (*record.EMPIRICAL, "baselines", "cost"):
        judged = {**JUDGED, "verdict": "not seen", "holds": False, "p_value": 0.02}
        checks = [judged] if name in record.EMPIRICAL else []
        (out / f"{name}.json").write_text(json.dumps(artefact(name, checks=checks)), encoding="utf-8")
    recorded = record.reproduction(out)
    assert recorded["verdicts"]["claims"] == [{**JUDGED, "verdict": "not seen", "p_value": 0.02}]
    assert recorded["correction"] == {"claims": 5, "decided": 5, "survive": 5, "survive_together": 0}


def test_a_missing_artefact_is_named_with_the_command_that_makes_it(
    out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (out / "cost.json").unlink()
    assert main(["--out", str(out)], root=tmp_path) == 2
    assert "python paper_repro.py cost --out" in capsys.readouterr().err


def test_runs_are_recorded_with_their_values_before_and_after(tmp_path: Path) -> None:
    values = {"f_dpo": 1.0, "f_sft": 2.0}
    for method, steps in (("mix", 7), ("alright", 9)):
        folder = tmp_path / method
        folder.mkdir()
        first = {"step": 0, "evaluation": "held_out", **values}
        (folder / "metrics.jsonl").write_text(json.dumps(first) + "\n", encoding="utf-8")
        (folder / "run.json").write_text(json.dumps({"config": {"seed": 3, "steps": steps}}), encoding="utf-8")
        summary = {"method": method, "lam": 0.5, "seconds": 4.0, "cpu_seconds": 3.0, "versions": {}, "device": "CPU"}
        after = {"evaluation": {**values, "f_sft": 0.5}}
        (folder / "summary.json").write_text(json.dumps(summary | after), encoding="utf-8")
    recorded = record.study(tmp_path)
    assert [(r["method"], r["steps"], r["seed"]) for r in recorded["methods"]] == [("alright", 9, 3), ("mix", 7, 3)]
    assert recorded["methods"][0]["before"] == values
    assert recorded["methods"][0]["after"] == {"f_dpo": 1.0, "f_sft": 0.5}


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no finished run in"):
        record.study(tmp_path)


def test_the_command_writes_the_record_and_the_pages(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    (root / "docs/recorded").mkdir(parents=True)
    for name in PAGES:
        (root / name).write_text("", encoding="utf-8")
    (root / "README.md").write_text("<!-- recorded: baselines -->\nold\n<!-- end -->\n", encoding="utf-8")
    assert main(["--out", str(out)], root=root) == 0
    assert json.loads((root / "docs/recorded/reproduce.json").read_text(encoding="utf-8"))["runs"] == 1
    lines = (root / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[3] == "| A | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 |"
    assert "old" not in lines
