"""Joint SFT and DPO of language models: Sequential, Mix, ALRIGHT and MAXRIGHT (arXiv 2410.15483) with one adapter.

    from llm import TrainConfig, train
    train(TrainConfig(model="EleutherAI/pythia-1b", sft="vicgalle/alpaca-gpt4", preference="Dahoas/rm-hh-rlhf"))

Importing this package loads neither torch nor transformers; using it without them raises one line that names them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.run import Result, train

__all__ = ["Result", "TrainConfig", "train"]

_NEEDED = ("torch", "transformers", "peft", "datasets", "accelerate", "safetensors", "tokenizers", "yaml")


def check_installed() -> None:
    """Raise ModuleNotFoundError, in one line with the remedy, if a library that training needs is not installed."""
    from importlib.util import find_spec

    if absent := [name for name in _NEEDED if find_spec(name) is None]:
        raise ModuleNotFoundError(f"llm needs {', '.join(absent)}: pip install -e '.[llm]'")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_installed()
    from importlib import import_module

    return getattr(import_module("llm.config" if name == "TrainConfig" else "llm.training.run"), name)
