"""The answers of finished runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.run_folders import SMOKE

from figures.analysis import judged_answers
from figures.artefact import Request
from figures.artefacts import samples


def test_at_the_papers_scale_answers_are_of_the_embedded_world() -> None:
    assert judged_answers.grids(Request(scale="paper"), ["mix"]) == judged_answers.grids(Request(), ["mix"])


def test_without_answers_there_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has its answers; make them first"):
        judged_answers.answers(samples.parameters(SMOKE) | {"root": str(tmp_path)})
