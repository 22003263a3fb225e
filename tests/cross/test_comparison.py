"""docs/comparison.md copies its measurements from benchmarks/README.md, digit for digit."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURED = re.compile(r"\d[\d.]*(?:x| MiB| GiB| ms| s\b)|-?\d+\.\d+ ± \d+\.\d+")


def test_every_measurement_is_a_recorded_one() -> None:
    page = set(MEASURED.findall((ROOT / "docs/comparison.md").read_text(encoding="utf-8")))
    recorded = set(MEASURED.findall((ROOT / "benchmarks/README.md").read_text(encoding="utf-8")))
    assert len(page) > 10
    assert page <= recorded


def test_another_digit_is_found() -> None:
    assert MEASURED.findall("| 10.0x | 267 MiB | -0.1 ± 0.2 |") == ["10.0x", "267 MiB", "-0.1 ± 0.2"]
    assert not {"10.1x"} <= set(MEASURED.findall("10.0x"))
