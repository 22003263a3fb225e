"""The claims on Sequential by optimizers with memory, with the records that the ledger judges each by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from toyopt import theorems as th
from toyopt.claims import at
from toyopt.claims.claim import Claim, tightest
from toyopt.record import Record


def _ball() -> Iterator[Record]:
    yield from th.sequential_heavy_ball(lam=0.5, T_DPO=100_000, T_SFT=100_000)
    for momentum, alpha in ((0.0, 1.0), (0.5, 1.0), (0.99, 0.01)):
        yield from th.sequential_heavy_ball(lam=0.5, T_DPO=20_000, T_SFT=20_000, momentum=momentum, alpha=alpha)
    yield from th.sequential_heavy_ball(lam=0.8, T_DPO=30_000, T_SFT=3_000, theta_1=2.0, order="sft-first")
    rng = np.random.default_rng(11)
    drawn = [
        th.sequential_heavy_ball(
            lam=float(rng.uniform(0.05, 0.95)),
            T_DPO=int(rng.integers(1, 300)),
            T_SFT=int(rng.integers(1, 9_000)),
            momentum=float(rng.uniform(0.0, 0.98)),
            c=float(rng.uniform(0.2, 2.0)),
            theta_ref=4.0 * float(rng.normal()),
            alpha=float(rng.exponential()),
            theta_1=5.0 * float(rng.normal()),
        )
        for _ in range(40)
    ]
    yield from (tightest(kind) for kind in zip(*drawn, strict=True))


def _adam() -> Iterator[Record]:
    yield from th.sequential_adam(lam=0.5, T_DPO=100_000, T_SFT=100_000)
    yield from th.sequential_adam(lam=0.5, T_DPO=20_000, T_SFT=20_000, epsilon=0.0)
    yield from th.sequential_adam(lam=0.3, T_DPO=2_000, T_SFT=9_000, beta2=0.95, order="sft-first", theta_1=1.0)
    rng = np.random.default_rng(12)
    drawn = [
        th.sequential_adam(
            lam=float(rng.uniform(0.05, 0.95)),
            T_DPO=int(rng.integers(1, 900)),
            T_SFT=int(rng.integers(1, 9_000)),
            beta1=float(rng.uniform(0.0, 0.9)),
            beta2=1.0 - float(10.0 ** rng.uniform(-3.5, -1.0)),
            epsilon=float(10.0 ** rng.uniform(-9.0, 0.0)),
            theta_ref=4.0 * float(rng.normal()),
            alpha=float(10.0 ** rng.uniform(-3.0, -1.0)),
            theta_1=5.0 * float(rng.normal()),
        )
        for _ in range(40)
    ]
    yield from (tightest(kind) for kind in zip(*drawn, strict=True))
    for gamma, steps in ((0.1, 50_000), (0.01, 5_000)):
        yield th.sequential_adamw(lam=0.5, T_DPO=steps, T_SFT=steps, weight_decay=gamma)


def _wave() -> Iterator[Record]:
    for beta1, beta2, alpha, T in (
        (0.9, 0.95, 0.01, 20_000),
        (0.9, 0.95, 0.1, 10_000),
        (0.8, 0.9, 0.05, 10_000),
        (0.9, 0.999, 0.01, 100_000),
    ):
        yield th.adam_speed(beta1=beta1, beta2=beta2, alpha=alpha, T=T)
    for gamma, T in ((0.1, 50_000), (0.01, 200_000)):
        yield th.adamw_rest(weight_decay=gamma, T=T)


def _wave_at(
    *, lam: Any = 0.5, T: Any = 50_000, beta1: Any = 0.9, beta2: Any = 0.95, alpha: Any = 0.01
) -> tuple[Record, ...]:
    """Compare Adam's speed, and where AdamW with weight decay 0.1 ends, with the conjectures."""
    numbers: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "alpha": alpha, "T": T}
    return th.adam_speed(**numbers), th.adamw_rest(lam=at.weight_of(lam), **numbers)


OPTIMIZERS: dict[str, Claim] = {
    "S-ball": Claim(
        "Sequential with momentum μ forgets λ log T plus a constant, as with the step α/(1-μ) and no momentum",
        _ball,
        "S11. Heavy ball",
        at=at.heavy_ball,
        short="momentum",
        figure="optimisers",
    ),
    "S-adam": Claim(
        "Sequential with Adam forgets linearly in T until the gradient is as small as ε, then λ log T plus a constant; "
        "with AdamW its gap is bounded",
        _adam,
        "S12. Adam",
        at=at.adam,
        short="adam",
        figure="optimisers",
    ),
    "S-wave": Claim(
        "conjectures: without ε Adam's margin ends at the speed of a wave; AdamW comes to rest where step and decay "
        "cancel",
        _wave,
        "S13. Two conjectures on Adam",
        at=_wave_at,
        short="adam-conjectures",
        figure="optimisers",
    ),
}
