"""Files of options: TOML and YAML, in the encodings that editors write."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from support.wrong import fails

from llm.common.option_file import read

TEXTS = {"my.toml": 'steps = 2\nout = "größer"\n', "my.yaml": "steps: 2\nout: größer\n"}


@pytest.mark.parametrize("name", TEXTS)
def test_byte_order_marks_and_windows_line_ends_change_nothing(tmp_path: Path, name: str) -> None:
    text = TEXTS[name]
    for content in (text, text.replace("\n", "\r\n")):
        for mark in (b"", codecs.BOM_UTF8):
            (tmp_path / name).write_bytes(mark + content.encode())
            assert read(tmp_path / name) == {"steps": 2, "out": "größer"}


@pytest.mark.parametrize("name", TEXTS)
def test_other_encodings_are_named_with_the_file(tmp_path: Path, name: str) -> None:
    for encoding, byte in (("utf-16", "byte 0"), ("latin-1", f"byte {TEXTS[name].index('ö')}")):
        (tmp_path / name).write_bytes(TEXTS[name].encode(encoding))
        begin = f"config: {tmp_path / name} is not UTF-8, at {byte}"
        fails(lambda: read(tmp_path / name), ValueError, begin, "save it as UTF-8")
