"""The tables in README and docs are those that docs/recorded gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from figures.recorded import pages
from figures.recorded.tables import BLOCKS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the pages and of the recorded results."""
    shutil.copytree(ROOT / "docs" / "recorded", tmp_path / "docs" / "recorded")
    shutil.copytree(ROOT / "results", tmp_path / "results")
    for name in pages.PAGES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_pages_show_the_recorded_results() -> None:
    assert pages.stale_pages() == [], "run `make docs`"


def test_every_table_has_a_place_and_every_place_a_table() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in pages.PAGES]
    places = [m["name"] for text in texts for m in pages.MARK.finditer(text)]
    assert set(places) == set(BLOCKS)
    assert sum(text.count("<!-- recorded:") for text in texts) == len(places)  # every place is closed


def test_a_number_typed_by_hand_is_found_and_written_anew(copy: Path) -> None:
    page = copy / "docs/experiments.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("mixed: ", "seen: ", 1), encoding="utf-8")
    assert pages.stale_pages(copy) == ["docs/experiments.md"]
    assert pages.write_pages(copy) == ["docs/experiments.md"]
    assert page.read_text(encoding="utf-8") == text
    assert pages.write_pages(copy) == []


def test_another_recorded_number_makes_the_pages_stale(copy: Path) -> None:
    path = copy / "docs/recorded/reproduce.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["baselines"][0]["ideal_distance"] += 1.0
    path.write_text(json.dumps(record), encoding="utf-8")
    assert pages.stale_pages(copy) == ["README.md", "docs/experiments.md"]


def test_an_unknown_place_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        pages.rendered("<!-- recorded: nothing -->\n<!-- end -->", {})


@pytest.mark.parametrize("name", ["reproduce", "embedded"])
def test_a_record_names_machine_versions_commit_and_date(name: str) -> None:
    record = pages.read_records()[name]
    assert record["machine"]["processor"]
    assert record["machine"]["cores"] >= 1
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert len(record["git"]["commit"]) == 40
    assert len(record["date"]) == len("2026-01-01")
