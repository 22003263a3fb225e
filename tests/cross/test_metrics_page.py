"""docs/metrics.md explains exactly the keys that runs of all methods write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.families import build

pytest.importorskip("torch")

from llm import TrainConfig, train
from llm.losses import PREFERENCE_LOSSES
from toyopt.algorithms import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ON_A_GPU = {"utilisation"}
THREE = ("a=sft:memory", "b=preference:memory", "c=preference:memory")
# Every method, losses with and without a reference in DPO's place, and the options that add keys.
RUNS: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in RULES},
    "computed optima": {"method": "maxright", "f_star": "compute"},
    "simpo": {"method": "maxright", "preference_loss": "simpo", "lam": 0.99},  # so that pairs are trained on at once
    "ipo": {"method": "maxright", "preference_loss": "ipo", "lam": 0.99},
    "kto": {"method": "mix", "preference_loss": "kto"},
    "average": {"method": "sequential", "average": True},
    "experts": {"method": "mix"},
    "three": {"method": "maxright", "f_star": "compute", "objective": THREE},
    "three with kto": {"method": "mix", "objective": (*THREE, "loss=kto")},
}


def general(key: str) -> str:
    """Return a key with NAME in place of the name of a loss in DPO's place, or of an objective."""
    names = "|".join(["a", "b", "c", *(name for name in PREFERENCE_LOSSES if name != "dpo")])
    return re.sub(rf"([_/])({names})(?=_star$|$)", r"\1NAME", key)


def documented(section: str) -> set[str]:
    """Return the keys in the first column of a section's table."""
    body = re.split(rf"^## {re.escape(section)}$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in body.splitlines() if line.startswith("|")]
    return {key for cell in rows for key in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the keys of all runs, by section of the page."""
    root = tmp_path_factory.mktemp("metrics")
    rows = {"sft": tiny_models.sft_rows(16), "preference": tiny_models.preference_rows(16)}
    keys: dict[str, set[str]] = {"Steps": set(), "Evaluations": set(), "summary.json": set(), "preparation": set()}
    for name, options in RUNS.items():
        config = TrainConfig(
            steps=4, batch_sft=2, batch_preference=2, lora_rank=2, k=2, eval_every=2, held_out=0.25, threads=1,
            window=0, gap_rows=1, save_every=100, cache=str(root / "cache"), out=str(root / name), **options,
        )  # fmt: skip
        experts = name == "experts"
        model = build("Mixtral", num_local_experts=2, num_experts_per_tok=1) if experts else tiny_models.model()
        of_three = {"a": rows["sft"], "b": rows["preference"], "c": rows["preference"]}
        given: dict[str, Any] = {"rows": of_three} if config.objective else rows
        folder = train(config, quiet=True, model=model, tokenizer=tiny_models.tokenizer(), **given).folder
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            keys["Steps" if "objective" in values else "Evaluations"] |= set(map(general, values))
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        keys["summary.json"] |= set(summary)
        keys["preparation"] |= set(summary["preparation"])
    return keys


@pytest.mark.slow
@pytest.mark.parametrize("section", ["Steps", "Evaluations", "summary.json"])
def test_the_page_explains_exactly_the_keys_that_runs_write(section: str, written: dict[str, set[str]]) -> None:
    assert written[section] | (ON_A_GPU if section == "Steps" else set()) == documented(section)


@pytest.mark.slow
def test_the_page_names_every_kind_of_preparation(written: dict[str, set[str]]) -> None:
    assert all(f"`{key}`" in PAGE for key in written["preparation"])


def test_the_keys_of_a_section_are_those_of_its_table() -> None:
    assert {"step", "evaluation", "ideal_distance"} <= documented("Evaluations")
    assert "grad_norm" not in documented("Evaluations")
