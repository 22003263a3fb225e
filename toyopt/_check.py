"""Checks of a user's arguments: each failure is one ValueError or TypeError naming the argument and its value."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def real(name: str, value: SupportsFloat, *, low: float | None = None, above: float | None = None) -> float:
    """Return `value` as a finite float, at least `low` and more than `above` where these are given."""
    try:
        # float() reads text, and drops the imaginary part of NumPy's complex numbers.
        if isinstance(value, str | bytes | complex):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: a real number is needed, got {value!r}") from error
    except OverflowError as error:
        raise ValueError(f"{name}: a number that fits a float is needed, got {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name}: a finite number is needed, got {value!r}")
    if above is not None and not number > above:
        raise ValueError(f"{name}: must be more than {above:g}, got {value!r}")
    if low is not None and not number >= low:
        raise ValueError(f"{name}: must be at least {low:g}, got {value!r}")
    return number


def whole(name: str, value: SupportsIndex, *, low: int) -> int:
    """Return `value` as an int (bools and floats are refused), at least `low`."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: a whole number is needed, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name}: a whole number is needed, got {value!r}") from error
    if number < low:
        raise ValueError(f"{name}: must be at least {low}, got {value!r}")
    return number


def items(name: str, value: Iterable[Any]) -> tuple[Any, ...]:
    """Return a sequence as a tuple; TypeError for text, and for anything else that is no sequence."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise TypeError(f"{name}: a sequence is needed, got {value!r}")
    return tuple(value)


def _reals(name: str, value: ArrayLike) -> Array:
    """Return `value` as float64. Text is refused, and so are complex numbers, whose imaginary part would be dropped."""
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "biufO":
            raise TypeError(f"got {raw.dtype} in {value!r}")
        return raw.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: not an array of real numbers ({error})") from error


def array(name: str, value: ArrayLike, ndim: int) -> Array:
    """Return a read-only float64 copy with `ndim` axes, none of them empty, all entries finite."""
    out = np.array(_reals(name, value), order="C")
    if out.ndim != ndim:
        raise ValueError(f"{name}: {ndim} axes are needed, got shape {out.shape}")
    if out.size == 0:
        raise ValueError(f"{name}: is empty, got shape {out.shape}")
    if not np.isfinite(out).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(f"{name}: all entries must be finite, got {out[where]} at {where}")
    out.setflags(write=False)
    return out


def theta(name: str, value: ArrayLike, dim: int) -> Array:
    """Return a parameter, or a batch of parameters: finite float64, last axis `dim`; not copied."""
    out = _reals(name, value)
    if out.ndim == 0 or out.shape[-1] != dim:
        raise ValueError(f"{name}: the last axis must be d = {dim}, got shape {out.shape}")
    if not np.isfinite(out).all():
        raise ValueError(f"{name}: all entries must be finite, got {out[~np.isfinite(out)][0]}")
    return out


def weights(name: str, value: float | Sequence[float], n: int) -> tuple[float, ...]:
    """Return λ as weights: a scalar in [0, 1] stands for (λ, 1-λ); n numbers >= 0 that sum to 1 for themselves."""
    if np.ndim(value) == 0:
        lam = real(name, value)  # type: ignore[arg-type]
        if not 0.0 <= lam <= 1.0:
            raise ValueError(f"{name}: must be in [0, 1], got {value!r}")
        if n != 2:
            raise ValueError(f"{name}: a scalar weighs 2 objectives, and there are {n}: give {n} weights")
        return (lam, 1.0 - lam)
    out = tuple(real(f"{name}[{i}]", w, low=0.0) for i, w in enumerate(value))  # type: ignore[arg-type]
    if len(out) != n:
        raise ValueError(f"{name}: {n} weights are needed, one an objective, got {len(out)}")
    # n roundings of numbers that sum to 1 leave at most n ulp; 1e-9 admits weights typed with ten digits.
    if abs(math.fsum(out) - 1.0) > 1e-9:
        raise ValueError(f"{name}: the weights must sum to 1, got {out} with sum {math.fsum(out)!r}")
    return out
