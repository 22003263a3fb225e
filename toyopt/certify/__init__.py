"""Proofs by ball arithmetic (python-flint), apart from numerics by module and by return type.

Every function takes exact numbers (int, Fraction, decimal string; floats are refused) and returns a
`Certificate`: *proven* or *not proven*, with the precision and the time of the proof, which `recheck` repeats.
The mathematics is in docs/theory.md, part S; the family is arXiv 2410.15483v3's lower bound (Theorem 3.3).

>>> from toyopt.certify import sequential_gap
>>> sequential_gap(("1/100", "99/100"), "1/10").proven
True
"""

from toyopt.certify.any_steps import sequential_gap_any_steps, theorem_3_3_any_steps
from toyopt.certify.certificate import Certificate
from toyopt.certify.constant import sequential_constant
from toyopt.certify.exact import Exact
from toyopt.certify.family import TABLE_2, Family
from toyopt.certify.lemma_a3 import lemma_a3
from toyopt.certify.level import gap_on_half_line
from toyopt.certify.low_rank import low_rank_gap
from toyopt.certify.minimiser import closed_form_minimiser
from toyopt.certify.phases import Phases
from toyopt.certify.potential import Potential
from toyopt.certify.replay import replay_gap
from toyopt.certify.rest import adamw_rest
from toyopt.certify.scalar import chord, exp_remainder, logistic_variance
from toyopt.certify.sequential import find_T0, sequential_gap, theorem_3_3
from toyopt.certify.speed import adam_speed
from toyopt.certify.standard import standard_certificates
from toyopt.certify.trajectory import sequential_trajectory

__all__ = [
    "TABLE_2",
    "Certificate",
    "Exact",
    "Family",
    "Phases",
    "Potential",
    "adam_speed",
    "adamw_rest",
    "chord",
    "closed_form_minimiser",
    "exp_remainder",
    "find_T0",
    "gap_on_half_line",
    "lemma_a3",
    "logistic_variance",
    "low_rank_gap",
    "replay_gap",
    "sequential_constant",
    "sequential_gap",
    "sequential_gap_any_steps",
    "sequential_trajectory",
    "standard_certificates",
    "theorem_3_3",
    "theorem_3_3_any_steps",
]
