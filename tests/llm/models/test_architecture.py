"""Encoder-decoder models: the same numbers as transformers' own loss, and every part of a run on one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM
from support import tiny_models as tiny
from tokenizers import processors
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from llm import TrainConfig, train
from llm.data.collate import Ids, collate
from llm.data.formats import load
from llm.data.splits import load_datasets
from llm.data.tokenization import tokenize, tokenize_prompts
from llm.evaluation.generate import answer
from llm.evaluation.held_out import EvaluateConfig, evaluate
from llm.evaluation.merge import MergeConfig, merge
from llm.models.loading import load_base, load_tokenizer
from llm.models.lora import add_adapter
from llm.models.policy import Policy
from llm.training.inputs import check_fits

START = 2
PROMPTS = [np.array(ids, dtype=np.int32) for ids in ([9, 14, 22, 1], [7, 8, 50, 3, 12, 33, 1], [40, 1])]
PAIRS = [
    tuple(np.array(ids, dtype=np.int32) for ids in pair)
    for pair in (([31, 1], [5, 6, 7, 8, 1]), ([17, 19, 23, 1], [11, 1]), ([44, 45, 1], [46, 47, 48, 49, 50, 1]))
]


def model(kind: str = "t5", *, dropout: float = 0.0) -> Any:
    """Random weights, large ones, so that answers differ. `scaled`: before the head, as in T5 1.0."""
    common = {"vocab_size": 60, "d_model": 16, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": START}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made: Any
        if kind == "bart":
            half = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
            other = {k.replace("encoder", "decoder"): v for k, v in half.items()}
            made = BartForConditionalGeneration(
                BartConfig(**common, **half, **other, max_position_embeddings=40, forced_eos_token_id=None)
            )
        else:
            sizes = {"d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": dropout}
            made = T5ForConditionalGeneration(T5Config(**common, **sizes, tie_word_embeddings=kind == "scaled"))
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1:
                asks = "EncDecAttention" in name or "encoder_attn" in name
                torch.nn.init.normal_(parameter, std=0.8 if asks else 0.3)
    return made.eval()


def tokenizer() -> Any:
    """Puts an end after a text, as T5's does."""
    made = tiny.tokenizer()
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return made


def saved(folder: Path, **options: Any) -> Path:
    model(**options).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def config(**changes: Any) -> TrainConfig:
    few = {"steps": 4, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2, "max_length": 64}
    place = {"model": "tiny", "sft": "rows", "preference": "rows", "device": "cpu", "held_out": 0.2, "save_every": 2}
    return TrainConfig(**{**few, **place, **changes})


def plainly(made: Any, prompt: Ids, response: Ids) -> torch.Tensor:
    """(): log π(response | prompt) by transformers' own loss on the row alone."""
    ids, labels = (torch.from_numpy(line.astype(np.int64))[None] for line in (prompt, response))
    found: torch.Tensor = -made(input_ids=ids, labels=labels).loss * labels.shape[1]
    return found


def adapted(kind: str = "t5") -> Any:
    """With an adapter whose both matrices are random, so that all gradients are there."""
    made = add_adapter(model(kind), config(lora_targets=("q_proj", "v_proj") if kind == "bart" else ("q", "v")), seed=0)
    torch.manual_seed(5)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def gradients(made: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None}
    made.zero_grad(set_to_none=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "scaled", "bart"])
@pytest.mark.parametrize("shared", [False, True])
def test_log_probabilities_and_gradients_are_those_of_transformers_own_loss(kind: str, shared: bool) -> None:
    made = adapted(kind)
    weights = torch.tensor([0.7, -1.3, 2.0, 0.4, -0.6, 1.1])
    plain = torch.stack([plainly(made, p, r) for p, pair in zip(PROMPTS, PAIRS, strict=True) for r in pair])
    (plain * weights).sum().backward()
    expected = gradients(made)
    assert any(".encoder." in name for name in expected)
    for direct in (False, True):
        policy = Policy(made)
        policy.skip_prompt_logits = direct
        found = policy(collate(PROMPTS, PAIRS, share_prompt=shared))
        torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-5)
        (found * weights).sum().backward()
        for name, gradient in gradients(made).items():
            torch.testing.assert_close(gradient, expected[name], atol=2e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_row_does_not_depend_on_its_neighbours_but_on_its_whole_prompt() -> None:
    policy = Policy(adapted())
    with torch.no_grad():
        together = policy(collate(PROMPTS, PAIRS)).view(-1, 2)
        alone = torch.stack([policy(collate([p], [r])) for p, r in zip(PROMPTS, PAIRS, strict=True)])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)
        for place in range(len(PROMPTS[1])):
            other = PROMPTS[1].copy()
            other[place] = 55
            assert (policy(collate([other], [PAIRS[1]])) - alone[1]).abs().min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "scaled", "bart"])
def test_the_short_ways_are_taken(kind: str) -> None:
    policy = Policy(model(kind))
    assert policy.select_forward_path(policy, PROMPTS, PAIRS, share_prompt="auto") == []
    assert (policy.skip_prompt_logits, policy.share_prompt) == (True, True)


@pytest.mark.slow
def test_a_head_that_adds_something_is_left_to_the_model() -> None:
    made = model("bart")
    made.final_logits_bias += torch.linspace(-2.0, 2.0, 60)
    policy = Policy(made)
    (note,) = policy.select_forward_path(policy, PROMPTS, PAIRS, share_prompt="auto")
    assert note.startswith("all logits are computed")
    assert (policy.skip_prompt_logits, policy.share_prompt) == (False, True)


def test_a_model_that_does_not_say_where_its_decoder_begins() -> None:
    made = model()
    made.config.decoder_start_token_id = made.generation_config.decoder_start_token_id = None
    with pytest.raises(ValueError, match=r"^model: .* no decoder_start_token_id"):
        Policy(made)


def test_a_prompt_keeps_what_the_tokenizer_puts_after_it_also_when_cut() -> None:
    rows = load([{"prompt": "bax der gom kus lal mer", "completion": "fis got"}], kind="sft")
    ours = tokenize(rows, tokenizer(), template="none", encoder=True)
    assert ours.prompts[0].tolist() == tokenizer()("bax der gom kus lal mer")["input_ids"]
    assert ours.responses[0][0].tolist() == tokenizer()("fis got")["input_ids"]
    assert tokenize(rows, tokenizer(), template="none").prompts[0].tolist() == ours.prompts[0].tolist()[:-1]
    assert tokenize_prompts(["bax der"], tokenizer(), template="none", encoder=True)[0].tolist()[-1] == 1
    short = tokenize(rows, tokenizer(), template="none", encoder=True, max_length=6)
    assert short.prompts[0].tolist() == ours.prompts[0].tolist()[-3:]
    least = tokenize(rows, tokenizer(), template="none", encoder=True, max_length=3)
    assert (least.prompts[0].tolist(), len(least.responses[0][0])) == (ours.prompts[0].tolist()[-2:], 1)


@pytest.mark.slow
def test_what_does_not_fit_an_encoder_decoder_model() -> None:
    rows = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    made = model("bart")
    made.config.max_position_embeddings = 14  # prompt and response each have room, together they have not
    check_fits(load_datasets(config(), tokenizer(), rows, encoder=True), made, config())
    made.config.max_position_embeddings = 13
    with pytest.raises(ValueError, match="a row has 14 tokens, and the model takes 13"):
        check_fits(load_datasets(config(), tokenizer(), rows, encoder=True), made, config())
    with pytest.raises(ValueError, match="reference_prompts: not with an encoder-decoder"):
        check_fits(load_datasets(config(), tokenizer(), rows, encoder=True), made, config(reference_prompts=True))


METHODS: list[dict[str, Any]] = [
    {"method": "sequential", "reference": "paper"},
    {"method": "sequential", "stack": True},
    {"method": "mix", "gradient_checkpointing": True},
    {"method": "alright", "share_prompt": "no"},
    {"method": "maxright", "k": 2, "f_star": "compute", "optima_steps": 2},
    {"method": "mix", "lora_rank": 0, "lr": 1e-3},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base"))


def ran(base: Path, folder: Path, **changes: Any) -> Any:
    asked = config(model=str(base), out=str(folder / "run"), cache=str(base.with_name("cache")), **changes)
    return asked, train(asked, sft=tiny.sft_rows(20), preference=tiny.preference_rows(16), quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("changes", METHODS, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_every_method_leaves_a_model_that_loads_by_its_auto_class(
    base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    asked, result = ran(base, tmp_path, **changes)
    auto: Any = AutoPeftModelForSeq2SeqLM if asked.lora_rank else AutoModelForSeq2SeqLM
    loaded = auto.from_pretrained(result.folder).eval()
    sets = load_datasets(
        asked, tokenizer(), {"sft": tiny.sft_rows(20), "preference": tiny.preference_rows(16)}, encoder=True
    )
    held_out, total, count = sets.held_out["sft"], 0.0, 0
    with torch.no_grad():
        for prompt, (response,) in zip(held_out.prompts, held_out.responses, strict=True):
            total -= float(plainly(loaded, prompt, response))
            count += len(response)
    assert result.summary["evaluation"]["f_sft"] == pytest.approx(total / count, rel=1e-4)
    untrained = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    with torch.no_grad():
        assert abs(float(plainly(loaded, PROMPTS[0], PAIRS[0][1]) - plainly(untrained, PROMPTS[0], PAIRS[0][1]))) > 1e-3


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_is_evaluated_and_merged(tmp_path: Path) -> None:
    rows = {"sft": tiny.sft_rows(20), "preference": tiny.preference_rows(16)}
    base = saved(tmp_path / "base", dropout=0.1)  # T5 has dropout of its own, which must be the same again
    asked, result = ran(base, tmp_path / "one", method="maxright", k=2)
    weights = (result.folder / "adapter_model.safetensors").read_bytes()
    # Where a kill left it after the first checkpoint.
    shutil.copytree(result.folder, tmp_path / "two")
    for name in ("summary.json", "adapter_model.safetensors", "adapter_config.json"):
        (tmp_path / "two" / name).unlink()
    newest = max((tmp_path / "two" / "checkpoints").iterdir(), key=lambda p: p.name)
    assert len(list((tmp_path / "two" / "checkpoints").iterdir())) == 2
    shutil.rmtree(newest)
    again = train(dataclasses.replace(asked, out=str(tmp_path / "two")), **rows, quiet=True)
    assert (again.folder / "adapter_model.safetensors").read_bytes() == weights

    found = evaluate(EvaluateConfig(run=str(result.folder)), quiet=True, **rows)
    assert found["f_dpo"] == pytest.approx(result.summary["evaluation"]["f_dpo"], rel=1e-5)
    folder = merge(MergeConfig(adapter=str(result.folder), out=str(tmp_path / "merged")))
    merged = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    peft = AutoPeftModelForSeq2SeqLM.from_pretrained(result.folder).eval()
    with torch.no_grad():
        for prompt, pair in zip(PROMPTS, PAIRS, strict=True):
            torch.testing.assert_close(
                plainly(merged, prompt, pair[0]), plainly(peft, prompt, pair[0]), atol=1e-4, rtol=1e-5
            )
    assert json.loads((result.folder / "adapter_config.json").read_text())["task_type"] == "SEQ_2_SEQ_LM"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_answers_are_the_most_likely_tokens_after_the_prompts_of_training(kind: str) -> None:
    made, texts = model(kind), ["bax der gom", "kus", "lal mer net fis got"]
    answers = list(answer(made, tokenizer(), texts, max_new_tokens=6, batch=3))
    for text, ids, found in zip(texts, tokenize_prompts(texts, tokenizer(), encoder=True), answers, strict=True):
        row = load([{"prompt": text, "completion": "bax"}], kind="sft")
        assert tokenize(row, tokenizer(), encoder=True).prompts[0].tolist() == ids.tolist()
        line = [START]
        with torch.no_grad():
            for _ in range(6):
                logits = made(
                    input_ids=torch.from_numpy(ids.astype(np.int64))[None], decoder_input_ids=torch.tensor([line])
                ).logits
                line.append(int(logits[0, -1].argmax()))
                if line[-1] == 1:
                    break
        assert found == tokenizer().decode(line[1:], skip_special_tokens=True).strip()
    assert len(set(answers)) > 1
    if kind == "bart":
        with pytest.raises(ValueError, match="more than the model's 40"):
            list(answer(made, tokenizer(), texts, max_new_tokens=40))


def test_loading_by_the_configuration(base: Path) -> None:
    assert isinstance(load_base(str(base), config()), T5ForConditionalGeneration)
    assert load_tokenizer(str(base), config())("bax")["input_ids"][-1] == 1
