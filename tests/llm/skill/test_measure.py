"""The measure of the skill: shares with intervals, and the command on a trained model."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.wrong import fails

pytest.importorskip("torch")

from llm import TrainConfig, train
from llm.evaluation.generate import template_of
from llm.skill import measure as measured
from llm.skill.measure import ANSWER_TOKENS, SkillConfig, shares, skill
from llm.skill.rows import TEST, TRAIN, VALUES, examples, read


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval by his formula."""
    z, p = 1.959963984540054, hits / n
    middle, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)


def test_shares_count_answers_and_have_wilsons_interval() -> None:
    rows = [row for row, _ in zip(examples(0, TEST), range(6), strict=False)]
    answers = [row.completion for row in rows]  # rows 0, 2, 4 are in known wordings
    answers[1] = answers[1].replace(", ", ",")
    answers[3] = "A slip."
    answers[4] = answers[4].replace('"zq"', '"count"')
    result = shares(rows, answers)
    expected = {
        "exact_match": (3, 6), "exact_match_known": (2, 3), "exact_match_new": (1, 3), "valid_json": (5, 6),
        "right_keys": (4, 6),
    }  # fmt: skip
    for name, (hits, n) in expected.items():
        assert result[name] == hits / n, name
        assert (result[f"{name}_low"], result[f"{name}_high"]) == pytest.approx(wilson(hits, n)), name
    assert result["values"] == {"vek": 5 / 6, "zq": 4 / 6, "ru": 5 / 6, "pla": 5 / 6}
    assert result["n"] == 6
    alone = shares(rows[:1], answers[:1])
    assert (alone["exact_match"], alone["exact_match_new"], alone["exact_match_new_low"]) == (1.0, None, None)


def test_every_slip_is_shorter_than_an_answer_may_be() -> None:
    """A tokenizer gives a text of ASCII letters at most one token each, and one for the end."""
    longest = {split: [max(map(len, words)) for words in (v.names, v.items)] for split, v in VALUES.items()}
    slip = '{"vek": "Wednesday", "zq": 99, "ru": "", "pla": ""}'
    assert max(map(len, (row["completion"] for split in (TRAIN, TEST) for row in read(0, split, 500)))) <= len(
        slip
    ) + max(map(sum, longest.values()))
    assert len(slip) + max(map(sum, longest.values())) < ANSWER_TOKENS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on other rows of the skill's set, of two steps."""
    folder = tmp_path_factory.mktemp("skill")
    changes = {
        "sft": "skill:3",
        "sft_rows": 20,
        "steps": 2,
        "eval_every": 0,
        "eval_rows": 4,
        "template": "Q: {prompt}\nA:",
    }
    return train(TrainConfig(**{**door.place(folder), **changes}), quiet=True).folder


@pytest.mark.slow
@pytest.mark.oracle
def test_the_command_grades_greedy_answers_to_the_runs_own_held_out_prompts(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["rows"]["sft"] == 20  # none is held out: the test rows are others
    out = tmp_path / "skill.json"
    said = door.call(capsys, "skill", model=run, rows=3, answers=True, out=out)
    assert (said.status, said.err) == (0, "")
    assert re.search(r"^exact match, new wordings +0\.000 +0\.000 to 0\.793$", said.out, re.MULTILINE)  # one prompt
    result = json.loads(out.read_text(encoding="utf-8"))
    assert (result["sft"], result["n"], result["exact_match"]) == ("skill:3", 3, 0.0)
    model, tokenizer = AutoPeftModelForCausalLM.from_pretrained(run).eval(), AutoTokenizer.from_pretrained(run)
    for row, expected in zip(result["answers"], read(3, TEST, 3), strict=True):
        assert (row["prompt"], row["slip"]) == (expected["prompt"], expected["completion"])
        ids = tokenizer(f"Q: {row['prompt']}\nA:", return_tensors="pt")["input_ids"]
        made = model.generate(input_ids=ids, max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=1)
        assert row["answer"] == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()


@pytest.mark.slow
def test_the_measure_of_a_study_is_the_commands(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def perfect(model: str, prompts: list[str], decoding: Any) -> list[str]:
        asked.append((model, decoding))
        slips = {row["prompt"]: row["completion"] for seed in (0, 3) for row in read(seed, TEST, 100)}
        return [slips[prompt] for prompt in prompts]

    monkeypatch.setattr(measured, "generate_answers", perfect)
    result = measured.measure(run)
    assert (result["exact_match"], result["n"]) == (1.0, 100)
    assert not {"answers", "model", "sft"} & set(result)
    ((model, decoding),) = asked
    assert (model, decoding.temperature, decoding.precision) == (str(run), 0.0, "fp32")
    assert template_of(model, decoding.template).name == "Q: {prompt}\nA:"  # the run's own
    assert skill(SkillConfig(model=str(run)))["sft"] == "skill:3"
    assert skill(SkillConfig(model=str(run.parent / "base"), rows=2))["sft"] == "skill"
    assert skill(SkillConfig(model=str(run), sft="skill", rows=2))["sft"] == "skill"


@pytest.mark.parametrize(
    ("options", "error", "argument", "value"),
    [
        ({"rows": 0}, ValueError, "rows", "0"),
        ({"rows": 10_001}, ValueError, "rows", "10001"),
        ({"batch": 0}, ValueError, "batch", "0"),
        ({"sft": "alpaca.json"}, ValueError, "sft", "alpaca.json"),
        ({"precision": "fp16"}, ValueError, "precision", "fp16"),
        ({"out": "skill.txt"}, ValueError, "out", "skill.txt"),
        ({"answers": True}, ValueError, "answers", "--out FILE.json"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], error: type[Exception], argument: str, value: str) -> None:
    fails(lambda: SkillConfig(model="m", **options), error, argument, value)


@pytest.mark.slow
def test_a_model_with_too_few_positions_is_one_line(tmp_path: Path) -> None:
    model = tiny.base(tmp_path / "base")
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 100}), encoding="utf-8")
    fails(lambda: skill(SkillConfig(model=str(model), rows=1)), ValueError, "prompt 0", "100")
