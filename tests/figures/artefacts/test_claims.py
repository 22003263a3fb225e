"""The artefact of the ledger: its columns, its checks and its drawing."""

from __future__ import annotations

import importlib.util
import math
import os

import numpy as np
import pytest

from figures.analysis import empirical_claims
from figures.artefact import Check, Request
from figures.artefacts import claims
from toyopt import ledger as book
from toyopt.claims import Claim
from toyopt.theorems import Record


def _record(bound: float, attained: float, kind: str = "upper", evidence: str = "property", **rest) -> Record:
    return Record("A.6", "a statement", kind, bound, attained, "a source", evidence=evidence, **rest)  # type: ignore[arg-type]


def test_the_artefact_has_the_columns_and_fails_with_its_claims(monkeypatch):
    few = {
        "A.6": Claim("fine", lambda: [_record(1, 0)], "A2. x", at=list, short="a"),
        "A.7": Claim("broken", lambda: [_record(1, 0), _record(0, 1)], "", at=list, short="b"),
        "E": Claim("unknown", lambda: [_record(1, math.nan)], "", at=list, short="c"),
    }
    monkeypatch.setattr(book, "CLAIMS", few)
    own = Check("cost", "it is cheap", "upper", 10.0, 3.0, True, False, "seen", (2.0, 4.0), p_value=0.02)
    other = Check("far", "it is near", "upper", 1.0, 3.0, False, False, "not seen", (2.0, 4.0), p_value=0.04)
    third = Check("k", "it moves", "upper", 1.0, 3.0, False, False, "mixed", (0.0, 6.0), p_value=0.5)
    monkeypatch.setattr(
        empirical_claims, "judge", lambda parameters: (own, other, third) if parameters["grids"] else ()
    )
    data = claims.compute(claims.parameters(Request()) | {"root": "nowhere"})
    columns = ["claim", "statement", "kind", "bound", "attained", "verdict", "how", "source", "low", "high"]
    columns += ["checked", "proof", "p_value", "p_holm", "survives"]
    assert list(data.table) == columns
    assert list(data.table["verdict"]) == ["holds", "fails", "open", "seen", "not seen", "mixed"]
    assert list(data.table["how"]) == ["proof"] * 3 + ["measured"] * 3
    assert list(data.table["checked"]) == ["property"] * 3 + [""] * 3
    assert list(data.table["proof"])[:4:3] == ["docs/theory.md#a2-x", ""]
    np.testing.assert_array_equal(data.table["high"], [np.nan, np.nan, np.nan, 4.0, 4.0, 6.0])
    assert data.checks[-3:] == (own, other, third)
    theory = data.checks[:-3]
    # Holm: 3 · 0.02, 2 · 0.04, 0.5: none is at most 0.05.
    np.testing.assert_allclose(data.table["p_holm"], [np.nan, np.nan, np.nan, 0.06, 0.08, 0.5])
    assert list(data.table["survives"]) == ["", "", "", "no", "no", ""]
    assert [(c.holds, c.must_hold) for c in theory] == [(True, True), (True, True), (False, True), (False, False)]


def test_the_drawing_shows_every_claim(monkeypatch):
    monkeypatch.setattr(book, "CLAIMS", {"A.6": Claim("fine", lambda: [_record(1, 0)], "A2. x", at=list, short="a")})
    figure = claims.ARTEFACT.draw(claims.compute({}))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"A.6", "fine", "holds", "proof; property"} <= words


def test_a_verdict_that_survives_is_marked_in_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "CLAIMS", {})
    sides = [("a", 0.01), ("b", 0.04), ("c", math.nan)]
    judged = tuple(Check(n, n, "upper", 1.0, 0.0, True, False, "seen", (0.0, 0.0), p_value=p) for n, p in sides)
    monkeypatch.setattr(empirical_claims, "judge", lambda _: judged)
    data = claims.compute({"grids": {}})
    assert list(data.table["survives"]) == ["yes", "yes", "no"]  # 2 · 0.01 and 0.04; the third was not tested
    words = [text.get_text() for text in claims.ARTEFACT.draw(data).axes[0].texts]
    assert [word for word in words if word.startswith("seen")] == ["seen†", "seen†", "seen"]


def test_without_torch_the_theory_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert claims.ARTEFACT.parameters(Request()) == {}


@pytest.mark.parametrize("available", [1, 2])
def test_algebra_in_a_child_gives_the_same_entries_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    """The numbers name the process that evaluated them: that of algebra is another one if there are two cores."""

    def claim(link: str) -> Claim:
        return Claim("fine", lambda: [_record(os.getpid(), 0)], link, at=list, short=link)

    monkeypatch.setattr(book, "CLAIMS", {"A.1": claim("a"), "A.2": claim("b"), "A.6": claim("c")})
    monkeypatch.setattr(claims, "cores", lambda: available)
    entries = claims._entries()
    assert [entry.claim for entry in entries] == ["A.1", "A.2", "A.6"]
    numbers = [entry.records[0].bound for entry in entries]
    assert numbers[2] == os.getpid()
    assert (numbers[0] == os.getpid()) is (available == 1)
    assert numbers[0] == numbers[1]


def test_an_error_in_the_child_is_raised_by_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Record]:
        raise ZeroDivisionError("in the derivation")

    fine = Claim("fine", lambda: [_record(1, 0)], "x", at=list, short="a")
    monkeypatch.setattr(book, "CLAIMS", {"A.1": Claim("no", broken, "y", at=list, short="b"), "A.6": fine})
    monkeypatch.setattr(claims, "cores", lambda: 2)
    with pytest.raises(ZeroDivisionError, match="in the derivation"):
        claims._entries()
