"""Table 1: multiple choice and win rate of the four methods (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, published, seeds, sweeps
from figures.analysis.seeds import Row
from figures.artefact import Artefact, Check, Data, Request, equal, upper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# quantity -> the column of a run's results, and the one that counts what it is a mean of
QUANTITIES = {
    "accuracy": ("questions_accuracy", "questions_n"),
    "win rate": ("answers_win_rate", "answers_n"),
    "ties": ("answers_ties", "answers_n"),
    "score": ("answers_score", "answers_n"),
    "right, preference prompts": ("answers_fact_accuracy_preference", "answers_n"),
    "right, SFT prompts": ("answers_fact_accuracy_sft", None),
    "SFT's manner": ("answers_sft_manner", None),
}
COLUMNS = ("quantity", "method", "order", "lam", "mean", "low", "high", "n", "seeds", "by_seed")
PUBLISHED = {"accuracy": 0, "win rate": 1}  # where published.TABLE1 has them
NOTE = 7.0  # points, of what stands below the table
ORDERS = {"dpo-sft": "DPO first", "sft-dpo": "SFT first"}
JUDGE = "own questions, each with one example; own judge, an exact function that counts facts, courtesies and words"
BLOCKS = (
    (("accuracy", "multiple choice, 1-shot: right (%)"), ("win rate", "win rate (%)")),
    (
        ("right, preference prompts", "preference prompts: right (%)"),
        ("SFT's manner", "SFT prompts: in SFT's manner (%)"),
    ),
)


def parameters(request: Request) -> dict[str, Any]:
    """The runs of all methods for some λ, and Sequential in the other order as well, each asked and judged."""
    return {"grids": sweeps.judged(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Every quantity's mean over seeds for each method, order and λ; beside it what the authors published."""
    results = list({row["run"]: row for row in seeds.results(parameters)}.values())
    known = [q for q, (column, _) in QUANTITIES.items() if any(row.get(column) is not None for row in results)]
    rows = [row for quantity in known or QUANTITIES for row in _means(quantity, results)]
    judge = JUDGE if _embedded(parameters) else _judge(results)
    facts: dict[str, Any] = {"scale": loss_space.scale(parameters, results), "judge": judge}
    return Data(
        table=seeds.columns(rows, COLUMNS),
        extra={"ahead": np.array([_ahead(row, rows) for row in rows])},
        facts=facts,
        checks=_sound(parameters, results),
        beside=_beside(rows, f"{facts['scale']}; {judge}"),
    )


def _embedded(parameters: Mapping[str, Any]) -> bool:
    """Whether the runs are on the embedded world, and so measured by it."""
    return all(spec.get("preset") == "embedded" for spec in parameters["grids"].values())


def _judge(results: Sequence[Row]) -> str:
    """What was asked and who judged, in words, of runs that are not on the embedded world."""
    tasks, judges = _names(results, "questions_task"), _names(results, "answers_judge")
    asked = (
        f"{' and '.join(t.upper() for t in tasks)}, each question with one example" if tasks else "nothing was asked"
    )
    judged = f"sampled answers, judge {' and '.join(judges)}, in both orders" if judges else "nothing was judged"
    return f"{asked}; {judged}"


def _names(results: Sequence[Row], column: str) -> list[str]:
    return sorted({str(row[column]) for row in results if row.get(column)})


def _means(quantity: str, results: Sequence[Row]) -> list[Row]:
    """A row a method, order and λ of one quantity."""
    column, count = QUANTITIES[quantity]
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in results:
        groups.setdefault((row["method"], row.get("order") or "", row["lam"]), []).append(row)
    found = []
    for method, order, lam in sorted(groups, key=lambda key: (loss_space.METHODS.index(key[0]), *key[1:])):
        mine = sorted(groups[method, order, lam], key=lambda row: row["seed"])
        values = [_value(row, quantity, column) for row in mine]
        mean = seeds.mean(values)
        asked = sum(loss_space.number(row, count) for row in mine) if count else math.nan
        found.append(
            {
                "quantity": quantity, "method": method, "order": ORDERS.get(order, ""), "lam": lam, "mean": mean.value,
                "low": mean.low, "high": mean.high, "n": asked, "seeds": mean.n,
                "by_seed": " ".join(f"{value:.6g}" for value in values),
            }
        )  # fmt: skip
    return found


def _value(row: Row, quantity: str, column: str) -> float:
    """A run's number; of the ties their share."""
    value = loss_space.number(row, column)
    return value / loss_space.number(row, "answers_n") if quantity == "ties" else value


def _ahead(row: Row, rows: Sequence[Row]) -> bool:
    """Whether a row's whole interval is above that of all others with its quantity and λ."""
    others = [r for r in rows if r is not row and (r["quantity"], r["lam"]) == (row["quantity"], row["lam"])]
    return bool(others) and all(row["low"] > other["high"] for other in others)


def _beside(rows: Sequence[Row], scale: str) -> dict[str, np.ndarray]:
    """Ours and theirs, in per cent; theirs is with SFT first, which of ours concerns Sequential alone."""
    found = []
    for row in rows:
        theirs = published.TABLE1.get((row["method"], row["lam"]))
        if row["quantity"] not in PUBLISHED or theirs is None or row["order"] == ORDERS["dpo-sft"]:
            continue
        what = "MMLU, judge GPT-4, SFT first"
        found.append(
            {
                "quantity": f"{row['quantity']} (%)", "method": row["method"], "lam": row["lam"],
                "ours": 100.0 * row["mean"], "low": 100.0 * row["low"], "high": 100.0 * row["high"],
                "paper": theirs[PUBLISHED[row["quantity"]]], "origin": published.ORIGIN1,
                "ours at": scale, "paper at": f"{published.SCALE1}; {what}",
            }
        )  # fmt: skip
    return {name: np.array([row[name] for row in found]) for name in found[0]} if found else {}


def _sound(parameters: Mapping[str, Any], results: Sequence[Row]) -> tuple[Check, ...]:
    """That every run is there and was measured, and that the win rates are those of their counts."""
    from figures.pipeline.training import grid_of

    expected = len({run.name for spec in parameters["grids"].values() for run in grid_of(spec).runs()})
    known = [r for r in results if all(r.get(c) is not None for c in ("questions_accuracy", "answers_win_rate"))]
    apart, most = [0.0], [0.0]
    for row in known:
        rate = row["answers_win_rate"]
        apart.append(abs(rate - (row["answers_wins"] + row["answers_ties"] / 2) / row["answers_n"]))
        most.append(rate)
    checks = (
        equal("measured", "every run is there, was asked and was judged", expected, len(known), tolerance=0.0),
        equal(
            "counts", "a win rate is wins and half of the ties over all, within 1e-12", 0.0, max(apart), tolerance=1e-12
        ),
    )
    if _embedded(parameters):
        best = (
            "no win rate is above 1/2: the chosen responses have the highest score there is, so that none can be beaten"
        )
        return (*checks, upper("at-most-half", best, 0.5, max(most)))
    judges = len(_names(results, "answers_judge"))
    return (*checks, upper("one-judge", "all answers that were judged have the same judge", 1.0, float(judges)))


def draw(data: Data) -> Figure:
    """Two blocks of two quantities each: a row a method, a column a λ."""
    from figures.drawing import style
    from figures.drawing import text as textual

    size, line = 8.5, textual.height_of(1, 8.5) * 1.12
    groups = list(dict.fromkeys(zip(data.table["method"], data.table["order"], strict=True)))
    block = (len(groups) + 2) * line + 0.17
    told = set(data.table["quantity"])
    blocks = [both for both in BLOCKS if told & {quantity for quantity, _ in both}]
    lines = [
        part for what in ("scale", "judge") for part in textual.wrapped(str(data.facts[what]), style.PAGE - 0.2, NOTE)
    ]
    figure, ax = textual.sheet(style.PAGE, len(blocks) * block + 0.3 + textual.height_of(len(lines), NOTE))
    y = 0.08
    for i, quantities in enumerate(blocks):
        y = _draw_block(ax, data, y, quantities, groups, size=size, line=line, first=i == 0)
    textual.draw_rule(ax, y, 0.05, style.PAGE - 0.05, thick=True)
    textual.draw_lines(ax, 0.08, y + 0.05, lines, size=NOTE, color=style.QUIET)
    return figure


def _draw_block(
    ax: Axes,
    data: Data,
    y: float,
    quantities: Sequence[tuple[str, str]],
    groups: Sequence[tuple[str, str]],
    *,
    size: float,
    line: float,
    first: bool,
) -> float:
    """Head and rows of one block, from y on; returns the y below it."""
    from figures.drawing import style
    from figures.drawing import text as textual
    from figures.drawing.text import Cell

    left, right, names = 0.05, style.PAGE - 0.05, 1.72
    lams = np.unique(data.table["lam"])
    wide = (right - names) / len(quantities)
    textual.draw_rule(ax, y, left, right, thick=first)
    y += 0.05
    for i, (_, title) in enumerate(quantities):
        start = names + i * wide + 0.12
        textual.draw_lines(ax, start + (wide - 0.12) / 2, y, [title], size=size, ha="center")
        textual.draw_rule(ax, y + line, start, names + (i + 1) * wide)
    y += line + 0.03
    column = (wide - 0.12) / len(lams)
    places = [names + i * wide + 0.12 + (j + 0.5) * column + 0.37 for i in range(2) for j in range(len(lams))]
    head = [Cell(f"λ = {lam:g}", right=True, quiet=True) for _ in quantities for lam in lams]
    textual.draw_row(ax, y, [Cell("method", quiet=True), *head], [left + 0.03, *places], size=size)
    y += line
    textual.draw_rule(ax, y, left, right)
    y += 0.03
    for method, order in groups:
        cells = [_cell(data, quantity, method, order, lam) for quantity, _ in quantities for lam in lams]
        name = Cell(f"{method}, {order}" if order else method)
        textual.draw_row(ax, y, [name, *cells], [left + 0.03, *places], size=size)
        y += line
    return y + 0.06


def _cell(data: Data, quantity: str, method: str, order: str, lam: float) -> Any:
    """Mean and half of the interval in per cent; bold where the interval is above all others."""
    from figures.drawing.text import Cell

    table = data.table
    (found,) = np.nonzero(
        (table["quantity"] == quantity)
        & (table["method"] == method)
        & (table["order"] == order)
        & (table["lam"] == lam)
    )
    if not len(found) or not np.isfinite(table["mean"][found[0]]):
        return Cell("–", right=True, quiet=True)
    i = found[0]
    mean, half = 100.0 * table["mean"][i], 100.0 * (table["high"][i] - table["mean"][i])
    text = f"{mean:.1f} ± {half:.1f}" if np.isfinite(half) else f"{mean:.1f}"
    return Cell(text, right=True, bold=bool(data.extra["ahead"][i]))


ARTEFACT = Artefact(
    name="table1",
    title="Multiple choice and win rate",
    paper="Table 1",
    cost="seconds, after its runs",
    caption=(
        "Means over seeds, with 95 % intervals (Student's t over seeds, of which two or three leave wide ones); bold "
        "only where a method's whole interval is above that of every other for this λ. Multiple choice: by "
        "lm-evaluation-harness, with four answers of which chance finds one in four, and one example before each "
        "question. Win rate: answers to held-out preference prompts against the chosen responses, ties half. What was "
        "asked and who judged stands below the table. On the embedded world the questions are about the facts that the "
        "base model has read, the answers are greedy, and the judge is its own function of prompt and answer "
        "(2 for the right fact, −1 for a wrong one, 1 for a courtesy, less for every word beyond eight); the chosen "
        "responses have its highest score, so that 50 % is the most. That judge knows what the preference set wants "
        "and nothing of SFT's; hence a second block: how many answers to preference prompts have the right fact, "
        "and how many answers to SFT prompts are in the manner that SFT teaches, word for word. At the paper's scale "
        "there is no such block: the questions are MMLU's, the answers are sampled at temperature 1, and the judge is "
        "a language model that sees both orders; only a verdict that both agree on is a win or a loss. In the data n "
        "is the number of questions or answers of all seeds together."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
