"""The command line: help, statuses, streams, and every command on one run."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door

from llm.cli import USAGE, main
from llm.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "train", "evaluate", "generate", "judge", "check", "optima", "benchmark", "cosine", "curvature", "skill",
    "similarity", "merge", "fetch", "study",
)  # fmt: skip
HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main(["-h"]) == 0
    assert capsys.readouterr() == (USAGE * 2, "")
    assert main([]) == 2
    assert all(f"  {name} " in USAGE for name in COMMANDS)
    assert all(name in USAGE for name in PRESETS)
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == f"error: trian is no command; there are {', '.join(COMMANDS)}\n"


@pytest.mark.slow
def test_help_and_usage_errors_load_nothing_heavy() -> None:
    program = f"""
import contextlib, io, sys
from llm.cli import main
calls = [[c, "--help"] for c in {COMMANDS!r}] + [
    ["--help"], ["train", "--lam", "2"], ["train", "--lamm", "2"], ["train", "--preset", "gpt"], ["evaluate"],
    ["generate", "--model", "x"], ["merge", "--adapter", "x", "--out", "y"],
]
statuses = []
for argv in calls:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            statuses.append(main(argv))
        except SystemExit as left:
            statuses.append(left.code)
print(statuses, [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    statuses = [0] * (len(COMMANDS) + 1) + [2] * 6
    assert done.stdout.split("] [")[0] == str(statuses).removesuffix("]")
    assert done.stdout.endswith("] []\n"), done.stdout


@pytest.mark.slow
def test_help_shows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    from llm import TrainConfig

    for command in ("train", "optima"):
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        shown = capsys.readouterr().out
        for field in dataclasses.fields(TrainConfig):
            assert f"--{field.name.replace('_', '-')}" in shown
        assert "--preset NAME" in shown
        assert "--config FILE" in shown


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("lam: is\n  wrong"), 2, "error: lam: is wrong\n"),
        (TypeError("x"), 2, "error: x\n"),
        (FileNotFoundError("x"), 2, "error: x\n"),
        (OSError(errno.ENOSPC, "No space"), 2, "error: the disk is full; make room and run the same command again"),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command resumes from the last checkpoint\n"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("llm.cli._train", fail)
    assert main(["train"]) == status
    said = capsys.readouterr()
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_what_is_nobodys_fault_but_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (RuntimeError("ours"), OSError(errno.EIO, "disk"), KeyError("x")):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("llm.cli._train", fail)
        with pytest.raises(type(error)):
            main(["train"])


def test_a_run_that_had_to_stop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from llm.training.trainer import InterruptedRunError, StoppedRunError

    for error, status in ((StoppedRunError("step 3: the loss explodes"), 1), (InterruptedRunError("as asked"), 130)):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("llm.cli._train", fail)
        assert main(["train"]) == status
        assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    options = door.place(tmp_path)
    done = door.call(capsys, "train", **options)
    assert done.status == 0, done.err
    run = tmp_path / "run"
    final = json.loads((run / "summary.json").read_text(encoding="utf-8"))["evaluation"]
    values = f"f_dpo {final['f_dpo']:.4f}  f_sft {final['f_sft']:.4f}"
    assert done.out == f"{run}: {values}\n"  # what can be piped; the rest is on the error stream
    assert "alright: 4/4" in done.err
    assert "Traceback" not in done.err

    again = door.call(capsys, "train", **options)
    assert (again.status, again.out) == (0, done.out)
    assert f"{run} is finished; nothing to do (--overwrite begins anew)\n" in again.err
    said = door.call(capsys, "evaluate", run=run)
    assert said.status == 0
    found = dict(line.split() for line in said.out.splitlines())
    assert float(found["f_dpo"]) == pytest.approx(final["f_dpo"], abs=1e-5)
    assert set(found) == set(final)
    said = door.call(capsys, "generate", model=run, prompts=["bax der"], max_new_tokens=4)
    assert said.status == 0
    assert said.out.startswith("bax der\n    ")
    said = door.call(capsys, "merge", adapter=run, out=tmp_path / "merged")
    assert (said.status, said.out) == (0, f"{tmp_path / 'merged'}\n")
    said = door.call(capsys, "optima", **{**options, "optima_steps": 2})
    assert said.status == 0
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["train", "held_out"]


def test_a_reader_that_ends_early_gives_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: list[str]) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", sys.stdout)  # `main` drops it; it is put back at the end
    monkeypatch.setattr("llm.cli._optima", broken)
    assert main(["optima"]) == 1
    assert capsys.readouterr().err == "error: the reader of the output has ended\n"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_of_several_processes_prints_results(monkeypatch: pytest.MonkeyPatch, capsys: Any, rank: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("llm.evaluation.held_out.evaluate", lambda _: {"f_dpo": 0.5, "f_sft": 2.0})
    monkeypatch.setattr("llm.training.optima.optima", lambda _: {"train": {"dpo": 0.25, "sft": 1.0}})
    assert main(["evaluate", "--run", "run"]) == main(["optima"]) == 0
    shown = "f_dpo 0.50000\nf_sft 2.00000\ntrain: f_DPO* 0.25000  f_SFT* 1.00000\n"
    assert capsys.readouterr().out == (shown if rank == "0" else "")
