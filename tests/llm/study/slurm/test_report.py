"""The command `study run --executor slurm`, on commands of Slurm that record their calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.slurm_fakes import Slurm

pytest.importorskip("torch")
pytest.importorskip("submitit")

from llm.study.cli import study
from llm.study.slurm.queue import read_jobs


@pytest.mark.slow
@pytest.mark.process
def test_a_submission_and_the_status_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm, root, file = Slurm(tmp_path / "fake", monkeypatch), tmp_path / "root", tmp_path / "grid.yaml"
    values = {"executor": "slurm", "slurm": ["partition=long"], "methods": ["mix", "alright"], "root": str(root)}
    file.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    options = ["--config", str(file), "--steps", "4", "--lams", "0.5"]
    assert study(["run", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{root}: 2 runs submitted, 2 preparations submitted, 0 runs queued before, 0 finished",
        f"jobs: 11 12 13; see squeue, and python -m llm study status --root {root} ...",
    ]
    assert {script.options["partition"] for script in slurm.submitted()} == {"long"}
    jobs = read_jobs(root)
    reference, *_, first, second = (name for name in jobs if not name.startswith("base"))
    slurm.queue({"11": "RUNNING", "12": "PENDING", "13_0": "PENDING", "13_1": "PENDING"})
    assert study(["run", *options]) == 0
    assert capsys.readouterr().out == f"{root}: 0 runs submitted, 2 runs queued before, 0 finished\n"
    assert study(["status", *options]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        [first, "queued", "0", "4", "job", "13_0"], [second, "queued", "0", "4", "job", "13_1"],
        [f"{root}:", "2", "queued"],
    ]  # fmt: skip
    # The reference fails, and Slurm cancels the runs.
    slurm.queue({})
    failed = {"status": 2, "last": ["error: no such file"]}
    (root / "logs" / f"{reference}.failed.json").write_text(json.dumps(failed), encoding="utf-8")
    line = f"{reference} failed (exit status 2): error: no such file; log: {root}/logs/{reference}.log"
    assert study(["status", *options]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [f"{root}: 2 missing", line]
    assert study(["run", *options]) == 0
    assert capsys.readouterr().err == f"{line}; submitted again\n"
