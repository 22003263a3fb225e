"""Runs on templates that write today's date: resumed, finished and evaluated on another day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.evaluation.generate import template_of
from llm.evaluation.held_out import EvaluateConfig, evaluate

DATED = (
    "{{ strftime_now('%Y') }} {% for m in messages %}{{ m.role }} : {{ m.content }} <eos> {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def words(template: str) -> Any:
    """The tiny tokenizer with years and roles in its vocabulary."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["2024", "2025", "user", "assistant"])
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.slow
def test_a_run_goes_on_and_is_evaluated_on_another_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    tiny.model("llama", vocabulary=80).save_pretrained(base)
    words(DATED).save_pretrained(base)
    for kind, rows in (("sft", tiny.sft_rows(20)), ("preference", tiny.preference_rows(16))):
        (tmp_path / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options: dict[str, Any] = {
        "model": str(base), "sft": str(tmp_path / "sft.jsonl"), "preference": str(tmp_path / "preference.jsonl"),
        "cache": str(tmp_path / "cache"), "out": str(tmp_path / "run"), "steps": 2, "batch_sft": 4,
        "batch_preference": 4, "lora_rank": 2, "held_out": 0.2, "eval_every": 0, "device": "cpu",
    }  # fmt: skip
    monkeypatch.setattr("llm.training.inputs.today", lambda: "2024-12-31")
    first = train(TrainConfig(**options), quiet=True)
    saved = json.loads((first.folder / "run.json").read_text())
    assert saved["config"]["template_date"] == saved["fingerprint"]["options"]["template_date"] == "2024-12-31"
    monkeypatch.setattr("llm.training.inputs.today", lambda: "2025-01-01")
    (first.folder / "summary.json").unlink()  # stopped before the end
    again = train(TrainConfig(**options), quiet=True)
    assert again.summary["evaluation"] == first.summary["evaluation"]
    numbers = evaluate(EvaluateConfig(run=str(first.folder)), quiet=True)
    assert numbers["f_sft"] == pytest.approx(first.summary["evaluation"]["f_sft"], abs=1e-6)
    assert template_of(str(first.folder)).date == "2024-12-31"
    # Another run begins on its own day, and a date can be named.
    other = train(TrainConfig(**{**options, "out": str(tmp_path / "other")}), quiet=True)
    assert json.loads((other.folder / "run.json").read_text())["config"]["template_date"] == "2025-01-01"
    assert other.summary["evaluation"] != first.summary["evaluation"]
    named = TrainConfig(**{**options, "out": str(tmp_path / "other"), "template_date": "2024-12-31"})
    with pytest.raises(ValueError, match=r"^out: .* another run \(template_date was '2025-01-01' and is '2024-12-31'"):
        train(named, quiet=True)


@pytest.mark.slow
def test_a_template_without_a_date_records_none(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny.base(base, "llama")
    options = TrainConfig(
        model=str(base), out=str(tmp_path / "run"), cache=str(tmp_path / "cache"), steps=1, batch_sft=2,
        batch_preference=2, lora_rank=2, held_out=0.2, eval_every=0, device="cpu", sft="rows", preference="rows",
    )  # fmt: skip
    result = train(options, sft=tiny.sft_rows(10), preference=tiny.preference_rows(10), quiet=True)
    assert json.loads((result.folder / "run.json").read_text())["config"]["template_date"] == ""
