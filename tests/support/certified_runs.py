"""What tests of certificates share: where a proof stops, one that never does, the recursion and the gap in floats."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

from toyopt import certify as cf
from toyopt.certify.certificate import Enclosure, Proof


def stops(certificate: cf.Certificate, words: str) -> None:
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    assert words in certificate.stopped_at


def run(v: float, eta: float, steps: int) -> float:
    """The logistic recursion in floats; its rounding is below 1e-12 for these lengths."""
    for _ in range(steps):
        v += eta / (1 + math.exp(v))
    return v


def float_gap(lam: float, w: float, x: float = 2.5) -> float:
    """G_Mix at u = -w, with the closed-form minimum."""
    K = math.exp(x)
    b = (1 - 2 * lam) * K
    u = math.log((-b + math.sqrt(b * b + 4 * (1 - lam) * lam * K)) / (2 * (1 - lam)))

    def f(t: float) -> float:
        return lam * math.log1p(math.exp(x - t)) + (1 - lam) * math.log1p(math.exp(t))

    return f(-w) - f(u)


FAILED = Enclosure(Decimal(0), Decimal(0), "failed")


class Credulous(Proof):
    """A proof that goes on whatever fails, and keeps what did."""

    def require(self, condition: bool, step: str) -> None:
        if condition is not True:
            self.kept[step] = FAILED


def start_at(x: Any, eta: Any, v: Any) -> cf.Phases:
    """DPO first with c = 1, cθ_ref = x, step η, from v_0 = v."""
    return cf.Phases(cf.Family(1, x), eta, Fraction(v) + Fraction(x))
