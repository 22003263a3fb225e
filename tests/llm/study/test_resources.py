"""Resources that the unfinished runs of a study need."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from llm import TrainConfig
from llm.judging import world as judged
from llm.study import Grid, StudyRun, operations, resources
from llm.study.measures import measure_digest as code_of
from llm.study.measures import with_options

WEIGHTS = "weights: EleutherAI/pythia-1b"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache of the hub, which is not to be reached."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    return tmp_path / "hub"


def pythia(**options: Any) -> Grid:
    methods = (options.pop("method", "alright"),)
    return Grid(TrainConfig.preset("pythia-1b", method=methods[0], **options), methods=methods)


def runs(**options: Any) -> tuple[StudyRun, ...]:
    return pythia(**options).runs()


def by_name(required: tuple[resources.Requirement, ...]) -> dict[str, resources.Requirement]:
    return {requirement.name: requirement for requirement in required}


@pytest.mark.usefixtures("hub")
def test_a_missing_resource_is_listed_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "gpus", lambda: 0)
    required = by_name(resources.requirements([pythia(), pythia(lam=0.3)], tmp_path / "runs"))
    assert list(required) == [
        "runs", "GPU", WEIGHTS, "data: vicgalle/alpaca-gpt4", "data: Dahoas/rm-hh-rlhf", "disk",
    ]  # fmt: skip
    assert (required["runs"].amount, required["runs"].available) == ("2 to be carried out", "0 finished")
    assert "no CUDA device" in required["GPU"].missing
    assert "not measured" in required["GPU"].amount
    assert required[WEIGHTS].amount == "2.0 GB"
    assert "HF_HUB_OFFLINE is set" in required[WEIGHTS].missing
    assert not required["disk"].missing


def snapshot(hub: Path, folder: str, file: str) -> None:
    place = hub / folder / "snapshots" / "c0ffee"
    place.mkdir(parents=True)
    (place / file).write_text("{}")
    (hub / folder / "refs").mkdir()
    (hub / folder / "refs" / "main").write_text("c0ffee")


def test_resources_in_the_cache_are_available(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "gpus", lambda: 1)
    card = SimpleNamespace(name="Abacus", total_memory=2**33)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    snapshot(hub, "models--EleutherAI--pythia-1b", "config.json")
    snapshot(hub, "datasets--Dahoas--rm-hh-rlhf", "data.parquet")
    required = by_name(resources.requirements([pythia()], tmp_path / "runs"))
    assert required["GPU"].available == "Abacus 8 GiB"
    assert required[WEIGHTS].missing  # a configuration is no weights
    assert required["data: vicgalle/alpaca-gpt4"].missing
    assert not required["data: Dahoas/rm-hh-rlhf"].missing
    place = hub / "models--EleutherAI--pythia-1b" / "snapshots" / "c0ffee" / "model.safetensors.index.json"
    place.write_text("{}")
    (tmp_path / "datasets" / "vicgalle___alpaca-gpt4" / "default").mkdir(parents=True)
    assert not any(r.missing for r in resources.requirements([pythia()], tmp_path / "runs"))


@pytest.mark.usefixtures("hub")
def test_resources_on_the_hub_are_not_missing_but_need_disk_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "gpus", lambda: 0)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[Any] = []
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", lambda _, name, **more: asked.append((name, more)))
    required = by_name(resources.requirements([pythia()], tmp_path / "runs"))
    assert required[WEIGHTS].available == "on the hub, to be downloaded"
    assert ("EleutherAI/pythia-1b", {"repo_type": "model"}) in asked
    assert ("Dahoas/rm-hh-rlhf", {"repo_type": "dataset"}) in asked
    assert required["disk"].amount == "2.3 GB"  # weights 2.02, data 0.12, a run 0.2
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2.3e9))
    assert (
        "2.3 GB free, of 2.3 GB needed"
        in by_name(resources.requirements([pythia()], tmp_path / "runs"))["disk"].missing
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [("GatedRepoError", "licence"), ("RepositoryNotFoundError", "none of this name"), ("OSError", "cannot be reached")],
)
@pytest.mark.usefixtures("hub")
def test_the_reason_of_the_hubs_refusal_is_named(error: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    kind = getattr(errors, error, OSError)
    refusal = kind.__new__(kind)  # which __init__ would make of an answer of the hub

    def refuse(*_: Any, **__: Any) -> None:
        raise refusal

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", refuse)
    assert words in resources._from_hub("model", "meta-llama/Meta-Llama-3-8B").missing


@pytest.mark.usefixtures("hub")
def test_a_file_that_is_not_there_is_not_sought_on_the_hub(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.json")
    required = by_name(resources.requirements([pythia(sft=absent, preference="pairs.jsonl")], tmp_path / "runs"))
    for name in (absent, "pairs.jsonl"):
        assert required[f"data: {name}"].missing == f"there is no file or folder {name}"


@pytest.mark.usefixtures("hub")
def test_a_set_that_is_made_is_not_asked_for(tmp_path: Path) -> None:
    required = by_name(resources.requirements([pythia(sft="skill:1")], tmp_path))
    assert [name for name in required if name.startswith("data: ")] == ["data: Dahoas/rm-hh-rlhf"]


def test_finished_runs_and_embedded_ones_need_nothing(tmp_path: Path) -> None:
    embedded = Grid(TrainConfig.preset("embedded"), methods=("mix",))
    required = by_name(resources.requirements([embedded], tmp_path))
    assert not any(r.missing for r in required.values())
    assert (required["GPU"].amount, list(required)) == ("none", ["runs", "GPU", "disk"])
    for run in runs():
        run.folder(tmp_path).mkdir()
        (run.folder(tmp_path) / "summary.json").write_text("{}")
    assert list(by_name(resources.requirements([pythia()], tmp_path))) == ["runs"]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No judge is named, and none may be asked."""
    for name in judged.URL, judged.MODEL, judged.KEY_FROM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("httpx2.Client.send", lambda *_, **__: pytest.fail("the judge was asked"))
    return monkeypatch


@pytest.mark.usefixtures("hub")
def test_measures_need_a_judge_and_mmlu(tmp_path: Path, judge: pytest.MonkeyPatch) -> None:
    config = TrainConfig.preset("pythia-1b", method="alright")
    grid = Grid(config, methods=("alright",), lams=(0.3, 0.6), measures=("answers", "questions"))
    required = by_name(resources.requirements([grid], tmp_path))
    assert required["judge: answers"].amount.startswith("at most 1,280 requests a run, 2 runs")
    missing = required["judge: answers"].missing
    assert "the environment has no FORGET_NEITHER_JUDGE_URL and no FORGET_NEITHER_JUDGE_MODEL" in missing
    assert judged.KEY_FROM in missing
    assert "\n" not in missing
    assert required["questions: MMLU, 1-shot"].available.startswith("lm-eval 0.")
    assert "cais/mmlu is not in the cache" in required["data: cais/mmlu"].missing
    judge.setenv(judged.URL, "http://127.0.0.1:9/v1/")
    judge.setenv(judged.MODEL, "gpt-4")
    judge.setenv(judged.KEY_FROM, "THE_KEY")
    judge.delenv("THE_KEY", raising=False)
    assert (
        "the environment has no THE_KEY" in by_name(resources.requirements([grid], tmp_path))["judge: answers"].missing
    )
    judge.setenv("THE_KEY", "secret")
    named = by_name(resources.requirements([grid], tmp_path))["judge: answers"]
    assert (named.missing, named.available) == ("", "gpt-4 at http://127.0.0.1:9/v1, not tried")
    assert "secret" not in repr(named)


@pytest.mark.usefixtures("hub")
def test_only_measures_that_are_missing_need_something(tmp_path: Path, judge: pytest.MonkeyPatch) -> None:
    world = Grid(TrainConfig.preset("embedded"), methods=("mix",), measures=("answers", "questions"))
    assert list(by_name(resources.requirements([world], tmp_path))) == ["runs", "GPU", "disk"]
    grid = Grid(TrainConfig.preset("pythia-1b"), methods=("mix",), measures=("answers", "questions"))
    (run,) = grid.runs()
    (run.folder(tmp_path) / "measures").mkdir(parents=True)
    taken = json.dumps({"code": code_of("answers"), "seconds": 1.0, "result": {}})
    (run.folder(tmp_path) / "measures" / "answers.json").write_text(taken)
    real = importlib.util.find_spec
    judge.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "lm_eval" else real(name, *a))
    required = by_name(resources.requirements([grid], tmp_path))
    assert "judge: answers" not in required
    assert "lm-eval is not installed" in required["questions: MMLU, 1-shot"].missing
    plain = Grid(TrainConfig.preset("pythia-1b"), methods=("mix",))
    assert not {"judge: answers", "data: cais/mmlu"} & set(by_name(resources.requirements([plain], tmp_path)))


def test_the_hours_by_hand() -> None:
    """The pythia preset: 6000 steps on 24 SFT rows and 8 pairs, 240 of each evaluated every 100 steps."""
    options = {"reference": "base", "eval_every": 0}
    sft, dpo = 24 * operations.TOKENS_SFT, 8 * operations.TOKENS_PAIR
    fixed = 2 * (240 * (operations.TOKENS_SFT + operations.TOKENS_PAIR) + 8000 * operations.TOKENS_PAIR)

    def hours(units: float) -> float:
        return units * operations.WEIGHTS["EleutherAI/pythia-1b"] / (operations.PEAK * operations.UTILISATION) / 3600

    mix = hours(6000 * 4 * (sft + dpo) + fixed)
    assert resources.gpu_hours(runs(method="mix", **options)) == pytest.approx(mix)
    alright = hours(6000 * 4 * (0.3 * dpo + 0.7 * sft) + fixed)
    assert resources.gpu_hours(runs(lam=0.3, **options)) == pytest.approx(alright)
    looks = hours(6000 * 2 * (0.7 * dpo + 0.3 * sft) / 10)
    assert resources.gpu_hours(runs(method="maxright", lam=0.3, **options)) == pytest.approx(alright + looks)
    both = (*runs(lam=0.3, **options), *runs(method="mix", **options))  # the reference is computed once
    assert resources.gpu_hours(both) == pytest.approx(mix + alright - hours(2 * 8000 * operations.TOKENS_PAIR))
    trained = hours(6000 * 4 * dpo / 2)  # on the chosen responses
    paper = {**options, "reference": "paper"}
    assert resources.gpu_hours(runs(lam=0.3, **paper)) == pytest.approx(alright + trained)
    assert math.isnan(resources.gpu_hours(runs(model="somebody/unknown", **options)))


@pytest.mark.usefixtures("hub")
def test_a_small_real_model_needs_hours_of_a_cpu_and_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "sft": "skill", "batch_sft": 4, "batch_preference": 4, "max_length": 128, "steps": 100, "eval_every": 100,
        "eval_rows": 10, "preference_rows": 50, "method": "sequential", "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    grid = Grid(TrainConfig.preset("smollm2-135m", **options), methods=("sequential",))
    monkeypatch.setattr(resources, "gpus", lambda: 0)
    required = by_name(resources.requirements([grid], tmp_path / "runs"))
    assert (required["GPU"].amount, required["GPU"].missing) == ("none", "")
    trained = 4 * 100 * (4 * 256 + 4 * operations.TOKENS_SKILL) / 2
    looked = 2 * (10 * (256 + operations.TOKENS_SKILL) + 50 * operations.TOKENS_PAIR)
    hours = (trained + looked) * 134.5e6 / operations.cpu_rate() / 3600
    assert resources.cpu_hours(grid.runs()) == (pytest.approx(hours, rel=0.02), 0.0)
    assert required["CPU"].amount.startswith(f"about {hours:.2g} hours of one core")
    weights = required["weights: HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert weights.missing.endswith("fetch it from the package index with: make model")
    monkeypatch.setattr(resources, "gpus", lambda: 1)
    assert "CPU" not in by_name(resources.requirements([grid], tmp_path / "runs"))


@pytest.mark.usefixtures("hub")
def test_measures_are_among_the_hours_and_their_files_are_looked_for(tmp_path: Path, judge: pytest.MonkeyPatch) -> None:
    judge.setattr(resources, "gpus", lambda: 0)
    questions = with_options("questions", mmlu=str(tmp_path / "no.tar.gz"), limit=5)
    refusals = with_options("refusals", prompts=str(tmp_path / "xstest.csv"), limit=100)
    (tmp_path / "xstest.csv").write_text("prompt,label\n", encoding="utf-8")
    own: dict[str, Any] = {"sft": "skill", "max_length": 128, "steps": 100, "cache": str(tmp_path / "cache")}
    config = TrainConfig.preset("smollm2-135m", method="mix", **own)
    grid = Grid(config, methods=("mix",), seeds=(1, 2), measures=(questions, refusals))
    required = by_name(resources.requirements([grid], tmp_path))
    assert required["questions: MMLU, 1-shot"].amount.startswith("285 a run, 2 runs")
    assert required["data: cais/mmlu"].missing.endswith("no.tar.gz; name another by --mmlu")
    assert required["data: Paul/XSTest"].available == "on this disk"
    # two runs and, once, their base; 56 tokens and 16 of an answer, which count twice
    units = 2 * 3 * (285 * operations.TOKENS_QUESTION + 100 * (40 + operations.WRITTEN * 16))
    hours = units * 134.5e6 / (operations.EVALUATED * operations.cpu_rate()) / 3600
    training, measures = resources.cpu_hours(grid.runs())
    assert measures == pytest.approx(hours)
    assert required["CPU"].amount.startswith(f"about {training + hours:.2g} hours of one core: {training:.2g} training")
    for run in grid.runs():  # trained, and not measured
        run.folder(tmp_path).mkdir()
        (run.folder(tmp_path) / "summary.json").write_text("{}")
    assert resources.cpu_hours(grid.runs(), tmp_path) == (0.0, pytest.approx(hours))


def test_the_file_of_a_packaged_model_has_the_models_size() -> None:
    assert operations.weights("/anywhere/SmolLM2-135M-Instruct.Q4_1.gguf") == 134.5e6
    assert math.isnan(operations.weights("/anywhere/other.gguf"))
