"""The launcher's DeepSpeed configuration: the options decide what changes numbers, and the rest is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm.config import TrainConfig
from llm.training import deepspeed_config
from llm.training.deepspeed_config import make_plugin


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that sets what `accelerate launch` sets for a configuration file; DeepSpeed itself is not needed."""

    def use(values: Any) -> None:
        path = tmp_path / "deepspeed.json"
        path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
        monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(path))
        monkeypatch.setenv("ACCELERATE_GRADIENT_CLIPPING", "9.0")

    monkeypatch.setattr(deepspeed_config, "_check_installed", lambda: None)
    return use


def test_without_deepspeed_in_the_launcher_there_is_no_plugin() -> None:
    assert make_plugin(TrainConfig()) is None


def test_options_decide_clipping_accumulation_and_precision(launcher: Any) -> None:
    launcher(
        {
            "train_batch_size": 64,
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": 4,
            "gradient_clipping": 7.0,
            "bf16": {"enabled": "auto"},
            "fp16": {"enabled": False, "loss_scale": 0},
            "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto", "contiguous_gradients": False},
        }
    )
    for clip, precision in ((0.5, "bf16"), (0.0, "fp32")):
        plugin = make_plugin(TrainConfig(clip=clip, precision=precision))
        assert plugin is not None
        values = plugin.deepspeed_config
        assert values["gradient_clipping"] == clip
        assert values["bf16"] == {"enabled": precision == "bf16"}
        assert values["gradient_accumulation_steps"] == 1
        assert values["managed_gradient_accumulation"] is False  # else DeepSpeed steps at every backward pass
        assert "train_batch_size" not in values
        # what is "auto" is DeepSpeed's default, and what is given is kept
        assert values["zero_optimization"] == {"stage": 3, "contiguous_gradients": False}


ZERO = {"zero_optimization": {"stage": 2}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**ZERO, "optimizer": {"type": "AdamW"}}, "section optimizer; remove the section: --optimizer, --lr decide$"),
        ({**ZERO, "scheduler": {"type": "WarmupLR"}}, "section scheduler; remove the section: --schedule, "),
        ({**ZERO, "fp16": {"enabled": True}}, "asks for fp16, .*, or use --precision bf16$"),
        ({**ZERO, "fp16": {"enabled": "true"}}, "asks for fp16, "),
        ({**ZERO, "bf16": {"enabled": True}}, "asks for bf16, and --precision is fp32; use --precision bf16$"),
        ({**ZERO, "torch_autocast": {"enabled": True}}, "section torch_autocast, .*; remove the section$"),
        ({"zero_optimization": {"stage": 1}}, "ZeRO stage 1; use stage 2 or 3, or DDP$"),
        (
            {"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/"}}},
            "offload_param to nvme; use cpu, or none$",
        ),
        ({"train_batch_size": 8}, 'has no object "zero_optimization"; give one '),
        ([1], 'has no object "zero_optimization"; give one '),
        ("{ not JSON", "cannot be read .*; give a JSON file$"),
    ],
)
def test_other_configurations_are_refused_in_one_line(launcher: Any, values: Any, message: str) -> None:
    launcher(values)
    with pytest.raises(ValueError, match=rf"^accelerate: the DeepSpeed configuration .*{message}") as error:
        make_plugin(TrainConfig())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("quantization", "nf4"), ("compile", True)])
def test_options_that_are_not_with_deepspeed_are_refused(launcher: Any, name: str, value: Any) -> None:
    launcher(ZERO)
    with pytest.raises(ValueError, match=rf"^{name}: not with DeepSpeed; .* use DDP$"):
        make_plugin(TrainConfig(**{name: value}))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, r"asks for DeepSpeed, which cannot be imported .*; pip install -e '.\[deepspeed\]', or use DDP "),
        (SimpleNamespace(DeepSpeedEngine=object, __version__="0.18.9"), r"0\.18\.9 is too old; pip install "),
    ],
)
def test_a_library_that_is_absent_or_too_old_is_named(
    monkeypatch: pytest.MonkeyPatch, module: Any, message: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setitem(sys.modules, "deepspeed", module)
    with pytest.raises(ValueError, match=rf"^accelerate: .*{message}"):
        make_plugin(TrainConfig())
