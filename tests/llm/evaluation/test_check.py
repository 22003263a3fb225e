"""The command `check`: what holds of a right trainer, and that a wrong one is found."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from support import architectures
from support import tiny_models as tiny
from support.architectures import WINDOW

from llm.cli import main
from llm.config import TrainConfig
from llm.data.tokenization import TokenizedDataset
from llm.evaluation.check import PARTS, CheckConfig, check, tolerance_of
from llm.evaluation.conformance import plain
from llm.evaluation.conformance.finding import Finding, compared, stated
from llm.evaluation.conformance.forward import SAME, Subject, check_layouts
from llm.evaluation.conformance.report import Report
from llm.evaluation.conformance.rows import clipped, length_limits, longest_length, made_sets, spread
from llm.evaluation.conformance.tokens import is_ended
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
    findings = check(config(base))
    assert [f for f in findings if f.holds is False] == []
    groups = {f.group for f in findings if f.holds}
    assert groups >= {*LAYOUTS, "model", "start", "adapter", "bf16, as configured"}
    for group in LAYOUTS:
        numbers = {f.claim: f.tolerance for f in findings if f.group == group}
        assert list(numbers) == ["log-probabilities", "f_DPO", "f_SFT", "gradient of f_DPO", "gradient of f_SFT"]
        # Log-probabilities of up to some hundred nats have about 6 right digits.
        assert all(tolerance is not None and 0.0 < tolerance < 1e-3 for tolerance in numbers.values())


@pytest.mark.slow
def test_a_layout_that_is_the_first_ones_computation_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, Any]] = []
    own: Callable[..., Any] = Subject.opened
    monkeypatch.setattr(Subject, "opened", lambda self, changes: opened.append(changes) or own(self, changes))
    layouts = {
        "first": {},
        "separate": {"share_prompt": "no"},
        "sdpa": {"attention": "sdpa"},
        "whole": {"micro_tokens": 0},
    }
    findings = list(check_layouts(architectures.subject("llama"), layouts))
    assert opened == [{}, {"share_prompt": "no"}]  # llama's attention is sdpa, and its rows accumulate in no parts
    assert [(f.group, f.holds) for f in findings if f.claim == SAME] == [("sdpa", None), ("whole", None)]
    assert [f for f in findings if f.holds is False] == []


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
        list(check_layouts(architectures.subject("cpmant")))


FINDINGS = [compared("a", "first", 0.5, 1.0), stated("b", "second", None, "no such layer")]


def command_that(monkeypatch: pytest.MonkeyPatch, *steps: Finding | BaseException) -> int:
    """Return the exit status of a `check` that makes findings, and raises exceptions, in this order."""

    def checked(_: Any, report: Report) -> None:
        report.begin(0, 2, "the part")
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            report.add(step)

    monkeypatch.setattr("llm.evaluation.check.check", checked)
    return main(["check"])


@pytest.mark.slow
def test_the_command_exits_with_1_if_a_statement_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_that(monkeypatch, *FINDINGS) == 0
    assert "every statement holds, 2 statements; " in capsys.readouterr().out
    assert command_that(monkeypatch, *FINDINGS, compared("a", "third", 2.0, 1.0)) == 1
    assert "1 of 3 statements do not hold; " in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_command_keeps_its_rows_and_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_that(monkeypatch, *FINDINGS, compared("a", "third", 2.0, 1.0), KeyboardInterrupt()) == 130
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["a", "b", "a"]
    assert lines[-1].startswith("interrupted in part 1 of 2: the part; 1 of 3 statements so far do not hold; ")


@pytest.mark.slow
def test_control_c_ends_a_check_between_two_findings_and_its_rows_are_printed_at_once(base: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
    try:
        _interrupt_after_two_findings(base)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt_after_two_findings(base: Path) -> None:
    stream = io.StringIO()
    report = Report(Console(file=stream))
    own = report.add

    def add(finding: Finding) -> None:
        own(finding)
        assert stream.getvalue().rstrip().endswith(finding.note or "holds")
        if len(report.findings) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    report.add = add  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), report:
        check(CheckConfig(**config(base).as_dict() | {"parts": ("tokens", "forward")}), report=report)
    assert len(report.findings) == 2
    assert "part 1 of 2: tokens, after " in stream.getvalue()


@pytest.mark.slow
def test_parts_that_are_checked_alone_measure_their_own_tolerance(base: Path) -> None:
    whole = CheckConfig(**config(base).as_dict() | {"rows": 2})
    alone = check(dataclasses.replace(whole, parts=("adapter",)))
    assert {f.group for f in alone} == {"adapter"}
    together = [f for f in check(dataclasses.replace(whole, parts=("forward", "adapter"))) if f.group == "adapter"]
    assert [f.tolerance for f in alone] == [f.tolerance for f in together]
    assert all(f.tolerance is None or 0.0 < f.tolerance < 1e-3 for f in alone)


def test_parts_and_numbers_of_rows_that_there_are_not_are_refused() -> None:
    assert PARTS == ("tokens", "forward", "start", "generation", "adapter", "bf16")
    with pytest.raises(ValueError, match=r"^parts: each must be one of tokens, forward, .*, got all"):
        CheckConfig(parts=("all",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^rows: must be at least 2, got 1"):
        CheckConfig(rows=1)


@pytest.mark.slow
def test_wrong_input_is_one_line(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--model", str(base / "absent")]) == 2
    assert main(["check", "--model", str(base), "--lora-targets", "query"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: model: there is no folder ")
    assert lines[-1].startswith("error: lora_targets: query ")


def test_clipped_rows_are_short_and_their_responses_still_differ() -> None:
    arrays = ([1, 2, 3], ([5, 6, 7, 8], [5, 6, 9])), ([1], ([5], [5, 6])), ([4], ([7, 8], [9, 8]))
    prompts = tuple(np.array(p) for p, _ in arrays)
    responses = tuple(tuple(np.array(ids) for ids in some) for _, some in arrays)
    pairs = clipped(TokenizedDataset("preference", prompts, responses, ("",) * 3, 0, 0, 0), 2)
    assert [p.tolist() for p in pairs.prompts] == [[5, 6], [1], [4]]
    assert [[ids.tolist() for ids in some] for some in pairs.responses] == [
        [[7, 8], [9]], [[5], [5, 6]], [[7, 8], [9, 8]],
    ]  # fmt: skip
    sft = clipped(architectures.rows("sft"), 3)
    assert [len(p) for p in sft.prompts] == [len(r) for (r,) in sft.responses] == [3, 3, 3]
    assert sft.responses[0][0].tolist() == architectures.rows("sft").responses[0][0][:3].tolist()


def test_a_response_ends_where_generation_stops_or_in_white_space_that_a_template_writes_after_it() -> None:
    tokenizer = tiny.tokenizer()
    end, newline, word = tokenizer.convert_tokens_to_ids(["<eos>", "\n", "bax"])
    assert tokenizer.decode([newline]) == "\n"
    assert is_ended([word, end], [end], tokenizer)
    assert is_ended([word, end, newline], [end], tokenizer)  # as in ChatML
    assert not is_ended([word, newline], [end], tokenizer)
    assert not is_ended([word, end, word], [end], tokenizer)


def test_a_number_that_is_not_finite_is_wrong() -> None:
    assert [compared("a", "b", x, 1.0).holds for x in (0.0, 1.0, 1.1, float("nan"), float("inf"))] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True])
def test_rows_have_the_same_columns_whenever_they_are_printed(terminal: bool) -> None:
    stream = io.StringIO()
    report = Report(Console(file=stream, force_terminal=terminal, width=120 if terminal else None, color_system=None))
    findings = [
        compared("a", "first", 0.5, 0.1),
        stated("b", "second", None, "no such layer"),
        stated("b", "third", True),
    ]
    with report:
        report.begin(0, 1, "all")
        for finding in findings:
            report.add(finding)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("part "))
    rows = [line for line in lines if line.startswith(("a ", "b "))]
    at = [head.index(name) for name in ("statement", "difference", "tolerance", "note")]
    verdict = at[2] + 10
    assert [[row[i:].split("  ")[0].strip() for i in at[:3]] for row in rows] == [
        ["first", "0.5", "0.1"], ["second", "", ""], ["third", "", ""],
    ]  # fmt: skip
    assert [row[verdict : at[3]].strip() for row in rows] == ["WRONG", "not applicable", "holds"]
    assert [row[at[3] :].strip() for row in rows] == ["", "no such layer", ""]


def test_a_tolerance_is_that_of_the_first_finding_with_the_claim() -> None:
    assert tolerance_of([compared("a", "first", 0.5, 0.1), compared("b", "first", 0.5, 0.2)], "first") == 0.1
    assert tolerance_of([Finding("a", "first", None, None, True)], "first") is None


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


def test_a_window_that_no_row_can_reach_makes_no_long_rows() -> None:
    model = tiny.model("llama")
    model.config.max_position_embeddings, model.config.sliding_window = 32768, 4096
    assert longest_length(model.config, 2048) == 64
    assert longest_length(model.config, 8192) == 4096 + 1024 + 16
    model.config.sliding_window = 2000
    assert longest_length(model.config, 2048) == 2048


def test_chosen_rows_are_from_the_shortest_to_the_first_that_is_long_enough() -> None:
    tokens = architectures.rows("sft")
    lengths = sorted(int(n) for n in tokens.lengths())
    assert lengths == [9, 41, 41]
    assert spread(tokens, 2, 10_000).lengths().tolist() == [9, 41]
    assert spread(tokens, 2, 1).lengths().tolist() == [9]
    assert spread(tokens, 2, 10).lengths().tolist() == [9, 41]
    assert len(spread(tokens, 10, 10_000)) == len(tokens)
    pairs = architectures.rows("preference")  # a sequence is a prompt with one response: of 9, 7, 25 and 40 tokens
    assert [len(p) for p in spread(pairs, 3, 25).prompts] == [3, 4, WINDOW + 6]
