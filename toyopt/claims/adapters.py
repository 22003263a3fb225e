"""The claim on Sequential by LoRA, with the records that the ledger judges it by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from toyopt import certify
from toyopt import theorems as th
from toyopt.claims import at
from toyopt.claims.claim import Claim, of_proof, tightest
from toyopt.claims.problems import WIDE
from toyopt.record import Record
from toyopt.theorems.sequential.two_phases import Order


def _low_rank() -> Iterator[Record]:
    yield from th.sequential_low_rank(lam=0.5, T_DPO=100_000, T_SFT=100_000)
    yield from th.sequential_low_rank(lam=0.5, T_DPO=1_000, T_SFT=1_000, b=1.0)
    yield from th.sequential_low_rank(
        lam=0.3, T_DPO=20_000, T_SFT=5_000, a=[0.01, 0.0, -0.02], b=[0.0] * 3, theta_1=1.0
    )
    yield from th.sequential_low_rank(lam=0.8, T_DPO=9_000, T_SFT=9_000, a=0.2, theta_1=2.0, order="sft-first")
    rng = np.random.default_rng(13)
    drawn = []
    for rank in rng.integers(1, 5, size=40):
        c = float(rng.uniform(0.2, 2.0))
        drawn.append(
            th.sequential_low_rank(
                lam=float(rng.uniform(0.05, 0.95)),
                T_DPO=int(rng.integers(1, 3_000)),
                T_SFT=int(rng.integers(1, 9_000)),
                a=(10.0 ** rng.uniform(-3.0, 0.3) * rng.normal(size=rank)).tolist(),
                b=(10.0 ** rng.uniform(-3.0, 0.3) * rng.normal(size=rank)).tolist(),
                c=c,
                theta_ref=4.0 * float(rng.normal()),
                alpha=float(rng.uniform(0.01, 0.99)) / c,
                theta_1=5.0 * float(rng.normal()),
                order="dpo-first" if rng.uniform() < 0.5 else "sft-first",
            )
        )
    yield from (tightest(kind) for kind in zip(*drawn, strict=True))
    yield of_proof("S-lora", certify.low_rank_gap("1/2", 1))
    yield of_proof("S-lora", certify.low_rank_gap(WIDE, "1/10"))
    yield of_proof("S-lora", certify.low_rank_gap(WIDE, "1/10", size="1/100", phases=certify.Phases(order="sft-first")))


def _low_rank_at(
    *,
    lam: Any = 0.5,
    T: Any = 1000,
    alpha: Any = 1,
    a: Any = 1,
    b: Any = 0,
    theta_1: Any = None,
    order: Order = "dpo-first",
) -> tuple[Record, ...]:
    """Compare the gap after T + T steps of LoRA with its bounds, and with its law."""
    shared: dict[str, Any] = {"a": a, "b": b, "alpha": alpha, "theta_1": theta_1, "order": order}
    return th.sequential_low_rank(lam=at.weight_of(lam), **at.phases_of(T), **shared)


ADAPTERS: dict[str, Claim] = {
    "S-lora": Claim(
        "Sequential by LoRA of any rank forgets λ log(T log T) plus a constant; from a balanced start a = b it returns "
        "to the base instead",
        _low_rank,
        "S14. LoRA of any rank",
        at=_low_rank_at,
        short="lora",
        figure="lora",
    ),
}
