"""The tokenizer in a run's folder."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import tiny_models as tiny

pytest.importorskip("torch")
from llm.training.export import save_tokenizer


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").symlink_to("/dev/full")
    inputs: Any = SimpleNamespace(tokenizer=tiny.tokenizer())
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_tokenizer(inputs, tmp_path)
    assert caught.value.errno == errno.ENOSPC
