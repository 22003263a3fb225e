"""Options of the command line: ranges, exclusions, unknown names, unreadable values."""

from __future__ import annotations

from pathlib import Path

import pytest

from figures.artefact import UsageError
from figures.options import Options, parse

REGISTRY = {"a": "module.a", "fig1": "module.fig1"}


def test_options_without_arguments_are_the_defaults() -> None:
    assert parse([], REGISTRY) == Options()


def test_every_option_is_read() -> None:
    words = "fig1 a --out o --scale paper --seeds 3 --toy-runs 70 --seed 2 --jobs 4 --force"
    names = ("fig1", "a")
    expected = Options(names=names, out=Path("o"), scale="paper", seeds=3, toy_runs=70, seed=2, jobs=4, force=True)
    assert parse(words.split(), REGISTRY) == expected
    words = "--scale real --mmlu m --mmlu-questions 0 --xstest x --xstest-prompts 9 --reference sft"
    own = {"mmlu": "m", "mmlu_questions": 0, "xstest": "x", "xstest_prompts": 9, "reference": "sft"}
    assert parse(words.split(), REGISTRY) == Options(scale="real", **own)
    assert parse(["--list"], REGISTRY).list
    tasks = ("a=sft:skill", "rows=40", "b=preference:b.jsonl")
    assert parse(["a", "--scale", "real", "--tasks", *tasks], REGISTRY).tasks == tasks
    assert parse(["--verify"], REGISTRY).verify


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["aa"], r"^unknown name 'aa' \(did you mean a\?\); valid names: a, fig1$"),
        (["zzz"], r"^unknown name 'zzz'; valid names: a, fig1$"),
        (["--seeds", "0"], r"^seeds: must be at least 1, got 0$"),
        (["--seeds", "-3"], r"^seeds: must be at least 1, got -3$"),
        (["--toy-runs", "0"], r"^toy_runs: must be at least 1, got 0$"),
        (["--seed", "-1"], r"^seed: must be at least 0, got -1$"),
        (["--jobs", "0"], r"^jobs: must be at least 1, got 0$"),
        (["--verify", "--force"], r"^verify: excludes --force"),
        (["--list", "--verify"], r"^list: makes nothing"),
        (
            ["--tasks", "a=sft:x", "rows=4"],
            r"^tasks: is an option of --scale real, got a=sft:x rows=4 with --scale emb",
        ),
        (
            ["--scale", "real", "--tasks", "a=sft:x", "weight=0.3", "b=sft:y"],
            r"^tasks: all have equal weights, got weight=0.3 for a$",
        ),
        (["--scale", "real", "--tasks", "a=sft:x"], r"^tasks: objective: at least two are needed, got a alone$"),
        (["--scale", "real", "--tasks", "a=sft:x", "b=dpo:y"], r"^tasks: objective b: kind: must be one of sft, pref"),
        (["--mmlu", "x"], r"^mmlu: is an option of --scale real, got x with --scale embedded$"),
        (["--scale", "real", "--reference", "paper"], r"^reference: must be base or sft, got paper$"),
        (["--scale", "real", "--precision", "fp16"], r"^precision: must be fp32 or bf16, got fp16$"),
        (["--scale", "real", "--xstest-prompts", "9"], r"^xstest_prompts: counts what --xstest names"),
        (["--scale", "real", "--mmlu", "hub", "--mmlu-questions", "-1"], r"^mmlu_questions: must be at least 0"),
    ],
)
def test_a_value_out_of_range_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(arguments, REGISTRY)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "x"], ("--seeds", "x")),
        (["--scale", "huge"], ("--scale", "smoke")),
        (["--nonsense"], ("--nonsense",)),
        (["--scale"], ("--scale",)),
    ],
)
def test_unreadable_input_is_explained_with_status_2(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        parse(arguments, REGISTRY)
    assert error.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert all(word in output.err for word in words)


def test_a_scale_from_python_is_checked_as_well() -> None:
    with pytest.raises(ValueError, match=r"^scale: must be one of smoke, embedded, real, paper, got huge$"):
        Options(scale="huge")  # type: ignore[arg-type]
