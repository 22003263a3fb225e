"""The type of a claim, and the choice of the record that represents many."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from toyopt import _numbers
from toyopt.certify import Certificate
from toyopt.record import Record

PAGE = "docs/theory.md"


@dataclass(frozen=True)
class Claim:
    """One claim: its statement, the function that yields its records, and the place of its proof.

    statement  the claim, for all problems and parameters that it names
    judge      yields the records: the claim on problems, and what was certified, with its parameters
    proof      the heading of the complete proof on `PAGE`, which is of the statement as it stands
    whole      whether the strongest record is of the whole statement, and not of one problem
    at         returns the records at one setting, of keyword arguments named in `toyopt.claims.at.ARGUMENTS`
    short      a short name, by which the claim is found beside its number
    figure     the artefact that shows the claim, or ""
    longest    the largest T: longer runs are not followed
    """

    statement: str
    judge: Callable[[], Iterable[Record]]
    proof: str
    whole: bool = False
    _: KW_ONLY
    at: Callable[..., Iterable[Record]]
    short: str
    figure: str = ""
    longest: int = 10**9

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments of `at`."""
        return tuple(inspect.signature(self.at).parameters)

    def at_setting(self, **given: Any) -> tuple[Record, ...]:
        """Return the records at one setting; raise ValueError for an argument that the claim does not take."""
        for name in given:
            if name not in self.arguments:
                raise ValueError(f"{name}: this claim takes {', '.join(self.arguments)}")
            if given[name] is not None and name not in _numbers.WORDS:
                most = self.longest if name in ("T", "k") else _numbers.LARGEST
                size = abs(_numbers.exact(name, given[name]))
                if size > most:
                    raise ValueError(f"{name}: must be at most {most:.0e} in size, got {given[name]!r}")
                if 0 < size < _numbers.LEAST:
                    raise ValueError(
                        f"{name}: must be 0 or at least {float(_numbers.LEAST):.0e} in size, got {given[name]!r}"
                    )
        return tuple(self.at(**given))

    @property
    def link(self) -> str:
        """Link to the proof: the page and the anchor of the heading."""
        anchor = re.sub(r"[^\w\- ]", "", self.proof.lower()).replace(" ", "-")
        return f"{PAGE}#{anchor}"


def of_proof(claim: str, certificate: Certificate) -> Record:
    """Return a certificate's record under the name of a claim of the ledger."""
    return replace(certificate.record, claim=claim)


def tightest(records: Iterable[Record]) -> Record:
    """Return the record with the least slack in units of its bound.

    A record whose slack is within twice its tolerance counts only if all are such; one that does not hold comes before
    all others.
    """
    order = {"fails": 0, "open": 1, "holds": 2}

    def key(record: Record) -> tuple[int, bool, float]:
        decided = record.kind == "equal" or record.slack > 2.0 * record.tolerance
        return order[record.verdict], not decided, record.slack / max(abs(record.bound), 1e-300)

    return min(records, key=key)
