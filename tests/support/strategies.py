"""Hypothesis strategies for problems, together with the original features that the oracles want."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.oracle import Datum, Spec, Specs

MODERATE = (0.01, 1.0, 3.0)
EXTREME = (1e-4, 1.0, 30.0, 1e3)


def numbers(scale: float) -> st.SearchStrategy[float]:
    """Floats in [-scale, scale]; those that are neither zero nor denormal to the scale."""
    return st.floats(-1.0, 1.0, allow_nan=False, width=32, allow_subnormal=False).map(lambda x: scale * x)


def dyadic() -> st.SearchStrategy[float]:
    """Sixteenths in [-4, 4]: their sums, differences and products with each other are exact."""
    return st.integers(-64, 64).map(lambda k: k / 16)


def vectors(dim: int, entries: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[entries] * dim)


@st.composite
def data(draw: Any, dim: int, entries: st.SearchStrategy[float], pair: bool) -> Datum:
    """One datum with 2 to 4 outputs; for a pair the winner and the loser differ."""
    outputs = draw(st.lists(vectors(dim, entries), min_size=2, max_size=4))
    order = draw(st.permutations(range(len(outputs))))
    return Datum(tuple(outputs), order[0], order[1] if pair else None)


@st.composite
def specs_of(
    draw: Any,
    name: str,
    dim: int,
    entries: st.SearchStrategy[float],
    kind: str,
    betas: tuple[float, ...] = (0.1, 1.0, 2.5),
) -> Spec:
    """One objective: 1 to 4 data with ragged numbers of outputs."""
    each = draw(st.lists(data(dim, entries, kind == "dpo"), min_size=1, max_size=4))
    if kind == "sft":
        return Spec(name, tuple(each))
    return Spec(name, tuple(each), draw(st.sampled_from(betas)), draw(vectors(dim, entries)))


@st.composite
def problems(
    draw: Any,
    *,
    scales: tuple[float, ...] = MODERATE,
    exact: bool = False,
    objectives: tuple[int, ...] = (2, 3),
) -> Specs:
    """DPO, SFT and perhaps a third objective of either kind, in 1 to 4 dimensions."""
    dim = draw(st.integers(1, 4))
    entries = dyadic() if exact else numbers(draw(st.sampled_from(scales)))
    kinds = ["dpo", "sft", draw(st.sampled_from(["dpo", "sft"]))][: draw(st.sampled_from(objectives))]
    betas = (0.5, 1.0, 2.0) if exact else (0.1, 1.0, 2.5)
    return tuple(draw(specs_of(f"{kind}{i}", dim, entries, kind, betas)) for i, kind in enumerate(kinds))


def points(specs: Specs, scales: tuple[float, ...] = (0.1, 1.0, 10.0)) -> st.SearchStrategy[tuple[float, ...]]:
    """A parameter for such a problem."""
    dim = len(specs[0].data[0].outputs[0])
    return st.sampled_from(scales).flatmap(lambda scale: vectors(dim, numbers(scale)))


def fixed(seed: int, n: int = 2, dim: int = 3, *, scale: float = 1.0, n_data: int = 3) -> Specs:
    """A random problem that is the same for ever: DPO, SFT, and then DPO and SFT by turns, other beta each time."""
    rng = np.random.default_rng(seed)

    def row() -> tuple[float, ...]:
        return tuple(float(x) for x in scale * rng.normal(size=dim))

    def datum(pair: bool) -> Datum:
        outputs = tuple(row() for _ in range(int(rng.integers(2, 5))))
        wanted, loser = (int(i) for i in rng.permutation(len(outputs))[:2])
        return Datum(outputs, wanted, loser if pair else None)

    out = []
    for i in range(n):
        each = tuple(datum(i % 2 == 0) for _ in range(n_data + i))
        out.append(Spec(f"dpo{i}", each, 0.7 + 0.1 * i, row()) if i % 2 == 0 else Spec(f"sft{i}", each))
    return tuple(out)
