"""Table 1: multiple choice and win rate of the four methods (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, published, recorded_runs, seeds, sweeps
from figures.analysis.methods import order as method_order
from figures.analysis.seeds import Row, numeric
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Check, Data, Request, equal, upper
from figures.drawing.table1 import BASE, draw
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

# quantity -> (column of a run's results, column with the number of questions or answers of each mean)
QUANTITIES: dict[str, tuple[str, str]] = {
    "accuracy": ("questions_accuracy", "questions_n"),
    "win rate": ("answers_win_rate", "answers_n"),
    "ties": ("answers_ties", "answers_n"),
    "score": ("answers_score", "answers_n"),
    "right, preference prompts": ("answers_fact_accuracy_preference", "answers_n"),
    "right, SFT prompts": ("answers_fact_accuracy_sft", ""),
    "SFT's manner": ("answers_sft_manner", ""),
}
# of the real model
REAL_QUANTITIES: dict[str, tuple[str, str]] = {
    "accuracy": QUANTITIES["accuracy"],
    "preferences": ("rewards/accuracies", ""),
    "refused, safe prompts": ("refusals_safe", "refusals_safe_n"),
    "refused, unsafe prompts": ("refusals_unsafe", "refusals_unsafe_n"),
    "skill": ("skill_exact_match", "skill_n"),
    "win rate": QUANTITIES["win rate"],
    "ties": QUANTITIES["ties"],
}
# quantity -> column with the value of the base model
BASE_VALUES = {
    "accuracy": "questions_base_accuracy",
    "refused, safe prompts": "refusals_base_safe",
    "refused, unsafe prompts": "refusals_base_unsafe",
}
MEASURED = {"answers": "answers_win_rate", "questions": "questions_accuracy", "refusals": "refusals_safe"}
COLUMNS = ("quantity", "method", "order", "lam", "mean", "low", "high", "n", "seeds", "by_seed")
PUBLISHED = {"accuracy": 0, "win rate": 1}  # positions in published.TABLE1
ORDERS = {"dpo-sft": "DPO first", "sft-dpo": "SFT first"}
JUDGE = (
    "own questions, each with one example; own judge, an exact function that scores facts, courtesies and the number "
    "of words"
)


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of all methods for several λ, with their benchmarks, and the recorded ones of the real model.

    The recorded ones stand below the embedded world's, not below those of a larger model. At scale `real` the files of
    the benchmarks count by their content.
    """
    if request.scale == "real":
        from llm.common.contents import contents_of

        return {"grids": sweeps.judged(request), "files": [contents_of(request.mmlu), contents_of(request.xstest)]}
    recorded = recorded_runs.benchmark_digests() if request.scale in ("smoke", "embedded") else {}
    return {"grids": sweeps.judged(request), "recorded": recorded}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every quantity's mean over seeds for each method, order and λ; beside these the published numbers."""
    results = seeds.results(parameters).drop_duplicates("run", ignore_index=True)
    quantities = REAL_QUANTITIES if _is_real(parameters) else QUANTITIES
    known = [q for q, (column, _) in quantities.items() if numeric(results, column).notna().any()]
    rows = [row for quantity in known or quantities for row in (*_base(quantity, results), *_means(quantity, results))]
    judge = JUDGE if _is_embedded(parameters) else _judge(results)
    facts: dict[str, Any] = {"scale": loss_space.scale(parameters, results), "judge": judge}
    recorded, origin = _recorded(parameters)
    facts |= {"recorded": origin} if origin else {}
    return Data(
        table={name: np.array([row[name] for row in rows]) for name in COLUMNS},
        extra={"ahead": np.array([_is_ahead(row, rows) for row in rows])} | pack("recorded", recorded),
        facts=facts,
        checks=_checks(parameters, results),
        beside=_beside(rows, f"{facts['scale']}; {judge}"),
    )


def _is_embedded(parameters: Mapping[str, Any]) -> bool:
    """Return whether all runs are on the embedded world, which has its own benchmarks."""
    return all(spec.get("preset") == "embedded" for spec in parameters["grids"].values())


def _is_real(parameters: Mapping[str, Any]) -> bool:
    """Return whether the runs are the real model's, whose benchmarks the user chooses."""
    return all(spec.get("preset") == sweeps.REAL_PRESET for spec in parameters["grids"].values())


def _recorded(parameters: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """Return the recorded benchmarks of the real model, one row per run, and their origin; "" if there are none.

    The label of a run names its seed; the base has none.
    """
    import pandas as pd

    if not parameters.get("recorded"):
        return pd.DataFrame(), ""
    rows, origin = recorded_runs.benchmarks()
    named = [
        f"{label}, seed {seed:.0f}" if np.isfinite(seed) else label
        for label, seed in zip(rows["label"], numeric(rows, "seed"), strict=True)
    ]
    return rows.assign(label=named), origin


def _judge(results: pd.DataFrame) -> str:
    """Return the benchmarks and the judge as text, for runs that are not on the embedded world."""
    tasks, judges = _names(results, "questions_task"), _names(results, "answers_judge")
    limit = int(numeric(results, "questions_limit").fillna(0).max()) if len(results) else 0
    part = f" (the first {limit} of each subject)" if limit else ""
    asked = (
        f"{' and '.join(t.upper() for t in tasks)}, each question with one example{part}" if tasks else "no questions"
    )
    judged = f"sampled answers, judge {' and '.join(judges)}, in both orders" if judges else "no judged answers"
    counts = numeric(results, "refusals_safe_n") + numeric(results, "refusals_unsafe_n")
    refused = [
        f"refusals of XSTest's {counts.max():.0f} prompts by {name}" for name in _names(results, "refusals_judge")
    ]
    return "; ".join([asked, *refused, judged])


def _names(results: pd.DataFrame, column: str) -> list[str]:
    """Return the distinct texts in a column, sorted."""
    return sorted({value for value in results.get(column, ()) if isinstance(value, str) and value})


def _means(quantity: str, results: pd.DataFrame) -> list[Row]:
    """Return one row per method, order and λ with the mean of one quantity over seeds."""
    column, count = (QUANTITIES | REAL_QUANTITIES)[quantity]
    values = numeric(results, column)
    frame = results[["method", "lam", "seed"]].assign(
        order=results["order"].map(ORDERS).fillna(""),
        value=values / numeric(results, "answers_n") if quantity == "ties" else values,
        n=numeric(results, count),
        position=results["method"].map(method_order),
    )
    rows = []
    for (method, order, lam), own in frame.sort_values(["position", "order", "lam", "seed"], kind="stable").groupby(
        ["method", "order", "lam"], sort=False
    ):
        mean = seeds.mean(own["value"])
        rows.append(
            {
                "quantity": quantity, "method": method, "order": order, "lam": lam, "mean": mean.value,
                "low": mean.low, "high": mean.high, "n": float(own["n"].sum(skipna=False)), "seeds": mean.n,
                "by_seed": " ".join(f"{value:.6g}" for value in own["value"]),
            }
        )  # fmt: skip
    return rows


def _base(quantity: str, results: pd.DataFrame) -> list[Row]:
    """Return one row with the value of the base model, which has no λ and no seeds, if it was measured."""
    values = numeric(results, BASE_VALUES.get(quantity, "")).dropna().unique()
    if not len(values):
        return []
    n = float(numeric(results, REAL_QUANTITIES[quantity][1]).max())
    row = {"quantity": quantity, "method": BASE, "order": "", "lam": np.nan, "mean": float(values.mean())}
    return [row | {"low": np.nan, "high": np.nan, "n": n, "seeds": 0, "by_seed": ""}]


def _is_ahead(row: Row, rows: list[Row]) -> bool:
    """Return whether the interval of a row lies above the intervals of all other rows with its quantity and λ."""
    others = [r for r in rows if r is not row and (r["quantity"], r["lam"]) == (row["quantity"], row["lam"])]
    return bool(others) and all(row["low"] > other["high"] for other in others)


def _beside(rows: list[Row], scale: str) -> dict[str, np.ndarray]:
    """Return our and the published values in per cent; the paper has SFT first, which affects our Sequential only."""
    pairs = []
    for row in rows:
        theirs = published.TABLE1.get((row["method"], row["lam"]))
        if row["quantity"] not in PUBLISHED or theirs is None or row["order"] == ORDERS["dpo-sft"]:
            continue
        pairs.append(
            {
                "quantity": f"{row['quantity']} (%)", "method": row["method"], "lam": row["lam"],
                "ours": 100.0 * row["mean"], "low": 100.0 * row["low"], "high": 100.0 * row["high"],
                "paper": theirs[PUBLISHED[row["quantity"]]], "origin": published.ORIGIN1,
                "ours at": scale, "paper at": f"{published.SCALE1}; MMLU, judge GPT-4, SFT first",
            }
        )  # fmt: skip
    return {name: np.array([pair[name] for pair in pairs]) for name in pairs[0]} if pairs else {}


def _checks(parameters: Mapping[str, Any], results: pd.DataFrame) -> tuple[Check, ...]:
    """Check that every run exists with its benchmarks, and that the win rates agree with their counts."""
    expected = len({run.name for spec in parameters["grids"].values() for run in grid_of(spec).runs()})
    rate = numeric(results, "answers_win_rate")
    wanted = _wanted(parameters)
    known = results["steps"].notna()
    for column in wanted:
        known &= numeric(results, column).notna()
    counted = numeric(results, "answers_wins") + numeric(results, "answers_ties") / 2
    apart = np.abs(rate - counted / numeric(results, "answers_n"))[known & rate.notna()]
    checks = [
        equal("measured", "every run exists, with all of its benchmarks", expected, int(known.sum()), tolerance=0.0)
    ]
    if MEASURED["answers"] in wanted:
        statement = "a win rate is (wins + ties/2) / answers, within 1e-12"
        checks.append(equal("counts", statement, 0.0, float(apart.max()) if len(apart) else 0.0, tolerance=1e-12))
    if _is_embedded(parameters):
        highest = float(rate[known].max()) if known.any() else 0.0
        best = "no win rate exceeds 1/2, since the chosen responses have the maximal score"
        return (*checks, upper("at-most-half", best, 0.5, highest))
    for name, column in (("one-judge", "answers_judge"), ("one-refusal-judge", "refusals_judge")):
        if (judges := len(_names(results, column))) or name == "one-judge":
            checks.append(upper(name, "all judged answers have the same judge (number of judges)", 1.0, float(judges)))
    for quantity, column in BASE_VALUES.items():
        if values := len(set(numeric(results, column).dropna())):
            statement = f"{quantity}: all runs have the same base model, with one value (number of values)"
            checks.append(upper(f"one-base/{quantity.replace(', ', '-').replace(' ', '-')}", statement, 1.0, values))
    return tuple(checks)


def _wanted(parameters: Mapping[str, Any]) -> list[str]:
    """Return one column of each benchmark that the runs are to have."""
    if not _is_real(parameters):
        return [MEASURED["answers"], MEASURED["questions"]]
    from llm.study.measures import name_of

    names = dict.fromkeys(name_of(m) for spec in parameters["grids"].values() for m in spec["measures"])
    return [MEASURED[name] for name in names if name in MEASURED]


ARTEFACT = Artefact(
    name="table1",
    title="Multiple choice and win rate",
    paper="Table 1",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "Means over seeds with 95 % intervals (Student's t over seeds; wide for two or three seeds); bold only where "
        "a method's whole interval lies above that of every other method for this λ. Multiple choice: by "
        "lm-evaluation-harness, with four answers, of which a random choice is right in one of four cases, and one "
        "example before each question. Win rate: answers to held-out preference prompts against the chosen "
        "responses, where a tie counts one half. The questions and the judge are stated below the table. On the "
        "embedded world the questions concern the facts in the training text of the base model, the answers are "
        "greedy, and the judge is a function of prompt and answer (2 for the right fact, −1 for a wrong fact, 1 for "
        "a courtesy, less for every word beyond eight); the chosen responses have the maximal score, so that 50 % is "
        "the maximum. This judge measures the preferences only and nothing of SFT; a second block therefore shows "
        "how many answers to preference prompts have the right fact, and how many answers to SFT prompts have, word "
        "for word, the style that SFT teaches. The paper's scale has no such block: the questions are MMLU's, the "
        "answers are sampled at temperature 1, and the judge is a language model that judges both orders; only a "
        "verdict that agrees in both orders is a win or a loss. In the data, n is the number of questions or answers "
        "of all seeds together. At scale real the benchmarks are those that the user names: MMLU from CSV files, with "
        "the subjects, wording and examples of lm-evaluation-harness, on a stated number of questions; the share of "
        "XSTest's prompts that are refused, where a refusal of a safe prompt is a fault and of an unsafe prompt is "
        "none; the share of held-out pairs whose chosen response has the higher implicit reward; the skill that SFT "
        "teaches; and a win rate if the environment names a judge. The base is the model before training. Without "
        "--scale real, recorded benchmarks of the real model (`results/real`) stand below the table, with 95 % "
        "intervals over questions or prompts (Wilson's), where a run of one seed is one row; JSON is the share of "
        "answers to XSTest's prompts that begin as a JSON object, which SFT's skill teaches for other prompts."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
