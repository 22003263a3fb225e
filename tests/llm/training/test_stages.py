"""Sequential's stages: one adapter trained twice, or two that are joined; and runs that cannot go on."""

from __future__ import annotations

import json
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
    own = {"steps": 10, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lora_alpha": 8, "lr": 1e-2}
    where = {"model": str(base), "out": str(folder), "cache": str(base.parent / "cache"), "device": "cpu"}
    kind = {"method": "sequential", "max_length": 64, "held_out": 0.2, "eval_every": 0, "sft": "x", "preference": "y"}
    return TrainConfig(**{**own, **where, **kind, **changes})


def run(c: TrainConfig) -> Path:
    """The run's folder."""
    return train(c, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True).folder


def summed(base: Path, *adapters: Path) -> Any:
    """The base's logits with W + α/r·B·A of every adapter added by hand."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    names = dict(model.named_parameters())
    for folder in adapters:
        about = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
        for key, a in tensors.items():
            if key.endswith(".lora_A.weight"):
                layer = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                b = tensors[key.replace("lora_A", "lora_B")]
                with torch.no_grad():
                    names[f"{layer}.weight"] += about["lora_alpha"] / about["r"] * b @ a
    return logits(model)


def logits(model: Any) -> Any:
    """Of some sequences."""
    ids = torch.arange(7, 55).reshape(4, 12)
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.fixture(scope="module")
def stacked(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two stacked stages."""
    return run(config(base, tmp_path_factory.mktemp("stacked") / "run", stack=True))


@pytest.mark.slow
def test_stacked_stages_are_both_in_the_result(base: Path, stacked: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    folder, stages = stacked, [stacked / "stage1", stacked / "stage2"]
    found = logits(AutoPeftModelForCausalLM.from_pretrained(folder))
    torch.testing.assert_close(found, summed(base, *stages), rtol=1e-5, atol=1e-5)
    for other in ([], stages[:1], stages[1:]):
        assert (found - summed(base, *other)).abs().max() > 1e-2
    ranks = [json.loads((f / "adapter_config.json").read_text(encoding="utf-8"))["r"] for f in (folder, *stages)]
    assert ranks == [8, 4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_stack_of_one_stage_is_that_stage(base: Path, tmp_path: Path, lam: float) -> None:
    from peft import AutoPeftModelForCausalLM

    one = run(config(base, tmp_path / "stacked", stack=True, lam=lam, steps=4, schedule="linear"))
    plain = run(config(base, tmp_path / "plain", lam=lam, steps=4, schedule="linear"))
    found, expected = (logits(AutoPeftModelForCausalLM.from_pretrained(f)) for f in (one, plain))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found - summed(base)).abs().max() > 1e-2


@pytest.mark.slow
def test_the_first_stacked_stage_is_a_run_on_its_own(base: Path, stacked: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    alone = run(config(base, tmp_path / "alone", lam=1.0, steps=5))
    ours, theirs = (load_file(f / "adapter_model.safetensors") for f in (stacked / "stage1", alone))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["dpo-sft", "sft-dpo"])
def test_one_adapter_goes_on_where_the_first_stage_left_it(base: Path, tmp_path: Path, order: str) -> None:
    """Sequential is one run on the first objective and a second run, from its adapter, on the other."""
    own: dict[str, Any] = {"schedule": "linear", "warmup": 1, "order": order}
    both = run(config(base, tmp_path / "both", **own))
    first = 1.0 if order == "dpo-sft" else 0.0
    one = run(config(base, tmp_path / "one", lam=first, steps=5, **own))
    two = run(config(base, tmp_path / "two", lam=1.0 - first, steps=5, adapter=str(one), **own))
    name = "adapter_model.safetensors"
    assert (both / name).read_bytes() == (two / name).read_bytes()
    assert (both / name).read_bytes() != (one / name).read_bytes()
    if order == "dpo-sft":
        kept = run(config(base, tmp_path / "kept", stage_reset=False, **own))
        assert (kept / name).read_bytes() != (both / name).read_bytes()


@pytest.mark.slow
def test_a_failed_run_names_step_and_reason(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llm.cli import main
    from llm.training.trainer import StoppedRunError

    c = config(base, tmp_path / "run", lr=1e18, save_every=1, clip=0.0, method="alright")
    with pytest.raises(StoppedRunError) as caught:
        run(c)
    kept = tmp_path / "run" / "checkpoints" / "step-00000001"
    assert str(caught.value).startswith("step 2: the gradient's norm is nan (f_")
    assert "learning rate 1e+18" in str(caught.value)
    assert str(caught.value).endswith(
        f"A smaller --lr, a --warmup or --precision fp32 may help; the last good state is {kept}"
    )
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]
    assert not (tmp_path / "run" / "summary.json").exists()
    for name, rows in (("sft", tiny.sft_rows()), ("preference", tiny.preference_rows())):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    values = {**c.as_dict(), "lr": 1e12, "out": str(tmp_path / "again")}  # YAML takes 1e18 without a dot for a text
    values |= {name: str(tmp_path / f"{name}.jsonl") for name in ("sft", "preference")}
    (tmp_path / "run.yaml").write_text(json.dumps(values), encoding="utf-8")
    assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: step ")


@pytest.mark.slow
def test_a_loss_that_explodes_stops_the_run_before_good_states_are_gone(base: Path, tmp_path: Path) -> None:
    from llm.training.trainer import StoppedRunError

    c = config(base, tmp_path / "run", lr=0.5, save_every=1, steps=40, lam=1.0, max_loss_ratio=1.0, beta=50.0)
    with pytest.raises(StoppedRunError, match="the loss explodes") as caught:
        run(c)
    lines = [json.loads(t) for t in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    values = [line["f_dpo"] for line in lines]
    kept = sorted(int(p.name[5:]) for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert f"the last good state is {tmp_path / 'run' / 'checkpoints' / f'step-{kept[-1]:08d}'}" in str(caught.value)
    assert all(values[step - 1] <= 10.0 for step in kept)
    assert all(value > 10.0 for value in values[-2:])
