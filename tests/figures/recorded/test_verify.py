"""`--verify` of the recorded real runs, end to end: a tiny model and generated pairs in place of the real ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from figures.analysis import real_sweeps, recorded_runs, sweeps
from figures.artefact import Request
from figures.pipeline import paths
from figures.recorded import real, verify
from figures.recorded.__main__ import main
from figures.recorded.real import rows_of
from llm.common.cache import sha256
from llm.study import run_study

FOLDER = "results/real"


def tiny_grids(folder: Path, request: Request) -> dict[str, Any]:
    """Return two grids of runs of 4 steps on a tiny model, the skill's notes and the request's pairs."""
    options = {
        "model": str(folder / "smollm2-tiny"), "sft": request.sft or "skill", "preference": request.preference,
        "sft_rows": 16, "eval_rows": 8, "steps": 4, "batch_sft": 2, "batch_preference": 2, "lora_rank": 2, "lr": 1e-2,
        "lora_targets": ["query_key_value"], "max_length": 128, "held_out": 0.2, "eval_every": 2, "device": "cpu",
        "cache": str(folder / "cache"), "threads": 1, "overflow": "drop", "f_star": "estimate", "lam": 0.5,
    }  # fmt: skip
    common: dict[str, Any] = {"options": options, "seeds": sweeps.seeds(request)[:1]}
    return {
        "Sequential, SFT first": {**common, "methods": ["sequential"], "orders": ["sft-dpo"]},
        "joint": {**common, "methods": ["alright"]},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with model, pairs, one of the two runs of the grid, and what `--real` recorded of it."""
    folder = tmp_path_factory.mktemp("verify")
    tiny.base(folder / "smollm2-tiny")
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in tiny.preference_rows()), encoding="utf-8")
    request = Request(scale="real", preference=str(pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real_sweeps, "real", lambda request: tiny_grids(folder, request))
        grid = paths.grid_of(real_sweeps.real(request)["Sequential, SFT first"])
        root = paths.runs_folder(folder / "then")
        root.mkdir(parents=True)
        assert not run_study(grid, root, jobs=1).failed
        [line] = real.write(folder / "results", folder / "then")
        assert line == "real: 1 of 2 runs of seed 2; missing: ALRIGHT (seed 2)"
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout with the recorded results; the grid is the tiny one."""
    monkeypatch.setattr(real_sweeps, "real", lambda request: tiny_grids(trained, request))
    shutil.copytree(trained / FOLDER, tmp_path / FOLDER)
    return tmp_path


def changed(place: Path, column: str, value: Any, step: str) -> None:
    """Write another recorded value of every run at a step."""
    path = place / FOLDER / recorded_runs.TABLE
    rows = rows_of(path)
    for row in rows:
        row[column] = str(value(row[column])) if callable(value) and row["step"] == step else row[column]
    lines = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
@pytest.mark.process
def test_a_recorded_run_is_trained_again_and_compared(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, out = str(trained / "pairs.jsonl"), place / "now"
    before = {path: path.read_bytes() for path in (place / FOLDER).iterdir()}
    assert main(["--verify", str(out), "--preference", pairs], root=place) == 0
    first, last = capsys.readouterr().out.splitlines()
    code = paths.training_digest()[:12]
    assert first.endswith(f"training code {code} then, {code} now")
    assert last.startswith("same: counts equal, losses at steps 0, 2, 4 within 0.0001")
    assert {path: path.read_bytes() for path in (place / FOLDER).iterdir()} == before
    summaries = list(out.glob("runs/*/*/summary.json"))
    assert len(summaries) == 1  # one run, not the grid
    trained_at = summaries[0].stat().st_mtime_ns

    changed(place, "f_sft", lambda value: 1.001 * float(value), "0")
    changed(place, "f_dpo", lambda value: 1.1 * float(value), "4")
    assert main(["--verify", str(out), "--preference", pairs], root=place) == 1
    said = capsys.readouterr().out
    assert "differs: f_sft at step 0 is" in said
    assert "differs: f_dpo at step 4 is" in said
    assert said.count("differs") == 2
    assert summaries[0].stat().st_mtime_ns == trained_at  # a finished run is not trained again


def test_what_is_missing_is_named_with_the_recorded_digest(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, out = trained / "pairs.jsonl", str(place / "now")
    wanted = f"pairs.jsonl with the SHA-256 {sha256(pairs)}"

    def refused(*arguments: str) -> str:
        assert main(["--verify", out, *arguments], root=place) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    assert f"the recorded runs are of {wanted}; give that file by --preference FILE" in refused()
    assert f"there is no file elsewhere; the recorded runs are of {wanted}" in refused("--preference", "elsewhere")
    other = place / "other.jsonl"
    other.write_text("{}\n", encoding="utf-8")
    line = refused("--preference", str(other))
    assert f"has the SHA-256 {sha256(other)}" in line
    assert wanted in line
    model = trained / "smollm2-tiny"
    monkeypatch.setattr(
        real_sweeps, "real", lambda request: with_model(tiny_grids(trained, request), model / "absent.gguf")
    )
    assert "model: absent.gguf is not there" in refused("--preference", str(pairs))
    assert "make model" in refused("--preference", str(pairs))
    assert not (place / "now").exists()


def with_model(grids: dict[str, Any], model: Path) -> dict[str, Any]:
    """Return the grids with another model."""
    return {name: {**spec, "options": {**spec["options"], "model": str(model)}} for name, spec in grids.items()}


def test_another_model_than_the_recorded_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "smollm2.gguf"
    file.write_bytes(b"weights")
    spec = {"options": {"model": str(file)}, "methods": ["sequential"]}
    verify._check_model({"sets": {"model": {"sha256": sha256(file)}}}, spec)
    with pytest.raises(ValueError, match=f"has the SHA-256 {sha256(file)}; the recorded runs are of {'0' * 64}"):
        verify._check_model({"sets": {"model": {"sha256": "0" * 64}}}, spec)
    file.unlink()
    with pytest.raises(ValueError, match=r"smollm2.gguf is not there \(a file with the SHA-256 000.*make model"):
        verify._check_model({"sets": {"model": {"sha256": "0" * 64}}}, spec)


def row(**values: str) -> dict[str, str]:
    """Return a row of the recorded table."""
    return {
        "label": "Sequential, SFT first", "method": "Sequential", "seed": "2", "step": "4", "steps": "4",
        "f_dpo": "0.7", "f_sft": "0.2", "steps_dpo": "2.0", "steps_sft": "2.0", "tokens": "90.0", "skill_n": "100.0",
        "skill_exact_match": "0.62", "skill_exact_match_low": "0.52", "skill_exact_match_high": "0.71",
        "cpu_seconds": "9.0", **values,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ({}, ""),
        ({"f_sft": "0.2038"}, ""),  # 1.9 %
        ({"f_sft": "0.2042"}, "f_sft at step 4 is 0.2042 now, 0.2 then"),
        ({"f_dpo": "nan"}, "f_dpo at step 4"),
        ({"tokens": "91.0"}, "tokens is 91.0 now, 90.0 then"),
        ({"steps_dpo": "3.0"}, "steps_dpo is 3.0 now"),
        ({"skill_exact_match": "0.7"}, ""),
        ({"skill_exact_match": "0.51"}, "skill_exact_match is 0.51 now, 0.62 then, outside of"),
        ({"skill_exact_match": "nan"}, "skill_exact_match is nan now"),
    ],
)
def test_a_difference_beyond_its_tolerance_is_reported(now: dict[str, str], wanted: str) -> None:
    found = list(verify._differences([row(**now)], [row()]))
    assert len(found) == bool(wanted)
    assert wanted in "".join(found)


def test_before_training_the_tolerance_is_that_of_a_forward_pass() -> None:
    then = [row(step="0", f_dpo="0.7"), row()]
    assert not list(verify._differences([row(step="0", f_dpo="0.70005"), row()], then))
    assert len(list(verify._differences([row(step="0", f_dpo="0.7001"), row()], then))) == 1
    assert "evaluations at steps 4 now, 0, 4 then" in next(verify._differences([row()], then))


def test_the_cheapest_run_is_chosen_but_none_that_chooses_by_its_losses() -> None:
    rows = [
        row(label="a", cpu_seconds="9.0"), row(label="b", cpu_seconds="8.0", step="0"),
        row(label="b", cpu_seconds="8.0"), row(label="c", method="MAXRIGHT", cpu_seconds="1.0"),
    ]  # fmt: skip
    assert verify._cheapest(rows) == rows[1:3]
    with pytest.raises(ValueError, match="choose by their losses"):
        verify._cheapest(rows[3:])


def test_verify_records_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--verify", str(tmp_path), "--real", str(tmp_path)], root=tmp_path)
    assert stopped.value.code == 2
    assert "--verify excludes" in capsys.readouterr().err
