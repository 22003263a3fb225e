"""The claims on the cost of MAXRIGHT's evaluations, with the records that the ledger judges each by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toyopt import _numbers
from toyopt import theorems as th
from toyopt.claims import at
from toyopt.claims.claim import Claim, tightest
from toyopt.claims.problems import settings
from toyopt.record import Record


def _cost() -> Iterator[Record]:
    each = list(settings(4000))
    records = [
        th.maxright_cost(setting, k, evaluation)
        for k, evaluation in ((1, 0.5), (2, 0.1), (10, 1.0), (10, 30.0), (100, 300.0))
        for setting in each
    ]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _cost_at(
    *, lam: Any = 0.5, T: Any = 4000, alpha0: Any = 3, k: Any = 10, evaluation: Any = 1, problem: str = "table2"
) -> tuple[Record, ...]:
    """Compare k with k = 1 where a run may cost T steps and an evaluation of all gaps costs some steps."""
    return th.maxright_cost(at._setting(lam, T, alpha0, problem), k, float(_numbers.exact("evaluation", evaluation)))


GUARANTEES: dict[str, Claim] = {
    "M-cost": Claim(
        "at equal total cost MAXRIGHT's guarantee is best for k = 1, whatever an evaluation costs; for a given α0 the "
        "best k does not grow with the cost",
        _cost,
        "M11. M-cost: k in units of cost",
        at=_cost_at,
        short="evaluations",
        figure="evaluations",
    ),
}
