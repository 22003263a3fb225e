"""Columns of Arrow, against the rows from which they were made and against `datasets`' own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from support.text_data import user

from llm.data.formats import load
from llm.data.readers import read

CALL = {"type": "function", "function": {"name": "f", "arguments": {"city": None, "days": [None, 1]}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"city": {"default": None}}}}}
ROWS: list[dict[str, Any]] = [
    {"prompt": [user("Where is it?")], "completion": [{"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]},
    {"prompt": '"Omu"?', "completion": "It is.", "tools": None},
]
JSON = datasets.Json()
MIXED = datasets.Features({"prompt": JSON, "completion": JSON, "tools": datasets.List(JSON)})


def written(where: Path, form: str) -> Any:
    """ROWS with columns of JSON, in one of the forms that `datasets` writes."""
    made = datasets.Dataset.from_list(ROWS, features=MIXED)
    if form == "saved":
        made.save_to_disk(where / "set")
        return where / "set"
    if form == "parquet":
        made.to_parquet(where / "set.parquet")
        return where / "set.parquet"
    return made


@pytest.mark.parametrize("form", ["dataset", "saved", "parquet"])
def test_columns_of_json_hold_what_was_written(form: str, tmp_path: Path) -> None:
    assert read(written(tmp_path, form), None, None).rows == ROWS


@pytest.mark.slow
@pytest.mark.oracle
def test_a_parquet_file_of_json_has_the_rows_that_datasets_reads(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    datasets.Dataset.from_list(ROWS, features=MIXED).to_parquet(path)
    theirs = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(read(path, None, None).rows) == theirs.to_list()
    first, _ = load(path, kind="sft").rows
    assert first.prompt == [user("Where is it?")]
    assert first.responses[0][0]["tool_calls"] == [CALL]  # type: ignore[index]
    assert first.tools == (TOOL,)


def test_structs_lose_the_fields_of_other_rows() -> None:
    """Arrow gives every tool the parameters of all, also behind an absent one."""
    tools = [None, {"a": {"x": 1}}, {"b": [{"y": None, "z": 2}], "a": None}]
    made = datasets.Dataset(pyarrow.table({"prompt": ["q"], "tools": [tools]}))
    assert read(made, None, None).rows == [{"prompt": "q", "tools": [None, {"a": {"x": 1}}, {"b": [{"z": 2}]}]}]


def test_a_text_that_is_no_json_is_one_line(tmp_path: Path) -> None:
    broken = pyarrow.array(['{"role": '], pyarrow.json_())
    pyarrow.parquet.write_table(pyarrow.table({"prompt": broken, "completion": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet, a column of JSON: not valid JSON: Expecting value, column 10$"):
        load(tmp_path / "x.parquet", kind="sft")
