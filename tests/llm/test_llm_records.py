"""Files that are there whole or not at all, and a record of steps that survives being cut anywhere."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

pytest.importorskip("safetensors")

from safetensors import SafetensorError

from llm.common.files import atomically, read_json, sweep, write_json
from llm.training.metrics import Metrics, memory_mb, read_metrics


def test_a_file_and_a_folder_appear_only_when_they_are_complete(tmp_path: Path) -> None:
    with atomically(tmp_path / "deep" / "file") as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert not (tmp_path / "deep" / "file").exists()
    assert (tmp_path / "deep" / "file").read_text(encoding="utf-8") == "new"
    for content in ("first", "second"):
        with atomically(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content, encoding="utf-8")
        assert [p.name for p in (tmp_path / "folder").iterdir()] == [content]
    assert {p.name for p in tmp_path.iterdir()} == {"deep", "folder"}


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"^halfway$"), atomically(tmp_path / "file") as temporary:  # noqa: PT012
        temporary.write_text("new", encoding="utf-8")
        raise RuntimeError("halfway")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_an_os_error_whoever_notices_it(tmp_path: Path) -> None:
    full = SafetensorError('Error while serializing: I/O error: No space left on device (os error 28) at path "x"')
    with pytest.raises(OSError, match="No space left on device") as caught, atomically(tmp_path / "file"):
        raise full
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(SafetensorError, match=r"^else$"), atomically(tmp_path / "file"):
        raise SafetensorError("else")


def test_sweep_takes_what_was_never_finished_and_nothing_else(tmp_path: Path) -> None:
    ordinary = atomically(tmp_path / "folder")
    place = ordinary.__enter__()  # and the process is killed
    place.mkdir()
    (place / "part").write_text("part", encoding="utf-8")
    (tmp_path / "kept").mkdir()
    (tmp_path / ".hidden").write_text("", encoding="utf-8")
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"kept", ".hidden"}


def test_json_is_read_as_written_or_named_damaged(tmp_path: Path) -> None:
    values = {"a": [0.1, 1e-300, 2**200], "b": None, "c": "λ"}
    write_json(tmp_path / "x.json", values)
    assert read_json(tmp_path / "x.json") == values
    for damage in (b'{"a": [0.1', b"", b"\xff\xfe"):
        (tmp_path / "x.json").write_bytes(damage)
        with pytest.raises(ValueError, match=r"x\.json is damaged \(.*\); remove it and run again$") as caught:
            read_json(tmp_path / "x.json")
        assert "\n" not in str(caught.value)


def test_metrics_of_a_killed_run_are_cut_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 0, "evaluation": "held_out"},
        {"step": 1, "f": 0.1},
        {"step": 2, "f": 1 / 3},
        {"step": 2, "evaluation": "train"},
        {"step": 3, "f": 5.0},
    ]
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    for end in range(len(whole) + 1):  # a kill may come after any byte
        path.write_text(whole[:end], encoding="utf-8")
        complete = whole[:end].count("\n") if end == 0 or whole[end - 1] == "\n" else len(whole[:end].splitlines()) - 1
        assert read_metrics(tmp_path)[:complete] == lines[:complete]
        metrics = Metrics(path, upto=2)
        assert metrics.evaluated <= {(0, "held_out"), (2, "train")}
        metrics.write({"step": 9})
        kept = [line for line in read_metrics(tmp_path) if line["step"] < 9]
        assert kept[: min(complete, 4)] == lines[: min(complete, 4)]
        assert all(line["step"] <= 2 for line in kept)
        assert read_metrics(tmp_path)[-1] == {"step": 9}
    assert metrics.evaluated == {(0, "held_out"), (2, "train")}


def test_metrics_of_another_process_writes_nothing(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", upto=0, active=False)
    metrics.write({"step": 1, "evaluation": "x"})
    assert list(tmp_path.iterdir()) == []
    assert metrics.evaluated == {(1, "x")}


def test_memory_is_that_of_a_process_with_libraries() -> None:
    pytest.importorskip("torch")
    assert 10.0 < memory_mb() < 1e6
