"""Runs on KTO: all methods, plain gradient descent, cached optima, trained references, and wrong rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models as tiny
from support.kto_runs import HELD, ROWS, WEIGHTS, config, labelled, plain_kto, run
from support.wrong import fails

from llm import train
from llm.common.files import read_json
from llm.evaluation.held_out import EvaluateConfig, evaluate
from toyopt.algorithms import RULES


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


@pytest.mark.slow
@pytest.mark.parametrize("method", RULES)
def test_a_run_reports_kto_by_its_own_name(method: str, base: Path, tmp_path: Path) -> None:
    """The untrained policy is the reference: r = z = 0, and the loss is ½ for every row."""
    steps, watched = run(config(base, tmp_path, method=method, k=2))
    assert watched[0]["f_kto"] == pytest.approx(0.5, abs=1e-6)
    assert watched[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert all({"f_kto", "f_sft", "kl", "rewards/chosen", "rewards/rejected"} <= set(x) for x in watched)
    assert not any("dpo" in key for line in (*steps, *watched) for key in line)
    assert {name for x in steps for name in x["objective"].split("+")} == {"kto", "sft"}
    summary = read_json(tmp_path / "run" / "summary.json")
    assert set(summary["steps_by_objective"]) == set(summary["f_star"]) == {"kto", "sft"}
    assert "KTO, β = 0.3" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    again = evaluate(EvaluateConfig(run=str(tmp_path / "run")), quiet=True, **ROWS)
    assert again == pytest.approx(summary["evaluation"], rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.oracle
def test_steps_of_gradient_descent_follow_the_plain_gradient(base: Path, tmp_path: Path) -> None:
    """All weights, whole batches, two steps: the change of a weight is the rate times the sum of plain gradients.

    The second step starts away from the reference. float32 has some hundred roundings in a value: 1e-5.
    """
    from transformers import AutoModelForCausalLM

    rate, n = 0.05, len(ROWS["preference"])
    descent = {"optimizer": "sgd", "clip": 0.0, "lora_rank": 0, "lr": rate, "steps": 2, "eval_every": 1}
    descent |= {"batch_preference": n, "held_out": 0.0, "method": "mix", "lam": 1.0, "eval_rows": 100}
    weights = {"desirable_weight": WEIGHTS[0], "undesirable_weight": WEIGHTS[1]}
    steps, watched = run(config(base, tmp_path, **descent, **weights, micro_tokens=100), **ROWS, **HELD)
    model, reference = (AutoModelForCausalLM.from_pretrained(base).double().eval() for _ in range(2))
    for step in range(2):
        assert watched[step]["f_kto"] == pytest.approx(
            float(plain_kto(model, reference, HELD["preference_held_out"]).detach()), abs=1e-5
        )
        value = plain_kto(model, reference, ROWS["preference"])
        assert steps[step]["f_kto"] == pytest.approx(float(value.detach()), abs=1e-5)
        model.zero_grad()
        value.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
    assert steps[1]["kl"] > 1e-3
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "run").double().state_dict()
    start = reference.state_dict()
    for name, wanted in model.state_dict().items():
        torch.testing.assert_close(trained[name], wanted, rtol=0, atol=1e-5, msg=name)
    assert max(float((trained[n] - start[n]).abs().max()) for n in trained) > 1e-3


@pytest.mark.slow
def test_optima_are_those_of_kto_and_shared_with_the_form_for_any_number(base: Path, tmp_path: Path) -> None:
    """The computed optimum is the least value of a run on KTO alone; both forms find the same cached run."""
    short = config(base, tmp_path / "a", method="maxright", k=2, f_star="compute", cache=str(tmp_path / "cache"))
    steps, watched = run(short)
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "optima").glob("*/summary.json")}
    assert all(x["gap_kto"] == pytest.approx(x["f_kto"] - watched[0]["f_kto"] + watched[0]["gap_kto"]) for x in watched)
    assert all("ideal_distance" in x and "f_kto_star" in y for x, y in zip(watched, steps, strict=False))
    texts = ("kto=preference:rows", "loss=kto", "sft=sft:rows")
    other = config(
        base, tmp_path / "b", method="maxright", k=2, f_star="compute", cache=str(tmp_path / "cache"), objective=texts,
        preference_loss="dpo",
    )  # fmt: skip
    lines, seen = run(other, rows={"kto": ROWS["preference"], "sft": ROWS["sft"]})
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "optima").glob("*/summary.json")} == made
    assert (lines, seen) == (steps, watched)


@pytest.mark.slow
def test_a_reference_is_trained_on_the_desirable_responses(base: Path, tmp_path: Path) -> None:
    """`--reference chosen` is an SFT run on them: its rows are those of a set of the desirable rows."""
    good = [{k: v for k, v in row.items() if k != "label"} for row in ROWS["preference"] if row["label"]]
    steps, watched = run(config(base, tmp_path, reference="chosen", method="mix", held_out=0.0))
    assert watched == []
    found = {p.parent.name for p in (base.parent / "cache" / "adapters").glob("*/summary.json")}
    assert found
    run(config(base, tmp_path / "other", reference="sft", method="mix", held_out=0.0, batch_sft=4), sft=good,
        preference=ROWS["preference"])  # fmt: skip
    assert {p.parent.name for p in (base.parent / "cache" / "adapters").glob("*/summary.json")} == found
    assert steps[0]["f_kto"] != pytest.approx(0.5, abs=1e-3)  # the policy begins at the base


WRONG: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"preference": [{"prompt": "bax", "completion": "der"}]}, "preference: ", "missing columns: an unpaired set"),
    ({}, {"preference": [{**labelled(1)[0], "label": "yes"}]}, "preference: row 0", "true or false, got str 'yes'"),
    ({}, {"preference": [labelled(1)[0]] * 9, }, "preference: ", "all 9 rows have the same prompt"),
    ({"preference_loss": "dpo"}, {}, "preference: ", "--preference-loss kto"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "rows", "begins", "shows"), WRONG)
def test_wrong_rows_are_one_line(
    options: dict[str, Any], rows: dict[str, Any], begins: str, shows: str, base: Path, tmp_path: Path
) -> None:
    asked = config(base, tmp_path, held_out=0.0, **options)
    error = TypeError if "yes" in shows else ValueError
    fails(lambda: train(asked, quiet=True, **{**ROWS, **rows}), error, begins, shows)
    assert not (tmp_path / "run").exists()
