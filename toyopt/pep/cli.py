"""The command line: `python -m toyopt.pep`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import tyro

from toyopt import _numbers
from toyopt.pep.certificate import certify_worst_gap
from toyopt.pep.compare import Row, rows, table
from toyopt.pep.methods import MEASURES, METHODS, Setting, setting
from toyopt.progress import INTERRUPTED, Progress, counted

Text = Annotated[str | None, tyro.conf.arg(metavar="X", help_behavior_hint="")]
HALF = Fraction(1, 2)
OPTIONS = {"bounds": "C", "distance": "D", "measure": "gap"}  # arguments of `setting` that have another name here


@dataclass(frozen=True)
class PepOptions:
    """Worst cases by semidefinite programs, beside the bounds of docs/theory.md.

    Without options the standard settings are solved (some ten seconds); with options one setting, in all three gaps.
    Numbers may be written as 0.5 or 1/2. The exit status is 1 where a bound is violated.
    """

    method: Text = None
    """mix, alright or maxright (default: maxright)"""
    lam: Text = None
    """λ in (0, 1), or one weight an objective, with commas (default: 1/2)"""
    C: Text = None
    """bounds of the objectives' subgradients, one an objective, with commas (default: 1 each)"""
    D: Text = None
    """distance of the start from the comparator θ* (default: 1)"""
    T: Text = None
    """number of iterates, one more than updates (default: 4)"""
    alpha0: Text = None
    """α0 of the constant step α0/√T (default: 1)"""
    step_sizes: Text = None
    """the T-1 step sizes themselves, with commas, in place of T and α0"""
    k: Text = None
    """MAXRIGHT: steps from one evaluation of all gaps to the next (default: 1)"""
    gap: Text = None
    """last, average or best (default: all three)"""
    bound: Text = None
    """a number to hold the optimum against, in place of the bounds of docs/theory.md"""
    certify: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """prove each optimum, or `bound`, by ball arithmetic from the program's multipliers"""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status.

    0: no bound is violated; 1: one is, or a certificate of `--bound` is not proven; 2: wrong input, or no solver, with
    one line on the error stream; 130: Ctrl-C, with one line.
    """
    options = tyro.cli(PepOptions, args=list(argv), prog="python -m toyopt.pep")
    try:
        return _run(options)
    except BrokenPipeError:  # the reader of our output has ended, as `| head` does
        sys.stdout = None  # else Python complains once more at exit
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, ModuleNotFoundError) as error:
        name, colon, rest = " ".join(str(error).split()).partition(":")
        print(f"error: {OPTIONS.get(name, name)}{colon}{rest}", file=sys.stderr)
        return 2


def standard() -> Iterator[Setting]:
    """Yield the standard settings: A4 and A5, A1, M4, M2, and M6 for k = 2 and 3."""
    equal: dict[str, Any] = {"lam": "3/10", "bounds": "1,1"}
    steep: dict[str, Any] = {"lam": "4/5", "bounds": "1,2"}  # the lighter objective is the steeper
    yield setting("mix", **equal, steps=[HALF] * 4)
    yield setting("mix", **equal, steps="1/2,1/4,3/4")
    for numbers in (equal, steep):
        for measure in ("last", "average"):
            yield setting("alright", **numbers, steps=[HALF] * 2, measure=measure)
    for numbers in (equal, steep):
        for measure in MEASURES:
            yield setting("maxright", **numbers, steps=[HALF] * 3, measure=measure)
    for k in (2, 3):
        for measure in MEASURES:
            yield setting("maxright", **equal, steps=[HALF] * (3 if measure == "last" else 2), k=k, measure=measure)


def _chosen(options: PepOptions) -> Iterator[Setting]:
    """Yield the settings of the options: one for each gap that is asked for."""
    method = "maxright" if options.method is None else options.method
    if method not in METHODS:
        raise ValueError(f"method: one of {', '.join(METHODS)} is needed, got {method!r}")
    lam = "1/2" if options.lam is None else options.lam
    n = max(2, lam.count(",") + 1)
    shared = {
        "lam": lam,
        "bounds": ["1"] * n if options.C is None else options.C,
        "distance": "1" if options.D is None else options.D,
        "k": "1" if options.k is None else options.k,
        "steps": _steps(options),
    }
    for measure in MEASURES if options.gap is None else (options.gap,):
        yield setting(method, **shared, measure=measure)


def _steps(options: PepOptions) -> Any:
    """Return the step sizes of the options: those given, or α0/√T."""
    if options.step_sizes is not None:
        if options.T is not None or options.alpha0 is not None:
            raise ValueError(f"step-sizes: they set T and α0 too: leave those out, got {options.step_sizes!r}")
        return options.step_sizes
    T = _numbers.whole("T", "4" if options.T is None else options.T, low=2)
    alpha0 = _numbers.exact("alpha0", "1" if options.alpha0 is None else options.alpha0)
    return constant_steps(T, alpha0)


def constant_steps(T: int, alpha0: Fraction) -> list[Fraction]:
    """Return the T-1 steps α0/√T: exact where T is a square, else of a float's shortest decimal."""
    root = math.isqrt(T)
    step = alpha0 / root if root * root == T else _numbers.exact("alpha0", float(alpha0) / math.sqrt(T))
    return [step] * (T - 1)


def _run(options: PepOptions) -> int:
    """Solve, print the table and the certificates, and return the exit status."""
    asked = options != PepOptions(certify=options.certify, bound=options.bound)
    bound = None if options.bound is None else _numbers.exact("bound", options.bound)
    if bound is not None and not asked:
        raise ValueError("bound: it needs a setting, such as --method maxright --lam 1/2 --gap last")
    settings = list(_chosen(options) if asked else standard())
    shown: list[Row] = []
    with Progress("worst cases"):
        for given in counted(settings, len(settings), "settings"):
            shown += rows(given, None if bound is None else float(bound))
    print("\n".join(table(shown)))
    status = 1 if any(row.record.verdict == "fails" for row in shown) else 0
    if options.certify:
        for worst in dict.fromkeys(row.worst for row in shown):
            with Progress("certificate"):
                certificate = certify_worst_gap(worst, bound)
            print(f"\n{certificate}")
            status = max(status, int(not certificate.proven))
    return status
