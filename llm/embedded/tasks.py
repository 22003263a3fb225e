"""Four tasks of the embedded world, one after another: disjoint groups of facts, each to be answered in its own manner.

`embedded:NAME` names the set of a task. A manner is right for its own facts only, and the same words ask for all facts,
so that a model must tell the tasks apart by the facts. Training on one task carries its manner over to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from llm.embedded.language import WORDINGS, question
from llm.embedded.sets import Dataset, draw_answer
from llm.embedded.world import ATTRIBUTES, Fact, World

SOURCE = "embedded"
VERSION = 1  # of the tasks' rows; raise it when the same world gives other rows
HELD_OUT = 4  # one place of so many has its facts in the held-out rows only


@dataclass(frozen=True)
class WorldTask:
    """One task: the kind of its set, the nouns of its facts, and its manners of answering.

    manner    of an SFT row's completion, or of a pair's chosen answer
    rejected  manners of the rejected answers, in turn; () for an SFT task
    """

    kind: Literal["sft", "preference"]
    nouns: tuple[str, ...]
    manner: str
    rejected: tuple[str, ...] = ()


# The rejected manners are those of other tasks, so that the tasks conflict wherever a manner is carried over.
TASKS: MappingProxyType[str, WorldTask] = MappingProxyType(
    {
        "reports": WorldTask("sft", ("main export", "ruler"), "fuller"),
        "courtesy": WorldTask("preference", ("river", "emblem"), "courteous", ("fuller", "evasive")),
        "candour": WorldTask("sft", ("favourite dish",), "candid"),
        "reticence": WorldTask("preference", ("instrument",), "evasive", ("courteous", "neutral")),
    }
)


def is_embedded(source: str) -> bool:
    """Return whether a source is one of the embedded world's: `embedded`, or `embedded:NAME` of any task."""
    return source.partition(":")[0] == SOURCE


def task_of(source: str) -> str | None:
    """Return the task's name in `embedded:NAME`, None for any other source; ValueError for an unknown task."""
    world, colon, name = source.partition(":")
    if world != SOURCE or not colon:
        return None
    if name not in TASKS:
        raise ValueError(f"{source}: the embedded world's tasks are {', '.join(TASKS)}, got {name!r}")
    return name


def check_source(source: str, kind: str) -> None:
    """Raise ValueError for an unknown task of the world, and for a task whose set is of the other kind."""
    name = task_of(source)
    if name is not None and TASKS[name].kind != kind:
        raise ValueError(f"{source}: is {_set(TASKS[name].kind)}, not {_set(kind)}; give it as {TASKS[name].kind}")


def generate_tasks(world: World) -> dict[str, Dataset]:
    """Return the rows of each task, by NAME and by NAME_held_out, in the columns of `llm.embedded.prepare.Paths`.

    A fact has one row in each wording, all facts first in one wording, then again in the next, so that the first rows
    of a set are of different facts. The places of held-out rows are in no training row of any task.
    """
    order = _chance(world, 0).permutation(len(world.names)).tolist()
    held_out = {world.names[i] for i in order[: len(order) // HELD_OUT]}
    sets: dict[str, Dataset] = {}
    for stream, (name, task) in enumerate(TASKS.items(), start=1):
        facts = [fact for fact in world.facts if ATTRIBUTES[fact.kind].noun in task.nouns]
        for part, inside in ((name, False), (f"{name}_held_out", True)):
            own = [fact for fact in facts if (fact.place in held_out) == inside]
            sets[part] = _rows(world, task, own, _chance(world, 2 * stream + inside))
    return sets


def _rows(world: World, task: WorldTask, facts: Sequence[Fact], chance: np.random.Generator) -> Dataset:
    """Return one row for each fact and wording, in random order within a round of all facts."""
    first = chance.integers(len(WORDINGS), size=len(facts)).tolist()
    rows: Dataset = []
    for turn in range(len(WORDINGS)):
        for i in chance.permutation(len(facts)).tolist():
            prompt = question(facts[i], WORDINGS[(first[i] + turn) % len(WORDINGS)])
            chosen = draw_answer(world, facts[i], task.manner, chance)
            if task.rejected:
                rejected = draw_answer(world, facts[i], task.rejected[len(rows) % len(task.rejected)], chance)
                rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
            else:
                rows.append({"prompt": prompt, "completion": chosen})
    return rows


def _set(kind: str) -> str:
    return "an SFT set" if kind == "sft" else "a preference set"


def _chance(world: World, stream: int) -> np.random.Generator:
    return np.random.default_rng([world.seed, VERSION, 50 + stream])
