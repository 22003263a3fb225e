"""The ledger: every claim of the paper's theory and beyond, evaluated by the functions of `toyopt.theorems`.

The entry of a claim has all records of the claim, on the paper's two examples and on random problems. Its verdict
is the worst of their verdicts, its evidence their strongest. The first record represents the claim in tables; where
a claim has many records of a kind, the first is the record with the least slack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from toyopt import certify, symbolic
from toyopt import theorems as th
from toyopt._check import Array
from toyopt.algorithms import InverseRootHorizon
from toyopt.certify import Certificate
from toyopt.examples import Figure2, random_problem, table2
from toyopt.problem import Problem
from toyopt.record import EVIDENCE, Evidence, Record, Verdict

WIDE = ("1/100", "99/100")
_LAMS = (0.05, 0.3, 0.5, 0.8)


@dataclass(frozen=True)
class Entry:
    """One claim: its records, the first of them representative, and their wall-clock seconds."""

    claim: str
    statement: str
    records: tuple[Record, ...]
    seconds: float

    @property
    def shown(self) -> Record:
        """Record of the claim in a table: the first."""
        return self.records[0]

    @property
    def verdict(self) -> Verdict:
        """Fails if a record fails, else open if one is open, else holds."""
        verdicts = {record.verdict for record in self.records}
        return "fails" if "fails" in verdicts else "open" if "open" in verdicts else "holds"

    @property
    def evidence(self) -> Evidence:
        """The strongest evidence among the records."""
        return min((record.evidence for record in self.records), key=EVIDENCE.index)


def ledger(claims: Iterable[str] | None = None) -> Iterator[Entry]:
    """Yield the entries of the ledger, or of the claims named, in the ledger's order as they are evaluated.

    Raises ValueError on a claim that is not in the ledger.
    """
    wanted = list(CLAIMS) if claims is None else list(claims)
    for claim in wanted:
        if claim not in CLAIMS:
            raise ValueError(f"claims: one of {', '.join(CLAIMS)} is needed, got {claim!r}")
    for claim in wanted:
        statement, judge = CLAIMS[claim]
        began = time.perf_counter()
        records = tuple(judge())
        yield Entry(claim, statement, records, time.perf_counter() - began)


def of_proof(claim: str, certificate: Certificate) -> Record:
    """Return a certificate's record under the name of a claim of the ledger."""
    return replace(certificate.record, claim=claim)


def tightest(records: Iterable[Record]) -> Record:
    """Return the record with the least slack in units of its bound.

    A record whose slack is within twice its tolerance counts only if all are such; one that does not hold comes before
    all others.
    """
    order = {"fails": 0, "open": 1, "holds": 2}

    def key(record: Record) -> tuple[int, bool, float]:
        decided = record.kind == "equal" or record.slack > 2.0 * record.tolerance
        return order[record.verdict], not decided, record.slack / max(abs(record.bound), 1e-300)

    return min(records, key=key)


def _problems(n: int = 12) -> list[Problem]:
    """Draw random problems of several sizes, from fixed seeds."""
    return [
        random_problem(
            np.random.default_rng(seed), dim=1 + seed % 4, n_dpo=1 + seed % 5, n_sft=1 + seed % 3, outputs=2 + seed % 3
        )
        for seed in range(n)
    ]


def _points(problem: Problem, n: int = 40) -> Array:
    """Draw (n, d) parameters, small and large."""
    rng = np.random.default_rng(7)
    return np.asarray(rng.normal(size=(n, problem.dim)) * rng.choice([0.3, 3.0, 30.0, 300.0], size=(n, 1)))


def _examples() -> list[Problem]:
    return [table2(), Figure2().problem(), *_problems()]


@cache
def _derivations() -> tuple[Record, Record]:
    """Derive A.1 and A.2 by algebra, once for both."""
    return symbolic.records()


def _a1() -> Iterator[Record]:
    # Examples have beta = 1 and random problems 0.7, so the paper's own constants are checked too.
    records = [th.prop_a1(p, _points(p), beta=b) for p, b in zip(_examples(), [1.0, 1.0] + [0.7] * 12, strict=True)]
    yield from (tightest(kind) for kind in zip(*records, strict=True))
    yield _derivations()[0]


def _a2() -> Iterator[Record]:
    yield _derivations()[1]
    yield tightest(th.prop_a2(p, _points(p), lam=lam) for p in _examples() for lam in (0.0, *_LAMS, 1.0))


def _a3() -> Iterator[Record]:
    rng = np.random.default_rng(3)
    yield tightest(
        th.lemma_a3(float(a), float(a - b), steps=rng.uniform(1e-3, 4.0, size=5) / c, c=float(c))
        for a, b, c in rng.uniform(0.1, 3.0, size=(50, 3))
    )
    yield of_proof("A.3", certify.lemma_a3("1/2", [1] * 200, 5, -5))


def _a5() -> Iterator[Record]:
    near = [(p, np.random.default_rng(5).normal(size=(2, 8, p.dim))) for p in _examples()]
    yield tightest(
        th.lemma_a5(p, a, b, lam=lam) for p, pair in near for a, b in zip(*pair, strict=True) for lam in _LAMS
    )
    yield tightest(
        th.lemma_a5(p, _points(p)[:, None, :], _points(p)[None, ::-1, :], lam=lam) for p in _examples() for lam in _LAMS
    )


def _a6() -> Iterator[Record]:
    rng = np.random.default_rng(6)
    yield tightest(
        th.lemma_a6(np.sort(rng.uniform(0.01, 2.0, size=T))[::-1], rng.exponential(size=T)) for T in range(1, 60)
    )
    yield th.lemma_a6(np.full(30, 0.3), rng.exponential(size=30))


def _a7() -> Iterator[Record]:
    yield tightest(
        th.lemma_a7(p, _points(p)[i], _points(p)[-1 - i], lam=lam, alpha=alpha, stochastic=stochastic)
        for p in _examples()
        for i in range(3)
        for lam in _LAMS
        for alpha in (0.05, 1.3)
        for stochastic in (False, True)
    )


def _33() -> Iterator[Record]:
    yield th.certified_33(lam=WIDE, T0=1000)
    yield th.certified_33(lam=WIDE, T0=1000, phases=certify.Phases(order="sft-first"))
    yield th.thm_33()


def _41() -> Iterator[Record]:
    for T in (2, 3, 8, 14):
        for lam in _LAMS:
            yield from th.thm_41(table2(), lam=lam, alpha0=1.5, T=T, theta_1=[1.0])
    yield th.thm_41_schedule(table2(), lam=0.3, schedule=InverseRootHorizon(1.5, 12), T=12, theta_1=[1.0])
    yield th.thm_41(table2(), lam=0.5, alpha0=4.0, T=10_000, theta_1=[0.0], runs=2_000)[0]


def _42() -> Iterator[Record]:
    for lam in _LAMS:
        yield from th.remark_42(table2(), lam=lam, alpha0=1.0, epsilon=1e-3, theta_1=[0.0])


def _43() -> Iterator[Record]:
    for lam in _LAMS:
        yield from th.pareto_optimal(table2(), lam)
    yield th.optima_once(table2(), list(_LAMS))


def _a4() -> Iterator[Record]:
    yield th.conflict(table2())
    for lam in _LAMS:
        yield from th.no_common_ground(table2(), lam)
    yield from th.same_input_is_worst([0.5, 1.5, 2.5, 3.1], steps=(2000, 2000), alpha=1.0, lam=0.5, theta_1=0.0)


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


def _sft_first() -> certify.Phases:
    return certify.Phases(order="sft-first")


def _settings(T: int) -> Iterator[th.MaxrightSetting]:
    for lam in _LAMS:
        yield th.maxright_setting(table2(), lam, T=T, alpha0=3.0, theta_1=[-4.0])
    for seed in (1, 2, 5):
        problem = random_problem(np.random.default_rng(seed), dim=2, n_dpo=5, n_sft=6)
        yield th.maxright_setting(problem, 0.3, T=T, alpha0=0.7, theta_1=[2.0, -1.0])


def _m() -> Iterator[Record]:
    records = [th.maxright_best_and_average(setting) for T in (2, 20, 2000) for setting in _settings(T)]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _m_last() -> Iterator[Record]:
    settings = [setting for T in (2, 20, 2000) for setting in _settings(T)]
    for bound in ("exact", "harmonic", "linear decay"):
        yield tightest(th.maxright_last(setting, bound) for setting in settings)


def _m_stale() -> Iterator[Record]:
    settings = list(_settings(2000))
    records = [th.maxright_stale(setting, k) for k in (1, 2, 10, 100) for setting in settings]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _m_opt() -> Iterator[Record]:
    settings = list(_settings(500))
    records = [
        th.maxright_optima(setting, setting.f_star + np.array(off))
        for off in ((0.1, -0.05), (0.02, 0.03), (-0.2, 0.3))
        for setting in settings
    ]
    yield from (tightest(kind) for kind in zip(*records, strict=True))


def _a() -> Iterator[Record]:
    for T in (2, 6, 14):
        yield tightest(th.alright_linear_decay(table2(), lam=lam, T=T, theta_1=[1.0]) for lam in _LAMS)
        yield from th.alright_exact(table2(), lam=0.3, schedule=InverseRootHorizon(1.5, T), T=T, theta_1=[1.0])
    yield th.zamani_glineur(1.7, 0.6, 30)
    yield th.last_iterate_is_exact(np.full(20, 0.4), 1.3, 0.8)


def _e() -> Iterator[Record]:
    """Compare the enumeration over all paths with the backward induction, which is off by its own error at most."""
    for lam, T in ((0.3, 12), (0.5, 16), (0.8, 16)):
        shared = {"lam": lam, "schedule": InverseRootHorizon(1.5, T), "T": T, "theta_1": [1.0]}
        by_paths = th.expected_gap(table2(), method="paths", **shared)  # type: ignore[arg-type]
        by_grid = th.expected_gap(table2(), method="grid", **shared)  # type: ignore[arg-type]
        yield Record(
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


CLAIMS: dict[str, tuple[str, Callable[[], Iterable[Record]]]] = {
    "A.1": ("mean ‖g_DPO‖² <= 4β²Φ² and mean ‖g_SFT‖² <= 4Φ²", _a1),
    "A.2": ("f_DPO, f_SFT and f_Mix,λ are convex", _a2),
    "A.3": ("two runs of one recursion keep their order, and a positive fraction of their distance", _a3),
    "A.5": ("a convex function lies above its tangents", _a5),
    "A.6": ("the last member of a weighted sequence, by its average and its tails", _a6),
    "A.7": ("the expected progress of one step of ALRIGHT", _a7),
    "3.3": ("Sequential keeps a gap: for every λ in [0.01, 0.99] and all large T, G_Mix,λ(θ_T) >= g > 0", _33),
    "4.1": ("ALRIGHT: E G_Mix,λ(θ_T) <= D²/(2α0√T) + (2 + log(T-1)) C² α0/(2√T)", _41),
    "4.2": ("the bound of 4.1 vanishes, for any λ", _42),
    "4.3": ("a solution of (15) is Pareto optimal, and f* serves every λ", _43),
    "A.4": ("conflict without inconsistent labels; with the same input it is more severe", _a4),
    "S": ("Sequential's gap is λ log T plus an exact constant, so it diverges", _s),
    "M": ("MAXRIGHT's best and average iterate: F(θ) - F(θ*) = O(1/√T)", _m),
    "M-last": ("MAXRIGHT's last iterate, for any λ in (0, 1)", _m_last),
    "M-stale": ("the cost of a gap evaluation only every k steps", _m_stale),
    "M-opt": ("the cost of a wrong f*", _m_opt),
    "A": ("ALRIGHT's last iterate without the logarithm: DC/√T, and a sharp bound for any step sizes", _a),
    "E": ("ALRIGHT's expectation, exactly", _e),
}
