"""What tests of certificates share: where a proof stops, and the recursion and the gap in floats."""

from __future__ import annotations

import math

from toyopt import certify as cf


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
