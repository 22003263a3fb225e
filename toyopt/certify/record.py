"""What a proof leaves behind: `Certificate`, a type of its own, never mixed with a numerical result.

A certifier collects ball-arithmetic facts on a `Sheet`.  In ball arithmetic a comparison is true only when it
is proven, so `Sheet.need` goes on only after a literal ``True``; anything else stops the proof, and the
certificate then says *not proven* and where it stopped.  It never says that the claim is false.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from flint import arb, ctx

MIN_PREC = 24
DIGITS = 30

Again = Callable[..., "Certificate"]


class Stopped(Exception):  # noqa: N818 (control flow inside a proof, never shown to a caller)
    """A step of a proof that could not be established; the text says which."""


@dataclass(frozen=True)
class Certificate:
    """The outcome of one attempt to prove one claim.

    claim: short id.  statement: the claim in words with its numbers.  assumptions: what it rests on.
    status: 'proven' or 'not proven'.  stopped_at: None if proven, else the step that was not established.
    prec: working precision in bits.  seconds: wall time.  pieces: subintervals, steps or inequalities used.
    enclosures: (name, exact decimal 'mid ± rad') pairs.  inputs: (name, exact string) pairs, enough to run
    the proof again.  source: the paper's place, or 'beyond the paper'.

    The truth value is refused: ``if certificate:`` would read "not proven" as "false".  Ask `.proven`.
    """

    claim: str
    statement: str
    assumptions: tuple[str, ...]
    status: Literal["proven", "not proven"]
    stopped_at: str | None
    prec: int
    seconds: float = field(compare=False)
    pieces: int
    enclosures: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    source: str
    _again: Again = field(repr=False, compare=False)

    @property
    def proven(self) -> bool:
        """True if the statement is proven; False says nothing about the statement."""
        return self.status == "proven"

    def __bool__(self) -> bool:
        raise TypeError("a Certificate has no truth value ('not proven' is not 'false'): ask .proven")

    def recheck(self, prec: int | None = None) -> Certificate:
        """Run the same proof afresh, by default with 64 bits more, and return the new certificate."""
        return self._again(prec=self.prec + 64 if prec is None else prec)

    def enclosure(self, name: str) -> str:
        """The enclosure called `name`; KeyError if the proof kept none of that name."""
        return dict(self.enclosures)[name]

    def __str__(self) -> str:
        lines = [
            f"[{self.claim}] {self.status.upper()} by ball arithmetic at {self.prec} bits, "
            f"{self.pieces} pieces, {self.seconds:.3g} s  ({self.source})",
            f"  {self.statement}",
            *(f"  assuming {a}" for a in self.assumptions),
        ]
        if self.stopped_at is not None:
            lines.append(f"  stopped at: {self.stopped_at}")
        lines += [f"  {name} = {value}" for name, value in self.enclosures]
        lines.append("  inputs: " + ", ".join(f"{name} = {value}" for name, value in self.inputs))
        return "\n".join(lines)


@dataclass
class Sheet:
    """The working sheet of one proof."""

    statement: str = ""
    pieces: int = 0
    kept: dict[str, str] = field(default_factory=dict)

    def need(self, condition: bool, where: str) -> None:
        """Go on only if `condition` is proven."""
        self.pieces += 1
        if condition is not True:
            raise Stopped(where)

    def keep(self, name: str, value: arb) -> None:
        """Keep an enclosure; the decimal radius covers the conversion to decimals too."""
        self.kept[name] = show(value)


def show(value: arb, digits: int = DIGITS) -> str:
    """`value` as 'mid ± rad', rounded outward: flint's printed ball contains the binary one."""
    text: str = value.str(digits)
    return text.strip("[]").replace("+/-", "±")


def check_prec(prec: int) -> int:
    """Bits of working precision; TypeError if not an int, ValueError below 24."""
    if isinstance(prec, bool) or not isinstance(prec, int):
        raise TypeError(f"prec must be an int, got {prec!r}")
    if prec < MIN_PREC:
        raise ValueError(f"prec must be at least {MIN_PREC} bits, got {prec}")
    return prec


@dataclass(frozen=True)
class Claim:
    """The fixed part of a certificate: everything known before the proof is tried."""

    id: str
    statement: str
    assumptions: tuple[str, ...]
    source: str
    inputs: tuple[tuple[str, str], ...]


def certify(claim: Claim, body: Callable[[Sheet], None], *, prec: int, again: Again) -> Certificate:
    """Run `body` at `prec` bits and record the outcome; `again(prec=...)` must make the certificate anew.

    flint's precision belongs to the process, not to a thread: prove in one thread at a time.
    """
    check_prec(prec)
    sheet = Sheet(claim.statement)
    stopped: str | None = None
    start = time.perf_counter()
    with ctx.workprec(prec):
        try:
            body(sheet)
        except Stopped as reason:
            stopped = str(reason)
    return Certificate(
        claim=claim.id,
        statement=sheet.statement if stopped is None else claim.statement,
        assumptions=claim.assumptions,
        status="proven" if stopped is None else "not proven",
        stopped_at=stopped,
        prec=prec,
        seconds=time.perf_counter() - start,
        pieces=sheet.pieces,
        enclosures=tuple(sheet.kept.items()),
        inputs=claim.inputs,
        source=claim.source,
        _again=again,
    )
