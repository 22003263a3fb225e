"""The comparison with TRL's stages: the same ids, both adapters go on, and the values are our own evaluation's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from support import tiny_models as tiny  # noqa: E402

from benchmarks.llm_forgetting import ORDERS, Measure, Setting, World, check_ids, ours, theirs  # noqa: E402
from llm.data.formats import load  # noqa: E402
from llm.data.tokenization import tokenize  # noqa: E402
from llm.evaluation.held_out import EvaluateConfig, evaluate  # noqa: E402

quiet_trl = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
SETTING = Setting(steps=2, batch=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    base = tiny.base(tmp_path_factory.mktemp("base"), "gpt_neox")
    texts = {
        "sft": tiny.sft_rows(12), "sft_held_out": tiny.sft_rows(6, seed=8),
        "preference": tiny.preference_rows(12), "preference_held_out": tiny.preference_rows(6, seed=9),
    }  # fmt: skip
    rows = {k: [{n: v if n == "prompt" else f" {v}" for n, v in r.items()} for r in some] for k, some in texts.items()}
    tokenizer = tiny.tokenizer()
    tokens = {k: tokenize(load(rows[f"{k}_held_out"], kind=k), tokenizer, template="none") for k in ORDERS["dpo-sft"]}
    return World(base, tokenizer, rows, tokens)


@quiet_trl
@pytest.mark.slow
@pytest.mark.oracle
def test_both_sides_train_in_stages_and_are_measured_alike(world: World, tmp_path: Path) -> None:
    measure = Measure(world, SETTING.config("sft-dpo", 0).beta)
    for order in ORDERS:
        own, others = (f(world, SETTING, order, 0, tmp_path / f"{order}-{f.__name__}") for f in (ours, theirs))
        values = [measure(folder) for folder in (*own, *others)]
        assert all(a != b for a, b in pairwise(values))
        past = evaluate(EvaluateConfig(run=str(tmp_path / f"{order}-ours")), quiet=True, **world.rows)
        assert values[1]["f_DPO"] == pytest.approx(past["f_dpo"], abs=1e-5)
        assert values[1]["f_SFT"] == pytest.approx(past["f_sft"], abs=1e-5)
        assert values[1]["preference accuracy"] == pytest.approx(past["rewards/accuracies"])


def test_other_token_ids_are_not_compared(world: World) -> None:
    tokens = tokenize(load(world.rows["sft"], kind="sft"), world.tokenizer, template="none")
    row = {"input_ids": [5, 6, 7], "labels": [-100, -100, 7]}
    with pytest.raises(AssertionError, match="row 0 of sft: TRL has other token ids than llm"):
        check_ids("sft", [row], tokens.select([0]))
    with pytest.raises(AssertionError, match="TRL has 1 rows of sft and llm 12"):
        check_ids("sft", [row], tokens)
