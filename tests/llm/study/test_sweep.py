"""A study's grid: which runs it stands for, in which folders, and how far they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.wrong import fails

pytest.importorskip("torch")
yaml = pytest.importorskip("yaml")

from support.study_fakes import BASE  # noqa: E402

from llm.study import Grid  # noqa: E402
from llm.study.status import write_config  # noqa: E402


def names(grid: Grid) -> list[str]:
    """Without the digests."""
    return [run.name.rpartition("-")[0] for run in grid.runs()]


@pytest.mark.slow
def test_k_is_maxrights_and_order_sequentials() -> None:
    grid = Grid(BASE, lams=(0.25, 0.5), orders=("dpo-sft", "sft-dpo"), ks=(1, 10), seeds=(1, 2))
    found = names(grid)
    assert len(found) == 2 * (2 * 2 + 2 + 2 + 2 * 2 + 2 * 2)  # seeds x (sequential + mix + alright + maxright + replay)
    assert found[:5] == [
        "sequential-lam0.25-dpo-sft-seed1",
        "sequential-lam0.5-dpo-sft-seed1",
        "mix-lam0.25-seed1",
        "mix-lam0.5-seed1",
        "alright-lam0.25-seed1",
    ]
    assert "maxright-lam0.5-k10-seed2" in found
    assert len({run.name for run in grid.runs()}) == len(found) == len(set(found))
    assert [run.config.seed for run in grid.runs()] == sorted(run.config.seed for run in grid.runs())


def test_with_the_papers_reference_the_order_matters_to_all() -> None:
    base = dataclasses.replace(BASE, reference="paper")
    found = names(Grid(base, methods=("mix", "maxright"), orders=("dpo-sft", "sft-dpo"), ks=(1, 10)))
    assert len(found) == 2 + 4
    assert found[0] == "mix-lam0.5-dpo-sft-seed1"
    assert "maxright-lam0.5-k10-sft-dpo-seed1" in found


def test_doubles_are_merged_and_empty_axes_are_the_bases() -> None:
    assert names(Grid(BASE, methods=("mix", "mix"), lams=(0.5, 0.5, 0.50), seeds=(1, 1))) == ["mix-lam0.5-seed1"]
    base = dataclasses.replace(BASE, method="sequential", lam=0.3, order="sft-dpo", seed=7)
    assert names(Grid(base, methods="sequential")) == ["sequential-lam0.3-sft-dpo-seed7"]
    assert Grid(base, methods="mix", lams=1).runs()[0].config.lam == 1.0  # type: ignore[arg-type]


def test_an_option_of_one_method_makes_no_new_runs_of_the_others() -> None:
    plain = {r.config.method: r.name for r in Grid(BASE).runs()}
    for change, method in (
        ({"method": "sequential", "stack": True}, "sequential"),
        ({"alternation": "coin"}, "alright"),
        ({"k": 3}, "maxright"),
        ({"mix_one_graph": True}, "mix"),
    ):
        changed = {r.config.method: r.name for r in Grid(dataclasses.replace(BASE, **change)).runs()}
        assert [m for m in plain if plain[m] != changed[m]] == [method]


def test_the_folder_is_another_for_another_result_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(**changes: Any) -> str:
        return Grid(dataclasses.replace(BASE, **changes), methods=("mix",)).runs()[0].name

    assert name(lr=1e-3) != name()
    assert name(f_star="compute") != name()
    assert name(save_every=7, cache="elsewhere", device="cpu", max_loss_ratio=5) == name()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n", encoding="utf-8")
    before = name(sft=str(rows))
    assert name(sft=str(rows)) == before
    rows.write_text("[]\n", encoding="utf-8")
    assert name(sft=str(rows)) != before
    folder = tmp_path / "folder"
    folder.mkdir()
    before = name(model=str(folder))
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert name(model=str(folder)) != before
    before = name(sft="skill")
    assert name(sft="skill:1") != before
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skill").mkdir()
    (tmp_path / "skill" / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    assert name(sft="skill") == before  # the set that is made, not the folder


@pytest.mark.parametrize(
    ("changes", "error", "argument", "value"),
    [
        ({"methods": ()}, ValueError, "methods: give at least one", "none"),
        ({"methods": ("best",)}, ValueError, "method: must be one of", "best"),
        ({"lams": (0.5, 2)}, ValueError, "lam: must be between 0 and 1", "2.0"),
        ({"lams": "0.5"}, TypeError, "lam: must be a number", "'0.5'"),
        ({"ks": (0,), "methods": ("mix",)}, ValueError, "k: must be at least 1", "0"),
        ({"seeds": (1.5,)}, TypeError, "seed: must be a whole number", "1.5"),
        ({"orders": ("sft",)}, ValueError, "order: must be one of", "sft"),
        ({"base": dataclasses.replace(BASE, out="here")}, ValueError, "out: ", "here"),
        ({"base": dataclasses.replace(BASE, overwrite=True)}, ValueError, "overwrite: ", "True"),
        ({"base": {}}, TypeError, "base: must be a TrainConfig", "dict"),
    ],
)
def test_what_is_no_grid(changes: dict[str, Any], error: type[Exception], argument: str, value: str) -> None:
    fails(lambda: Grid(**{"base": BASE, **changes}), error, argument, value)


@pytest.mark.slow
def test_train_reads_the_configuration_that_is_written(tmp_path: Path) -> None:
    from llm.config import config_from

    base = dataclasses.replace(
        BASE, lr=5e-5, f_star="given", f_dpo_star=0.1, f_sft_star=1.0, lora_targets=("a", "b"),
        template="Ü {prompt}\n", sft_columns={"prompt": "question"}, log_with=("wandb",),
    )  # fmt: skip
    for run in Grid(base, lams=(1 / 3,)).runs():
        path = write_config(run, tmp_path)
        assert config_from(["--config", str(path)], "train", "") == run.placed(tmp_path)
        before = path.stat().st_mtime_ns
        assert write_config(run, tmp_path).stat().st_mtime_ns == before


def test_weights_are_an_axis_of_objectives() -> None:
    base = dataclasses.replace(BASE, objective=("a=sft:x", "b=preference:y", "c=sft:z"), order="")
    grid = Grid(base, methods=("sequential", "mix"), weights=("0.2,0.3,0.5", (0.5, 0.5, 0)), orders=("a-b-c", "c-b-a"))
    assert names(grid) == [
        "sequential-a0.2-b0.3-c0.5-a-b-c-seed1", "sequential-a0.5-b0.5-c0-a-b-c-seed1",
        "mix-a0.2-b0.3-c0.5-seed1", "mix-a0.5-b0.5-c0-seed1",
        "sequential-a0.2-b0.3-c0.5-c-b-a-seed1", "sequential-a0.5-b0.5-c0-c-b-a-seed1",
    ]  # fmt: skip
    assert grid.runs()[0].config.rule().stages == ((0, 1), (1, 1), (2, 2))
    about = grid.runs()[0].about
    assert (about["lam"], about["weights"], about["order"]) == (None, "0.2,0.3,0.5", "a-b-c")
    fails(lambda: Grid(base, weights=("0.5,0.5",)), ValueError, "weights: one for each of a, b, c is needed", "0.5")
    fails(lambda: Grid(base, weights=("0.5,much,0",)), ValueError, "weights: each must be numbers", "much")
    fails(lambda: Grid(base, weights=((0.5, 0.5, 0.5),)), ValueError, "objective: the weights sum to", "1.5")
    fails(lambda: Grid(base, lams=(0.3,)), ValueError, "lams: weigh the two sets of the short form", "0.3")
    fails(lambda: Grid(BASE, weights=("0.5,0.5",)), ValueError, "weights: are for objectives", "0.5,0.5")
