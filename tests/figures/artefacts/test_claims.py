"""The artefact of the ledger: its columns, its checks and its drawing."""

from __future__ import annotations

import importlib.util
import math

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
    own = Check("cost", "it is cheap", "upper", 10.0, 3.0, True, False, "seen", (2.0, 4.0))
    monkeypatch.setattr(empirical_claims, "judge", lambda parameters: (own,) if parameters["grids"] else ())
    data = claims.compute(claims.parameters(Request()) | {"root": "nowhere"})
    columns = ["claim", "statement", "kind", "bound", "attained", "verdict", "how", "source", "low", "high"]
    columns += ["checked", "proof"]
    assert list(data.table) == columns
    assert list(data.table["verdict"]) == ["holds", "fails", "open", "seen"]
    assert list(data.table["how"]) == ["proof", "proof", "proof", "measured"]
    assert list(data.table["checked"]) == ["property", "property", "property", ""]
    assert list(data.table["proof"])[::3] == ["docs/theory.md#a2-x", ""]
    np.testing.assert_array_equal(data.table["high"], [np.nan, np.nan, np.nan, 4.0])
    assert data.checks[-1] is own
    theory = data.checks[:-1]
    assert [(c.holds, c.must_hold) for c in theory] == [(True, True), (True, True), (False, True), (False, False)]


def test_the_drawing_shows_every_claim(monkeypatch):
    monkeypatch.setattr(book, "CLAIMS", {"A.6": Claim("fine", lambda: [_record(1, 0)], "A2. x", at=list, short="a")})
    figure = claims.ARTEFACT.draw(claims.compute({}))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"A.6", "fine", "holds", "proof; property"} <= words


def test_without_torch_the_theory_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert claims.ARTEFACT.parameters(Request()) == {}
