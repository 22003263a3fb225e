"""The file of verdicts: other content and other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.judging.verdicts import open_verdicts


@pytest.mark.parametrize("text", ['{"prompt": "a"}\n', "a table\n", '{"key": "a"}\n{"key": \n', "notes", '["key"]\n'])
def test_another_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"^out: .*mine\.jsonl.* no verdict"), open_verdicts(path):
        pass
    assert path.read_text(encoding="utf-8") == text


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    with open_verdicts(path), pytest.raises(ValueError, match=r"^out: another process is writing"), open_verdicts(path):
        pass
