"""The claim that semidefinite programs, independent of the proofs, confirm the bounds of parts A and M."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from toyopt import _numbers
from toyopt.claims.claim import Claim, of_proof
from toyopt.pep import cli, compare, methods
from toyopt.pep.certificate import certify_worst_gap
from toyopt.pep.program import REMEDY, solver
from toyopt.record import Record

# Settings for which no bound in closed form is exact: the optima are proven from the programs' multipliers.
CERTIFIED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("alright", {"measure": "last"}),
    ("maxright", {"measure": "last"}),
    ("maxright", {"measure": "average"}),
    ("maxright", {"measure": "last", "k": 2}),
)


def _records(settings: list[methods.Setting]) -> Iterator[Record]:
    """Yield the records of settings; one that is open where the solver is not installed."""
    try:
        solver()
    except ModuleNotFoundError:
        yield Record(
            claim="P",
            statement="the programs' optima are at most the bounds",
            kind="upper",
            bound=math.nan,
            attained=math.nan,
            source=compare.SOURCE,
            note=REMEDY,
        )
        return
    for given in settings:
        for row in compare.rows(given):
            yield row.record


def _p() -> Iterator[Record]:
    records = list(_records(list(cli.standard())))
    yield from records
    if math.isnan(records[0].bound):
        return
    for method, other in CERTIFIED:
        given = methods.setting(method, lam="4/5", bounds="1,2", steps=["1/2"] * 2, **other)
        yield of_proof("P", certify_worst_gap(compare.worst_gap(given)))


def _at(*, lam: Any = 0.5, T: Any = 4, alpha0: Any = 1, k: Any = 1) -> tuple[Record, ...]:
    """Compare the worst cases of MAXRIGHT's last, average and best iterate, C_i = D = 1, with their bounds."""
    weight, scale = _numbers.exact("lam", lam), _numbers.exact("alpha0", alpha0)
    if not 0 < weight < 1:
        raise ValueError(f"lam: must be in (0, 1), got {lam!r}")
    steps = cli.constant_steps(_numbers.whole("T", T, low=2), scale)
    shared: dict[str, Any] = {"lam": (weight, Fraction(1) - weight), "bounds": (1, 1), "steps": steps, "k": k}
    settings = [methods.setting("maxright", **shared, measure=measure) for measure in methods.MEASURES]
    return tuple(_records(settings))


PROGRAMS: dict[str, Claim] = {
    "P": Claim(
        "the worst cases of a few steps are semidefinite programs; their optima are at most the bounds of A1, A4, M2, "
        "M4 and M6, and A4 and M4 are attained",
        _p,
        "P1. The programs are the worst cases",
        at=_at,
        short="programs",
    ),
}
