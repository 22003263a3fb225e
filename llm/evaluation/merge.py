"""An adapter put into its base model's weights: a model that needs no PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm.common.files import atomically, ensure_writable
from llm.common.processes import preserve_torch_state
from llm.training.run_folder import load_model


@dataclass(frozen=True)
class MergeConfig:
    """What is merged, and where it goes."""

    adapter: str
    """Folder of a run or of an adapter."""
    out: str
    """Folder for the merged model; must not be there yet."""
    precision: str = "fp32"
    """fp32 or bf16: of the merged weights."""
    remote_code: bool = False
    """Run code that a model on the hub brings along."""

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision: must be fp32 or bf16, got {self.precision}")
        if not (Path(self.adapter) / "adapter_config.json").is_file():
            raise FileNotFoundError(
                f"adapter: {self.adapter} has no adapter_config.json; give a folder with an adapter"
            )
        if Path(self.out).exists():
            raise ValueError(f"out: {self.out} is there already; give another folder")


def merge(config: MergeConfig) -> Path:
    """The folder with model and tokeniser, as `from_pretrained` takes it."""
    ensure_writable("out", Path(config.out).parent)
    with preserve_torch_state(None):
        model, tokenizer = load_model(config.adapter, remote_code=config.remote_code, precision=config.precision)
        merged = model.cpu().merge_and_unload()
    with atomically(Path(config.out)) as temporary:
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return Path(config.out)
