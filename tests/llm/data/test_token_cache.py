"""Cached token ids are the ids of a new tokenisation, and are found only where nothing that they depend on differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from llm import TrainConfig
from llm.data import splits, token_cache
from llm.data.splits import load_datasets

pytest.importorskip("torch")

CHAT = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
CHAT += "{% if add_generation_prompt %}assistant {% endif %}"


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of sets that are tokenised; every file counts as large."""
    kinds: list[str] = []
    ordinary = splits.tokenize

    def noted(rows: Any, *arguments: Any, **options: Any) -> Any:
        kinds.append(rows.kind)
        return ordinary(rows, *arguments, **options)

    monkeypatch.setattr(splits, "tokenize", noted)
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1)
    return kinds


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    """Write rows as lines of JSON; return the path."""
    (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(folder / name)


def config(folder: Path, **changes: Any) -> TrainConfig:
    """Of both sets as files."""
    sets = {"sft": folder / "sft.jsonl", "preference": folder / "preference.jsonl", "cache": folder / "cache"}
    if not sets["sft"].exists():
        write(folder, "sft.jsonl", tiny.sft_rows())
        write(folder, "preference.jsonl", tiny.preference_rows())
    return TrainConfig(**{**{k: str(v) for k, v in sets.items()}, "held_out": 0.0, "max_length": 64, **changes})


@pytest.mark.slow
def test_the_second_time_nothing_is_tokenized(tmp_path: Path, tokenized: list[str]) -> None:
    first = load_datasets(config(tmp_path), tiny.tokenizer(), {})
    assert tokenized == ["sft", "preference"]
    again = load_datasets(config(tmp_path, seed=7, held_out=0.2), tiny.tokenizer(), {})
    assert len(tokenized) == 2
    whole = load_datasets(config(tmp_path), tiny.tokenizer(), {})
    assert whole.digests == first.digests
    assert whole.notes == first.notes
    assert whole.train["sft"].keys == first.train["sft"].keys
    assert {*again.train["preference"].keys, *again.held_out["preference"].keys} == set(first.train["preference"].keys)


def test_masks_and_notes_are_kept(tmp_path: Path, tokenized: list[str]) -> None:
    turns = [{"role": r, "content": c} for r, c in (("user", "bax"), ("assistant", "der"), ("user", "bax der"))]
    rows = [{"id": i, "messages": [*turns, {"role": "assistant", "content": "der"}]} for i in range(4)]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = CHAT
    c = config(tmp_path, sft=write(tmp_path, "turns.jsonl", rows), sft_turns="all", max_length=12)
    first, again = (load_datasets(c, tokenizer, {}) for _ in range(2))
    assert tokenized == ["sft", "preference"]
    assert again.notes == first.notes
    assert any("id" in note for note in again.notes)
    assert first.train["sft"].trained is not None
    assert again.train["sft"].trained is not None
    assert [mask.tolist() for mask in again.train["sft"].trained] == [
        mask.tolist() for mask in first.train["sft"].trained
    ]
    assert not all(mask.all() for mask in again.train["sft"].trained)
    assert again.train["sft"].digest == first.train["sft"].digest


@pytest.mark.slow
def test_whatever_the_ids_depend_on_is_tokenized_anew(tmp_path: Path, tokenized: list[str]) -> None:
    chat = tiny.tokenizer()
    chat.chat_template = CHAT
    start = tiny.tokenizer(bos=True)
    more = tiny.tokenizer()
    more.add_tokens(["bax"], special_tokens=True)
    variants: list[tuple[dict[str, Any], Any]] = [
        ({}, tiny.tokenizer()),
        ({"template": "Q {prompt} A "}, tiny.tokenizer()),
        ({"max_length": 9}, tiny.tokenizer()),
        ({"overflow": "drop", "max_length": 24}, tiny.tokenizer()),
        ({"sft_rows": 20, "preference_rows": 20}, tiny.tokenizer()),
        ({}, chat),
        ({}, start),
        ({}, more),
    ]
    for j, (options, tokenizer) in enumerate(variants):
        load_datasets(config(tmp_path, **options), tokenizer, {})
        assert len(tokenized) == 2 * (j + 1), f"variant {j}"
    write(tmp_path, "sft.jsonl", tiny.sft_rows(seed=5))
    load_datasets(config(tmp_path), tiny.tokenizer(), {})
    assert tokenized[-1] == "sft"
    assert len(tokenized) == 2 * len(variants) + 1


@pytest.mark.slow
def test_a_template_that_writes_the_date_is_tokenized_anew_each_day(
    tmp_path: Path, tokenized: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%d') }} " + CHAT
    load_datasets(config(tmp_path), tokenizer, {})
    load_datasets(config(tmp_path), tokenizer, {})
    assert len(tokenized) == 2
    monkeypatch.setattr(token_cache, "today", lambda: "2031-05-06")
    load_datasets(config(tmp_path), tokenizer, {})
    assert len(tokenized) == 4


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_entry_is_tokenized_anew(tmp_path: Path, tokenized: list[str], damage: str) -> None:
    first = load_datasets(config(tmp_path), tiny.tokenizer(), {})
    for path in (tmp_path / "cache" / "tokens").glob("*/ids.safetensors"):
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(data[:-3] if damage == "cut" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert load_datasets(config(tmp_path), tiny.tokenizer(), {}).digests == first.digests
    assert len(tokenized) == 4


@pytest.mark.slow
def test_a_small_set_is_tokenized_once_in_a_process_unless_it_changes(
    tmp_path: Path, tokenized: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(token_cache, "_here", {})
    first = load_datasets(config(tmp_path), tiny.tokenizer(), {})
    again = load_datasets(config(tmp_path, seed=7), tiny.tokenizer(), {})
    assert tokenized == ["sft", "preference"]
    assert (again.digests, again.notes) == (first.digests, first.notes)
    write(tmp_path, "sft.jsonl", tiny.sft_rows(seed=5))
    other = load_datasets(config(tmp_path), tiny.tokenizer(), {})
    assert tokenized == ["sft", "preference", "sft"]
    assert other.digests["sft"] != first.digests["sft"]
    load_datasets(config(tmp_path, max_length=63), tiny.tokenizer(), {})
    assert len(tokenized) == 5
    monkeypatch.setattr(token_cache, "_KEPT_HERE", 2)
    load_datasets(config(tmp_path, max_length=62), tiny.tokenizer(), {})
    assert len(token_cache._here) == 2


def test_small_files_and_rows_in_memory_are_not_cached_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_datasets(config(tmp_path), tiny.tokenizer(), {})
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1)
    load_datasets(config(tmp_path), tiny.tokenizer(), {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()})
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_no_result(tmp_path: Path, tokenized: list[str]) -> None:
    c = config(tmp_path)
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    assert len(load_datasets(c, tiny.tokenizer(), {}).train["sft"]) == 40
    assert tokenized == ["sft", "preference"]


def test_labels_are_kept(tmp_path: Path, tokenized: list[str]) -> None:
    rows = [{**row, "label": i % 2 == 0} for i, row in enumerate(tiny.sft_rows(6))]
    c = config(tmp_path, preference=write(tmp_path, "labelled.jsonl", rows), preference_loss="kto")
    first, again = (load_datasets(c, tiny.tokenizer(), {}).train["preference"] for _ in range(2))
    assert tokenized == ["sft", "unpaired"]
    assert first.labels == again.labels == (True, False) * 3
    assert first.digest == again.digest
