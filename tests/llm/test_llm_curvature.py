"""Curvature: against dense Hessians, on matrices with known spectra, on a saddle, and at the door."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")

from llm import (  # noqa: E402
    Result,
    TrainConfig,
    train,
)
from llm.data.formats import load  # noqa: E402
from llm.data.tokenization import tokenize  # noqa: E402
from llm.evaluation.curvature import OBJECTIVES, CurvatureConfig, _at, curvature, kept_steps, measure  # noqa: E402
from llm.evaluation.hessian import Ends, Surface, ends  # noqa: E402
from llm.models.architecture import eager_attention  # noqa: E402
from llm.models.policy import Policy  # noqa: E402
from llm.training.objective import Objective  # noqa: E402

ALL = {"tolerance": 1e-9, "products": 200}


def policy_of(family: str, *, targets: list[str]) -> Policy:
    """A tiny model with an adapter of rank 1 that is not 0."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(3)
        lora = LoraConfig(r=1, lora_alpha=1, target_modules=targets, task_type="CAUSAL_LM")
        model = get_peft_model(tiny.model(family), lora)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    return Policy(model).eval()


def task_of(kind: str, n: int = 6) -> Objective:
    """DPO against a made-up reference, or SFT."""
    if kind == "sft":
        return Objective("sft", tokenize(load(tiny.sft_rows(n), kind="sft"), tiny.tokenizer()))
    tokens = tokenize(load(tiny.preference_rows(n), kind="preference"), tiny.tokenizer())
    logps = -30.0 + torch.arange(2 * n).reshape(n, 2) % 5
    return Objective("dpo", tokens, beta=0.1, reference=logps.float())


def dense(policy: Policy, task: Objective) -> tuple[float, np.ndarray, np.ndarray]:
    """(value, gradient, Hessian) by torch.autograd.functional, entry by entry."""
    names = [name for name, p in policy.named_parameters() if p.requires_grad]
    weights = [p.detach() for p in policy.parameters() if p.requires_grad]
    rows = np.arange(len(task), dtype=np.int64)
    batch = task.batch(rows)

    def value(flat: Any) -> Any:
        parts = torch.split(flat, [w.numel() for w in weights])
        state = {n: p.reshape(w.shape) for n, p, w in zip(names, parts, weights, strict=True)}
        logps = torch.func.functional_call(policy, state, (batch,))
        return task.measure(logps, batch, rows)[0] / task.units(rows)

    at = torch.cat([w.reshape(-1) for w in weights])
    gradient = torch.autograd.functional.jacobian(value, at)
    return float(value(at)), gradient.numpy(), torch.autograd.functional.hessian(value, at).double().numpy()


@pytest.mark.parametrize("kind", ["dpo", "sft"])
@pytest.mark.parametrize(("family", "targets"), [("gpt_neox", ["dense_h_to_4h"]), ("llama", ["v_proj"])])
def test_products_and_ends_are_those_of_the_dense_hessian(kind: str, family: str, targets: list[str]) -> None:
    policy, task = policy_of(family, targets=targets), task_of(kind)
    rows = np.arange(len(task), dtype=np.int64)
    with eager_attention(policy.causal):
        value, gradient, hessian = dense(policy, task)
        surface = Surface(policy, task, rows, most=10**6)
        parts = Surface(policy, task, rows, most=40)
        products = np.array([surface.product(e) for e in np.eye(surface.size)])
        in_parts = np.array([parts.product(e) for e in np.eye(surface.size)[:3]])
        found = ends(surface.product, surface.size, rng=np.random.default_rng(0), **ALL)
    assert len(surface.parts) == 1
    assert len(parts.parts) > 2
    scale = float(np.abs(hessian).max())
    assert scale > 1e-3
    # float32 through some ten layers: a thousandth of what a wrong factor or a missing term would do
    np.testing.assert_allclose(products, hessian, atol=1e-4 * scale)
    np.testing.assert_allclose(in_parts, hessian[:3], atol=1e-4 * scale)
    np.testing.assert_allclose(surface.gradient, gradient, atol=1e-5 * np.abs(gradient).max())
    np.testing.assert_allclose(parts.gradient, gradient, atol=1e-5 * np.abs(gradient).max())
    assert surface.value == pytest.approx(value, rel=1e-6)
    assert parts.value == pytest.approx(value, rel=1e-6)
    values = np.linalg.eigvalsh(hessian)
    assert found.smallest == pytest.approx(values[0], abs=1e-4 * scale)
    assert found.largest == pytest.approx(values[-1], abs=1e-4 * scale)
    assert found.negative == bool(values[0] < 0.0)


def test_the_short_way_has_the_same_values_but_no_second_derivative() -> None:
    policy, task = policy_of("gpt_neox", targets=["dense"]), task_of("sft")
    rows = np.arange(len(task), dtype=np.int64)
    batch = task.batch(rows)
    plain = policy(batch)
    policy.skip_prompt_logits = True
    torch.testing.assert_close(policy(batch), plain, rtol=0.0, atol=1e-4)
    policy.skip_prompt_logits = False
    before = policy.causal.config._attn_implementation
    with eager_attention(policy.causal):
        assert policy.causal.config._attn_implementation == "eager"
        torch.testing.assert_close(policy(batch), plain, rtol=0.0, atol=1e-4)
    assert policy.causal.config._attn_implementation == before


def spectrum(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return np.asarray(q @ np.diag(values) @ q.T)


def ends_of(matrix: np.ndarray, **how: Any) -> Ends:
    return ends(lambda v: matrix @ v, len(matrix), rng=np.random.default_rng(1), **how)


def test_ends_against_scipys() -> None:
    from scipy.sparse.linalg import eigsh

    draw = np.random.default_rng(5)
    matrix = spectrum(np.concatenate([[-3.0, 9.0], draw.normal(size=300)]))
    low, high = eigsh(matrix, 2, which="BE", return_eigenvectors=False, v0=np.ones(302), tol=1e-10)
    found = ends_of(matrix, tolerance=1e-6)
    assert found.smallest == pytest.approx(low, rel=1e-9)  # errors are the residuals' squares
    assert found.largest == pytest.approx(high, rel=1e-9)
    assert max(found.residual_smallest, found.residual_largest) <= 1e-6 * 9.0 * 1.01
    # the residual tells how far an eigenvalue is, and a looser tolerance is kept as well, with fewer products
    loose = ends_of(matrix, tolerance=0.05)
    assert loose.products < found.products
    assert 1e-4 < max(loose.residual_smallest, loose.residual_largest) <= 0.05 * 9.0 * 1.01
    assert np.abs(np.linalg.eigvalsh(matrix) - loose.smallest).min() <= loose.residual_smallest
    few = ends_of(matrix, tolerance=1e-6, products=4)
    assert few.products == 6
    assert few.residual_smallest > 1e-2
    assert low <= few.smallest <= few.largest <= high  # Rayleigh quotients lie between the ends


def test_ends_of_special_matrices() -> None:
    nothing = ends_of(np.zeros((7, 7)))
    assert (nothing.smallest, nothing.largest, nothing.negative) == (0.0, 0.0, False)
    assert ends_of(np.array([[-2.0]])).smallest == ends_of(np.array([[-2.0]])).largest == -2.0
    same = ends_of(4.0 * np.eye(9))
    assert (same.smallest, same.largest) == (pytest.approx(4.0), pytest.approx(4.0))
    # many at 0, as redundant weights have them: it ends, and rounding's negative zeros are not called negative
    convex = ends_of(spectrum(np.concatenate([np.zeros(150), np.linspace(1.0, 2.0, 50)])), tolerance=1e-4)
    assert convex.smallest == pytest.approx(0.0, abs=1e-3)
    assert not convex.negative
    rounded = spectrum(np.concatenate([np.zeros(30), [1.0]]))
    rounded += 1e-7 * spectrum(np.linspace(-1.0, 1.0, 31), seed=4)
    assert not ends_of(rounded, tolerance=1e-6, products=31).negative


class _Saddle(torch.nn.Module):
    """One response whose log-probability is -(x² - 3 y² + 4 x z): a Hessian that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.at = torch.nn.Parameter(torch.tensor([1.0, 2.0, 0.5]))

    def forward(self, batch: Any) -> Any:
        x, y, z = self.at
        return -(x**2 - 3 * y**2 + 4 * x * z) * torch.ones(len(batch.counts))


def test_a_saddle() -> None:
    task = task_of("sft", 2)
    surface = Surface(_Saddle(), task, np.arange(2), most=10**6)  # type: ignore[arg-type]
    share = 2 / task.units(np.arange(2))  # two responses, and the mean is over tokens
    hessian = share * np.array([[2.0, 0.0, 4.0], [0.0, -6.0, 0.0], [4.0, 0.0, 0.0]])
    np.testing.assert_allclose(np.array([surface.product(e) for e in np.eye(3)]), hessian, rtol=1e-6)
    np.testing.assert_allclose(surface.gradient, share * np.array([4.0, -12.0, 4.0]), rtol=1e-6)
    found = ends(surface.product, 3, rng=np.random.default_rng(0), **ALL)
    values = np.linalg.eigvalsh(hessian)
    assert (found.smallest, found.largest) == (pytest.approx(values[0], rel=1e-5), pytest.approx(values[-1], rel=1e-5))
    assert found.negative
    g = share * np.array([4.0, -12.0, 4.0])
    for objective, weight in (("dpo", 1.0), ("mix", 0.25 * 1.0 + 0.75 * 1.0)):
        point = _at(objective, {"dpo": surface, "sft": surface}, 0.25, CurvatureConfig(run=""))
        assert point["grad_norm"] == pytest.approx(weight * np.linalg.norm(g))
        assert point["along_gradient"] == pytest.approx(weight * (g @ hessian @ g) / (g @ g), rel=1e-5)
        assert point["smallest"] == pytest.approx(values[0], rel=1e-5)


# runs


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run that keeps adapters."""
    folder = tmp_path_factory.mktemp("curvature")
    return {**door.place(folder), "lora_rank": 2, "keep_every": 2, "steps": 6, "method": "mix", "lam": 0.25}


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """It, finished."""
    return train(TrainConfig(**options), quiet=True)


def test_a_run(run: Result, tmp_path: Path) -> None:
    assert kept_steps(run.folder) == [0, 2, 4, 6]
    out = tmp_path / "there" / "c.json"
    config = CurvatureConfig(run=str(run.folder), rows=8, points=3, tolerance=1e-3, out=str(out))
    found = curvature(config, quiet=True)
    assert json.loads(out.read_text(encoding="utf-8")) == found
    again = curvature(dataclasses.replace(config, out=""), quiet=True)
    assert again == found
    rows = found["rows"]
    assert [(r["step"], r["objective"]) for r in rows] == [(s, o) for s in (0, 4, 6) for o in OBJECTIVES]
    assert (found["points"], found["rows_used"], found["lam"]) == (3, 8, 0.25)
    by = {(r["step"], r["objective"]): r for r in rows}
    assert by[0, "dpo"]["value"] == pytest.approx(np.log(2.0), rel=1e-5)
    for step in (0, 4, 6):
        dpo, sft, mix = (by[step, o] for o in OBJECTIVES)
        assert mix["value"] == pytest.approx(0.25 * dpo["value"] + 0.75 * sft["value"])
        # the ends of a sum lie between the sums of ends (Weyl)
        slack = 0.01 * (dpo["largest"] + sft["largest"])
        assert mix["largest"] <= 0.25 * dpo["largest"] + 0.75 * sft["largest"] + slack
        assert mix["smallest"] >= 0.25 * dpo["smallest"] + 0.75 * sft["smallest"] - slack
        for r in (dpo, sft, mix):
            assert r["smallest"] <= r["along_gradient"] <= r["largest"]
            assert r["negative"] == (r["smallest"] < 0.0)
    for o in OBJECTIVES:
        mine = [r for r in rows if r["objective"] == o]
        assert found[f"negative_share_{o}"] == sum(r["negative"] for r in mine) / 3
        assert found[f"negative_along_gradient_share_{o}"] == sum(r["along_gradient"] < 0 for r in mine) / 3
    # at B = 0 the Hessian has no diagonal blocks from A: its ends have both signs, whatever the objective
    assert by[0, "dpo"]["negative"]
    assert by[0, "sft"]["negative"]
    other = curvature(dataclasses.replace(config, out="", seed=1, points=1), quiet=True)
    assert [r["value"] for r in other["rows"]] != [r["value"] for r in rows[:3]]  # other rows


def test_more_rows_than_there_are(run: Result) -> None:
    with pytest.raises(ValueError, match=r"^rows: the run has 1\d training rows in its smaller set, got 99$"):
        curvature(CurvatureConfig(run=str(run.folder), rows=99), quiet=True)


def test_as_a_measure(run: Result) -> None:
    found = measure(run.folder)
    assert {"rows", "negative_share_dpo", "negative_share_sft", "rows_used"} <= set(found)
    assert json.loads(json.dumps(found)) == found
    assert found["points"] == 4


def test_without_kept_adapters(options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {**options, "keep_every": 0, "steps": 1, "out": str(tmp_path / "run")}
    train(TrainConfig(**mine), quiet=True)
    said = door.call(capsys, "curvature", run=mine["out"])
    assert said.status == 2
    assert "kept no adapters along the way; train again with --keep-every 1 and another --out" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"rows": 0}, "rows: must be at least 1, got 0"),
        ({"points": 0}, "points: must be at least 1, got 0"),
        ({"products": 1}, "products: must be at least 2, got 1"),
        ({"tolerance": 0.0}, r"tolerance: must be in \(0, 1\), got 0.0"),
        ({"seed": -1}, "seed: must be at least 0, got -1"),
        ({"out": "c.txt"}, "out: must be a .json file, got c.txt"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=f"^{shown}$"):
        CurvatureConfig(run="somewhere", **wrong)


def test_the_command(run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    said = door.call(capsys, "curvature", run=run.folder, rows=4, points=2, out=out)
    assert said.status == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    lines = said.out.splitlines()
    assert len(lines) == 1 + len(found["rows"]) + 1
    assert f"{found['rows'][3]['smallest']:.4g}" in lines[4]
    assert "negative_share_dpo" in lines[-1]
    none = door.call(capsys, "curvature", run=tmp_path / "nowhere")
    assert (none.status, "holds no run" in none.err) == (2, True)
