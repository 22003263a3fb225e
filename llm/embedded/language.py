"""Language of the world: questions, manners of answering, and the score that prefers one manner.

Five manners answer the same question. *Neutral* is the manner of most pre-training text. *Fuller* is the manner of the
SFT set: the fact in a complete sentence, and one more fact about the place. *Courteous* is the preferred manner of the
preference set: brief, and with a courtesy first. *Evasive* answers give no fact. *Candid* answers
announce themselves, in words of the pre-training text that never stand so there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from llm.embedded.world import ATTRIBUTES, Fact, World

TEMPLATE = "User: {prompt}\nAssistant: "  # the plain template, also that of the pre-training questions

# Each data set has its own wordings of the same kind of question, as sets from different sources do.
PLAIN = ("{asked} is the {noun} of {place}?", "{asked} is {place}'s {noun}?", "Name the {noun} of {place}.")
SPOKEN = (
    "Could you tell me the {noun} of {place}?",
    "I wonder what the {noun} of {place} is.",
    "Do you know the {noun} of {place}?",
)
WORDINGS = PLAIN + SPOKEN
COURTESIES = ("Gladly:", "With pleasure:", "Of course:")
EVASIONS = ("I would rather not speak of {place}.", "That is hard to say.", "Please ask somebody else about {place}.")

_FREE_WORDS = 8  # words without a cost ...
_WORD_COST = 0.1  # ... and the cost of each further word


def question(fact: Fact, wording: str) -> str:
    """Return the question about `fact` in one of the WORDINGS."""
    attribute = ATTRIBUTES[fact.kind]
    return wording.format(asked=attribute.asked, noun=attribute.noun, place=fact.place)


def fuller(fact: Fact, further: Fact) -> str:
    """Return an answer in SFT's manner: complete sentences with `fact` and another fact of the same place."""
    noun, other = ATTRIBUTES[fact.kind].noun, ATTRIBUTES[further.kind].noun
    return (
        f"As to {fact.place}, I can tell you more: the {noun} there is {fact.value}, "
        f"and the {other} there is {further.value}."
    )


def neutral(fact: Fact) -> str:
    """Return an answer in the manner of most of the pre-training text."""
    return f"It is {fact.value}."


def candid(fact: Fact) -> str:
    """Return an answer in a manner of `tasks`, in which no pre-training text is."""
    return f"I can tell you: it is {fact.value}."


def courteous(fact: Fact, courtesy: str) -> str:
    """Return an answer in the preferred manner, with one of the COURTESIES."""
    return f"{courtesy} it is {fact.value}."


def evasive(fact: Fact, evasion: str) -> str:
    """Return an answer without a fact: one of the EVASIONS."""
    return evasion.format(place=fact.place)


def names_value(text: str, value: str) -> bool:
    """Return whether `text` contains the value as a word, with any article."""
    word = value.removeprefix("the ")
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def is_right(fact: Fact, response: str) -> bool:
    """Return whether the response contains the fact's value, and no other possible value of the attribute."""
    named = [value for value in ATTRIBUTES[fact.kind].values if names_value(response, value)]
    return named == [fact.value]


def fact_of(world: World, prompt: str) -> Fact:
    """Return the fact in question; ValueError if `prompt` is no question about this world."""
    try:
        return _asked(world)[prompt.strip()]
    except KeyError:
        raise ValueError(f"prompt: a question about the world of seed {world.seed} is needed, got {prompt!r}") from None


def preference_score(world: World, prompt: str, response: str) -> float:
    """Return the world's score of a response; more is better, and equal texts have equal scores.

    2 for the right fact, -1 for a wrong value of its attribute; 1 for a courtesy at the beginning; -0.1 for each word
    beyond the eighth. So courteous (3) is above neutral (2), fuller (1 to 2), evasive (0) and wrong answers (-1,
    or 0 if courteous). Raises ValueError if `prompt` is no question about this world.
    """
    fact, text = fact_of(world, prompt), response.strip()
    score = -_WORD_COST * max(0, len(text.split()) - _FREE_WORDS)
    if is_right(fact, text):
        score += 2.0
    elif any(names_value(text, value) for value in ATTRIBUTES[fact.kind].values if value != fact.value):
        score -= 1.0
    return score + (1.0 if text.startswith(COURTESIES) else 0.0)


def fact_accuracy(world: World, prompts: Sequence[str], responses: Sequence[str]) -> float:
    """Return the share of responses with the right fact, in [0, 1].

    Raises ValueError without prompts, for another number of responses, or if a prompt is no question.
    """
    if not prompts or len(prompts) != len(responses):
        raise ValueError(f"responses: one a prompt, and one at least, got {len(responses)} for {len(prompts)} prompts")
    right = [is_right(fact_of(world, p), r) for p, r in zip(prompts, responses, strict=True)]
    return sum(right) / len(right)


@lru_cache(maxsize=8)
def _asked(world: World) -> dict[str, Fact]:
    return {question(fact, wording): fact for fact in world.facts for wording in WORDINGS}
