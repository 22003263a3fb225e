"""`python -m toyopt.pep`: the table, the exit status, and wrong input in one line."""

from __future__ import annotations

import sys

import pytest

from toyopt.pep.cli import main


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_readers_own_steps_are_held_against_the_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--step-sizes", "0.5,0.3", "--lam", "0.4", "--gap", "last", "--certify")
    assert (status, err) == (0, "")
    table, certificate = out.split("\n\n")
    assert "α = 1/2, 3/10" in table
    assert table.endswith("holds, attained")
    assert certificate.startswith("[P] PROVEN by ball arithmetic")


def test_all_three_gaps_are_shown_unless_one_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--method", "mix", "--T", "3", "--C", "1,2", "--D", "2", "--alpha0", "1/2")
    assert status == 0
    lines = [line.removeprefix("Mix; λ = 1/2, 1/2; C = 1, 2; D = 2; T = 3; α = 0.288675") for line in out.splitlines()]
    assert [line.split()[0] for line in lines[1:]] == ["last", "average", "best"]


def test_a_bound_that_is_violated_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """λ = 1/2, T = 2, α = 1/√2: by M4, B = 4α, the optimum is (1/(8α) + α)/2 = 0.44194."""
    arguments = ("--T", "2", "--gap", "last")
    assert run(capsys, *arguments, "--bound", "0.4420")[0] == 0
    status, out, _ = run(capsys, *arguments, "--bound", "0.4419")
    assert (status, "fails" in out) == (1, True)
    status, out, _ = run(capsys, *arguments, "--bound", "0.4419", "--certify")
    assert (status, "NOT PROVEN" in out) == (1, True)


@pytest.mark.slow
def test_equal_weights_are_given_to_more_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--lam", "1/4,1/4,1/2", "--T", "2", "--gap", "best", "--k", "2")
    assert status == 0
    assert "λ = 1/4, 1/4, 1/2; C = 1, 1, 1; D = 1; T = 2" in out
    assert "k = 2" in out


@pytest.mark.slow
def test_the_standard_table_holds(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys)
    assert status == 0
    assert out.count("holds") == len(out.splitlines()) - 1 > 20


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--lam", "2"), "lam: λ in (0, 1), or positive weights of sum 1, are needed"),
        (("--method", "sgd"), "method: one of mix, alright, maxright is needed, got 'sgd'"),
        (("--T", "1"), "T: a whole number of at least 2 is needed, got '1'"),
        (("--step-sizes", "1/2", "--T", "2"), "step-sizes: they set T and α0 too: leave those out"),
        (("--bound", "1"), "bound: it needs a setting, such as"),
        (("--C", "1,2,3", "--lam", "1/2"), "C: 2 numbers are needed, one an objective, got 3"),
        (("--D", "-1"), "D: "),
        (("--gap", "first"), "gap: one of last, average, best is needed, got 'first'"),
        (("--alpha0", "x"), "alpha0: a number such as"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    argv: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {words}")
    assert err.count("\n") == 1


def test_without_the_solver_the_remedy_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "clarabel", None)
    status, out, err = run(capsys, "--T", "2")
    assert (status, out) == (2, "")
    assert err.startswith("error: the semidefinite solver Clarabel is not installed: pip install")
