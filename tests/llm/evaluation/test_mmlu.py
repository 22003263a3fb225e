"""MMLU from CSV files: both layouts, wrong files, and its score against a plain forward pass."""

from __future__ import annotations

import csv
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from llm.evaluation.mmlu import HEADER, LETTERS, read_subjects

Rows = list[dict[str, Any]]


def rows_of(seed: int, n: int) -> Rows:
    draw = random.Random(seed)
    return [
        {"question": tiny.text(draw, 3, 6), "choices": [tiny.text(draw, 1, 3) for _ in LETTERS], "answer": i % 4}
        for i in range(n)
    ]


def write(folder: Path, subject: str, dev: Rows, test: Rows, *, header: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("dev", dev), ("test", test)):
        with (folder / f"{subject}_{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([HEADER] if header else [])
            for row in rows:
                answer = row["answer"] if header else LETTERS[row["answer"]]
                writer.writerow([row["question"], *row["choices"], answer])


def test_both_layouts_in_a_folder_and_in_an_archive_have_the_same_questions(tmp_path: Path) -> None:
    dev, test = rows_of(1, 2), rows_of(2, 5)
    test[0]["question"] = 'Two lines,\nand a "quotation"'
    expected = {"anatomy": {"dev": dev, "test": test}, "world_religions": {"dev": test, "test": dev}}
    for header in (True, False):
        place = tmp_path / str(header)
        write(place / "a", "anatomy", dev, test, header=header)
        write(place / "b" / "c", "world_religions", test, dev, header=header)
        (place / "README.csv").write_text("anything", encoding="utf-8")
        with tarfile.open(tmp_path / f"{header}.tar.gz", "w:gz") as archive:
            archive.add(place, arcname="mmlu")
        assert read_subjects(place) == read_subjects(tmp_path / f"{header}.tar.gz") == expected


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("anatomy_dev.csv", "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,4\n", "row 2: must be"),
        ("anatomy_dev.csv", "q,a,b,c,d,E\n", "row 1: must be a question, four choices and an answer of A, B, C, D"),
        ("anatomy_dev.csv", "q,a,b,c,A\n", "got 5 columns"),
        ("anatomy_dev.csv", b"\xff,a,b,c,d,A\n", "is no CSV file in UTF-8"),
        ("anatomy_dev.csv", "q,a,b,c,d,A\n", "has no subject with both"),
        ("other.csv", "x", "has no subject with both"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=words) as error:
        read_subjects(tmp_path)
    assert str(error.value).startswith("mmlu: ")
    assert "\n" not in str(error.value)


def test_a_source_that_is_absent_or_no_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        read_subjects(tmp_path / "no")
    (tmp_path / "x.zip").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match=r"must be a folder, or an archive \(\.tar"):
        read_subjects(tmp_path / "x.zip")
    (tmp_path / "x.tar.gz").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_subjects(tmp_path / "x.tar.gz")


def scored_by_hand(model: Any, tokenizer: Any, subject: str, dev: Rows, row: dict[str, Any]) -> bool:
    """Return whether the right letter has the highest log-probability after MMLU's prompt with one example."""
    import torch

    def asked(question: dict[str, Any]) -> str:
        choices = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, question["choices"], strict=True))
        return f"{question['question'].strip()}{choices}\nAnswer:"

    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    prompt = f"{head}{asked(dev[0])} {LETTERS[dev[0]['answer']]}\n\n{asked(row)}"
    scores = []
    for letter in LETTERS:
        whole = tokenizer(f"{prompt} {letter}", add_special_tokens=False)["input_ids"]
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logps = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
        scores.append(sum(float(logps[i - 1, whole[i]]) for i in range(start, len(whole))))
    return scores.index(max(scores)) == row["answer"]


def lettered() -> Any:
    """A word-level tokenizer that knows the letters of the choices."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<eos>", *LETTERS, ".", ":", *tiny.WORDS]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<eos>")


@pytest.mark.slow
@pytest.mark.oracle
def test_the_score_is_that_of_a_plain_forward_pass(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `eval`")
    from transformers import AutoModelForCausalLM

    from llm.common.files import read_json, write_json
    from llm.evaluation.benchmark import BenchmarkConfig, benchmark

    base, tokenizer = tmp_path / "base", lettered()
    tiny.model().save_pretrained(base)
    tokenizer.save_pretrained(base)
    write_json(base / "config.json", read_json(base / "config.json") | {"max_position_embeddings": 600})
    sets = {"anatomy": (rows_of(1, 2), rows_of(2, 6)), "world_religions": (rows_of(3, 2), rows_of(4, 9))}
    for subject, (dev, test) in sets.items():
        write(tmp_path / "mmlu", subject, dev, test, header=True)
    config = BenchmarkConfig(model=str(base), tasks=("mmlu",), mmlu=str(tmp_path / "mmlu"), shots=1)
    record = benchmark(config, quiet=True)
    model = AutoModelForCausalLM.from_pretrained(base)
    right = {
        subject: [scored_by_hand(model, tokenizer, subject.replace("_", " "), dev, row) for row in test]
        for subject, (dev, test) in sets.items()
    }
    shares = {name: score["metrics"]["acc"]["value"] for name, score in record["tasks"].items()}
    every = right["anatomy"] + right["world_religions"]
    assert 0 < sum(every) < len(every)
    assert shares == {
        "mmlu": pytest.approx(sum(every) / 15),  # each question counts once, not each subject
        "mmlu_anatomy": pytest.approx(sum(right["anatomy"]) / 6),
        "mmlu_world_religions": pytest.approx(sum(right["world_religions"]) / 9),
    }
    assert record["cut"] == {}
    fewer = benchmark(BenchmarkConfig(**{**vars(config), "limit": 2}), quiet=True)["tasks"]["mmlu"]
    assert fewer["metrics"]["acc"]["value"] == sum(right["anatomy"][:2] + right["world_religions"][:2]) / 4
    assert (fewer["questions"], fewer["shots"]) == (4, 1)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `eval`")
    from llm.evaluation.benchmark import BenchmarkConfig
    from llm.evaluation.mmlu import local_tasks

    with pytest.raises(ValueError, match="mmlu: only the task mmlu reads its files"):
        BenchmarkConfig(model="m", tasks=("hellaswag",), mmlu=str(tmp_path))
    rows = rows_of(1, 1)
    with pytest.raises(ValueError, match="the harness has no subject astrology; it has abstract_algebra, anatomy"):
        local_tasks({"astrology": {"dev": rows, "test": rows}}, shots=1, seed=1)
    with pytest.raises(ValueError, match="anatomy has 1 examples in its dev file, fewer than 2"):
        local_tasks({"anatomy": {"dev": rows, "test": rows}}, shots=2, seed=1)
