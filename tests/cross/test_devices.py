"""What a run computes is on the device that `accelerate` names: on a pretended GPU, for want of a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support import architectures  # noqa: E402
from support import tiny_models as tiny  # noqa: E402
from support.pretended_gpu import GPU, pretended_gpu  # noqa: E402

from llm import TrainConfig, train  # noqa: E402
from llm.data.collate import Batch  # noqa: E402
from llm.evaluation.generate import answer  # noqa: E402
from llm.training.metrics import read_metrics  # noqa: E402

CASES: dict[str, dict[str, Any]] = {
    "alright": {"neftune_alpha": 5.0, "lora_dropout": 0.1},
    "maxright": {"method": "maxright", "k": 1},
    "maxright, f* computed, SFT reference": {
        "method": "maxright", "f_star": "compute", "reference": "sft", "reference_steps": 2,
    },
    "mix": {"method": "mix", "mix_one_graph": True, "gradient_checkpointing": True, "micro_tokens": 32},
    "sequential, stack": {"method": "sequential", "stack": True},
    "sequential, average": {"method": "sequential", "average": True},
    "replay": {"method": "replay", "replay": 0.5, "keep_best": "mix", "keep_every": 2},
    "kto": {"preference_loss": "kto"},
    "simpo": {"preference_loss": "simpo"},
    "orpo": {"preference_loss": "orpo"},
    "bf16": {"precision": "bf16"},
    "PiSSA": {"lora": ("init_lora_weights=pissa",)},
    "DoRA": {"lora": ("use_dora=true",)},
    "no LoRA": {"lora_rank": 0},
}  # fmt: skip
FAMILIES = ("mixtral", "gemma3_text", "mamba", "t5/seq2seq")


def run(folder: Path, model: Any, **changes: Any) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of a run of four steps."""
    options: dict[str, Any] = {
        "steps": 4, "eval_every": 2, "save_every": 2, "batch_sft": 2, "batch_preference": 2, "lora_rank": 2,
        "template": "none", "held_out": 0.2, "cache": str(folder / "cache"), "out": str(folder / "run"),
    }  # fmt: skip
    sets = {"sft": tiny.sft_rows(20), "preference": tiny.preference_rows(20)}
    config = TrainConfig(**(options | changes))
    return read_metrics(train(config, quiet=True, model=model, tokenizer=tiny.tokenizer(), **sets).folder)


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [value for line in lines for name, value in line.items() if name.startswith("f_")]


def test_a_pretended_gpu_refuses_what_a_real_one_refuses() -> None:
    with pretended_gpu():
        host, there = torch.ones(2, 3), torch.ones(2, 3).to("cuda")
        assert there.device == (there * 2).device == there.view(-1).device == torch.zeros_like(there).device == GPU
        assert there.cpu().device == host.device == torch.device("cpu")
        for refused in (lambda: host + there, lambda: torch.cat([there, host]), lambda: host[there[:, 0].long()]):
            with pytest.raises(RuntimeError, match="two devices"):
                refused()
        with pytest.raises(TypeError, match="copied to the CPU"):
            there.numpy()
        assert (there + torch.tensor(1.0))[torch.tensor([0])].device == GPU
        linear = torch.nn.Linear(3, 1).to(GPU)
        linear(host.to(linear.weight.device)).sum().backward()
        gradient = linear.weight.grad
        assert gradient is not None
        assert gradient.device == GPU


@pytest.mark.parametrize("case", CASES)
def test_all_that_a_run_computes_is_on_the_gpu(case: str, tmp_path: Path) -> None:
    """The CPU's kernels do the work, so that the losses are the CPU's, too."""
    expected = losses(run(tmp_path / "cpu", tiny.model(), **CASES[case], device="cpu"))
    with pretended_gpu() as marks:
        lines = run(tmp_path / "gpu", tiny.model(), **CASES[case])
    assert len(marks) > 100
    assert losses(lines) == pytest.approx(expected, rel=1e-2 if case == "bf16" else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_an_architecture_computes_is_on_the_gpu(family: str, tmp_path: Path) -> None:
    with pretended_gpu() as marks:
        model = architectures.build(family)
        lines = run(tmp_path, model, method="mix", lora_targets=architectures.TARGETS.get(family, ()))
        assert len(marks) > 100
    assert all(torch.isfinite(torch.tensor(losses(lines))))


def test_a_tensor_that_stays_on_the_cpu_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "to", lambda self, _: self)
    with pretended_gpu(), pytest.raises(RuntimeError, match="two devices"):
        run(tmp_path, tiny.model())


def test_a_run_resumes_on_the_gpu(tmp_path: Path) -> None:
    expected = losses(run(tmp_path / "whole", tiny.model(), device="cpu"))
    with pretended_gpu():
        run(tmp_path / "cut", tiny.model())
        folder = tmp_path / "cut" / "run"
        newest = max((folder / "checkpoints").iterdir())
        for path in (folder / "summary.json", *newest.iterdir()):
            path.unlink()
        newest.rmdir()
        lines = run(tmp_path / "cut", tiny.model())
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["steps"] == 4
    assert losses(lines) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "t5/seq2seq"])
def test_answers_are_generated_on_the_gpu(family: str) -> None:
    model = architectures.build(family).eval()
    prompts = ["bax der", "gor"]
    expected = list(answer(model, tiny.tokenizer(), prompts, template="none", max_new_tokens=4))
    with pretended_gpu():
        model = model.to(GPU)
        assert model.device == GPU
        assert list(answer(model, tiny.tokenizer(), prompts, template="none", max_new_tokens=4)) == expected
