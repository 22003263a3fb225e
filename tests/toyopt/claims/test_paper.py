"""The claims: the calls that their evidence rests on, and the links to their proofs."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toyopt.certify import sequential_gap
from toyopt.claims import CLAIMS, PAGE, Claim, of_proof, tightest
from toyopt.claims.problems import points, problems
from toyopt.examples import Figure2, table2
from toyopt.theorems import Record

ROOT = Path(__file__).parents[3]

NAMES = [
    *("A.1", "A.2", "A.3", "A.5", "A.6", "A.7", "3.3", "4.1", "4.2", "4.3", "A.4"),
    *(
        "S",
        "S-steps",
        "S-replay",
        "S-angle",
        "S-ball",
        "S-adam",
        "S-speed",
        "S-rest",
        "S-wave",
        "S-lora",
        "M",
        "M-last",
        "M-stale",
        "M-opt",
        "M-noise",
        "M-cost",
        "M-unequal",
        "M-log",
        "A",
        "E",
        "A-price",
        "A-even",
        "P",
    ),
]


def _record(bound: float, attained: float, kind: str = "upper", evidence: str = "property", **rest) -> Record:
    return Record("A.6", "a statement", kind, bound, attained, "a source", evidence=evidence, **rest)  # type: ignore[arg-type]


def test_the_claims_are_those_of_the_paper_and_beyond_in_order():
    assert list(CLAIMS) == NAMES


def test_tightest_prefers_trouble_then_small_slack_that_rounding_does_not_decide():
    wide, close, rounding = _record(2, 1), _record(2, 1.9), _record(2, 2 - 1e-15, tolerance=1e-12)
    assert tightest([wide, close, rounding]) is close
    assert tightest([rounding]) is rounding
    bad, unknown = _record(1, 2), _record(1, math.nan)
    assert tightest([close, unknown, wide]) is unknown
    assert tightest([close, unknown, bad]) is bad


def test_an_unproven_certificate_is_open_and_names_where_it_stopped():
    from toyopt.certify import sequential_gap

    proven, not_proven = sequential_gap("1/2", 1), sequential_gap("1/2", 1, T0=3)
    assert of_proof("S", proven).verdict == "holds"
    record = of_proof("S", not_proven)
    assert record.verdict == "open"
    assert not_proven.stopped_at in record.note


def test_the_problems_are_of_several_sizes_and_fixed() -> None:
    drawn = problems()
    assert len(drawn) == 12
    assert {p.dim for p in drawn} == {1, 2, 3, 4}
    dpo_sizes, sft_sizes = ({p.objectives[i].size for p in drawn} for i in (0, 1))
    assert (dpo_sizes, sft_sizes) == ({1, 2, 3, 4, 5}, {1, 2, 3})
    assert {int(p.objectives[1].counts[0]) + 1 for p in drawn} == {2, 3, 4}
    for p, again in zip(drawn, problems(), strict=True):
        np.testing.assert_array_equal(p.objectives[0].rows, again.objectives[0].rows)
    assert len({float(p.objectives[0].rows[0, 0]) for p in drawn}) == 12
    assert [p.dim for p in problems(3)] == [1, 2, 3]


def test_the_points_are_near_and_far() -> None:
    sizes = np.linalg.norm(points(Figure2().problem()), axis=1)
    assert sizes.shape == (40,)
    assert sizes.min() < 0.5
    assert sizes.max() > 300.0
    assert ((sizes > 1.0) & (sizes < 10.0)).any()
    assert points(table2(), 7).shape == (7, 1)


def test_a_proof_is_one_of_one() -> None:
    proven, stopped = sequential_gap("1/2", 1), sequential_gap("1/2", 1, T0=3)
    r = of_proof("S", proven)
    assert (r.claim, r.kind, r.source) == ("S", "equal", proven.source)
    assert r.statement == f"{proven.statement}; where {proven.assumptions[0]}"
    assert (r.bound, r.attained, r.evidence, dict(r.terms)) == (1.0, 1.0, "certified", {"proofs": 1.0})
    assert math.isnan(of_proof("S", stopped).attained)


def test_slack_counts_in_units_of_the_bound() -> None:
    def record(bound: float, attained: float, kind: Any = "upper", **more: Any) -> Record:
        return Record("x", "", kind, bound, attained, "", **more)

    small, large = record(1e-3, 0.5e-3), record(-100.0, -120.0)  # slack 1/2 and 1/5 of the bound
    assert tightest([small, large]) is large
    assert tightest([record(-100.0, -190.0), small]) is small
    nothing, tiny = record(0.0, -1e-3), record(0.5, 0.25)
    assert tightest([nothing, tiny]) is tiny  # a bound of zero has infinite units
    # An equality is decided whatever its tolerance; a slack of exactly twice the tolerance is not.
    equal, rounding, decided = record(1.0, 1.0, "equal", tolerance=1.0), record(1, 0, tolerance=0.5), record(1.0, -5.0)
    assert tightest([decided, rounding]) is decided
    assert tightest([record(1.0, -2.0), equal]) is equal
    assert tightest([decided, record(1, 0, tolerance=0.4)]).tolerance == 0.4


def test_every_claim_links_to_its_proof() -> None:
    """The headings exist, word for word, and so do the anchors that they have on a page."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    for name, claim in CLAIMS.items():
        assert headings.count(claim.proof) == 1, name
    assert CLAIMS["S"].link == "docs/theory.md#s5-the-constant-with-its-error-for-all-t--t0"
    assert Claim("", list, "M9. Remark A.4: conflict", at=list, short="").link == "docs/theory.md#m9-remark-a4-conflict"


@pytest.mark.slow
def test_only_a_record_of_the_whole_statement_is_its_evidence() -> None:
    """Two runs do not certify a lemma: what was certified says its parameters, and the lemma is proven on the page."""
    assert [name for name, claim in CLAIMS.items() if claim.whole] == ["A.1", "A.2", "3.3"]
    record = list(CLAIMS["A.3"].judge())[-1]
    assert record.evidence == "certified"
    for part in ("c = 1/2", "after 200 steps", "θ_0 = 5", "θ'_0 = -5", "a_t in [1, 1]"):
        assert part in record.statement, record.statement
    for record in CLAIMS["3.3"].judge():
        assert record.evidence != "certified" or "c = 1/2, theta_ref = 5, alpha = 1" in record.statement
