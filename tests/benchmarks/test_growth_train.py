"""The curves of training, on models that are tiny: what is measured on which side, and by what size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks import growth_train, llm_ours
from benchmarks.llm_rows import Size
from toyopt.algorithms import DPO, SFT

TINY = Size(vocabulary=64, hidden=16, layers=1, heads=2, batch_sft=2, batch_preference=2, batches=1, longest=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loss", "row"), [("sft", "SFT", "row"), ("preference", "DPO", "pair")])
def test_steps_of_both_kinds_are_measured_beside_trl(
    kind: str, loss: str, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth_train, "BASE", TINY)
    trained, single = set(), llm_ours.single
    monkeypatch.setattr(llm_ours, "single", lambda size, task: trained.add(task) or single(size, task))
    models = (TINY, dataclasses.replace(TINY, hidden=32))
    curves = growth_train.steps(models, (0.1, 0.2), (1, 3), kind=kind)  # type: ignore[arg-type]
    assert [curve.name for curve in curves] == [f"{loss} step by {what}" for what in ("model", "length", "batch")]
    assert trained == {SFT if kind == "sft" else DPO}
    assert [curve.unit for curve in curves] == ["weights", f"tokens a {row}", "tokens a batch"]
    assert [curve.excused for curve in curves] == [False, True, False]
    assert curves[0].sizes == tuple(float(growth_train.weights(size)) for size in models)
    batch, shorter = ("batch_sft" if kind == "sft" else "batch_preference"), dataclasses.replace(TINY, longest=0.5)
    sized = {n: dataclasses.replace(shorter, **{batch: n}) for n in (1, 3)}  # type: ignore[arg-type]
    assert curves[2].sizes == tuple(n * round(np.mean(lengths(size, kind))) for n, size in sized.items())
    for curve in curves:
        assert list(curve.costs) == ["llm", "TRL"]
        assert all(np.isfinite(cost).all() and (cost > 0).all() for cost in curve.costs.values())


def lengths(size: Size, kind: str) -> list[int]:
    """Tokens of each row or pair: a word is one token, and each response has its end as a token more."""
    words = [{name: len(text.split()) for name, text in row.items()} for row in size.texts(kind)]  # type: ignore[arg-type]
    if kind == "sft":
        return [row["prompt"] + row["completion"] + 1 for row in words]
    return [2 * row["prompt"] + row["chosen"] + row["rejected"] + 2 for row in words]


@pytest.mark.slow
def test_the_tokens_of_a_pair_are_its_prompt_twice_and_both_responses() -> None:
    for kind in ("sft", "preference"):
        assert growth_train.tokens(TINY, kind) == round(np.mean(lengths(TINY, kind)))  # type: ignore[arg-type]


@pytest.mark.slow
def test_checkpoints_are_measured_beside_trl_and_hold_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth_train, "BASE", TINY)
    time, size, series = growth_train.checkpoints((2, 64), (1, 2))
    assert [curve.unit for curve in (time, size, series)] == ["trained weights", "trained weights", "checkpoints"]
    assert time.sizes == size.sizes
    assert time.sizes[1] == 32 * time.sizes[0]
    assert series.sizes == (1.0, 2.0)
    for curve in (time, size, series):
        assert list(curve.costs) == ["llm", "TRL"]
        assert all((cost > 0).all() for cost in curve.costs.values())
    for cost in size.costs.values():  # a weight and its two moments, four bytes each
        assert cost[1] - cost[0] == pytest.approx(12 * (size.sizes[1] - size.sizes[0]), rel=0.01)
