"""Tables of the recorded results of the real model for the pages, as Markdown: losses and shares, and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from figures.analysis.real_sweeps import COMPUTED, SFT_REFERENCE, is_usual
from figures.recorded.joined import further
from figures.recorded.real_figures import FIGURES, REAL, Recorded
from figures.recorded.table_text import Record, commit_text, number, on_machine, recorded_by, seeds_text, table

NOTHING = "Nothing is recorded yet."


def runs(records: Mapping[str, Record], figure: Recorded = REAL, *, usual: bool = False) -> str:
    """Return the table of an artefact's runs, λ = ½ unless it is named: means over seeds, a row a label.

    usual  whether only runs with λ = 1/2 and the base as reference are in it
    """
    if figure.name not in records:
        return NOTHING
    record = records[figure.name]
    rows = [row for row in record["rows"] if not usual or is_usual(row["label"])]
    head = "method" if figure.of_tasks else "λ = ½ unless named" if any("λ" in r["label"] for r in rows) else "λ = ½"
    shown = {name: text for name, text in figure.shown.items() if any(name in row for row in rows)}
    whole = len(record["seeds"])
    labels = [f"{r['label']} ({r['seeds']} of {whole} seeds)" if r["seeds"] < whole else r["label"] for r in rows]
    body = [
        [label, *(number(row[name]) if name in row else "" for name in shown)]
        for label, row in zip(labels, rows, strict=True)
    ]
    facts = record["facts"]
    sets = _tasks(record) if figure.of_tasks else f"SFT set `{facts['sft']}`, preferences `{facts['preference']}`"
    return (
        f"{table([head, *shown.values()], body)}\n\n{facts['scale']} ({seeds_text(record['seeds'])}); {sets}. "
        f"{recorded_by(record)}: {on_machine(record)}.{_further(record, usual=usual)}{_missing(record, usual=usual)}"
    )


# Column of the recorded table -> its head in the table of optima, of values by estimated and by computed f*.
BY_OPTIMA = {"f_dpo": "f_DPO", "f_sft": "f_SFT", "skill_exact_match": "exact answers"}


def optima(records: Mapping[str, Record]) -> str:
    """Return the table of MAXRIGHT's runs with computed optima beside those with estimated ones, a row a seed."""
    runs = {} if REAL.name not in records else {(r["label"], r["seed"]): r for r in records[REAL.name]["ends"]}
    body = []
    for reference, end in (("base", ""), ("sft", f", {SFT_REFERENCE}")):
        for (label, seed), computed in runs.items():
            estimated = runs.get((f"MAXRIGHT{end}", seed))
            if label == f"MAXRIGHT, {COMPUTED}{end}" and estimated is not None:
                stars = (number(float(computed[name])) for name in ("f_dpo_star", "f_sft_star"))
                steps = f"{float(estimated['steps_dpo']):.0f}, {float(computed['steps_dpo']):.0f}"
                pairs = ([number(float(run[name])) for run in (estimated, computed)] for name in BY_OPTIMA)
                body.append([reference, seed, *stars, steps, *map(", ".join, pairs)])
    head = ["reference", "seed", "f_DPO\\*", "f_SFT\\*", "steps on DPO", *BY_OPTIMA.values()]
    return table(head, body) if body else NOTHING


def _further(record: Record, *, usual: bool) -> str:
    """Return which shown runs were recorded at another time or place, as sentences; "" if none were."""
    texts = []
    for runs, part in further(record, is_usual if usual else lambda _: True):
        own = {"machine": record["machine"], "versions": record["versions"]}
        where = "" if own == {name: part[name] for name in own} else f" ({on_machine(part)})"
        texts.append(f" Of these, {runs}: on {part['date']} at commit `{commit_text(part['git'])}`{where}.")
    return "".join(texts)


def _tasks(record: Record) -> str:
    """Return the tasks in their order, each with its loss and set, as one phrase."""
    texts = []
    for own in record["sets"]["tasks"]:
        digest = f" (SHA-256 {own['sha256'][:12]})" if "sha256" in own else ""
        texts.append(f"{own['task']} ({own['loss'].upper() or 'SFT'}) `{own['name']}{digest}`")
    return f"tasks: {', '.join(texts)}"


def _missing(record: Record, *, usual: bool) -> str:
    """Return which runs of the grid were not finished when the results were recorded, as a sentence; "" if none."""
    gaps = [
        f"{label} ({seeds_text(seeds)})"
        for label, seeds in record.get("missing", {}).items()
        if not usual or is_usual(label)
    ]
    return f" Not finished: {', '.join(gaps)}." if gaps else ""


BENCHMARKS = {
    "mmlu": "MMLU, right",
    "safe": "XSTest, safe prompts refused",
    "unsafe": "XSTest, unsafe prompts refused",
    "object": "XSTest, answered by a JSON object",
}


def benchmarks(records: Mapping[str, Record]) -> str:
    """Return the table of the real model's recorded benchmarks, in per cent with intervals, a row a run."""
    if "benchmarks" not in records:
        return NOTHING
    record = records["benchmarks"]
    shown = {name: head for name, head in BENCHMARKS.items() if any(row[name] for row in record["rows"])}
    files = ", ".join(f"{name} `{file['name']}`" for name, file in record["files"].items())
    body = []
    for row in record["rows"]:
        shares = ((row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in shown)
        cells = ("{} [{}, {}]".format(*map(_percent, share)) if share[0] else "" for share in shares)
        body.append([row["label"] + (f", seed {row['seed']}" if row["seed"] else ""), *cells])
    return (
        f"{table(['%, λ = ½', *shown.values()], body)}\n\n{record['facts']['shown']}. "
        f"Files: {files}. {record['intervals']}."
    )


def _percent(text: str) -> str:
    """Return a share in per cent, without digits after the point."""
    return f"{100.0 * float(text):.0f}"


# Name of a place in a page -> its text.
BLOCKS: Mapping[str, Callable[[Mapping[str, Record]], str]] = {
    "benchmarks": benchmarks, "real-usual": partial(runs, usual=True), "real-optima": optima,
    **{figure.name: partial(runs, figure=figure) for figure in FIGURES},
}  # fmt: skip
