"""A finished run: its numbers again, its answers, its weights merged, and the optima of its objectives."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")

from llm import (  # noqa: E402
    Result,
    TrainConfig,
    train,
)
from llm.data.tokenization import tokenize_prompts  # noqa: E402
from llm.evaluation.generate import GenerateConfig, MergeConfig, answer, generate, merge  # noqa: E402  # noqa: E402
from llm.evaluation.held_out import EvaluateConfig, evaluate  # noqa: E402
from llm.training.optima import optima  # noqa: E402
from llm.training.run_folder import load_model  # noqa: E402

GIVEN = {"f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 2.0}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of the run."""
    folder = tmp_path_factory.mktemp("after")
    more = {"reference": "chosen", "reference_steps": 3, "eval_rows": 4, "steps": 12, "template": "Q: {prompt}\nA:"}
    return {**door.place(folder), **more, **GIVEN}


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """A finished run, with a trained reference and given optima."""
    return train(TrainConfig(**options), quiet=True)


@pytest.fixture
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No loop begins while the test runs."""
    from llm.training.trainer import Trainer

    begun: list[str] = []
    whole = Trainer.run

    def noted(self: Trainer) -> Any:
        begun.append(self.folder.parent.name)
        return whole(self)

    monkeypatch.setattr(Trainer, "run", noted)
    yield
    assert begun == []


def numbers(path: Path) -> dict[str, float]:
    return {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if isinstance(v, float)}


# evaluate


@pytest.mark.usefixtures("nothing_is_trained")
def test_the_same_numbers_again(run: Result, tmp_path: Path) -> None:
    out = tmp_path / "there" / "numbers.json"
    found = evaluate(EvaluateConfig(run=str(run.folder), out=str(out)), quiet=True)
    final = run.summary["evaluation"]
    assert found == pytest.approx(final, rel=1e-5, abs=1e-6)  # the order of float32 sums
    assert {"f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance", "rewards/margins"} <= set(found)
    assert found["gap_dpo"] == found["f_dpo"] - 0.1
    assert found["gap_sft"] == found["f_sft"] - 2.0
    assert found["ideal_distance"] == math.hypot(found["gap_dpo"], found["gap_sft"])
    assert numbers(out) == found


@pytest.mark.usefixtures("nothing_is_trained")
def test_the_bare_base_and_other_adapters(run: Result, options: dict[str, Any]) -> None:
    own = evaluate(EvaluateConfig(run=str(run.folder)), quiet=True)
    bare = evaluate(EvaluateConfig(run=str(run.folder), adapter="base"), quiet=True)
    first = json.loads((run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["step"] == 0
    for name in ("f_dpo", "f_sft", "rewards/chosen"):  # an adapter begins as nothing
        assert bare[name] == pytest.approx(first[name], rel=1e-5, abs=1e-6)
        assert bare[name] != pytest.approx(own[name], rel=1e-3)
    # the reference itself: no reward against itself, f_DPO = log 2
    reference = next((Path(options["cache"]) / "adapters").iterdir())
    itself = evaluate(EvaluateConfig(run=str(run.folder), adapter=str(reference)), quiet=True)
    assert itself["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-6)
    assert itself["rewards/margins"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.usefixtures("nothing_is_trained")
def test_other_sets_and_other_numbers_of_rows(run: Result, tmp_path: Path) -> None:
    folder = str(run.folder)
    own = evaluate(EvaluateConfig(run=folder), quiet=True)
    sft = door.write(tmp_path / "s.jsonl", tiny.sft_rows(6, 50))
    # training prompts among them: the run's own training rows, and so its reference, must stay what they were
    pairs = door.write(tmp_path / "p.jsonl", [*tiny.preference_rows(20), *tiny.preference_rows(6, 51)])
    other = evaluate(EvaluateConfig(run=folder, sft=sft), quiet=True)
    assert other["f_dpo"] == own["f_dpo"]
    assert other["f_sft"] != pytest.approx(own["f_sft"], rel=1e-3)
    other = evaluate(EvaluateConfig(run=folder, preference=pairs), quiet=True)
    assert other["f_sft"] == own["f_sft"]
    assert other["f_dpo"] != pytest.approx(own["f_dpo"], rel=1e-3)
    fewer = evaluate(EvaluateConfig(run=folder, rows=2), quiet=True)
    more = evaluate(EvaluateConfig(run=folder, rows=100), quiet=True)
    assert len({f["f_sft"] for f in (own, fewer, more)}) == 3


@pytest.mark.parametrize("changed", ["sft", "preference", "base"])
def test_changed_files_are_seen(options: dict[str, Any], tmp_path: Path, changed: str) -> None:
    mine = {**options, "cache": str(tmp_path / "cache"), "out": str(tmp_path / "run"), "reference": "base", "steps": 1}
    for name in ("sft", "preference"):
        mine[name] = shutil.copy(options[name], tmp_path)
    mine["model"] = shutil.copytree(options["model"], tmp_path / "base")
    mine = {k: str(v) if isinstance(v, Path) else v for k, v in mine.items()}
    train(TrainConfig(**mine), quiet=True)
    if changed == "base":
        tiny.model(seed=1).save_pretrained(mine["model"])
        shown = "base model has changed since"
    else:
        rows = tiny.sft_rows(n=41) if changed == "sft" else tiny.preference_rows(n=25)
        door.write(Path(mine[changed]), rows)
        shown = f"its {changed} set has changed since"
    with pytest.raises(ValueError, match=f"^run: its .*{shown.removeprefix('its ')}; put it back, or train again"):
        evaluate(EvaluateConfig(run=mine["out"]), quiet=True)


def test_what_was_in_memory_is_given_again(tmp_path: Path, options: dict[str, Any]) -> None:
    mine = {**options, "model": "embedded", "sft": "embedded", "preference": "embedded", "reference": "base"}
    memory = {"model": tiny.model(), "tokenizer": tiny.tokenizer()}
    memory |= {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    made = train(TrainConfig(**{**mine, "out": str(tmp_path / "run"), "steps": 2}), quiet=True, **memory)
    with pytest.raises(ValueError, match=r"^run: its model was given in memory .*evaluate\(.*, model=\.\.\.\)$"):
        evaluate(EvaluateConfig(run=str(made.folder)), quiet=True)
    found = evaluate(EvaluateConfig(run=str(made.folder)), quiet=True, **memory)
    assert found == pytest.approx(made.summary["evaluation"], rel=1e-5, abs=1e-6)
    assert all(p.requires_grad for p in memory["model"].parameters())
    assert not any("lora" in n for n, _ in memory["model"].named_parameters())


def test_a_run_without_held_out_rows(tmp_path: Path, options: dict[str, Any]) -> None:
    mine = {**options, "held_out": 0.0, "reference": "base", "steps": 1, "out": str(tmp_path / "run")}
    train(TrainConfig(**mine), quiet=True)
    with pytest.raises(ValueError, match=r"^run: it held no rows out; say --sft and --preference"):
        evaluate(EvaluateConfig(run=mine["out"]), quiet=True)
    both = {"sft": options["sft"], "preference": options["preference"]}
    assert set(evaluate(EvaluateConfig(run=mine["out"], **both), quiet=True)) >= {"f_dpo", "f_sft"}


# generate

PROMPTS = [row["prompt"] for row in tiny.sft_rows(11, 8)]


def _greedy(model: Any, tokenizer: Any, prompt: str) -> str:
    """transformers' own, on the text alone."""
    ids = tokenizer(f"Q: {prompt}\nA:", return_tensors="pt")["input_ids"]
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=1)
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def test_greedy_is_transformers_own_whatever_the_batch(run: Result) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model = AutoPeftModelForCausalLM.from_pretrained(run.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.folder)
    one_by_one = [_greedy(model, tokenizer, p) for p in PROMPTS]
    assert len(set(one_by_one)) > 3
    for size in (1, 4, 11):
        config = GenerateConfig(model=str(run.folder), prompts=tuple(PROMPTS), max_new_tokens=8, batch=size)
        assert generate(config) == list(zip(PROMPTS, one_by_one, strict=True))
    shuffled = PROMPTS[::-1]
    found = answer(model, tokenizer, shuffled, template="Q: {prompt}\nA:", max_new_tokens=8, batch=3)
    assert list(found) == one_by_one[::-1]


def test_samples_depend_on_the_seed_alone(run: Result) -> None:
    config = GenerateConfig(model=str(run.folder), prompts=tuple(PROMPTS), max_new_tokens=8, temperature=1.0, batch=4)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = generate(config)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert generate(config) == first
    assert generate(dataclasses.replace(config, seed=1)) != first
    assert generate(dataclasses.replace(config, temperature=0.0)) != first
    # next to nothing is left of the nucleus but the likeliest token
    assert generate(dataclasses.replace(config, top_p=1e-6)) == generate(dataclasses.replace(config, temperature=0.0))


def test_prompts_from_a_set_and_answers_to_a_file(run: Result, options: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "there" / "answers.jsonl"
    config = GenerateConfig(model=str(run.folder), file=options["sft"], limit=5, max_new_tokens=4, out=str(out))
    found = generate(config)
    assert [p for p, _ in found] == [row["prompt"] for row in tiny.sft_rows()[:5]]
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines == [{"prompt": p, "answer": a} for p, a in found]
    assert out.parent.joinpath("answers.jsonl").exists()
    assert [p.name for p in out.parent.iterdir()] == ["answers.jsonl"]


def test_a_runs_own_end_of_text_ends_answers(options: dict[str, Any], tmp_path: Path) -> None:
    tokenizer, base = tiny.tokenizer(), tmp_path / "base"
    tokenizer.eos_token = None
    model = tiny.model()
    model.generation_config.eos_token_id = None
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    mine = {**options, "model": str(base), "out": str(tmp_path / "run"), "reference": "base", "eos": "lat", "steps": 1}
    train(TrainConfig(**mine), quiet=True)
    free = [
        a for _, a in generate(GenerateConfig(model=mine["out"], prompts=tuple(PROMPTS), eos="<unk>", max_new_tokens=8))
    ]
    ended = [a for _, a in generate(GenerateConfig(model=mine["out"], prompts=tuple(PROMPTS), max_new_tokens=8))]
    assert any("lat" in a.split()[:8] for a in free)
    assert not any("lat" in a.split() for a in ended)


def test_a_bare_model_answers_too(options: dict[str, Any]) -> None:
    config = GenerateConfig(model=options["model"], prompts=("bax der",), max_new_tokens=3, precision="bf16")
    assert len(generate(config)) == 1


# merge


@pytest.mark.parametrize("stack", [False, True])
def test_merged_weights_give_the_same_logits(options: dict[str, Any], tmp_path: Path, stack: bool) -> None:
    from transformers import AutoModelForCausalLM

    mine = {**options, "reference": "base", "out": str(tmp_path / "run"), "steps": 4, "method": "sequential"}
    train(TrainConfig(**mine, stack=stack), quiet=True)
    made = merge(MergeConfig(adapter=mine["out"], out=str(tmp_path / "merged")))
    assert made == tmp_path / "merged"
    names = {p.name for p in made.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"adapter_config.json", "adapter_model.safetensors"}
    ids = torch.tensor([tokenize_prompts(["bax der gom"], tiny.tokenizer())[0].tolist()])
    adapted, _ = load_model(mine["out"])
    bare = AutoModelForCausalLM.from_pretrained(options["model"])
    merged = AutoModelForCausalLM.from_pretrained(made)
    with torch.no_grad():
        wanted, found, without = (m(ids).logits for m in (adapted, merged, bare))
    # float32 sums in another order, of logits of about 10
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    assert float((without - wanted).abs().max()) > 0.01
    assert [p.name for p in tmp_path.iterdir() if "unfinished" in p.name] == []


# optima


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folder names of what was really carried out."""
    from llm.training.run import Run

    names: list[str] = []
    whole = Run.carry_out

    def noted(self: Run, plan: Any, config: TrainConfig, folder: Path, what: str) -> None:
        names.append(what)
        whole(self, plan, config, folder, what)

    monkeypatch.setattr(Run, "carry_out", noted)
    return names


def test_optima_are_computed_once(options: dict[str, Any], tmp_path: Path, trained: list[str]) -> None:
    mine = {**options, "reference": "base", "f_star": "compute", "f_dpo_star": None, "f_sft_star": None}
    config = TrainConfig(**{**mine, "cache": str(tmp_path / "cache"), "out": str(tmp_path / "run"), "optima_steps": 5})
    first = optima(config, quiet=True)
    assert trained == ["optimum of f_DPO", "optimum of f_SFT"]
    assert not (tmp_path / "run").exists()
    assert set(first) == {"train", "held_out"}
    # the least values that the runs' own evaluations saw
    seen: dict[str, dict[str, list[float]]] = {"train": {}, "held_out": {}}
    for path in (tmp_path / "cache" / "optima").glob("*/metrics.jsonl"):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            for name in ("dpo", "sft") if "evaluation" in line else ():
                if f"f_{name}" in line:
                    seen[line["evaluation"]].setdefault(name, []).append(line[f"f_{name}"])
    assert first == {where: {n: min(v) for n, v in values.items()} for where, values in seen.items()}
    assert all(len(v) == 4 for values in seen.values() for v in values.values())  # steps 0, 2, 4, 5

    trained.clear()
    assert optima(config, quiet=True) == first
    for change in ({"lam": 0.1}, {"method": "maxright", "k": 2}, {"steps": 7}, {"out": "elsewhere"}):
        assert optima(dataclasses.replace(config, **change), quiet=True) == first  # type: ignore[arg-type]
    assert trained == []
    result = train(dataclasses.replace(config, steps=2), quiet=True)
    assert trained == ["alright"]
    assert result.summary["f_star"] == first["held_out"]

    trained.clear()
    other = optima(dataclasses.replace(config, sft=door.write(tmp_path / "s.jsonl", tiny.sft_rows(30, 5))), quiet=True)
    assert trained == ["optimum of f_SFT"]
    assert other["train"]["dpo"] == first["train"]["dpo"]
    trained.clear()
    optima(dataclasses.replace(config, beta=0.3), quiet=True)
    assert "optimum of f_DPO" in trained


def test_optima_give_a_model_in_memory_back(options: dict[str, Any], tmp_path: Path) -> None:
    model = tiny.model()
    config = TrainConfig(**{**options, "reference": "base", "cache": str(tmp_path / "cache"), "optima_steps": 1})
    optima(config, quiet=True, model=model, tokenizer=tiny.tokenizer())
    assert not any("lora" in n for n, _ in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())
