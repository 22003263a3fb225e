"""The claims beyond arXiv 2410.15483v3, with the records that the ledger judges each by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from toyopt import _numbers, certify
from toyopt import theorems as th
from toyopt.algorithms import InverseRootHorizon
from toyopt.claims import at
from toyopt.claims.adapters import ADAPTERS
from toyopt.claims.claim import Claim, of_proof, tightest
from toyopt.claims.guarantees import GUARANTEES
from toyopt.claims.optimizers import OPTIMIZERS
from toyopt.claims.problems import LAMS, WIDE, noisy, problems, settings
from toyopt.claims.programs import PROGRAMS
from toyopt.examples import table2
from toyopt.record import Record
from toyopt.theorems.sequential.any_steps import SCHEDULES, steps_of_shape


def _s() -> Iterator[Record]:
    below, above, limit = th.theorem_s(lam=0.5, T_DPO=1_000_000, T_SFT=1_000_000)
    yield from (below, above, limit)
    yield from th.theorem_s(lam=0.3, T_DPO=1_000, T_SFT=100_000, theta_1=-7.0, alpha=6.0)
    yield from th.theorem_s(lam=0.8, T_DPO=50_000, T_SFT=4_000, theta_1=2.0, order="sft-first")
    yield of_proof("S", certify.sequential_gap(WIDE, "1/10"))
    yield of_proof("S", certify.sequential_gap("1/2", 10))
    yield of_proof("S", certify.sequential_constant("1/2", "1/100000", T0=10_000_000))
    yield of_proof("S", certify.sequential_constant("1/2", "1/100000", T0=10_000_000, phases=_sft_first()))
    yield of_proof("S", certify.sequential_trajectory("1/2", 100_000, 100_000))


def _s_steps() -> Iterator[Record]:
    for name in SCHEDULES:
        dpo, sft = (steps_of_shape(name, 1.0, T) for T in (3_000, 100_000))
        yield from th.sequential_any_steps(lam=0.5, alphas_DPO=dpo, alphas_SFT=sft)
    rng = np.random.default_rng(8)
    drawn = [
        th.sequential_any_steps(
            lam=float(rng.uniform(0.05, 0.95)),
            alphas_DPO=rng.exponential(size=rng.integers(1, 60)).clip(1e-6, 3.9) / c**2,
            alphas_SFT=rng.exponential(size=rng.integers(1, 900)).clip(1e-6, 3.9) / c**2,
            c=float(c),
            theta_ref=float(rng.normal()) * 4.0,
            theta_1=float(rng.normal()) * 5.0,
            order="dpo-first" if rng.uniform() < 0.5 else "sft-first",
        )
        for c in rng.uniform(0.2, 2.0, size=40)
    ]
    yield from (tightest(kind) for kind in zip(*drawn, strict=True))
    yield of_proof("S-steps", certify.sequential_gap_any_steps("1/2", 1))
    yield of_proof("S-steps", certify.sequential_gap_any_steps(WIDE, "1/10"))
    yield of_proof("S-steps", certify.sequential_gap_any_steps("1/2", 10))


def _s_replay() -> Iterator[Record]:
    for lam, p in ((0.5, 0.01), (0.5, 0.1), (0.3, 0.001), (0.9, 0.2)):
        yield from th.sequential_replay(lam=lam, p=p, T_DPO=2_000, T_SFT=2_000)
    yield from th.sequential_replay(lam=0.8, p=0.05, T_DPO=3_000, T_SFT=300, theta_1=2.0, order="sft-first")
    yield of_proof("S-replay", certify.replay_gap("1/2", ("1/1000", "1/100"), 2, "33/10"))
    yield of_proof("S-replay", certify.replay_gap(("3/10", "7/10"), ("1/100", "1/10"), "1/5", "15/4"))
    yield of_proof("S-replay", certify.replay_gap(("3/10", "7/10"), "1/10", "1/5", "21/10", phases=_sft_first()))


def _s_angle() -> Iterator[Record]:
    for degrees in (5.0, 20.0, 45.0, 51.827, 60.0, 90.0, 135.0, 180.0):
        yield from th.sequential_angle(psi=float(np.radians(degrees)), lam=0.5, T_DPO=100_000, T_SFT=100_000)
    yield from th.sequential_angle(psi=0.6, lam=0.2, T_DPO=100, T_SFT=50_000, alpha=6.0, theta_1=-3.0, theta_2=2.0)


def _sft_first() -> certify.Phases:
    return certify.Phases(order="sft-first")


def _m() -> Iterator[Record]:
    records = [th.maxright_best_and_average(setting) for T in (2, 20, 2000) for setting in settings(T)]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _m_last() -> Iterator[Record]:
    each = [setting for T in (2, 20, 2000) for setting in settings(T)]
    for bound in ("exact", "harmonic", "linear decay"):
        yield tightest(th.maxright_last(setting, bound) for setting in each)


def _m_stale() -> Iterator[Record]:
    each = list(settings(2000))
    records = [th.maxright_stale(setting, k) for k in (1, 2, 10, 100) for setting in each]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _m_opt() -> Iterator[Record]:
    each = list(settings(500))
    records = [
        th.maxright_optima(setting, setting.f_star + np.array(off))
        for off in ((0.1, -0.05), (0.02, 0.03), (-0.2, 0.3))
        for setting in each
    ]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _m_noise() -> Iterator[Record]:
    """Yield the records for normal errors, and for errors that always favour one objective."""
    each, rng = list(settings(1000)), np.random.default_rng(10)
    drawn = [sd * rng.normal(size=(999, 2)) for sd in (0.01, 0.3)]
    drawn += [np.tile(off, (999, 1)) for off in ((0.4, 0.0), (0.0, 0.4))]
    records = [th.maxright_noisy(setting, errors) for errors in drawn for setting in each]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _a() -> Iterator[Record]:
    for T in (2, 6, 14):
        yield tightest(th.alright_linear_decay(table2(), lam=lam, T=T, theta_1=[1.0]) for lam in LAMS)
        yield from th.alright_exact(table2(), lam=0.3, schedule=InverseRootHorizon(1.5, T), T=T, theta_1=[1.0])
    yield tightest(
        th.alright_mean_step(
            p,
            lam=lam,
            schedule=InverseRootHorizon(2.0, 9),
            T=9,
            theta_1=np.full(p.dim, 2.0),
            theta_star=np.zeros(p.dim),
        )
        for p in problems()
        for lam in LAMS
    )
    yield th.zamani_glineur(1.7, 0.6, 31)
    yield th.last_iterate_is_exact(np.full(20, 0.4), 1.3, 0.8)


def _e() -> Iterator[Record]:
    for lam, T in ((0.3, 12), (0.5, 16), (0.8, 16)):
        yield _induction(lam, T, 1.5)


def _e_at(*, lam: Any = 0.5, T: Any = 12, alpha0: Any = 1.5) -> tuple[Record, ...]:
    """Compare the enumeration over all paths of ALRIGHT with the backward induction, at one λ, T and α0."""
    length, scale = _numbers.whole("T", T, low=2), float(_numbers.exact("alpha0", alpha0))
    return (_induction(at.weight_of(lam), length, scale),)


def _induction(lam: float, T: int, alpha0: float) -> Record:
    """Compare the enumeration over all paths with the backward induction, which is off by its own error at most."""
    shared: dict[str, Any] = {"lam": lam, "schedule": InverseRootHorizon(alpha0, T), "T": T, "theta_1": [1.0]}
    by_paths = th.expected_gap(table2(), method="paths", **shared)
    by_grid = th.expected_gap(table2(), method="grid", **shared)
    return Record(
        claim="E",
        statement=f"E G(θ_T), T = {T}, λ = {lam}: backward induction is off the sum over 2^(T-1) paths by its own "
        "error at most",
        kind="upper",
        bound=max(by_grid.high - by_grid.mean, by_grid.mean - by_grid.low),
        attained=abs(by_grid.mean - by_paths.mean),
        source="beyond the paper, docs/theory.md, A8",
        evidence="enumerated",
        # Both are sums of T products of numbers of the size of the gap.
        tolerance=64 * T * 2.0**-53 * abs(by_paths.mean),
        scale=abs(by_paths.mean),
    )


def _price() -> Iterator[Record]:
    yield th.alright_price(table2(), lam=0.5, alpha0=2.0, T=2000, theta_1=[1.0])
    yield th.alright_price(table2(), lam=0.5, alpha0=2.0, T=1000, theta_1=[1.0])
    yield th.alright_price(table2(), lam=0.3, alpha0=2.0, T=2000, theta_1=[1.0])
    yield th.alright_price(table2(), lam=0.7, alpha0=2.0, T=2000, theta_1=[3.0])
    yield th.alright_price(noisy(), lam=0.4, alpha0=1.5, T=1000, theta_1=[0.0], stochastic=True)


def _even() -> Iterator[Record]:
    for T in (1000, 4000, 16_000):
        yield from (
            tightest(kind)
            for kind in zip(
                *(th.alright_even(table2(), lam=lam, alpha0=2.0, T=T, theta_1=[1.0]) for lam in LAMS), strict=True
            )
        )
    yield from th.alright_even(noisy(), lam=0.4, alpha0=1.5, T=1000, theta_1=[0.0])


BEYOND: dict[str, Claim] = {
    "S": Claim(
        "Sequential's gap with a constant step is λ log T plus an exact constant, so it diverges",
        _s,
        "S5. The constant (with its error, for all T ≥ T0)",
        at=at.growth,
        short="growth",
        figure="thm33",
        longest=10**300,
    ),
    "S-steps": Claim(
        "Sequential with any step sizes: the gap is λ log(c²Σα over the last phase) plus a constant",
        _s_steps,
        "S8. Any step sizes",
        at=at.any_steps,
        short="schedules",
        figure="thm33",
    ),
    "S-replay": Claim(
        "replay of a share p of the first objective bounds Sequential's gap by λ log(1/p) plus a constant",
        _s_replay,
        "S9. How much replay is enough",
        at=at.replay,
        short="replay",
        figure="replay",
    ),
    "S-angle": Claim(
        "Sequential forgets λ max(cos ψ - sin² ψ, 0) log T where the pulls are at the angle ψ to opposite ones",
        _s_angle,
        "S10. The critical angle",
        at=at.angle,
        short="angle",
        figure="angle",
    ),
    **OPTIMIZERS,
    **ADAPTERS,
    "M": Claim(
        "MAXRIGHT's best and average iterate: F(θ) - F(θ*) = O(1/√T)",
        _m,
        "M2. M: best and average iterate",
        at=at.maxright,
        short="maxright",
        figure="maxright",
    ),
    "M-last": Claim(
        "MAXRIGHT's last iterate, for any λ in (0, 1)",
        _m_last,
        "M4. M-last: the last iterate, any λ",
        at=at.maxright_last,
        short="maxright-last",
        figure="maxright",
    ),
    "M-stale": Claim(
        "the cost of a gap evaluation only every k steps",
        _m_stale,
        "M6. M-stale: the price of k",
        at=at.maxright_stale,
        short="stale-gaps",
        figure="maxright",
    ),
    "M-opt": Claim(
        "the cost of a wrong f*",
        _m_opt,
        "M7. M-opt: the optima need not be known",
        at=at.maxright_optima,
        short="wrong-optima",
    ),
    "M-noise": Claim(
        "the cost of gaps that are estimated with errors",
        _m_noise,
        "M10. M-noise: gaps that are estimated",
        at=at.maxright_noisy,
        short="noisy-gaps",
    ),
    **GUARANTEES,
    "A": Claim(
        "ALRIGHT's last iterate without the logarithm: DC/√T; for any steps a bound that is exact for equal C_i",
        _a,
        "A4. Any steps, exactly: the upper bound",
        at=at.alright_last,
        short="last-iterate",
        figure="thm41",
    ),
    "E": Claim(
        "ALRIGHT's expectation, exactly",
        _e,
        "A8. Exact expectations (claim E)",
        at=_e_at,
        short="expectation",
        figure="thm41",
    ),
    "A-price": Claim(
        "the price of ALRIGHT's coin: √T E G(θ_T) -> (α0/4) Σ λ_i ‖∇f_i(θ*)‖², with an explicit error",
        _price,
        "A10. The price of the coin: √T E G(θ_T) with its constant",
        at=at.price,
        short="price",
        figure="price",
    ),
    "A-even": Claim(
        "ALRIGHT with an even alternation: T G(θ_T) = O(log² T)",
        _even,
        "A11. The even alternation: T G(θ_T) = O(log² T)",
        at=at.even,
        short="even",
        figure="price",
    ),
    **PROGRAMS,
}
