"""Write the tables of results in README and docs: `python -m figures.recorded [--out DIR] [--runs DIR] [--real DIR]`.

Runs of the real model replace what is recorded of it, or join it with `--add`. Without a folder only the pages are
written anew. `--verify DIR [--preference FILE]` writes none of them: it trains one recorded run of the real model again
and compares.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures.recorded import benchmarks, pages, real, record, verify
from llm.common.environment import ROOT


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Record results if folders are given, write the pages, and return the exit status.

    0: all is well; 1: `--verify` found a difference, or its run failed; 2: a file is missing, or an option is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m figures.recorded", description=__doc__)
    parser.add_argument("--out", type=Path, help="record the artefacts in this folder, made on this machine")
    parser.add_argument("--runs", type=Path, help="record the runs below this folder, made on this machine")
    parser.add_argument(
        "--real",
        type=Path,
        help="record the finished runs of the real model in this folder, made by paper_repro.py real chat "
        "realtasks --scale real: the OUT of that command, or one of its folders OUT/runs/CODE if several training "
        "codes made runs there",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="with --real: add these runs to the recorded ones of the same settings and sets (further seeds, or runs "
        "made anew), in place of replacing all",
    )
    parser.add_argument(
        "--benchmarks",
        type=Path,
        metavar="OUT",
        help="record MMLU and XSTest of the real model's finished runs in this folder; the files that they were asked "
        "are given by --mmlu and --xstest",
    )
    parser.add_argument("--mmlu", type=Path, metavar="PATH", help="with --benchmarks: MMLU's CSV files")
    parser.add_argument("--xstest", type=Path, metavar="FILE", help="with --benchmarks: XSTest's prompts")
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="OUT",
        help="train the cheapest recorded run of the real model again, in OUT/runs (unless it is there), and compare",
    )
    parser.add_argument("--preference", default="", metavar="FILE", help="with --verify: the recorded preference set")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if options.verify is not None:
        if options.out or options.runs or options.real or options.benchmarks:
            parser.error("--verify excludes --out, --runs, --real and --benchmarks: it records nothing")
        return _verify(options.verify, options.preference, root)
    if (options.benchmarks is None) is not (options.mmlu is None and options.xstest is None):
        parser.error("--benchmarks needs --mmlu or --xstest, the files that the runs were asked, and these need it")
    if options.add and options.real is None:
        parser.error("--add needs --real, the runs to add")
    recorded = root / "docs" / "recorded"
    try:
        if options.out is not None:
            _write(recorded / "reproduce.json", record.reproduction(options.out))
        if options.runs is not None:
            _write(recorded / "embedded.json", record.study(options.runs))
        if options.real is not None:
            for line in real.write(root / "results", options.real, add=options.add):
                print(f"recorded: {line}")
        if options.benchmarks is not None:
            place = root / "results" / "real"
            line = benchmarks.write(place, options.benchmarks, mmlu=options.mmlu, xstest=options.xstest)
            print(f"recorded: {line}")
    except (FileNotFoundError, ValueError) as error:
        print(f"recorded: {error}", file=sys.stderr)
        return 2
    for name in pages.write_pages(root):
        print(f"written: {name}")
    return 0


def _verify(out: Path, preference: str, root: Path) -> int:
    """Train a recorded run again, print the comparison and return the exit status."""
    try:
        compared = verify.verify(out, preference, root / "results" / "real")
    except (OSError, ValueError) as error:
        print(f"recorded: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"recorded: {error}", file=sys.stderr)
        return 1
    for line in compared.lines:
        print(line)
    return 0 if compared.same else 1


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
