"""The benchmarks of `llm` compare like with like: the same rows, ids and losses. No times are asserted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import __main__ as program  # noqa: E402
from benchmarks import llm_authors, llm_memory, llm_ours, llm_rows, llm_speed, report  # noqa: E402
from benchmarks.llm_rows import ALPACA_RESPONSE, HH_PROMPT, HH_RESPONSE, TINY  # noqa: E402
from benchmarks.timing import Row  # noqa: E402
from llm.training.objective import Objective  # noqa: E402
from toyopt.algorithms import DPO, SFT, Maxright, Mix, Sequential  # noqa: E402

SHAPE = {"tiny": TINY}
quiet_trl = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def test_lengths_are_as_described() -> None:
    rng = np.random.default_rng(3)
    for lengths, median, most in ((ALPACA_RESPONSE, 120, 500), (HH_PROMPT, 120, 600), (HH_RESPONSE, 45, 250)):
        drawn = lengths.draw(rng, 20_000)
        # The median of n lognormal draws has a deviation of about 1.25 sigma / sqrt(n) of itself, here below 1 %.
        assert np.median(drawn) == pytest.approx(median, rel=0.05)
        assert drawn.max() == most
        assert drawn.min() >= lengths.least


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_rows_are_the_texts(kind: str) -> None:
    rows = llm_rows.tokens(TINY, kind)
    texts: Any = llm_rows.sft_texts(TINY) if kind == "sft" else llm_rows.preference_texts(TINY)
    total = 0
    for row, prompt, responses in zip(texts, rows.prompts, rows.responses, strict=True):
        prompt_text, *answers = row.values()
        assert [f"w{i}" for i in prompt] == prompt_text.split()
        for ids, answer in zip(responses, answers, strict=True):
            assert [f"w{i}" for i in ids[:-1]] == answer.split()
            assert ids[-1] == 0
            total += len(prompt) + len(ids)
    assert llm_rows.count(rows) == total


def test_the_authors_way_has_the_same_losses() -> None:
    """Logits everywhere and padding or not: the two losses are those that `llm` trains on."""
    model = llm_rows.model(TINY)
    device = model.device
    pairs, answers = llm_rows.tokens(TINY, "preference"), llm_rows.tokens(TINY, "sft")
    chosen = list(range(len(pairs)))
    reference = llm_rows.model(llm_rows.Size(**{**TINY.__dict__, "seed": 5}))
    both = [llm_authors.padded(pairs, chosen, j, device) for j in (0, 1)]
    from llm.models.policy import Policy

    with torch.no_grad():
        task = Objective("dpo", pairs)
        before = Policy(reference)(task.batch(np.array(chosen)).to(device)).view(-1, 2)
        task = Objective("dpo", pairs, 0.1, before.cpu())
        batch = task.batch(np.array(chosen)).to(device)
        ours, _ = task.measure(Policy(model)(batch), batch, np.array(chosen))
        assert float(llm_authors.dpo_loss(model, reference, both, 0.1)) == pytest.approx(
            float(ours) / len(chosen), abs=1e-5
        )
        assert abs(float(ours) / len(chosen) - np.log(2.0)) > 1e-4

        rows = list(range(len(answers)))
        task = Objective("sft", answers)
        batch = task.batch(np.array(rows)).to(device)
        total, _ = task.measure(Policy(model)(batch), batch, np.array(rows))
        theirs = float(llm_authors.sft_loss(model, llm_authors.padded(answers, rows, 0, device)))
        assert theirs == pytest.approx(float(total) / task.units(np.array(rows)), abs=1e-4)


def test_sequential_takes_the_same_rows_as_mix() -> None:
    ours = llm_ours.Ours(TINY)
    mixed = ours.run(Mix(0.5), TINY.batches)
    same = ours.run(Sequential((TINY.batches, TINY.batches), (DPO, SFT)), 2 * TINY.batches)
    assert mixed.tokens == same.tokens == sum(llm_rows.count(t) for t in ours.tokens.values())
    assert dict(mixed.chosen) == dict(same.chosen) == {DPO: TINY.batches, SFT: TINY.batches}
    assert ours.notes == []  # both short ways of computing are taken
    assert not any("lora" in name for name, _ in ours.base.named_parameters())


@quiet_trl
def test_all_sides_of_every_comparison_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    for name in ("HF_HUB_OFFLINE", "TQDM_DISABLE"):  # set by the benchmarks; afterwards as before
        monkeypatch.setenv(name, "1")
    rows = llm_speed.sft(SHAPE, 1) + llm_speed.dpo(SHAPE, 1) + llm_speed.authors(SHAPE, 1) + llm_speed.methods(TINY, 1)
    names = [label for row in rows for label in row.times]
    assert {
        "TRL",
        "TRL, precomputed",
        "TRL, head on labels only",
        "the authors' way",
        "MAXRIGHT k=10",
        "MAXRIGHT k=10, gap_rows 1/8 of the batch",
        "Sequential",
    } < set(names)
    assert all(np.all(t > 0.0) for row in rows for t in row.times.values())
    assert any(row.bars for row in rows)


def test_different_rows_are_not_compared() -> None:
    calls = {str(n): lambda n=n: llm_ours.Turn(1.0, 1.0, n, {SFT: 1}) for n in (5, 6)}
    with pytest.raises(AssertionError, match="not the same rows"):
        llm_speed.turns("x", calls, 1, {})


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="the resident set of Linux")
def test_peak_memory_is_what_was_held_at_most() -> None:
    def call(size: int = 50 << 20) -> None:
        held = torch.ones(size, dtype=torch.uint8)
        del held
        torch.ones(1 << 20, dtype=torch.uint8)

    assert llm_memory.peak(call) == pytest.approx(50 << 20, rel=0.1)


def test_fewer_gap_rows_cost_fewer_operations() -> None:
    sides = {"few": llm_ours.Ours(TINY, gap_rows=1), "whole": llm_ours.Ours(TINY)}
    rule = Maxright(0.5, (0.0, 0.0), k=1)
    for side in sides.values():
        side.prepare()  # outside of what is counted
    calls = {label: lambda side=side: side.run(rule, 6) for label, side in sides.items()}
    row = llm_speed.operations("MAXRIGHT", calls, {"whole": 1.0})
    assert row.ratio("whole")[0] < 1.0
    assert row.quantity == "operations"


def test_writing_a_part_keeps_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [mark for pair in report.MARKS.values() for mark in pair]
    assert [report.README.read_text(encoding="utf-8").count(mark) for mark in marks] == [1] * 4
    readme = tmp_path / "README.md"
    toyopt, llm = report.MARKS["toyopt"], report.MARKS["llm"]
    readme.write_text(f"a {toyopt[0]} kept {toyopt[1]} b {llm[0]} old {llm[1]} c", encoding="utf-8")
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "machine", lambda *_: ["a machine"])
    measured = {"llm": np.array([1.0]), "TRL": np.array([2.0])}
    report.write({"llm-sft": [Row("SFT", "token", measured, {"TRL": 0.4})]}, "llm", "the command")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"a {toyopt[0]} kept {toyopt[1]} b {llm[0]}\na machine\n")
    assert text.endswith(f"| TRL | 2 s / token | 0.50 | ≤ 0.40 | NO |\n{llm[1]} c")
    assert "old" not in text


def test_close_bars_are_shown_with_three_digits() -> None:
    row = Row("", "token", {"a": np.array([1.0121e8]), "b": np.array([1e8])}, {"b": 1.01}, "operations")
    assert [line[1:] for line in report.lines(row)] == [
        ("101.2 million / token", "", "", ""),
        ("100 million / token", "1.012", "≤ 1.01", "NO"),
    ]


def test_half_a_part_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main(["--write", "--only", "llm-sft"])
    assert stopped.value.code == 2
    assert "--only may name toyopt or llm" in capsys.readouterr().err
