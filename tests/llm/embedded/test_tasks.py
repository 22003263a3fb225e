"""The embedded world's tasks: their facts, manners, held-out places, and their names as sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm import TrainConfig
from llm.data.formats import load
from llm.embedded import World
from llm.embedded.language import WORDINGS, fact_of, is_right
from llm.embedded.prepare import prepare_tasks
from llm.embedded.tasks import TASKS, generate_tasks, is_embedded, task_of
from llm.embedded.world import ATTRIBUTES
from llm.study import Grid

WORLD = World(seed=3, places=12)
SETS = generate_tasks(WORLD)
FOUR = [f"{name}={task.kind}:embedded:{name}" for name, task in TASKS.items()]
# What an answer in each task's manner looks like, written here from its description.
LOOKS = {
    "reports": r"As to \w+, I can tell you more: the .+ there is .+, and the .+ there is .+\.",
    "courtesy": r"(Gladly|With pleasure|Of course): it is .+\.",
    "candour": r"I can tell you: it is .+\.",
    "reticence": r"I would rather not speak of \w+\.|That is hard to say\.|Please ask somebody else about \w+\.",
}


def test_the_tasks_share_no_fact_and_the_world_s_facts_are_all_there() -> None:
    facts = {name: {fact_of(WORLD, row["prompt"]) for row in rows} for name, rows in SETS.items()}
    assert set().union(*facts.values()) == set(WORLD.facts)
    assert sum(map(len, facts.values())) == len(WORLD.facts)
    nouns = [noun for task in TASKS.values() for noun in task.nouns]
    assert sorted(nouns) == sorted(attribute.noun for attribute in ATTRIBUTES)


def test_a_fourth_of_the_places_is_held_out_of_every_task() -> None:
    places = {name: {fact_of(WORLD, row["prompt"]).place for row in rows} for name, rows in SETS.items()}
    trained = set().union(*(places[name] for name in TASKS))
    held_out = set().union(*(places[f"{name}_held_out"] for name in TASKS))
    assert (len(trained), len(held_out)) == (9, 3)
    assert not trained & held_out


@pytest.mark.parametrize("name", list(TASKS))
def test_a_fact_has_a_row_in_every_wording_and_the_first_rows_are_of_different_facts(name: str) -> None:
    for part in (name, f"{name}_held_out"):
        prompts = [row["prompt"] for row in SETS[part]]
        asked = [fact_of(WORLD, prompt) for prompt in prompts]
        count = len(set(asked))
        assert len(prompts) == len(set(prompts)) == count * len(WORDINGS)
        assert len(set(asked[:count])) == count


@pytest.mark.parametrize("name", list(TASKS))
def test_every_answer_is_in_the_task_s_manner_and_the_rejected_ones_are_in_those_of_others(name: str) -> None:
    rejected = {"courtesy": ("reports", "reticence"), "reticence": ("courtesy", "neutral")}
    looks = {**LOOKS, "neutral": r"It is .+\."}
    for turn, row in enumerate(SETS[name]):
        chosen = row["completion"] if TASKS[name].kind == "sft" else row["chosen"]
        assert re.fullmatch(LOOKS[name], chosen)
        assert is_right(fact_of(WORLD, row["prompt"]), chosen) == (name != "reticence")
        if name in rejected:
            assert re.fullmatch(looks[rejected[name][turn % 2]], row["rejected"])


def test_rows_are_a_function_of_the_world_and_the_files_hold_them(tmp_path: Path) -> None:
    assert generate_tasks(WORLD) == SETS
    assert generate_tasks(World(seed=4, places=12)) != SETS
    said: list[str] = []
    files = prepare_tasks(WORLD, tmp_path, report=lambda text, _: said.append(text))
    assert files.keys() == SETS.keys()
    for name, path in files.items():
        rows = load(path, kind=TASKS[name.removesuffix("_held_out")].kind).rows
        assert [row.prompt for row in rows] == [row["prompt"] for row in SETS[name]]
    assert set(said) == {"making the tasks"}
    said.clear()
    assert prepare_tasks(WORLD, tmp_path, report=lambda text, _: said.append(text)) == files
    assert said == []


def test_names_of_sources() -> None:
    assert [task_of(source) for source in ("embedded", "embedded:candour", "x/y", "skill:1")] == [
        None, "candour", None, None,
    ]  # fmt: skip
    assert [is_embedded(source) for source in ("embedded", "embedded:candour", "embedded.jsonl")] == [True, True, False]
    config = TrainConfig.preset("embedded", objective=FOUR, order="reticence-candour-courtesy-reports")
    assert [own.is_pairs for own in config.objectives] == [False, True, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"objective": [*FOUR[:3], "x=sft:embedded:rivers"]},
            r"^objective x: embedded:rivers: the embedded world's tasks are reports, .*, reticence, got 'rivers'$",
        ),
        (
            {"objective": [*FOUR[:3], "x=sft:embedded:reticence"]},
            r"^objective x: embedded:reticence: is a preference set, not an SFT set; give it as preference$",
        ),
        ({"preference": "embedded:reports"}, r"^preference: embedded:reports: is an SFT set, not a preference set;"),
    ],
)
def test_a_wrong_name_or_kind_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.preset("embedded", **options)


def test_a_study_does_not_take_a_task_s_name_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = Grid(TrainConfig.preset("embedded", objective=FOUR))
    names = [run.name for run in grid.runs()]
    (tmp_path / "embedded:reports").write_text("not this file")
    assert [run.name for run in grid.runs()] == names
