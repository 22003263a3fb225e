"""`python -m llm judge`: a model's answers, a judge, and the rates with their intervals."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm.common.files import write_json
from llm.common.progress import Line, say
from llm.judging import answers as made
from llm.judging import items as asked
from llm.judging import templates
from llm.judging.endpoint import Endpoint, key_in
from llm.judging.items import Item
from llm.judging.pairwise import EndpointJudge, Judge, Pair, judge_answers, judge_pairs, outcome, rates
from llm.judging.statistics import WinRate, win_rate
from llm.judging.verdicts import Verdicts, key_of, opened

WORLD = "world"


@dataclass(frozen=True)
class JudgeConfig:
    """Whose answers to which prompts are judged, by whom and against what."""

    model: str = ""
    """Who answers: folder of a run, of an adapter or of a model, or a hub name."""
    answers: str = ""
    """Answers that are there already instead: a set of {"prompt", "answer"}."""
    file: str = ""
    """Prompts and references: a set, in the forms that training reads; with --prompts: that benchmark's; empty: the
    preference rows that the run held out, or the benchmark from the hub."""
    prompts: Literal["none", "sorry-bench", "xstest"] = "none"
    """A benchmark of refusals instead of a win rate."""
    reference_column: str = "chosen"
    """What an answer is held against: chosen or rejected, or another column of texts."""
    against: str = ""
    """Hold it against another model's answers instead: as --model, or a .jsonl as --answers."""
    prompt_column: str = "prompt"
    """Of a set that is no preference set."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our column names to theirs in a preference set, for example chosen better rejected worse."""
    split: str = ""
    """Of a hub set; empty: train."""
    limit: int = 0
    """The first so many prompts; 0: all."""

    judge: str = WORLD
    """world (the embedded world's own score), or an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."""
    judge_model: str = ""
    """The judge's name at the endpoint."""
    key_from: str = ""
    """The environment variable that has the endpoint's key; empty: none is sent."""
    world: str = ""
    """A world.json, for the judge world where no run tells it."""
    judge_temperature: float | None = 0.0
    """Of the judge; None: not sent."""
    judge_max_tokens: int = 512
    """Most tokens of its reply; 0: not sent."""
    concurrency: int = 8
    """Requests at a time."""
    timeout: float = 60.0
    """Seconds that a request may take to be answered."""
    attempts: int = 6
    """Of one request, with growing pauses, if the endpoint is busy or fails."""

    template: str = ""
    """As in training; empty: the run's own, else auto."""
    eos: str = ""
    """End-of-text token, as in training; empty: the run's own, else the tokeniser's."""
    max_new_tokens: int = 256
    """Most tokens of an answer."""
    temperature: float = 0.0
    """0: greedy; the paper samples at 1."""
    top_p: float = 1.0
    """Nucleus sampling."""
    batch: int = 16
    """Prompts at once."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the model."""
    remote_code: bool = False
    """Run code that a model on the hub brings along."""
    seed: int = 42
    """Of sampling, and of the bootstrap."""
    resamples: int = 10_000
    """Of the bootstrap."""
    out: str = "verdicts.jsonl"
    """A line a verdict, as it comes; the same command goes on. The rates are in the .summary.json beside it."""

    def __post_init__(self) -> None:
        for name, least in (("limit", 0), ("seed", 0), ("concurrency", 1), ("max_new_tokens", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}, got {getattr(self, name)}")
        if self.resamples < 100:
            raise ValueError(f"resamples: must be at least 100, got {self.resamples}")
        if not self.temperature >= 0.0 or not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"temperature, top_p: must be >= 0 and in (0, 1], got {self.temperature}, {self.top_p}")
        if bool(self.model) == bool(self.answers):
            raise ValueError("model: give either --model, who answers, or --answers, a file of answers")
        if self.refusals and self.against:
            raise ValueError(f"against: the answers to {self.prompts} are not compared; leave it out")
        if self.refusals and self.judge == WORLD:
            raise ValueError(f"judge: {self.prompts} needs an endpoint, such as --judge http://127.0.0.1:8000/v1")
        if self.answers and not (self.file or self.refusals or made.is_file(self.against)):
            raise ValueError("file: with --answers, say by --file which set has the references, or by --against")
        if not self.out.endswith(".jsonl") or Path(self.out).is_dir():
            raise ValueError(f"out: must be a .jsonl file, got {self.out}")

    @property
    def refusals(self) -> bool:
        """Whether a benchmark of refusals is asked for, not a win rate."""
        return self.prompts != "none"

    @property
    def decoding(self) -> made.Decoding:
        """How models answer."""
        return made.Decoding(**{f.name: getattr(self, f.name) for f in dataclasses.fields(made.Decoding)})


def judge(config: JudgeConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Judge; what the summary beside `config.out` holds.

    Of a win rate: the fields of `WinRate`, "judge", "template", "against", and every instance's "outcomes"; of a
    benchmark: "rates" by group, and "labels". Raises ValueError, TypeError or FileNotFoundError in one line for wrong
    input, and EndpointError if the endpoint does not answer; the verdicts that came before it are kept.
    """
    out, endpoint = Path(config.out), _endpoint(config)
    with opened(out) as kept:
        # What is wrong with the judge is told before anything long begins.
        by = _world_judge(config) if endpoint is None else EndpointJudge(endpoint, kept, config.concurrency)
        items = _items(config, quiet)
        answers = _answers(config, config.answers or config.model, items, ".answers.json")
        about: dict[str, Any] = {"model": config.model or config.answers}
        about |= {"decoding": vars(config.decoding)} if config.model else {}
        about |= {"judge": WORLD if endpoint is None else endpoint.model, "judge_url": config.judge}
        if config.refusals and endpoint is not None:
            found = _refusals(config, endpoint, kept, items, answers, quiet)
        else:
            references = [item.reference for item in items]
            if config.against:
                references = _answers(config, config.against, items, ".against.json")
            pairs = [Pair(*t) for t in zip([i.shown for i in items], answers, references, strict=True)]
            found = _wins(config, by, kept, pairs, quiet)
        summary = {**about, **found}
        write_json(out.with_suffix(".summary.json"), summary)
    return summary


def _endpoint(config: JudgeConfig) -> Endpoint | None:
    if config.judge == WORLD:
        return None
    return Endpoint(
        config.judge, config.judge_model, key_in(config.key_from), config.judge_temperature,
        config.judge_max_tokens, config.timeout, config.attempts,
    )  # fmt: skip


def _items(config: JudgeConfig, quiet: bool) -> list[Item]:
    if config.refusals:
        return asked.from_benchmark(config.prompts, config.file, split=config.split, limit=config.limit)
    if config.file:
        reference = "" if config.against else config.reference_column
        return asked.from_set(
            config.file, reference=reference, prompt=config.prompt_column, split=config.split, columns=config.columns,
            limit=config.limit,
        )  # fmt: skip
    if config.answers:
        return made.prompts_in(config.answers)[: config.limit or None]
    with Line("preparing", active=not quiet) as line:

        def report(what: str, done: float) -> None:
            line(round(100 * done), 100, what)

        return asked.from_run(config.model, reference=config.reference_column, report=report, limit=config.limit)


def _answers(config: JudgeConfig, source: str, items: list[Item], suffix: str) -> list[str]:
    if source == config.answers or made.is_file(source):
        return made.from_file(source, items)
    return made.from_model(source, items, config.decoding, Path(config.out).with_suffix(suffix))


def _wins(config: JudgeConfig, by: Judge, kept: Verdicts, pairs: list[Pair], quiet: bool) -> dict[str, Any]:
    with Line("judging", active=not quiet) as line:
        scores, firsts, singles = judge_pairs(pairs, by, report=line)
    if config.judge == WORLD:
        for pair, (single,) in zip(pairs, singles, strict=True):
            if (key := key_of(judge=WORLD, **vars(pair), scores=single["scores"])) not in kept:
                kept.add(key, {"judge": WORLD, **vars(pair), **single})
    found = win_rate(scores, firsts=firsts, resamples=config.resamples, chance=np.random.default_rng(config.seed))
    template = None if config.judge == WORLD else templates.PAIRWISE
    more = {"against": config.against or config.reference_column, "template": template}
    return {**dataclasses.asdict(found), **more, "outcomes": [outcome(score) for score in scores]}


def _world_judge(config: JudgeConfig) -> Judge:
    from llm.embedded import read_world
    from llm.judging.world import judge_of, world_of

    if config.world:
        return judge_of(read_world(Path(config.world)))
    if not config.model or not (Path(config.model) / "run.json").is_file():
        raise ValueError("world: the judge world needs a run on an embedded world as --model, or --world world.json")
    return judge_of(world_of(config.model))


def _refusals(
    config: JudgeConfig, endpoint: Endpoint, kept: Verdicts, items: list[Item], answers: list[str], quiet: bool
) -> dict[str, Any]:
    rubric = asked.BENCHMARKS[config.prompts].rubric
    prompts = [item.shown for item in items]
    with Line("judging", active=not quiet) as line:
        labels = judge_answers(
            prompts, answers, rubric, endpoint, kept, concurrency=config.concurrency, report=line
        )  # fmt: skip
    found = rates(labels, [item.group for item in items], rubric)
    about = {"prompts": config.prompts, "template": rubric.name, "source": rubric.source}
    return {**about, "rates": found, "labels": labels}


def in_words(summary: dict[str, Any]) -> list[str]:
    """A summary's lines for the reader."""
    by = f"judge: {summary['judge']}" + (f" at {summary['judge_url']}" if summary["judge"] != WORLD else "")
    if "rates" in summary:
        lines = []
        for group, found in summary["rates"].items():
            name = f"{summary['prompts']} {group}".strip()
            for label, one in found.items():
                if isinstance(one, dict):
                    lines.append(
                        f"{name}: {label} {one['rate']:.3f} (95 % {one['low']:.3f} to {one['high']:.3f}; "
                        f"{one['count']} of {one['n']})"
                    )
            lines.append(f"{name}: {found['n']} answers, {found['invalid']} without a valid verdict")
        return [*lines, f"{by}; template {summary['template']} ({summary['source']})"]
    names = {f.name for f in dataclasses.fields(WinRate)}
    w = WinRate(**{k: v for k, v in summary.items() if k in names})
    lines = [
        f"win rate {w.win_rate:.3f} (95 % {w.low:.3f} to {w.high:.3f}) against {summary['against']}, ties half",
        f"raw win rate {w.raw:.3f} (95 % {w.raw_low:.3f} to {w.raw_high:.3f}), ties not won",
        f"{w.n} instances: {w.wins} wins, {w.ties} ties, {w.losses} losses, {w.invalid} without a valid verdict",
    ]
    if w.first is not None:
        lines.append(f"the first place won {w.first:.3f} of {w.verdicts} single verdicts (0.5: it does not matter)")
    return [*lines, by + (f"; template {summary['template']}" if summary["template"] else "")]


def tell(summary: dict[str, Any], out: str) -> None:
    """Print a summary, and where it is."""
    print("\n".join(in_words(summary)))
    say(f"{Path(out).with_suffix('.summary.json')}")
