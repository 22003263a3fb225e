"""The base's networks: parameters, and the layers of the preset."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest

from llm import TrainConfig
from llm.embedded import EmbeddedConfig
from llm.embedded.base import train_tokenizer
from llm.embedded.networks import Shape, new_model
from llm.embedded.prepare import FAMILIES, with_embedded
from llm.embedded.sets import documents
from llm.presets import EMBEDDED_TARGETS


def config(**changes: Any) -> TrainConfig:
    few = {"steps": 4, "batch_sft": 4, "batch_preference": 4, "device": "cpu", "world_size": "small"}
    return TrainConfig.preset("embedded", **{**few, **changes})


PARAMETERS = {"small": (150_000, 300_000), "standard": (900_000, 1_200_000), "large": (10_000_000, 14_000_000)}


@cache
def vocabulary(size: str) -> Any:
    told = documents(EmbeddedConfig.of_size(size).world)
    return train_tokenizer(text for document in told for text in document)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_parameters(family: str) -> None:
    for size, (least, most) in PARAMETERS.items():
        own = EmbeddedConfig.of_size(size, family)
        made = new_model(Shape(own.hidden, own.layers, own.heads, 1, family), vocabulary(size), 0)
        assert least < sum(p.numel() for p in made.parameters()) < most


def test_the_preset_s_layers_are_the_family_s_own_and_are_told() -> None:
    for family, targets in EMBEDDED_TARGETS.items():
        made = config(world_family=family)
        assert made.lora_targets == targets
        shape = Shape(16, 1, 2, 1, family)
        names = {name.rpartition(".")[2] for name, _ in new_model(shape, train_tokenizer(["a b c"]), 0).named_modules()}
        assert set(targets) <= names
        assert with_embedded(
            config(world_family=family, lora_targets=("x",)), ["model", "sft", "preference"], print
        ).lora_targets == ("x",)
    again = dataclasses.replace(config(world_family="llama"), world_family="t5")
    assert again.lora_targets == EMBEDDED_TARGETS["t5"]
    assert TrainConfig(world_family="llama").lora_targets == ()
    assert config(model="mine", world_family="llama").lora_targets == EMBEDDED_TARGETS["neox"]
