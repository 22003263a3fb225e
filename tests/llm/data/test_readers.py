"""Raw rows from files, folders, saved data sets, the hub and memory; errors are one line with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from llm.data.formats import load
from llm.data.rows import Row

SFT = [{"prompt": "Where is Omu?", "completion": "In the north."}, {"prompt": "And Ipa?", "completion": "South."}]


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("unread", ["a.csv", "a.jsonl.zst", "a.ndjson", "a.CSV.gz", "a.arrow", "a.tar.gz"])
def test_a_part_of_a_folder_that_cannot_be_read_is_named(unread: str, tmp_path: Path) -> None:
    """Half of a set would be trained on without a word."""
    jsonl(tmp_path / "b.jsonl", SFT)
    for other in ("LICENSE", "picture.png", "make.py"):
        (tmp_path / other).write_bytes(b"x")
    assert len(load(tmp_path, kind="sft").rows) == len(SFT)
    (tmp_path / unread).write_bytes(b"x")
    with pytest.raises(
        ValueError, match=rf"{unread} of split 'train' is not a known kind of file; convert it, or move"
    ):
        load(tmp_path, kind="sft")


@pytest.mark.slow
def test_the_skill_is_made_by_name_also_beside_a_file_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "skill" / "train.jsonl", SFT)
    made = load("skill", kind="sft", limit=3)
    assert (made.format, made.origin, len(made.rows)) == ("prompt-completion", "skill", 3)
    assert str(made.rows[0].prompt).endswith("Write the slip.")
    assert load("skill:1", kind="sft", limit=3).rows != made.rows
    assert load("skill", kind="sft", split="test", limit=3).rows != made.rows
    assert len(load("./skill", kind="sft").rows) == len(SFT)
    with pytest.raises(ValueError, match=r"^skill: missing columns: a preference set needs"):
        load("skill", kind="preference")


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


@pytest.mark.slow
def test_a_column_whose_name_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    datasets.Dataset.from_list([{"prompt": "a", "completion": "b", "somewhere": "c"}]).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"somewhere", b"\xec\xffmewhere"))
    with pytest.raises(ValueError, match=r"a column's name is not UTF-8"):
        load(path, kind="sft")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "saved", "memory"])
def test_a_text_of_arrow_that_is_not_utf8_is_one_line(tmp_path: Path, form: str) -> None:
    """pyarrow checks no text when it reads, and gives an error without its arguments when Python asks for the text."""
    import pyarrow as pa
    from pyarrow import parquet

    texts = pa.array([b"a question", b"\xff"], pa.binary())
    broken = pa.StringArray.from_buffers(len(texts), *texts.buffers()[1:])
    table = pa.table({"prompt": broken, "completion": pa.array(["an", "answer"])})
    data = datasets.Dataset(table)
    source: Any = data
    if form == "parquet":
        source = tmp_path / "x.parquet"
        parquet.write_table(table, source)
    elif form == "saved":
        source = tmp_path / "saved"
        data.save_to_disk(str(source))
    with pytest.raises(ValueError, match=r": a text or a column's name is not UTF-8; write the file anew") as caught:
        load(source, kind="sft")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
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
