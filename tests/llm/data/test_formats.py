"""Rows from files, folders, saved datasets and memory: what each format becomes, and one clear line for what is bad."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

datasets = pytest.importorskip("datasets")

from llm.data.formats import ASSISTANT, Row, load  # noqa: E402 (needs the extra that the line above asks for)

SFT = [{"prompt": "Where is Omu?", "completion": "In the north."}, {"prompt": "And Ipa?", "completion": "South."}]
PAIR = {"prompt": "Where is Omu?", "chosen": "North.", "rejected": "South."}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write(where: Path, form: str) -> Any:
    """SFT in one of the forms that a source may have."""
    if form == "list":
        return SFT
    data = datasets.Dataset.from_list(SFT)
    if form == "dataset":
        return data
    if form in ("saved", "saved dict"):
        (data if form == "saved" else datasets.DatasetDict({"train": data})).save_to_disk(where / "saved")
        return where / "saved"
    if form == "parquet":
        data.to_parquet(where / "x.parquet")
        return str(where / "x.parquet")
    if form == "json list":
        (where / "x.json").write_text(json.dumps(SFT, indent=1), encoding="utf-8-sig")
        return where / "x.json"
    if form == "json lines":
        return jsonl(where / "x.json", SFT)
    if form == "gz":
        (where / "x.jsonl.gz").write_bytes(gzip.compress(jsonl(where / "x", SFT).read_bytes()))
        return where / "x.jsonl.gz"
    if form == "shards":
        jsonl(where / "f" / "data" / "train-00001-of-00002.jsonl", SFT[1:])
        jsonl(where / "f" / "data" / "train-00000-of-00002.jsonl", SFT[:1])
        jsonl(where / "f" / "data" / "test-00000-of-00001.jsonl", [{"prompt": "x", "completion": "y"}])
        return where / "f"
    return jsonl(where / "x.jsonl", SFT)


FORMS = ["list", "dataset", "saved", "saved dict", "parquet", "json list", "json lines", "gz", "shards", "jsonl"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_source_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    source = write(tmp_path, form)
    rows = load(source, kind="sft")
    assert rows.rows == (Row("Where is Omu?", ("In the north.",)), Row("And Ipa?", ("South.",)))
    assert (rows.kind, rows.format, rows.dropped) == ("sft", "prompt-completion", 0)
    assert load(source, kind="sft", limit=1).rows == rows.rows[:1]
    assert load(source, kind="sft", split="train", limit=5).rows == rows.rows
    assert rows.origin == str(source) or form in ("list", "dataset")


CASES: dict[str, tuple[str, dict[str, Any], str, Row]] = {
    "conversational prompt-completion": (
        "sft",
        {"prompt": [user("q")], "completion": [says("a")]},
        "prompt-completion",
        Row([user("q")], ([says("a")],)),
    ),
    "a string beside a conversation": (
        "sft",
        {"prompt": [user("q")], "completion": "a"},
        "prompt-completion",
        Row([user("q")], ([says("a")],)),
    ),
    "messages: the last one alone is the response": (
        "sft",
        {"messages": [user("q"), says("a"), user("r"), says("b")], "prompt": "unused"},
        "messages",
        Row([user("q"), says("a"), user("r")], ([says("b")],)),
    ),
    "further keys of a message are left out": (
        "sft",
        {"messages": [{**user("q"), "tool_calls": None}, says("a")]},
        "messages",
        Row([user("q")], ([says("a")],)),
    ),
    "instruction": (
        "sft",
        {"instruction": "Sum up.", "input": "A tale.", "output": "Short."},
        "instruction",
        Row("Sum up.\n\nA tale.", ("Short.",)),
    ),
    "instruction with an empty input": (
        "sft",
        {"instruction": "Sum up.", "input": "", "output": "Short."},
        "instruction",
        Row("Sum up.", ("Short.",)),
    ),
    "instruction without the column": (
        "sft",
        {"instruction": "Sum up.", "output": "Short."},
        "instruction",
        Row("Sum up.", ("Short.",)),
    ),
    "explicit": ("preference", PAIR, "explicit", Row("Where is Omu?", ("North.", "South."))),
    "explicit, whitespace kept": (
        "preference",
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"},
        "explicit",
        Row("\n\nHuman: q\n\nAssistant:", (" a", " b")),
    ),
    "explicit, the prompt once more in the conversations": (
        "preference",
        {"prompt": "q", "chosen": [user("q"), says("a")], "rejected": [user("q"), says("b")]},
        "explicit",
        Row([user("q")], ([says("a")], [says("b")])),
    ),
    "implicit conversations": (
        "preference",
        {
            "chosen": [user("q"), says("a"), user("r"), says("b")],
            "rejected": [user("q"), says("a"), user("r"), says("c")],
        },
        "implicit",
        Row([user("q"), says("a"), user("r")], ([says("b")], [says("c")])),
    ),
    "implicit strings: the last mark that both have, not the last common character": (
        "preference",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: It\n\nHuman: r\n\nAssistant: It is big",
            "rejected": "\n\nHuman: q\n\nAssistant: It\n\nHuman: r\n\nAssistant: It is blue",
        },
        "implicit",
        Row("\n\nHuman: q\n\nAssistant: It\n\nHuman: r\n\nAssistant:", (" It is big", " It is blue")),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_of_every_format_is_recognised_and_read(case: str) -> None:
    kind, cells, name, row = CASES[case]
    found = load([cells], kind=kind)  # type: ignore[arg-type]
    assert (found.format, found.rows) == (name, (row,))
    assert load([cells], kind=kind, format=name).rows == (row,)  # type: ignore[arg-type]


def test_conversational_rows_are_trls_own(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.data_utils")
    pair = {
        "chosen": [user("q"), says("a"), user("r"), says("b")],
        "rejected": [user("q"), says("a"), user("r"), says("c")],
    }
    theirs = trl.extract_prompt(pair)
    # Through Parquet, where a message is a struct.
    datasets.Dataset.from_list([pair]).to_parquet(tmp_path / "x.parquet")
    ours = load(tmp_path / "x.parquet", kind="preference").rows[0]
    assert ours == Row(theirs["prompt"], (theirs["chosen"], theirs["rejected"]))


@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.text(alphabet="ab \n", max_size=6), max_size=3))
def test_implicit_strings_split_where_the_response_begins(chosen: str, rejected: str, turns: list[str]) -> None:
    """Whatever the turns before are, prompt + response is the text again, and the prompt ends in the mark."""
    prompt = "".join(f"\n\nHuman: {turn}{ASSISTANT} {turn}" for turn in turns) + f"\n\nHuman: q{ASSISTANT}"
    chosen, rejected = "a" + chosen.replace(ASSISTANT, ""), "b" + rejected.replace(ASSISTANT, "")
    row = load([{"chosen": prompt + chosen, "rejected": prompt + rejected}], kind="preference").rows[0]
    assert row == Row(prompt, (chosen, rejected))


def test_the_input_can_be_left_out_as_the_authors_do() -> None:
    cells = [{"instruction": "Sum up.", "input": "A tale.", "output": "Short."}]
    assert load(cells, kind="sft", ignore_input=True).rows[0].prompt == "Sum up."


def test_columns_are_mapped_and_decide_the_format() -> None:
    cells = [{"question": "q", "answer": "a", "messages": [user("x"), says("y")]}]
    assert load(cells, kind="sft").format == "messages"
    mapped = load(cells, kind="sft", columns={"prompt": "question", "completion": "answer"})
    assert (mapped.format, mapped.rows) == ("prompt-completion", (Row("q", ("a",)),))


def test_splits_are_told_by_name(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", SFT[:1])
    jsonl(tmp_path / "test.jsonl", SFT[1:])
    (tmp_path / "README.md").write_text("words", encoding="utf-8")
    assert load(tmp_path, kind="sft").rows[0].prompt == "Where is Omu?"
    assert load(tmp_path, kind="sft", split="test").rows[0].prompt == "And Ipa?"
    assert len(load(datasets.Dataset.from_list(SFT, split="test"), kind="sft", split="test").rows) == 2
    both = datasets.DatasetDict({"fit": datasets.Dataset.from_list(SFT)})
    assert len(load(both, kind="sft", split="fit").rows) == 2
    with pytest.raises(ValueError, match=r"no split 'train', its splits are fit$"):
        load(both, kind="sft")
    with pytest.raises(ValueError, match=r"no split 'validation', its splits are train, test$"):
        load(tmp_path, kind="sft", split="validation")
    with pytest.raises(ValueError, match=r"^split: .*train.jsonl has no splits, got 'test'$"):
        load(tmp_path / "train.jsonl", kind="sft", split="test")


def test_bad_rows_are_counted_or_dropped() -> None:
    rows = [SFT[0], {"prompt": "x", "completion": " \n"}, SFT[1], {"prompt": "x"}]
    with pytest.raises(
        ValueError, match=r"^row 1 of the list: column 'completion' is empty \(2 of 4 rows are bad, .*--bad"
    ):
        load(rows, kind="sft")
    kept = load(rows, kind="sft", bad_rows="drop")
    assert ([row.prompt for row in kept.rows], kept.dropped) == (["Where is Omu?", "And Ipa?"], 2)
    with pytest.raises(ValueError, match=r"^row 0 of the list: .* is empty \(1 of 1 rows are bad\)$"):
        load(rows[1:2], kind="sft", bad_rows="drop")


BAD_ROWS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("sft", {"prompt": "", "completion": "a"}, ValueError, r"column 'prompt' is empty"),
    ("sft", {"prompt": 3, "completion": "a"}, TypeError, r"column 'prompt' must hold a text or a list .* got int 3"),
    ("sft", {"prompt": "q", "completion": None}, TypeError, r"column 'completion' must hold .* got NoneType"),
    ("sft", {"prompt": [user(" ")], "completion": "a"}, ValueError, r"column 'prompt' is empty"),
    ("sft", {"prompt": ["q"], "completion": "a"}, TypeError, r"column 'prompt': a message is needed.* got str 'q'"),
    (
        "sft",
        {"prompt": [{"role": "user"}], "completion": "a"},
        TypeError,
        r"message's content must be a text, got None",
    ),
    ("sft", {"prompt": [user("q"), says("a")], "completion": "b"}, ValueError, r"prompt ends with an assistant's"),
    (
        "sft",
        {"messages": [user("q"), says("a"), user("r")]},
        ValueError,
        r"the last message must be the assistant's, is of role user",
    ),
    (
        "sft",
        {"prompt": [user("q")], "completion": [user("a")]},
        ValueError,
        r"must begin and end with an assist.*has user",
    ),
    ("sft", {"prompt": [user("q")], "completion": [says("a"), user("b")]}, ValueError, r"has assistant, user \("),
    (
        "preference",
        {"prompt": [user("q")], "chosen": [user("q"), says("a")], "rejected": [says("b")]},
        ValueError,
        r"chosen: must begin and end with an assistant's message, has user, assistant",
    ),
    ("sft", {"messages": [says("a")]}, ValueError, r"the prompt is empty"),
    ("sft", {"messages": [user("q"), says("")]}, ValueError, r"the response is empty"),
    ("sft", {"messages": "text"}, TypeError, r"messages must be a list"),
    ("sft", {"instruction": "x", "input": 3, "output": "y"}, TypeError, r"column 'input' must hold a text, got int 3"),
    ("sft", {"instruction": [user("x")], "output": "y"}, TypeError, r"column 'instruction' must hold a text, got list"),
    ("sft", {"prompt": "q", "completion": "a\ud800"}, ValueError, r"'completion' is not valid Unicode at character 1"),
    ("preference", {**PAIR, "rejected": ""}, ValueError, r"column 'rejected' is empty"),
    ("preference", {**PAIR, "rejected": PAIR["chosen"]}, ValueError, r"chosen and rejected are the same"),
    ("preference", {"chosen": [user("q")], "rejected": [user("q")]}, ValueError, r"chosen and rejected are the same"),
    ("preference", {"chosen": [user("q"), says("a")], "rejected": [user("q")]}, ValueError, r"rejected is empty"),
    ("preference", {"chosen": [says("a")], "rejected": [says("b")]}, ValueError, r"the prompt is empty"),
    ("preference", {"chosen": "It is blue", "rejected": "It is big"}, ValueError, r"no common beginning that ends in"),
    ("preference", {"chosen": "a", "rejected": [says("b")]}, TypeError, r"must both be texts or both be lists"),
    (
        "preference",
        {"chosen": f"\n\nHuman: q{ASSISTANT}", "rejected": f"\n\nHuman: q{ASSISTANT} a"},
        ValueError,
        "chosen is",
    ),
]


@pytest.mark.parametrize(("kind", "cells", "error", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_column(kind: Any, cells: Any, error: type[Exception], message: str) -> None:
    good = CASES["instruction" if kind == "sft" else "explicit"][1]
    with pytest.raises(error, match=rf"^row 0 of the list: .*{message}") as caught:
        load([cells], kind=kind)
    assert "\n" not in str(caught.value)
    assert len(load([good], kind=kind).rows) == 1


def test_bad_lines_are_named_by_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    good = json.dumps(SFT[0])
    path.write_text(f"{good}\n\n  \n{good}\n", encoding="utf-8")
    assert len(load(path, kind="sft").rows) == 2  # blank lines are no rows
    for line, message in [
        ('{"prompt": "q",', r"not valid JSON: .*column 16$"),
        ("[1]", r"a JSON object is needed, got list$"),
        ("[" * 100_000, r"(nested too deep|not valid JSON: .*)$"),
    ]:
        path.write_text(f"{good}\n\n{line}\n{good}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=rf"x\.jsonl, line 3: {message}"):
            load(path, kind="sft")
        assert len(load(path, kind="sft", limit=1).rows) == 1  # lines after the limit are not read
    path.write_bytes(good.encode() + b'\n{"prompt": "\xff"}\n')
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2: not valid UTF-8 at byte 12$"):
        load(path, kind="sft")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name, content, message in [
        ("x.json", b"[1]", r"row 0 of .*x\.json: a JSON object is needed, got int"),
        ("x.json", b'[\n{"a": 1},\n{]', r"x\.json: not valid JSON: .*line 3, column 2"),
        ("x.parquet", b"PAR1 and no more", r"x\.parquet: cannot be read as Parquet"),
        ("x.jsonl.gz", b"plain", r"x\.jsonl\.gz: cannot be unpacked"),
        ("x.jsonl.gz", gzip.compress(b"{}" * 99)[:-9], r"x\.jsonl\.gz: cannot be unpacked"),
        ("x.csv", b"a,b", r"x\.csv: not a known kind of file; known are \.jsonl"),
        ("x.jsonl", b"\n", r"x\.jsonl: the set is empty"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path / name, kind="sft")
        assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder holds no .*\.jsonl.* and no saved dataset"):
        load(tmp_path, kind="sft")
    (tmp_path / "README.md").write_text("words", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"the folder holds no"):
        load(tmp_path, kind="sft")
    jsonl(tmp_path / "two" / "train.jsonl", SFT)
    datasets.Dataset.from_list(SFT).to_parquet(tmp_path / "two" / "train.parquet")
    with pytest.raises(ValueError, match=r"more than one type \(\.jsonl, \.parquet\)"):
        load(tmp_path / "two", kind="sft")
    saved = write(tmp_path, "saved")
    next(saved.glob("*.arrow")).unlink()
    with pytest.raises(FileNotFoundError, match=r"saved: the saved dataset is not complete"):
        load(saved, kind="sft")


@pytest.mark.parametrize("name", ["no/such.jsonl", "no.jsonl", "./no/folder", "org/name/more", "imdb"])
def test_what_is_no_hub_name_is_a_missing_file(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or folder, and no hub name"):
        load(name, kind="sft")


@pytest.mark.parametrize(
    ("problem", "error", "message"),
    [
        (
            ConnectionError("Couldn't reach\n it"),
            FileNotFoundError,
            r"does not give it \(Couldn't reach it\).*--local-dir F",
        ),
        (ValueError("Unknown split"), ValueError, r"^org/name:small: cannot be loaded from the hub: Unknown split$"),
        (
            RuntimeError("Dataset scripts are no longer supported"),
            ValueError,
            r"code that comes with a set is never run",
        ),
    ],
)
def test_the_hub_s_errors_are_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, error: type[Exception], message: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(error, match=message) as caught:
        load("org/name:small", kind="sft")
    assert "\n" not in str(caught.value)


def test_a_hub_name_is_loaded_with_its_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return datasets.Dataset.from_list(SFT)

    monkeypatch.setattr(datasets, "load_dataset", answer)
    assert load("org/name:small", kind="sft", split="test", limit=1).origin == "org/name:small"
    assert len(load("org/name", kind="sft").rows) == 2
    assert asked == [(("org/name", "small"), {"split": "test"}), (("org/name", None), {"split": "train"})]


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (SFT, {"kind": "dpo"}, ValueError, r"^kind: must be one of sft, preference, got 'dpo'$"),
        (
            SFT,
            {"format": "implicit"},
            ValueError,
            r"^format: must be auto, prompt-completion or messages or .*'implicit'",
        ),
        (
            SFT,
            {"format": "messages"},
            ValueError,
            r"column 'messages' of format messages is missing.*prompt, comp.*--columns",
        ),
        (
            SFT,
            {"kind": "preference"},
            ValueError,
            r"missing columns: a preference set needs .* its columns are prompt, comp",
        ),
        (SFT, {"columns": {"prompt": "q"}}, ValueError, r"column 'q' \(given by --columns for prompt\) is missing"),
        (SFT, {"columns": {"answer": "prompt"}}, ValueError, r"^columns: sft sets have .*, got 'answer'$"),
        (SFT, {"bad_rows": "skip"}, ValueError, r"^bad_rows: must be 'error' or 'drop', got 'skip'$"),
        (SFT, {"limit": 0}, ValueError, r"^limit: must be at least 1, got 0$"),
        ([], {}, ValueError, r"^the list: the set is empty$"),
        (["text"], {}, TypeError, r"^row 0 of the list: a dict is needed, got str$"),
        (3, {}, TypeError, r"^source: a path, .* is needed, got int$"),
    ],
)
def test_wrong_arguments(source: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(source, **{"kind": "sft", **options})
