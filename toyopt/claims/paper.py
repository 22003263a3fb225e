"""The claims of arXiv 2410.15483v3, with the records that the ledger judges each by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from toyopt import certify
from toyopt import theorems as th
from toyopt.algorithms import InverseRootHorizon
from toyopt.claims import at
from toyopt.claims.claim import Claim, of_proof, tightest
from toyopt.claims.problems import LAMS, WIDE, examples, points, problems
from toyopt.examples import table2
from toyopt.record import Record


@cache
def _derivations() -> tuple[Record, Record]:
    """Derive A.1 and A.2 by algebra, once for both."""
    from toyopt import symbolic  # SymPy takes a while

    return symbolic.records()


def _a1() -> Iterator[Record]:
    # Examples have beta = 1 and random problems 0.7, so the paper's own constants are checked too.
    records = [th.prop_a1(p, points(p), beta=b) for p, b in zip(examples(), [1.0, 1.0] + [0.7] * 12, strict=True)]
    yield from (tightest(kind) for kind in zip(*records, strict=True))
    yield _derivations()[0]


def _a2() -> Iterator[Record]:
    yield _derivations()[1]
    yield tightest(th.prop_a2(p, points(p), lam=lam) for p in examples() for lam in (0.0, *LAMS, 1.0))


def _a3() -> Iterator[Record]:
    rng = np.random.default_rng(3)
    yield tightest(
        th.lemma_a3(float(a), float(a - b), alphas=rng.uniform(1e-3, 4.0, size=5) / c, c=float(c))
        for a, b, c in rng.uniform(0.1, 3.0, size=(50, 3))
    )
    yield of_proof("A.3", certify.lemma_a3("1/2", [1] * 200, 5, -5))


def _a5() -> Iterator[Record]:
    near = [(p, np.random.default_rng(5).normal(size=(2, 8, p.dim))) for p in examples()]
    yield tightest(
        th.lemma_a5(p, a, b, lam=lam) for p, pair in near for a, b in zip(*pair, strict=True) for lam in LAMS
    )
    yield tightest(
        th.lemma_a5(p, points(p)[:, None, :], points(p)[None, ::-1, :], lam=lam) for p in examples() for lam in LAMS
    )


def _a6() -> Iterator[Record]:
    rng = np.random.default_rng(6)
    yield tightest(
        th.lemma_a6(np.sort(rng.uniform(0.01, 2.0, size=T))[::-1], rng.exponential(size=T)) for T in range(1, 60)
    )
    yield th.lemma_a6(np.full(30, 0.3), rng.exponential(size=30))


def _a7() -> Iterator[Record]:
    yield tightest(
        th.lemma_a7(p, points(p)[i], points(p)[-1 - i], lam=lam, alpha=alpha, stochastic=stochastic)
        for p in examples()
        for i in range(3)
        for lam in LAMS
        for alpha in (0.05, 1.3)
        for stochastic in (False, True)
    )


def _33() -> Iterator[Record]:
    yield th.certified_33(lam=WIDE, total=300)
    yield th.certified_33(lam=WIDE, total=300, phases=certify.Phases(order="sft-first"))
    yield th.certified_33(lam=WIDE, T0=1000)
    yield th.certified_33(lam=WIDE, T0=1000, phases=certify.Phases(order="sft-first"))
    yield th.thm_33()
    yield th.thm_33_any_steps(total=300.0)


def _41() -> Iterator[Record]:
    for T in (2, 3, 8, 14):
        for lam in LAMS:
            yield from th.thm_41(table2(), lam=lam, alpha0=1.5, T=T, theta_1=[1.0])
    drawn = [
        th.thm_41(p, lam=lam, alpha0=alpha0, T=9, theta_1=np.full(p.dim, 2.0), theta_star=np.zeros(p.dim))
        for p in problems()
        for lam, alpha0 in ((0.3, 0.5), (0.5, 2.0), (0.8, 8.0))
    ]
    yield from (tightest(kind) for kind in zip(*drawn, strict=True))
    # The function on which these steps are worst, as an f_SFT: two thirds of the bound at T = 12.
    problem, start, steps = th.as_sft(th.worst_case(np.full(11, 12**-0.5), 1.0, 1.0), loss=1e-3)
    alpha0 = float(steps[0]) * 12**0.5
    yield th.thm_41(problem, lam=0.0, alpha0=alpha0, T=12, theta_1=start, theta_star=np.zeros(problem.dim))[0]
    yield th.thm_41_schedule(table2(), lam=0.3, schedule=InverseRootHorizon(1.5, 12), T=12, theta_1=[1.0])
    yield th.thm_41(table2(), lam=0.5, alpha0=4.0, T=10_000, theta_1=[0.0], runs=2_000)[0]


def _42() -> Iterator[Record]:
    for lam in LAMS:
        yield from th.remark_42(table2(), lam=lam, alpha0=1.0, epsilon=1e-3, theta_1=[0.0])


def _43() -> Iterator[Record]:
    for lam in LAMS:
        yield from th.pareto_optimal(table2(), lam)
    yield th.optima_once(table2(), list(LAMS))


def _a4() -> Iterator[Record]:
    yield th.conflict(table2())
    for lam in LAMS:
        yield from th.no_common_ground(table2(), lam)
    yield from th.same_input_is_worst([0.5, 1.5, 2.5, 3.1], T_DPO=2000, T_SFT=2000, alpha=1.0, lam=0.5, theta_1=0.0)


PAPER: dict[str, Claim] = {
    "A.1": Claim(
        "mean ‖g_DPO‖² <= 4β²Φ² and mean ‖g_SFT‖² <= 4Φ²",
        _a1,
        "1. Policies and objectives",
        whole=True,
        at=at.prop_a1,
        short="gradients",
    ),
    "A.2": Claim(
        "f_DPO, f_SFT and f_Mix,λ are convex",
        _a2,
        "1. Policies and objectives",
        whole=True,
        at=at.prop_a2,
        short="convexity",
    ),
    "A.3": Claim(
        "two runs of one recursion keep their order, and a positive fraction of their distance",
        _a3,
        "S1. Setting",
        at=at.lemma_a3,
        short="two-runs",
    ),
    "A.5": Claim(
        "a convex function lies above its tangents",
        _a5,
        "1. Policies and objectives",
        at=at.lemma_a5,
        short="tangents",
    ),
    "A.6": Claim(
        "the last member of a weighted sequence, by its average and its tails",
        _a6,
        "A2. Theorem 4.1 and Remark 4.2",
        at=at.lemma_a6,
        short="weighted-average",
    ),
    "A.7": Claim(
        "the expected progress of one step of ALRIGHT",
        _a7,
        "A1. The constants",
        at=at.lemma_a7,
        short="one-step",
    ),
    "3.3": Claim(
        "Sequential keeps a gap: for every λ in [0.01, 0.99] and steps of any large sum, G_Mix,λ(θ_T) >= g > 0",
        _33,
        "S8. Any step sizes",
        whole=True,
        at=at.theorem_33,
        short="forgetting",
        figure="forgetting",
        longest=10**300,
    ),
    "4.1": Claim(
        "ALRIGHT: E G_Mix,λ(θ_T) <= D²/(2α0√T) + (2 + log(T-1)) C² α0/(2√T)",
        _41,
        "A2. Theorem 4.1 and Remark 4.2",
        at=at.thm_41,
        short="alright",
        figure="thm41",
    ),
    "4.2": Claim(
        "the bound of 4.1 vanishes, for any λ",
        _42,
        "A2. Theorem 4.1 and Remark 4.2",
        at=at.remark_42,
        short="vanishing",
        figure="thm41",
    ),
    "4.3": Claim(
        "a solution of (15) is Pareto optimal, and f* serves every λ",
        _43,
        "M8. Remark 4.3: Pareto optimality",
        at=at.remark_43,
        short="pareto",
        figure="pareto",
    ),
    "A.4": Claim(
        "conflict without inconsistent labels; with the same input it is more severe",
        _a4,
        "M9. Remark A.4: conflict without inconsistent labels",
        at=at.remark_a4,
        short="conflict",
    ),
}
