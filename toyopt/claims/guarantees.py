"""The claims on MAXRIGHT at equal cost and with unequal slopes, with the records that the ledger judges each by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from toyopt import _check, _numbers
from toyopt import theorems as th
from toyopt.claims import at
from toyopt.claims.claim import Claim, tightest
from toyopt.claims.problems import settings
from toyopt.problem import Problem
from toyopt.record import Record


def _cost() -> Iterator[Record]:
    each = list(settings(4000))
    records = [
        th.maxright_cost(setting, k, evaluation)
        for k, evaluation in ((1, 0.5), (2, 0.1), (10, 1.0), (10, 30.0), (100, 300.0))
        for setting in each
    ]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _unequal() -> Iterator[Record]:
    """Yield the records where the lighter objective is up to 1000 times as steep, from near and from far."""
    records = [
        th.maxright_unequal(setting)
        for width, lam, T in ((1.0, 0.95, 50), (3.0, 0.98, 400), (10.0, 0.995, 2000), (100.0, 0.999, 2000))
        for setting in _steep(width, lam, T)
    ]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _steep(width: float, lam: float, T: int) -> Iterator[th.MaxrightSetting]:
    """Yield settings on one pair with slope 1/10 and one demonstration with a slope of `width`, that conflict."""
    problem = Problem.dpo_sft(
        chosen=[[0.1]],
        rejected=[[0.0]],
        features=[[[0.0], [width]]],
        targets=[0],
        theta_ref=[0.0],
    )
    for start, alpha0 in ((0.0, 1.0), (20.0, 10.0), (-20.0, 30.0)):
        yield th.maxright_setting(problem, lam, T=T, alpha0=alpha0, theta_1=[start])


def _unequal_at(*, lam: Any = 0.98, T: Any = 400, alpha0: Any = 10) -> tuple[Record, ...]:
    """Compare the average and the last iterate with their bounds where SFT is 100 times as steep as DPO."""
    weight, length = at.weight_of(lam), _numbers.whole("T", T, low=2)
    scale = float(_numbers.exact("alpha0", alpha0))
    far, _, _ = _steep(10.0, weight, length)
    return th.maxright_unequal(replace(far, alpha0=_check.real("alpha0", scale, above=0.0)))


def _log() -> Iterator[Record]:
    for kappa, light, heavy in ((1e6, 100, 10_000), (100.0, 4, 19), (1e3, 4, 40), (1e4, 10, 300), (4.0, 1, 2)):
        yield from th.maxright_log(kappa, light=light, heavy=heavy)


def _log_at(*, lam: Any = 0.9999, T: Any = 300) -> tuple[Record, ...]:
    """Compare the mean of T iterates, of which 1 + √T/2 come after a light step, with both bounds; κ = λ/(1-λ)."""
    weight, length = _numbers.exact("lam", lam), _numbers.whole("T", T, low=2)
    if not Fraction(1, 2) <= weight < 1:
        raise ValueError(f"lam: must be in [1/2, 1), got {lam!r}")
    light = min(1 + math.isqrt(length) // 2, length - 1)
    return th.maxright_log(float(weight / (1 - weight)), light=light, heavy=length - 1 - light)


def _cost_at(
    *, lam: Any = 0.5, T: Any = 4000, alpha0: Any = 3, k: Any = 10, evaluation: Any = 1, problem: str = "table2"
) -> tuple[Record, ...]:
    """Compare k with k = 1 where a run may cost T steps and an evaluation of all gaps costs some steps."""
    return th.maxright_cost(at.setting_of(lam, T, alpha0, problem), k, float(_numbers.exact("evaluation", evaluation)))


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
    "M-unequal": Claim(
        "MAXRIGHT with a steeper lighter objective: C max λ_i C_i times a logarithm replaces λ̄C² in its bounds",
        _unequal,
        "M12. M-unequal: the lighter objective is the steeper",
        at=_unequal_at,
        short="steep",
    ),
    "M-log": Claim(
        "the logarithm in M-unequal is real: MAXRIGHT's average iterate can pay it",
        _log,
        "M12. M-unequal: the lighter objective is the steeper",
        at=_log_at,
        short="steep-case",
    ),
}
