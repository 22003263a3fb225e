"""DPO's reference: computed once, found again only for the same rows and weights, equal to a plain forward pass."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from llm import TrainConfig, train

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny saved model."""
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    """Of a tiny run in a folder."""
    own = {"steps": 2, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2, "max_length": 64}
    where = {"model": str(base), "out": str(folder / "run"), "cache": str(folder / "cache"), "device": "cpu"}
    return TrainConfig(**{**own, **where, "held_out": 0.2, "eval_every": 0, "sft": "x", "preference": "y", **changes})


def prepared(c: TrainConfig, **given: Any) -> Any:
    """The inputs of a run before it trains, and its objectives."""
    from llm.training.inputs import GivenInputs, open_inputs
    from llm.training.objectives import load_objectives

    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows(), **given}
    with open_inputs(c, GivenInputs(**sets), quiet=True) as inputs:
        objectives = load_objectives(inputs)
        return inputs, objectives.train, objectives.held_out


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all log-probabilities that are computed."""
    from llm.training import reference

    keys: list[str] = []
    ordinary = reference._compute

    def noted(inputs: Any, engine: Any, objective: Any, cache: Any, key: str) -> Any:
        keys.append(key)
        return ordinary(inputs, engine, objective, cache, key)

    monkeypatch.setattr(reference, "_compute", noted)
    return keys


def direct(model: Any, tokens: Any) -> Any:
    """(n, 2) float64: plain forward passes of transformers, a sequence at a time, nothing shared or padded."""
    rows = []
    for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True):
        row = []
        for response in responses:
            ids = torch.tensor([[*prompt, *response]])
            with torch.no_grad():
                logps = model(input_ids=ids).logits[0].double().log_softmax(-1)
            row.append(sum(logps[len(prompt) + j - 1, int(t)] for j, t in enumerate(response)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_the_second_run_computes_nothing(base: Path, tmp_path: Path, computed: list[str]) -> None:
    _, tasks, evals = prepared(config(base, tmp_path))
    assert len(set(computed)) == 2  # training and held-out pairs
    _, again, evals_again = prepared(config(base, tmp_path, lr=1.0, beta=0.7, seed=42, method="mix", lora_rank=2))
    assert len(computed) == 2
    assert torch.equal(tasks[0].reference, again[0].reference)
    assert torch.equal(evals[0].reference, evals_again[0].reference)


def test_whatever_it_depends_on_gives_it_another_name(base: Path, tmp_path: Path, computed: list[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    tiny.model(seed=3).save_pretrained(other)
    rows = tiny.preference_rows()
    swapped = [{**rows[0], "chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}, *rows[1:]]
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"template": "Q {prompt} A "}, {}),
        ({"precision": "bf16"}, {}),
        ({"model": str(other)}, {}),
        ({"max_length": 8}, {}),
        ({"reference": "sft"}, {}),
        ({"reference": "chosen"}, {}),
        ({"reference": "chosen", "reference_prompts": True}, {}),
        ({}, {"preference": swapped}),
    ]
    for j, (options, given) in enumerate(variants):
        prepared(config(base, tmp_path, **options), **given)
        assert len(computed) == len(set(computed)), f"variant {j} took another one's"
        # At least its training pairs are others; a swapped pair need not be among the held-out ones.
        assert len(computed) >= 2 * (j + 1) - (j == len(variants) - 1)


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "no tensor"])
def test_a_damaged_file_is_computed_again(base: Path, tmp_path: Path, computed: list[str], damage: str) -> None:
    from safetensors.torch import save_file

    _, tasks, _ = prepared(config(base, tmp_path))
    paths = sorted((tmp_path / "cache" / "reference").glob("*/logps.safetensors"))
    assert len(paths) == 2
    data = {p: p.read_bytes() for p in paths}
    for path in paths:
        if damage == "truncated":
            path.write_bytes(data[path][:-4])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "one bit":
            path.write_bytes(data[path][:-3] + bytes([data[path][-3] ^ 1]) + data[path][-2:])
        else:
            save_file({"other": torch.zeros(1)}, path)
    _, again, _ = prepared(config(base, tmp_path))
    assert len(computed) == 4
    assert torch.equal(tasks[0].reference, again[0].reference)
    assert {p: p.read_bytes() for p in paths} == data


@pytest.mark.parametrize("kind", ["base", "chosen", "sft", "paper", "folder"])
def test_it_is_what_a_plain_forward_pass_gives(base: Path, tmp_path: Path, kind: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    order = {"order": "sft-dpo"} if kind == "paper" else {}
    if kind == "folder":
        first = config(base, tmp_path / "first", steps=3)
        name = str(train(first, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True).folder)
    else:
        name = kind
    inputs, tasks, evals = prepared(config(base, tmp_path, reference=name, **order))
    model = AutoModelForCausalLM.from_pretrained(base)
    folders = list((tmp_path / "cache" / "adapters").glob("*")) + ([Path(name)] if kind == "folder" else [])
    assert len(folders) == (kind != "base")
    for folder in folders:
        model = PeftModel.from_pretrained(model, folder)
    sets = {0: (tasks[0], inputs.datasets.preference), 1: (evals[0], inputs.datasets.preference_held_out)}
    for task, tokens in sets.values():
        expected = direct(model.eval(), tokens)
        # Sums of some dozen float32 log-probabilities of size 5: 1e-6 each.
        torch.testing.assert_close(task.reference.double(), expected, rtol=1e-6, atol=5e-5)
    if kind != "base":
        with model.disable_adapter():
            assert (direct(model, inputs.datasets.preference) - tasks[0].reference).abs().max() > 1e-2
    if kind == "paper":  # SFT comes first, so it is the SFT set's; chosen's would be another
        _, other, _ = prepared(config(base, tmp_path, reference="sft", **order))
        assert torch.equal(other[0].reference, tasks[0].reference)


def test_a_policy_that_starts_at_its_reference_has_no_reward(base: Path, tmp_path: Path) -> None:
    import json

    c = config(base, tmp_path, eval_every=1, method="mix")
    folder = train(c, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True).folder
    first = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["step"] == 0
    assert first["f_dpo"] == pytest.approx(0.6931471805599453, abs=1e-6)
    assert first["rewards/margins"] == pytest.approx(0.0, abs=1e-5)


def test_a_model_that_gives_no_numbers_is_named(base: Path, tmp_path: Path) -> None:
    broken = tiny.model()
    with torch.no_grad():
        broken.get_output_embeddings().weight[:] = float("nan")
    with pytest.raises(
        ValueError, match=r"^reference: its log-probability of row 0 is not finite; is the model damaged"
    ):
        prepared(config(base, tmp_path, model=_saved(broken, tmp_path / "broken")))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def _saved(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)
