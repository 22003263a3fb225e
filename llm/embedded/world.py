"""A small world of invented places and facts, drawn from a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from toyopt import _check

VERSION = 2  # of all generated data; raise it when the same configuration gives other data

_FIRST = "Bel Cor Dar El Fen Gal Hal Ister Jor Kel Lan Mor Nar Or Pel Quin Ros Sel Tor Ul Vel Wen Yar Zan".split()
_MIDDLE = "a mo da li ve nu ri so tha".split()
_LAST = "ra dor len mira neth via sk ston ton wick".split()
MOST_PLACES = len(_FIRST) * len(_MIDDLE) * len(_LAST)
LEAST_PLACES = 4


class Attribute(NamedTuple):
    """One kind of fact: its noun, its question word, and its possible values."""

    noun: str
    asked: str
    values: tuple[str, ...]


def _the(words: str) -> tuple[str, ...]:
    return tuple(f"the {word}" for word in words.split())


# No word is a value of two attributes, and none occurs in the sentences of `language`.
ATTRIBUTES = (
    Attribute(
        "main export",
        "What",
        tuple(
            "amber salt wool tin honey timber silk copper marble linen wax pearl leather indigo slate resin barley "
            "cheese paper glass rope chalk saffron pottery".split()
        ),
    ),
    Attribute(
        "ruler",
        "Who",
        tuple(
            "Aldis Brenna Cassor Delwyn Edric Fiora Gunnar Hesper Ivo Jessamy Kester Lioba Merrick Nerys Osric Petra "
            "Quillon Rosalind Sigrun Tallis Ursel Viggo Wystan Ysolde".split()
        ),
    ),
    Attribute(
        "river",
        "What",
        _the(
            "Arno Brill Caddow Dunmer Eskel Fallow Grune Hydd Inver Jask Kolm Lethe Mirk Nidd Orne Pril Quoy Rusk "
            "Savel Tarn Umber Varr Wye Yarrow"
        ),
    ),
    Attribute(
        "emblem",
        "What",
        _the(
            "heron stag otter falcon bear lynx salmon raven boar swan hare wolf crane badger owl fox ram viper beetle "
            "dolphin eagle tortoise moth lion"
        ),
    ),
    Attribute(
        "favourite dish",
        "What",
        tuple(
            "porridge stew dumplings pancakes chowder omelette risotto noodles goulash pie curry broth kebab polenta "
            "quiche trifle strudel ravioli hummus sorbet muffins waffles pickles toffee".split()
        ),
    ),
    Attribute(
        "instrument",
        "What",
        _the(
            "lute harp fiddle drum flute zither oboe bagpipe horn cello dulcimer tambourine viol trumpet banjo "
            "bassoon gong lyre organ piccolo rebec shawm tuba whistle"
        ),
    ),
)
KINDS = len(ATTRIBUTES)


class Fact(NamedTuple):
    """One fact: a place, the index of the attribute in ATTRIBUTES, and the value."""

    place: str
    kind: int
    value: str


@dataclass(frozen=True)
class World:
    """Invented places, each with six facts: a pure function of seed and number of places.

    seed    of names and facts, >= 0; worlds of different sizes differ also with the same seed
    places  number of places, from LEAST_PLACES to MOST_PLACES
    """

    seed: int = 0
    places: int = 120

    def __post_init__(self) -> None:
        for name, low in (("seed", 0), ("places", LEAST_PLACES)):  # as plain ints, which JSON can write
            object.__setattr__(self, name, _check.whole(name, getattr(self, name), low=low))
        if self.places > MOST_PLACES:
            raise ValueError(f"places: must be at most {MOST_PLACES}, the names that there are, got {self.places}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The places' names, all different."""
        chosen = self._chance(0).permutation(MOST_PLACES)[: self.places]
        names = []
        for i in chosen.tolist():
            first, rest = divmod(i, len(_MIDDLE) * len(_LAST))
            middle, last = divmod(rest, len(_LAST))
            names.append(_FIRST[first] + _MIDDLE[middle] + _LAST[last])
        return tuple(names)

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All facts, place after place, in the order of ATTRIBUTES."""
        drawn = self._chance(1).random((self.places, KINDS))
        return tuple(
            Fact(place, kind, attribute.values[int(u * len(attribute.values))])
            for place, row in zip(self.names, drawn.tolist(), strict=True)
            for kind, (attribute, u) in enumerate(zip(ATTRIBUTES, row, strict=True))
        )

    @cached_property
    def by_place(self) -> Mapping[str, tuple[Fact, ...]]:
        """A place's name -> its six facts."""
        rows = (self.facts[i : i + KINDS] for i in range(0, len(self.facts), KINDS))
        return MappingProxyType(dict(zip(self.names, rows, strict=True)))

    def to_json(self) -> str:
        """Return the world as readable JSON, the input of `read_world`."""
        facts = {place: {ATTRIBUTES[f.kind].noun: f.value for f in row} for place, row in self.by_place.items()}
        return json.dumps({"version": VERSION, "seed": self.seed, "places": self.places, "facts": facts}, indent=1)

    def _chance(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, VERSION, stream])


def read_world(path: Path) -> World:
    """Return the world of the file at `path`.

    Raises FileNotFoundError without the file, ValueError if its content differs from the world of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"world: {path} is not there; `prepare` makes it")
    text = path.read_text(encoding="utf-8")
    try:
        stored = json.loads(text)
        world = World(stored["seed"], stored["places"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"world: {path} is not a world's file ({error}); delete its folder and prepare anew"
        ) from error
    if json.loads(world.to_json()) != stored:
        raise ValueError(f"world: {path} is of another version or was changed; delete its folder and prepare anew")
    return world
