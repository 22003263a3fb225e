"""Run the benchmarks: `python -m benchmarks [--only NAME] [--quick] [--write]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from benchmarks import llm_speed, processes, report, speed
from benchmarks.c_loop import NoCompilerError, compiler
from benchmarks.timing import Row

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "step": speed.step,
    "large": speed.large,
    "autograd": speed.autograd,
    "many": speed.many,
    "imports": processes.imports,
    "first": processes.first,
    "cli": processes.cli,
    "llm-sft": llm_speed.sft,
    "llm-dpo": llm_speed.dpo,
    "llm-authors": llm_speed.authors,
    "llm-methods": llm_speed.methods,
    "llm-memory": llm_speed.memory,
}

QUICK: dict[str, Callable[[], list[Row]]] = {
    "llm-sft": partial(llm_speed.sft, llm_speed.QUICK, 2),
    "llm-dpo": partial(llm_speed.dpo, llm_speed.QUICK, 2),
    "llm-authors": partial(llm_speed.authors, llm_speed.QUICK, 2),
    "llm-methods": partial(llm_speed.methods, llm_speed.QUICK_METHODS, 4),
    "llm-memory": partial(llm_speed.memory, llm_speed.QUICK_MEMORY, 1),
}
LLM = tuple(name for name in BENCHMARKS if name.startswith("llm-"))
PARTS = {"toyopt": tuple(name for name in BENCHMARKS if name not in LLM), "llm": LLM}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; return 0 if every bar is met, 1 if a bar is missed, 2 if a side cannot be measured."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    choices = (*PARTS, *BENCHMARKS)
    parser.add_argument("--only", metavar="NAME", choices=choices, action="append", help=", ".join(choices))
    parser.add_argument("--quick", action="store_true", help="llm's with smaller batches and fewer repetitions")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    options = parser.parse_args(arguments)
    names = [n for only in options.only or PARTS for n in PARTS.get(only, (only,))]
    if options.write and any(0 < len(set(names) & set(part)) < len(part) for part in PARTS.values()):
        parser.error(f"--write needs all benchmarks of a part: --only may name {' or '.join(PARTS)}")
    chosen = BENCHMARKS | QUICK if options.quick else BENCHMARKS
    try:
        compiler()
        rows = {}
        for name in names:
            print(f"{name}: {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}", flush=True)
            rows[name] = chosen[name]()
            report.show(rows[name])
    except NoCompilerError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"benchmarks: {error}; `make bench` installs the required libraries", file=sys.stderr)
        return 2
    for part, whole in PARTS.items():
        if options.write and set(whole) <= set(rows):
            command = " ".join(["python -m benchmarks", *arguments])
            report.write({name: rows[name] for name in whole}, part, command)
    return 0 if all(row.holds() for group in rows.values() for row in group) else 1


if __name__ == "__main__":
    sys.exit(main())
