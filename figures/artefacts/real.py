"""The figure `real`: SmolLM2-135M-Instruct's skill and preferences after training, by method (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from figures.analysis import real_runs, real_sweeps, recorded_runs, seeds
from figures.analysis.real_runs import EVALUATION
from figures.analysis.real_sweeps import real_label
from figures.analysis.seeds import numeric
from figures.analysis.small_tables import pack
from figures.analysis.sweep_summary import claim
from figures.artefact import Artefact, Check, Data, Request
from figures.drawing.real import draw

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SKILL = (
    "skill_exact_match", "skill_exact_match_low", "skill_exact_match_high", "skill_exact_match_new",
    "skill_valid_json", "skill_n",
)  # fmt: skip
OPTIMA = ("f_dpo_star", "f_sft_star")  # on the held-out rows, of runs whose optima are computed
RUN = (*real_runs.RUN[:3], *SKILL, *OPTIMA, *real_runs.RUN[3:])  # of a whole run, on the row of its last evaluation
FOLDER = recorded_runs.FOLDER
LOSSES = ("f_dpo", "f_sft")
MEASURED = ("f_dpo", "f_sft", "accuracy", "skill_exact_match")
SFT_FIRST, DPO_FIRST = "Sequential, SFT first", "Sequential, DPO first"
# (what ends higher, than what, quantity, its name)
CLAIMS = (
    ("ALRIGHT", SFT_FIRST, "skill_exact_match", "keeps more of the skill"),
    ("MAXRIGHT", SFT_FIRST, "skill_exact_match", "keeps more of the skill"),
    ("ALRIGHT", DPO_FIRST, "accuracy", "keeps more of the preferences"),
    ("MAXRIGHT", DPO_FIRST, "accuracy", "keeps more of the preferences"),
)


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs at scale `real`; at every other scale the recorded results, by their digests."""
    if request.scale == "real":
        return {"grids": real_sweeps.real(request)}
    return {"recorded": recorded_runs.digests(FOLDER)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every evaluation of every run, and the mean over seeds of every quantity at the end."""
    if "recorded" in parameters:
        rows, facts = recorded_runs.read(FOLDER)
    else:
        rows, facts = real_runs.evaluations(parameters, real_label, RUN), recorded_runs.about(parameters)
    ends = real_runs.ends_of(rows)
    means, path = real_runs.means(ends, MEASURED), real_runs.mean_path(rows, LOSSES)
    return Data(
        table=seeds.columns(rows, (*EVALUATION, *RUN)),
        extra=pack("mean", means) | pack("path", path),
        facts=facts,
        checks=(*real_runs.checks(parameters, rows, ends, FOLDER, facts), *_claims(ends)),
    )


def table_of(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the table of the CSV for the finished runs in `parameters["root"]`, of which some may be missing."""
    return seeds.columns(real_runs.evaluations(parameters, real_label, RUN), (*EVALUATION, *RUN))


def _claims(ends: pd.DataFrame) -> tuple[Check, ...]:
    """Return the claims that joint training keeps more than Sequential, for both objectives."""
    claims = []
    for ours, other, column, what in CLAIMS:
        near, far = seeds.shared(*(seeds.select(ends, label=label) for label in (ours, other)))
        if near.empty or numeric(ends, column).isna().any():
            continue
        difference = seeds.difference(near, far, column)
        name = f"{column.replace('_', '-')}/{ours}-{other.replace(', ', '-').replace(' ', '-')}".lower()
        statement = f"{ours} {what} than {other} (difference of the shares)"
        claims.append(claim(name, "", statement, difference, 0.0, "lower"))
    return tuple(claims)


ARTEFACT = Artefact(
    name="real",
    title="A real model: what is left of a skill and of preferences",
    paper="beyond the paper",
    cost="seconds; at scale real hours of training before",
    seconds=5.0,
    caption=(
        "SmolLM2-135M-Instruct with LoRA, λ = 0.5 unless it is named; every method takes the same number of steps, "
        "with batches of equal size, and a step of Mix uses both sets. SFT teaches a convention that the base cannot "
        "know: to file a note as a JSON object with invented keys in a fixed order (`llm.skill`); the preferences are "
        "human judgements of answers. (a), (b) Losses on held-out rows with λ = 0.5 and the base as DPO's reference, "
        "means over seeds: lower is better; Sequential and Replay change the objective after half of the steps. "
        "(c) The share of held-out notes, "
        "about other persons and items, that the trained model files exactly right (greedy answers): 0 for the base. "
        "(d) The share of held-out pairs whose chosen response has the higher implicit reward; 0.5 for a model that "
        "prefers neither. Marks are means over seeds, white dots the seeds, lines 95 % intervals over seeds where "
        "there are several. Without --scale real the figure shows recorded results (`results/real`), and the line "
        "below the axes tells where and when they were made; `python paper_repro.py real --scale real` makes them "
        "anew."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
