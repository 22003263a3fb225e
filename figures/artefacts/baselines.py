"""Baselines beyond the paper: replay, SimPO after SFT, ORPO, and the mean of two adapters, beside the four methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from figures.analysis import loss_space, recorded_runs, seeds, sweeps
from figures.analysis.seeds import expected_runs, numeric, select
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Check, Data, Request, equal
from figures.drawing.baselines import draw

if TYPE_CHECKING:
    import pandas as pd

# (grid, method) -> printed name, from top to bottom
NAMES = {
    ("ours", "Sequential"): "Sequential, DPO first",
    ("sft_first", "Sequential"): "Sequential, SFT first",
    ("ours", "Mix"): "Mix",
    ("ours", "ALRIGHT"): "ALRIGHT",
    ("ours", "MAXRIGHT"): "MAXRIGHT",
    ("replay 0.01", "Replay"): "Replay, p = 0.01",
    ("replay", "Replay"): "Replay",
    ("replay 0.2", "Replay"): "Replay, p = 0.2",
    ("average", "Sequential"): "mean of two adapters",
    ("simpo", "Sequential"): "SFT, then SimPO",
    ("orpo", "Sequential"): "ORPO on the pairs",
}
MEASURED = ("f_dpo", "f_sft", "ideal_distance", "scale_free_distance", "answers_win_rate", "questions_accuracy")
SHARED = ("f_dpo", "f_sft")  # with the real model, which has no f*, judge or questions, and other costs
TIMES = ("cpu_seconds", "seconds")
ABOUT = ("baseline", "method", "order", "lam", "seed", "steps", "steps_dpo", "steps_sft", "device", "run")
# time of computations that all runs of a seed share, not part of a run's own time
PREPARED = ("log_probs_cpu_seconds", "optima_cpu_seconds")


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of the four methods with λ = 1/2 and of the baselines, and the recorded ones of the real model.

    The recorded ones stand beside the embedded world's, not beside those of a larger model.
    """
    recorded = recorded_runs.digests_if_there() if request.scale in ("smoke", "embedded") else {}
    return {"grids": sweeps.others(request), "recorded": recorded}


def compute(parameters: dict[str, Any]) -> Data:
    """Return one row per run, the mean over seeds of every quantity of each baseline, and the recorded values."""
    results = seeds.results(parameters)
    names = [NAMES.get(key, "") for key in zip(results["grid"], results["method"], strict=True)]
    results = results.assign(baseline=names)
    results = results[results["baseline"] != ""]
    position = {name: i for i, name in enumerate(NAMES.values())}
    order = results.assign(position=results["baseline"].map(position)).sort_values(["position", "seed"], kind="stable")
    results = results.loc[order.index].reset_index(drop=True)
    time = loss_space.runtime_column(results)
    quantities = {name: numeric(results, name) for name in ("steps_dpo", "steps_sft", *MEASURED, time)}
    values = results[["baseline", "seed"]].assign(**quantities).melt(["baseline", "seed"], var_name="quantity")
    means = seeds.summarize(values, ["baseline", "quantity"]).drop(columns="n")
    recorded, origin = _recorded(parameters)
    return Data(
        table=seeds.columns(results, (*ABOUT, *MEASURED, *TIMES, *PREPARED)),
        extra=pack("mean", means) | pack("recorded", recorded),
        facts={"scale": loss_space.scale(parameters, results), "time": time, **origin},
        checks=_checks(parameters, results),
    )


def _recorded(parameters: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return baseline, seed, quantity and value of the recorded runs that are also a baseline here, and their origin.

    The quantities are `SHARED`. Replay is left out: it repeats the pairs here and the SFT set there.
    """
    import pandas as pd

    if not parameters["recorded"]:
        return pd.DataFrame(columns=["baseline", "seed", "quantity", "value"]), {}
    ends, facts = recorded_runs.ends()
    own = ends[ends["label"].isin([name for name in NAMES.values() if name != "Replay"])]
    rows = own.rename(columns={"label": "baseline"})[["baseline", "seed", *SHARED]]
    return rows.melt(["baseline", "seed"], var_name="quantity"), {"recorded": recorded_runs.origin(facts)}


def _checks(parameters: Mapping[str, Any], results: pd.DataFrame) -> tuple[Check, ...]:
    """Check that all runs exist and that every run has the stated number of steps."""
    expected = expected_runs(parameters)
    steps = results["steps"] * results["method"].map(lambda method: 2 if method == "Mix" else 1)
    odd = int((results["steps_dpo"] + results["steps_sft"] != steps).sum())
    orpo = float(select(results, grid="orpo")["steps_sft"].sum())
    statement = "every run has the same number of steps, where a step of Mix uses both sets (runs with another number)"
    return (
        equal("runs", "every baseline and seed has a finished run", expected, len(results), tolerance=0.0),
        equal("steps", statement, 0.0, float(odd), tolerance=0.0),
        equal("orpo", "ORPO never trains on the SFT set (its steps on that set)", 0.0, orpo, tolerance=0.0),
    )


ARTEFACT = Artefact(
    name="baselines",
    title="Other methods for both sets: replay, SimPO after SFT, ORPO, and the mean of two adapters",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "All start from the same base and take the same number T of optimizer steps, with the same batches, learning "
        "rate and rank; λ = 0.5. (a) Steps on each set: Sequential spends half of its steps on each set, in either "
        "order; Replay is Sequential with DPO first that takes each step of its second half on the pairs with "
        "probability 0.05, and at scale real also p = 0.01 and 0.2; ALRIGHT and MAXRIGHT divide them during training; "
        "Mix takes every step on both sets, so that it uses twice the data and costs more. The mean of two adapters: "
        "one adapter is trained with DPO on the pairs for T/2 steps, one on the SFT set for T/2 steps, each from the "
        "base, and their weights are averaged. "
        "SFT, then SimPO: T/2 steps of SFT, then T/2 steps of SimPO on the pairs, which needs no reference. ORPO: T "
        "steps on the pairs alone, with a loss that combines SFT on the chosen responses with the preference; ORPO "
        "never uses the SFT set. (b)-(e) Losses on held-out rows and distances to the ideal point f*, lower is "
        "better; the scale-free distance normalizes each gap by the initial gap f(θ₀) − f*. The coordinates of f* are "
        "the losses after T steps of DPO or of SFT alone; a loss below f* adds to the distance as a loss above. "
        "Neither SimPO nor ORPO minimizes f_DPO, and ORPO does not minimize this f_SFT, so that these panels favour "
        "the other methods. Win rate and multiple choice are those of Table 1, higher is better, and 0.5 is the "
        "maximum of a win rate; the judge rewards the preferred style only, which favours methods with many steps on "
        "the pairs. Time is that of the training steps, without the reference's log-probabilities and f*, which are "
        "computed once for all runs (in the data). Marks are means over seeds, white dots the seeds, lines 95 % "
        "intervals; a line that ends at the frame continues beyond it. The settings were chosen for the four methods "
        "and not tuned for the others. Grey diamonds: the losses of recorded runs of a real model "
        "(SmolLM2-135M-Instruct, `results/real`), where it was trained by the same method; only their order from "
        "method to method compares with the small world's, as model, sets and number of steps are others."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
