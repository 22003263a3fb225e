"""The command line: `python -m toyopt claim NAME`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from toyopt.claims import CLAIMS, Claim, find
from toyopt.claims.at import ARGUMENTS
from toyopt.ledger import ledger
from toyopt.progress import INTERRUPTED, Progress
from toyopt.record import Record

USAGE = """usage: python -m toyopt claim NAME [OPTIONS]

  claim      both sides of a claim of the theory: python -m toyopt claim 3.3 --lam 0.5 --T 1000

python -m toyopt claim --list names all claims; --help shows the options.
"""

Text = str | None  # of an option that the claim reads itself, so that 1/2, 0.5 and 1e6 all are numbers


def _argument(name: str) -> Any:
    """Return the help of an argument of the claims."""
    return tyro.conf.arg(help=ARGUMENTS[name], metavar="X", help_behavior_hint="", name=name)


@dataclass(frozen=True)
class ClaimOptions:
    """Both sides of a claim of the theory, with verdict, evidence, tolerance and source.

    With NAME alone the claim is judged as in the ledger, on many problems. With an argument, such as --lam, it is
    evaluated at one setting; arguments that are not given have the claim's own values. Numbers may be written as
    0.5, 1/2 or 1e6. The exit status is 1 where the claim fails.
    """

    name: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]", help_behavior_hint="")] = ()
    """number (3.3, A.1, S-replay) or short name (forgetting, replay, ...)"""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """list the claims with their short names and arguments; evaluate nothing"""
    all: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """print every record of the ledger's entry, not only the first and those that do not hold"""
    out: Path = Path("out")
    """folder of the artefacts, in which the plot of the claim is looked for"""
    lam: Annotated[Text, _argument("lam")] = None
    T: Annotated[Text, _argument("T")] = None
    g: Annotated[Text, _argument("g")] = None
    alpha: Annotated[Text, _argument("alpha")] = None
    alpha0: Annotated[Text, _argument("alpha0")] = None
    order: Annotated[Text, _argument("order")] = None
    theta_1: Annotated[Text, _argument("theta_1")] = None
    schedule: Annotated[Text, _argument("schedule")] = None
    p: Annotated[Text, _argument("p")] = None
    psi: Annotated[Text, _argument("psi")] = None
    k: Annotated[Text, _argument("k")] = None
    evaluation: Annotated[Text, _argument("evaluation")] = None
    error: Annotated[Text, _argument("error")] = None
    noise: Annotated[Text, _argument("noise")] = None
    epsilon: Annotated[Text, _argument("epsilon")] = None
    momentum: Annotated[Text, _argument("momentum")] = None
    beta1: Annotated[Text, _argument("beta1")] = None
    beta2: Annotated[Text, _argument("beta2")] = None
    weight_decay: Annotated[Text, _argument("weight_decay")] = None
    a: Annotated[Text, _argument("a")] = None
    b: Annotated[Text, _argument("b")] = None
    problem: Annotated[Text, _argument("problem")] = None

    @property
    def given(self) -> dict[str, str]:
        """The arguments that are given, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values[name] for name in ARGUMENTS if values[name] is not None}


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit status.

    0: the claim holds or is open; 1: it fails; 2: wrong input, with one line on the error stream; 130: Ctrl-C, with
    one line. Progress is shown on the error stream after two seconds.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if argv[0] != "claim":
        print(f"error: {argv[0]} is no command; there is claim", file=sys.stderr)
        return 2
    try:
        description = inspect.cleandoc(ClaimOptions.__doc__ or "") + _arguments_of(argv[1:])
        options = tyro.cli(ClaimOptions, args=list(argv[1:]), prog="python -m toyopt claim", description=description)
        status = _claim(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of our output has ended, as `| head` does
        sys.stdout = None  # else Python complains once more at exit
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        print("error: there is not enough memory for this setting; lower T", file=sys.stderr)
        return 2
    except (ValueError, TypeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _arguments_of(argv: Sequence[str]) -> str:
    """Return the last paragraph of the help text of a claim that is named: its arguments; "" for other calls."""
    if not argv or argv[0].startswith("-") or not {"-h", "--help"} & set(argv):
        return ""
    number = find(argv[0])
    return f"\n\n{number} ({CLAIMS[number].short}) takes {_options(CLAIMS[number])}."


def _options(claim: Claim) -> str:
    """Return the options that a claim takes."""
    return " ".join(f"--{name.replace('_', '-')}" for name in claim.arguments)


def _claim(options: ClaimOptions) -> int:
    """Print the list, or a claim; return the exit status."""
    if options.list:
        print("\n".join(_listed()))
        return 0
    if not options.name:
        raise ValueError("claim: a name is needed, such as 3.3; --list shows all")
    number = find(" ".join(options.name))
    claim = CLAIMS[number]
    if options.given:
        with Progress(f"claim {number}"):
            records = claim.at_setting(**options.given)
        shown: Iterable[Record] = records
        evidence = f"records at {', '.join(f'{name} = {text}' for name, text in options.given.items())}"
    else:
        with Progress(f"claim {number}"):
            (entry,) = ledger([number])
        records = entry.records
        shown = records if options.all else (records[0], *(r for r in records[1:] if r.verdict != "holds"))
        held = sum(record.verdict == "holds" for record in records)
        more = "" if options.all or len(records) == 1 else "; --all prints each"
        evidence = f"{entry.verdict} by {entry.evidence}; {held} of {len(records)} records hold{more}"
    print(f"{number} ({claim.short}): {claim.statement}\n  {evidence}\n")
    print("\n".join(map(str, shown)))
    where = "conjecture, not proven" if all(record.evidence == "numerical" for record in records) else "proof"
    print(f"\n{where}: {claim.link}\nplot: {_plot(claim, options.out)}")
    return 1 if any(record.verdict == "fails" for record in records) else 0


def _listed() -> list[str]:
    """Return a line for each claim: number, short name, arguments, statement."""
    wide = max(len(number) for number in CLAIMS), max(len(claim.short) for claim in CLAIMS.values())
    lines = []
    for number, claim in CLAIMS.items():
        lines.append(f"{number:<{wide[0]}}  {claim.short:<{wide[1]}}  {claim.statement}")
        lines.append(f"{'':{sum(wide) + 4}}{_options(claim)}")
    return lines


def _plot(claim: Claim, out: Path) -> str:
    """Return the path of the plot that shows a claim, or the command that makes it."""
    if not claim.figure:
        return "no artefact shows this claim by itself; python paper_repro.py claims has it in the ledger's table"
    path = out / f"{claim.figure}.png"
    command = f"python paper_repro.py {claim.figure} --out {out}"
    return str(path) if path.is_file() else f"{path}, made by: {command}"
