"""The ledger: every claim of the paper's theory and beyond, evaluated by the functions of `toyopt.theorems`.

The entry of a claim has all records of the claim, on the paper's two examples, on random problems and on adversarial
ones. Its verdict is the worst of their verdicts. Records show a claim on problems; what proves it for all is its proof
in docs/theory.md, or a record that is of the whole statement.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from toyopt.claims import CLAIMS
from toyopt.record import EVIDENCE, Evidence, Record, Verdict


@dataclass(frozen=True)
class Entry:
    """One claim: its records, the first of them representative, their wall-clock seconds, and its proof.

    proof  the link to the complete proof of the statement
    whole  whether the strongest record is of the whole statement
    """

    claim: str
    statement: str
    records: tuple[Record, ...]
    seconds: float
    proof: str = ""
    whole: bool = False

    @property
    def shown(self) -> Record:
        """Record of the claim in a table: the first."""
        return self.records[0]

    @property
    def verdict(self) -> Verdict:
        """Fails if a record fails, else open if one is open, else holds."""
        verdicts = {record.verdict for record in self.records}
        return "fails" if "fails" in verdicts else "open" if "open" in verdicts else "holds"

    @property
    def checked(self) -> Evidence:
        """Strongest kind of evidence among the records; each record has its own statement and parameters."""
        return min((record.evidence for record in self.records), key=EVIDENCE.index)

    @property
    def evidence(self) -> Evidence:
        """The evidence for the whole statement: the strongest record's if it is of that, else the proof.

        A conjecture has no proof: its records are all "numerical", and `proof` is the link to its statement.
        """
        return self.checked if self.whole or not self.proof or self.checked == "numerical" else "proof"


def names() -> list[str]:
    """Return the names of all claims, in the ledger's order."""
    return list(CLAIMS)


def ledger(claims: Iterable[str] | None = None) -> Iterator[Entry]:
    """Yield the entries of the ledger, or of the claims named, in the ledger's order as they are evaluated.

    Raises ValueError on a claim that is not in the ledger.
    """
    wanted = list(CLAIMS) if claims is None else list(claims)
    for name in wanted:
        if name not in CLAIMS:
            raise ValueError(f"claims: one of {', '.join(CLAIMS)} is needed, got {name!r}")
    for name in wanted:
        claim = CLAIMS[name]
        began = time.perf_counter()
        records = tuple(claim.judge())
        seconds = time.perf_counter() - began
        yield Entry(name, claim.statement, records, seconds, claim.link, claim.whole)
