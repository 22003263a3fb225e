"""Joint SFT and DPO of language models: Sequential, Mix, ALRIGHT and MAXRIGHT (arXiv 2410.15483) with one adapter.

    from llm import TrainConfig, train
    train(TrainConfig(model="EleutherAI/pythia-1b", sft="vicgalle/alpaca-gpt4", preference="Dahoas/rm-hh-rlhf"))

Importing it loads neither torch nor transformers.
"""

from importlib.util import find_spec

_NEEDED = ("torch", "transformers", "peft", "datasets", "accelerate", "safetensors", "tokenizers", "filelock", "yaml")
if _absent := [name for name in _NEEDED if find_spec(name) is None]:
    raise ModuleNotFoundError(f"llm needs {', '.join(_absent)}: pip install 'forget-neither[llm]', or -e '.[llm]' here")

from llm.config import TrainConfig  # noqa: E402 (what is missing is told first)
from llm.training.train import Result, train  # noqa: E402

__all__ = ["Result", "TrainConfig", "train"]
