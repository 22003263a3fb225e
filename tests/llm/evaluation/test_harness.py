"""lm-evaluation-harness around our models: log-probabilities of training, prompts, intervals, and bad questions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_models as tiny
from support.measured_runs import embedded_run
from support.own_questions import CHOICES, questions, refused

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval", reason="needs the extra `eval`")
from llm.evaluation.harness import interval  # noqa: E402
from llm.training.run_folder import load_model  # noqa: E402


def nothing(_done: int, _of: int) -> None: ...


def asked(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    *,
    template: str = "auto",
    shots: int = 1,
) -> tuple[Any, dict[str, Any]]:
    """The harness's task, with the requests that it made and the answers to them, and the harness's results."""
    from llm.evaluation import harness

    with harness.hushed():
        lm = harness.Model(model, tokenizer, batch=7, report=nothing, template=template)
        task = harness.choice_task("own", rows)
        return task, harness.ask(lm, task, shots=shots, limit=0, seed=5)


def by_hand(model: Any, tokenizer: Any, turns: list[str], choice: str) -> float:
    """The choice's log-probability after a conversation, by the model that training uses."""
    from llm.data.collate import collate
    from llm.data.tokenization import tokenize_prompts
    from llm.models.policy import Policy

    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    prompt = tokenize_prompts([messages], tokenizer)[0]
    response = np.array(tokenizer(choice, add_special_tokens=False)["input_ids"], dtype=np.int32)
    with torch.no_grad():
        return float(Policy(model).token_logps(collate([prompt], [(response,)])).sum())


def t5() -> Any:
    """A tiny encoder-decoder model with random weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = T5ForConditionalGeneration(config)
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(("family", "bos"), [("gpt_neox", False), ("llama", True), ("t5", False)])
def test_the_harness_finds_the_log_probabilities_of_training(family: str, bos: bool) -> None:
    model = t5() if family == "t5" else tiny.model(family)
    tokenizer, rows = tiny.tokenizer(bos=bos), questions()
    task, results = asked(model, tiny.tokenizer(bos=bos), rows)
    right = []
    for i, row in enumerate(rows):
        requests = sorted((r for r in task.instances if r.doc_id == i), key=lambda r: r.idx)
        assert [r.args[1] for r in requests] == row["choices"]
        context = requests[0].args[0].removesuffix("\nAssistant: ").removeprefix("User: ")
        turns = context.replace("\nAssistant: ", "\n").replace("\nUser: ", "\n").split("\n")
        assert len(turns) == 3
        wanted = [by_hand(model, tokenizer, turns, choice) for choice in row["choices"]]
        found = [r.resps[0][0] for r in requests]
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-4)  # float32 sums of up to 7 terms, in padded batches
        right.append(int(np.argmax(wanted)) == row["answer"])
    values, p, n = results["results"]["own"], np.mean(right), len(rows)
    assert 0.0 < p < 1.0
    assert values["acc,none"] == pytest.approx(p)
    assert values["acc_stderr,none"] == pytest.approx(math.sqrt(p * (1 - p) / (n - 1)))


def test_the_largest_length_is_computed_once_for_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through all modules, and the harness asks for it with every request: half of a small model's time."""
    from llm.evaluation import harness

    calls = []
    monkeypatch.setattr(harness, "max_positions", lambda model: calls.append(model) or 64)
    task, _ = asked(tiny.model(), tiny.tokenizer(), questions(6))
    assert len(task.instances) == 6 * CHOICES
    assert len(calls) == 1


@pytest.mark.slow
def test_an_example_is_another_question_with_its_right_answer() -> None:
    rows = questions()
    answers = {row["question"]: row["choices"][row["answer"]] for row in rows}
    task, results = asked(tiny.model(), tiny.tokenizer(), rows)
    shown = set()
    for request in task.instances:
        row, text = rows[request.doc_id], request.args[0]
        example, _, question = text.rpartition("\nUser: ")
        assert question == f"{row['question']}\nAssistant: "
        other, _, answer = example.removeprefix("User: ").partition("\nAssistant: ")
        assert other != row["question"]
        assert answers[other] == answer
        assert not any(choice in text for choice in row["choices"])
        shown.add(other)
    assert len(shown) > 8
    assert results["n-shot"]["own"] == 1
    few, _ = asked(tiny.model(), tiny.tokenizer(), rows[:3], shots=2)  # where each must be the other two
    for request in few.instances:
        assert all(request.args[0].count(f"User: {row['question']}\n") == 1 for row in rows[:3])
    none, _ = asked(tiny.model(), tiny.tokenizer(), rows, shots=0)
    assert none.instances[0].args[0] == f"User: {rows[0]['question']}\nAssistant: "


@pytest.mark.slow
def test_templates_are_those_of_training() -> None:
    rows, tokenizer = questions(), tiny.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role[:1] }} {{ m.content }} / {% endfor %}"
        "{% if add_generation_prompt %}a {% endif %}"
    )
    task, _ = asked(tiny.model(), tokenizer, rows)
    assert task.instances[0].args[0].count("u ") == 2
    assert task.instances[0].args[0].endswith(f"u {rows[0]['question']} / a ")
    task, _ = asked(tiny.model(), tokenizer, rows, template="Q: {prompt} A: ", shots=0)
    assert task.instances[0].args[0] == f"Q: {rows[0]['question']} A: "
    task, _ = asked(tiny.model(), tokenizer, rows, template="none", shots=0)
    assert task.instances[0].args[0] == rows[0]["question"]
    refused(lambda: asked(tiny.model(), tokenizer, rows, template="none"), "--template none has none")


def test_intervals() -> None:
    # Wilson's own formula, by hand
    n, k, z = 40, 9, 1.959963984540054
    p = k / n
    middle, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    wilson = ((middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n))
    assert interval(p, 0.07, n) == pytest.approx(wilson)
    assert interval(2.0, 0.5, 0) == pytest.approx((2.0 - z / 2, 2.0 + z / 2))
    assert interval(2.0, None, 0) == (None, None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run on a very small embedded world."""
    with embedded_run(tmp_path_factory.mktemp("embedded")) as folder:
        yield folder


@pytest.mark.slow
def test_choices_are_tokenised_as_responses_are(run: Path) -> None:
    """The world's tokeniser joins a space to the word after it: the template's last one would go to the choice."""
    path = next(run.parent.glob("cache/data/*/questions.jsonl"))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    model, tokenizer = load_model(run)
    task, _ = asked(model, tokenizer, rows[:3], shots=0)
    for request in task.instances:
        wanted = by_hand(model, tokenizer, [rows[request.doc_id]["question"]], request.args[1])
        assert request.resps[0][0] == pytest.approx(wanted, rel=1e-5, abs=1e-4)
    together = tokenizer(request.args[0] + request.args[1])["input_ids"]
    assert together != [i for text in request.args for i in tokenizer(text)["input_ids"]]


ROWS: list[tuple[dict[str, Any], str]] = [
    ({"question": " "}, "questions: row 1: `question` must be a text, got ' '"),
    ({"question": None}, "questions: row 1: `question` must be a text, got None"),
    ({"choices": ["only one"]}, "questions: row 1: `choices` must be two texts or more"),
    ({"choices": ["bax", ""]}, "questions: row 1: `choices` must be two texts or more"),
    ({"answer": 4}, "questions: row 1: `answer` must be from 0 to 3, got 4"),
    ({"answer": "bax"}, "questions: row 1: `answer` must be from 0 to 3, got 'bax'"),
    ({"question": questions(3)[0]["question"]}, "is asked twice; leave one of the two out"),
]


@pytest.mark.parametrize(("change", "words"), ROWS)
def test_rows_that_are_no_questions(change: dict[str, Any], words: str) -> None:
    from llm.evaluation.harness import choice_task

    rows = questions(3)
    rows[1] = {**rows[1], **change}
    refused(lambda: choice_task("own", rows), words)


def test_weights_that_are_no_numbers() -> None:
    model = tiny.model()
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(math.nan)
    refused(lambda: asked(model, tiny.tokenizer(), questions(3)), "model: its log-probabilities are not numbers")
