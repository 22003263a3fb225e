"""Measures of runs on KTO beside training, against plain losses and their derivatives: cosine, curvature, check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_models as tiny
from support.kto_runs import BETA, ROWS, WEIGHTS, config, logp, plain_kto, run

from llm.data.formats import load
from llm.data.tokenization import tokenize
from llm.data.unpaired import with_mismatches
from llm.losses import KTOLoss
from llm.models.policy import Policy
from llm.training.objective import Objective, as_pairs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on KTO and SFT that keeps adapters, away from its reference."""
    folder = tmp_path_factory.mktemp("finished")
    run(config(base, folder, method="mix", held_out=0.0, keep_every=6, desirable_weight=1.5, undesirable_weight=0.7))
    return folder / "run"


def plain_values(base: Path, folder: Path) -> tuple[torch.Tensor, torch.Tensor, list[Any]]:
    """Return KTO's and SFT's values on all rows, with graphs, by PEFT's model, and the adapter's weights."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(base).double().eval()
    eager = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")  # which has second derivatives
    model = PeftModel.from_pretrained(eager, str(folder), is_trainable=True).double().eval()
    found = tokenize(load(ROWS["sft"], kind="sft"), tiny.tokenizer(), max_length=64)
    logps = [logp(model, p, r[0]) for p, r in zip(found.prompts, found.responses, strict=True)]
    f_sft = -torch.stack(logps).sum() / sum(len(r[0]) for r in found.responses)
    return plain_kto(model, reference, ROWS["preference"]), f_sft, [p for p in model.parameters() if p.requires_grad]


def flat(value: torch.Tensor, weights: list[Any], *, graph: bool = False) -> torch.Tensor:
    return torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(value, weights, create_graph=graph, retain_graph=True)]
    )


@pytest.mark.slow
@pytest.mark.oracle
def test_the_cosine_is_of_plain_gradients(base: Path, finished: Path) -> None:
    """The divergence is that of all rows, as in one step on them."""
    from llm.evaluation.cosine import CosineConfig, cosine

    asked = CosineConfig(run=str(finished), part="train", rows=0, groups=4, points=2)
    point = cosine(asked, quiet=True, **ROWS)["points"][-1]
    f_kto, f_sft, weights = plain_values(base, finished)
    assert point["rows"] == {"kto": 24, "sft": 20}
    assert point["values"]["kto"] == pytest.approx(float(f_kto.detach()), abs=1e-5)
    a, b = flat(f_kto, weights), flat(f_sft, weights)
    assert point["raw"][0][1] == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-4)


def test_rows_of_one_prompt_are_measured_in_one_group(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from llm.evaluation import cosine as module

    drawn: list[list[str]] = []
    own = module._drawn

    def recorded(*args: Any) -> Any:
        objectives = own(*args)
        drawn.append(list(objectives[0].tokens.keys))
        return objectives

    monkeypatch.setattr(module, "_drawn", recorded)
    pairs = tiny.preference_rows(12)
    module.cosine(config(base, tmp_path, held_out=0.0), quiet=True, **{**ROWS, "preference": pairs})
    (keys,) = drawn
    assert len(keys) == 24
    assert keys[::2] == keys[1::2]


@pytest.mark.slow
@pytest.mark.oracle
def test_the_curvature_is_that_of_the_plain_loss(base: Path, finished: Path) -> None:
    """By a second derivative of the plain loss, in which the divergence is a number."""
    from llm.evaluation.curvature import CurvatureConfig, curvature

    asked = CurvatureConfig(run=str(finished), rows=20, points=2, products=5)  # all of the SFT set
    found = curvature(asked, quiet=True, **ROWS)
    rows = {row["objective"]: row for row in found["rows"][-3:]}
    assert list(rows) == ["kto", "sft", "mix"]
    _, f_sft, weights = plain_values(base, finished)
    gradient = flat(f_sft, weights, graph=True)
    unit = (gradient / gradient.norm()).detach()
    assert rows["sft"]["grad_norm"] == pytest.approx(float(gradient.detach().norm()), rel=1e-4)
    assert rows["sft"]["along_gradient"] == pytest.approx(float(unit @ flat(gradient @ unit, weights)), rel=1e-3)
    assert rows["mix"]["value"] == pytest.approx(0.5 * rows["kto"]["value"] + 0.5 * rows["sft"]["value"])


@pytest.mark.slow
@pytest.mark.oracle
def test_the_curvature_of_kto_holds_its_divergence(base: Path, finished: Path) -> None:
    from llm.evaluation.hessian import Surface
    from llm.models.lora import load_adapter

    bare = tiny.model()
    bare.set_attn_implementation("eager")
    model = load_adapter(bare, str(finished), trainable=True)
    policy = Policy(model).eval()
    policy.twice_differentiable = True
    found = with_mismatches(tokenize(load(ROWS["preference"], kind="unpaired"), tiny.tokenizer(), max_length=64), 64)
    with torch.no_grad(), model.disable_adapter():
        reference = policy(Objective("pairs", as_pairs(found)).batch(np.arange(24))).view(-1, 2)
    task = Objective("kto", found, KTOLoss(BETA, *WEIGHTS), reference, by_name=True)
    f_kto, _, weights = plain_values(base, finished)
    gradient = flat(f_kto, weights, graph=True)
    along = torch.from_numpy(np.random.default_rng(0).standard_normal(len(gradient)))
    product = flat(gradient @ along, weights).numpy()
    for most in (10**6, 100):
        surface = Surface(policy, task, np.arange(24), most=most)
        assert surface.kl > 1e-3
        assert surface.value == pytest.approx(float(f_kto.detach()), abs=1e-5)
        scale = float(np.abs(product).max())
        np.testing.assert_allclose(surface.product(along.numpy()), product, atol=1e-3 * scale)


@pytest.mark.slow
@pytest.mark.oracle
def test_check_compares_kto_with_plain_forward_passes(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from llm.evaluation.check import CheckConfig, check
    from llm.training import engine

    options = config(base, tmp_path, desirable_weight=1.5, undesirable_weight=0.7).as_dict()
    findings = check(CheckConfig(**options, rows=4), **ROWS)
    assert [f for f in findings if f.holds is False] == []
    held = {f.claim for f in findings if f.holds}
    assert {"f_kto", "gradient of f_kto", "f_sft"} <= {claim.lower() for claim in held}
    assert sum(claim.startswith("f_kto is that of the base") for claim in held) == 4
    assert {f.group for f in findings} >= {"tokens, preference", "adapter", "generation", "bf16, as configured"}
    own = engine.begin_sums
    monkeypatch.setattr(engine, "begin_sums", lambda *args: (own(*args)[0] + 0.5, own(*args)[1]))
    findings = check(CheckConfig(**options, rows=4, parts=("forward",)), **ROWS)
    assert {"f_kto", "gradient of f_kto"} <= {f.claim for f in findings if f.holds is False}
