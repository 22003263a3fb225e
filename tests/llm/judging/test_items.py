"""Prompts and references: a run's held-out rows, data sets in every format, benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support.judged_answers import ROWS

torch = pytest.importorskip("torch")
from llm.data.splits import load_datasets  # noqa: E402
from llm.judging import items as asked  # noqa: E402


@pytest.mark.slow
def test_a_runs_own_held_out_rows_are_those_of_training(run: Path) -> None:
    from llm.models.loading import load_tokenizer
    from llm.training.run_folder import load_run

    config = load_run(run).config
    held = load_datasets(config, load_tokenizer(str(run), config), {}).held_out["preference"]
    assert held is not None
    for column, place in (("chosen", 0), ("rejected", 1)):
        items = asked.from_run(str(run), reference=column, report=lambda *_: None)
        tokenizer = load_tokenizer(str(run), config)
        ends = [tokenizer.decode(responses[place][:-1]) for responses in held.responses]
        assert [item.reference for item in items] == ends
        assert len({item.shown for item in items}) < len(items) == len(held) < 48
    assert len(asked.from_run(str(run), reference="chosen", report=lambda *_: None, limit=2)) == 2


def test_sets_in_every_form(tmp_path: Path) -> None:
    def of(rows: list[dict[str, Any]], **options: Any) -> list[tuple[Any, str, str]]:
        name = door.write(tmp_path / "set.jsonl", rows)
        return [(i.prompt, i.shown, i.reference) for i in asked.from_set(name, **{"reference": "chosen", **options})]

    assert of(ROWS)[1] == ("ask 1", "ask 1", "good 1")
    assert of(ROWS, reference="rejected", limit=2)[1] == ("ask 1", "ask 1", "bad 1")
    start = "\n\nHuman: Hi\n\nAssistant:"
    implicit = of([{"chosen": f"{start} Hello.", "rejected": f"{start} Go."}])
    assert implicit == [(start, start.strip(), "Hello.")]
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    spoken = [{"chosen": [*turns, {"role": "assistant", "content": " Hello."}],
               "rejected": [*turns, {"role": "assistant", "content": "Go."}]}]  # fmt: skip
    assert of(spoken) == [(turns, "system: Be kind.\n\nuser: Hi", "Hello.")]
    renamed = [{"prompt": "a", "better": "b", "worse": "c"}]
    assert of(renamed, columns={"chosen": "better", "rejected": "worse"}) == [("a", "a", "b")]
    alpaca = [{"instruction": "a", "output": "b"}]
    assert of(alpaca, prompt="instruction", reference="output") == [("a", "a", "b")]
    assert of(alpaca, prompt="instruction", reference="") == [("a", "a", "")]
    with pytest.raises(
        ValueError, match=r"row 0 of .*no text in a column 'chosen'; its columns are instruction, output"
    ):
        of(alpaca, prompt="instruction")


@pytest.mark.parametrize(
    ("name", "remedy"), [("sorry-bench", "it is gated: accept its terms"), ("xstest", "download it with")]
)
def test_a_benchmark_that_is_not_there_has_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^prompts: {name} is not there .*{remedy}") as caught:
        asked.from_benchmark(name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_the_benchmark(tmp_path: Path) -> None:
    wrong = door.write(tmp_path / "w.jsonl", [{"prompt": "a"}])
    with pytest.raises(ValueError, match=r"row 0 of .*there is no text in a column 'turns'; its columns are prompt$"):
        asked.from_benchmark("sorry-bench", wrong)
    styles = door.write(tmp_path / "s.jsonl", [{"turns": ["a"], "prompt_style": "slang"}])
    with pytest.raises(ValueError, match="no row has 'base' in its column 'prompt_style'"):
        asked.from_benchmark("sorry-bench", styles)
