"""The options of the command line, and every complaint about them."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from figures.artefact import SCALES, UsageError


def _whole(arguments: list[str]) -> int:
    try:
        return int(arguments[0])
    except ValueError:
        raise ValueError(f"{arguments[0]!r} is not a whole number") from None


def _spec(metavar: str, read: Any) -> Any:
    """How tyro reads an option that may be left out; its own words for such types are hard on the reader."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, int | str),
        str_from_instance=lambda value: [str(value)],
    )


_NUMBER = _spec("N", _whole)
_SCALE = _spec("{" + ",".join(SCALES) + "}", lambda arguments: arguments[0])


def _default(text: str) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


@dataclass(frozen=True)
class Options:
    """Regenerate the figures and tables of arXiv 2410.15483, with the raw data and the checks of each.

    For every NAME the folder gets NAME.pdf, NAME.png, NAME.csv and NAME.json; index.html shows them all.
    Results are cached by their inputs: a run can be stopped at any moment, and the same command goes on.
    """

    names: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint="(default: all)"),
    ] = ()
    """what to make; --list shows the names"""
    out: Path = Path("out")
    """folder for the results"""
    list: bool = False
    """show the names, what each is in the paper, and its cost; make nothing"""
    scale: Annotated[str | None, _SCALE, _default("embedded")] = None
    """how much is computed: smoke shows that all works, paper is the paper's own size; its model experiments need a
    GPU, and say what else before they begin"""
    seeds: Annotated[int | None, _NUMBER, _default("each artefact's own")] = None
    """number of random seeds, where an artefact has any"""
    seed: Annotated[int | None, _NUMBER, _default("0")] = None
    """first random seed"""
    jobs: Annotated[int | None, _NUMBER, _default("number of cores")] = None
    """how many artefacts, and how many training runs, are under way at the same time"""
    force: bool = False
    """compute and draw again, whatever is cached; training runs that are finished are kept (remove OUT/runs to train
    them again)"""
    verify: bool = False
    """compute again and compare with the data in the folder, as it was asked for there (scale, seeds, seed)
    unless given here; write nothing, but for training runs that are missing"""


def parse(arguments: Sequence[str], registry: Mapping[str, str]) -> Options:
    """Return the checked options. Raises UsageError; `--help` prints and raises SystemExit(0)."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = tyro.cli(
                Options, prog="paper_repro.py", args=list(arguments), config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise UsageError(one_line(said.getvalue())) from None
    check(options, registry)
    return options


def one_line(box: str) -> str:
    """Return the message in a box that tyro draws, without the box and the advice below."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [line.strip().strip("│").strip() for line in plain.splitlines()]
    words: list[str] = []
    for row in rows[1:]:  # the first is the title
        if not set(row) <= set("─-"):
            words.append(row)
        elif words:
            break
    return " ".join(words) or "the options cannot be understood; see --help"


def check(options: Options, registry: Mapping[str, str]) -> None:
    """Check the options. Raises UsageError for the first that is not valid."""
    for name in options.names:
        if name not in registry:
            close = difflib.get_close_matches(name, registry, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"unknown name {name!r}{hint}; valid names: {', '.join(registry)}")
    if options.scale is not None and options.scale not in SCALES:
        raise UsageError(f"--scale must be one of {', '.join(SCALES)}, got {options.scale!r}")
    if options.seeds is not None and options.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {options.seeds}")
    if options.seed is not None and options.seed < 0:
        raise UsageError(f"--seed must not be negative, got {options.seed}")
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {options.jobs}")
    if options.verify and options.force:
        raise UsageError("--verify and --force exclude each other: --verify computes anew and writes nothing")
    if options.list and (options.verify or options.force):
        raise UsageError("--list makes nothing, so --verify and --force make no sense with it")
