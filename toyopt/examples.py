"""The paper's two toy problems and random ones.

The paper's text at hand has lost the numbers of its Tables 2 and 3, and of the settings of Figure 2. What stands here
is **reconstructed**: a choice that has every property the prose states, never the paper's own print.
docs/deviations.md gives the reasons for these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toyopt import _check
from toyopt._check import Array
from toyopt.algorithms import DPO, SFT, Constant, Sequential
from toyopt.problem import Problem


@dataclass(frozen=True)
class DataRow:
    """One line of a data specification: an input, an output with its label, the role it plays, and phi(y,x)."""

    input: str
    output: str
    label: int
    role: str
    feature: tuple[float, ...]


# Two outputs {0, 1}; inputs and labels differ between the two data, and yet they pull in opposite directions.
TABLE2 = (
    DataRow("x_DPO", "y_w", 1, "chosen", (1.0,)),
    DataRow("x_DPO", "y_l", 0, "rejected", (0.5,)),
    DataRow("x_SFT", "y", 0, "target", (0.5,)),
    DataRow("x_SFT", "y'", 1, "not trained on", (1.0,)),
)

# The pulls are at 135 degrees: they conflict, yet a region of the plane is good for both.
TABLE3 = (
    DataRow("x_DPO", "y_w", 1, "chosen", (1.0, 1.0)),
    DataRow("x_DPO", "y_l", 0, "rejected", (0.5, 0.5)),
    DataRow("x_SFT", "y", 0, "target", (0.5, 0.5)),
    DataRow("x_SFT", "y'", 1, "not trained on", (1.0, 0.5)),
)


def from_rows(rows: tuple[DataRow, ...], *, theta_ref: Array | list[float], beta: float = 1.0) -> Problem:
    """Return the problem that a table specifies: one preference pair and one demonstration with two outputs."""
    by_role = {row.role: row.feature for row in rows}
    return Problem.dpo_sft(
        chosen=[by_role["chosen"]],
        rejected=[by_role["rejected"]],
        features=[[by_role["target"], by_role["not trained on"]]],
        targets=[0],
        theta_ref=theta_ref,
        beta=beta,
    )


def reference_problem(rows: tuple[DataRow, ...]) -> Problem:
    """Return the data with the reference objective, `-log pi_theta(y_w|x_DPO)` of eq. (34), in DPO's place.

    Under two outputs this is DPO's objective with beta = 1 and theta_ref = 0, and has no minimiser.
    """
    return from_rows(rows, theta_ref=np.zeros(len(rows[0].feature)), beta=1.0)


@dataclass(frozen=True)
class LowerBound:
    """The family of Theorem 3.3: `f_DPO = log(1+e^{-c(theta-theta_ref)})`, `f_SFT = log(1+e^{c theta})`."""

    c: float = 0.5
    theta_ref: float = 5.0

    def __post_init__(self) -> None:
        _check.real("c", self.c, above=0.0)
        _check.real("theta_ref", self.theta_ref)

    def problem(self) -> Problem:
        """Return the family's member as a Problem with d = 1 and beta = 1; at c = 1/2 its features are Table 2's."""
        if self.c == 0.5:
            return from_rows(TABLE2, theta_ref=[self.theta_ref])
        return Problem.dpo_sft(
            chosen=[[self.c]],
            rejected=[[0.0]],
            features=[[[0.0], [self.c]]],
            targets=[0],
            theta_ref=[self.theta_ref],
        )


def table2(theta_ref: float = 5.0) -> Problem:
    """Return the lower-bound example (App. A.2, Table 2, reconstructed): d = 1, Phi = 1, beta = 1."""
    return LowerBound(0.5, theta_ref).problem()


@dataclass(frozen=True)
class Figure2:
    """The settings of Figure 2 (App. D.1). Start, weight decay and λ are reconstructed, the rest is stated."""

    start: tuple[float, float] = (5.0, -9.9)
    alpha: float = 0.01
    weight_decay: float = 0.001
    reference_steps: int = 1_000
    sequential_steps: tuple[int, int] = (10_000, 10_000)
    threshold: float = 0.05
    joint_steps: int = 20_000
    lam: float = 0.5

    def theta_ref(self) -> Array:
        """Return the reference parameter, (2,): full gradients of `-log pi_theta(y_w|x_DPO)` from the start."""
        from toyopt.simulate import simulate

        run = simulate(
            reference_problem(TABLE3),
            Sequential((self.reference_steps,), order=(DPO,)),
            Constant(self.alpha),
            theta0=self.start,
            weight_decay=self.weight_decay,
        )
        return np.asarray(run.last[0])

    def sequential(self) -> Sequential:
        """Return the rule: DPO first, then SFT, each ending early once its objective is below the threshold."""
        return Sequential(self.sequential_steps, (DPO, SFT), (self.threshold, self.threshold))

    def problem(self) -> Problem:
        """Table 3 (reconstructed) with the trained reference: d = 2, beta = 1."""
        return from_rows(TABLE3, theta_ref=self.theta_ref())


def random_problem(
    rng: np.random.Generator,
    *,
    dim: int = 3,
    n_dpo: int = 4,
    n_sft: int = 5,
    outputs: int = 3,
    beta: float = 0.7,
) -> Problem:
    """Return a problem with standard normal features and reference: for tests and sweeps."""
    for name, value in (("dim", dim), ("n_dpo", n_dpo), ("n_sft", n_sft)):
        _check.whole(name, value, low=1)
    _check.whole("outputs", outputs, low=2)
    return Problem.dpo_sft(
        chosen=rng.normal(size=(n_dpo, dim)),
        rejected=rng.normal(size=(n_dpo, dim)),
        features=rng.normal(size=(n_sft, outputs, dim)),
        targets=rng.integers(outputs, size=n_sft).tolist(),
        theta_ref=rng.normal(size=dim),
        beta=beta,
    )
