"""The figure `chat`: SmolLM2-135M-Instruct on instructions and human preferences, by method (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from figures.analysis import real_runs, real_sweeps, recorded_runs, seeds
from figures.analysis.real_runs import EVALUATION, RUN
from figures.analysis.real_sweeps import chat_label
from figures.analysis.small_tables import pack
from figures.analysis.sweep_summary import claim, key
from figures.artefact import Artefact, Check, Data, Request
from figures.drawing.chat import draw

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FOLDER = recorded_runs.folder_of("chat")
MEASURED = ("f_dpo", "f_sft", "accuracy")
SFT_FIRST, DPO_FIRST = "Sequential, SFT first", "Sequential, DPO first"
# (Sequential, quantity, what it does in the second stage, which sign makes it worse)
FORGOTTEN = (
    (DPO_FIRST, "f_dpo", "loses preferences in the SFT stage (rise of f_DPO)", 1),
    (DPO_FIRST, "accuracy", "loses preferences in the SFT stage (fall of the accuracy)", -1),
    (SFT_FIRST, "f_sft", "forgets SFT in the DPO stage (rise of f_SFT)", 1),
)
# (what ends lower or higher, than what, quantity, how it reads, which sign makes it better)
KEPT = tuple(
    (method, other, quantity, text, sign)
    for method in ("ALRIGHT", "MAXRIGHT")
    for other, quantity, text, sign in (
        (DPO_FIRST, "f_dpo", "ends with a lower f_DPO", -1),
        (DPO_FIRST, "accuracy", "ends with a higher accuracy on preferences", 1),
        (SFT_FIRST, "f_sft", "ends with a lower f_SFT", -1),
    )
)


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs at scale `real`; at every other scale the recorded results, by their digests ({}: none)."""
    if request.scale == "real":
        return {"grids": real_sweeps.chat(request)}
    return {"recorded": recorded_runs.digests_if_there(FOLDER)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every evaluation of every run, and the mean over seeds of every quantity at every evaluation.

    Raises FileNotFoundError naming the command if nothing is recorded.
    """
    if "recorded" in parameters:
        recorded_runs.digests(FOLDER)
        rows, facts = recorded_runs.read(FOLDER)
    else:
        rows, facts = real_runs.evaluations(parameters, chat_label), recorded_runs.about(parameters)
    ends = real_runs.ends_of(rows)
    return Data(
        table=seeds.columns(rows, (*EVALUATION, *RUN)),
        extra=pack("mean", real_runs.means(ends, MEASURED)) | pack("path", real_runs.mean_path(rows, MEASURED)),
        facts=facts,
        checks=(*real_runs.checks(parameters, rows, ends, FOLDER, facts), *_claims(rows, ends)),
    )


def table_of(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the table of the CSV for the finished runs in `parameters["root"]`, of which some may be missing."""
    return seeds.columns(real_runs.evaluations(parameters, chat_label), (*EVALUATION, *RUN))


def _claims(rows: pd.DataFrame, ends: pd.DataFrame) -> tuple[Check, ...]:
    """Return the claims that Sequential's second stage undoes the first, and that joint training ends better."""
    claims = []
    half = rows[rows["step"] == rows["steps"] / 2].reset_index(drop=True)
    for label, quantity, text, sign in FORGOTTEN:
        before, after = (seeds.select(frame, label=label) for frame in (half, ends))
        claims += _claim(f"forgetting/{quantity}", f"{label}, {text}", after, before, quantity, sign)
    for label, other, quantity, text, sign in KEPT:
        ours, theirs = (seeds.select(ends, label=name) for name in (label, other))
        statement = f"{label} {text} than {other} (difference)"
        claims += _claim(f"kept/{quantity}/{key(label)}", statement, ours, theirs, quantity, sign)
    return tuple(claims)


def _claim(
    name: str, statement: str, ours: pd.DataFrame, theirs: pd.DataFrame, quantity: str, sign: int
) -> list[Check]:
    """Return the claim that sign · (ours - theirs) is at least 0, over the seeds of both; [] where there are none."""
    ours, theirs = seeds.shared(ours, theirs)
    if ours.empty:
        return []
    first, second = (ours, theirs) if sign > 0 else (theirs, ours)
    difference = seeds.difference(first, second, quantity)
    return [claim(name.replace("_", "-"), "", statement, difference, 0.0, "lower")]


ARTEFACT = Artefact(
    name="chat",
    title="A real model: what is left of human preferences and of instructions",
    paper="beyond the paper",
    cost="seconds; at scale real hours of training before",
    seconds=5.0,
    caption=(
        "SmolLM2-135M-Instruct with LoRA on sets of the paper's kinds, alpaca-gpt4 and HH-RLHF, λ = 0.5; every method "
        "takes the same number of steps, with batches of equal size, and a step of Mix uses both sets. Above, DPO's "
        "loss, SFT's loss, and the share of pairs whose chosen response has the higher implicit reward, on held-out "
        "rows: means over seeds. The grey lines are a model that prefers neither (ln 2 and ½), for SFT the model "
        "before training. Sequential and Replay change the objective after half of the steps. Below, the same at the "
        "end: "
        "marks are means, white dots the seeds, lines 95 % intervals over seeds where there are several; a line "
        "that ends at the frame continues beyond it. Without --scale real the figure shows recorded results "
        "(`results/chat`), and the line below tells where and when they were made; `python paper_repro.py chat "
        "--scale real` makes them anew."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
