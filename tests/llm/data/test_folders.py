"""Files of a folder by split and configuration, against `datasets.load_dataset` on the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from llm.data.formats import load

SETS = ("main/train-00000-of-00001", "main/test-00000-of-00001", "socratic/train-00000-of-00001", "extra")
BY_FILES = """- config_name: main
  data_files: [{split: train, path: main/train-*}, {split: test, path: main/test-*}]
- config_name: socratic
  data_files: [{split: train, path: socratic/train-*}]
"""
DEFAULT = "- config_name: main\n  data_dir: main\n  default: true\n- config_name: other\n  data_files: extra.jsonl\n"


def clone(folder: Path, configurations: str) -> Path:
    """A folder as a set of the hub is cloned: each row's prompt is the name of its file."""
    for name in SETS:
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"prompt": name, "completion": "x"}) + "\n", encoding="utf-8")
    head = f"---\nlicense: mit\nconfigs:\n{configurations}---\n" if configurations else ""
    (folder / "README.md").write_text(f"{head}# A set\n", encoding="utf-8")
    return folder


def prompts(source: Path | str, split: str = "train") -> list[object]:
    return [row.prompt for row in load(source, kind="sft", split=split).rows]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("configurations", "name", "split"),
    [
        (BY_FILES, "main", "train"),
        (BY_FILES, "main", "test"),
        (BY_FILES, "socratic", "train"),
        (DEFAULT, "", "train"),
        (DEFAULT, "main", "test"),
        (DEFAULT, "other", "train"),
        ("- config_name: only\n  data_files: extra.jsonl\n", "", "train"),
    ],
)
def test_a_configuration_has_the_rows_that_datasets_loads(
    tmp_path: Path, configurations: str, name: str, split: str
) -> None:
    folder = clone(tmp_path / "set", configurations)
    theirs = datasets.load_dataset(str(folder), name or None, split=split, cache_dir=str(tmp_path / "cache"))
    assert prompts(f"{folder}:{name}" if name else folder, split) == list(theirs["prompt"])


def test_several_configurations_are_not_mixed(tmp_path: Path) -> None:
    folder = clone(tmp_path, BY_FILES)
    with pytest.raises(ValueError, match=rf"several configurations \(main, socratic\); name one by {folder}:main$"):
        prompts(folder)
    with pytest.raises(ValueError, match=r"no configuration 'x' in its README.md, which lists main, socratic$"):
        prompts(f"{folder}:x")
    with pytest.raises(ValueError, match=r"there is no split 'test', its splits are train$"):
        prompts(f"{folder}:socratic", "test")


def test_a_card_without_configurations_leaves_the_files_to_their_names(tmp_path: Path) -> None:
    folder = clone(tmp_path, "")
    assert prompts(folder, "test") == ["main/test-00000-of-00001"]
    with pytest.raises(ValueError, match=r"no configuration 'main' in its README.md, which lists none$"):
        prompts(f"{folder}:main")


@pytest.mark.parametrize(
    ("configurations", "message"),
    [
        ("- {config_name: [\n", r"its list of configurations cannot be read: .*; mend or remove it$"),
        ("- data_files: extra.jsonl\n", r"must include `config_name`.*; mend or remove it$"),
        ("- {config_name: a, data_files: absent.jsonl}\n", r"README.md names data files that are not there: .*absent"),
        (DEFAULT.replace("other", "default"), r"several default configs: 'main' and 'default'\.; name one by .*:NAME$"),
    ],
)
def test_a_card_that_cannot_be_used_is_one_line(tmp_path: Path, configurations: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        prompts(clone(tmp_path, configurations))
    assert "\n" not in str(caught.value)


def test_a_saved_set_has_no_configurations(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"prompt": "q", "completion": "a"}]).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"a saved dataset has no configurations, got 'main'; give "):
        prompts(f"{tmp_path / 'saved'}:main")
