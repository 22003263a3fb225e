"""The ledger: verdict and evidence of an entry, and the order of the entries."""

from __future__ import annotations

import math

import pytest

from toyopt import ledger as book
from toyopt.claims import Claim
from toyopt.ledger import Entry, ledger
from toyopt.theorems import Record


def _record(bound: float, attained: float, kind: str = "upper", evidence: str = "property", **rest) -> Record:
    return Record("A.6", "a statement", kind, bound, attained, "a source", evidence=evidence, **rest)  # type: ignore[arg-type]


def test_one_failing_record_fails_its_claim_and_an_open_one_opens_it():
    good, bad, unknown = _record(1, 0), _record(0, 1), _record(1, math.nan)
    assert Entry("A.6", "", (good, good), 0.0).verdict == "holds"
    assert Entry("A.6", "", (good, unknown), 0.0).verdict == "open"
    assert Entry("A.6", "", (good, unknown, bad), 0.0).verdict == "fails"


def test_the_strongest_evidence_counts():
    kinds = [
        _record(1, 0, evidence=kind) for kind in ("statistical", "property", "enumerated", "certified", "symbolic")
    ]
    for n in range(1, 6):
        assert Entry("A.6", "", tuple(kinds[:n]), 0.0).evidence == kinds[n - 1].evidence
    # Of a statement for all problems a proof of one is no evidence, and the proof on the page is.
    assert Entry("A.6", "", tuple(kinds), 0.0, "docs/theory.md#a").evidence == "proof"
    assert Entry("A.6", "", tuple(kinds), 0.0, "docs/theory.md#a").checked == "symbolic"
    assert Entry("A.6", "", tuple(kinds[:4]), 0.0, "docs/theory.md#a", whole=True).evidence == "certified"


def test_a_conjecture_has_no_proof_and_is_open():
    agrees = _record(1, 1, "equal", "numerical")
    entry = Entry("A.6", "", (agrees,), 0.0, "docs/theory.md#a")
    assert (entry.evidence, entry.verdict) == ("numerical", "open")
    assert Entry("A.6", "", (agrees, _record(1, 2, "equal", "numerical")), 0.0).verdict == "fails"


def test_an_unknown_claim_is_refused_before_anything_is_judged():
    with pytest.raises(ValueError, match=r"claims: one of A\.1.*got 'B\.1'"):
        next(ledger(["B.1"]))


def test_the_ledger_is_in_order_and_names_unknown_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (Record("x", name, "upper", 1.0, 0.0, "") for name in ("one", "two"))
    monkeypatch.setattr(
        book,
        "CLAIMS",
        {
            "A": Claim("a", lambda: iter([one, two]), "P. one", at=list, short="a"),
            "B": Claim("b", lambda: [two], "", at=list, short="b", whole=True),
        },
    )
    times = iter([10.0, 12.5, 20.0, 21.0, 30.0, 30.5])
    monkeypatch.setattr("toyopt.ledger.time.perf_counter", lambda: next(times))
    assert list(ledger()) == [
        Entry("A", "a", (one, two), 2.5, "docs/theory.md#p-one"),
        Entry("B", "b", (two,), 1.0, "docs/theory.md#", whole=True),
    ]
    assert [e.claim for e in ledger(iter(["B"]))] == ["B"]
    with pytest.raises(ValueError, match=r"^claims: one of A, B is needed, got 'C'$"):
        next(ledger(["A", "C"]))
    assert Entry("A", "a", (one, two), 0.0).shown is one
