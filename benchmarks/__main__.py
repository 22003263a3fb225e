"""Run the benchmarks: `python -m benchmarks [--only NAME] [--quick] [--write]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import llm_speed, processes, report, speed
from benchmarks.agreement import Agreement, Paired
from benchmarks.c_loop import NoCompilerError, compiler
from benchmarks.growth import Curve, draw
from benchmarks.llm_memory import EndedError
from benchmarks.llm_rows import RealSize
from benchmarks.report import Result
from benchmarks.timing import Row


def forgetting() -> Sequence[Agreement]:
    """Compare (n) forgetting, and both objectives after each stage, with TRL's."""
    from benchmarks.llm_forgetting import forgetting

    return forgetting()


def forgetting_real(preference: Path, seeds: Sequence[int]) -> Sequence[Paired]:
    """Compare (q) losses and skill after each stage on a real model with TRL's, on the same batches."""
    from benchmarks.llm_forgetting_real import forgetting_real

    return forgetting_real(preference, seeds)


def forgetting_llamafactory(preference: Path, cli: Path, seeds: Sequence[int]) -> Sequence[Paired]:
    """Compare (r) losses and skill after each stage on a real model with LLaMA-Factory's, on the same batches."""
    from benchmarks.llm_forgetting_real import forgetting_llamafactory

    return forgetting_llamafactory(preference, cli, seeds)


def growth(*, quick: bool = False) -> Sequence[Curve]:
    """Measure (p) how costs grow: steps, objectives, checkpoints, rows, studies; draw benchmarks/growth.png."""
    from benchmarks import growth_rows, growth_study, growth_train

    rows = growth_rows.rows((1_000, 10_000, 50_000) if quick else (1_000, 10_000, 100_000, 1_000_000))
    models, longest = growth_train.MODELS[: 2 if quick else 4], (0.25, 0.5, 1.0, 2.0)[: 3 if quick else 4]
    curves = [
        *growth_train.steps(models, longest, (2, 8, 32)),
        *growth_train.steps(models, longest, (2, 8, 32), kind="preference"),
        *growth_train.objectives((2, 8, 16) if quick else (2, 4, 8, 16, 32)),
        *growth_train.checkpoints((8, 128, 1024) if quick else (8, 128, 1024, 4096), (4, 16, 64)),
        *rows,
        *growth_study.study((10, 100, 1_000) if quick else (10, 100, 1_000, 10_000)),
        growth_study.metrics((1_000, 10_000, 100_000)),
    ]
    draw(curves)
    return curves


def tokens() -> Sequence[Row]:
    """Measure (o) 100,000 preference pairs on disk to token ids, the first time and from the cache."""
    from benchmarks.growth_rows import tokens

    return tokens()


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {
    "step": speed.step,
    "optimizers": speed.optimizers,
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
    "forgetting": forgetting,
    "tokens": tokens,
    "growth": growth,
}

QUICK: dict[str, Callable[[], Sequence[Result]]] = {
    "llm-sft": partial(llm_speed.sft, llm_speed.QUICK, 2),
    "llm-dpo": partial(llm_speed.dpo, llm_speed.QUICK, 2),
    "llm-authors": partial(llm_speed.authors, llm_speed.QUICK, 2),
    "llm-methods": partial(llm_speed.methods, llm_speed.QUICK_METHODS, 4),
    "llm-memory": partial(llm_speed.memory, llm_speed.QUICK_MEMORY, 1),
    "growth": partial(growth, quick=True),
}
REAL = "llm-real"  # needs --model, --sft and --preference
STAGES = "forgetting-real"  # needs --preference, and the model of `make model`
FACTORY = "forgetting-llamafactory"  # needs --llamafactory as well
ASKED = (STAGES, FACTORY)  # measured if they are named
LLM = tuple(name for name in BENCHMARKS if name.startswith("llm-"))
GROWTH = ("tokens", "growth")
TOYOPT = tuple(name for name in BENCHMARKS if name not in (*LLM, *GROWTH, "forgetting"))
PARTS = {
    "toyopt": TOYOPT, "llm": LLM, "real": (REAL,), "forgetting": ("forgetting",), STAGES: (STAGES,),
    FACTORY: (FACTORY,), "growth": GROWTH,
}  # fmt: skip


def _title(name: str) -> str:
    made = {REAL: llm_speed.real, STAGES: forgetting_real, FACTORY: forgetting_llamafactory}
    return ((made.get(name) or BENCHMARKS[name]).__doc__ or "").splitlines()[0]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; return 0 if every bar is met, 1 if a bar is missed, 2 if a side cannot be measured."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    choices = tuple(dict.fromkeys((*PARTS, *BENCHMARKS, REAL, *ASKED)))
    parser.add_argument("--only", metavar="NAME", choices=choices, action="append", help=", ".join(choices))
    parser.add_argument("--quick", action="store_true", help="llm's with smaller batches and fewer repetitions")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    files = parser.add_argument_group(
        ", ".join((REAL, *ASKED)),
        f"a model and sets from disk; {REAL} is measured if the three are named, the others if asked for",
    )
    files.add_argument("--model", metavar="FOLDER", help="a causal model in a folder, with a chat template")
    files.add_argument("--sft", metavar="FILE", help="an SFT set, in any form that llm reads")
    files.add_argument("--preference", metavar="FILE", help="a preference set")
    files.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of all sides (default: bf16)")
    files.add_argument(
        "--seeds", type=int, nargs="+", default=[2], metavar="N", help=f"of {STAGES} and {FACTORY} (default: 2)"
    )
    files.add_argument("--llamafactory", metavar="FILE", help="the command llamafactory-cli in its own environment")
    files.add_argument("--batches", type=int, default=3, metavar="N", help="batches of 8 rows a turn (default: 3)")
    options = parser.parse_args(arguments)
    paths = (options.model, options.sft, options.preference)
    default = [part for part in PARTS if part not in ASKED and (part != "real" or all(paths))]
    names = [n for only in options.only or default for n in PARTS.get(only, (only,))]
    if REAL in names and not all(paths):
        parser.error(f"{REAL} needs --model FOLDER, --sft FILE and --preference FILE")
    if asked := [name for name in names if name in ASKED and not options.preference]:
        parser.error(f"{asked[0]} needs --preference FILE")
    if FACTORY in names and not options.llamafactory:
        parser.error(f"{FACTORY} needs --llamafactory FILE")
    if missing := [path for path in (*paths, options.llamafactory) if path and not Path(path).exists()]:
        parser.error(f"{missing[0]}: there is no such file or folder")
    if options.write and any(0 < len(set(names) & set(part)) < len(part) for part in PARTS.values()):
        parser.error(f"--write needs all benchmarks of a part: --only may name {' or '.join(PARTS)}")
    chosen = dict(BENCHMARKS | QUICK if options.quick else BENCHMARKS)
    if REAL in names:
        size = RealSize(*paths, precision=options.precision, batches=1 if options.quick else options.batches)
        chosen[REAL] = partial(llm_speed.real, size, 1 if options.quick else 2)
    if STAGES in names:
        chosen[STAGES] = partial(forgetting_real, Path(options.preference), options.seeds)
    if FACTORY in names:
        preference, cli = Path(options.preference), Path(options.llamafactory).absolute()
        chosen[FACTORY] = partial(forgetting_llamafactory, preference, cli, options.seeds)
    try:
        compiler()
        rows = {}
        for name in names:
            print(f"{name}: {_title(name)}", flush=True)
            rows[name] = chosen[name]()
            report.show(rows[name])
    except NoCompilerError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"benchmarks: {error}; `make bench` installs the required libraries", file=sys.stderr)
        return 2
    except (EndedError, ValueError, FileNotFoundError) as error:  # also a set or a model that is wrong
        print(f"benchmarks: {name}: {error}", file=sys.stderr)
        return 2
    for part, whole in PARTS.items():
        if options.write and set(whole) <= set(rows):
            files_of = (*paths, options.llamafactory)  # not where they lie
            named = [Path(word).name if word in files_of else word for word in arguments]
            command = " ".join(["python -m benchmarks", *named])
            report.write({name: rows[name] for name in whole}, part, command)
    return 0 if all(row.holds() for group in rows.values() for row in group) else 1


if __name__ == "__main__":
    sys.exit(main())
