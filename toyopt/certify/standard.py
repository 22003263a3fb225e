"""The certificates that the ledger of claims shows: Table 2 as reconstructed, α = 1, θ_1 = θ_ref = 5."""

from __future__ import annotations

from toyopt.certify.certificate import Certificate
from toyopt.certify.constant import sequential_constant
from toyopt.certify.lemma_a3 import lemma_a3
from toyopt.certify.level import gap_on_half_line
from toyopt.certify.minimiser import closed_form_minimiser
from toyopt.certify.phases import Phases
from toyopt.certify.scalar import chord, exp_remainder, logistic_variance
from toyopt.certify.sequential import sequential_gap, theorem_3_3
from toyopt.certify.trajectory import sequential_trajectory

WIDE = ("1/100", "99/100")


def standard_certificates(*, steps: int = 100_000) -> tuple[Certificate, ...]:
    """Run every certifier on the standard family; `steps` is the length of each phase of the enclosed run."""
    sft_first = Phases(order="sft-first")
    return (
        logistic_variance(),
        chord(),
        exp_remainder(),
        closed_form_minimiser("1/2"),
        closed_form_minimiser(WIDE),
        gap_on_half_line(-20, "1/50", WIDE),
        gap_on_half_line(25, "1/50", WIDE, side="right"),
        lemma_a3("1/2", [1] * 200, 5, -5),
        theorem_3_3(T0=1000),
        theorem_3_3(T0=1000, phases=sft_first),
        sequential_gap(WIDE, "1/10"),
        sequential_gap(WIDE, "1/10", phases=sft_first),
        sequential_gap(WIDE, 1),
        sequential_gap("1/2", 1),
        sequential_gap("1/2", 10),
        sequential_gap("1/2", 1, ratio=100),
        sequential_gap("1/2", 1, T_first=1_000_000),
        sequential_constant("1/2", "1/100000", T0=10_000_000),
        sequential_constant("1/2", "1/100000", T0=10_000_000, phases=sft_first),
        sequential_trajectory("1/2", steps, steps),
    )
