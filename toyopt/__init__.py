"""The exact toy world of arXiv 2410.15483: softmax policies, SFT and DPO objectives, and the paper's algorithms.

Importing it costs little more than importing NumPy: the compiler and SciPy are loaded when they are first needed.
"""

from toyopt.algorithms import (
    Alright,
    Constant,
    Controller,
    InverseRootHorizon,
    LinearDecay,
    Maxright,
    Mix,
    Replay,
    Sequential,
    ZamaniGlineur,
)
from toyopt.minimax import WorstOptimum, minimise_worst, worst_gap
from toyopt.optimizers import Adam, AdamW, HeavyBall
from toyopt.optimum import Optimum, ParetoFront, ideal_point, minimise, pareto_front
from toyopt.problem import Objective, Problem, dpo, sft
from toyopt.simulate import Merit, Path, Simulation, simulate

__all__ = [
    "Adam",
    "AdamW",
    "Alright",
    "Constant",
    "Controller",
    "HeavyBall",
    "InverseRootHorizon",
    "LinearDecay",
    "Maxright",
    "Merit",
    "Mix",
    "Objective",
    "Optimum",
    "ParetoFront",
    "Path",
    "Problem",
    "Replay",
    "Sequential",
    "Simulation",
    "WorstOptimum",
    "ZamaniGlineur",
    "dpo",
    "ideal_point",
    "minimise",
    "minimise_worst",
    "pareto_front",
    "sft",
    "simulate",
    "worst_gap",
]
