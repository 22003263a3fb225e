"""The closest prompts of two sets: hand-made vectors, and the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import TrainConfig  # noqa: E402
from llm.data.formats import load  # noqa: E402
from llm.evaluation.similarity import (  # noqa: E402
    SimilarityConfig,
    closest,
    plain,
    similar_embedded,
    similar_pairs,
    similarity,
    summary,
    table,
)

# Directions in the plane, by degrees: what a text means here.
ANGLES = {"cat": 0, "kitten": 10, "dog": 40, "car": 90, "purrs": 5, "meows": 20, "barks": 50, "honks": 100, "far": 170}


def embed(texts: Any) -> Any:
    angles = np.deg2rad([ANGLES[t] for t in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def cosine(a: str, b: str) -> Any:
    return pytest.approx(np.cos(np.deg2rad(ANGLES[a] - ANGLES[b])), abs=1e-6)


def sft_set(*rows: tuple[str, str]) -> Any:
    return load([{"prompt": p, "completion": c} for p, c in rows], kind="sft")


def preference_set(*rows: tuple[str, str, str]) -> Any:
    return load([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows], kind="preference")


def test_pairs_and_their_cosines() -> None:
    sft = sft_set(("car", "honks"), ("cat", "purrs"), ("cat", "far"))
    preference = preference_set(("dog", "barks", "far"), ("kitten", "meows", "barks"), ("car", "barks", "honks"))
    values, pairs = similar_pairs(sft, preference, embed, top=2)
    # dog is 40 degrees from cat and 50 from car; car has the same text
    assert list(values) == [cosine("dog", "cat"), cosine("kitten", "cat"), 1.0]
    assert [(p.preference_row, p.sft_row) for p in pairs] == [(2, 0), (1, 1)]
    second = pairs[1]
    assert (second.prompt, second.sft_prompt) == ("kitten", "cat")
    assert (second.chosen, second.rejected, second.target) == ("meows", "barks", "purrs")
    assert second.prompts == cosine("kitten", "cat")
    assert second.chosen_target == cosine("meows", "purrs")
    assert second.rejected_target == cosine("barks", "purrs")
    assert second.chosen_rejected == cosine("meows", "barks")
    record = summary(values, pairs)
    assert record["prompts"] == 3
    assert record["top"] == 2
    assert record["mean"] == pytest.approx(values.mean())
    assert record["quantiles"]["0"] == values.min()
    assert record["quantiles"]["0.5"] == np.median(values)
    assert record["top_chosen_target"] == pytest.approx((pairs[0].chosen_target + second.chosen_target) / 2)
    assert record["pairs"][1]["sft_prompt"] == "cat"
    assert json.loads(json.dumps(record)) == record
    assert f"chosen_target    {record['top_chosen_target']:.4f}" in table(record)


def test_ties_go_to_the_first_rows() -> None:
    sft = sft_set(("dog", "barks"), ("cat", "purrs"), ("cat", "meows"), ("dog", "honks"))
    preference = preference_set(*((p, "barks", "far") for p in ("dog", "cat", "dog", "kitten", "cat")))
    _, pairs = similar_pairs(sft, preference, embed, top=9)
    assert [(p.preference_row, p.sft_row) for p in pairs] == [(0, 0), (1, 1), (2, 0), (4, 1), (3, 1)]
    _, fewer = similar_pairs(sft, preference, embed, top=2)
    assert fewer == pairs[:2]
    # what rounding of float32 alone tells apart is a tie as well
    vectors = np.array([[0.6, 0.8], [np.nextafter(np.float32(0.6), 1), 0.8], [1.0, 0.0]], dtype=np.float32)
    assert list(closest(np.array([[1.0, 0.0]], dtype=np.float32), vectors[:2])[1]) == [0]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 33), st.integers(0, 2**32 - 1))
def test_block_by_block_is_all_at_once(n: int, m: int, block: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = (draw.integers(-2, 3, size=(k, 2)).astype(np.float32) for k in (n, m))  # many ties
    values, where = closest(a, b, block=block)
    full = a.astype(np.float64) @ b.astype(np.float64).T
    np.testing.assert_array_equal(values, full.max(axis=1))
    np.testing.assert_array_equal(where, full.argmax(axis=1))


def test_conversations_become_plain_text() -> None:
    talk = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    assert plain(talk) == "one\n\ntwo"
    assert plain("one") == "one"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny base model."""
    return str(tiny.base(tmp_path_factory.mktemp("similar") / "base"))


@pytest.fixture
def options(base: str, tmp_path: Path) -> dict[str, Any]:
    """Options of a comparison of tiny files; one prompt is in both."""
    shared = tiny.sft_rows()[7]["prompt"]
    pairs = tiny.preference_rows()
    pairs[5]["prompt"] = shared
    return {
        "sft": door.write(tmp_path / "s.jsonl", tiny.sft_rows()),
        "preference": door.write(tmp_path / "p.jsonl", pairs),
        "model": base,
        "top": 4,
    }


@pytest.mark.slow
@pytest.mark.parametrize("end", ["json", "csv"])
def test_the_command(options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str) -> None:
    out = tmp_path / "there" / f"similar.{end}"
    said = door.call(capsys, "similarity", **options, out=out)
    assert said.status == 0, said.err
    assert "24 preference prompts" in said.out
    assert "24 prompts against 40, 16 numbers each: 0 MB" in said.err
    record = similarity(SimilarityConfig(**options), quiet=True)
    if end == "json":
        found = json.loads(out.read_text(encoding="utf-8"))
        assert found == record
        pairs = found["pairs"]
    else:
        with out.open(encoding="utf-8", newline="") as file:
            pairs = list(csv.DictReader(file))
        assert [{k: str(v) for k, v in p.items()} for p in record["pairs"]] == pairs
    assert len(pairs) == 4
    assert (int(pairs[0]["preference_row"]), int(pairs[0]["sft_row"]), float(pairs[0]["prompts"])) == (5, 7, 1.0)
    assert pairs[0]["prompt"] == pairs[0]["sft_prompt"] == tiny.sft_rows()[7]["prompt"]
    assert [p.name for p in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"model": None}, "model: the embedder token needs a base model; give its folder or hub name by --model"),
        ({"top": 0}, "top: must be at least 1, got 0"),
        ({"batch": 0}, "batch: must be at least 1, got 0"),
        ({"out": "x.txt"}, "out: must be a .json or .csv file, got x.txt"),
        ({"bad_rows": "keep"}, "bad_rows: must be error or drop, got keep"),
        ({"sft": "nowhere.jsonl"}, "sft: "),
        ({"preference": "./nowhere"}, "preference: "),
        ({"embedder": "./nowhere"}, "there is no folder ./nowhere"),
        (
            {"sft_format": "explicit"},
            "sft: format: must be auto, prompt-completion or messages or sharegpt",
        ),
    ],
)
def test_wrong_input(
    wrong: dict[str, Any], shown: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said = door.call(capsys, "similarity", **{**options, **wrong})
    assert said.status == 2
    assert shown in said.err
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")


def test_exchanged_sets_are_refused(options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    swapped = {**options, "sft": options["preference"], "preference": options["sft"]}
    said = door.call(capsys, "similarity", **swapped)
    assert said.status == 2
    assert "missing columns: an sft set needs" in said.err


@pytest.mark.slow
def test_the_embedded_world(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its training sets and its base are taken, from where the configuration has them."""
    from types import SimpleNamespace

    places = SimpleNamespace(
        base=Path(base),
        sft=Path(door.write(tmp_path / "s.jsonl", tiny.sft_rows())),
        preference=Path(door.write(tmp_path / "p.jsonl", tiny.preference_rows())),
    )
    asked: list[TrainConfig] = []

    def embedded_paths(config: TrainConfig) -> Any:
        asked.append(config)
        return places

    monkeypatch.setattr("llm.embedded.prepare.embedded_paths", embedded_paths)
    config = TrainConfig(world_seed=3)
    found = similar_embedded(config, embedder="hidden", top=2)
    assert asked == [config]
    assert found["embedder"] == "hidden"
    assert found["sft"] == found["preference"] == found["model"] == "embedded"
    own = SimilarityConfig(str(places.sft), str(places.preference), "hidden", base, 2)
    assert found["pairs"] == similarity(own, quiet=True)["pairs"]
