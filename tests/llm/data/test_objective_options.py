"""Objectives as texts and tables: what they mean, that equal ones are equal, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.wrong import fails

from llm import TrainConfig
from llm.cli import main
from llm.common.option_file import read
from llm.config import config_from, configure
from llm.data.objective_options import canonical, parse_objectives, with_weights, without_weights

TEXTS = (
    "chat=sft:org/chat:main", "weight=0.2", "turns=all", "a_b=preference:pairs.jsonl", "weight=0.3", "loss=ipo",
    "batch=4", "template=Q: {prompt} A: ", "held_out=0.1", "f_star=0.5", "columns.chosen=good", "columns.rejected=bad",
    "rows=100", "beta=0.3", "c=sft:skill:3", "evaluation=other.jsonl",
)  # fmt: skip
TABLES: list[dict[str, Any]] = [
    {"name": "chat", "kind": "sft", "source": "org/chat:main", "weight": 0.2, "turns": "all"},
    {
        "name": "a_b", "kind": "preference", "source": "pairs.jsonl", "weight": 0.3, "loss": "ipo", "batch": 4,
        "template": "Q: {prompt} A: ", "held-out": 0.1, "f_star": 0.5, "columns": {"rejected": "bad", "chosen": "good"},
        "rows": 100, "beta": 0.3,
    },
    {"name": "c", "kind": "sft", "source": "skill:3", "evaluation": "other.jsonl"},
]  # fmt: skip


def test_texts_and_tables_mean_the_same() -> None:
    assert parse_objectives(TEXTS) == parse_objectives(TABLES)
    assert parse_objectives([*TEXTS[:3], TABLES[1], *TEXTS[-2:]]) == parse_objectives(TABLES)
    chat, pairs, made = parse_objectives(TEXTS)
    assert (chat.name, chat.kind, chat.source, chat.turns) == ("chat", "sft", "org/chat:main", "all")
    assert (pairs.loss, pairs.numbers, pairs.columns) == ("ipo", {"beta": 0.3}, {"chosen": "good", "rejected": "bad"})
    assert (pairs.template, pairs.batch, pairs.rows) == ("Q: {prompt} A: ", 4, 100)
    assert (made.source, made.evaluation, made.weight) == ("skill:3", "other.jsonl", None)


def test_a_configuration_keeps_texts_that_are_equal_for_equal_objectives() -> None:
    assert canonical(TABLES) == canonical(TEXTS) == TEXTS
    assert TrainConfig(objective=TABLES) == TrainConfig(objective=TEXTS)  # type: ignore[arg-type]
    again = ["a=sft:x", "rows=0", "weight=1", "split=train", "b=sft:y", "weight=0"]
    assert canonical(again) == ("a=sft:x", "weight=1.0", "b=sft:y", "weight=0.0")
    assert TrainConfig(**TrainConfig(objective=TEXTS).as_dict()).objective == TEXTS


def test_a_file_has_tables_and_the_command_line_repeats_an_option(tmp_path: Path) -> None:
    file = tmp_path / "three.toml"
    file.write_text(
        'steps = 7\n[[objectives]]\nname = "chat"\nkind = "sft"\nsource = "x"\nweight = 0.25\n'
        '[[objectives]]\nname = "safe"\nkind = "preference"\nsource = "y"\ncolumns = { chosen = "good" }\n',
        encoding="utf-8",
    )
    expected = ("chat=sft:x", "weight=0.25", "safe=preference:y", "columns.chosen=good")
    assert configure("", read(file), "three.toml") == {"steps": 7, "objective": expected}
    assert config_from(["--config", str(file), "--preset", "embedded"], "train", "").objective == expected
    words = "--preset embedded --objective chat=sft:x weight=0.25 --steps 9 --objective=safe=preference:y "
    words += "columns.chosen=good"
    config = config_from(words.split(), "train", "")
    assert (config.objective, config.steps, config.batch_sft) == (expected, 9, 12)  # the embedded preset's batch
    other = ["--config", str(file), "--model", "m", "--objective", "a=sft:u", "b=sft:v"]
    assert config_from(other, "train", "").names == ("a", "b")  # the command line's take the place of the file's


def test_objectives_take_the_place_of_a_presets_sets() -> None:
    config = TrainConfig.preset("llama3-8b", objective=["a=sft:u", "b=preference:v"], reference="base")
    assert [(own.source, own.batch, own.rows) for own in config.objectives] == [("u", 16, None), ("v", 4, None)]
    assert (config.sft, config.sft_rows, config.order, config.lr) == ("embedded", 0, "a-b", 5e-5)


def test_weights_can_be_replaced_and_removed() -> None:
    texts = ("a=sft:x", "weight=0.4", "b=preference:y", "f_star=1.0")
    assert with_weights(texts, (1, 0)) == ("a=sft:x", "weight=1.0", "b=preference:y", "weight=0.0", "f_star=1.0")
    assert without_weights(texts) == ("a=sft:x", "b=preference:y")
    fails(lambda: with_weights(texts, (0.5,)), ValueError, "weights: one for each of a, b is needed", "0.5")


B = "b=sft:y"
WRONG: list[tuple[Any, type[Exception], str, str]] = [
    (["a=sft:x"], ValueError, "objective: at least two are needed", "a alone"),
    (["a=sft:x", "a=sft:y"], ValueError, "objective: the name a is given 2 times", "must differ"),
    (["a=x.jsonl", B], ValueError, "objective: a=x.jsonl must be NAME=KIND:SOURCE", "sft or preference"),
    (["a=dpo:x", B], ValueError, "objective a: kind: must be one of sft, preference", "dpo"),
    (["a=sft:", B], ValueError, "objective a: source: is empty", "embedded"),
    (["a", B], ValueError, "objective: a is neither NAME=KIND:SOURCE", "FIELD=VALUE"),
    (["weight=1", B], ValueError, "objective: weight=1 stands before any NAME=KIND:SOURCE", "field"),
    (["a=sft:x", "wieght=1", B], ValueError, "objective: wieght=1 must be NAME=KIND:SOURCE", "did you mean weight?"),
    (["a=sft:x", "kind=sft:y"], ValueError, "objective: kind is a field's name, got kind=sft:y", "another name"),
    (["a=sft:x", "weight=1", "weight=0", B], ValueError, "objective a: weight is given twice", "1.0 and 0"),
    (["a=sft:x", "weight=much", B], ValueError, "objective a: weight: must be a number", "'much'"),
    (["a=sft:x", "weight=1.5", B], ValueError, "objective a: weight: must be between 0 and 1", "1.5"),
    (["a=sft:x", "batch=2.5", B], ValueError, "objective a: batch: must be a whole number", "'2.5'"),
    (["a=sft:x", "batch=0", B], ValueError, "objective a: batch: must be at least 1", "0"),
    (["a=sft:x", "loss=dpo", B], ValueError, "objective a: loss: is for pairs", "leave it out"),
    (["a=sft:x", "beta=0.5", B], ValueError, "objective a: beta: is for pairs", "leave it out"),
    (["a=preference:x", "loss=ppo", B], ValueError, "objective a: loss: must be one of dpo", "ppo"),
    (["a=preference:x", "turns=all", B], ValueError, "objective a: turns: is for SFT sets", "leave it out"),
    (["a=preference:x", "beta=0", B], ValueError, "objective a: beta: must be greater than 0", "0"),
    (["a=sft:x", "columns=y", B], ValueError, "objective a: columns are written columns.OURS=THEIRS", "columns=y"),
    (["A=sft:x", B], ValueError, "objective: a name is of lower-case letters", "'A'"),
    (["batch=sft:x", B], ValueError, "objective: batch=sft:x stands before", "NAME=KIND:SOURCE"),
    (["a=sft:x", "a_star=sft:y"], ValueError, "objective: a_star would clash with a key of metrics.jsonl", "name"),
    (["a=sft:x", "a_held_out=sft:y"], ValueError, "objective: a_held_out would clash", "another name"),
    ([{"name": "a", "kind": "sft"}, B], ValueError, "objective a: has no source", "fields are name, kind, source"),
    ([{"name": "a", "kind": "sft", "source": "x", "los": 1}, B], ValueError, "objective a: los is no field", "loss?"),
    ([{"name": "a", "kind": "sft", "source": 3}, B], TypeError, "objective a: source: must be a text", "3"),
    ([{"name": "loss", "kind": "sft", "source": "x"}, B], ValueError, "objective: loss is a field's name", "another"),
    ([3, B], TypeError, "objectives: each must be a table", "3"),
    ("a=sft:x", TypeError, "objective: must be a list of texts or tables", "'a=sft:x'"),
]


@pytest.mark.parametrize(("given", "error", "begins", "shows"), WRONG, ids=lambda x: str(x)[:40])
def test_what_is_no_objective(given: Any, error: type[Exception], begins: str, shows: str) -> None:
    fails(lambda: TrainConfig(objective=given), error, begins, shows)


UNBOUNDED = [
    {"name": "a", "kind": "sft", "source": "rows"},
    {"name": "b", "kind": "preference", "source": "rows", "loss": "robust", "label_smoothing": 0.2},
]


def test_gaps_of_a_loss_without_a_lower_bound_are_refused() -> None:
    """(-(1-ε) log σ(h) + ε log σ(-h)) / (1-2ε) tends to -ε h / (1-2ε) as the margin h grows."""
    for changes in ({"method": "maxright"}, {"f_star": "compute"}):
        with pytest.raises(
            ValueError, match=r"^objective b: loss: robust with label_smoothing 0\.2 has no lower bound"
        ):
            TrainConfig(objective=UNBOUNDED, **changes)  # type: ignore[arg-type]
    TrainConfig(objective=UNBOUNDED, method="mix")  # type: ignore[arg-type]
    whole = [UNBOUNDED[0], {**UNBOUNDED[1], "label_smoothing": 0.0}]
    TrainConfig(objective=whole, method="maxright")  # type: ignore[arg-type]


def test_an_option_of_the_run_is_named_where_it_stands_as_a_field() -> None:
    with pytest.raises(ValueError, match=r"; bad_rows is an option of the run, for all objectives: --bad-rows$"):
        parse_objectives(["a=sft:x", "bad_rows=drop"])


def test_the_option_without_a_value_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "somewhere", "--objective"]) == 2
    assert capsys.readouterr().err.startswith("error: --objective: a value is missing; NAME=KIND:SOURCE")
