"""The claims on Sequential by optimizers with memory, with the records that the ledger judges each by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from toyopt import certify
from toyopt import theorems as th
from toyopt.claims import at
from toyopt.claims.claim import Claim, of_proof, tightest
from toyopt.record import Record
from toyopt.theorems.sequential.two_phases import Order


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
    for beta1, beta2, alpha, T in ((0.9, 0.95, 0.2, 10_000), (0.95, 0.96, 0.08, 15_000)):
        yield th.adam_speed(beta1=beta1, beta2=beta2, alpha=alpha, T=T)
    for gamma in (0.1, 0.01):
        yield th.adamw_rest(weight_decay=gamma, T=200_000)


def _speed() -> Iterator[Record]:
    settings = (("9/10", "95/100", "1/100"), ("9/10", "95/100", "1/10"), ("8/10", "9/10", "1/20"))
    for beta1, beta2, alpha in (*settings, ("9/10", "999/1000", "1/100")):
        T = 100_000 if beta2 == "999/1000" else 10_000
        yield from th.adam_reaches_speed(beta1=beta1, beta2=beta2, alpha=alpha, T=T)
        yield of_proof("S-speed", certify.adam_speed(alpha, beta1=beta1, beta2=beta2))


def _speed_at(*, T: Any = 20_000, beta1: Any = 0.9, beta2: Any = 0.95, alpha: Any = 0.01) -> tuple[Record, ...]:
    """Compare Adam's mean step from T/2 to T with the bounds of every step from there on."""
    return th.adam_reaches_speed(T=T, beta1=beta1, beta2=beta2, alpha=alpha)


def _rest() -> Iterator[Record]:
    yield from th.adamw_comes_to_rest(lam=0.5, T_DPO=50_000, T_SFT=50_000)
    yield from th.adamw_comes_to_rest(lam=0.3, T_DPO=1_000, T_SFT=50_000, weight_decay=0.5, order="sft-first")
    yield from th.adamw_comes_to_rest(lam=0.5, T_DPO=9_000, T_SFT=400_000, beta2=0.999, alpha=0.0005, weight_decay=1.0)
    yield of_proof("S-rest", certify.adamw_rest())
    yield of_proof("S-rest", certify.adamw_rest("1/50", weight_decay="1/100"))
    yield of_proof("S-rest", certify.adamw_rest("1/2000", beta2="999/1000"))


def _rest_at(
    *,
    lam: Any = 0.5,
    T: Any = 50_000,
    weight_decay: Any = 0.1,
    beta1: Any = 0.9,
    beta2: Any = 0.95,
    epsilon: Any = 1e-8,
    alpha: Any = 0.01,
    theta_1: Any = None,
    order: Order = "dpo-first",
) -> tuple[Record, ...]:
    """Compare AdamW's gap after T + T steps with that at rest, within the bounds that hold from there on."""
    shared: dict[str, Any] = {"weight_decay": weight_decay, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    shared |= {"alpha": alpha, "theta_1": theta_1, "order": order}
    return th.adamw_comes_to_rest(lam=at.weight_of(lam), **at.phases_of(T), **shared)


def _wave_at(
    *, lam: Any = 0.5, T: Any = 50_000, beta1: Any = 0.9, beta2: Any = 0.999, alpha: Any = 0.01
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
    "S-speed": Claim(
        "Adam without ε forgets at the speed of a wave: v_T/T tends to the root of one equation, for steps that are "
        "not too long",
        _speed,
        "S13. Adam's speed, AdamW's rest, and two conjectures",
        at=_speed_at,
        short="adam-speed",
        figure="optimisers",
    ),
    "S-rest": Claim(
        "AdamW comes to rest where its step and its decay cancel, as long as its margin moves less than about ½ within "
        "its memory",
        _rest,
        "S13. Adam's speed, AdamW's rest, and two conjectures",
        at=_rest_at,
        short="adamw-rest",
        figure="optimisers",
    ),
    "S-wave": Claim(
        "conjectures: Adam's speed is the wave's, and AdamW comes to rest, also where the theorems' conditions fail",
        _wave,
        "S13. Adam's speed, AdamW's rest, and two conjectures",
        at=_wave_at,
        short="adam-conjectures",
        figure="optimisers",
    ),
}
