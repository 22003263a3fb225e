"""The command line of the benchmarks: what it refuses, and with which status."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as program


def test_without_a_compiler_the_status_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.main(["--only", "step"]) == 2
    assert "gcc" in capsys.readouterr().err


def test_half_a_part_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main(["--write", "--only", "llm-sft"])
    assert stopped.value.code == 2
    assert "--only may name toyopt or llm or real or forgetting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "llm-real"], "llm-real needs --model FOLDER, --sft FILE and --preference FILE"),
        (["--only", "llm-real", "--model", "m", "--sft", "s", "--preference", "p"], "m: there is no such file"),
    ],
)
def test_a_real_model_needs_its_files(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
