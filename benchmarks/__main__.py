"""Run the benchmarks: `python -m benchmarks [--only NAME] [--write]`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import llm_speed, processes, report, speed
from benchmarks.c_loop import NoCompilerError, compiler

BENCHMARKS = {
    "step": speed.step,
    "large": speed.large,
    "autograd": speed.autograd,
    "many": speed.many,
    "imports": processes.imports,
    "first": processes.first,
    "door": processes.door,
    "llm-sft": llm_speed.sft,
    "llm-dpo": llm_speed.dpo,
    "llm-authors": llm_speed.authors,
    "llm-methods": llm_speed.methods,
    "llm-memory": llm_speed.memory,
}


def main(arguments: list[str] | None = None) -> int:
    """0 if every bar is met, 1 if one is not, 2 if it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=BENCHMARKS, action="append", help=", ".join(BENCHMARKS))
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    options = parser.parse_args(arguments)
    if options.write and options.only:
        parser.error("--write needs all benchmarks, so it cannot go with --only")
    try:
        compiler()
        rows = {}
        for name in options.only or BENCHMARKS:
            print(f"{name}: {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}", flush=True)
            rows[name] = BENCHMARKS[name]()
            report.show(rows[name])
    except NoCompilerError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"benchmarks: {error}; `make bench` installs what they need", file=sys.stderr)
        return 2
    if options.write:
        report.write(rows)
    return 0 if all(row.holds() for group in rows.values() for row in group) else 1


if __name__ == "__main__":
    sys.exit(main())
