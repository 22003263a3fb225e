"""The claim P: open without its solver; at one setting, the three gaps of MAXRIGHT."""

from __future__ import annotations

import sys

import pytest

from toyopt.claims import CLAIMS
from toyopt.ledger import ledger


def test_without_the_solver_the_claim_is_open_and_the_remedy_is_its_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clarabel", None)
    (entry,) = ledger(["P"])
    assert (entry.verdict, len(entry.records)) == ("open", 1)
    assert entry.shown.note.endswith("pip install -e '.[pep]' installs it")


def test_at_one_setting_the_three_gaps_are_compared() -> None:
    """λ = 1/2, T = 2, α = 1/√2: the average is (1/(2αT) + α/2)/2 by M2, and the bounds of the three hold."""
    records = CLAIMS["P"].at_setting(lam="1/2", T=2)
    assert [record.verdict for record in records] == ["holds"] * 4
    assert records[2].bound == pytest.approx(0.5 * (1 / (4 * 0.5**0.5) + 0.5**0.5 / 2))


def test_a_weight_outside_the_interval_is_named() -> None:
    with pytest.raises(ValueError, match=r"^lam: must be in \(0, 1\), got 1"):
        CLAIMS["P"].at_setting(lam=1)
