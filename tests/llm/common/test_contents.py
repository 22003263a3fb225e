"""Digests of files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.common.contents import content_of, contents_of


def test_a_digest_is_of_the_content_and_the_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text("one", encoding="utf-8")
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")
    file = content_of(tmp_path / "a" / "x.csv")
    assert file == content_of(tmp_path / "b" / "x.csv")
    (tmp_path / "b" / "x.csv").write_text("two", encoding="utf-8")
    assert content_of(tmp_path / "a") != content_of(tmp_path / "b")
    assert content_of(tmp_path / "b" / "x.csv") != file
    (tmp_path / "a" / "x.csv").rename(tmp_path / "a" / "y.csv")
    assert content_of(tmp_path / "a" / "y.csv") == file
    assert content_of(tmp_path / "no") == ""


def test_only_names_of_files_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hub", "5", "file"):
        (tmp_path / name).write_text("content", encoding="utf-8")
    assert [contents_of(value) for value in ("", "hub", 5, 0.5, "nowhere")] == ["", "hub", 5, 0.5, "nowhere"]
    assert contents_of("file") == content_of(tmp_path / "file")
