"""The display of progress where there is no terminal, and durations as text."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from llm.common import progress
from llm.common.progress import Display, Line, duration


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Display(Console(file=stream), every=30.0) as display:
        for second in range(0, 100, 10):
            now[0] = 100.0 + second
            display.show("live", f"line {second}")
        display.show("live", "at once", now=True)
        display.show("live", "", now=True)
    assert stream.getvalue().splitlines() == ["line 0", "line 30", "line 60", "line 90", "at once"]


def test_a_terminal_shows_the_live_part_and_keeps_lines() -> None:
    stream = io.StringIO()
    with Display(Console(file=stream, force_terminal=True, width=60)) as display:
        display.show("the live part", "no line")
        display.keep("a line that stays")
    assert "the live part" in stream.getvalue()
    assert "a line that stays" in stream.getvalue()
    assert "no line" not in stream.getvalue()


def test_an_inactive_display_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Line("training", active=False) as line:
        line(4, 4)
    assert capsys.readouterr() == ("", "")
    with Line("training") as line:
        line(4, 4, "loss 0.5")
    assert capsys.readouterr().err == "training: 4/4  loss 0.5  about 0 s left\n"


def test_durations_in_the_unit_of_their_length() -> None:
    assert [duration(seconds) for seconds in (42.4, 180.0, 12_600.0)] == ["42 s", "3 min", "3.5 h"]


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    "first",
    [
        "from llm.common.progress import calm; calm()",
        "from llm.study.preload import import_libraries; import_libraries()",
        "import llm; from llm.training.launch import make_accelerator; make_accelerator(llm.TrainConfig())",
    ],
)
def test_a_kernel_that_is_not_used_is_not_reported(first: str) -> None:
    """On a CPU with bf16 units and without the package kernels, bitsandbytes warns when PEFT imports it."""
    logger = "logging.getLogger('bitsandbytes.backends.cpu.ops')"
    code = (
        f"import logging, sys; {first}; {logger}.warning('kernel'); logging.getLogger('bitsandbytes').warning('other')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "other" in ended.stderr  # no other line of bitsandbytes is hidden
    assert "kernel" not in ended.stderr
    assert "gemm_4bit" not in ended.stderr
