"""The command line: reads the options, reports wrong ones in one line, and starts the run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from figures.registry import REGISTRY
from llm.common.processes import INTERRUPTED, stop_requested


def main(arguments: Sequence[str] | None = None, registry: Mapping[str, str] = REGISTRY) -> int:
    """Run the command line and return the exit status.

    0: all is well; 1: an artefact failed, or a check that must hold does not, or `--verify` found a difference;
    2: the options are wrong, or a resource that runs at the paper's scale need is missing;
    130: stopped by Ctrl-C or SIGTERM.
    """
    with stop_requested(interrupt=False) as stop:  # before anything slow is imported
        from figures.artefact import UsageError
        from figures.options import parse

        try:
            options = parse(sys.argv[1:] if arguments is None else arguments, registry)
            if stop():
                print("paper_repro: stopped", file=sys.stderr)
                return INTERRUPTED
            from figures.pipeline import run

            return run.run(options, registry, stop)
        except UsageError as error:
            print(f"paper_repro: {error}", file=sys.stderr)
            return 2
        except BrokenPipeError:  # the reader of our output has ended, as `| head` does
            sys.stdout = None  # else Python complains once more at exit
            return 1
        except OSError as error:  # the disk is full, or the folder went away
            print(f"paper_repro: {error}", file=sys.stderr)
            return 1
