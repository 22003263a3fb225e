"""Measures of continual learning, from the values of T tasks after each of T stages of training.

values  (T, T), R_ij: the value of task j after stage i; stage j trains task j, so that tasks are in order of training
start   (T,), the value of each task before the first stage

Higher values are better, as of accuracies; with `lower_is_better` they are losses, whose sign is changed first. So the
signs of the results are the same for both: a positive forgetting is a loss of performance, a positive transfer a gain.

Sources: GEM is Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), section 2; RWalk is Chaudhry et al. 2018 (arXiv
1801.10112), section 3. All raise ValueError for arrays of other shapes and for values that are not finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST = 2  # tasks, and stages


def average(values: ArrayLike) -> float:
    """Return the mean value of all tasks after the last stage, Σ_j R_Tj / T; of losses, the mean loss.

    values  (stages, tasks) of any run, also of one without stages of its own that is evaluated several times

    Source: ACC of GEM; the average accuracy A_T of RWalk.
    """
    return float(_matrix(values, square=False)[-1].mean())


def forgetting(values: ArrayLike, *, lower_is_better: bool = False) -> float:
    """Return the mean over all tasks but the last of the best value of an earlier stage, less the value at the end.

    Σ_{j<T} (max_{l<T} R_lj - R_Tj) / (T-1), in which l may also be a stage before task j is trained. At least
    `-backward_transfer`. Source: f_j^k and F_k of RWalk (equation 3), for k = T.
    """
    return decline(_matrix(values)[:, :-1], lower_is_better=lower_is_better)


def decline(values: ArrayLike, *, lower_is_better: bool = False) -> float:
    """Return the mean over all tasks of the best value of an earlier evaluation, less the value of the last one.

    values  (evaluations, tasks) of a run that trains all tasks together, where no task is the last

    RWalk's mean over all tasks; negative if these still improve.
    """
    R = _signed(_matrix(values, square=False), lower_is_better)
    return float((R[:-1].max(axis=0) - R[-1]).mean())


def backward_transfer(values: ArrayLike, *, lower_is_better: bool = False) -> float:
    """Return the mean change of a task from the end of its own stage to the end: Σ_{j<T} (R_Tj - R_jj) / (T-1).

    Negative: later tasks harm earlier ones. Source: BWT of GEM.
    """
    R = _signed(_matrix(values), lower_is_better)
    return float((R[-1] - R.diagonal())[:-1].mean())


def forward_transfer(values: ArrayLike, start: ArrayLike, *, lower_is_better: bool = False) -> float:
    """Return the mean change of a task from the start to the stage before its own: Σ_{j>1} (R_{j-1,j} - b_j) / (T-1).

    start  (T,), b: GEM takes those of a model at random initialisation; of a pre-trained model they are its own

    Positive: earlier tasks help later ones before these are trained. Source: FWT of GEM.
    """
    R = _signed(_matrix(values), lower_is_better)
    b = _signed(np.asarray(start, dtype=float), lower_is_better)
    if b.shape != R.shape[1:] or not np.isfinite(b).all():
        raise ValueError(f"start: must be a finite number for each of {R.shape[1]} tasks, got {start!r}")
    return float((R.diagonal(offset=1) - b[1:]).mean())


def _matrix(values: ArrayLike, *, square: bool = True) -> NDArray[np.float64]:
    """Return the values as an array of floats; ValueError for another shape or a value that is not finite."""
    R = np.asarray(values, dtype=float)
    if R.ndim != 2 or R.shape[0] < LEAST or (square and (R.shape[0] != R.shape[1])) or not R.shape[1]:
        shape = "(T, T) of T >= 2 stages and tasks" if square else "(stages, tasks) of at least 2 stages"
        raise ValueError(f"values: must be {shape}, got an array of shape {R.shape}")
    if not np.isfinite(R).all():
        raise ValueError("values: must be finite, got NaN or infinity; evaluate every task after every stage")
    return R


def _signed(values: NDArray[np.float64], lower_is_better: bool) -> NDArray[np.float64]:
    return -values if lower_is_better else values
