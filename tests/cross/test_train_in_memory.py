"""`train` with rows, model and tokenizer in memory: the same run as from files, and nothing of the caller's changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import pipeline_runs as door
from support import tiny_models as tiny

from llm import TrainConfig, train


@pytest.fixture(autouse=True)
def _no_embedded_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given in memory stands in for `embedded`, the default name; making that world takes minutes."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the embedded world was asked for")

    monkeypatch.setattr("llm.embedded.prepare", refuse)


def _config(folder: Path, **options: Any) -> TrainConfig:
    return TrainConfig(
        out=str(folder / "run"), cache=str(folder / "cache"), steps=3, batch_sft=4, batch_preference=4, lora_rank=2,
        lr=1e-2, max_length=64, held_out=0.2, eval_every=0, device="cpu", **options,
    )  # fmt: skip


@pytest.mark.slow
def test_files_datasets_and_lists_are_the_same_run(tmp_path: Path) -> None:
    import datasets

    options = door.place(tmp_path)
    rows = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    written = dataclasses.replace(_config(tmp_path), model=options["model"])
    named = dataclasses.replace(written, sft=options["sft"], preference=options["preference"], out=str(tmp_path / "b"))
    found = [
        train(written, quiet=True, **rows),
        train(named, quiet=True),
        train(
            dataclasses.replace(_config(tmp_path), out=str(tmp_path / "c")),
            quiet=True,
            model=tiny.model(),
            tokenizer=tiny.tokenizer(),
            **{k: datasets.Dataset.from_list(v) for k, v in rows.items()},
        ),
    ]
    weights = {(r.folder / "adapter_model.safetensors").read_bytes() for r in found}
    assert len(weights) == 1
    told = [json.loads((r.folder / "run.json").read_text(encoding="utf-8")) for r in found]
    assert [t["in_memory"] for t in told] == [["sft", "preference"], [], ["model", "sft", "preference"]]
    assert len({json.dumps([t["fingerprint"]["rows"], t["fingerprint"]["base"]]) for t in told}) == 1

    cards = [(r.folder / "README.md").read_text(encoding="utf-8") for r in found]
    sources = [("rows in memory", "rows in memory"), (f"`{named.sft}`", f"`{named.preference}`")]
    for card, (sft, preference) in zip(cards, [*sources, sources[0]], strict=True):
        assert f"| SFT set | {sft}, 32 rows |" in card
        assert f"| preference set | {preference}, 19 pairs |" in card
        assert "embedded" not in card, "the options' defaults name other inputs"
    assert [f"base_model: {options['model']}" in card for card in cards] == [True, True, False]
    assert "# A model in memory, post-trained jointly" in cards[2]
    assert [r.summary["base_model"] for r in found] == [options["model"], options["model"], ""]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"lora_dropout": 0.3}, {"method": "sequential", "stack": True}])
def test_train_leaves_everything_else_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    model = tiny.model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    frozen = next(iter(model.parameters())).requires_grad_(False)
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    assert sorted(set(flags.values())) == [False, True]
    kinds = [type(m) for m in model.modules()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    capsys.readouterr()
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    result = train(_config(tmp_path, **options), model=model, tokenizer=tiny.tokenizer(), quiet=True, **sets)
    assert capsys.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert [type(m) for m in model.modules()] == kinds
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert not frozen.requires_grad
    assert not model.training
    assert {k: bool(torch.equal(v, before[k])) for k, v in model.state_dict().items()} == dict.fromkeys(before, True)
    assert (result.folder / "adapter_model.safetensors").is_file()


def test_wrong_input_leaves_a_model_in_memory_alone(tmp_path: Path) -> None:
    model = tiny.model()
    kinds = [type(m) for m in model.modules()]
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    with pytest.raises(ValueError, match=r"^lora_targets: zzz is no layer"):
        train(_config(tmp_path, lora_targets=("zzz",)), model=model, tokenizer=tiny.tokenizer(), quiet=True, **sets)
    assert [type(m) for m in model.modules()] == kinds
    assert all(p.requires_grad for p in model.parameters())
    assert not (tmp_path / "run").exists()


def test_a_model_needs_its_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^model and tokenizer: give both or neither$"):
        train(_config(tmp_path), model=tiny.model())
    assert not (tmp_path / "run").exists()


def _processor() -> Any:
    """Return an object with a tokenizer in it, as the processors of vision-language models are."""
    return SimpleNamespace(tokenizer=tiny.tokenizer(), chat_template="{{ messages }}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "gpt2"}, "^model: must be a language model such as AutoModelForCausalLM loads, got 'gpt2'$"),
        ({"model": torch.nn.Linear(2, 2)}, "^model: must be a language model .* got Linear$"),
        ({"model": tiny.model("llama").model}, "^model: must be a language model .* got LlamaModel$"),
        ({"tokenizer": "gpt2"}, "^tokenizer: must be one of transformers, .* got 'gpt2'$"),
        (
            {"tokenizer": tiny.tokenizer().backend_tokenizer},
            "^tokenizer: must be one of transformers, .* got Tokenizer$",
        ),
        ({"tokenizer": _processor()}, r"^tokenizer: is a processor \(SimpleNamespace\); give its tokenizer"),
    ],
)
def test_what_is_no_model_or_no_tokenizer_is_named(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    inputs = {"model": tiny.model(), "tokenizer": tiny.tokenizer()} | given
    with pytest.raises(TypeError, match=message):
        train(_config(tmp_path), **inputs, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_all_weights_of_a_model_in_memory(tmp_path: Path) -> None:
    model = tiny.model()
    before = model.get_input_embeddings().weight.clone()
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    options = {**_config(tmp_path).as_dict(), "lora_rank": 0}
    result = train(TrainConfig(**options), model=model, tokenizer=tiny.tokenizer(), quiet=True, **sets)
    assert torch.equal(model.get_input_embeddings().weight, before)  # it is a copy that was trained
    assert (result.folder / "model.safetensors").is_file()
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_16_bits_are_refused_for_all_weights_and_float16_for_a_lora(kind: torch.dtype, tmp_path: Path) -> None:
    """A named model is loaded in the precision of the options, which refuse bf16 for all weights."""
    given = {"model": tiny.model().to(kind), "tokenizer": tiny.tokenizer(), "sft": tiny.sft_rows()}
    given |= {"preference": tiny.preference_rows()}
    whole = dataclasses.replace(_config(tmp_path), lora_rank=0)
    with pytest.raises(ValueError, match=rf"^model: has weights in {kind}, which would round .*model\.float\(\)"):
        train(whole, quiet=True, **given)
    assert not whole.folder.exists()
    if kind == torch.bfloat16:
        assert train(_config(tmp_path), quiet=True, **given).summary["steps"] == 3
        return
    with pytest.raises(ValueError, match=r"^model: has weights in torch\.float16, .*bfloat16.*model\.float\(\)"):
        train(_config(tmp_path), quiet=True, **given)
    assert not _config(tmp_path).folder.exists()
    given["model"].float()  # the remedy
    assert train(_config(tmp_path), quiet=True, **given).summary["steps"] == 3
