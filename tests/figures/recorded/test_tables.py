"""Recorded numbers as Markdown: rounding, verdicts, and a row for every claim."""

from __future__ import annotations

from typing import Any

import pytest

from figures.recorded import table_text, tables


def check(name: str, attained: float, verdict: str) -> dict[str, Any]:
    """Return a recorded claim with an interval of half width 0.5."""
    return {"name": name, "attained": attained, "interval": [attained - 0.5, attained + 0.5], "verdict": verdict}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04996, "0.050"), (-0.0001, "0.000"), (1.234, "1.23"), (-12.34, "-12.3"), (123.4, "123"), (float("nan"), "nan")],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert table_text.number(value) == text


def test_a_claim_stands_in_its_row_and_in_the_column_of_its_place() -> None:
    claims = [
        check("distance/llama/maxright-mix", 1.0, "not seen"),
        check("distance/dpo-first/maxright-mix", -1.0, "seen"),
        check("new/sft-first/claim", 0.1, "mixed"),
    ]
    text = tables.claims({"reproduce": {"verdicts": {"claims": claims}}})
    assert text.startswith("Of 3 verdicts 1 seen, 1 mixed, 1 not seen.")
    assert text.splitlines()[-2:] == [
        "| ideal distance, MAXRIGHT less Mix | seen: -1.00 [-1.50, -0.50] |  | **not seen**: 1.00 [0.50, 1.50] |",
        "| new/claim |  | mixed: 0.10 [-0.40, 0.60] |  |",
    ]


def test_claims_that_survive_are_marked_and_counted() -> None:
    claims = [
        {**check("distance/dpo-first/maxright-mix", 1.0, "seen"), "p_value": 0.01},
        {**check("cost/dpo-first/mix", 1.0, "not seen"), "p_value": 0.02},
        {**check("cost/dpo-first/alright", 1.0, "seen"), "p_value": 0.04},
        {**check("cost/dpo-first/maxright", 1.0, "mixed"), "p_value": "nan"},  # as JSON has it
    ]
    together = {"claims": 9, "decided": 5, "survive": 4, "survive_together": 2}
    text = tables.claims({"reproduce": {"verdicts": {"claims": claims}, "correction": together}})
    first = text.splitlines()[0]
    assert "3 of the 3 that are not mixed survive" in first  # 3 · 0.01, 2 · 0.02, 0.04
    assert "Of all 9 claims of this run 5 are not mixed; 4 survive within their artefacts, 2 as one family." in first
    assert "| seen†: 1.00 [0.50, 1.50] |" in text
    assert "| **not seen†**: 1.00 [0.50, 1.50] |" in text
    old = tables.claims({"reproduce": {"verdicts": {"claims": claims}, "correction": None}})
    assert "survive" not in old


def test_a_setting_has_one_row_with_all_its_verdicts() -> None:
    checks = [check("forgetting/conflict-1", 2.0, "seen"), check("distance/conflict-1/a-b", 3.0, "mixed")]
    made = tables.by_setting("conflict", {"forgetting": "rise", "distance/a-b": "a less b"})
    assert made({"reproduce": {"verdicts": {"conflict": checks}}}).splitlines() == [
        "| setting | rise | a less b |",
        "| --- | --- | --- |",
        "| conflict 1 | seen: 2.00 [1.50, 2.50] | mixed: 3.00 [2.50, 3.50] |",
    ]


def test_minutes_are_shown_from_one_on() -> None:
    assert [table_text.minutes(s) for s in (59, 60, 125.9)] == ["59 s", "1 min 0 s", "2 min 5 s"]
