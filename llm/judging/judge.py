"""`python -m llm judge`: a model's answers, a judge, and rates with confidence intervals."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, Range
from llm.common.files import check_name, write_json
from llm.common.progress import Line, say
from llm.evaluation.generate import Decoding
from llm.judging import answers as answering
from llm.judging import items as prompting
from llm.judging.endpoint import Endpoint, key_in, require_client
from llm.judging.items import Item
from llm.judging.pairwise import EndpointJudge, Judge, Pair, ScoreJudge, judge_answers, judge_pairs, outcome, rates
from llm.judging.statistics import WinRate, win_rate
from llm.judging.templates import pairwise_prompt
from llm.judging.verdicts import Verdicts, key_of, open_verdicts

WORLD = "world"


@dataclass(frozen=True)
class JudgeConfig(Decoding):
    """Options of `judge`: answers, their references, a judge, and the decoding of models."""

    model: str = ""
    """The model under judgement: folder of a run, of an adapter or of a model, or a hub name."""
    answers: str = ""
    """Existing answers instead of a model: a data set of {"prompt", "answer"}."""
    file: str = ""
    """Prompts and references: a data set, in the formats of training; with --prompts: that benchmark's; empty: the
    preference rows that the run held out, or the benchmark from the hub."""
    prompts: Literal["none", "sorry-bench", "xstest"] = "none"
    """A benchmark of refusals instead of a win rate."""
    reference_column: str = "chosen"
    """Column of reference answers: chosen or rejected, or another column of texts."""
    against: str = ""
    """Reference answers of another model: as --model, or a .jsonl as --answers."""
    prompt_column: str = "prompt"
    """Column of prompts, of a data set that is no preference set."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our column names to those of a preference set, for example chosen better rejected worse."""
    split: str = ""
    """Split of a hub set; empty: train."""
    limit: Annotated[int, NOT_NEGATIVE] = 0
    """Number of prompts from the start; 0: all."""

    judge: str = WORLD
    """The judge: world (the embedded world's own score), or an OpenAI-compatible endpoint, such as
    http://127.0.0.1:8000/v1."""
    judge_model: str = ""
    """Name of the judging model at the endpoint."""
    judge_prompt: str = "ours"
    """Question of a pairwise comparison: ours; alpacaeval, the prompt of AlpacaEval 2.0, from the package alpaca-eval;
    or a file in the same format."""
    key_from: str = ""
    """Environment variable that holds the endpoint's key; empty: none is sent."""
    world: str = ""
    """World file (world.json) for the judge world, where no run names it."""
    judge_temperature: float | None = 0.0
    """Sampling temperature of the judge; None: not sent."""
    judge_max_tokens: int = 512
    """Maximum number of tokens of a reply; 0: not sent."""
    concurrency: Annotated[int, AT_LEAST_1] = 8
    """Number of simultaneous requests."""
    timeout: float = 60.0
    """Seconds until a request counts as unanswered."""
    attempts: int = 6
    """Number of attempts of one request, with growing pauses, if the endpoint is busy or fails."""
    resamples: Annotated[int, Range(low=100)] = 10_000
    """Number of bootstrap resamples; their seed is --seed, as that of sampling."""
    out: str = "verdicts.jsonl"
    """File of verdicts, one line each, appended as they arrive; the same command resumes. The rates are in the
    .summary.json beside the file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.model) == bool(self.answers):
            raise ValueError("model: give either --model, or --answers with a file of answers")
        if self.judges_refusals and self.against:
            raise ValueError(f"against: the answers to {self.prompts} are not compared; leave it out")
        if self.judges_refusals and self.judge == WORLD:
            raise ValueError(f"judge: {self.prompts} needs an endpoint, such as --judge http://127.0.0.1:8000/v1")
        if self.judge_prompt != "ours" and (self.judges_refusals or self.judge == WORLD):
            raise ValueError(
                "judge_prompt: only an endpoint's pairwise comparison has a prompt to choose; leave it out"
            )
        if self.answers and not (self.file or self.judges_refusals or answering.is_file(self.against)):
            raise ValueError("file: --answers needs references: a data set by --file, or answers by --against")
        check_name(self.out, ".jsonl")

    @property
    def judges_refusals(self) -> bool:
        """Whether the result is a benchmark's refusal rates, not a win rate."""
        return self.prompts != "none"


def judge(config: JudgeConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Judge all answers and return the summary, which is written beside `config.out` as well.

    For a win rate: the fields of `WinRate`, "judge", "template", "against", and the "outcomes" of all instances; for a
    benchmark: "rates" by group, and "labels". Raises ValueError, TypeError or FileNotFoundError, in one line, for wrong
    input, and EndpointError if the endpoint does not answer; verdicts that came before an error are kept.
    """
    out, endpoint = Path(config.out), _endpoint(config)
    prompt = pairwise_prompt(config.judge_prompt)
    with open_verdicts(out) as kept:
        # Errors of the judge come before anything that takes long.
        pair_judge: Judge = (
            _world_judge(config) if endpoint is None else EndpointJudge(endpoint, kept, config.concurrency, prompt)
        )
        items = _items(config, quiet)
        answers = _answers(config, config.answers or config.model, items, ".answers.json")
        about: dict[str, Any] = {"model": config.model or config.answers}
        about |= {"decoding": dataclasses.asdict(config.decoding)} if config.model else {}
        about |= {"judge": WORLD if endpoint is None else endpoint.model, "judge_url": config.judge}
        if config.judges_refusals and endpoint is not None:
            result = _refusals(config, endpoint, kept, items, answers, quiet)
        else:
            references = [item.reference for item in items]
            if config.against:
                references = _answers(config, config.against, items, ".against.json")
            pairs = [Pair(*texts) for texts in zip([i.shown for i in items], answers, references, strict=True)]
            result = _wins(config, pair_judge, kept, pairs, quiet)
        summary = {**about, **result}
        write_json(out.with_suffix(".summary.json"), summary)
    return summary


def _endpoint(config: JudgeConfig) -> Endpoint | None:
    """Return the endpoint of the options, None for the judge world; ValueError without the client."""
    if config.judge == WORLD:
        return None
    endpoint = Endpoint(
        config.judge, config.judge_model, key_in(config.key_from), config.judge_temperature,
        config.judge_max_tokens, config.timeout, config.attempts,
    )  # fmt: skip
    require_client()
    return endpoint


def _items(config: JudgeConfig, quiet: bool) -> list[Item]:
    """Return prompts and references of a benchmark, a data set, a file of answers, or a run's held-out rows."""
    if config.judges_refusals:
        return prompting.from_benchmark(config.prompts, config.file, split=config.split, limit=config.limit)
    if config.file:
        reference = "" if config.against else config.reference_column
        return prompting.from_set(
            config.file, reference=reference, prompt=config.prompt_column, split=config.split, columns=config.columns,
            limit=config.limit,
        )  # fmt: skip
    if config.answers:
        return answering.prompts_in(config.answers)[: config.limit or None]
    with Line("preparing", active=not quiet) as line:

        def report(step: str, done: float) -> None:
            line(round(100 * done), 100, step)

        return prompting.from_run(config.model, reference=config.reference_column, report=report, limit=config.limit)


def _answers(config: JudgeConfig, source: str, items: list[Item], suffix: str) -> list[str]:
    """Return the answers of a file, or of a model, which are kept in a file with this suffix."""
    if source == config.answers or answering.is_file(source):
        return answering.from_file(source, items)
    return answering.from_model(source, items, config.decoding, Path(config.out).with_suffix(suffix))


def _wins(config: JudgeConfig, pair_judge: Judge, kept: Verdicts, pairs: list[Pair], quiet: bool) -> dict[str, Any]:
    """Return the win rate with its interval, and every pair's outcome."""
    with Line("judging", active=not quiet) as line:
        scores, firsts, singles = judge_pairs(pairs, pair_judge, report=line)
    if config.judge == WORLD:  # an endpoint's verdicts are kept as they arrive
        for pair, (single,) in zip(pairs, singles, strict=True):
            if (key := key_of(judge=WORLD, **vars(pair), scores=single["scores"])) not in kept:
                kept.add(key, {"judge": WORLD, **vars(pair), **single})
    rate = win_rate(scores, firsts=firsts, resamples=config.resamples, rng=np.random.default_rng(config.seed))
    about = {
        "against": config.against or config.reference_column,
        "template": pair_judge.prompt.name if isinstance(pair_judge, EndpointJudge) else None,
    }
    return {**dataclasses.asdict(rate), **about, "outcomes": [outcome(score) for score in scores]}


def _world_judge(config: JudgeConfig) -> ScoreJudge:
    """Return the judge of a world file, or of a run's embedded world."""
    from llm.embedded import read_world
    from llm.judging.world import judge_of, world_of

    if config.world:
        return judge_of(read_world(Path(config.world)))
    if not config.model or not (Path(config.model) / "run.json").is_file():
        raise ValueError(
            "world: the judge world needs a run on an embedded world as --model, --world world.json, or another --judge"
        )
    return judge_of(world_of(config.model))


def _refusals(
    config: JudgeConfig, endpoint: Endpoint, kept: Verdicts, items: list[Item], answers: list[str], quiet: bool
) -> dict[str, Any]:
    """Return a benchmark's rates by group, and every answer's label."""
    rubric = prompting.BENCHMARKS[config.prompts].rubric
    prompts = [item.shown for item in items]
    with Line("judging", active=not quiet) as line:
        labels = judge_answers(
            prompts, answers, rubric, endpoint, kept, concurrency=config.concurrency, report=line
        )  # fmt: skip
    about = {"prompts": config.prompts, "template": rubric.name, "source": rubric.source}
    return {**about, "rates": rates(labels, [item.group for item in items], rubric), "labels": labels}


def lines(summary: dict[str, Any]) -> list[str]:
    """Return a summary as lines of text."""
    judge_line = f"judge: {summary['judge']}" + (f" at {summary['judge_url']}" if summary["judge"] != WORLD else "")
    if "rates" in summary:
        texts = []
        for group, labels in summary["rates"].items():
            name = f"{summary['prompts']} {group}".strip()
            texts += [
                f"{name}: {label} {rate['rate']:.3f} (95 % {rate['low']:.3f} to {rate['high']:.3f}; "
                f"{rate['count']} of {rate['n']})"
                for label, rate in labels.items()
                if isinstance(rate, dict)
            ]
            texts.append(f"{name}: {labels['n']} answers, {labels['invalid']} without a valid verdict")
        return [*texts, f"{judge_line}; template {summary['template']} ({summary['source']})"]
    names = {f.name for f in dataclasses.fields(WinRate)}
    w = WinRate(**{k: v for k, v in summary.items() if k in names})
    texts = [
        f"win rate {w.win_rate:.3f} (95 % {w.low:.3f} to {w.high:.3f}) against {summary['against']}, ties half",
        f"raw win rate {w.raw:.3f} (95 % {w.raw_low:.3f} to {w.raw_high:.3f}), ties not won",
        f"{w.n} instances: {w.wins} wins, {w.ties} ties, {w.losses} losses, {w.invalid} without a valid verdict",
    ]
    if w.first is not None:
        texts.append(f"the first position won {w.first:.3f} of {w.verdicts} single verdicts (0.5: no position bias)")
    return [*texts, judge_line + (f"; template {summary['template']}" if summary["template"] else "")]


def print_summary(summary: dict[str, Any], out: str) -> None:
    """Print a summary, and on the error stream the path of its file."""
    print("\n".join(lines(summary)))
    say(f"{Path(out).with_suffix('.summary.json')}")
