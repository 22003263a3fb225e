"""The measure `samples`: the first held-out prompts of both sets, and greedy answers to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

pytest.importorskip("torch")
from llm import TrainConfig, train
from llm.data.splits import load_datasets
from llm.evaluation.generate import Decoding, generate_answers
from llm.judging.samples import PROMPTS, TOKENS
from llm.study.measures import result_of, take
from llm.training.run_folder import load_run


@pytest.mark.slow
def test_the_prompts_are_held_out_and_the_answers_greedy(tmp_path: Path) -> None:
    options = door.place(tmp_path) | {"steps": 1, "eval_every": 0, "held_out": 0.4}
    config = Path(options["model"], "config.json")
    values = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(values | {"max_position_embeddings": 300}), encoding="utf-8")
    run = train(TrainConfig(**options), quiet=True).folder
    take(run, ["samples"])
    found = result_of(run, "samples")
    assert [row["set"] for row in found["answers"]] == ["preference"] * PROMPTS["preference"] + ["sft"] * PROMPTS["sft"]
    held = load_datasets(load_run(run).config, tiny.tokenizer(), {}).held_out
    for kind, file, reference in (("preference", "preference", "chosen"), ("sft", "sft", "completion")):
        rows = [json.loads(line) for line in Path(options[file]).read_text(encoding="utf-8").splitlines()]
        own = [row for row in found["answers"] if row["set"] == kind]
        every = {row["prompt"].strip(): row[reference].strip() for row in rows}
        assert all(every[row["prompt"]] == row["reference"] for row in own)
        kept = {tuple(ids[0][:-1]) for ids in held[kind].responses}  # without the end of the text
        assert all(tuple(tiny.tokenizer()(row["reference"])["input_ids"]) in kept for row in own)
        decoding = Decoding(max_new_tokens=TOKENS)
        answers = generate_answers(str(run), [row["prompt"] for row in own], decoding, kind=kind)
        assert answers == [row["answer"] for row in own]
