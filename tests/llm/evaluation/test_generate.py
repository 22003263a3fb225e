"""Answers of a model to prompts, and adapters merged into their base model."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from support import architectures
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import Result, TrainConfig, train  # noqa: E402
from llm.data.tokenization import tokenize_prompts  # noqa: E402
from llm.evaluation.generate import GenerateConfig, answer, generate  # noqa: E402
from llm.evaluation.merge import MergeConfig, merge  # noqa: E402
from llm.models import padding  # noqa: E402
from llm.training.run_folder import load_model  # noqa: E402


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of the run."""
    return door.evaluated(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """A finished run, with a trained reference and given optima."""
    return train(TrainConfig(**options), quiet=True)


PROMPTS = [row["prompt"] for row in tiny.sft_rows(11, 8)]


def _greedy(model: Any, tokenizer: Any, prompt: str) -> str:
    """transformers' own, on the text alone."""
    ids = tokenizer(f"Q: {prompt}\nA:", return_tensors="pt")["input_ids"]
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=1)
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)).strip()


@pytest.mark.slow
@pytest.mark.oracle
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_kept_adapter_answers_as_its_run(options: dict[str, Any], tmp_path: Path) -> None:
    mine = {**options, "out": str(tmp_path / "run"), "reference": "base", "steps": 2, "keep_every": 2, "eos": "lat"}
    run = train(TrainConfig(**mine), quiet=True).folder
    kept = run / "kept" / "step-000002"
    assert (kept / "adapter_model.safetensors").read_bytes() == (run / "adapter_model.safetensors").read_bytes()
    given: dict[str, Any] = {"prompts": tuple(PROMPTS), "max_new_tokens": 8}
    assert generate(GenerateConfig(model=str(kept), **given)) == generate(GenerateConfig(model=str(run), **given))


def test_an_id_without_an_embedding_names_the_prompt_and_the_remedy() -> None:
    model, tokenizer = tiny.model(vocabulary=59), tiny.tokenizer()
    largest = max(tokenizer.get_vocab().values())
    word, known = tokenizer.convert_ids_to_tokens([largest, 20])
    model.resize_token_embeddings(largest)  # one less than the tokenizer has
    told = f"^prompt 1: the tokenizer gives the id {largest}, and the model has embeddings for {largest} ids; resize"
    with pytest.raises(ValueError, match=told):
        list(answer(model, tokenizer, [known, word], template="none", max_new_tokens=2))
    assert len(list(answer(model, tokenizer, [known], template="none", max_new_tokens=2))) == 1


def test_a_bare_model_answers_too(options: dict[str, Any]) -> None:
    config = GenerateConfig(model=options["model"], prompts=("bax der",), max_new_tokens=3, precision="bf16")
    assert len(generate(config)) == 1


@pytest.mark.oracle
@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bart", "roformer", "llama"])
def test_answers_of_a_model_that_counts_positions_from_the_beginning_are_those_of_the_prompt_alone(name: str) -> None:
    """BART's and RoFormer's tokens have other positions after a padded prompt; llama counts from the mask."""
    model, tokenizer = architectures.build(name).eval(), tiny.tokenizer()
    prompts = [tiny.text(random.Random(i), n, n) for i, n in enumerate([1, 9, 25, 9])]
    ids = tokenize_prompts(prompts, tokenizer, template="none")
    assert padding.allows_padding(model, ids, 0) == (name == "llama")
    options: dict[str, Any] = {"template": "none", "max_new_tokens": 8}
    together = list(answer(model, tokenizer, prompts, batch=4, **options))
    assert together == [text for p in prompts for text in answer(model, tokenizer, [p], **options)]
    line = ids[0].tolist()
    with torch.no_grad():
        for _ in range(8):
            line.append(int(model(torch.tensor([line])).logits[0, -1].argmax()))
    assert tokenizer.eos_token_id not in line
    assert together[0] == tokenizer.decode(line[len(ids[0]) :], skip_special_tokens=True).strip()


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", ["blt", "xlstm", "moshi", "llama"])
def test_answers_of_a_model_without_a_right_cache_are_computed_without_one(name: str) -> None:
    """With transformers' cache BLT and xLSTM raise, and Moshi has other numbers after a prompt beyond its window."""
    model, tokenizer = architectures.build(name).eval(), tiny.tokenizer()
    prompts = [tiny.text(random.Random(i), n, n) for i, n in enumerate([20, 5])]
    found = list(answer(model, tokenizer, prompts, template="none", max_new_tokens=6))
    assert padding.allows_cache(model, tokenize_prompts(prompts, tokenizer, template="none")[0], 1) == (name == "llama")
    for prompt, text in zip(prompts, found, strict=True):
        line = tokenize_prompts([prompt], tokenizer, template="none")[0].tolist()
        size = len(line)
        with torch.no_grad():
            for _ in range(6):
                line.append(int(model(torch.tensor([line]), use_cache=False).logits[0, -1].argmax()))
        stop = next((i for i, token in enumerate(line[size:]) if token == tokenizer.eos_token_id), 6)
        assert text == tokenizer.decode(line[size : size + stop], skip_special_tokens=True).strip()


def test_a_model_that_cannot_generate_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny.model(), tiny.tokenizer()

    def generate(*_: Any, **__: Any) -> None:
        raise AttributeError("no such\nattribute")

    monkeypatch.setattr(type(model), "generate", generate)
    with pytest.raises(ValueError, match=r"^model: transformers cannot generate with a model of type gpt_neox \(Attr"):
        list(answer(model, tokenizer, ["bax der"], template="none", max_new_tokens=6))
