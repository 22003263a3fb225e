"""Problems with exact objectives, gradients and Hessians: softmax policies on finite data.

A policy has `pi_theta(y|x) ∝ exp(thetaᵀ phi(y,x))` (arXiv 2410.15483v3, section 3.2). Then both objectives of the
paper, and any further negative log-likelihood of a softmax, are means over the data of one and the same function,

    f(theta) = (1/N) Σ_n log(1 + Σ_{r in n} exp(a_rᵀ(theta - o))),

with one row `a_r` for each competitor of the wanted answer and one origin `o`:

    DPO, eq. (1), (23):  one row, a = -beta (phi(yw,x) - phi(yl,x)), o = theta_ref    (normalisers cancel)
    SFT, eq. (4), (27):  a row for each y' != y, a = phi(y',x) - phi(y,x), o = 0

so that value, gradient and Hessian are written once, in forms that keep full relative accuracy for margins of any
size: `log1p` and `expm1` instead of logarithms of sums, products of probabilities instead of differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt import _check
from toyopt._check import Array


@dataclass(frozen=True, eq=False)
class Objective:
    """A mean of `log(1 + Σ_r exp(a_rᵀ(theta - origin)))` over N data: convex, smooth, non-negative.

    Make one with `dpo` or `sft`; the constructor takes the canonical form of any other.

    name    for messages and column names
    rows    (R, d) the a_r of all data, one datum after the other
    counts  (N,) how many rows each datum has, each at least 1; they sum to R
    origin  (d,)
    phi     the largest norm of a feature that it was made from, or None where that means nothing

    Raises ValueError on shapes that do not fit, empty data, NaN or infinity.
    """

    name: str
    rows: Array
    counts: NDArray[np.int64]
    origin: Array
    phi: float | None = None

    def __post_init__(self) -> None:
        rows = _check.array(f"{self.name}.rows", self.rows, 2)
        counts = np.array(
            [_check.whole(f"{self.name}.counts", c, low=1) for c in _check.items(f"{self.name}.counts", self.counts)],
            dtype=np.int64,
        )
        counts.setflags(write=False)
        if counts.sum() != len(rows):
            raise ValueError(f"{self.name}.counts: sum to {counts.sum()}, and there are {len(rows)} rows")
        origin = _check.array(f"{self.name}.origin", self.origin, 1)
        if len(origin) != rows.shape[1]:
            raise ValueError(f"{self.name}.origin: length {rows.shape[1]} is needed, got {len(origin)}")
        for field, value in (("rows", rows), ("counts", counts), ("origin", origin)):
            object.__setattr__(self, field, value)

    @property
    def dim(self) -> int:
        """d, the number of parameters."""
        return int(self.rows.shape[1])

    @property
    def size(self) -> int:
        """N, the number of data."""
        return len(self.counts)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(N,) index of each datum's first row."""
        out = np.cumsum(self.counts) - self.counts
        out.setflags(write=False)
        return out

    @cached_property
    def grad_bound(self) -> float:
        """C with ‖g(theta; datum)‖ <= C for all theta and data: `max_r ‖a_r‖`, the data's own C1, C2 of eq. (20), (21).

        A datum's gradient is Σ_r p_r a_r with p_r >= 0 and Σ_r p_r < 1. For DPO it is beta max‖Delta‖, for SFT
        max ‖phi(y,x) - phi(y',x)‖. Approached where one answer has all the probability, so it cannot be improved.
        """
        return float(np.sqrt((self.rows**2).sum(axis=1).max()))

    @cached_property
    def _squared_diameters(self) -> Array:
        """(N,): the largest squared distance between two of each datum's points, its rows a_r and 0."""
        pairs = self.counts * (self.counts + 1) // 2
        squares = (self._pair_index[2] ** 2).sum(axis=1)
        return np.asarray(np.maximum.reduceat(squares, np.cumsum(pairs) - pairs))

    @property
    def diameters(self) -> Array:
        """(N,): the largest distance between two of each datum's points, its rows a_r and 0."""
        return np.sqrt(self._squared_diameters)

    @cached_property
    def smoothness(self) -> float:
        """L with Hessian ⪯ L·I: a covariance of points within a diameter D has norm <= D²/4; the mean over the data."""
        return float(self._squared_diameters.mean() / 4)

    def data_values(self, theta: ArrayLike) -> Array:
        """Return each datum's own value, (..., N), at theta of shape (..., d)."""
        return self._softplus(self._margins(theta))[0]

    def value(self, theta: ArrayLike) -> Array:
        """Return f(theta), (...), eq. (1) or (4)."""
        out: Array = self.data_values(theta).mean(axis=-1)
        return out

    def target_probability(self, theta: ArrayLike) -> Array:
        """(..., N): of each datum's wanted answer: `h_beta` of eq. (3) for DPO, `pi_theta(y|x)` for SFT."""
        return self._probabilities(theta)[1]

    def data_grads(self, theta: ArrayLike) -> Array:
        """Return each datum's gradient, (..., N, d), eq. (2), (23) or (5), (27)."""
        p, _ = self._probabilities(theta)
        out: Array = np.add.reduceat(p[..., None] * self.rows, self.starts, axis=-2)
        return out

    def grad(self, theta: ArrayLike) -> Array:
        """Return the gradient of `value`, (..., d)."""
        p, _ = self._probabilities(theta)
        out: Array = p @ self.rows / self.size
        return out

    def hess(self, theta: ArrayLike) -> Array:
        """Return the Hessian of `value`, (..., d, d), eq. (29), (31): the mean over the data of a covariance.

        Written as Σ_{r<s} p_r p_s (a_r - a_s)(a_r - a_s)ᵀ over the pairs of answers: nothing cancels, so it is
        positive semidefinite as computed, and right to rounding where a probability is within e^-700 of 1.
        """
        p, p0 = self._probabilities(theta)
        first, second, outer = self._pairs
        every = np.concatenate([p0, p], axis=-1)  # the wanted answers, then the rows
        flat = (every[..., first] * every[..., second]) @ outer / self.size
        return np.asarray(flat.reshape(*flat.shape[:-1], self.dim, self.dim))

    def _margins(self, theta: ArrayLike) -> Array:
        """Return a_rᵀ(theta - origin), (..., R)."""
        out: Array = (_check.theta("theta", theta, self.dim) - self.origin) @ self.rows.T
        return out

    def _softplus(self, z: Array) -> tuple[Array, Array, Array]:
        """Return (..., N) values, their shifts m = max(0, max z), and s with value = m + log1p(s)."""
        m = np.maximum(np.maximum.reduceat(z, self.starts, axis=-1), 0.0)
        rest = np.add.reduceat(np.exp(z - np.repeat(m, self.counts, axis=-1)), self.starts, axis=-1)
        # m = 0: s = Σ exp(z), tiny or not. m > 0: the value is at least log 2, so rounding of s does no harm.
        s = np.expm1(-m) + rest
        return m + np.log1p(s), m, s

    def _probabilities(self, theta: ArrayLike) -> tuple[Array, Array]:
        """Return the probabilities of each row's answer, (..., R), and of each datum's wanted answer, (..., N)."""
        z = self._margins(theta)
        _, m, s = self._softplus(z)
        p = np.exp(z - np.repeat(m, self.counts, axis=-1)) / np.repeat(1.0 + s, self.counts, axis=-1)
        return p, np.exp(-m) / (1.0 + s)

    @cached_property
    def _pair_index(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """Pairs of answers of one datum as indices into (wanted answers, rows), and their row differences."""
        first, second = [], []
        for n, (start, count) in enumerate(zip(self.starts, self.counts, strict=True)):
            answers = np.concatenate([[n], self.size + start + np.arange(count)])
            i, j = np.triu_indices(count + 1, k=1)
            first.append(answers[i])
            second.append(answers[j])
        one, two = np.concatenate(first), np.concatenate(second)
        every = np.concatenate([np.zeros((self.size, self.dim)), self.rows])
        return one, two, every[one] - every[two]

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """The pairs and (P, d²) the outer products of their differences."""
        one, two, difference = self._pair_index
        outer = (difference[:, :, None] * difference[:, None, :]).reshape(len(one), -1)
        return one, two, outer


def dpo(chosen: ArrayLike, rejected: ArrayLike, *, beta: float, theta_ref: ArrayLike, name: str = "dpo") -> Objective:
    """Return f_DPO of eq. (1) for N preference pairs.

    chosen, rejected  (N, d) features phi(yw,x), phi(yl,x); further outputs cancel out of eq. (1)
    beta              > 0, DPO's temperature
    theta_ref         (d,) the reference policy's parameter
    """
    chosen, rejected = _check.array("chosen", chosen, 2), _check.array("rejected", rejected, 2)
    if chosen.shape != rejected.shape:
        raise ValueError(f"rejected: shape {chosen.shape} is needed, as chosen has, got {rejected.shape}")
    beta = _check.real("beta", beta, above=0.0)
    origin = _check.array("theta_ref", theta_ref, 1)
    if len(origin) != chosen.shape[1]:
        raise ValueError(f"theta_ref: length {chosen.shape[1]} is needed, as the features have, got {len(origin)}")
    phi = float(np.sqrt(max((chosen**2).sum(axis=1).max(), (rejected**2).sum(axis=1).max())))
    return Objective(name, -beta * (chosen - rejected), np.ones(len(chosen), dtype=np.int64), origin, phi)


def sft(features: Sequence[ArrayLike] | ArrayLike, targets: Sequence[int] | int, *, name: str = "sft") -> Objective:
    """Return f_SFT of eq. (4) for N demonstrations.

    features  N arrays (m_n, d), or one (N, m, d): phi(y,x_n) of every output y that x_n may have, m_n >= 2
    targets   (N,) which of its outputs each datum demonstrates
    """
    data = _check.items("features", features)  # type: ignore[arg-type]
    blocks = [_check.array(f"features[{n}]", block, 2) for n, block in enumerate(data)]
    if not blocks:
        raise ValueError("features: is empty, one datum at least is needed")
    wanted = [_check.whole(f"targets[{n}]", y, low=0) for n, y in enumerate(np.atleast_1d(targets))]
    if len(wanted) != len(blocks):
        raise ValueError(f"targets: one a datum is needed, got {len(wanted)} for {len(blocks)} data")
    rows = []
    for n, (block, y) in enumerate(zip(blocks, wanted, strict=True)):
        if len(block) < 2 or block.shape[1] != blocks[0].shape[1]:
            raise ValueError(f"features[{n}]: shape (2 or more, {blocks[0].shape[1]}) is needed, got {block.shape}")
        if y >= len(block):
            raise ValueError(f"targets[{n}]: must be less than {len(block)}, the number of outputs, got {y}")
        rows.append(np.delete(block, y, axis=0) - block[y])
    counts = np.array([len(r) for r in rows], dtype=np.int64)
    phi = float(np.sqrt(max((block**2).sum(axis=1).max() for block in blocks)))
    return Objective(name, np.concatenate(rows), counts, np.zeros(blocks[0].shape[1]), phi)


@dataclass(frozen=True, eq=False)
class Problem:
    """Two or more objectives of one parameter theta of dimension d. The paper's are DPO, index 0, and SFT, index 1.

    objectives  in the order of the weights; for two of them a scalar `lam` weighs (lam, 1-lam)
    phi         a bound on the norm of every feature (Assumption 3.2); None takes the data's own largest norm

    All methods take theta of shape (..., d) and compute in float64. Raises ValueError for fewer than two
    objectives, names that are not distinct, dimensions that differ, or a feature longer than a stated `phi`.
    """

    objectives: tuple[Objective, ...]
    phi: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", _check.items("objectives", self.objectives))
        if len(self.objectives) < 2:
            raise ValueError(f"objectives: two at least are needed, got {len(self.objectives)}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"objectives: names must differ, got {self.names}")
        dims = {o.name: o.dim for o in self.objectives}
        if len(set(dims.values())) > 1:
            raise ValueError(f"objectives: one dimension is needed, got {dims}")
        own = [o.phi for o in self.objectives if o.phi is not None]
        if self.phi is None:
            object.__setattr__(self, "phi", max(own) if own else None)
            return
        object.__setattr__(self, "phi", _check.real("phi", self.phi, above=0.0))
        # A feature of norm exactly phi may round to a few ulp more.
        if own and max(own) > self.phi * (1 + 1e-12):
            raise ValueError(f"phi: a feature has norm {max(own)!r}, more than the stated bound {self.phi!r}")

    @classmethod
    def dpo_sft(
        cls,
        *,
        chosen: ArrayLike,
        rejected: ArrayLike,
        features: Sequence[ArrayLike] | ArrayLike,
        targets: Sequence[int] | int,
        theta_ref: ArrayLike,
        beta: float = 1.0,
        phi: float | None = None,
    ) -> Problem:
        """Return the paper's pair of objectives: see `dpo` and `sft` for the arguments."""
        return cls((dpo(chosen, rejected, beta=beta, theta_ref=theta_ref), sft(features, targets)), phi)

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives' names, in order."""
        return tuple(o.name for o in self.objectives)

    @property
    def dim(self) -> int:
        """d, the number of parameters."""
        return self.objectives[0].dim

    def __len__(self) -> int:
        return len(self.objectives)

    def values(self, theta: ArrayLike) -> Array:
        """Return every objective's value, (..., n)."""
        return np.stack([o.value(theta) for o in self.objectives], axis=-1)

    def grads(self, theta: ArrayLike) -> Array:
        """Return every objective's gradient, (..., n, d)."""
        return np.stack([o.grad(theta) for o in self.objectives], axis=-2)

    def hessians(self, theta: ArrayLike) -> Array:
        """Return every objective's Hessian, (..., n, d, d)."""
        return np.stack([o.hess(theta) for o in self.objectives], axis=-3)

    def f_mix(self, theta: ArrayLike, lam: float | Sequence[float]) -> Array:
        """Return f_Mix,λ = λ f_DPO + (1-λ) f_SFT, (...), eq. (6)."""
        out: Array = self.values(theta) @ self._weights(lam)
        return out

    def grad_mix(self, theta: ArrayLike, lam: float | Sequence[float]) -> Array:
        """Return the gradient of f_Mix,λ, (..., d)."""
        return np.asarray(np.einsum("n,...nd->...d", self._weights(lam), self.grads(theta)))

    def hess_mix(self, theta: ArrayLike, lam: float | Sequence[float]) -> Array:
        """Return the Hessian of f_Mix,λ, (..., d, d); positive semidefinite for λ in [0,1] (Prop. A.2)."""
        return np.asarray(np.einsum("n,...nij->...ij", self._weights(lam), self.hessians(theta)))

    def _weights(self, lam: float | Sequence[float]) -> Array:
        return np.array(_check.weights("lam", lam, len(self)))

    # The paper's letters, for the two objectives of `dpo_sft`.
    def f_dpo(self, theta: ArrayLike) -> Array:
        """Return f_DPO, (...), eq. (1)."""
        return self.objectives[0].value(theta)

    def f_sft(self, theta: ArrayLike) -> Array:
        """Return f_SFT, (...), eq. (4)."""
        return self.objectives[1].value(theta)

    def grad_dpo(self, theta: ArrayLike) -> Array:
        """Return the mean of g_DPO, eq. (2), over the data, (..., d)."""
        return self.objectives[0].grad(theta)

    def grad_sft(self, theta: ArrayLike) -> Array:
        """Return the mean of g_SFT, eq. (5), over the data, (..., d)."""
        return self.objectives[1].grad(theta)

    def hess_dpo(self, theta: ArrayLike) -> Array:
        """Return the Hessian of f_DPO, (..., d, d), eq. (29)."""
        return self.objectives[0].hess(theta)

    def hess_sft(self, theta: ArrayLike) -> Array:
        """Return the Hessian of f_SFT, (..., d, d), eq. (31)."""
        return self.objectives[1].hess(theta)

    @property
    def C1(self) -> float:
        """‖g_DPO‖ <= C1 for all theta and data: the data's own, at most the paper's 2 beta Phi of eq. (20)."""
        return self.objectives[0].grad_bound

    @property
    def C2(self) -> float:
        """‖g_SFT‖ <= C2 for all theta and data: the data's own, at most the paper's 2 Phi of eq. (21)."""
        return self.objectives[1].grad_bound
