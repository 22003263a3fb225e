"""Damaged inputs: one line and status 2, or a run that is right; never a traceback, never a hang, nothing overwritten.

Every example damages one file of a valid input at random. `make test` tries 300, mostly sets; `make test-deep` 10,000.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import mutation
from support import tiny_models as tiny
from support.depth import DEEP

from llm import TrainConfig
from llm.cli import main
from llm.data.splits import load_datasets

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

EXAMPLES = {"set": 254, "run on a set": 8, "model": 18, "adapter": 8, "checkpoint": 12}
DEEP_EXAMPLES = {"set": 7000, "run on a set": 600, "model": 1200, "adapter": 500, "checkpoint": 700}
SECONDS = 60  # longer is a hang


def examples(part: str) -> Any:
    """The settings of a part's inputs; no shrinking, since a seed names the damage."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    phases = (Phase.explicit, Phase.generate)
    count = (DEEP_EXAMPLES if DEEP else EXAMPLES)[part]
    return settings(max_examples=count, suppress_health_check=checks, phases=phases)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with valid inputs: a base, two sets in several forms, an adapter, and a run that was stopped."""
    folder = tmp_path_factory.mktemp("valid")
    from llm.training.trainer import Trainer

    tiny.base(folder / "base", "llama")
    sets(folder / "sets")
    steps = ("--steps", "4", "--save-every", "2")
    assert main(arguments(folder, "adapter", *steps)) == 0
    with pytest.MonkeyPatch.context() as patch:
        ordinary = Trainer._step

        def killed(self: Trainer) -> None:
            if self.control.t == 3:
                raise KeyboardInterrupt
            ordinary(self)

        patch.setattr(Trainer, "_step", killed)
        assert main(arguments(folder, "run", *steps)) == 130
    assert [p.name for p in (folder / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    return folder


def sets(folder: Path) -> None:
    """Both sets as lines of JSON (prompts and conversations) and as Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir()
    draw = Random(4)
    texts = [tiny.text(draw, 2, 6) for _ in range(30)]
    rows = {
        "sft": tiny.sft_rows(10),
        "preference": tiny.preference_rows(10),
        "sft-messages": [
            {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
            for a, b in zip(texts[:10], texts[10:20], strict=True)
        ],
        "sft-instruction": [{"instruction": a, "input": "", "output": b} for a, b in itertools.pairwise(texts)],
        "preference-implicit": [
            {
                name: [{"role": "user", "content": texts[i]}, {"role": "assistant", "content": texts[i + j]}]
                for name, j in (("chosen", 10), ("rejected", 11))
            }
            for i in range(10)
        ],
    }
    for name, table in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table), encoding="utf-8")
        (folder / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
        parquet.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet")


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    """The command line of a tiny run on the inputs of a folder."""
    own = {
        "model": folder / "base", "sft": folder / "sets/sft.jsonl", "preference": folder / "sets/preference.jsonl",
        "out": folder / out, "cache": folder / "cache", "device": "cpu", "batch-sft": 2, "batch-preference": 2,
        "held-out": 0.2, "max-length": 64, "lora-rank": 2, "eval-rows": 4,
    }  # fmt: skip
    given_names = set(more)
    listed = [(f"--{name}", str(value)) for name, value in own.items() if f"--{name}" not in given_names]
    return ["train", *(word for pair in listed for word in pair), *more]


@contextmanager
def limited() -> Iterator[None]:
    """Fail if the block hangs."""

    def hang(*_: Any) -> None:
        raise AssertionError(f"nothing happened for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, but of the cache."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    inside = {p.relative_to(folder).as_posix(): p for p in paths}
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in inside.items() if not n.startswith("cache/")}


def refused_or_right(folder: Path, out: str, argv: list[str], capsys: pytest.CaptureFixture[str], change: str) -> None:
    """Run a command: status 2 with one line, or 0 with finite numbers; the files of the user stay as they are.

    A changed weight can be so large that the first step has no gradient: that run ends with status 1 and one line.
    """
    before = digests(folder)
    capsys.readouterr()
    with limited():
        status = main(argv)
    said = capsys.readouterr()
    after = digests(folder)
    diverged = status == 1 and "the gradient's norm is" in said.err and ".safetensors" in change
    assert status in (0, 2) or diverged, f"{change}: status {status}: {said.err[-400:]}"
    assert "Traceback" not in said.err, change
    if status:
        errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, f"{change}: {said.err[-400:]}"
        assert 20 < len(errors[0]) < 1200, f"{change}: {errors[0]}"
        kept = before
    else:
        summary = json.loads((folder / out / "summary.json").read_text(encoding="utf-8"))
        assert all(math.isfinite(v) for k, v in summary["evaluation"].items() if k.startswith("f_")), change
        kept = {name: value for name, value in before.items() if not name.startswith(f"{out}/")}
    assert {name: after.get(name) for name in kept} == kept, change


@contextmanager
def copied(place: Path, *, without: str = "") -> Iterator[Path]:
    """A copy of the valid inputs, removed afterwards."""
    folder = place.parent / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place, folder, ignore=lambda path, _: [without] if Path(path) == place else [])
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def damaged_set(place: Path, folder: Path, draw: Random) -> tuple[str, Path, str]:
    """Damage a copy of one set in `folder`; return its kind, its path and the change."""
    kind = draw.choice(("sft", "preference"))
    source = draw.choice(sorted((place / "sets").glob(f"{kind}*")))
    path = folder / "sets" / source.name
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, path)
    return kind, path, mutation.damage(path, draw)


@examples("set")
@given(seed=st.integers(0, 2**32))
def test_sets(place: Path, tmp_path: Path, seed: int) -> None:
    """The errors that the command line shows as one line, raised where they arise; every row that is left has ids."""
    draw = Random(seed)
    kind, path, change = damaged_set(place, tmp_path, draw)
    before = path.read_bytes()
    files = {"sft": str(place / "sets/sft.jsonl"), "preference": str(place / "sets/preference.jsonl"), kind: str(path)}
    config = TrainConfig(**files, held_out=0.2, max_length=64, bad_rows=draw.choice(("error", "drop")))
    message, sets = "", None
    try:
        with limited():
            sets = load_datasets(config, tiny.tokenizer(), {})
    except (ValueError, TypeError, FileNotFoundError) as error:
        message = str(error)
    if sets is None:
        assert message.startswith(f"{kind}: "), f"seed {seed}, {change}: {message}"
        assert 20 < len(message) < 1200, f"seed {seed}, {change}: {message}"
    else:
        for tokens in (sets.train["sft"], sets.train["preference"]):
            assert all(len(p) for p in tokens.prompts), f"seed {seed}, {change}"
            assert all(len(r) for row in tokens.responses for r in row), f"seed {seed}, {change}"
    assert path.read_bytes() == before


@examples("run on a set")
@given(seed=st.integers(0, 2**32))
def test_runs_on_sets(place: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    draw = Random(seed)
    with copied(place) as folder:
        kind, path, change = damaged_set(place, folder, draw)
        more = ["--steps", "1", f"--{kind}", str(path)]
        refused_or_right(folder, "new", arguments(folder, "new", *more), capsys, f"seed {seed}, {change}")


@examples("model")
@given(seed=st.integers(0, 2**32))
def test_models(place: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    draw = Random(seed)
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
    with copied(place, without="cache") as folder:
        change = mutation.damage(folder / "base" / draw.choice(names), draw)
        argv = arguments(folder, "new", "--steps", "1")
        refused_or_right(folder, "new", argv, capsys, f"seed {seed}, {change}")


@examples("adapter")
@given(seed=st.integers(0, 2**32))
def test_adapters(place: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    draw = Random(seed)
    with copied(place) as folder:
        name = draw.choice(("adapter_config.json", "adapter_model.safetensors"))
        change = mutation.damage(folder / "adapter" / name, draw)
        argv = arguments(folder, "new", "--steps", "1", "--adapter", str(folder / "adapter"))
        refused_or_right(folder, "new", argv, capsys, f"seed {seed}, {change}")


@examples("checkpoint")
@given(seed=st.integers(0, 2**32))
def test_runs_to_resume(place: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    draw = Random(seed)
    with copied(place) as folder:
        files = sorted(p for p in (folder / "run").rglob("*") if p.suffix in (".json", ".jsonl", ".safetensors"))
        change = mutation.damage(draw.choice(files), draw)
        argv = arguments(folder, "run", "--steps", "4", "--save-every", "2")
        refused_or_right(folder, "run", argv, capsys, f"seed {seed}, {change}")
