"""Table 1: multiple choice and win rate of the four methods (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, published, seeds, sweeps
from figures.analysis.methods import order as method_order
from figures.analysis.seeds import Row, numeric
from figures.artefact import Artefact, Check, Data, Request, equal, upper
from figures.drawing.table1 import draw
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
COLUMNS = ("quantity", "method", "order", "lam", "mean", "low", "high", "n", "seeds", "by_seed")
PUBLISHED = {"accuracy": 0, "win rate": 1}  # positions in published.TABLE1
ORDERS = {"dpo-sft": "DPO first", "sft-dpo": "SFT first"}
JUDGE = (
    "own questions, each with one example; own judge, an exact function that scores facts, courtesies and the number "
    "of words"
)


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of all methods for several λ, with their benchmarks."""
    return {"grids": sweeps.judged(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every quantity's mean over seeds for each method, order and λ; beside these the published numbers."""
    results = seeds.results(parameters).drop_duplicates("run", ignore_index=True)
    known = [q for q, (column, _) in QUANTITIES.items() if numeric(results, column).notna().any()]
    rows = [row for quantity in known or QUANTITIES for row in _means(quantity, results)]
    judge = JUDGE if _is_embedded(parameters) else _judge(results)
    facts: dict[str, Any] = {"scale": loss_space.scale(parameters, results), "judge": judge}
    return Data(
        table={name: np.array([row[name] for row in rows]) for name in COLUMNS},
        extra={"ahead": np.array([_is_ahead(row, rows) for row in rows])},
        facts=facts,
        checks=_checks(parameters, results),
        beside=_beside(rows, f"{facts['scale']}; {judge}"),
    )


def _is_embedded(parameters: Mapping[str, Any]) -> bool:
    """Return whether all runs are on the embedded world, which has its own benchmarks."""
    return all(spec.get("preset") == "embedded" for spec in parameters["grids"].values())


def _judge(results: pd.DataFrame) -> str:
    """Return the benchmark and the judge as text, for runs that are not on the embedded world."""
    tasks, judges = _names(results, "questions_task"), _names(results, "answers_judge")
    asked = f"{' and '.join(t.upper() for t in tasks)}, each question with one example" if tasks else "no questions"
    judged = f"sampled answers, judge {' and '.join(judges)}, in both orders" if judges else "no judged answers"
    return f"{asked}; {judged}"


def _names(results: pd.DataFrame, column: str) -> list[str]:
    """Return the distinct texts in a column, sorted."""
    return sorted({value for value in results.get(column, ()) if isinstance(value, str) and value})


def _means(quantity: str, results: pd.DataFrame) -> list[Row]:
    """Return one row per method, order and λ with the mean of one quantity over seeds."""
    column, count = QUANTITIES[quantity]
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
    known = numeric(results, "questions_accuracy").notna() & rate.notna()
    counted = numeric(results, "answers_wins") + numeric(results, "answers_ties") / 2
    apart = np.abs(rate - counted / numeric(results, "answers_n"))[known]
    statement = "a win rate is (wins + ties/2) / answers, within 1e-12"
    checks = (
        equal(
            "measured", "every run exists, with questions and judged answers", expected, int(known.sum()), tolerance=0.0
        ),
        equal("counts", statement, 0.0, float(apart.max()) if known.any() else 0.0, tolerance=1e-12),
    )
    if _is_embedded(parameters):
        highest = float(rate[known].max()) if known.any() else 0.0
        best = "no win rate exceeds 1/2, since the chosen responses have the maximal score"
        return (*checks, upper("at-most-half", best, 0.5, highest))
    judges = len(_names(results, "answers_judge"))
    return (
        *checks,
        upper("one-judge", "all judged answers have the same judge (number of judges)", 1.0, float(judges)),
    )


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
        "of all seeds together."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
