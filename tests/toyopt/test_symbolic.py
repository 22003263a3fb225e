"""Equations (22)-(38) are proven in every case, and their records are open where one is not."""

from __future__ import annotations

import dataclasses
import math

import pytest
import sympy as sp
from support.depth import DEEP

from toyopt.symbolic import (
    Derivation,
    Equation,
    convexity,
    derive,
    equations,
    records,
    table2,
)

NUMBERS = [*map(str, range(22, 39)), "minimiser"]


# What the cases with the most variables are called: half of the time of all.
LARGE = ("d = 3", "any d, 4 outputs", "d = 2, 2 outputs, 2 data")


@pytest.fixture(scope="module")
def derived():
    """All equations, derived; without the large cases, which `make test-deep` and `make reproduce` derive too."""
    kept = {
        number: {label: build for label, build in e.cases.items() if DEEP or not label.startswith(LARGE)}
        for number, e in equations().items()
    }
    return tuple(dataclasses.replace(e, cases=kept[number]).derive() for number, e in equations().items())


@pytest.mark.slow
def test_every_equation_is_proven_in_every_case(derived):
    assert [d.equation for d in derived] == NUMBERS
    for d in derived:
        assert d.proven, str(d)
        assert d.identities >= len(d.cases)
        assert "not proven" not in str(d)
    by_number, sizes = {d.equation: d for d in derived}, (1, 2, 3) if DEEP else (1, 2)
    for number in NUMBERS[:12]:
        assert any("any d" in case for case in by_number[number].cases)
    for number in set(NUMBERS[:12]) - {"30", "33"}:
        assert {f"d = {d}, {m} outputs" for d in sizes for m in (2, 3)} <= set(by_number[number].cases)


x, y = sp.symbols("x y", real=True)


@pytest.mark.slow
def test_records_hold_if_all_is_proven_and_are_open_if_not(derived):
    a1, a2 = records(derived)
    assert [(r.claim, r.verdict, r.evidence, r.kind, r.bound, r.attained) for r in (a1, a2)] == [
        ("A.1", "holds", "symbolic", "equal", 0.0, 0.0),
        ("A.2", "holds", "symbolic", "equal", 0.0, 0.0),
    ]
    assert list(a1.terms) == [f"({k})" for k in range(22, 29)]
    assert list(a2.terms) == [f"({k})" for k in range(29, 34)]
    for number in map(str, range(22, 34)):
        broken = [dataclasses.replace(d, not_proven=("x",)) if d.equation == number else d for d in derived]
        missing = [d for d in derived if d.equation != number]
        for some in (broken, missing):
            verdicts = [r.verdict for r in records(some)]
            assert verdicts == (["open", "holds"] if int(number) < 29 else ["holds", "open"])
            assert math.isnan(next(r for r in records(some) if r.verdict == "open").terms[f"({number})"])


SETTINGS = {f"d = {d}, {m} outputs": (d, m) for d in (1, 2, 3) for m in (2, 3)}


LINES = {f"any d, {m} outputs": (1, m) for m in (2, 3, 4)}


PAIRS = {f"d = {d}, {m} outputs, 2 data": (d, m) for d, m in ((1, 2), (1, 3), (2, 2))}


LINE_PAIRS = {f"any d, {m} outputs, 2 data": (1, m) for m in (2, 3)}


def test_the_equations_are_in_order_and_each_has_its_statement_and_cases():
    found = [*convexity.equations(), *table2.equations()]
    assert [e.number for e in found] == [*map(str, range(22, 39)), "minimiser"]
    stated = {number: text for number, _, text in (*convexity._STATEMENTS, *convexity._MEANS, *table2._STATEMENTS)}
    for e in found:
        assert e.statement == stated[e.number]
        labels = PAIRS | LINE_PAIRS if e.number in ("30", "33") else SETTINGS | LINES
        family = ["Table 2 (reconstructed)", "any a, b, c"]
        assert list(e.cases) == (family if e in found[12:] else list(labels)), e.number


def made(number: int) -> Derivation:
    return Derivation(str(number), "", "", "", ("case",), 1, (), 0.0)


def test_records_by_hand(monkeypatch):
    """From derivations that are given, none is done; without them all are."""
    monkeypatch.setattr("toyopt.symbolic.derive_all", lambda: tuple(map(made, range(22, 34))))
    for found in (records(), records(map(made, range(22, 34)))):
        assert [r.claim for r in found] == ["A.1", "A.2"]
        assert [(r.kind, r.bound, r.attained, r.evidence, r.verdict) for r in found] == [
            ("equal", 0.0, 0.0, "symbolic", "holds")
        ] * 2
        assert [r.statement[:6] for r in found] == ["‖g_DPO", "∇²f_DP"]
        assert [list(r.terms) for r in found] == [
            [f"({k})" for k in range(22, 29)],
            [f"({k})" for k in range(29, 34)],
        ]
        assert "eqs. (22)-(28), " in found[0].source
        assert "eqs. (29)-(33), " in found[1].source
    assert [r.verdict for r in records([])] == ["open", "open"]


@pytest.mark.slow
def test_derive_names_the_known_equations():
    assert derive("36").equation == "36"
    with pytest.raises(ValueError, match=r"^number: one of 22, 23, .*, 38, minimiser is needed, got 'x'$"):
        derive("x")


def test_derive_all_redoes_every_equation(monkeypatch):
    monkeypatch.setattr(Equation, "derive", lambda self: self.number)
    from toyopt.symbolic import derive_all

    assert derive_all() == (*map(str, range(22, 39)), "minimiser")
