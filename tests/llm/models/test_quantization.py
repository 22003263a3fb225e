"""A base in 4 bits: a plain forward pass of transformers' own quantised model is the oracle."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.wrong import fails

pytest.importorskip("torch")
import torch

from llm import TrainConfig, train
from llm.common.files import read_json
from llm.data.collate import collate
from llm.data.formats import load
from llm.data.tokenization import tokenize
from llm.models.fingerprints import base_fingerprint
from llm.models.loading import load_base
from llm.models.merging import save_merged
from llm.models.policy import Policy
from llm.models.quantization import (
    check_available,
    check_quantization,
    dequantized,
    is_quantized,
    use_exact_layout,
    without_scales,
)
from llm.training.metrics import read_metrics
from llm.training.run_folder import load_model

needs_library = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra `quant`")
CLOCK = {"seconds", "cpu_seconds", "memory_mb"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of width 64, so that a layer has several blocks of 64 weights."""
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny.model("llama", hidden=64).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def options(folder: Path, base: Path, **changes: Any) -> TrainConfig:
    asked = {**door.place(folder), "model": str(base), "quantization": "nf4", "method": "mix", "save_every": 2}
    return TrainConfig(**{**asked, **changes})


def plainly_quantized(base: Path, *, double: bool = True) -> Any:
    """The same base as transformers loads it in NF4, on the CPU."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    return AutoModelForCausalLM.from_pretrained(
        base, quantization_config=four, dtype=torch.float32, device_map={"": "cpu"}
    )


def row_logps(model: Any, tokens: Any) -> torch.Tensor:
    """Log-probabilities (2n,) of all responses, each row alone, by the model's own logits."""
    values = []
    for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True):
        for response in responses:
            ids = torch.from_numpy(np.concatenate([prompt, response])).long()[None]
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            values.append(logits.gather(1, ids[0, len(prompt) :, None]).sum())
    return torch.stack(values)


def pairs(n: int = 6) -> Any:
    return tokenize(load(tiny.preference_rows(n), kind="preference"), tiny.tokenizer(), max_length=64)


@needs_library
@pytest.mark.slow
@pytest.mark.oracle
def test_log_probabilities_are_those_of_a_plain_forward_pass(base: Path) -> None:
    """In evaluation and in training, before and after; the oracle is in training mode, where nothing is repacked."""
    tokens, config = pairs(), TrainConfig(quantization="nf4", device="cpu")
    model = load_base(str(base), config)
    with torch.no_grad():
        wanted = row_logps(plainly_quantized(base).train(), tokens)
        plain = row_logps(load_base(str(base), TrainConfig(device="cpu")), tokens)
        before = base_fingerprint(model)
        for training in (False, True, False):
            found = Policy(model.train(training))(collate(tokens.prompts, tokens.responses))
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)  # float32, batched in another order
    assert base_fingerprint(model) == before
    assert is_quantized(model)
    assert float((wanted - plain).abs().max()) > 0.1  # so the base has other numbers than before


@needs_library
@pytest.mark.slow
def test_fingerprints_tell_quantisations_and_scales_apart(base: Path) -> None:
    kinds = [{}, {"quantization": "nf4"}, {"quantization": "nf4", "double_quantization": False}]
    models = [load_base(str(base), TrainConfig(device="cpu", **kind)) for kind in kinds]
    known = [base_fingerprint(model) for model in models]
    assert len(set(known)) == 3
    layer = models[2].model.layers[0].self_attn.q_proj
    layer.weight.quant_state.absmax[0] *= 1.001  # neither a parameter nor a buffer
    assert base_fingerprint(models[2]) != known[2]


@needs_library
@pytest.mark.slow
@pytest.mark.oracle
def test_a_run_trains_resumes_and_is_loaded_as_it_was_trained(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 0 is ln 2; a stopped run ends as a whole one, to the byte; PEFT on transformers' own NF4 base agrees."""
    whole = train(options(tmp_path, base, out=str(tmp_path / "whole")), quiet=True).folder
    first = next(line for line in read_metrics(whole) if "evaluation" in line)
    assert first["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-6)
    steps = [line for line in read_metrics(whole) if "objective" in line]
    assert steps[0]["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-6)
    assert steps[-1]["f_dpo"] < steps[0]["f_dpo"]

    asked = options(tmp_path, base, out=str(tmp_path / "stopped"))
    with monkeypatch.context() as patched:
        from llm.training.trainer import Trainer

        ordinary = Trainer._step

        def killed(self: Any) -> None:
            if self.control.t == 3:
                raise KeyboardInterrupt
            ordinary(self)

        patched.setattr(Trainer, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(asked, quiet=True)
    stopped = train(asked, quiet=True).folder
    files = [folder / "adapter_model.safetensors" for folder in (whole, stopped)]
    assert files[0].read_bytes() == files[1].read_bytes()
    lines = [[{k: v for k, v in x.items() if k not in CLOCK} for x in read_metrics(f)] for f in (whole, stopped)]
    assert lines[0] == lines[1]
    from safetensors.torch import load_file

    assert all("lora_" in name for name in load_file(files[0]))

    from peft import PeftModel

    tokens = pairs()
    theirs = PeftModel.from_pretrained(plainly_quantized(base), str(whole)).train()
    model, _ = load_model(whole)
    with torch.no_grad():
        wanted = row_logps(theirs, tokens)
        torch.testing.assert_close(row_logps(model, tokens), wanted, rtol=1e-5, atol=1e-4)
    assert "the base in NF4" in (whole / "README.md").read_text(encoding="utf-8")


@needs_library
@pytest.mark.slow
@pytest.mark.oracle
def test_merging_gives_the_policy_that_was_trained(base: Path, tmp_path: Path) -> None:
    """The weights of 4 bits become the numbers that they stand for, and the adapter is added to these."""
    from transformers import AutoModelForCausalLM

    from llm.evaluation.merge import MergeConfig, merge

    run = train(options(tmp_path, base, lr=0.05), quiet=True).folder
    merged = merge(MergeConfig(adapter=str(run), out=str(tmp_path / "merged")))
    assert "quantization_config" not in json.loads((merged / "config.json").read_text(encoding="utf-8"))
    whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    tokens = pairs()
    policy, _ = load_model(run)
    with torch.no_grad():
        wanted = row_logps(policy, tokens)
        torch.testing.assert_close(row_logps(whole, tokens), wanted, rtol=1e-4, atol=1e-3)  # sums in another order
        bare = row_logps(load_base(str(base), TrainConfig(quantization="nf4", device="cpu")), tokens)
    assert float((wanted - bare).abs().max()) > 0.1


@needs_library
@pytest.mark.slow
def test_nothing_is_merged_into_weights_of_4_bits(base: Path, tmp_path: Path) -> None:
    """It would be rounded; bitsandbytes and PEFT warn of it."""
    model, _ = load_model(train(options(tmp_path, base), quiet=True).folder)
    fails(
        lambda: save_merged(model, tmp_path / "merged"), ValueError, "adapter: its base has weights of 4 bits", "merge"
    )


@needs_library
@pytest.mark.slow
def test_weights_become_the_numbers_that_they_stand_for(base: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit

    model = load_base(str(base), TrainConfig(quantization="nf4", device="cpu"))
    layer = model.model.layers[1].mlp.up_proj
    wanted = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    plain = dequantized(model)
    assert not is_quantized(plain)
    assert torch.equal(plain.model.layers[1].mlp.up_proj.weight, wanted)
    assert dequantized(plain) is plain


@needs_library
@pytest.mark.slow
def test_a_kept_adapter_is_loaded_on_the_same_base(base: Path, tmp_path: Path) -> None:
    run = train(options(tmp_path, base, keep_every=2), quiet=True).folder
    assert is_quantized(load_model(run / "kept" / "step-000002")[0])
    assert not is_quantized(load_model(base)[0])


def test_layers_keep_their_layout() -> None:
    layer = SimpleNamespace(support_avx512bf16_for_cpu=True)
    use_exact_layout(SimpleNamespace(modules=lambda: [layer, SimpleNamespace()]))
    assert layer.support_avx512bf16_for_cpu is False


def test_scales_are_no_part_of_a_state_dict() -> None:
    kept = {"a.lora_A.default.weight": 1, "b.weight": 2, "embed.weight": 3}
    scales = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4")
    assert without_scales(kept | {f"a.weight.{name}": 0 for name in scales}) == kept


@pytest.mark.parametrize(
    ("given", "sharded", "shows"), [(True, False, "the model in memory"), (False, True, "not with FSDP")]
)
def test_bases_that_cannot_be_quantised_are_refused(given: bool, sharded: bool, shows: str) -> None:
    config = TrainConfig(quantization="nf4")
    fails(lambda: check_quantization(config, given=given, sharded=sharded), ValueError, "quantization: ", shows)
    check_quantization(TrainConfig(), given=given, sharded=sharded)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ordinary = importlib.util.find_spec
    absent = lambda name, *a: None if name == "bitsandbytes" else ordinary(name, *a)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    config = TrainConfig(**{**door.place(tmp_path), "quantization": "nf4"})
    fails(lambda: train(config, quiet=True), ValueError, "quantization: nf4 needs bitsandbytes", "'.[quant]'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("version", "good"), [("0.45.5", False), ("0.46.1", True), ("0.50.2", True), ("1.0", True)])
def test_versions_before_the_first_for_cpus_are_refused(
    version: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    if good:
        check_available()
    else:
        fails(check_available, ValueError, f"quantization: bitsandbytes {version} is older than 0.46.1", "'.[quant]'")


@pytest.mark.parametrize(
    ("changes", "shows"),
    [
        ({"lora_rank": 0}, "--lora-rank"),
        ({"lora": ("init_lora_weights=pissa",)}, "PiSSA"),
        ({"quantization": "nf8"}, "nf8"),
    ],
)
def test_options_that_do_not_go_together(changes: dict[str, Any], shows: str) -> None:
    fails(lambda: TrainConfig(**{"quantization": "nf4", **changes}), ValueError, "quantization: ", shows)


@needs_library
@pytest.mark.slow
def test_caches_know_the_quantisation(base: Path, tmp_path: Path) -> None:
    """The reference's log-probabilities of one base are not those of the other."""
    values = []
    for name, kind in (("four", "nf4"), ("plain", "none")):
        asked = options(tmp_path, base, out=str(tmp_path / name), quantization=kind, eval_every=4)
        folder = train(asked, quiet=True).folder
        values.append(next(x for x in read_metrics(folder) if "evaluation" in x))
        assert values[-1]["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-6)
    assert abs(values[0]["logps/chosen"] - values[1]["logps/chosen"]) > 1e-3
    asked = options(tmp_path, base, out=str(tmp_path / "four"), quantization="none", eval_every=4)
    fails(lambda: train(asked, quiet=True), ValueError, "out: ", "quantization was 'nf4' and is 'none'")
    assert read_json(tmp_path / "four" / "run.json")["config"]["double_quantization"] is True
