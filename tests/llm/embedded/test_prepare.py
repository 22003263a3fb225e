"""Preparing the embedded world: what lies in the cache, and that it is whole whatever happens meanwhile."""

from __future__ import annotations

import dataclasses
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from support import run_worker as worker
from support.wrong import fails

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.common.files import UNFINISHED
from llm.embedded import EmbeddedConfig, Paths, read_world
from llm.embedded.base import IGNORED, batches, encode
from llm.embedded.prepare import prepare
from llm.embedded.sets import Document, documents, generate

TINY = EmbeddedConfig(
    places=8,
    hidden=16,
    layers=1,
    heads=2,
    pretrain_steps=6,
    sft_rows=12,
    preference_rows=10,
    held_out_rows=4,
    questions=9,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return prepare(TINY, tmp_path_factory.mktemp("cache"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_files_hold_the_generated_rows(made: Paths) -> None:
    sets = generate(TINY.world, TINY.sizes)
    for name, rows in sets.items():
        lines = getattr(made, name).read_text().splitlines()
        assert [json.loads(line) for line in lines] == rows
    assert read_world(made.world) == TINY.world
    assert [len(rows) for rows in sets.values()] == [12, 4, 10, 4, 9]


def test_the_base_loads_like_any_other_model(made: Paths) -> None:
    model = AutoModelForCausalLM.from_pretrained(made.base)
    tokenizer = AutoTokenizer.from_pretrained(made.base)
    assert model.config.model_type == "gpt_neox"
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer(["User: Who?\nAssistant: "], return_tensors="pt")
    assert tokenizer.eos_token_id not in ids["input_ids"]
    assert torch.isfinite(model(**ids).logits).all()


@pytest.mark.slow
def test_every_text_is_tokenised_without_loss(made: Paths) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made.base)
    texts = [part for document in documents(TINY.world) for part in document]
    texts += [path.read_text() for path in (made.sft, made.preference, made.questions, made.world)]
    texts += ["Zürich, naïve — 日本 🏔\t\n  two  spaces , and a comma .", ""]
    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    names = tokenizer([f" {name}" for name in TINY.world.names])["input_ids"]
    assert all(len(ids) == 1 for ids in names)


@pytest.mark.slow
def test_the_same_configuration_gives_the_same_bytes_and_leaves_the_caller_s_torch_alone(
    made: Paths, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    again = prepare(TINY, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert content(again.base) == content(made.base)
    assert content(again.sft.parent) == content(made.sft.parent)
    other = prepare(dataclasses.replace(TINY, seed=1), tmp_path)
    assert content(other.base)["model.safetensors"] != content(made.base)["model.safetensors"]


def test_the_loss_falls_and_is_kept(made: Paths) -> None:
    losses = json.loads((made.base / "pretraining.json").read_text())["loss"]
    assert len(losses) == 6
    assert losses[0] == pytest.approx(
        np.log(AutoModelForCausalLM.from_pretrained(made.base).config.vocab_size), rel=0.02
    )
    assert losses[-1] < losses[0]


def test_only_tokens_after_the_prompt_are_learnt_and_every_document_comes_once_an_epoch(made: Paths) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made.base)
    told = [Document(f"User: {i}?\nAssistant: ", f"It is {i * i}.") for i in range(50)]
    encoded = encode(told, tokenizer)
    stream = batches(encoded, tokenizer.pad_token_id, np.random.default_rng(0))
    rows = [row for _, (ids, labels) in zip(range(2), stream, strict=False) for row in zip(ids, labels, strict=True)]
    assert len(rows) == 50
    read, learnt = set(), set()
    for ids, labels in rows:
        read.add(tokenizer.decode(ids[ids != tokenizer.pad_token_id]))
        learnt.add(tokenizer.decode(ids[labels != IGNORED]))
        assert torch.equal(ids[labels != IGNORED], labels[labels != IGNORED])
    assert read == {f"{d.prompt}{d.response}<|endoftext|>" for d in told}
    assert learnt == {f"{d.response}<|endoftext|>" for d in told}


@pytest.mark.slow
def test_nothing_is_made_twice_and_the_dial_keeps_the_base(made: Paths, tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []
    first = prepare(TINY, tmp_path, report=lambda what, done: said.append((what, done)))
    shares = [done for what, done in said if what == "pre-training the base"]
    assert shares == pytest.approx([(i + 1) / 6 for i in range(6)])
    assert all(0.0 <= done <= 1.0 for _, done in said)
    said.clear()
    assert prepare(TINY, tmp_path, report=lambda what, done: said.append((what, done))) == first
    assert said == []
    other = prepare(dataclasses.replace(TINY, conflict=1), tmp_path, report=lambda what, _: said.append((what, 0)))
    assert other.base == first.base
    assert other.preference != first.preference
    assert {what for what, _ in said} == {"making the data"}
    assert first.preference.read_bytes() == made.preference.read_bytes()


@pytest.mark.slow
def test_a_damaged_folder_is_made_anew(made: Paths, tmp_path: Path) -> None:
    first = prepare(TINY, tmp_path)
    weights = first.base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    first.questions.unlink()
    assert prepare(TINY, tmp_path) == first
    assert weights.read_bytes() == (made.base / "model.safetensors").read_bytes()
    assert first.questions.read_bytes() == made.questions.read_bytes()


@pytest.mark.slow
def test_a_stopped_preparation_leaves_nothing(tmp_path: Path) -> None:
    def stop(what: str, done: float) -> None:
        if what == "pre-training the base" and done > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(TINY, tmp_path, report=stop)
    assert [path.name for path in (tmp_path / "base").iterdir() if path.is_dir()] == []


@pytest.mark.process
@pytest.mark.slow
def test_a_killed_preparation_leaves_nothing_that_counts(made: Paths, tmp_path: Path) -> None:
    program = "\n".join(
        [
            "import os, signal, sys",
            "from llm.embedded.prepare import EmbeddedConfig, prepare",
            "def die(what, done):",
            "    if what.startswith('pre-training') and done > 0.4:",
            "        os.kill(os.getpid(), signal.SIGKILL)",
            f"prepare({TINY!r}, sys.argv[1], report=die)",
        ]
    )
    killed = worker.server().run([str(tmp_path)], tmp_path / "log", script=program)
    assert killed.status == -signal.SIGKILL, killed.said
    assert [path.suffix for path in (tmp_path / "base").iterdir() if path.is_dir()] == [UNFINISHED]
    paths = prepare(TINY, tmp_path)
    assert content(paths.base) == content(made.base)
    assert [path for path in (tmp_path / "base").iterdir() if path.is_dir()] == [paths.base]


@pytest.mark.slow
def test_two_simultaneous_requests_make_one_base(tmp_path: Path) -> None:
    said: list[str] = []
    together = Barrier(2)

    def ask(_: int) -> Paths:
        together.wait()
        return prepare(TINY, tmp_path, report=lambda what, done: said.append(f"{what} {done:.0f}"))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert said.count("making the base 1") == 1
    assert said.count("making the data 1") == 1


def test_a_cache_that_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    fails(lambda: prepare(TINY, file), ValueError, "cache", str(file))
    fails(lambda: prepare(TINY, file / "below"), ValueError, "cache", "below")
