"""A model's answers, generated once and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import pipeline_runs as door
from support.judge_server import serving
from support.judged_answers import by_length, texts

torch = pytest.importorskip("torch")
from llm.evaluation.generate import Decoding, generate_answers  # noqa: E402
from llm.judging import items as asked  # noqa: E402
from llm.judging.answers import fingerprint  # noqa: E402


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "pytorch_model.bin"])
def test_answers_of_weights_that_were_trained_again_are_others(tmp_path: Path, name: str) -> None:
    fingerprints = []
    for weights in ("first", "second training"):
        (tmp_path / name).write_text(weights, encoding="utf-8")
        fingerprints.append(fingerprint(str(tmp_path)))
    assert fingerprints[0] != fingerprints[1]


def test_an_adapters_answers_on_a_base_that_was_trained_again_are_others(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder, name in ((base, "model.safetensors"), (adapter, "adapter_model.safetensors")):
        folder.mkdir()
        (folder / name).write_text("first", encoding="utf-8")
    config = {"base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    first = fingerprint(str(adapter))
    assert first == fingerprint(str(adapter))
    (base / "model.safetensors").write_text("second training", encoding="utf-8")
    assert first != fingerprint(str(adapter))
    assert fingerprint(str(base)) == fingerprint(str(adapter))[-1]


@pytest.mark.slow
def test_a_models_answers_are_generates_and_are_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "v.jsonl"
    with serving(by_length) as server:
        options = {"model": run, "judge": server.url, "judge_model": "j", "out": out, "max_new_tokens": 5, "limit": 4}
        first = door.call(capsys, "judge", **options)
        assert first.status == 0, first.err
        items = asked.from_run(str(run), reference="chosen", report=lambda *_: None, limit=4)
        made = generate_answers(str(run), [item.prompt for item in items], Decoding(max_new_tokens=5))
        assert [line["answer"] for line in json.loads((tmp_path / "v.answers.json").read_text())["answers"]] == made
        longer = [(len(a) > len(i.reference)) - (len(a) < len(i.reference)) for a, i in zip(made, items, strict=True)]
        summary = json.loads((tmp_path / "v.summary.json").read_text())
        assert summary["outcomes"] == [["tie", "win", "loss"][sign] for sign in longer]
        count = len(server.asked)
        monkeypatch.setattr("llm.judging.answers.generate_answers", None)  # neither is generated again, nor judged
        assert door.call(capsys, "judge", **options).out == first.out
        assert len(server.asked) == count
        monkeypatch.undo()
        # A conversation is asked as one.
        turns = [{"role": "user", "content": "bax der"}, {"role": "assistant", "content": "fis"}]
        rows = [{"chosen": turns, "rejected": [*turns[:1], {"role": "assistant", "content": "kur"}]}]
        spoken = door.call(capsys, "judge", **options, file=door.write(tmp_path / "s.jsonl", rows))
        assert spoken.status == 0, spoken.err
    plain = generate_answers(str(run), ["bax der"], Decoding(max_new_tokens=5))
    assert generate_answers(str(run), [turns[:1]], Decoding(max_new_tokens=5)) == plain
    assert texts(out)[-1]["answer"] == plain[0]
