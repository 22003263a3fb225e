"""Certificates: the results of proofs by ball arithmetic, a type of their own, apart from numerical results.

A certifier establishes facts on a `Proof`. In ball arithmetic a comparison is true only if it is proven, so
`Proof.require` continues only after a literal ``True``; anything else stops the proof, and the certificate is then
*not proven* and names the step. It never states that the claim is false.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from flint import arb, ctx

from toyopt.certify.exact import integer_text
from toyopt.record import Record

MIN_PREC = 24
DIGITS = 30

Input = str | int | Fraction | tuple[Fraction, ...] | None
Rerun = Callable[..., "Certificate"]


class UnprovenStep(Exception):  # noqa: N818 (control flow inside a proof, never raised to a caller)
    """A step of a proof that could not be established; its text names the step."""


@dataclass(frozen=True)
class Enclosure:
    """A proven interval [mid - rad, mid + rad], both numbers exact decimals; `text` is "mid ± rad"."""

    mid: Decimal
    rad: Decimal
    text: str

    @classmethod
    def of(cls, value: arb, digits: int = DIGITS) -> Enclosure:
        """Return a ball in decimals, rounded outward: the ball that flint prints contains the binary one."""
        text: str = value.str(digits)
        mid, _, rad = text.strip("[]").rpartition("+/- ") if "+/-" in text else (text, "", "")
        mid = mid.strip() or "0"
        return cls(Decimal(mid), Decimal(rad or 0), f"{mid} ± {rad}" if rad else mid)

    @property
    def low(self) -> Fraction:
        """Lower end, exact."""
        return Fraction(self.mid) - Fraction(self.rad)

    @property
    def high(self) -> Fraction:
        """Upper end, exact."""
        return Fraction(self.mid) + Fraction(self.rad)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Certificate:
    """The outcome of one attempt to prove one claim.

    claim        the claim's short name
    statement    the claim with its numbers
    assumptions  the conditions of the statement
    stopped_at   None if proven, else the step that was not established
    prec         working precision in bits
    seconds      wall-clock time
    pieces       subintervals, steps or inequalities of the proof
    enclosures   (name, enclosure) pairs
    inputs       (name, exact value) pairs, enough to run the proof again
    source       the place in the paper, or "beyond the paper"

    It has no truth value: ``if certificate:`` would read "not proven" as "false". Use `.proven`.
    """

    claim: str
    statement: str
    assumptions: tuple[str, ...]
    stopped_at: str | None
    prec: int
    seconds: float = field(compare=False)
    pieces: int
    enclosures: tuple[tuple[str, Enclosure], ...]
    inputs: tuple[tuple[str, Input], ...]
    source: str
    _rerun: Rerun = field(repr=False, compare=False)

    @property
    def proven(self) -> bool:
        """Whether the statement is proven; False implies nothing about the statement."""
        return self.stopped_at is None

    @property
    def status(self) -> Literal["proven", "not proven"]:
        """`proven` in words."""
        return "proven" if self.proven else "not proven"

    @property
    def note(self) -> str:
        """The step at which the proof stopped, as a sentence; "" if proven."""
        return "" if self.stopped_at is None else f"not proven, stopped at: {self.stopped_at}"

    @property
    def record(self) -> Record:
        """The certificate as a statement with two sides: 1 of 1 proofs, or NaN, and so open, if it is not proven.

        The statement ends with the assumptions, which hold the parameters that it is proven for.
        """
        return Record(
            claim=self.claim,
            statement="; where ".join((self.statement, *self.assumptions)),
            kind="equal",
            bound=1.0,
            attained=1.0 if self.proven else float("nan"),
            source=self.source,
            evidence="certified",
            terms={"proofs": 1.0},
            note=self.note,
        )

    def __bool__(self) -> bool:
        raise TypeError("a Certificate has no truth value ('not proven' is not 'false'): use .proven")

    def recheck(self, prec: int | None = None) -> Certificate:
        """Run the same proof afresh, by default with 64 bits more, and return the new certificate."""
        return self._rerun(prec=self.prec + 64 if prec is None else prec)

    def enclosure(self, name: str) -> Enclosure:
        """Return the enclosure with a name; raise KeyError if the proof kept none of that name."""
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
        lines.append("  inputs: " + ", ".join(f"{name} = {input_text(value)}" for name, value in self.inputs))
        return "\n".join(lines)


@dataclass
class Proof:
    """The state of one proof: its statement, the number of its steps, and the enclosures that it keeps."""

    statement: str = ""
    pieces: int = 0
    kept: dict[str, Enclosure] = field(default_factory=dict)

    def require(self, condition: bool, step: str) -> None:
        """Continue only if `condition` is proven; raise `UnprovenStep` with the step's name otherwise."""
        self.pieces += 1
        if condition is not True:
            raise UnprovenStep(step)

    def keep(self, name: str, value: arb, digits: int = DIGITS) -> None:
        """Keep an enclosure; its decimal radius covers the conversion to decimals too."""
        self.kept[name] = Enclosure.of(value, digits)


def decimal(value: arb, digits: int = DIGITS) -> str:
    """Return a ball as "mid ± rad", rounded outward."""
    return Enclosure.of(value, digits).text


def input_text(value: Input) -> str:
    """Return an exact input as text: an interval as "[lo, hi]", trailing zeros of a large integer as an exponent."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return integer_text(value) if isinstance(value, int) else str(value)


def check_prec(prec: int) -> int:
    """Return the bits of working precision; raise TypeError if not an int, ValueError below 24."""
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
    inputs: tuple[tuple[str, Input], ...]


def certify(claim: Claim, body: Callable[[Proof], None], *, prec: int, rerun: Rerun) -> Certificate:
    """Run `body` at `prec` bits and return its certificate; `rerun(prec=...)` must make the certificate anew.

    The precision of flint belongs to the process, not to a thread: prove in one thread at a time.
    """
    check_prec(prec)
    proof = Proof(claim.statement)
    stopped: str | None = None
    start = time.perf_counter()
    with ctx.workprec(prec):
        try:
            body(proof)
        except UnprovenStep as step:
            stopped = str(step)
    return Certificate(
        claim=claim.id,
        statement=proof.statement if stopped is None else claim.statement,
        assumptions=claim.assumptions,
        stopped_at=stopped,
        prec=prec,
        seconds=time.perf_counter() - start,
        pieces=proof.pieces,
        enclosures=tuple(proof.kept.items()),
        inputs=claim.inputs,
        source=claim.source,
        _rerun=rerun,
    )
