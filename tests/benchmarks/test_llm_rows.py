"""The rows that all sides train on: their lengths, and the same ids for the same text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support import text_data, tiny_models  # noqa: E402

from benchmarks import llm_rows  # noqa: E402
from benchmarks.llm_rows import ALPACA_RESPONSE, HH_PROMPT, HH_RESPONSE, TINY, RealSize  # noqa: E402


def test_lengths_are_as_described() -> None:
    rng = np.random.default_rng(3)
    for lengths, median, most in ((ALPACA_RESPONSE, 120, 500), (HH_PROMPT, 120, 600), (HH_RESPONSE, 45, 250)):
        drawn = lengths.draw(rng, 20_000)
        # The median of n lognormal draws has a deviation of about 1.25 sigma / sqrt(n) of itself, here below 1 %.
        assert np.median(drawn) == pytest.approx(median, rel=0.05)
        assert drawn.max() == most
        assert drawn.min() >= lengths.least


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_rows_are_the_texts(kind: str) -> None:
    rows = llm_rows.tokens(TINY, kind)
    texts = TINY.texts(kind)
    total = 0
    for row, prompt, responses in zip(texts, rows.prompts, rows.responses, strict=True):
        prompt_text, *answers = row.values()
        assert [f"w{i}" for i in prompt] == prompt_text.split()
        for ids, answer in zip(responses, answers, strict=True):
            assert [f"w{i}" for i in ids[:-1]] == answer.split()
            assert ids[-1] == 0
            total += len(prompt) + len(ids)
    assert llm_rows.count(rows) == total


CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture
def real(tmp_path: Path) -> RealSize:
    """Return a workload of a model with a chat template and of two files, in forms that TRL does not read."""
    tokenizer = text_data.byte_level(chat=CHATML)
    tiny_models.model("llama", vocabulary=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    asked = [{"instruction": f"name {n}", "input": "", "output": "a " * n} for n in (2, 500, 3, 4)]
    ranked = [
        {k: f"\n\nHuman: say {n}\n\nAssistant: {text}" for k, text in (("chosen", "yes"), ("rejected", "no " * n))}
        for n in (1, 2, 3)
    ]
    (tmp_path / "sft.json").write_text(json.dumps(asked))
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, ranked)))
    paths = (str(tmp_path / name) for name in ("base", "sft.json", "pairs.jsonl"))
    return RealSize(*paths, precision="fp32", batch_sft=3, batch_preference=2, batches=1, max_length=100)


def test_a_workload_from_files_takes_the_first_rows_that_are_short_enough(real: RealSize) -> None:
    assert [row["completion"][0]["content"] for row in real.texts("sft")] == ["a a ", "a a a ", "a a a a "]
    assert [row["prompt"][-1] for row in real.texts("preference")] == [
        {"role": "user", "content": f"say {n}"} for n in (1, 2)
    ]
    with pytest.raises(ValueError, match="9 rows of at most 100 tokens are needed, and it has 3"):
        dataclasses.replace(real, batches=3).texts("sft")


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_trl_has_the_same_tokens_of_files(real: RealSize) -> None:
    """TRL's sides compare the number of tokens with ours when they are made."""
    pytest.importorskip("trl")
    from benchmarks import llm_trl

    assert llm_trl.sft(real)().tokens == llm_rows.count(llm_rows.tokens(real, "sft"))
    assert llm_trl.dpo(real, precomputed=False)().tokens == llm_rows.count(llm_rows.tokens(real, "preference"))


def test_another_process_reads_the_same_workload(real: RealSize) -> None:
    assert [llm_rows.read(llm_rows.described(size)) for size in (real, TINY)] == [real, TINY]
