"""How much of the skill a model has: shares of greedy answers to held-out prompts, with Wilson's 95 % intervals.

`python -m llm skill` measures any model; the measure `skill` of a study measures a finished run.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from llm.common.arguments import AT_LEAST_1, Range, check_options
from llm.common.files import check_name, ensure_writable, write_json
from llm.evaluation.generate import Decoding, generate_answers
from llm.judging.statistics import rate
from llm.skill.convention import KEYS, grade
from llm.skill.rows import NAME, TEST, Example, examples, seed_of
from llm.training.run_folder import load_run

if TYPE_CHECKING:
    from rich.table import Table

ROWS = 100
MOST_ROWS = 10_000  # far fewer than there are, so that different ones are drawn fast
ANSWER_TOKENS = 96  # more than the characters of any slip, whatever the tokenizer
LABELS = {
    "exact_match": "exact match",
    "exact_match_known": "exact match, known wordings",
    "exact_match_new": "exact match, new wordings",
    "valid_json": "valid JSON",
    "right_keys": "right keys",
}


@dataclass(frozen=True)
class SkillConfig:
    """Options of `skill`: a model and a number of held-out prompts."""

    model: str
    """Folder of a run, of an adapter or of a model, or a hub name."""
    rows: Annotated[int, Range(low=1, high=MOST_ROWS)] = ROWS
    """Number of held-out prompts; every second one is in a wording that training never has."""
    sft: str = ""
    """The set, `skill` or `skill:SEED`; empty: the run's own, else `skill`."""
    template: str = ""
    """Chat template, as in training; empty: the run's own, else auto."""
    eos: str = ""
    """End-of-text token, as in training; empty: the run's own, else the tokenizer's."""
    batch: Annotated[int, AT_LEAST_1] = 25
    """Number of prompts in a batch."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the model: fp32 or bf16."""
    remote_code: bool = False
    """Run Python code that a model repository contains."""
    answers: bool = False
    """Write prompts, answers and slips to `out` as well."""
    out: str = ""
    """Write the numbers to this .json as well."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.sft and seed_of(self.sft) is None:
            raise ValueError(f"sft: must be {NAME} or {NAME}:SEED, got {self.sft}")
        if self.out:
            check_name(self.out, ".json")
        if self.answers and not self.out:
            raise ValueError("answers: are written to a file only; use --out FILE.json as well")


def skill(config: SkillConfig) -> dict[str, Any]:
    """Return the shares of held-out prompts whose greedy answers follow the convention, as plain values.

    exact_match   the answer is the slip, character by character
    valid_json    the answer is one JSON object
    right_keys    the answer is one JSON object with the convention's keys in their order
    each with NAME_low and NAME_high, Wilson's 95 % interval, and exact_match also for the two halves of the prompts:
    exact_match_known in wordings of the training rows (about other persons and items), exact_match_new in
    wordings that no training row has (None, with its interval, if there is one prompt alone)
    values        key -> share of answers with the right value there
    n             number of prompts
    model, sft    as asked
    answers       with the option `answers`: rows of prompt, answer, slip, exact

    Written to `config.out` if that is set. Raises ValueError or FileNotFoundError, in one line, if the model cannot be
    loaded or has too few positions.
    """
    if config.out:
        ensure_writable("out", Path(config.out).parent)
    name = config.sft or _set_of(config.model)
    rows = list(itertools.islice(examples(seed_of(name) or 0, TEST), config.rows))
    decoding = Decoding(
        template=config.template,
        eos=config.eos,
        max_new_tokens=ANSWER_TOKENS,
        batch=config.batch,
        precision=config.precision,
        remote_code=config.remote_code,
    )
    answers = generate_answers(config.model, [row.prompt for row in rows], decoding)
    result = {"model": config.model, "sft": name, **shares(rows, answers)}
    if config.answers:
        result["answers"] = [
            {"prompt": row.prompt, "answer": answer, "slip": row.completion, "exact": answer == row.completion}
            for row, answer in zip(rows, answers, strict=True)
        ]
    if config.out:
        write_json(Path(config.out), result)
    return result


def measure(folder: Path) -> dict[str, Any]:
    """Return `skill` of a finished run, in the precision of its training, without the names of model and set.

    A run on another SFT set is measured as well: on the held-out prompts of `skill`.
    """
    run = load_run(folder).config
    config = SkillConfig(model=str(folder), precision=run.precision, remote_code=run.remote_code)
    return {key: value for key, value in skill(config).items() if key not in ("model", "sft")}


def shares(rows: Sequence[Example], answers: Sequence[str]) -> dict[str, Any]:
    """Return the shares that `skill` describes, of answers in the order of the rows."""
    verdicts = [grade(answer, row.completion) for row, answer in zip(rows, answers, strict=True)]
    known = [v for row, v in zip(rows, verdicts, strict=True) if not row.new_wording]
    new = [v for row, v in zip(rows, verdicts, strict=True) if row.new_wording]
    return {
        **_share("exact_match", [v.exact for v in verdicts]),
        **_share("exact_match_known", [v.exact for v in known]),
        **_share("exact_match_new", [v.exact for v in new]),
        **_share("valid_json", [v.valid_json for v in verdicts]),
        **_share("right_keys", [v.right_keys for v in verdicts]),
        "values": {key: sum(v.values[key] for v in verdicts) / len(verdicts) for key in KEYS},
        "n": len(verdicts),
    }


def table(result: Mapping[str, Any]) -> Table:
    """Return a rich table of the shares, one line each."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for column in ("of the answers", "share", "95 %"):
        shown.add_column(column, no_wrap=True, justify="left" if column == "of the answers" else "right")
    for name in LABELS:
        if result[name] is not None:
            interval = f"{result[f'{name}_low']:.3f} to {result[f'{name}_high']:.3f}"
            shown.add_row(LABELS[name], f"{result[name]:.3f}", interval)
    for key, share in result["values"].items():
        shown.add_row(f"right value of {key}", f"{share:.3f}", "")
    return shown


def _share(name: str, hits: Sequence[bool]) -> dict[str, float | None]:
    """Return the share of hits as `name` and its interval as `name`_low and `name`_high; None without prompts."""
    of = rate(sum(hits), len(hits))
    values = (of.rate, of.low, of.high) if of.n else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _set_of(model: str) -> str:
    """Return the name of the skill's set that the run in a folder was trained on; the bare name for anything else."""
    if not (Path(model) / "run.json").is_file():
        return NAME
    run = load_run(model)
    named = [own.source for own in run.config.objectives if own.set_name not in run.in_memory]
    return next((source for source in named if seed_of(source) is not None), NAME)
