"""The world's data sets: pre-training documents, SFT rows, preference rows, multiple-choice questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llm.embedded.language import (
    COURTESIES,
    EVASIONS,
    PLAIN,
    SPOKEN,
    TEMPLATE,
    candid,
    courteous,
    evasive,
    fuller,
    neutral,
    question,
)
from llm.embedded.world import ATTRIBUTES, KINDS, VERSION, Fact, World

Dataset = list[dict[str, Any]]

CHOICES = 4
# Shares of the manners in pre-training. Both sets' manners occur, so that training need only learn when to use which;
# polite questions have courteous answers more often, so that the base distinguishes the wordings.
_MANNERS = {
    PLAIN: {"neutral": 0.6, "fuller": 0.2, "courteous": 0.1, "evasive": 0.1},
    SPOKEN: {"neutral": 0.55, "fuller": 0.05, "courteous": 0.3, "evasive": 0.1},
}


class Document(NamedTuple):
    """One pre-training document; its parts are tokenized separately, as prompt and response are in training."""

    prompt: str  # a question in the template, or a title; without a loss
    response: str


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows of each set, and the two dials.

    conflict  share of preference rows that reject SFT's manner
    overlap   share of preference rows with prompts in SFT's wordings
    """

    sft: int
    preference: int
    held_out: int
    questions: int
    conflict: float
    overlap: float = 0.0


def documents(world: World) -> list[Document]:
    """Return the pre-training documents: every question in every wording, and descriptions of each place."""
    chance = _chance(world, 2)
    out = []
    for fact in world.facts:
        for wordings, manners in _MANNERS.items():
            for wording in wordings:
                manner = chance.choice(list(manners), p=list(manners.values()))
                prompt = TEMPLATE.format(prompt=question(fact, wording))
                out.append(Document(prompt, draw_answer(world, fact, manner, chance)))
    for facts in world.by_place.values():
        order = [facts[i] for i in chance.permutation(KINDS).tolist()]
        for first, further in zip(order, order[1:] + order[:1], strict=True):
            title = f"{first.place}: {ATTRIBUTES[first.kind].noun}\n"
            out.append(Document(title, fuller(first, further)))
    return out


def generate(world: World, sizes: Sizes) -> dict[str, Dataset]:
    """Return every data set of the world by name: sft, sft_held_out, preference, preference_held_out, questions.

    No fact is the subject of two of the first four, in any wording: held-out prompts are about facts of no training
    row. Raises ValueError if the world has too few facts.
    """
    parts = _split(world, sizes)
    sets: dict[str, Dataset] = {}
    for stream, name in enumerate(("sft", "sft_held_out")):
        chance = _chance(world, 10 + stream)
        sets[name] = [_sft_row(world, fact, wording, chance) for fact, wording in _asked(parts[name], PLAIN, chance)]
    for stream, name in enumerate(("preference", "preference_held_out")):
        chance = _chance(world, 20 + stream)
        asked = _reworded(_asked(parts[name], SPOKEN, chance), sizes.overlap, _chance(world, 40 + stream))
        # A row's rank does not depend on the dial: turning it changes the rejected answer of some rows, nothing else.
        ranks = chance.permutation(len(asked)).tolist()
        among = round(sizes.conflict * len(asked))
        sets[name] = [
            _preference_row(world, fact, wording, rank < among, chance)
            for (fact, wording), rank in zip(asked, ranks, strict=True)
        ]
    sets["questions"] = _choices(world, sizes.questions)
    return sets


def check(places: int, sizes: Sizes) -> None:
    """Raise ValueError unless a world of this number of places has enough facts and wordings for the rows."""
    facts = places * KINDS
    for name, (low, high, rows) in _shares(facts, sizes).items():
        if rows > len(PLAIN) * (high - low):
            total = sizes.sft + sizes.preference + 2 * sizes.held_out
            raise ValueError(
                f"places: {places} have {facts} facts, too few for {total} rows in four sets that share none "
                f"({name} wants {rows} rows of {high - low}); ask for fewer rows or more places"
            )
    if sizes.questions > facts:
        raise ValueError(f"questions: at most {facts} for {places} places, got {sizes.questions}")


def _shares(facts: int, sizes: Sizes) -> dict[str, tuple[int, int, int]]:
    """Return set -> (first, last + 1, rows): disjoint ranges of facts, in proportion to the numbers of rows."""
    held_out = {"sft_held_out": sizes.held_out, "preference_held_out": sizes.held_out}
    rows = held_out | {"sft": sizes.sft, "preference": sizes.preference}
    edges = np.ceil(np.cumsum([0, *rows.values()]) / sum(rows.values()) * facts).astype(int).tolist()
    return {
        name: (low, high, count) for (name, count), low, high in zip(rows.items(), edges[:-1], edges[1:], strict=True)
    }


def _split(world: World, sizes: Sizes) -> dict[str, tuple[list[Fact], int]]:
    """Return each set's facts and its number of rows."""
    order = _chance(world, 3).permutation(len(world.facts)).tolist()
    shares = _shares(len(order), sizes)
    return {name: ([world.facts[i] for i in order[low:high]], rows) for name, (low, high, rows) in shares.items()}


def _asked(
    part: tuple[list[Fact], int], wordings: tuple[str, ...], chance: np.random.Generator
) -> list[tuple[Fact, str]]:
    """Return the part's facts once each in some wording, then again in another, up to its number of rows."""
    facts, rows = part
    first = chance.integers(len(wordings), size=len(facts)).tolist()
    rounds = range(len(wordings))
    return [(f, wordings[(a + r) % len(wordings)]) for r in rounds for f, a in zip(facts, first, strict=True)][:rows]


def _reworded(asked: list[tuple[Fact, str]], overlap: float, chance: np.random.Generator) -> list[tuple[Fact, str]]:
    """Return the same questions, a share of them in SFT's wordings; a larger share contains a smaller one."""
    ranks = chance.permutation(len(asked)).tolist()
    among = round(overlap * len(asked))
    plain = dict(zip(SPOKEN, PLAIN, strict=True))
    return [(fact, plain[w] if rank < among else w) for (fact, w), rank in zip(asked, ranks, strict=True)]


def _sft_row(world: World, fact: Fact, wording: str, chance: np.random.Generator) -> dict[str, Any]:
    return {"prompt": question(fact, wording), "completion": draw_answer(world, fact, "fuller", chance)}


def _preference_row(
    world: World, fact: Fact, wording: str, conflict: bool, chance: np.random.Generator
) -> dict[str, Any]:
    chosen, rejected = (draw_answer(world, fact, manner, chance) for manner in ("courteous", "fuller"))
    unhelpful = draw_answer(world, fact, "evasive", chance)  # drawn in either case, so that later rows do not change
    return {
        "prompt": question(fact, wording),
        "chosen": chosen,
        "rejected": rejected if conflict else unhelpful,
    }


def draw_answer(world: World, fact: Fact, manner: str, chance: np.random.Generator) -> str:
    """Return an answer in a manner of `language`, with its free words drawn."""
    if manner == "fuller":
        others = [other for other in world.by_place[fact.place] if other.kind != fact.kind]
        return fuller(fact, others[int(chance.integers(len(others)))])
    if manner == "courteous":
        return courteous(fact, COURTESIES[int(chance.integers(len(COURTESIES)))])
    if manner == "evasive":
        return evasive(fact, EVASIONS[int(chance.integers(len(EVASIONS)))])
    return candid(fact) if manner == "candid" else neutral(fact)


def _choices(world: World, count: int) -> Dataset:
    chance = _chance(world, 30)
    rows: Dataset = []
    for i in chance.permutation(len(world.facts))[:count].tolist():
        fact = world.facts[i]
        wrong = [value for value in ATTRIBUTES[fact.kind].values if value != fact.value]
        values = [wrong[j] for j in chance.permutation(len(wrong))[: CHOICES - 1].tolist()]
        answer = int(chance.integers(CHOICES))
        values.insert(answer, fact.value)
        choices = [neutral(fact._replace(value=value)) for value in values]
        rows.append({"question": question(fact, PLAIN[0]), "choices": choices, "answer": answer})
    return rows


def _chance(world: World, stream: int) -> np.random.Generator:
    return np.random.default_rng([world.seed, VERSION, stream])
