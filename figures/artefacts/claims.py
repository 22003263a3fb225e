"""The ledger of claims: what the paper's theory and the results beyond it say, and whether it holds."""

from __future__ import annotations

import importlib.util
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toyopt.ledger import Entry
    from toyopt.record import Record


EMPIRICAL = "Section 6, Appendix B"
MARKS = {"fails": "FAILS"}
WRAP = 92  # characters of a statement's line in the drawing


def parameters(request: Request) -> dict[str, Any]:
    """The runs that the empirical claims are judged on, where runs can be made; the theory's problems are its own."""
    from figures.analysis import empirical_claims

    return {"grids": empirical_claims.grids(request)} if importlib.util.find_spec("torch") else {}


def compute(parameters: dict[str, Any]) -> Data:
    """Judge every claim; one row a claim, and a check that each theoretical one "holds"."""
    from toyopt.ledger import ledger

    entries = list(ledger())
    rows: list[tuple[Any, ...]] = [
        (
            entry.claim,
            entry.statement,
            entry.shown.kind,
            entry.shown.bound,
            entry.shown.attained,
            entry.verdict,
            entry.evidence,
            entry.shown.source,
        )
        for entry in entries
    ]
    seen = _judged(parameters)
    rows += [(c.name, c.statement, c.kind, c.bound, c.attained, c.verdict, "measured", EMPIRICAL) for c in seen]
    ends = [(np.nan, np.nan)] * len(entries) + [c.interval or (np.nan, np.nan) for c in seen]
    names = ("claim", "statement", "kind", "bound", "attained", "verdict", "how", "source")
    table = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    table |= {name: np.array(column) for name, column in zip(("low", "high"), zip(*ends, strict=True), strict=True)}
    facts: dict[str, Any] = {f"records {entry.claim}": len(entry.records) for entry in entries}
    if not seen:
        facts["empirical claims"] = "not judged: there is no torch to train with (pip install -e '.[llm]')"
    return Data(
        table=table,
        facts=facts,
        checks=(*(check for entry in entries for check in _checks(entry)), *seen),
    )


def _judged(parameters: dict[str, Any]) -> tuple[Check, ...]:
    from figures.analysis import empirical_claims

    return empirical_claims.judge(parameters) if parameters else ()


def _checks(entry: Entry) -> list[Check]:
    """Every record of a claim, so that each is on the page with both of its sides."""
    return [
        Check(
            name=f"{entry.claim}/{i}",
            statement=f"{record.statement} [{record.evidence}{_within(record)}]" + _suffix(record),
            kind=record.kind,
            bound=record.bound,
            attained=record.attained,
            holds=record.verdict == "holds",
            must_hold=record.verdict != "open",
        )
        for i, record in enumerate(entry.records)
    ]


def _within(record: Record) -> str:
    """Return the tolerance of a record's verdict as text; "" where there is none."""
    return f", tolerance {record.tolerance:.1g}" if record.tolerance else ""


def _suffix(record: Record) -> str:
    """Return the reason why a record is open as text; "" where its verdict is another."""
    return f" (open: {record.note or 'not established'})" if record.verdict == "open" else ""


def draw(data: Data) -> Figure:
    """The ledger as a table: claim, statement, verdict and evidence."""
    from matplotlib.figure import Figure

    from figures.drawing import style

    table = data.table
    rows = range(len(table["claim"]))
    lines = [textwrap.wrap(str(table["statement"][i]), WRAP) for i in rows]
    heights = [max(1, len(found)) for found in lines]
    figure = Figure(figsize=(style.PAGE, 0.145 * (sum(heights) + 0.8 * len(heights) + 3)))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(sum(heights) + 0.8 * len(heights) + 1.4, -1.0)
    columns = (0.0, 0.235, 0.84, 0.92)
    for x, head in zip(columns, ("claim", "statement", "verdict", "evidence"), strict=True):
        ax.text(x, 0, head, weight="bold", va="center", fontsize=8)
    ax.axhline(0.9, color=style.INK, linewidth=0.8)
    y = 1.3
    for i in rows:
        verdict = str(table["verdict"][i])
        weight = "normal" if verdict in ("holds", "seen") else "bold"
        cells = (table["claim"][i], "\n".join(lines[i]), MARKS.get(verdict, verdict), table["how"][i])
        for x, cell in zip(columns, cells, strict=True):
            ax.text(x, y, str(cell), va="top", fontsize=6.2, weight=weight, parse_math=False, linespacing=1.25)
        y += heights[i] + 0.8
        ax.axhline(y - 0.3, color=style.GRID, linewidth=0.4)
    return figure


ARTEFACT = Artefact(
    name="claims",
    title="The ledger of claims",
    paper="Sections 3, 4, 6, Appendices A and B, and beyond the paper",
    cost="half a minute, after its runs",
    caption=(
        "Every proposition, lemma, theorem and remark of the paper's theory, and the results beyond it "
        "(docs/theory.md): S for Sequential, M for MAXRIGHT, A and E for ALRIGHT. The evidence named is the strongest "
        "one: proven by algebra (symbolic) or by ball arithmetic (certified), summed over all paths (enumerated), "
        "checked on many problems (property), or estimated with a confidence interval (statistical). A claim that is "
        "not established is open, never assumed. Bound and attained are those of the claim's first record; the checks "
        "are all of its records, the word in brackets saying what evidence each is. Many are shown on Tables 2 and 3, "
        "which are reconstructed. Then the empirical claims of Section 6 and Appendix B, on the runs of this scale: "
        "seen if the whole 95 % interval over seeds is on the claimed side of the bound, not seen if it is wholly on "
        "the other, else mixed. They need not hold here: a small model is not the paper's."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
