"""The command `check`: what holds of a right trainer, and that a wrong one is found."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import architectures
from support import tiny_models as tiny

from llm.cli import main
from llm.config import TrainConfig
from llm.evaluation.check import check, table, tolerance_of
from llm.evaluation.conformance import plain
from llm.evaluation.conformance.finding import Finding, compared, stated
from llm.evaluation.conformance.forward import Subject, check_layouts
from llm.evaluation.conformance.rows import length_limits, longest_length, made_sets, spread
from llm.models import policy

gc.freeze()  # an engine collects garbage when it closes, half a second each with all that torch and its like keep

LAYOUTS = ["as configured", "separate prompts", "accumulated, a row at a time", "gradient checkpointing"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base"), "llama")


def config(base: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**{"model": str(base), "lora_rank": 4, "device": "cpu"} | changes)


@pytest.mark.slow
def test_every_statement_holds_of_a_plain_model(base: Path) -> None:
    findings = check(config(base), quiet=True)
    assert [f for f in findings if f.holds is False] == []
    groups = {f.group for f in findings if f.holds}
    assert groups >= {*LAYOUTS, "model", "start", "adapter", "bf16, as configured"}
    for group in LAYOUTS:
        numbers = {f.claim: f.tolerance for f in findings if f.group == group}
        assert list(numbers) == ["log-probabilities", "f_DPO", "f_SFT", "gradient of f_DPO", "gradient of f_SFT"]
        # Log-probabilities of up to some hundred nats have about 6 right digits.
        assert all(tolerance is not None and 0.0 < tolerance < 1e-3 for tolerance in numbers.values())


def wrong(subject: Subject) -> dict[str, set[str]]:
    """Return the claims that do not hold, by their parts, of forward passes in the first layout."""
    claims: dict[str, set[str]] = {}
    for finding in check_layouts(subject, {"as configured": {}}):
        if finding.holds is False:
            claims.setdefault(finding.group, set()).add(finding.claim)
    return claims


@pytest.mark.slow
def test_a_wrong_forward_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: Callable[..., Any] = policy.causal_inputs

    def stretched(model: Any, batch: Any, **options: Any) -> Any:
        given, positions = inputs(model, batch, **options)
        return {**given, "position_ids": batch.position_ids * 2}, positions

    monkeypatch.setattr(policy, "causal_inputs", stretched)
    assert wrong(architectures.subject("llama")) == {
        "as configured": {"log-probabilities", "f_DPO", "f_SFT", "gradient of f_DPO", "gradient of f_SFT"}
    }


@pytest.mark.slow
def test_numbers_that_are_wrong_in_training_alone_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forward: Callable[..., torch.Tensor] = policy.Policy.forward

    def scaled(self: Any, batch: Any) -> torch.Tensor:
        return forward(self, batch) * (1.001 if self.training else 1.0)

    monkeypatch.setattr(policy.Policy, "forward", scaled)
    assert wrong(architectures.subject("llama")) == {"as configured": {"gradient of f_DPO", "gradient of f_SFT"}}


@pytest.mark.slow
def test_later_tokens_that_change_a_log_probability_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    own: Callable[..., torch.Tensor] = plain.token_logps

    def reading_ahead(model: Any, prompt: Any, response: Any) -> torch.Tensor:
        return own(model, prompt, response) + 0.01 * float(response[-1])

    monkeypatch.setattr(plain, "token_logps", reading_ahead)
    assert wrong(architectures.subject("llama"))["model"] == {"no log-probability depends on later tokens"}


@pytest.mark.slow
def test_a_model_that_the_trainer_refuses_is_one_error() -> None:
    with pytest.raises(ValueError, match=r"^model: its prediction of a token depends on later tokens"):
        check_layouts(architectures.subject("cpmant"))


@pytest.mark.slow
def test_the_command_exits_with_1_if_a_statement_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [compared("a", "first", 0.5, 1.0), stated("b", "second", None, "no such layer")]
    monkeypatch.setattr("llm.evaluation.check.check", lambda _: findings)
    assert main(["check"]) == 0
    findings.append(compared("a", "third", 2.0, 1.0))
    assert main(["check"]) == 1
    assert "1 of 3 statements do not hold" in capsys.readouterr().out


@pytest.mark.slow
def test_wrong_input_is_one_line(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--model", str(base / "absent")]) == 2
    assert main(["check", "--model", str(base), "--lora-targets", "query"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: model: there is no folder ")
    assert lines[-1].startswith("error: lora_targets: query ")


def test_a_number_that_is_not_finite_is_wrong() -> None:
    assert [compared("a", "b", x, 1.0).holds for x in (0.0, 1.0, 1.1, float("nan"), float("inf"))] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_the_table_shows_numbers_and_verdicts() -> None:
    findings = [
        compared("a", "first", 0.5, 0.1),
        stated("b", "second", None, "no such layer"),
        stated("b", "third", True),
    ]
    shown = table(findings)
    cells = [list(column.cells) for column in shown.columns]
    assert cells[2:5] == [["0.5", "", ""], ["0.1", "", ""], ["WRONG", "not applicable", "holds"]]
    assert tolerance_of(findings, "first") == 0.1
    assert tolerance_of([Finding("a", "first", None, None, True)], "first") == float("inf")


def test_made_rows_are_shorter_and_longer_than_every_window() -> None:
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    model.config.sliding_window, model.config.rope_parameters["original_max_position_embeddings"] = 24, 40
    limits = length_limits(model.config)
    assert limits == {"sliding_window": 24, "original_max_position_embeddings": 40, "max_position_embeddings": 128}
    assert longest_length(model.config, 2048) == 66
    assert longest_length(model.config, 50) == 50
    sft, pairs = made_sets(tokenizer, 66)
    counts = sorted(len(tokenizer(row["prompt"] + " " + row["completion"]).input_ids) for row in sft)
    assert counts[0] < 24
    assert counts[-1] > 40
    assert all(row["chosen"] != row["rejected"] for row in pairs)


def test_chosen_rows_are_the_shortest_the_longest_and_those_between() -> None:
    tokens = architectures.rows("sft")
    assert sorted(spread(tokens, 2).lengths()) == [min(tokens.lengths()), max(tokens.lengths())]
    assert len(spread(tokens, 10)) == len(tokens)
