"""The embedded world: places, facts, and its file."""

from __future__ import annotations

import re
from pathlib import Path

from support.wrong import fails

from llm.embedded import World, read_world
from llm.embedded.language import (
    COURTESIES,
    EVASIONS,
    TEMPLATE,
    WORDINGS,
    neutral,
)
from llm.embedded.sets import Sizes, documents, generate
from llm.embedded.world import ATTRIBUTES, KINDS, MOST_PLACES

WORLD = World(seed=3, places=20)


SIZES = Sizes(sft=60, preference=50, held_out=15, questions=40, conflict=0.4)


SETS = generate(WORLD, SIZES)


def test_a_world_is_a_function_of_its_seed() -> None:
    again, other = World(seed=3, places=20), World(seed=4, places=20)
    assert again.facts == WORLD.facts
    assert again.to_json() == WORLD.to_json()
    assert other.names != WORLD.names
    assert generate(again, SIZES) == SETS
    assert documents(again) == documents(WORLD)
    assert generate(other, SIZES) != SETS


def test_every_place_has_one_value_of_every_kind() -> None:
    assert len(set(World(seed=0, places=MOST_PLACES).names)) == MOST_PLACES
    assert len(WORLD.facts) == 20 * KINDS == 120
    for place, facts in WORLD.by_place.items():
        assert [fact.kind for fact in facts] == list(range(6))
        assert all(fact.place == place and fact.value in ATTRIBUTES[fact.kind].values for fact in facts)


def test_no_value_can_be_taken_for_anything_else() -> None:
    words = [value.removeprefix("the ").lower() for attribute in ATTRIBUTES for value in attribute.values]
    assert len(set(words)) == len(words) == 6 * 24
    texts = [*WORDINGS, *COURTESIES, *EVASIONS, TEMPLATE, neutral(WORLD.facts[0]._replace(value=""))]
    said = set(re.findall(r"\w+", " ".join([*texts, *(a.noun for a in ATTRIBUTES)]).lower()))
    names = {name.lower() for name in World(seed=0, places=MOST_PLACES).names}
    assert not (said | names | {"and", "there"}) & set(words)


def test_a_world_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    path.write_text(WORLD.to_json())
    assert read_world(path) == WORLD
    path.write_text(WORLD.to_json().replace(WORLD.facts[0].value, "plutonium"))
    fails(lambda: read_world(path), ValueError, "world", "changed")
    path.write_text(WORLD.to_json()[:-9])
    fails(lambda: read_world(path), ValueError, "world", str(path))
    fails(lambda: read_world(tmp_path / "none"), FileNotFoundError, "world", "none")
