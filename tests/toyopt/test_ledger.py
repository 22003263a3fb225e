"""The ledger: every claim is judged, and its verdict and evidence follow from its records."""

from __future__ import annotations

import math

import numpy as np
import pytest

from figures.analysis import empirical_claims
from figures.artefact import Check, Request
from figures.artefacts import claims
from toyopt import ledger as book
from toyopt.ledger import CLAIMS, Entry, ledger, of_proof, tightest
from toyopt.theorems import Record

NAMES = [
    *("A.1", "A.2", "A.3", "A.5", "A.6", "A.7", "3.3", "4.1", "4.2", "4.3", "A.4"),
    *("S", "M", "M-last", "M-stale", "M-opt", "A", "E"),
]
QUICK = ("A.3", "A.5", "A.6", "3.3", "4.2", "A.4", "E")


def _record(bound: float, attained: float, kind: str = "upper", evidence: str = "property", **rest) -> Record:
    return Record("A.6", "a statement", kind, bound, attained, "a source", evidence=evidence, **rest)  # type: ignore[arg-type]


def test_the_claims_are_those_of_the_paper_and_beyond_in_order():
    assert list(CLAIMS) == NAMES


@pytest.fixture(scope="module")
def quick() -> dict[str, Entry]:
    return {entry.claim: entry for entry in ledger(QUICK)}


def test_claims_hold_with_the_evidence_that_is_claimed(quick):
    evidence = {claim: entry.evidence for claim, entry in quick.items()}
    assert evidence == dict(
        zip(
            QUICK, ("certified", "property", "property", "certified", "property", "property", "enumerated"), strict=True
        )
    )
    for entry in quick.values():
        assert entry.verdict == "holds", [str(r) for r in entry.records if r.verdict != "holds"]
        assert {record.claim for record in entry.records} == {entry.claim}
        assert entry.seconds > 0


def test_what_is_shown_speaks_for_itself(quick):
    """Bound and attained of the row alone agree with the verdict, without the tolerance that the CSV does not have."""
    for entry in quick.values():
        shown = entry.shown
        if shown.kind == "equal":
            assert shown.attained == pytest.approx(shown.bound, rel=1e-8)
        else:
            assert shown.slack >= 0


def test_one_failing_record_fails_its_claim_and_an_open_one_opens_it():
    good, bad, unknown = _record(1, 0), _record(0, 1), _record(1, math.nan)
    assert Entry("A.6", "", (good, good), 0.0).verdict == "holds"
    assert Entry("A.6", "", (good, unknown), 0.0).verdict == "open"
    assert Entry("A.6", "", (good, unknown, bad), 0.0).verdict == "fails"


def test_the_strongest_evidence_counts():
    kinds = [_record(1, 0, evidence=kind) for kind in ("statistical", "property", "enumerated", "certified", "symbolic")]
    for n in range(1, 6):
        assert Entry("A.6", "", tuple(kinds[:n]), 0.0).evidence == kinds[n - 1].evidence


def test_tightest_prefers_trouble_then_small_slack_that_rounding_does_not_decide():
    wide, close, rounding = _record(2, 1), _record(2, 1.9), _record(2, 2 - 1e-15, tolerance=1e-12)
    assert tightest([wide, close, rounding]) is close
    assert tightest([rounding]) is rounding
    bad, unknown = _record(1, 2), _record(1, math.nan)
    assert tightest([close, unknown, wide]) is unknown
    assert tightest([close, unknown, bad]) is bad


def test_a_certificate_that_is_not_proven_is_open_and_says_where_it_stopped():
    from toyopt.certify import sequential_gap

    proven, not_proven = sequential_gap("1/2", 1), sequential_gap("1/2", 1, T0=3)
    assert of_proof("S", proven).verdict == "holds"
    record = of_proof("S", not_proven)
    assert record.verdict == "open"
    assert not_proven.stopped_at in record.note


def test_an_unknown_claim_is_refused_before_anything_is_judged():
    with pytest.raises(ValueError, match=r"claims: one of A\.1.*got 'B\.1'"):
        next(ledger(["B.1"]))


def test_the_artefact_has_the_columns_and_fails_with_its_claims(monkeypatch):
    few = {
        "A.6": ("fine", lambda: [_record(1, 0)]),
        "A.7": ("broken", lambda: [_record(1, 0), _record(0, 1)]),
        "E": ("unknown", lambda: [_record(1, math.nan)]),
    }
    monkeypatch.setattr(book, "CLAIMS", few)
    own = Check("cost", "it is cheap", "upper", 10.0, 3.0, True, False, "seen", (2.0, 4.0))
    monkeypatch.setattr(empirical_claims, "judge", lambda parameters: (own,) if parameters["grids"] else ())
    data = claims.compute(claims.parameters(Request()) | {"root": "nowhere"})
    columns = ["claim", "statement", "kind", "bound", "attained", "verdict", "how", "source", "low", "high"]
    assert list(data.table) == columns
    assert list(data.table["verdict"]) == ["holds", "fails", "open", "seen"]
    np.testing.assert_array_equal(data.table["high"], [np.nan, np.nan, np.nan, 4.0])
    assert data.checks[-1] is own
    theory = data.checks[:-1]
    assert [(c.holds, c.must_hold) for c in theory] == [(True, True), (True, True), (False, True), (False, False)]


def test_the_drawing_shows_every_claim(monkeypatch):
    monkeypatch.setattr(book, "CLAIMS", {"A.6": ("fine", lambda: [_record(1, 0)])})
    figure = claims.draw(claims.compute({}))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"A.6", "fine", "holds", "property"} <= words
