"""The ledger of claims: every statement of the paper's theory and beyond, with its verdict."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import multiple
from figures.analysis.multiple import with_adjusted
from figures.artefact import Artefact, Check, Data, Request
from figures.drawing.claims import draw
from llm.common.processes import cores, die_with

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from toyopt.ledger import Entry
    from toyopt.record import Record

ALGEBRA = ("A.1", "A.2")  # claims that share SymPy's derivations, which take as long as all the rest of the ledger
SOURCE = "Section 6, Appendix B"  # of the empirical claims
COLUMNS = (
    *("claim", "statement", "kind", "bound", "attained", "verdict", "how", "source", "low", "high"),
    *("checked", "proof", "p_value", "p_holm", "survives"),
)


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs for the empirical claims, or {} without torch; the theory needs no parameters."""
    from figures.analysis import empirical_claims

    return empirical_claims.parameters(request) if importlib.util.find_spec("torch") else {}


def compute(parameters: dict[str, Any]) -> Data:
    """Return one row per claim, and a check for every record of a theoretical claim and every empirical claim."""
    from figures.analysis import empirical_claims

    entries = _entries()
    empirical = empirical_claims.judge(parameters) if parameters else ()
    corrected = with_adjusted([asdict(check) for check in empirical])
    rows = [_theory_row(entry) for entry in entries] + [_empirical_row(check) for check in corrected]
    facts: dict[str, Any] = {f"records {entry.claim}": len(entry.records) for entry in entries}
    if not parameters:
        facts["empirical claims"] = "not judged: training requires torch (pip install -e '.[llm]')"
    return Data(
        table={name: np.array(column) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)},
        facts=facts,
        checks=(*(check for entry in entries for check in _checks(entry)), *empirical),
    )


def _entries() -> list[Entry]:
    """Return the ledger's entries in its order; a child process evaluates algebra, if there is a core for it."""
    from toyopt import ledger as book

    order = book.names()
    algebra, rest = [n for n in order if n in ALGEBRA], [n for n in order if n not in ALGEBRA]
    if not algebra or cores() < 2 or "fork" not in multiprocessing.get_all_start_methods():
        return list(book.ledger())
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(sender, algebra, os.getpid()))
    child.start()
    sender.close()
    entries = list(book.ledger(rest))
    try:
        entries += receiver.recv()
    except EOFError:  # the child failed; the same here names the reason
        entries += book.ledger(algebra)
    child.join()
    return sorted(entries, key=lambda entry: order.index(entry.claim))


def _send(sender: Connection, claims: Sequence[str], parent: int) -> None:
    """Evaluate claims in this process, a child of `parent` that ends with it, and send the entries."""
    from toyopt.ledger import ledger

    die_with(parent)
    sender.send(list(ledger(claims)))


def _theory_row(entry: Entry) -> tuple[Any, ...]:
    """Return the table's row of a theoretical claim."""
    shown = entry.shown
    sides = (shown.kind, shown.bound, shown.attained, entry.verdict, entry.evidence, shown.source)
    return (entry.claim, entry.statement, *sides, np.nan, np.nan, entry.checked, entry.proof, np.nan, np.nan, "")


def _empirical_row(check: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the table's row of an empirical claim; `survives` is yes, no, or "" for a mixed verdict."""
    sides = (check["kind"], check["bound"], check["attained"], check["verdict"], "measured", SOURCE)
    survives = "" if check["verdict"] == "mixed" else "yes" if multiple.survives(check) else "no"
    tested = (np.nan if check["p_value"] is None else check["p_value"], check["p_holm"], survives)
    return (check["name"], check["statement"], *sides, *(check["interval"] or (np.nan, np.nan)), "", "", *tested)


def _checks(entry: Entry) -> list[Check]:
    """Return a check for every record of a claim, with both of its sides."""
    return [
        Check(
            name=f"{entry.claim}/{i}",
            statement=f"{record.statement} [{record.evidence}, tolerance {record.tolerance:.1g}]{_reason(record)}",
            kind=record.kind,
            bound=record.bound,
            attained=record.attained,
            holds=record.verdict == "holds",
            must_hold=record.verdict != "open",
        )
        for i, record in enumerate(entry.records)
    ]


def _reason(record: Record) -> str:
    """Return the reason for an open record as text, or "" for other verdicts."""
    return f" (open: {record.note or 'not established'})" if record.verdict == "open" else ""


ARTEFACT = Artefact(
    name="claims",
    title="The ledger of claims",
    paper="Sections 3, 4, 6, Appendices A and B, and beyond the paper",
    cost="half a minute, after its runs",
    seconds=30.0,
    caption=(
        "Every proposition, lemma, theorem and remark of the paper's theory, and the results beyond the paper "
        "(docs/theory.md): S for Sequential, M for MAXRIGHT, A and E for ALRIGHT. The stated evidence is that for the "
        "whole statement: proven by algebra (symbolic), by ball arithmetic (certified), or on the page (proof; the "
        "CSV has the link). Checked beside it is what the records show on problems, each with its own parameters: "
        "certified for one case, summed over all paths (enumerated), on many problems (property), or estimated with "
        "a confidence interval (statistical). A claim that is not established is open, never assumed; the evidence of "
        "a conjecture is the numbers of some runs (numerical). Bound and "
        "attained value are those of the claim's first record; the checks are all of its records, with the evidence "
        "of each in brackets. Many are shown on Tables 2 and 3, which are reconstructed, others on random problems "
        "and on the worst function of docs/theory.md, A7. Then the empirical claims of Section 6 and Appendix B, on "
        "the runs of this scale: seen if the whole 95 % interval over seeds lies on the claimed side of the bound, "
        "not seen "
        "if the whole interval lies on the other side, else mixed. A verdict marked † survives Holm's correction over "
        "all of these claims: among many such tables, at most 5 % have a marked verdict that is due to chance. The "
        "initial gap of an objective is f(θ₀) − f*. "
        "The empirical claims need not hold here, since a small model is not the paper's."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
