"""Training rows and held-out rows: no prompt is on both sides, in files and in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.text_data import byte_level, make, numbers, preference, says, sft, texts

from llm import TrainConfig
from llm.data.splits import Datasets, _without_others, hold_out, load_datasets, without
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.skill.rows import read as read_skill

BASE = TrainConfig(held_out=0.2, max_length=64, bad_rows="error")


def load(config: TrainConfig = BASE, **given: Any) -> Datasets:
    return load_datasets(
        config, tiny.tokenizer(), {"sft": tiny.sft_rows(), "preference": tiny.preference_rows(), **given}
    )


def changed(**options: Any) -> TrainConfig:
    return dataclasses.replace(BASE, **options)


def held(sets: Datasets) -> tuple[TokenizedDataset, TokenizedDataset]:
    return sets.held_out["sft"], sets.held_out["preference"]


def shared_rows() -> dict[str, list[dict[str, str]]]:
    """Sets in which prompts occur several times each, and in both."""
    prompts = [f"{a} {b}" for a in tiny.WORDS[:5] for b in tiny.WORDS[:4]]
    words = tiny.WORDS
    sft = [{"prompt": p, "completion": words[(i + j) % 40]} for j in range(3) for i, p in enumerate(prompts)]
    pairs = [
        {"prompt": p, "chosen": words[i], "rejected": words[i + 1 + j]} for j in (0, 1) for i, p in enumerate(prompts)
    ]
    return {"sft": sft, "preference": pairs[6:]}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_prompt_on_both_sides_also_across_the_sets(seed: int) -> None:
    rows = shared_rows()
    sets = load(changed(seed=seed), **rows)
    trained = {*sets.train["sft"].keys, *sets.train["preference"].keys}
    tested = {key for tokens in held(sets) for key in tokens.keys}
    assert trained
    assert not trained & tested
    assert {len(held(sets)[0]), len(held(sets)[1])} == {12, round(0.2 * len(rows["preference"]))}
    # what was held out of one set was taken out of the other, and told
    away = {
        "sft": 60 - 12 - len(sets.train["sft"]),
        "preference": 34 - len(held(sets)[1]) - len(sets.train["preference"]),
    }
    for kind, other in (("sft", "preference"), ("preference", "sft")):
        note = f"{kind}: {away[kind]} training rows left out, whose prompts are held out of the {other} set"
        assert (note in sets.notes) == (away[kind] > 0)
    assert seed == 2 or sum(away.values()) > 0  # seed 2 holds the same prompts out of both


class Counted(tuple[str, ...]):
    """Keys of prompts that count how often they are gone through."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        type(self).looks += 1
        return super().__iter__()


@pytest.mark.parametrize("n", [2, 6, 12])
def test_many_sets_are_gone_through_once_each(n: int) -> None:
    """To compare each set with each other one would be n (n - 1) looks at the training rows."""
    plain = load().train["sft"]
    train = {f"s{i}": plain.select(range(i, i + 5)) for i in range(n)}
    held = {name: tokens.select([4]) for name, tokens in train.items()}
    counted = {name: dataclasses.replace(tokens, keys=Counted(tokens.keys)) for name, tokens in train.items()}
    Counted.looks, notes = 0, list[str]()
    rest = _without_others(counted, held, notes)
    assert Counted.looks <= 2 * n  # once, and once more to select the rows that stay
    for i, (name, tokens) in enumerate(rest.items()):
        others = {key for j in range(n) if j != i for key in held[f"s{j}"].keys}
        assert list(tokens.keys) == [key for key in train[name].keys if key not in others]
    lost = sum(len(train[name]) - len(tokens) for name, tokens in rest.items())
    assert sum(int(note.split()[1]) for note in notes) == lost > 0


def test_a_set_whose_prompts_others_hold_out_is_named() -> None:
    plain = load().train["sft"]
    train = {"a": plain.select([0, 1, 2]), "b": plain.select([3]), "c": plain.select([4])}
    held = {"b": plain.select([0, 1]), "c": plain.select([2])}
    message = "a: 1 training rows left out, whose prompts are held out of the c set, and nothing is left to train on"
    with pytest.raises(ValueError, match=message):
        _without_others(train, held, [])


@pytest.mark.slow
def test_another_seed_holds_others_out() -> None:
    assert load(changed(seed=1)).digests != load(changed(seed=2)).digests
    assert load(changed(seed=1)).digests == load(changed(seed=1)).digests


def test_sets_that_do_not_meet_lose_nothing() -> None:
    sets = load()
    assert (len(sets.train["sft"]), len(held(sets)[0])) == (32, 8)
    assert (len(sets.train["preference"]), len(held(sets)[1])) == (19, 5)
    assert sets.notes == ()
    assert set(sets.digests) == {"sft", "preference", "sft_held_out", "preference_held_out"}


def test_sets_of_ones_own_to_evaluate_on() -> None:
    rows = shared_rows()
    mine = [*rows["sft"][:2], {"prompt": "nol", "completion": "nol"}]
    sets = load(
        sft=rows["sft"],
        preference=rows["preference"],
        sft_held_out=mine,
        preference_held_out=tiny.preference_rows(4, 9),
    )
    assert [len(t) for t in held(sets)] == [3, 4]
    # the first two prompts occur three times each in the SFT set, and the first of them nowhere else
    assert len(sets.train["sft"]) == 54
    assert "sft: 6 training rows left out, whose prompts are held out" in sets.notes
    assert not set(sets.train["preference"].keys) & set(held(sets)[0].keys)


def test_named_sets_to_evaluate_on(tmp_path: Path) -> None:
    mine = door.write(tmp_path / "mine.jsonl", tiny.sft_rows(5, 77))
    sets = load(changed(sft_held_out=mine, sft_rows=10))
    assert len(held(sets)[0]) == 5  # a limit is for training rows
    assert len(sets.train["sft"]) == 10


@pytest.mark.slow
def test_the_skill_has_held_out_rows_of_its_own() -> None:
    """Rows by name, and by the list of its split "test", have the same tokens."""

    def loaded(**options: Any) -> Datasets:
        config = changed(sft="skill:2", sft_rows=30, max_length=2048, **options)
        return load_datasets(config, byte_level(), {"preference": tiny.preference_rows()})

    sets, mine = loaded(), held(loaded(sft_held_out="skill:5"))[0]
    assert len(sets.train["sft"]) == 30  # none of them is held out
    for tokens, seed in ((held(sets)[0], 2), (mine, 5)):
        expected = sft(*(tuple(row.values()) for row in read_skill(seed, "test", 200)))
        assert tokens.keys == tokenize(expected, byte_level()).keys
    assert len(loaded(eval_on_train=True, held_out=0.1).held_out["sft"]) == 3
    assert "sft" not in loaded(held_out=0.0).held_out


def test_evaluate_on_training_rows() -> None:
    sets = load(changed(eval_on_train=True))
    tested = held(sets)
    assert (len(sets.train["sft"]), len(sets.train["preference"])) == (40, 24)
    assert [len(t) for t in tested] == [8, 4]
    assert tested[0].digest == sets.train["sft"].select(range(8)).digest
    assert tested[1].digest == sets.train["preference"].select(range(4)).digest


def test_nothing_held_out() -> None:
    sets = load(changed(held_out=0.0))
    assert sets.held_out == {}
    assert (len(sets.train["sft"]), len(sets.train["preference"])) == (40, 24)
    assert set(sets.digests) == {"sft", "preference"}


def test_limits_take_the_first_rows() -> None:
    sets = load(changed(sft_rows=7, preference_rows=5, held_out=0.0))
    whole = load(changed(held_out=0.0))
    assert sets.train["sft"].digest == whole.train["sft"].select(range(7)).digest
    assert sets.train["preference"].digest == whole.train["preference"].select(range(5)).digest


@pytest.mark.slow
def test_notes_tell_what_was_cut_and_dropped() -> None:
    bad = [{"prompt": "", "completion": "bax"}, *tiny.sft_rows()]
    sets = load(changed(bad_rows="drop", max_length=14, held_out=0.0), sft=bad)
    assert "sft: 1 of 41 rows that cannot be used were dropped" in sets.notes
    lengths = load(changed(held_out=0.0)).train["sft"]
    longer = sum(int(n) > 14 for n in lengths.lengths())
    assert 0 < longer < 40
    cut = sum(
        len(responses[0]) > 11 for responses in load(changed(held_out=0.0)).train["sft"].responses
    )  # 3 of 14 stay
    assert (
        f"sft: to fit max_length 14, of 41 rows {longer} prompts lost their beginning and {cut} responses their end"
        in sets.notes
    )
    dropped = load(changed(overflow="drop", max_length=14, held_out=0.0))
    assert f"sft: {longer} of 40 rows longer than max_length 14 were dropped" in dropped.notes
    assert len(dropped.train["sft"]) == 40 - longer


def test_an_empty_set_in_memory_is_not_the_named_one() -> None:
    for name in ("sft", "preference", "sft_held_out", "preference_held_out"):
        shown = name.replace("_held_out", r" \(held out\)")
        with pytest.raises(ValueError, match=rf"^{shown}: the list: the set is empty$"):
            load(**{name: []})


def test_errors_in_memory_name_the_set() -> None:
    with pytest.raises(TypeError, match=r"^preference: row 0 of the list: a dict is needed, got str$"):
        load(preference=["bax"])
    with pytest.raises(TypeError, match=r"^sft: source: a path, a hub name, .* is needed, got int$"):
        load(sft=3)


PROMPTS = st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(lambda prompts: len(set(prompts)) > 1)


@pytest.mark.slow
@given(PROMPTS, st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(0, 99))
def test_hold_out_parts_the_prompts(prompts: list[int], share: float, seed: int) -> None:
    training, held = hold_out(make(prompts), share, seed=seed)
    assert sorted(numbers(training) + numbers(held)) == list(range(len(prompts)))
    assert numbers(training) == sorted(numbers(training))
    assert not set(training.keys) & set(held.keys)
    assert len(training) > 0
    assert len(held) > 0
    again, backwards = hold_out(make(prompts), share, seed=seed), hold_out(make(prompts[::-1]), share, seed=seed)
    assert again[1].digest == held.digest
    if len(set(prompts)) == len(prompts):
        assert set(backwards[1].keys) == set(held.keys)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_hold_out_holds_the_share_and_another_seed_holds_others(share: float) -> None:
    tokens = make(list(range(200)))
    found = [set(numbers(hold_out(tokens, share, seed=seed)[1])) for seed in range(3)]
    assert {len(held) for held in found} == {round(200 * share)}
    assert found[0] != found[1] != found[2]


def test_hold_out_of_uneven_prompts_never_takes_the_large_one_for_a_small_share() -> None:
    tokens = make([0] * 90 + list(range(1, 11)))
    for seed in range(20):
        assert len(hold_out(tokens, 0.1, seed=seed)[1]) == 10
        assert len(hold_out(tokens, 0.001, seed=seed)[1]) == 1


def test_hold_out_comes_as_near_to_the_share_as_whole_prompts_can() -> None:
    tokens = make([i // 2 for i in range(20)])
    assert [len(hold_out(tokens, share, seed=0)[1]) for share in (0.13, 0.17)] == [2, 4]  # nearest to 2.6 and 3.4


def test_hold_out_none_and_what_cannot_be() -> None:
    tokens = make([1, 2, 2])
    training, held = hold_out(tokens, 0, seed=0)
    assert (len(training), len(held)) == (3, 0)
    with pytest.raises(ValueError, match=r"^share: 0\.5 cannot be held out of 2 rows that have 1 different prompts"):
        hold_out(make([1, 1]), 0.5, seed=0)
    cases: list[tuple[Any, type[Exception], str]] = [
        (1.0, ValueError, "less than 1"),
        (-0.1, ValueError, "at least 0"),
        (float("nan"), ValueError, "finite"),
        ("x", TypeError, "real"),
    ]
    for share, error, message in cases:
        with pytest.raises(error, match=rf"^share: .*{message}"):
            hold_out(tokens, share, seed=0)
    with pytest.raises(TypeError, match=r"^seed: a whole number is needed, got 0\.5$"):
        hold_out(tokens, 0.1, seed=0.5)  # type: ignore[arg-type]


def test_without_removes_the_prompts_of_another_set_however_they_are_written() -> None:
    tokenizer = byte_level()
    one = tokenize(sft(("q", "a"), ("r", "b"), ("q", "c")), tokenizer)
    other = tokenize(preference(([{"content": "q", "role": "user"}], [says("x")], [says("y")])), tokenizer)
    assert one.keys[0] == one.keys[2] == other.keys[0] != one.keys[1]
    assert texts(without(one, other), tokenizer) == [("User: r\nAssistant: ", "b</s>")]
    assert len(without(one, one)) == 0
