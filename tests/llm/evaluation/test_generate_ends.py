"""Where generation ends, and settings of a base model that must not count: end of turn, penalties, sampling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import TrainConfig, train  # noqa: E402
from llm.data.tokenization import tokenize_prompts  # noqa: E402
from llm.evaluation.generate import GenerateConfig, answer, generate  # noqa: E402
from llm.evaluation.merge import MergeConfig, merge  # noqa: E402
from llm.training.run_folder import load_model  # noqa: E402

TURNS = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def tokenizer() -> Any:
    """A tokenizer whose EOS is not the end of its template's turns."""
    made = tiny.tokenizer()
    made.add_special_tokens({"extra_special_tokens": ["<end>"]})
    made.add_tokens(["user", "assistant"])
    made.chat_template = TURNS
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that knows nothing of the end of turns, with generation settings of its own."""
    folder = tmp_path_factory.mktemp("base")
    model = tiny.model("llama", vocabulary=80)
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.no_repeat_ngram_size = 2
    model.generation_config.do_sample = True
    model.generation_config.top_k = 3
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trains one short answer, until it is given."""
    folder = tmp_path_factory.mktemp("run")
    rows = [{"prompt": row["prompt"], "completion": "bax der"} for row in tiny.sft_rows(24)]
    config = TrainConfig(
        model=str(base), out=str(folder / "run"), cache=str(folder / "cache"), steps=60, batch_sft=8,
        batch_preference=2, lora_rank=8, lora_targets=("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"),
        lr=2e-2, lam=0.0, method="mix", held_out=0.0, eval_every=0, device="cpu", sft="rows", preference="rows",
    )  # fmt: skip
    return train(config, sft=rows, preference=tiny.preference_rows(6), quiet=True).folder


@pytest.mark.slow
def test_an_answer_ends_with_its_turn(run: Path) -> None:
    prompts = tuple(row["prompt"] for row in tiny.sft_rows(4, 5))
    answers = [a for _, a in generate(GenerateConfig(model=str(run), prompts=prompts, max_new_tokens=12))]
    assert answers == ["bax der"] * 4
    # Without the end of turn the model would go on to the last token.
    model, own = load_model(run)
    ids = torch.tensor([tokenize_prompts([prompts[0]], own)[0].tolist()])
    model.generation_config.eos_token_id = own.eos_token_id
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert made.shape[1] == ids.shape[1] + 12


@pytest.mark.slow
def test_other_engines_stop_too(run: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ends = [tokenizer().convert_tokens_to_ids(token) for token in ("<eos>", "<end>")]
    settings = json.loads((run / "generation_config.json").read_text())
    assert settings["eos_token_id"] == ends
    assert settings["repetition_penalty"] == 5.0  # the rest is the base's own
    merged = merge(MergeConfig(adapter=str(run), out=str(tmp_path / "merged")))
    assert json.loads((merged / "generation_config.json").read_text())["eos_token_id"] == ends
    model, own = AutoModelForCausalLM.from_pretrained(merged), AutoTokenizer.from_pretrained(merged)
    ids = torch.tensor([tokenize_prompts([tiny.sft_rows(1, 5)[0]["prompt"]], own)[0].tolist()])
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        repetition_penalty=1.0,
        pad_token_id=0,
    )
    assert own.decode(made[0, ids.shape[1] :]).split() == ["bax", "der", "<end>"]


@pytest.mark.slow
@pytest.mark.oracle
def test_greedy_is_greedy_whatever_the_base_says(base: Path) -> None:
    model, own = load_model(base)
    prompts = [row["prompt"] for row in tiny.sft_rows(3, 8)]
    before = model.generation_config.to_dict()
    answers = list(answer(model, own, prompts, max_new_tokens=8))
    assert model.generation_config.to_dict() == before
    for prompt, found in zip(prompts, answers, strict=True):
        ids = tokenize_prompts([prompt], own)[0].tolist()
        new: list[int] = []
        while len(new) < 8:  # the likeliest token, one after the other
            with torch.no_grad():
                new.append(int(model(torch.tensor([[*ids, *new]])).logits[0, -1].argmax()))
            if new[-1] in (own.eos_token_id, own.convert_tokens_to_ids("<end>")):
                new.pop()
                break
        assert found == own.decode(new, skip_special_tokens=True).strip()
