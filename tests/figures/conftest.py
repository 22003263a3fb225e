"""The training code of made-up folders of runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CODE = "0123456789ab"  # name of most made-up folders


@pytest.fixture
def present_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the runs in folders named CODE be of this checkout's training code; the function names another folder."""

    def is_present(code: str) -> None:
        monkeypatch.setattr("figures.recorded.real.training_digest", lambda: code + "0" * 52)

    is_present(CODE)
    return is_present
