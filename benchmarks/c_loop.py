"""Compile `loop.c` with gcc and call it as the simulator is called: the same problem, rule, steps and draws."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt.algorithms import Alright, Maxright, Mix, Rule, Sequential
from toyopt.optimizers import Optimizer
from toyopt.problem import Problem

# -ffp-contract=off is gcc's behaviour on plain x86-64 anyway; elsewhere it keeps the rounding comparable.
FLAGS = ("-O3", "-ffp-contract=off")
NATIVE = (*FLAGS, "-march=native")
KINDS = {Sequential: 0, Mix: 1, Alright: 2, Maxright: 3}


class NoCompilerError(RuntimeError):
    """There is no gcc on this machine."""


class _Problem(ctypes.Structure):
    _fields_ = [
        ("n_obj", ctypes.c_int64),
        ("dim", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
        ("ptr", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("origins", ctypes.c_void_p),
        ("widest", ctypes.c_int64),
    ]


class _Rule(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
        ("f_star", ctypes.c_void_p),
        ("k", ctypes.c_int64),
        ("stages", ctypes.c_int64),
        ("order", ctypes.c_void_p),
        ("budgets", ctypes.c_void_p),
        ("thresholds", ctypes.c_void_p),
    ]


class _Optimizer(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int64),
        ("first", ctypes.c_double),
        ("second", ctypes.c_double),
        ("epsilon", ctypes.c_double),
    ]


def compiler() -> str:
    """Return the path of gcc; raise NoCompilerError where there is none."""
    path = shutil.which("gcc")
    if path is None:
        raise NoCompilerError("gcc is not on the PATH; the C loops that the benchmarks compare with need it")
    return path


@functools.cache
def library(flags: tuple[str, ...] = FLAGS) -> ctypes.CDLL:
    """Return `loop.c` and `special.c` as a shared library, compiled anew in each process. Raises NoCompilerError."""
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory(prefix="toyopt-bench-") as folder:
        out = Path(folder, "loop.so")
        sources = [here / "loop.c", here / "special.c"]
        subprocess.run([compiler(), *flags, "-shared", "-fPIC", "-o", out, *sources, "-lm"], check=True)
        loaded = ctypes.CDLL(str(out))
    loaded.run.restype = ctypes.c_int64
    loaded.special_alright.restype = None
    return loaded


class CLoop:
    """One problem, one rule and one optimizer (None: SGD), as `loop.c` wants them."""

    def __init__(
        self, problem: Problem, rule: Rule, *, optimizer: Optimizer | None = None, flags: tuple[str, ...] = FLAGS
    ) -> None:
        self.optimizer = None if optimizer is None else _Optimizer(*optimizer.memory(problem.dim)[:4])
        self._run: Callable[..., int] = library(flags).run
        counts = np.concatenate([o.counts for o in problem.objectives])
        self._keep: list[NDArray[Any]] = []
        ints, floats = np.int64, np.float64
        self.problem = _Problem(
            len(problem),
            problem.dim,
            self._array(np.concatenate([o.rows for o in problem.objectives]), floats),
            self._array(np.concatenate([[0], np.cumsum(counts)]), ints),
            self._array(np.concatenate([[0], np.cumsum([o.size for o in problem.objectives])]), ints),
            self._array(np.stack([o.origin for o in problem.objectives]), floats),
            int(counts.max()),
        )
        lam: Any = getattr(rule, "lam", 0.0)
        weights = (lam, 1.0 - lam) if np.ndim(lam) == 0 else lam
        stages, thresholds = getattr(rule, "steps", ()), getattr(rule, "thresholds", None)
        self.rule = _Rule(
            KINDS[type(rule)],
            self._array(weights, floats),
            self._array(getattr(rule, "f_star", ()), floats),
            getattr(rule, "k", 1),
            len(stages),
            self._array(getattr(rule, "order", ()), ints),
            self._array(stages, ints),
            None if thresholds is None else self._array(thresholds, floats),
        )

    def _array(self, values: ArrayLike, dtype: type) -> int:
        self._keep.append(np.ascontiguousarray(values, dtype=dtype))
        return int(self._keep[-1].ctypes.data)

    def __call__(
        self, *, theta0: ArrayLike, alpha: float, weight_decay: float, steps: int, stochastic: bool, seed: int
    ) -> NDArray[np.float64]:
        """Return the last iterate after `steps` updates, shape (d,)."""
        theta = np.array(theta0, dtype=np.float64)
        counts = np.zeros(self.problem.n_obj, dtype=np.int64)
        rng = pcg64(seed)
        done = self._run(
            ctypes.byref(self.problem),
            ctypes.byref(self.rule),
            None if self.optimizer is None else ctypes.byref(self.optimizer),
            ctypes.c_double(alpha),
            ctypes.c_double(weight_decay),
            ctypes.c_void_p(theta.ctypes.data),
            ctypes.c_int64(steps),
            ctypes.c_int(stochastic),
            ctypes.c_void_p(rng.ctypes.data),
            ctypes.c_void_p(counts.ctypes.data),
        )
        if done < 0:
            raise FloatingPointError("the C loop diverged")
        return theta


def special_alright(
    problem: Problem,
    lam: float,
    *,
    theta0: ArrayLike,
    alpha: float,
    weight_decay: float,
    steps: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the last iterate of the loop written by hand for Table 3, shape (2,)."""
    dpo, sft = problem.objectives
    if problem.dim != 2 or len(dpo.rows) != 1 or len(sft.rows) != 1 or sft.origin.any():
        raise ValueError("problem: this loop is for Table 3 alone")
    theta = np.array(theta0, dtype=np.float64)
    rng = pcg64(seed)
    arrays = [np.ascontiguousarray(a) for a in (dpo.rows[0], sft.rows[0], dpo.origin)]
    library().special_alright(
        *(ctypes.c_void_p(a.ctypes.data) for a in arrays),
        *(ctypes.c_double(x) for x in (lam, alpha, weight_decay)),
        ctypes.c_void_p(theta.ctypes.data),
        ctypes.c_int64(steps),
        ctypes.c_void_p(rng.ctypes.data),
    )
    return theta


def pcg64(seed: int) -> NDArray[np.uint64]:
    """Return state and increment of a fresh `numpy.random.default_rng(seed)` as four 64-bit limbs, low first."""
    state = np.random.PCG64(seed).state["state"]
    limbs = [number >> shift & 0xFFFFFFFFFFFFFFFF for number in (state["state"], state["inc"]) for shift in (0, 64)]
    # __int128 wants an address that is a multiple of 16.
    block = np.zeros(6, dtype=np.uint64)
    start = block.ctypes.data % 16 // 8
    block[start : start + 4] = limbs
    return block[start : start + 4]
