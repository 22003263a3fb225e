"""What the tests of `llm`'s command line share: tiny files, options, and one call of `main` in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import tiny_models as tiny

from llm.cli import main


class Said(NamedTuple):
    """The exit status and the two streams."""

    status: int | str | None
    out: str
    err: str


def write(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    """A .jsonl of the rows; its name."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def place(folder: Path) -> dict[str, Any]:
    """Options of a run of a few steps on a tiny model and tiny files, made in the folder."""
    return {
        "model": str(tiny.base(folder / "base")),
        "sft": write(folder / "sft.jsonl", tiny.sft_rows()),
        "preference": write(folder / "preference.jsonl", tiny.preference_rows()),
        "cache": str(folder / "cache"),
        "out": str(folder / "run"),
        "steps": 4,
        "batch_sft": 4,
        "batch_preference": 4,
        "lora_rank": 4,
        "lr": 1e-2,
        "max_length": 64,
        "held_out": 0.2,
        "eval_every": 2,
        "device": "cpu",
    }


def evaluated(folder: Path) -> dict[str, Any]:
    """Options of a run in the folder with a template, a trained reference and given optima."""
    more = {"reference": "chosen", "reference_steps": 3, "eval_rows": 4, "steps": 12, "template": "Q: {prompt}\nA:"}
    return {**place(folder), **more, "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 2.0}


def argv(command: str, **options: Any) -> list[str]:
    """The options as arguments; one that is None is left out."""
    said = [command]
    for name, value in options.items():
        if value is None:
            continue
        flag = "--" + name.replace("_", "-")
        many = value if isinstance(value, list | tuple) else [value]
        said += [flag] if value is True else [flag, *map(str, many)]
    return said


def call(capsys: pytest.CaptureFixture[str], command: str, **options: Any) -> Said:
    """What `python -m llm COMMAND` with these options says."""
    capsys.readouterr()
    try:
        status: int | str | None = main(argv(command, **options))
    except SystemExit as left:  # tyro's
        status = left.code
    return Said(status, *capsys.readouterr())
