"""The ledger of claims: what the paper's theory and the results beyond it say, and whether it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toyopt.ledger import Entry


def parameters(_: Request) -> dict[str, Any]:
    """Nothing to choose: the ledger has its own problems and seeds."""
    return {}


def compute(_: dict[str, Any]) -> Data:
    """Judge every claim; one row a claim, and a check that each verdict is "holds"."""
    from toyopt.ledger import ledger

    entries = list(ledger())
    rows = [
        (
            entry.claim,
            entry.statement,
            entry.shown.kind,
            entry.shown.bound,
            entry.shown.attained,
            entry.verdict,
            entry.how,
            entry.shown.source,
        )
        for entry in entries
    ]
    names = ("claim", "statement", "kind", "bound", "attained", "verdict", "how", "source")
    facts = {f"records {entry.claim}": len(entry.records) for entry in entries}
    return Data(
        table={name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)},
        facts=facts,
        checks=tuple(check for entry in entries for check in _checks(entry)),
    )


def _checks(entry: Entry) -> list[Check]:
    """Every record of a claim, so that each is on the page with both of its sides."""
    return [
        Check(
            name=f"{entry.claim}/{i}",
            statement=f"{record.statement} [{record.how}]" + _suffix(record.verdict),
            kind=record.kind,
            bound=record.bound,
            attained=record.attained,
            holds=record.verdict == "holds",
            must_hold=record.verdict != "open",
        )
        for i, record in enumerate(entry.records)
    ]


def _suffix(verdict: str) -> str:
    return " (open: not established)" if verdict == "open" else ""


def draw(data: Data) -> Figure:
    """The ledger as a table: claim, statement, verdict and evidence."""
    from matplotlib.figure import Figure

    from figures import style

    table = data.table
    n = len(table["claim"])
    figure = Figure(figsize=(style.PAGE, 0.27 * (n + 2)))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(n + 0.6, -0.8)
    columns = (0.0, 0.085, 0.81, 0.895)
    for x, head in zip(columns, ("claim", "statement", "verdict", "evidence"), strict=True):
        ax.text(x, 0, head, weight="bold", va="center", fontsize=8)
    ax.axhline(0.55, color=style.INK, linewidth=0.8)
    marks = {"holds": "holds", "fails": "FAILS", "open": "open"}
    for i in range(n):
        y = i + 1.1
        weight = "normal" if table["verdict"][i] == "holds" else "bold"
        cells = (table["claim"][i], table["statement"][i], marks[str(table["verdict"][i])], table["how"][i])
        for x, cell in zip(columns, cells, strict=True):
            ax.text(x, y, str(cell), va="center", fontsize=7, weight=weight, parse_math=False)
        ax.axhline(y + 0.5, color=style.GRID, linewidth=0.4)
    return figure


ARTEFACT = Artefact(
    name="claims",
    title="The ledger of claims",
    paper="Sections 3, 4 and Appendix A, and beyond the paper",
    cost="half a minute",
    caption=(
        "Every proposition, lemma, theorem and remark of the paper's theory, and the results beyond it "
        "(docs/theory.md): S for Sequential, M for MAXRIGHT, A and E for ALRIGHT. The evidence named is the strongest "
        "one: proven by algebra (symbolic) or by ball arithmetic (certified), summed over all paths (enumerated), "
        "checked on many problems (property), or estimated with a confidence interval (statistical). A claim that is "
        "not established is open, never assumed. Bound and attained are those of the claim's first record; the checks "
        "are all of its records, the word in brackets saying what evidence each is. Many are shown on Tables 2 and 3, "
        "which are reconstructed."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
