"""Lines that are appended: as many bytes as the line has, whole lines for readers, and damage with its line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from llm.common import files
from llm.common.files import append_line, read_json_lines


def test_lines_are_kept_in_order_also_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.jsonl"
    assert read_json_lines(path) == []
    for line in ('{"a": 1}', "[2]", '"é"'):
        append_line(path, line)
    assert path.read_bytes() == '{"a": 1}\n[2]\n"é"\n'.encode()
    assert read_json_lines(path) == [{"a": 1}, [2], "é"]


@pytest.mark.parametrize("whole", [b"", b"1\n", b"1\n" + b" " * 9000 + b"2\n"])
@pytest.mark.parametrize("half", [b"", b'{"a', b'{"a": "' + b"x" * 10_000])
def test_half_a_line_of_a_killed_process_is_not_read_and_removed_by_the_next(
    whole: bytes, half: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(whole + half)
    assert read_json_lines(path) == [1, 2][: whole.count(b"\n")]
    append_line(path, "3")
    assert path.read_bytes() == whole + b"3\n"


@pytest.mark.parametrize("damage", [b'{"a"', b"\xff"])
def test_a_whole_line_that_is_damaged_is_an_error_of_one_line_with_its_number(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"1\n" + damage + b"\n3\n")
    with pytest.raises(
        ValueError, match=r"x\.jsonl is damaged \(line 2: .*\); remove that line and run again$"
    ) as error:
        read_json_lines(path)
    assert "\n" not in str(error.value)


def test_a_line_is_on_disk_when_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "x.jsonl", list[bytes]()

    def sync(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.append(path.read_bytes())

    monkeypatch.setattr(files.os, "fsync", sync)
    append_line(path, "1")
    append_line(path, "2")
    assert synced == [b"1\n", b"1\n2\n"]
