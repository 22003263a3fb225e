"""Joint SFT and DPO of language models: Sequential, Mix, ALRIGHT and MAXRIGHT (arXiv 2410.15483) with one adapter.

    from llm import TrainConfig, train
    train(TrainConfig(model="EleutherAI/pythia-1b", sft="vicgalle/alpaca-gpt4", preference="Dahoas/rm-hh-rlhf"))

Importing it loads neither torch nor transformers.
"""

from llm.config import TrainConfig
from llm.train import Result, train

__all__ = ["Result", "TrainConfig", "train"]
