"""LLaMA-Factory as a side of the comparison: its files, its command, its token ids; it is not installed itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("datasets")

from datasets import Dataset, DatasetDict  # noqa: E402

from benchmarks import llm_forgetting_real as real  # noqa: E402
from benchmarks import llm_llamafactory as factory  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.agreement import Paired, headers_paired  # noqa: E402
from benchmarks.llm_forgetting import World  # noqa: E402
from benchmarks.llm_forgetting_real import SECONDS, compared  # noqa: E402
from benchmarks.llm_memory import EndedError  # noqa: E402
from llm.config import TrainConfig  # noqa: E402
from llm.data.tokenization import TokenizedDataset  # noqa: E402

USER, ANSWER, OTHER = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
)


def command(folder: Path, script: str) -> Path:
    """Return a command with a script of the shell."""
    path = folder / "llamafactory-cli"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def ids(*values: int) -> Any:
    return np.array(values, dtype=np.int32)


def test_rows_are_written_as_conversations_with_their_description(tmp_path: Path) -> None:
    rows: Any = [{"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]}]
    factory.write_rows(rows, "preference", tmp_path / "pairs")
    described = json.loads((tmp_path / "pairs" / "dataset_info.json").read_text(encoding="utf-8"))["rows"]
    assert described["ranking"] is True
    assert described["columns"] == {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}
    [written] = json.loads((tmp_path / "pairs" / described["file_name"]).read_text(encoding="utf-8"))
    assert written == {"messages": [USER], "chosen": ANSWER, "rejected": OTHER}
    factory.write_rows([{"prompt": [USER], "completion": [ANSWER]}], "sft", tmp_path / "sft")  # type: ignore[dict-item]
    [written] = json.loads((tmp_path / "sft" / "rows.json").read_text(encoding="utf-8"))
    assert written == {"messages": [USER, ANSWER]}


def test_a_stage_has_our_options_under_its_names(tmp_path: Path) -> None:
    config = TrainConfig(lr=1e-3, beta=0.3, clip=0.5, steps=40, batch_sft=3, batch_preference=5, seed=7)
    world = World(tmp_path, None, {}, {})
    options = {
        kind: factory.arguments(world, kind, config, tmp_path / "a", tmp_path / "b") for kind in ("sft", "preference")
    }
    assert {k: o["stage"] for k, o in options.items()} == {"sft": "sft", "preference": "dpo"}
    assert [o["per_device_train_batch_size"] for o in options.values()] == [3, 5]
    one = options["preference"]
    assert (one["max_steps"], one["learning_rate"], one["pref_beta"], one["max_grad_norm"], one["seed"]) == (
        20,
        1e-3,
        0.3,
        0.5,
        7,
    )
    assert one["adapter_name_or_path"] == str(tmp_path / "a")
    assert one["disable_shuffling"]


def test_its_name_has_the_version_that_its_command_names(tmp_path: Path) -> None:
    assert (
        factory.name_of(command(tmp_path, "echo '| Welcome to LLaMA Factory, version 9.8.7 |'"))
        == "LLaMA-Factory 9.8.7"
    )
    with pytest.raises(EndedError, match="names none: no module of that name"):
        factory.name_of(command(tmp_path, "echo no module of that name >&2"))


def test_a_stage_that_fails_is_one_line_with_the_last_words(tmp_path: Path) -> None:
    cli = command(tmp_path, "cat $2; echo; echo cannot train that; exit 3")
    with pytest.raises(EndedError, match=r"ended with status 3: .*cannot train that"):
        factory.run(cli, {"stage": "sft"}, tmp_path / "train.yaml")
    assert (tmp_path / "train.log").read_text(encoding="utf-8").startswith('{"stage": "sft"}')


def test_other_token_ids_are_refused(tmp_path: Path) -> None:
    tokens = TokenizedDataset("preference", (ids(1, 2),), ((ids(3), ids(4, 5)),), ("0" * 16,), 0, 0, 0)
    right = {
        "chosen_input_ids": [1, 2, 3], "chosen_labels": [-100, -100, 3],
        "rejected_input_ids": [1, 2, 4, 5], "rejected_labels": [-100, -100, 4, 5],
    }  # fmt: skip

    def check(name: str, *rows: dict[str, list[int]]) -> None:
        DatasetDict({"train": Dataset.from_list(list(rows))}).save_to_disk(str(tmp_path / name))
        factory.check_ids("preference", tmp_path / name, tokens)

    check("right", right)
    for name, wrong in (("ids", {"chosen_input_ids": [1, 2, 9]}), ("labels", {"rejected_labels": [-100, 2, 4, 5]})):
        with pytest.raises(AssertionError, match="row 0 of preference: LLaMA-Factory has other token ids"):
            check(name, right | wrong)
    with pytest.raises(AssertionError, match="has 2 rows of preference and llm 1"):
        check("more", right, right)


def test_seconds_are_shown_and_have_no_bar() -> None:
    found = compared("sft-dpo", [[{SECONDS: 10.0}, {SECONDS: 20.0}]], [[{SECONDS: 30.0}, {SECONDS: 90.0}]], peer="P 1")
    assert found.holds()
    assert [line[-2:] for line in found.lines()] == [("", "")] * 2
    assert headers_paired(found.peer)[2] == "P 1, by seed"
    assert Paired("x", {"a": np.ones(1)}, {"a": np.zeros(1)}, {"a": math.inf}).holds()


def test_both_orders_and_pref_ftx_are_compared_seed_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a value of each adapter that names its folder, and trainings that write nothing but their seconds."""
    values = {"step-2": 1.0, "step-4": 2.0, "stage0": 1.0, "stage1": 2.0, "ftx": 5.0}
    begun: list[str] = []

    def ours(config: TrainConfig, out: Path) -> list[Path]:
        lines = [{"step": s, "objective": "sft", "seconds": t} for s, t in ((2, 10.0), (4, 25.0))]
        out.mkdir()
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return [out / f"step-{step}" for step in (0, config.steps // 2, config.steps)]

    def train(_cli: Path, _world: World, kind: str, *rest: Any, **more: Any) -> None:
        _, config, start, out = rest
        begun.append(f"{config.order} {config.seed} {kind} {start.name}{more or ''}")
        out.mkdir(parents=True)
        (out / "train_results.json").write_text('{"train_runtime": 40.0}', encoding="utf-8")

    monkeypatch.setattr("benchmarks.llm_speed.prepare", lambda: None)
    monkeypatch.setattr(real, "config_of", lambda _, order, seed: TrainConfig(steps=4, order=order, seed=seed))
    monkeypatch.setattr(real, "world_of", lambda _: (World(tmp_path, None, {}, {}), {"sft": None, "preference": None}))
    monkeypatch.setattr(real, "Measure", lambda *_: lambda adapter: {"f_SFT": values[adapter.name]})
    monkeypatch.setattr(real, "_skill", lambda _: 0.5)
    monkeypatch.setattr(real, "ours", ours)
    monkeypatch.setattr(factory, "train", train)
    cli = command(tmp_path, "echo version 1.2")
    dpo_first, sft_first, ftx = real.forgetting_llamafactory(tmp_path / "pairs", cli, (3, 4))
    assert begun == [
        *(f"dpo-sft {seed} {stage}" for seed in (3, 4) for stage in ("preference step-0", "sft stage0")),
        *(
            f"sft-dpo {seed} {stage}"
            for seed in (3, 4)
            for stage in ("sft step-0", "preference stage0", "preference stage0{'pref_ftx': 1.0}")
        ),
    ]
    assert dpo_first.holds()
    assert sft_first.holds()
    assert sft_first.peer == ftx.peer == "LLaMA-Factory 1.2"
    assert sft_first.ours[f"{SECONDS} after both"].tolist() == [15.0, 15.0]
    assert sft_first.theirs[f"{SECONDS} after both"].tolist() == [40.0, 40.0]
    assert ftx.ours["f_SFT after both"].tolist() == [2.0, 2.0]
    assert ftx.theirs["f_SFT after both"].tolist() == [5.0, 5.0]


def test_the_benchmark_needs_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}", encoding="utf-8")
    asked = ["--only", "forgetting-llamafactory", "--preference", str(pairs)]
    for more, said in (
        ([], "needs --llamafactory FILE"),
        (["--llamafactory", "nowhere"], "nowhere: there is no such file"),
    ):
        with pytest.raises(SystemExit) as error:
            main([*asked, *more])
        assert error.value.code == 2
        assert said in capsys.readouterr().err
