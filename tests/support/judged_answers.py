"""Rows, a judge and files of answers for tests of `python -m llm judge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import pipeline_runs as door
from support.judge_server import Answer, Body, outputs

ROWS = [{"prompt": f"ask {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(6)]


def by_length(body: Body, _number: int) -> Answer:
    """The longer one is better, and the first of equal ones."""
    first, second = outputs(body)
    return Answer("Well.\nM" if len(second) > len(first) else "Well.\nm")


def texts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(folder: Path, said: list[str]) -> str:
    rows = [{"prompt": row["prompt"], "answer": a} for row, a in zip(ROWS, said, strict=True)]
    return door.write(folder / "answers.jsonl", rows)
