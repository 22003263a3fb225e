"""The embedded world, which needs no network: invented facts, data sets, a tokenizer and a small base model."""

from __future__ import annotations

from llm.embedded.language import TEMPLATE, fact_accuracy, preference_score
from llm.embedded.prepare import EmbeddedConfig, Paths
from llm.embedded.world import Fact, World, read_world

__all__ = [
    "TEMPLATE",
    "EmbeddedConfig",
    "Fact",
    "Paths",
    "World",
    "fact_accuracy",
    "preference_score",
    "read_world",
]
