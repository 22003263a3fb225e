"""No verdict of the ledger survives a false statement: each side of each record is moved, each tolerance widened."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from toyopt import symbolic
from toyopt import theorems as th
from toyopt.claims import CLAIMS, paper
from toyopt.ledger import ledger
from toyopt.record import Record
from toyopt.symbolic import Derivation

AMOUNT = 1e-3  # by which a side is moved, in units of the sides: tolerances are below 1e-6 of them

pytestmark = pytest.mark.slow


# The strongest evidence among the records of each claim; of all others, many problems.
STRONGEST = {
    "S-wave": "numerical",
    **dict.fromkeys(("A.1", "A.2"), "symbolic"),
    **dict.fromkeys(("A.3", "3.3", "S", "S-steps", "S-replay", "S-speed", "S-rest", "S-lora", "P"), "certified"),
    **dict.fromkeys(("A.7", "4.1", "A", "E", "A-price"), "enumerated"),
}


def moved(record: Record, by: float) -> Record:
    """The record with its attained value, and the interval of it, moved by a number."""
    ends = record.interval
    interval = None if ends is None else (ends[0] + by, ends[1] + by)
    return replace(record, attained=record.attained + by, interval=interval)


def falsified(record: Record) -> Iterator[tuple[str, Record]]:
    """False statements of the record's shape: one side moved past the other, by a part of the sides' size."""
    size = max(abs(record.bound), abs(record.attained))
    amount = max(AMOUNT * size, 10.0 * record.tolerance) or AMOUNT
    low, high = record.interval or (record.attained, record.attained)
    directions = {"upper": (1.0,), "lower": (-1.0,), "equal": (1.0, -1.0)}[record.kind]
    for sign in directions:
        # The end that is best for the claim goes past the bound.
        rest = record.bound - low if sign > 0 else high - record.bound
        by = sign * (max(rest, 0.0) + amount)
        yield "attained", moved(record, by)
        yield "bound", replace(record, bound=record.bound - by)
    for name in ("bound", "attained"):
        yield f"{name} is NaN", replace(record, **{name: math.nan})


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_holds_and_nothing_false_beside_it(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records of the algebra are those of given residuals, as in tests/toyopt/test_symbolic.py."""
    done = [Derivation(str(number), "", "", "", ("case",), 1, (), 0.0) for number in range(22, 34)]
    algebra = symbolic.records(done)
    monkeypatch.setattr(paper, "_derivations", lambda: algebra)
    theorem = th.thm_41
    monkeypatch.setattr(th, "thm_41", lambda *a, T, **k: theorem(*a, T=min(T, 500), **k))  # 10,000 take 9 s
    (entry,) = ledger([claim])
    assert {record.claim for record in entry.records} == {claim}
    assert (entry.checked, entry.seconds > 0) == (STRONGEST.get(claim, "property"), True)
    assert entry.evidence == (entry.checked if claim in ("A.1", "A.2", "3.3", "S-wave") else "proof")
    # The row alone agrees with the verdict, without the tolerance, which the CSV does not have.
    assert entry.shown.slack >= -1e-8 * abs(entry.shown.bound)
    for record in entry.records:
        size = max(abs(record.bound), abs(record.attained), record.scale) or 1.0
        # A conjecture is open, however well the numbers agree.
        assert record.verdict == ("open" if record.evidence == "numerical" else "holds"), str(record)
        assert f"tolerance {record.tolerance:.3g} (" in str(record)
        assert record.tolerance <= 1e-6 * size, str(record)
        for name, wrong in falsified(record):
            assert wrong.verdict == ("open" if "NaN" in name else "fails"), (name, str(wrong), str(record))
            for tolerance in (1e-3 * size, 10.0 * size, 1e3 * size + abs(record.slack), math.inf):
                assert replace(wrong, tolerance=tolerance).verdict in ("fails", "open"), (name, str(wrong))
        # Neither does a true statement hold within a tolerance, or of an interval, that could hold a false one.
        wide = replace(record, tolerance=1.01 * abs(record.slack) + 2e-6 * size)
        past = 0.01 * size + abs(record.slack)
        beyond = replace(record, interval=(record.attained - past, record.attained + past))
        assert (wide.verdict, beyond.verdict) == ("open", "open"), str(record)
