"""The standard certificates are proven, also at a higher precision."""

from __future__ import annotations

import pytest

from toyopt import certify as cf
from toyopt.certify.certificate import input_text


@pytest.fixture(scope="module")
def standard() -> tuple[cf.Certificate, ...]:
    return cf.standard_certificates(steps=20_000)


def test_every_standard_certificate_is_proven(standard: tuple[cf.Certificate, ...]) -> None:
    assert [c.claim for c in standard if not c.proven] == []
    assert {"S", "3.3", "S-constant", "A.3", "minimiser", "half-line", "trajectory"} <= {c.claim for c in standard}
    assert sum(c.seconds for c in standard) < 20


@pytest.mark.slow
def test_recheck_is_a_fresh_proof_of_the_same_claim_at_higher_precision(
    standard: tuple[cf.Certificate, ...],
) -> None:
    for first in standard:
        again = first.recheck()
        assert again.proven
        assert again.prec == first.prec + 64
        assert again.inputs == first.inputs
        assert again is not first
        assert first.recheck(first.prec) == first  # deterministic: seconds aside, the same record


@pytest.mark.slow
def test_what_the_ledger_shows() -> None:
    """The standard certificates' own arguments, as far as their statements do not fix them."""
    found: dict[str, list[dict[str, str]]] = {}
    for certificate in cf.standard_certificates(steps=10):
        found.setdefault(certificate.claim, []).append({name: input_text(value) for name, value in certificate.inputs})
    assert [i["lam"] for i in found["minimiser"]] == ["[1/2, 1/2]", "[1/100, 99/100]"]
    assert [(i["a"], i["g"], i["side"]) for i in found["half-line"]] == [
        ("-20", "1/50", "left"),
        ("25", "1/50", "right"),
    ]
    assert [(i["lam"], i["T0"], i["order"]) for i in found["3.3"]] == [
        ("[1/100, 99/100]", "1000", order) for order in ("dpo-first", "sft-first")
    ]
    assert [(i["lam"], i["g"], i["order"]) for i in found["S"]] == [
        ("[1/100, 99/100]", "1/10", "dpo-first"),
        ("[1/100, 99/100]", "1/10", "sft-first"),
        ("[1/100, 99/100]", "1", "dpo-first"),
        ("[1/2, 1/2]", "1", "dpo-first"),
        ("[1/2, 1/2]", "10", "dpo-first"),
        ("[1/2, 1/2]", "1", "dpo-first"),
        ("[1/2, 1/2]", "1", "dpo-first"),
    ]
    assert [(i["error"], i["T0"], i["order"]) for i in found["S-constant"]] == [
        ("1/100000", "10000000", order) for order in ("dpo-first", "sft-first")
    ]


@pytest.mark.slow
def test_the_ledger_shows_these_runs() -> None:
    inputs = [(c.claim, dict(c.inputs)) for c in cf.standard_certificates(steps=10)]
    assert [(i["steps"], i["theta_0"], i["theta_0_prime"]) for claim, i in inputs if claim == "A.3"] == [
        ("1 ×200", 5, -5)
    ]
    lengths = [(i.get("ratio"), i.get("T_first")) for claim, i in inputs if claim == "S"]
    assert lengths[-3:] == [(1, None), (100, None), (None, 1000000)]
