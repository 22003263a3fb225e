"""Write the tables of results in README and docs: `python -m figures.recorded [--out DIR] [--runs DIR] [--real DIR]`.

Without a folder only the pages are written anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures.recorded import pages, real, record


def main(arguments: Sequence[str] | None = None, root: Path = pages.ROOT) -> int:
    """Record results if folders are given, write the pages, and return the exit status: 2 if a folder lacks a file."""
    parser = argparse.ArgumentParser(prog="python -m figures.recorded", description=__doc__)
    parser.add_argument("--out", type=Path, help="record the artefacts in this folder, made on this machine")
    parser.add_argument("--runs", type=Path, help="record the runs below this folder, made on this machine")
    parser.add_argument(
        "--real",
        type=Path,
        help="record the finished runs of the real model in this folder, made by paper_repro.py real --scale real: "
        "the OUT of that command, or one of its folders OUT/runs/CODE if several training codes made runs there",
    )
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    recorded = root / "docs" / "recorded"
    try:
        if options.out is not None:
            _write(recorded / "reproduce.json", record.reproduction(options.out))
        if options.runs is not None:
            _write(recorded / "embedded.json", record.study(options.runs))
        if options.real is not None:
            print(f"recorded: {real.write(root / 'results' / 'real', options.real)}")
    except (FileNotFoundError, ValueError) as error:
        print(f"recorded: {error}", file=sys.stderr)
        return 2
    for name in pages.write_pages(root):
        print(f"written: {name}")
    return 0


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
