"""The options of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from figures.artefact import REAL_OPTIONS, SCALES, Scale, UsageError
from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, check_fields, parse_program


def _shown(metavar: str, default: str) -> Any:
    """Return the help of an option that may be left out: its placeholder and its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class Options:
    """Regenerate the figures and tables of arXiv 2410.15483, with the raw data and the checks of each.

    For every NAME the folder gets NAME.pdf, NAME.png, NAME.csv and NAME.json; index.html shows them all.
    Results are cached by their inputs: a run can be stopped at any moment, and the same command resumes.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, _shown("[NAME ...]", "all")] = ()
    """artefacts to make; --list shows their names"""
    out: Path = Path("out")
    """folder for the results"""
    list: bool = False
    """list the names, the place of each in the paper, and its cost; make nothing"""
    scale: Annotated[Scale | None, _shown("{" + ",".join(SCALES) + "}", "embedded")] = None
    """amount of computation: smoke only shows that everything works; real trains a real model of 135 million weights,
    in hours on a CPU; paper is the paper's own size; its model experiments need a GPU. real and paper list all required
    resources before they begin"""
    sft: Annotated[str, _shown("SET", "skill")] = ""
    """SFT set of scale real: skill, a name on the hub, a file or a folder"""
    preference: Annotated[str, _shown("SET", "Dahoas/rm-hh-rlhf")] = ""
    """preference set of scale real: a name on the hub, a file or a folder"""
    chat: Annotated[str, _shown("SET", "vicgalle/alpaca-gpt4")] = ""
    """SFT set of the artefact `chat` at scale real: a name on the hub, a file or a folder"""
    tasks: Annotated[tuple[str, ...], _shown("NAME=KIND:SET [FIELD=VALUE] ...", "four on the hub")] = ()
    """tasks of the artefact `realtasks` at scale real, in the order of training, as --objective of `python -m llm
    train`"""
    reference: Annotated[str, _shown("{base,sft}", "base")] = ""
    """DPO's reference at scale real: base (the model before training), or sft (the model trained on the SFT set);
    unless it is given, the artefact `real` has a few runs with sft beside those with base"""
    precision: Annotated[str, _shown("{fp32,bf16}", "fp32")] = ""
    """of the model at scale real; bf16 is faster on GPUs, and on CPUs with units for it (avx512_bf16 or amx_bf16 in
    /proc/cpuinfo), and slower on others"""
    mmlu: Annotated[str, _shown("PATH", "not asked")] = ""
    """MMLU at scale real, for Table 1: folder or .tar.gz of its CSV files (SUBJECT_dev.csv, SUBJECT_test.csv), or hub;
    needs lm-eval"""
    mmlu_questions: Annotated[int | None, NOT_NEGATIVE, _shown("N", "5")] = None
    """number of MMLU's questions of each of its 57 subjects, from the first; 0: all"""
    xstest: Annotated[str, _shown("FILE", "not asked")] = ""
    """XSTest at scale real, for Table 1: file with the columns prompt and label (.csv, .jsonl, .parquet), or hub"""
    xstest_prompts: Annotated[int | None, NOT_NEGATIVE, _shown("N", "0")] = None
    """number of XSTest's prompts, evenly spaced; 0: all"""
    seeds: Annotated[int | None, AT_LEAST_1, _shown("N", "each artefact's own")] = None
    """number of random seeds of trained models"""
    toy_runs: Annotated[int | None, AT_LEAST_1, _shown("N", "each artefact's own")] = None
    """number of random runs of the toy world, where nothing is trained: 20 to 3000 by default, 300 at most for smoke"""
    seed: Annotated[int | None, NOT_NEGATIVE, _shown("N", "0")] = None
    """first random seed"""
    jobs: Annotated[int | None, AT_LEAST_1, _shown("N", "number of cores")] = None
    """number of artefacts, and of training runs, that are made at the same time"""
    force: bool = False
    """compute and draw again, also cached results; finished training runs are kept (remove OUT/runs to train them
    again)"""
    verify: bool = False
    """compute again and compare with the data in the folder, with the scale, seeds and seed recorded there unless
    given here; write nothing but missing training runs"""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.verify and self.force:
            raise ValueError("verify: excludes --force: --verify computes anew and writes nothing")
        for name in REAL_OPTIONS:
            given, scale = getattr(self, name), self.scale or "embedded"
            if given not in ("", None, ()) and scale != "real" and not self.verify:
                shown = " ".join(given) if name == "tasks" else given
                raise ValueError(f"{name}: is an option of --scale real, got {shown} with --scale {scale}")
        if self.reference not in ("", "base", "sft"):
            raise ValueError(f"reference: must be base or sft, got {self.reference}")
        if self.precision not in ("", "fp32", "bf16"):
            raise ValueError(f"precision: must be fp32 or bf16, got {self.precision}")
        for counted, of in (("mmlu_questions", "mmlu"), ("xstest_prompts", "xstest")):
            if getattr(self, counted) is not None and not getattr(self, of) and not self.verify:
                raise ValueError(f"{counted}: counts what --{of} names, which is not given")
        if self.tasks:
            from llm.data.objective_options import canonical, parse_objectives

            try:
                canonical(self.tasks)
            except (ValueError, TypeError) as error:
                raise type(error)(f"tasks: {error}") from error
            for table in parse_objectives(self.tasks):
                if table.weight is not None:
                    raise ValueError(f"tasks: all have equal weights, got weight={table.weight:g} for {table.name}")
        if self.list and (self.verify or self.force):
            raise ValueError("list: makes nothing, so it excludes --verify and --force")


def parse(arguments: Sequence[str], registry: Mapping[str, str]) -> Options:
    """Return the checked options.

    Raises UsageError for a value out of range and for an unknown name. On unreadable input tyro prints the reason and
    raises SystemExit(2); `--help` prints the help and raises SystemExit(0).
    """
    try:
        options: Options = parse_program(
            Options, [*arguments], "paper_repro.py", markers=(tyro.conf.FlagCreatePairsOff,)
        )
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None
    for name in options.names:
        if name not in registry:
            close = difflib.get_close_matches(name, registry, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"unknown name {name!r}{hint}; valid names: {', '.join(registry)}")
    return options
