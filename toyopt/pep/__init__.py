"""Worst cases of the paper's methods by semidefinite programs, independent of the proofs of their bounds.

`python -m toyopt.pep` solves them and holds the optima beside the bounds of docs/theory.md. The solver, Clarabel, is
the extra `[pep]`: `pip install -e '.[pep]'`. The programs and their proof: docs/theory.md, part P.

>>> from toyopt.pep import setting
>>> print(setting("maxright", lam="1/2", bounds="1,1", steps="1/2,1/2"))
MAXRIGHT; λ = 1/2, 1/2; C = 1, 1; D = 1; T = 3; α = 1/2
"""

from toyopt.pep.certificate import certify_worst_gap
from toyopt.pep.compare import Row, WorstGap, claimed, rows, worst_gap
from toyopt.pep.methods import Setting, programs, setting
from toyopt.pep.program import Program, Solution, solve

__all__ = [
    "Program",
    "Row",
    "Setting",
    "Solution",
    "WorstGap",
    "certify_worst_gap",
    "claimed",
    "programs",
    "rows",
    "setting",
    "solve",
    "worst_gap",
]
