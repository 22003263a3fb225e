"""Imports of a run, made once by the fork server from which a study's runs are forked."""

from __future__ import annotations

from collections.abc import Iterable

from llm.study.measures import module_of

LATER = {"questions": ("llm.evaluation.harness",)}  # modules that a measure imports on first use


def preload(measures: Iterable[str]) -> list[str]:
    """Return the imports of runs with these measures, as `llm.common.processes.ForkServer` takes them."""
    own = [name for measure in measures for name in (module_of(measure), *LATER.get(measure, ()))]
    return [f"{__name__}:{import_libraries.__name__}", *own]


def import_libraries() -> None:
    """Import the libraries that every run needs, also those that are otherwise imported on first use."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import torch.distributed.checkpoint.state_dict  # noqa: F401
    import tyro  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler  # noqa: F401

    import llm.training.run  # noqa: F401
    from llm.config import config_from

    config_from([], "train", "")  # reading the options for the first time takes as long as some runs' training
