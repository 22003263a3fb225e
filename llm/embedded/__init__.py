"""The default that needs no network: a world of invented facts, its data sets, a tokenizer and a small base model."""

from __future__ import annotations

from llm.embedded.language import TEMPLATE, fact_accuracy, preference_score
from llm.embedded.prepare import EmbeddedConfig, Paths, prepare
from llm.embedded.world import Fact, World, read_world

__all__ = [
    "TEMPLATE",
    "EmbeddedConfig",
    "Fact",
    "Paths",
    "World",
    "fact_accuracy",
    "preference_score",
    "prepare",
    "read_world",
]
