"""What a run's folder holds: another program's run.json, and a damaged one, are one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm.cli import main
from llm.config import TrainConfig
from llm.training.run_folder import RunFolder, differences, read_fingerprint

WHOLE: dict[str, Any] = {"fingerprint": {"options": {}, "rows": {}, "base": "x"}, "config": {}}


@pytest.mark.parametrize(
    "saved",
    [
        [], {}, {"config": {}}, WHOLE | {"config": []}, WHOLE | {"fingerprint": []},
    ],
)  # fmt: skip
def test_a_fingerprint_that_is_not_whole_is_refused(tmp_path: Path, saved: Any) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(WHOLE), encoding="utf-8")
    assert read_fingerprint(path) == WHOLE["fingerprint"]
    path.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^out: .*run\.json is not a run's of this program; give another folder$"):
        read_fingerprint(path)


@pytest.mark.parametrize("theirs", [{}, {"options": {}, "rows": {}}, {"options": [], "rows": {}, "base": "x"}])
def test_a_fingerprint_without_all_of_its_parts_is_another_run(theirs: dict[str, Any]) -> None:
    assert differences(WHOLE["fingerprint"], theirs) == ["its run.json is damaged"]
    assert differences(WHOLE["fingerprint"], WHOLE["fingerprint"]) == []


@pytest.mark.parametrize("described", ["[]", "{}", '{"base_model_name_or_path": null}', "{"])
def test_an_adapter_without_the_name_of_its_base_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], described: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(described, encoding="utf-8")
    assert main(["generate", "--model", str(tmp_path), "--prompts", "a"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "adapter_config.json" in said


def test_a_lone_surrogate_in_a_message_is_shown_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: list[str]) -> None:
        raise ValueError("kind: \ud800")

    monkeypatch.setattr("llm.cli._optima", refuse)
    assert main(["optima"]) == 2
    assert capsys.readouterr().err == "error: kind: \\ud800\n"


@pytest.mark.parametrize("inside", ["", "adapter_model.safetensors", "kept/step-000004"])
def test_overwriting_a_run_never_removes_what_the_new_run_reads(tmp_path: Path, inside: str) -> None:
    run = tmp_path / "run"
    path = run / inside
    (path if not path.suffix else path.parent).mkdir(parents=True)
    for name in ("run.json", "adapter_config.json", "adapter_model.safetensors"):
        (run / name).write_text("{}", encoding="utf-8")
    for name in ("adapter", "reference", "model"):
        config = TrainConfig(**{"out": str(run), "overwrite": True, "cache": str(tmp_path / "cache"), name: str(path)})
        refused = pytest.raises(
            ValueError, match=rf"^out: --overwrite would remove the run in .*, from which {name} takes"
        )
        with refused, RunFolder.claim(config):
            raise AssertionError("the folder was claimed")
    assert (run / "adapter_model.safetensors").is_file()


def test_a_set_beside_the_files_of_a_run_does_not_keep_it_from_being_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(WHOLE), encoding="utf-8")
    (tmp_path / "mine.jsonl").write_text("", encoding="utf-8")
    files = {"sft": str(tmp_path / "mine.jsonl"), "cache": str(tmp_path / "cache"), "out": str(tmp_path)}
    with RunFolder.claim(TrainConfig(**files, overwrite=True)) as folder:
        assert folder.path == tmp_path
    assert (tmp_path / "mine.jsonl").is_file()
