"""Runs that tests measure again and again, the pairs that they held out, and a run without its measures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

from llm.common.files import read_json


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


def run_on_files(folder: Path) -> Path:
    """Train on tiny files a model that has room for answers of a measure's length; the run's folder."""
    from llm import TrainConfig, train

    options = door.place(folder)
    config = Path(options["model"], "config.json")
    config.write_text(json.dumps(read_json(config) | {"max_position_embeddings": 300}), encoding="utf-8")
    return train(TrainConfig(**{**options, "steps": 1, "held_out": 0.3}), quiet=True).folder


@contextmanager
def embedded_run(folder: Path) -> Iterator[Path]:
    """A finished run on a very small embedded world, which is that of its size while the block lasts."""
    from llm import TrainConfig, train
    from llm.embedded import EmbeddedConfig

    world = EmbeddedConfig(
        places=8, hidden=16, layers=1, heads=2, pretrain_steps=6, sft_rows=12, preference_rows=10, held_out_rows=4,
        questions=24,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedConfig, "of_size", staticmethod(lambda *_, **__: world))
        options = {"cache": str(folder / "cache"), "out": str(folder / "run"), "device": "cpu", "eval_rows": 4}
        more = {"steps": 4, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2}
        yield train(TrainConfig.preset("embedded", **options, **more), quiet=True).folder
