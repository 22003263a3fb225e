"""Runs that tests measure again and again: the pairs that they held out, and a run without its measures."""

from __future__ import annotations

import json
from pathlib import Path

from support import tiny_models as tiny


def forget_measures(run: Path) -> None:
    """Remove all measures of a run."""
    folder = run / "measures"
    for file in folder.iterdir() if folder.is_dir() else ():
        file.unlink()


def held_out_pairs(run: Path) -> list[dict[str, str]]:
    """The preference rows that the run did not train on, found by the tokens that it says it held out."""
    from llm.data.splits import load_datasets
    from llm.training.run_folder import load_run

    config = load_run(run).config
    tokenizer = tiny.tokenizer()
    held = load_datasets(config, tokenizer, {}).held_out["preference"]
    assert held is not None
    rows = [json.loads(line) for line in Path(config.preference).read_text(encoding="utf-8").splitlines()]
    chosen = {tuple(tokenizer(row["chosen"])["input_ids"]) for row in rows}
    kept = {tuple(ids[0][:-1]) for ids in held.responses}  # without the end of the text
    assert kept <= chosen
    return [row for row in rows if tuple(tokenizer(row["chosen"])["input_ids"]) in kept]
