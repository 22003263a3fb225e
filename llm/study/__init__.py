"""A study: a grid of runs as data, carried out and measured, listed with its state, and read as one tidy table.

from llm import TrainConfig
from llm.study import Grid, run_study, table
grid = Grid(TrainConfig.preset("embedded", steps=200, f_star="compute"), lams=(0.25, 0.5, 0.75), seeds=(1, 2, 3))
run_study(grid, "runs/study", jobs=2)
rows = table(grid, "runs/study")
"""

from llm.study.eta import Progress
from llm.study.measures import MEASURES, training_digest
from llm.study.scheduler import Failure, Outcome, run_study
from llm.study.status import State, commands, status
from llm.study.sweep import METHODS, Grid, StudyRun, describe
from llm.study.table import fronts, hypervolume, measure, paths, scale_free_distance, table, write_csv

__all__ = [
    "MEASURES", "METHODS", "Failure", "Grid", "Outcome", "Progress", "State", "StudyRun", "commands", "describe",
    "fronts", "hypervolume", "measure", "paths", "run_study", "scale_free_distance", "status", "table",
    "training_digest", "write_csv",
]  # fmt: skip
