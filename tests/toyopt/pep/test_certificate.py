"""Certificates from multipliers: proven where they should be, checked here again in fractions, and not otherwise."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from toyopt.pep.certificate import certify_worst_gap, rational
from toyopt.pep.compare import WorstGap, worst_gap
from toyopt.pep.methods import setting

STEEP = {"lam": "4/5", "bounds": "1,2"}


@pytest.fixture(scope="module")
def worst() -> WorstGap:
    return worst_gap(setting("maxright", **STEEP, steps="1/2,1/2"))


def test_a_bound_that_no_closed_form_has_is_proven(worst: WorstGap) -> None:
    """0.87391 is 0.45 of M4's bound; PEPit finds 0.87390948."""
    certificate = certify_worst_gap(worst)
    assert certificate.proven
    assert dict(certificate.inputs)["bound"] == Fraction(873911, 1000000)
    given = certificate.enclosure("the bound that the multipliers give")
    assert 0.87390947 < given.low <= given.high < 0.873911
    assert certificate.record.verdict == "holds"
    assert certificate.record.evidence == "certified"
    assert certificate.recheck().proven


def test_a_bound_below_the_optimum_is_not_proven(worst: WorstGap) -> None:
    certificate = certify_worst_gap(worst, "0.87390")
    assert not certificate.proven
    assert str(certificate.stopped_at).startswith("the multipliers give at most 8739/10000: they give 0.873909")
    assert certificate.record.verdict == "open"
    assert certify_worst_gap(worst, "0.874").proven


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "k", "measure"),
    [("alright", 1, "last"), ("maxright", 2, "last"), ("maxright", 2, "average"), ("maxright", 1, "best")],
)
def test_the_rational_multipliers_prove_the_bound_in_fractions(method: str, k: int, measure: str) -> None:
    """All conditions of weak duality, written out here again."""
    worst = worst_gap(setting(method, **STEEP, steps="1/2,1/2", k=k, measure=measure))
    assert certify_worst_gap(worst).proven
    for program, solution in worst.solved:
        y = rational(program, solution.multipliers)
        assert min(y) >= 0
        for v in range(program.values):
            total = sum(m * c.values.get(v, 0) for m, c in zip(y, program.constraints, strict=True))
            assert total == program.objective.get(v, 0)
        matrix = np.zeros((program.vectors, program.vectors))
        for m, constraint in zip(y, program.constraints, strict=True):
            for u, w in constraint.inner:
                for i, a in u.items():
                    for j, b in w.items():
                        matrix[i, j] += 0.5 * float(m * a * b)
                        matrix[j, i] += 0.5 * float(m * a * b)
        assert np.linalg.eigvalsh(matrix)[0] > 0.0
        bound = sum(m * c.bound for m, c in zip(y, program.constraints, strict=True))
        assert float(bound) == pytest.approx(solution.dual, rel=2e-6, abs=2e-7)


def test_wrong_multipliers_prove_nothing(worst: WorstGap) -> None:
    """Nothing but small ones: their equations are restored, and the bound is then far above."""
    (program, solution), *others = worst.solved
    for wrong in (np.zeros_like(solution.multipliers), np.roll(solution.multipliers, 1)):
        spoilt = replace(worst, solved=((program, replace(solution, multipliers=wrong)), *others))
        assert not certify_worst_gap(spoilt).proven


def test_a_matrix_that_is_not_definite_is_named(worst: WorstGap, monkeypatch: pytest.MonkeyPatch) -> None:
    from toyopt.pep import certificate

    honest = certificate.rational

    def without_norms(program, multipliers):
        y = honest(program, multipliers)
        return [Fraction(0) if k in program.squares else m for k, m in enumerate(y)]

    monkeypatch.setattr(certificate, "rational", without_norms)
    assert "of the matrix is positive" in str(certify_worst_gap(worst).stopped_at)


def test_multipliers_that_miss_the_objective_are_named(worst: WorstGap, monkeypatch: pytest.MonkeyPatch) -> None:
    from toyopt.pep import certificate

    honest = certificate.rational
    for change, words in ((Fraction(1, 10**12), "reproduce the objective"), (Fraction(-9), "multipliers are at least")):
        monkeypatch.setattr(certificate, "rational", lambda *a, c=change: [*honest(*a)[:-1], honest(*a)[-1] + c])
        assert words in str(certify_worst_gap(worst).stopped_at)


def test_the_bound_is_exact_and_positive(worst: WorstGap) -> None:
    with pytest.raises(TypeError, match=r"^bound must be exact"):
        certify_worst_gap(worst, 0.9)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^bound must be positive"):
        certify_worst_gap(worst, 0)
    unsolved = replace(worst, optimum=float("nan"), dual=float("nan"))
    with pytest.raises(ValueError, match=r"^worst: a program of the setting was not solved"):
        certify_worst_gap(unsolved)
