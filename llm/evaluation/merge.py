"""Adapters merged into their base model, for engines that need no PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm.common.files import atomic_path, ensure_writable
from llm.common.processes import preserve_torch_state
from llm.evaluation.generate import check_precision, template_of
from llm.training.run_folder import load_model, run_options


@dataclass(frozen=True)
class MergeConfig:
    """Options of `merge`: an adapter, and a folder for the merged model."""

    adapter: str
    """Folder of a run or of an adapter."""
    out: str
    """Folder for the merged model; must not exist."""
    precision: str = "fp32"
    """Precision of the merged weights: fp32 or bf16."""
    remote_code: bool = False
    """Run Python code that a model repository contains."""

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if not (Path(self.adapter) / "adapter_config.json").is_file():
            raise FileNotFoundError(
                f"adapter: {self.adapter} has no adapter_config.json; give a folder with an adapter"
            )
        if Path(self.out).exists():
            raise ValueError(f"out: {self.out} is there already; give another folder")


def merge(config: MergeConfig) -> Path:
    """Write model and tokenizer with the adapter in the base model's weights, and return their folder.

    The folder loads by `from_pretrained`, without PEFT; its generation settings end a response as training taught.
    Raises ValueError, in one line, if the adapter cannot be merged, or if the merged model's log-probabilities are not
    the adapter's.
    """
    from llm.models.merging import save_merged
    from llm.training.export import generation_settings

    ensure_writable("out", Path(config.out).parent)
    with preserve_torch_state(None):
        model, tokenizer = load_model(
            config.adapter, remote_code=config.remote_code, precision=config.precision, dequantize=True
        )
        templates = [template_of(config.adapter, kind=kind) for kind in ("sft", "preference")]
        eos = str(run_options(config.adapter).get("eos", "")) or None
        settings = generation_settings(model, tokenizer, templates, eos)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        base.generation_config = settings
        with atomic_path(Path(config.out)) as temporary:
            save_merged(model.cpu(), temporary)
            tokenizer.save_pretrained(temporary)
    return Path(config.out)
