"""Imports of a run, made once by the fork server from which a study's runs are forked."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable

from llm.study.measures import MEASURES, measure_digest, module_of, name_of

LATER = {"questions": ("llm.evaluation.harness",)}  # modules that a measure imports on first use


def preload(measures: Iterable[str]) -> list[str]:
    """Return the imports of runs with these measures, as `llm.common.processes.ForkServer` takes them."""
    own = [name for measure in measures for name in (module_of(measure), *LATER.get(name_of(measure), ()))]
    digests = [f"{__name__}:{digest_measures.__name__}"] if own else []
    return [f"{__name__}:{import_libraries.__name__}", *own, *digests]


def import_libraries() -> None:
    """Import the libraries that every run needs, also those that are otherwise imported on first use."""
    from llm.common.progress import calm

    calm()
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import torch.distributed.checkpoint.state_dict  # noqa: F401
    import tyro  # noqa: F401
    from transformers import AutoTokenizer, get_scheduler  # noqa: F401

    import llm.training.run  # noqa: F401
    from llm.config import config_from
    from llm.training.cached_run import computing_code
    from llm.training.starting_values import evaluating_code

    computing_code()  # reads and parses a hundred files, half a second of CPU time
    evaluating_code()
    config_from([], "train", "")  # reading the options for the first time takes as long as some runs' training
    _load_a_model()


def digest_measures() -> None:
    """Compute the code digests of the built-in measures whose modules are imported: 0.1 seconds in every run else."""
    for name in MEASURES:
        if module_of(name) in sys.modules:
            measure_digest(name)


def _load_a_model() -> None:
    """Save and load a model and an adapter of a few weights: the libraries' tables and templates are then compiled.

    A first load compiles some 900 regular expressions, 0.3 seconds of CPU time in every run otherwise.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

    from llm.common.processes import seeded_torch

    few = GPTNeoXConfig(vocab_size=4, hidden_size=2, intermediate_size=2, num_hidden_layers=1, num_attention_heads=1)
    with tempfile.TemporaryDirectory() as folder, seeded_torch(0):
        GPTNeoXForCausalLM(few).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        get_peft_model(model, LoraConfig(r=1, task_type="CAUSAL_LM")).save_pretrained(folder)
