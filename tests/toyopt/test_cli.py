"""`python -m toyopt claim`: what it prints, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from toyopt import cli
from toyopt.claims import CLAIMS
from toyopt.record import Record


@pytest.mark.slow
def test_a_claim_at_a_setting(capsys, tmp_path: Path) -> None:
    assert cli.main(["claim", "3.3", "--lam", "1/2", "--T", "75", "--g", "1", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for part in (
        "3.3 (forgetting): ",
        "at lam = 1/2, T = 75, g = 1",
        "holds: attained 1.005",  # the gap at the proven end
        ">= bound 1, tolerance ",
        "(certified)",
        "[arXiv 2410.15483v3, Theorem 3.3]",
        "75 steps of DPO, then 75 of SFT, ends at θ = -4.84976, gap 1.00652",
        "proof: docs/theory.md#s8-any-step-sizes",
        f"plot: {tmp_path / 'forgetting.png'}, made by: python paper_repro.py forgetting --out {tmp_path}",
    ):
        assert part in shown, part


def test_a_plot_that_exists_is_named_by_its_path(capsys, tmp_path: Path) -> None:
    (tmp_path / "maxright.png").write_bytes(b"")
    assert cli.main(["claim", "M", "--T", "20", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(f"plot: {tmp_path / 'maxright.png'}\n")
    assert cli.main(["claim", "lemma", "A.3", "--T", "5"]) == 0
    assert "plot: no artefact shows this claim by itself" in capsys.readouterr().out


def test_a_false_statement_has_status_1(capsys) -> None:
    assert cli.main(["claim", "3.3", "--lam", "0.5", "--T", "74", "--g", "1"]) == 1
    shown = capsys.readouterr().out
    assert "fails: attained 0.9976253897 >= bound 1" in shown
    assert "the run with T' = 74 has the gap 0.997625 < 1" in shown


@pytest.mark.slow
def test_a_name_alone_is_judged_as_in_the_ledger(capsys) -> None:
    assert cli.main(["claim", "two-runs"]) == 0
    shown = capsys.readouterr().out
    assert "holds by proof; 2 of 2 records hold; --all prints each" in shown
    assert shown.count("holds: ") == 1
    assert cli.main(["claim", "A.3", "--all"]) == 0
    assert capsys.readouterr().out.count("holds: ") == 2


def test_records_that_do_not_hold_are_printed(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        Record("A.6", f"statement {i}", "upper", 1.0, attained, "") for i, attained in enumerate((0.5, 2.0, 0.1))
    ]
    monkeypatch.setitem(CLAIMS, "A.6", replace(CLAIMS["A.6"], judge=lambda: records))
    assert cli.main(["claim", "A.6"]) == 1
    shown = capsys.readouterr().out
    assert "fails by proof; 2 of 3 records hold" in shown
    assert "statement 0" in shown
    assert "statement 1" in shown
    assert "statement 2" not in shown


def test_the_list_has_every_claim_with_its_arguments(capsys) -> None:
    assert cli.main(["claim", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(CLAIMS)
    for (number, claim), first, second in zip(CLAIMS.items(), lines[::2], lines[1::2], strict=True):
        assert first.split(maxsplit=2) == [number, claim.short, claim.statement]
        assert [option.replace("-", "_") for option in second.split()] == [f"__{name}" for name in claim.arguments]


def test_help_of_a_claim_names_its_arguments(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["claim", "forgetting", "--help"])
    assert "\n3.3 (forgetting) takes --lam --T --g --alpha --theta-1 --order.\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["claim", "--help"])
    assert " takes --" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["claim", "3.4"], "error: claim: there is none named '3.4'; the nearest are "),
        (["claim"], "error: claim: a name is needed, such as 3.3; --list shows all"),
        (["claim", "3.3", "--lam", "1"], "error: lam: must be in (0, 1), got '1'"),
        (["claim", "3.3", "--lam", "half"], "error: lam: a number such as 0.5 or \"1/2\" is needed, got 'half'"),
        (["claim", "3.3", "--T", "0"], "error: T: a whole number of at least 1 is needed, got '0'"),
        (["claim", "3.3", "--psi", "1"], "error: psi: this claim takes lam, T, g, alpha, theta_1, order"),
        (["claim", "S", "--order", "both"], "error: order: 'dpo-first' or 'sft-first' is needed, got 'both'"),
        (["prove"], "error: prove is no command; there is claim"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(argv: list[str], words: str, capsys) -> None:
    assert cli.main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(words)
    assert shown.err.count("\n") == 1


def test_usage(capsys) -> None:
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == cli.USAGE * 2


@pytest.mark.slow
@pytest.mark.process
def test_the_module_runs_as_a_program() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "toyopt", "claim", "3.3", "--lam", "2"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: lam: must be in (0, 1), got '2'\n"


def test_a_reader_that_ends_early_gives_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", sys.stdout)  # `main` drops it; it is put back at the end
    monkeypatch.setattr(cli, "_claim", broken)
    assert cli.main(["claim", "--list"]) == 1
