"""Other losses in DPO's place: TRL's losses as the oracle, what a run writes of them, and whose optimum is whose."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.common.files import read_json
from llm.data.formats import load
from llm.data.tokenization import tokenize
from llm.evaluation.held_out import EvaluateConfig, evaluate
from llm.losses import ORPOLoss, SimPOLoss
from llm.models.policy import Policy
from llm.training import cached_run, objectives
from llm.training.cached_run import key_values
from llm.training.metrics import read_metrics
from llm.training.objective import Objective
from llm.training.optima import optima
from llm.training.single import single_objective_config

MODEL, TOKENIZER = tiny.model(), tiny.tokenizer()
ROWS: dict[str, Any] = {"sft": tiny.sft_rows(20), "preference": tiny.preference_rows(20)}
GIVEN: dict[str, Any] = {"model": MODEL, "tokenizer": TOKENIZER, **ROWS}
OWN = ("preference_loss", "simpo_beta", "simpo_gamma", "orpo_lambda")


def config(folder: Path, **changes: Any) -> TrainConfig:
    options: dict[str, Any] = {
        "model": "tiny", "sft": "rows", "preference": "rows",
        "out": str(folder / "run"), "cache": str(folder / "cache"),
        "steps": 6, "lr": 2e-2, "lora_rank": 2, "batch_sft": 4, "batch_preference": 4, "held_out": 0.3, "eval_every": 3,
        "eval_rows": 6, "device": "cpu", "max_length": 64, "simpo_beta": 2.0,
    }  # fmt: skip
    return TrainConfig(**{**options, **changes})


def run(asked: TrainConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of steps, and those of evaluations."""
    lines = read_metrics(train(asked, quiet=True, **GIVEN).folder)
    return [x for x in lines if "objective" in x], [x for x in lines if "evaluation" in x]


# Against TRL.


def pairs_on_the_model() -> tuple[Objective, Any, Any, torch.Tensor]:
    """A task on pairs, all of its rows, its batch, and the log-probabilities with their graph."""
    tokens = tokenize(load(ROWS["preference"][:6], kind="preference"), TOKENIZER, template="none")
    task, rows = Objective("dpo", tokens), np.arange(6)
    batch = task.batch(rows)
    return task, rows, batch, Policy(MODEL)(batch).detach()


def trls_means(batch: Any, get_batch_logps: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's own mean log-probabilities of chosen and rejected responses, from logits and labels."""
    labels = torch.full_like(batch.input_ids, -100).flatten()
    labels[batch.logit_positions + 1] = batch.targets  # a token's label stands one behind the position that predicts it
    with torch.no_grad():
        logits = MODEL(batch.input_ids, position_ids=batch.position_ids).logits
    means = get_batch_logps(logits, labels.view_as(batch.input_ids), average_log_prob=True)
    return means[0::2], means[1::2]


def trl_trainer(name: str) -> Any:
    """One of TRL's experimental trainers: its class, for its functions."""
    pytest.importorskip("trl.experimental", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental import cpo, orpo

    return {"cpo": cpo.CPOTrainer, "orpo": orpo.ORPOTrainer}[name]


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 0.5), (0.3, 1.2)])
def test_simpo_is_trls(beta: float, gamma: float) -> None:
    theirs = trl_trainer("cpo")
    task, rows, batch, logps = pairs_on_the_model()
    task = dataclasses.replace(task, loss=SimPOLoss(beta, gamma))
    chosen, rejected = trls_means(batch, theirs.get_batch_logps)
    settings = SimpleNamespace(
        alpha=0.0, beta=beta, simpo_gamma=gamma, loss_type="simpo", label_smoothing=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )  # fmt: skip
    losses, won, lost = theirs.cpo_loss(settings, chosen, rejected)
    ours = SimPOLoss(beta, gamma)(logps, batch.counts, None)
    torch.testing.assert_close(ours.losses, losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.rewards_chosen, won, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.rewards_rejected, lost, rtol=1e-4, atol=1e-5)
    total, _ = task.measure(logps, batch, rows)
    assert float(total) / 6 == pytest.approx(float(losses.mean()), rel=1e-4)


def test_orpo_is_trls() -> None:
    theirs = trl_trainer("orpo")
    _, _, batch, logps = pairs_on_the_model()
    chosen, rejected = trls_means(batch, theirs.get_batch_logps)
    settings = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    weighted, won, lost, ratio, odds = theirs.odds_ratio_loss(settings, chosen, rejected)
    ours = ORPOLoss(0.4)(logps, batch.counts, None)
    # TRL's first term is a mean over the batch's tokens, prompts included; ours is each chosen response's own mean.
    torch.testing.assert_close(ours.losses, -chosen - weighted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.rewards_chosen, won, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.rewards_rejected, lost, rtol=1e-4, atol=1e-5)
    assert float(ratio) < 0.0
    assert math.isfinite(float(odds))


# Runs.


@pytest.fixture
def referred(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that reference log-probabilities were asked for."""
    rows: list[int] = []
    ordinary = objectives.reference_logps

    def noted(inputs: Any, needed: list[Any]) -> list[Any]:
        rows.extend(len(indices) for _, indices in needed)
        return ordinary(inputs, needed)

    monkeypatch.setattr(objectives, "reference_logps", noted)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_a_run_reports_its_own_loss_and_f_dpo_on_held_out_rows(name: str, tmp_path: Path, referred: list[int]) -> None:
    asked = config(tmp_path, preference_loss=name, method="mix", lam=0.4, eval_on_train=True)
    steps, watched = run(asked)
    assert referred == [6]  # those that are evaluated; none to train on
    for line in steps:
        assert line["objective"] == "dpo+sft"
        assert line[f"f_{name}"] > 0.0
        assert "f_dpo" not in line
    assert [line["step"] for line in watched] == [0, 3, 6]
    assert watched[0]["f_dpo"] == pytest.approx(math.log(2.0), rel=1e-6)  # the reference is what it begins with
    assert all({"f_dpo", f"f_{name}", "f_sft", "rewards/margins"} <= set(line) for line in watched)
    assert watched[-1][f"f_{name}"] < watched[0][f"f_{name}"]
    assert watched[-1]["rewards/margins"] != 0.0  # DPO's: the margins of SimPO are not 0 at first
    assert watched[0]["rewards/margins"] == 0.0
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["steps_by_objective"] == {"dpo": 6, "sft": 6}
    assert summary["evaluation"][f"f_{name}"] == watched[-1][f"f_{name}"]
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert {"simpo": "| loss on pairs | SimPO, β = 2, γ = 0.5;", "orpo": "| loss on pairs | ORPO, λ = 0.1;"}[
        name
    ] in card
    found = evaluate(EvaluateConfig(run=str(tmp_path / "run")), quiet=True, **GIVEN)
    assert found == pytest.approx(summary["evaluation"], rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "start"), [("ipo", 25.0), ("hinge", 1.0), ("cdpo", math.log(2.0))])
def test_a_run_on_another_loss_with_a_reference_reports_both(name: str, start: float, tmp_path: Path) -> None:
    """The untrained policy is the reference: h = 0 gives 1/(2β)², 1 and ln 2."""
    smoothing = {"label_smoothing": 0.1} if name == "cdpo" else {}
    steps, watched = run(config(tmp_path, preference_loss=name, lam=1.0, method="mix", **smoothing))
    assert all(f"f_{name}" in line and "f_dpo" not in line for line in steps)
    assert steps[0][f"f_{name}"] == pytest.approx(start, rel=1e-5)
    assert watched[0][f"f_{name}"] == pytest.approx(start, rel=1e-5)
    assert watched[0]["f_dpo"] == pytest.approx(math.log(2.0), rel=1e-6)
    assert steps[-1][f"f_{name}"] < steps[0][f"f_{name}"]
    assert watched[-1][f"f_{name}"] != watched[0][f"f_{name}"]
    found = evaluate(EvaluateConfig(run=str(tmp_path / "run")), quiet=True, **GIVEN)
    assert found == pytest.approx(read_json(tmp_path / "run" / "summary.json")["evaluation"], rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_the_numbers_of_a_loss_and_only_its_own_count(tmp_path: Path) -> None:
    def weights(folder: str, **changes: Any) -> Any:
        run(config(tmp_path / folder, lam=1.0, steps=2, eval_every=0, **changes))
        return load_file(tmp_path / folder / "run" / "adapter_model.safetensors")

    def same(one: Any, other: Any) -> bool:
        return all(torch.allclose(one[k], other[k], rtol=1e-4, atol=1e-6) for k in one)

    made = weights("plain", preference_loss="simpo")
    assert same(made, weights("others", preference_loss="simpo", orpo_lambda=3.0, beta=7.0))
    assert same(made, weights("beta", preference_loss="simpo", simpo_beta=0.0, beta=2.0))
    for folder, change in (("dpo", {"preference_loss": "dpo"}), ("gamma", {"simpo_gamma": 3.0})):
        assert not same(made, weights(folder, **{"preference_loss": "simpo", **change}))


# Optima.


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    titles: list[str] = []
    ordinary = cached_run.train_in

    def noted(inputs: Any, spec: Any, config: TrainConfig, folder: Any, title: str) -> None:
        titles.append(title)
        ordinary(inputs, spec, config, folder, title)

    for module in ("cached_run", "run"):
        monkeypatch.setattr(f"llm.training.{module}.train_in", noted)
    return titles


@pytest.mark.slow
def test_gaps_are_from_dpos_optimum_and_maxright_has_its_own(tmp_path: Path, trained: list[str]) -> None:
    computed = {"f_star": "compute", "optima_steps": 4}
    plain = optima(config(tmp_path, **computed), quiet=True, **GIVEN)
    assert trained == ["optimum of f_DPO", "optimum of f_SFT"]
    before = {p.name for p in (tmp_path / "cache" / "optima").iterdir()}

    trained.clear()
    asked = config(tmp_path, method="maxright", k=2, preference_loss="simpo", **computed)
    steps, watched = run(asked)
    assert trained == ["optimum of f_SIMPO", "maxright"]  # the others were there
    (new,) = {p.name for p in (tmp_path / "cache" / "optima").iterdir()} - before
    own = [x for x in read_metrics(tmp_path / "cache" / "optima" / new) if "evaluation" in x]
    assert {x["evaluation"] for x in own} == {"train"}
    least = min(x["f_simpo"] for x in own)
    assert least < own[0]["f_simpo"]
    assert all(x["f_simpo_star"] == pytest.approx(least) for x in steps)
    assert all(x["f_sft_star"] == pytest.approx(plain["train"]["sft"]) for x in steps)
    assert all({"gap_simpo", "age_simpo", "gap_sft"} <= set(x) and "gap_dpo" not in x for x in steps)
    for x in steps[::2]:
        assert x["gap_simpo"] == pytest.approx(x.get("seen_simpo", x["f_simpo"]) - least)
    for x in watched:
        assert x["gap_dpo"] == pytest.approx(x["f_dpo"] - plain["held_out"]["dpo"])
    star = read_json(tmp_path / "run" / "summary.json")["f_star"]
    assert star == {"simpo": pytest.approx(least), **{k: pytest.approx(v) for k, v in plain["held_out"].items()}}

    trained.clear()
    tuned = {"optima_steps": 4, "preference_loss": "simpo"}
    assert optima(config(tmp_path, beta=0.1, orpo_lambda=2.0, **tuned), quiet=True, **GIVEN)["train"] == {
        "simpo": pytest.approx(least), **{k: pytest.approx(v) for k, v in plain["train"].items()},
    }  # fmt: skip
    assert trained == []
    optima(config(tmp_path, simpo_gamma=0.1, **tuned), quiet=True, **GIVEN)
    assert trained == ["optimum of f_SIMPO"]


@pytest.mark.slow
def test_maxright_estimates_its_own_optimum(tmp_path: Path) -> None:
    steps, watched = run(config(tmp_path, method="maxright", k=2, preference_loss="orpo", f_star="lowest"))
    assert all(x["gap_orpo"] >= 0.0 or x["age_orpo"] > 0 for x in steps)
    assert steps[-1]["f_orpo_star"] <= min(x["f_orpo"] for x in steps if "f_orpo" in x) * 1.5
    assert not any(k.startswith("gap_") for x in watched for k in x)
    assert read_json(tmp_path / "run" / "summary.json")["f_star"]["orpo"] == steps[-1]["f_orpo_star"]


# What was there before.


def test_the_caches_of_runs_on_dpo_keep_their_names(tmp_path: Path) -> None:
    """A new option that does not change a run on one objective is not in the name of its folder."""
    plain = config(tmp_path)
    other = dataclasses.replace(plain, preference_loss="simpo", simpo_gamma=9.0, orpo_lambda=9.0)
    values = key_values(single_objective_config(plain, 0, 3))
    assert not {*OWN, "average"} & set(values)
    assert key_values(single_objective_config(other, 0, 3)) == values


@pytest.mark.slow
def test_a_run_from_before_an_option_existed_is_still_that_run(tmp_path: Path) -> None:
    from llm.common.files import write_json

    asked = config(tmp_path, steps=2, eval_every=0)
    run(asked)
    saved = read_json(tmp_path / "run" / "run.json")
    for name in OWN[:1]:
        del saved["fingerprint"]["options"][name]
        del saved["config"][name]
    write_json(tmp_path / "run" / "run.json", saved)
    before = (tmp_path / "run" / "summary.json").stat().st_mtime_ns
    train(asked, quiet=True, **GIVEN)
    assert (tmp_path / "run" / "summary.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="preference_loss was 'dpo' and is 'simpo'"):
        train(dataclasses.replace(asked, preference_loss="simpo"), quiet=True, **GIVEN)
