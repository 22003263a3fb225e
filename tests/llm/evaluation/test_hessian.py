"""Hessian-vector products against dense Hessians, and both ends of known spectra."""

from __future__ import annotations

import math
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
from llm.evaluation.curvature import CurvatureConfig  # noqa: E402
from llm.evaluation.curvature_points import numbers_at  # noqa: E402
from llm.evaluation.hessian import Ends, Surface, ends  # noqa: E402
from llm.losses import DPOLoss  # noqa: E402
from llm.models.architecture import attention  # noqa: E402
from llm.models.policy import Policy  # noqa: E402
from llm.training.objective import Objective  # noqa: E402

ALL = {"tolerance": 1e-9, "products": 200}


def policy_of(family: str, *, targets: list[str]) -> Policy:
    """A tiny model with an adapter of rank 1 that is not 0."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [0] if family == "gpt_neox" else None  # a matrix of 48 entries instead of 96
        lora = LoraConfig(r=1, lora_alpha=1, target_modules=targets, layers_to_transform=layers, task_type="CAUSAL_LM")
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
    return Objective("dpo", tokens, loss=DPOLoss(0.1), reference=logps.float())


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


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "sft"])
@pytest.mark.parametrize(("family", "targets"), [("gpt_neox", ["dense_h_to_4h"]), ("llama", ["v_proj"])])
def test_products_and_ends_are_those_of_the_dense_hessian(kind: str, family: str, targets: list[str]) -> None:
    policy, task = policy_of(family, targets=targets), task_of(kind)
    rows = np.arange(len(task), dtype=np.int64)
    with attention(policy.causal, "eager"):
        value, gradient, hessian = dense(policy, task)
        policy.skip_prompt_logits = policy.twice_differentiable = True  # as `curvature`; the oracle has all logits
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


def test_the_frozen_head_has_the_same_values_but_no_second_derivative() -> None:
    policy, task = policy_of("gpt_neox", targets=["dense"]), task_of("sft")
    rows = np.arange(len(task), dtype=np.int64)
    batch = task.batch(rows)
    plain = policy(batch)
    policy.skip_prompt_logits = True
    torch.testing.assert_close(policy(batch), plain, rtol=0.0, atol=1e-4)
    weights = [p for p in policy.parameters() if p.requires_grad]
    with pytest.raises(RuntimeError, match="twice_differentiable"):
        torch.autograd.grad(policy(batch).sum(), weights, create_graph=True)
    policy.skip_prompt_logits = False
    before = policy.causal.config._attn_implementation
    with attention(policy.causal, "eager"):
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
    assert found.converged
    assert found.products == 41
    few = ends_of(matrix, tolerance=1e-2, products=4)
    assert not few.converged  # a miss is reported
    assert few.residual_smallest > 1e-2 * 9.0
    assert np.abs(np.linalg.eigvalsh(matrix) - few.smallest).min() <= few.residual_smallest
    assert low <= few.smallest <= few.largest <= high  # Rayleigh quotients lie between the ends
    assert few.margin == math.inf
    some = ends_of(matrix, products=12)
    assert (some.smallest, some.largest) == (pytest.approx(low, abs=some.margin), pytest.approx(high, abs=some.margin))


@pytest.mark.oracle
@pytest.mark.slow
def test_every_start_finds_an_end_that_inner_eigenvalues_hide() -> None:
    """-0.3 beside 600 zeros: an iteration that ends at a small residual takes 0 for the smallest eigenvalue."""
    values = np.concatenate([[-0.3], np.zeros(600), np.random.default_rng(7).uniform(0.001, 5.0, 199)])
    matrix = spectrum(values)
    low, *_, high = np.linalg.eigvalsh(matrix)
    for seed in range(30):
        for products, share in ((20, 0.01), (40, 1e-3)):
            found = ends(lambda v: matrix @ v, 800, rng=np.random.default_rng(seed), products=products)
            assert found.smallest == pytest.approx(low, abs=share * (high - low))
            assert found.largest == pytest.approx(high, abs=share * (high - low))
            assert found.negative
            assert max(found.smallest - low, high - found.largest) <= found.margin


def test_residuals_are_those_of_the_vectors() -> None:
    matrix = spectrum(np.concatenate([[-1.0], np.linspace(0.0, 2.0, 99)]))
    found = ends_of(matrix, products=10)
    nearest = [np.abs(np.linalg.eigvalsh(matrix) - value).min() for value in (found.smallest, found.largest)]
    assert nearest[0] <= found.residual_smallest
    assert nearest[1] <= found.residual_largest
    assert found.residual_largest > 1e-3
    assert ends_of(matrix, products=100).residual_largest < 1e-12


def test_ends_of_special_matrices() -> None:
    nothing = ends_of(np.zeros((7, 7)))
    assert (nothing.smallest, nothing.largest, nothing.negative) == (0.0, 0.0, False)
    assert ends_of(np.array([[-2.0]])).smallest == ends_of(np.array([[-2.0]])).largest == -2.0
    same = ends_of(4.0 * np.eye(9))
    assert (same.smallest, same.largest) == (pytest.approx(4.0), pytest.approx(4.0))
    for diagonal in ([3.0] + [0.0] * 59, [3.0, -2.0] + [0.0] * 58):  # fewer different eigenvalues than steps
        few = ends_of(np.diag(diagonal))
        assert (few.smallest, few.largest) == (pytest.approx(min(diagonal), abs=1e-12), pytest.approx(3.0))
    wide = ends_of(np.zeros((60, 60)))
    assert (wide.smallest, wide.largest, wide.converged) == (0.0, 0.0, True)
    # many at 0, as redundant weights have them: it ends, and rounding's negative zeros are not called negative
    convex = ends_of(spectrum(np.concatenate([np.zeros(150), np.linspace(1.0, 2.0, 50)])), tolerance=1e-4)
    assert convex.smallest == pytest.approx(0.0, abs=1e-3)
    assert not convex.negative
    rounded = spectrum(np.concatenate([np.zeros(30), [1.0]]))
    rounded += 1e-7 * spectrum(np.linspace(-1.0, 1.0, 31), seed=4)
    assert not ends_of(rounded, tolerance=1e-6, products=31).negative
    assert not ends_of(rounded, tolerance=1e-6, products=12).negative


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
    for parts in ({"dpo": 1.0}, {"dpo": 0.25, "sft": 0.75}, {"a": 0.5, "b": 0.25, "c": 0.75, "d": 0.0}):
        weight = sum(parts.values())
        point = numbers_at(parts, dict.fromkeys(parts, surface), CurvatureConfig(run=""))
        assert point["grad_norm"] == pytest.approx(weight * np.linalg.norm(g))
        assert point["along_gradient"] == pytest.approx(weight * (g @ hessian @ g) / (g @ g), rel=1e-5)
        assert point["smallest"] == pytest.approx(weight * values[0], rel=1e-5)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run that keeps adapters."""
    folder = tmp_path_factory.mktemp("curvature")
    return {**door.place(folder), "lora_rank": 2, "keep_every": 2, "steps": 6, "method": "mix", "lam": 0.25}


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """It, finished."""
    return train(TrainConfig(**options), quiet=True)
