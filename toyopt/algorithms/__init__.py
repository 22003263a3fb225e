"""The decision rules of Sequential, Mix, ALRIGHT, MAXRIGHT and replay.

The only place where they are written. One step of any of them is `theta <- theta - alpha_t Σ_i c_i g_i`, and a rule
is nothing but its choice of the coefficients `c`. Plain numbers go in and a decision comes out: no arrays, no
torch, so that the compiled simulator and a trainer of language models take the very same decisions.

`choices` has the rules as functions that a compiler takes (`draw`, `largest_weighted_gap`, ...). `rules` and `staged`
have the rules as frozen dataclasses that own their behaviour, by option value in `RULES`. `controller` keeps the state
of a loop. Objectives are numbered; the paper's are DPO = 0 and SFT = 1, and λ weighs DPO. Source: arXiv 2410.15483v3,
Algorithms 1 to 3 and Appendix C; replay is not in the paper.
"""

from toyopt.algorithms.choices import (
    draw,
    even_draw,
    is_max_evaluation,
    largest_weighted_gap,
    replayed_stage,
    stage_over,
)
from toyopt.algorithms.controller import Controller
from toyopt.algorithms.rule import DPO, SFT, Decision, Rule
from toyopt.algorithms.rules import RULES, Alright, Maxright, Mix, check_rule
from toyopt.algorithms.staged import Replay, Sequential
from toyopt.schedules import Constant, Cosine, InverseRootHorizon, InverseTime, LinearDecay, Schedule, ZamaniGlineur

__all__ = [
    "DPO", "RULES", "SFT", "Alright", "Constant", "Controller", "Cosine", "Decision", "InverseRootHorizon",
    "InverseTime", "LinearDecay", "Maxright", "Mix", "Replay", "Rule", "Schedule", "Sequential", "ZamaniGlineur",
    "check_rule", "draw", "even_draw", "is_max_evaluation", "largest_weighted_gap", "replayed_stage", "stage_over",
]  # fmt: skip
