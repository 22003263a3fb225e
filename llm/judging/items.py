"""Prompts and reference answers: rows of a data set, a run's held-out rows, a benchmark's prompts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.data.formats import load
from llm.data.messages import Text, written
from llm.data.objective_options import Kind
from llm.data.readers import Table, read
from llm.data.rows import Row
from llm.judging.templates import SORRY_BENCH, XSTEST, Rubric
from llm.skill import rows as skill

PREFERENCE = ("chosen", "rejected")


@dataclass(frozen=True)
class Item:
    """A prompt in the form of the model's input, the reference answer ("" without one), and a group.

    tools, template_kwargs  as in `llm.data.rows.Row`
    """

    prompt: Text
    reference: str = ""
    group: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    template_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> Row:
        """The prompt as a row without responses."""
        return Row(self.prompt, (), self.tools, self.template_kwargs)

    @property
    def shown(self) -> str:
        """The prompt as text, for judges and files of answers."""
        return shown(self.prompt)


def shown(text: Text) -> str:
    """Return a text without surrounding space; of a conversation the only message, or all messages with roles."""
    if isinstance(text, str):
        return text.strip()
    if len(text) == 1:
        return written(text[0])
    return "\n\n".join(f"{message['role']}: {written(message)}" for message in text)


def from_set(
    source: str,
    *,
    reference: str,
    prompt: str = "prompt",
    split: str = "",
    columns: Mapping[str, str] | None = None,
    limit: int = 0,
) -> list[Item]:
    """Return the items of a data set's rows.

    source     as in `llm.data.formats.load`
    reference  column of reference answers: chosen or rejected of a preference set in any format of training, or any
               column of texts; "": no reference
    prompt     column of prompts, for a data set that is no preference set
    columns    our column names to those of a preference set

    Raises ValueError, TypeError or FileNotFoundError in one line.
    """
    names = dict(columns or {})
    first = read(source, split or None, 1)
    if all(names.get(name, name) in first.columns for name in PREFERENCE) and reference in ("", *PREFERENCE):
        rows = load(source, kind="preference", split=split or None, columns=names, limit=limit or None).rows
        return of_rows(rows, reference or PREFERENCE[0])
    table = read(source, split or None, limit or None)
    return [
        Item(_text(row, prompt, table, i, "--prompt-column"), _text(row, reference, table, i, "--reference-column"))
        if reference
        else Item(_text(row, prompt, table, i, "--prompt-column"))
        for i, row in _rows(table)
    ]


def of_rows(rows: Sequence[Row], reference: str) -> list[Item]:
    """Return the items of preference rows, with the response chosen or rejected as reference."""
    at = PREFERENCE.index(reference)
    return [Item(r.prompt, shown(r.responses[at]), tools=r.tools, template_kwargs=r.template_kwargs) for r in rows]


def from_run(folder: str, *, reference: str, report: Callable[[str, float], None], limit: int = 0) -> list[Item]:
    """Return the items of a finished run's held-out preference rows.

    Raises ValueError if the run held none out, or its set was given in memory.
    """
    if reference not in PREFERENCE:
        raise ValueError(
            f"reference_column: of a run's own rows it is chosen or rejected, got {reference}; give --file"
        )
    return of_rows(held_out_rows(folder, "preference", report=report, limit=limit), reference)


def held_out_rows(folder: str, kind: Kind, *, report: Callable[[str, float], None], limit: int = 0) -> list[Row]:
    """Return the rows of a finished run's one set of a kind that the run held out, in the order of their file.

    Raises ValueError if there are none or several such sets, the run held no rows out, or the set was given in memory.
    """
    from llm.data.objective_settings import only
    from llm.data.splits import hold_out, tokenize_options
    from llm.data.token_rows import prompt_key
    from llm.data.tokenization import tokenize
    from llm.embedded.prepare import with_embedded
    from llm.training.run_folder import load_run

    if not (Path(folder) / "run.json").is_file():
        raise ValueError(f"file: {folder} is no run, which would have held rows out; give the prompts by --file")
    past = load_run(folder)
    name = only(past.config.objectives, kind, "file: a run without --file").set_name
    separate = f"{name}_held_out" in past.in_memory
    if separate or (name in past.in_memory and not only(past.config.objectives, kind, "file").evaluation):
        raise ValueError(f"file: the run's {kind} set was given in memory and no name leads to it; give --file")
    config = with_embedded(past.config, past.in_memory, report)
    own = only(config.objectives, kind, "file")
    reading: dict[str, Any] = {"columns": own.columns, "format": own.format}
    reading |= {"kind": kind, "bad_rows": config.bad_rows, "ignore_input": config.ignore_input}
    if own.evaluation:
        return list(load(own.evaluation, **reading).rows[: limit or None])
    if own.held_out == 0.0:
        raise ValueError("file: the run held no rows out; give --file")
    if skill.seed_of(own.source) is not None and not config.eval_on_train:  # which has held-out rows of its own
        return list(load(own.source, split=skill.TEST, limit=limit or None, **reading).rows)
    rows = load(own.source, split=own.split, limit=own.rows, **reading)
    tokens = tokenize(rows, _tokenizer(folder, config), **tokenize_options(config, own))
    if config.eval_on_train:
        held = set(tokens.keys[: max(1, int(own.held_out * len(tokens)))])
    else:
        held = set(hold_out(tokens, own.held_out, seed=config.seed)[1].keys)
    return [row for row in rows.rows if prompt_key(row.prompt) in held][: limit or None]


def _tokenizer(folder: str, config: Any) -> Any:
    from llm.models.loading import load_tokenizer

    return load_tokenizer(folder if (Path(folder) / "tokenizer_config.json").is_file() else config.model, config)


@dataclass(frozen=True)
class Benchmark:
    """A set of prompts whose answers are judged by a rubric.

    hub     name of the data set
    column  column of prompts: texts, or lists of one text
    keep    a column and its value in the rows to use, in files that have the column
    group   (row) -> group of its label in the rates
    remedy  end of the error message if the data set cannot be read
    """

    hub: str
    rubric: Rubric
    column: str
    keep: tuple[str, str] | None
    group: Callable[[Mapping[str, Any]], str]
    remedy: str


def _safe(row: Mapping[str, Any]) -> str:
    """Return XSTest's label; copies without the column encode it in the prompt's type, where contrasts are unsafe."""
    label = row.get("label")
    return str(label) if label else "unsafe" if str(row.get("type", "")).startswith("contrast") else "safe"


BENCHMARKS = {
    "sorry-bench": Benchmark(
        "sorry-bench/sorry-bench-202503",
        SORRY_BENCH,
        "turns",
        ("prompt_style", "base"),
        lambda _row: "",
        "it is gated: accept its terms at https://huggingface.co/datasets/sorry-bench/sorry-bench-202503, then "
        "`hf auth login`; or give its question.jsonl by --file",
    ),
    "xstest": Benchmark(
        "Paul/XSTest",
        XSTEST,
        "prompt",
        None,
        _safe,
        "download it with a network (hf download --repo-type dataset Paul/XSTest --local-dir FOLDER), or give a "
        ".csv, .jsonl or .parquet with the columns prompt and label (safe, unsafe) by --file",
    ),
}


def from_benchmark(name: str, source: str = "", *, split: str = "", limit: int = 0) -> list[Item]:
    """Return the prompts of a benchmark, from the hub or from a file or folder with the same columns.

    Raises FileNotFoundError with the remedy if the hub cannot provide it, ValueError or TypeError for another set.
    """
    which = BENCHMARKS[name]
    try:
        table = (
            _csv(Path(source)) if source.lower().endswith(".csv") else read(source or which.hub, split or None, None)
        )
    except (FileNotFoundError, ValueError) as error:
        if source:
            raise
        reason = " ".join(str(error).split()).partition("; without a network")[0]
        raise FileNotFoundError(f"prompts: {name} is not there ({reason}); {which.remedy}") from error
    rows = _rows(table)
    if which.keep is not None and which.keep[0] in table.columns:
        column, value = which.keep
        rows = [(i, row) for i, row in rows if row.get(column) == value]
        if not rows:
            raise ValueError(
                f"{table.origin}: no row has {value!r} in its column '{column}', so there is nothing to ask"
            )
    return [
        Item(_text(row, which.column, table, i, "", turns=True), group=which.group(row))
        for i, row in rows[: limit or None]
    ]


def _csv(path: Path) -> Table:
    """Return the rows of a CSV file with a header, as texts; benchmarks of prompts are distributed in this form."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV file in UTF-8: {error}") from error
    return Table(str(path), list(reader.fieldnames or ()), rows)


def _rows(table: Table) -> list[tuple[int, Mapping[str, Any]]]:
    if not table.rows:
        raise ValueError(f"{table.origin}: the set is empty")
    return list(enumerate(table.rows))


def _text(row: Mapping[str, Any], column: str, table: Table, i: int, option: str, *, turns: bool = False) -> str:
    value = row.get(column)
    if turns and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or not value.strip():
        remedy = f"; name the column by {option}" if option else ""
        raise ValueError(
            f"row {i} of {table.origin}: there is no text in a column '{column}'; its columns are "
            f"{', '.join(table.columns)}{remedy}"
        )
    return value
