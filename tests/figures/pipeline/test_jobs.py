"""Processes of artefacts: what must not depend on them, and what one that fails costs the others."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.pipeline_fakes import Cli

from figures.cli import main
from figures.pipeline import jobs, paths

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # two edits in one second would share their bytecode
    monkeypatch.setattr(jobs, "MORE_LIBRARIES", ())  # no fake needs them, and their imports take seconds
    found = Cli(tmp_path)
    found.add("a")
    return found


def run(cli: Cli, *arguments: str) -> int:
    return main([*arguments, "--out", str(cli.out)], cli.registry)


def test_pdf_and_png_bytes_repeat(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for seed in ("1", "2"):  # matplotlib names a PDF's fonts by hash(); without care the bytes follow this
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        cli.out = cli.folder / f"out{seed}"
        run(cli)
        pictures.append([(cli.out / f"a.{suffix}").read_bytes() for suffix in ("pdf", "png")])
    assert pictures[0] == pictures[1]
    assert b"CreationDate" not in pictures[0][0]


FAILURES = {
    "error": ("raise RuntimeError('no luck\\nat all')", "RuntimeError: no luck"),
    "leaves": ("raise SystemExit(0)", "SystemExit: 0"),
    "exits": ("os._exit(7)", "its process ended with status 7"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "its process ended with signal 9"),
}
WAIT = """
    (HERE / "{mine}.here").touch()
    end = time.monotonic() + 60.0
    while not (HERE / "{other}.here").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
"""


def test_artefacts_fail_warn_and_wait_for_one_another_in_processes_of_their_own(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.registry.clear()
    for name, (body, _) in FAILURES.items():
        cli.add(name, body=body)
    cli.add("warns", body="import warnings; warnings.warn('take care')")
    for mine, other in (("one", "two"), ("two", "one")):  # one after the other they would never end
        cli.add(mine, body=WAIT.format(mine=mine, other=other))
    assert run(cli, "--jobs", "2") == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert all((cli.out / f"{name}.json").exists() for name in ("warns", "one", "two"))
    assert "UserWarning: take care (fake_warns.py" in said.out
    failed = {line.split()[0]: line for line in said.out.splitlines() if " failed: " in line}
    assert failed.keys() == FAILURES.keys()
    for name, (body, message) in FAILURES.items():
        assert message in failed[name]
        assert not (cli.out / f"{name}.json").exists()
        assert message.partition(":")[0] in (cli.out / f"{name}.error.txt").read_text()
        cli.change(name, body, "pass")
    assert run(cli) == 0
    assert not list(cli.out.glob("*.error.txt"))


def test_the_environment_of_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    values = jobs.environment(2)
    assert values["OMP_NUM_THREADS"] == "3"  # the user's own wish
    assert values["OPENBLAS_NUM_THREADS"] == "1"
    assert values["PYTHONHASHSEED"] == "0"
    assert str(jobs.ROOT) in values["PYTHONPATH"].split(os.pathsep)


def test_the_digest_of_the_training_code_is_computed_before_the_first_fork_if_an_artefact_reads_runs() -> None:
    def preloaded(*grids: dict[str, Any]) -> tuple[str, ...]:
        return jobs.fork_server([cast(Any, SimpleNamespace(grids=own)) for own in grids])._preload

    module, _, function = jobs.TRAINING_DIGEST.partition(":")
    assert getattr(importlib.import_module(module), function) is paths.training_digest
    assert preloaded({}, {"all": {}}) == (*jobs.LIBRARIES, jobs.TRAINING_DIGEST)
    assert preloaded({}, {}) == jobs.LIBRARIES
    assert preloaded({}, {}, {}) == (*jobs.LIBRARIES, *jobs.MORE_LIBRARIES)


def test_events_are_read_when_their_line_is_complete(tmp_path: Path) -> None:
    reports = jobs.Reports("a", tmp_path / "events")
    assert list(reports.new()) == []
    jobs.write_event(reports.path, "state", "computing")
    with reports.path.open("a") as file:
        file.write('{"kind": "done", ')
    assert [(e.kind, e.name, e.value) for e in reports.new()] == [("state", "a", "computing")]
    with reports.path.open("a") as file:
        file.write('"value": 3, "trace": ""}\n')
    assert [(e.kind, e.value) for e in reports.new()] == [("done", 3)]
    assert reports.last is not None
    assert reports.last.value == 3
    assert list(reports.new()) == []
