"""lm-evaluation-harness around a model in memory: requests, prompts, progress, and results with intervals.

Imports torch and the harness; `llm.evaluation.benchmark` imports this module where a model is evaluated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import lm_eval.api.task
from lm_eval.api.model import CacheHook
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate, simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from scipy import stats

from llm.data.encoding import encode, encode_within
from llm.data.messages import Text
from llm.data.rows import Row
from llm.data.templates import Template, TemplateOptions
from llm.data.tokenization import tokenize_prompts
from llm.models.architecture import is_encoder_decoder
from llm.models.position_limits import max_positions, max_prompt_positions

Report = Callable[[int, int], None]  # (number of finished requests, number of requests)

_SPLIT = "questions"
CONFIDENCE = 0.95
_SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match")  # means of zeros and ones


class Model(HFLM):  # type: ignore[misc]
    """The harness's model class, with log-probabilities in float32 and our progress.

    template  None: texts are tokenized by the harness, so that its tasks give its usual numbers. Else the template of
              our training: prompts have the token ids of training, and a choice is tokenized separately from its
              prompt, as a response is.
    begun     whether the model has received a request
    cut       number of requests longer than the model's context, which lost the beginning of their prompt
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, batch: int, report: Report, template: str | TemplateOptions | None = None
    ) -> None:
        backend = "seq2seq" if is_encoder_decoder(model) else "causal"
        super().__init__(
            pretrained=model, tokenizer=tokenizer, backend=backend, batch_size=batch, softmax_dtype="float32"
        )
        self.template = template
        self.begun = False
        self.cut = 0
        self._prompts: dict[str, list[int]] = {}
        self._requests = _Requests(report)
        self.set_cache_hook(self._requests)

    @cached_property
    def max_length(self) -> int:
        """The largest number of tokens in a sequence; the harness reads the configuration alone.

        Computed once: the harness asks for it several times per request, and the answer goes through all modules.
        """
        limits = (max_positions(self.model), max_prompt_positions(self.model))
        return min([int(super().max_length), *(limit for limit in limits if limit is not None)])

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text, and keep its token ids for `loglikelihood`."""
        if self.template is None:
            return str(super().apply_chat_template(chat_history, add_generation_prompt))
        asked: Text = chat_history if len(chat_history) > 1 else chat_history[0]["content"]
        text = Template.named(self.tokenizer, self.template).render(Row(asked, ()), "a question").prompt
        if text not in self._prompts:
            self._prompts[text] = tokenize_prompts([asked], self.tokenizer, template=self.template)[0].tolist()
        return text

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:  # noqa: ARG002
        """Return (log-probability, whether greedy decoding gives the same text) of every request's continuation."""
        self._begin(requests)
        if self.template is None:
            return list(super().loglikelihood(requests, disable_tqdm=True))
        choices = sorted({request.args[1] for request in requests})
        encoded = (encode_within if self.backend == "causal" else encode)(self.tokenizer, choices)
        ids = dict(zip(choices, encoded, strict=True))
        return self._loglikelihood_tokens([(r.args, self._prompts[r.args[0]], ids[r.args[1]]) for r in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:  # noqa: ARG002
        """Return the log-probabilities of complete texts."""
        self._begin(requests)
        return list(super().loglikelihood_rolling(requests, disable_tqdm=True))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """Return the model's generated texts."""
        self._begin(requests)
        return list(super().generate_until(requests, disable_tqdm=True))

    def _begin(self, requests: Sequence[Any]) -> None:
        self.begun = True
        self._requests.total += len(requests)

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = True,  # noqa: ARG002
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        most = self.max_length + (1 if self.backend == "causal" else 0)  # the last token is predicted, never read
        joined = self.backend == "causal"
        self.cut += sum(len(prompt) + (len(choice) if joined else 0) > most for _, prompt, choice in requests)
        return list(super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs))


class _Requests(CacheHook):  # type: ignore[misc]
    """Counter of the model's answers, in place of the harness's cache; rejects answers that are not numbers."""

    def __init__(self, report: Report) -> None:
        super().__init__(None)
        self.report, self.done, self.total = report, 0, 0

    def add_partial(self, attr: str, req: Any, res: Any) -> None:  # noqa: ARG002
        value = res[0] if attr == "loglikelihood" else res
        if isinstance(value, float) and math.isnan(value):
            raise ValueError("model: its log-probabilities are not numbers (nan); its weights are damaged")
        self.done += 1
        self.report(self.done, self.total)


def choice_task(name: str, rows: Sequence[Mapping[str, Any]]) -> ConfigurableTask:
    """Return multiple-choice questions, rows {"question", "choices", "answer"}, as a task of the harness.

    Examples come before a question as earlier turns of the same conversation, and are drawn from the other rows.
    Raises ValueError, which names the row, for a row that is no such question.
    """
    from datasets import Dataset

    for i, row in enumerate(rows):
        _check(row, f"questions: row {i}")
    plain = [{k: row[k] for k in ("question", "choices", "answer")} for row in rows]
    asked = [row["question"] for row in plain]
    if len(set(asked)) < len(asked):  # else a question's own answer could be its example
        twice = next(q for q in asked if asked.count(q) > 1)
        raise ValueError(f"questions: {twice!r} is asked twice; leave one of the two out")
    data = {_SPLIT: Dataset.from_list(plain)}
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: data,
            "test_split": _SPLIT,
            "fewshot_split": _SPLIT,
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "target_delimiter": "",
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")
            ],
        }
    )


def _check(row: Mapping[str, Any], where: str) -> None:
    question, choices, answer = (row.get(k) for k in ("question", "choices", "answer"))
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{where}: `question` must be a text, got {question!r}")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise ValueError(f"{where}: `choices` must be two texts or more, got {choices!r}")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise ValueError(f"{where}: `answer` must be from 0 to {len(choices) - 1}, got {answer!r}")


def ask(lm: Model, task: ConfigurableTask, *, shots: int, limit: int, seed: int) -> dict[str, Any]:
    """Return the harness's results on a task of our own."""
    docs = len(task.eval_docs)
    if shots >= docs:
        raise ValueError(f"shots: must be less than the number of questions, {docs}, got {shots}")
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=seed)
    tasks = {"tasks": {task.config.task: task}, "groups": {}}  # `task_name` draws a name before it looks
    return ask_tasks(lm, tasks, limit=limit, chat=True, multiturn=True)  # the template of our training


def ask_tasks(
    lm: Model, tasks: Mapping[str, Any], *, limit: int, chat: bool, multiturn: bool = False
) -> dict[str, Any]:
    """Return the harness's results on tasks and groups in the form of its `TaskManager.load`.

    limit      number of questions from the start of each task; 0: all
    chat       apply the chat template, by `Model.apply_chat_template`
    multiturn  examples are earlier turns of the conversation

    By `evaluate` and not `simple_evaluate`, which seeds every generator of the process and takes more than a second to
    describe the machine.
    """
    return dict(
        evaluate(
            lm=lm,
            task_dict=tasks,
            limit=limit or None,
            log_samples=False,
            apply_chat_template=chat,
            fewshot_as_multiturn=multiturn,
        )
    )


def ask_named(
    lm: Model, name: str, manager: TaskManager, *, shots: int, limit: int, seed: int, chat: bool
) -> dict[str, Any]:
    """Return the harness's results on a task of its index, as by its own command."""
    results = simple_evaluate(
        model=lm,
        tasks=[name],
        num_fewshot=shots,
        limit=limit or None,
        log_samples=False,
        task_manager=manager,
        fewshot_random_seed=seed,
        apply_chat_template=chat,
    )
    return dict(results or {})


@contextmanager
def hushed() -> Iterator[None]:
    """Silence the harness's lines and bars; its errors are exceptions."""
    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, lm_eval.api.task.tqdm
    logger.setLevel(logging.CRITICAL)
    lm_eval.api.task.tqdm = lambda rows, **_: rows  # the one bar that takes no `disable`
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval.api.task.tqdm = bar


def scores(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the harness's results as task -> shots, questions, part_of, metrics."""
    parts = {child: group for group, children in results.get("group_subtasks", {}).items() for child in children}
    every: dict[str, Any] = {}
    for name, values in results["results"].items():
        asked = results["n-samples"].get(name)
        count = asked["effective"] if asked else values.get("sample_len")
        single = asked is not None
        metrics = {}
        for key, value in values.items():
            metric, comma, kept = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{kept}")
            error = float(error) if isinstance(error, int | float) else None
            low, high = interval(float(value), error, int(count) if single and metric in _SHARES else 0)
            shown = metric if kept == "none" else f"{metric} ({kept})"
            metrics[shown] = {"value": float(value), "stderr": error, "low": low, "high": high}
        if metrics:
            every[name] = {
                "shots": _shots(name, results),
                "questions": count,
                "part_of": parts.get(name),
                "metrics": metrics,
            }
    return every


def _shots(name: str, results: Mapping[str, Any]) -> int | None:
    """Return the number of examples before a task's question; for a group the number of its parts, if all agree.

    The harness gives no number for groups of groups, such as mmlu.
    """
    if name in results["n-shot"]:
        return int(results["n-shot"][name])
    parts = {_shots(part, results) for part in results.get("group_subtasks", {}).get(name, ())}
    return parts.pop() if len(parts) == 1 else None


def interval(value: float, stderr: float | None, n: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval: Wilson's for a share of `n` > 0 questions, else normal."""
    if stderr is None or math.isnan(stderr):
        return None, None
    if n:
        wilson = stats.binomtest(round(value * n), n).proportion_ci(CONFIDENCE, method="wilson")
        return float(wilson.low), float(wilson.high)
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * stderr
    return value - reach, value + reach
