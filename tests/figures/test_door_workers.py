"""Worker processes: what must not depend on them, and what one that fails costs the others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.pipeline_fakes import Door

from figures.cli import main
from figures.pipeline import jobs


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # two edits in one second would share their bytecode
    found = Door(tmp_path)
    found.add("a")
    return found


def run(door: Door, *arguments: str) -> int:
    return main([*arguments, "--out", str(door.out)], door.registry)


def test_pdf_and_png_bytes_repeat(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for seed in ("1", "2"):  # matplotlib names a PDF's fonts by hash(); without care the bytes follow this
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        door.out = door.folder / f"out{seed}"
        run(door)
        pictures.append([(door.out / f"a.{suffix}").read_bytes() for suffix in ("pdf", "png")])
    assert pictures[0] == pictures[1]
    assert b"CreationDate" not in pictures[0][0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no luck\\nat all')", "RuntimeError: no luck"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("os._exit(7)", "its process ended with status 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process ended with signal 9"),
    ],
)
def test_a_failing_artefact_is_reported_and_others_go_on(
    door: Door, body: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    door.registry.clear()
    door.add("bad", body=body)
    door.add("good")
    assert run(door, "--jobs", "1") == 1
    said = capsys.readouterr()
    assert message in said.out
    assert "Traceback" not in said.out + said.err
    assert (door.out / "good.json").exists()
    assert not (door.out / "bad.json").exists()
    assert message.partition(":")[0] in (door.out / "bad.error.txt").read_text()
    door.change("bad", body.replace("\n", "\\n"), "pass")
    assert run(door) == 0
    assert not (door.out / "bad.error.txt").exists()


def test_warnings_of_an_artefact_are_shown_in_one_line(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.add("a", body="import warnings; warnings.warn('take care')")
    assert run(door) == 0
    assert "UserWarning: take care (fake_a.py" in capsys.readouterr().out


def test_two_at_a_time(door: Door) -> None:
    """Each waits for the other: one after the other they would never end."""
    door.registry.clear()
    for mine, other in (("a", "b"), ("b", "a")):
        wait = f"""
    (HERE / "{mine}.here").touch()
    end = time.monotonic() + 60.0
    while not (HERE / "{other}.here").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
"""
        door.add(mine, body=wait)
    assert run(door, "--jobs", "2") == 0


def test_the_surroundings_of_a_worker_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    before = dict(os.environ)
    with jobs._surroundings(2):
        assert os.environ["OMP_NUM_THREADS"] == "3"  # the user's own wish
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
        assert os.environ["PYTHONHASHSEED"] == "0"
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert dict(os.environ) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
