"""Record the benchmarks of the real model's finished runs in results/real: MMLU and XSTest, numbers only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from figures.analysis.methods import NAMES
from figures.analysis.methods import order as method_order
from figures.analysis.real_sweeps import replay_label
from figures.analysis.recorded_runs import ABOUT_BENCHMARKS, BENCHMARKS
from figures.recorded.real import roots
from figures.recorded.record import machine
from figures.recorded.table_text import Record, commit_text, seeds_text
from llm.common.cache import sha256
from llm.common.contents import contents_of
from llm.common.environment import git_state
from llm.common.files import read_json, write_text
from llm.judging.statistics import rate

BASE = "base"
LAM = 0.5
GROUPS = ("safe", "unsafe")
MEASURES = ("questions", "refusals")
ASKED = {"mmlu": ("questions", "mmlu"), "xstest": ("refusals", "prompts")}  # file -> its measure and option
SAME = ("model", "sft", "preference", "reference", "steps")  # options that all recorded runs share


def write(folder: Path, out: Path, *, mmlu: Path | None = None, xstest: Path | None = None) -> str:
    """Write the benchmarks of the finished runs with λ = 1/2 that have one, and of their base; return a line on them.

    out     a folder of runs of one training code, or the folder OUT of paper_repro.py that has one such folder
    mmlu    the CSV files that the questions are from; they must be those that the runs were asked; None: leave MMLU out
    xstest  likewise the prompts

    A benchmark that a run lacks is an empty cell. Raises FileNotFoundError if no run has any, and ValueError if there
    are several folders of runs, if the runs are of several sets or of other benchmarks, or if their files are others.
    """
    by_code = roots(out)
    if len(by_code) != 1:
        raise ValueError(
            f"benchmarks: {out} must have runs of one training code, and has those of {len(by_code)}; give the OUT of "
            "paper_repro.py table1 --scale real, or one of its folders OUT/runs/CODE"
        )
    files = {name: path for name, path in (("mmlu", mmlu), ("xstest", xstest)) if path is not None}
    measures = [ASKED[name][0] for name in files]
    folders = [path.parent for path in sorted(by_code[0].glob("*/summary.json"))]
    runs = [run for place in folders if (run := _run(place, measures)) is not None]
    if not runs:
        raise FileNotFoundError(
            f"benchmarks: no finished run in {by_code[0]} with λ = {LAM:g} has {' or '.join(files)}; make them with: "
            "python paper_repro.py table1 --scale real --mmlu PATH --xstest FILE"
        )
    about = _about(runs, files)
    rows = pd.DataFrame([_base(runs), *(_row(run) for run in sorted(runs, key=_position))])
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / BENCHMARKS, rows.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    described = {**about, "training_code": by_code[0].name, "runs": len(runs)}
    write_text(folder / ABOUT_BENCHMARKS, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    return f"benchmarks of {len(runs)} runs and their base"


def _run(folder: Path, measures: Sequence[str]) -> dict[str, Any] | None:
    """Return configuration, summary and measures of a finished run of a method with λ = 1/2; None for another run."""
    files = {name: folder / "measures" / f"{name}.json" for name in (*measures, "skill")}
    there = {name: read_json(path) for name, path in files.items() if path.is_file()}
    config = read_json(folder / "run.json")["config"]
    if config["lam"] != LAM or config["preference_loss"] != "dpo" or config["average"] or not {*measures} & {*there}:
        return None
    return {"config": config, "summary": read_json(folder / "summary.json"), "measures": there}


def _result(run: Record, name: str) -> Record:
    """Return the result of a measure of a run; {} if the run lacks it."""
    own: Record = run["measures"].get(name, {}).get("result", {})
    return own


def label_of(config: Record) -> str:
    """Return the printed name of a run: its method, with the order of the stages and the share of replay."""
    first = "SFT first" if config["order"] == "sft-dpo" else "DPO first"
    if config["method"] == "sequential":
        return f"Sequential, {first}"
    if config["method"] == "replay":
        return replay_label(config["replay"]).replace("SFT first", first)
    return NAMES[config["method"]]


def _position(run: Record) -> tuple[Any, ...]:
    """Return the sort key of a run: method, order, share of replay, seed."""
    config = run["config"]
    return method_order(NAMES[config["method"]]), config["order"], config["replay"], config["seed"]


def _row(run: Record) -> dict[str, Any]:
    """Return the row of a run: its name and settings, and every benchmark with its interval.

    object  share of the answers to XSTest's prompts that begin as a JSON object: by the skill, which was not asked for
    """
    config, questions, refusals = run["config"], _result(run, "questions"), _result(run, "refusals")
    row = {"label": label_of(config), "method": NAMES[config["method"]], "lam": config["lam"], "seed": config["seed"]}
    row |= _share("mmlu", questions.get("accuracy"), questions.get("n", 0))
    for group in GROUPS:
        row |= _share(group, refusals.get(group), refusals.get(f"{group}_n", 0))
    answers = [row["answer"].strip() for row in refusals.get("answers", ())]
    objects = sum(answer.startswith("{") for answer in answers) / len(answers) if answers else None
    row |= _share("object", objects, len(answers))
    kept = run["summary"]["evaluation"].get("rewards/accuracies", math.nan)
    return row | {"preferences": kept, "skill": _result(run, "skill").get("exact_match", math.nan)}


def _base(runs: Sequence[Record]) -> dict[str, Any]:
    """Return the row of the base model. Raises ValueError if the runs have several bases."""
    row: dict[str, Any] = {"label": BASE, "method": "", "lam": math.nan, "seed": ""}
    row |= _share("mmlu", *_of_base(runs, "questions", "base_accuracy", "n"))
    for group in GROUPS:
        row |= _share(group, *_of_base(runs, "refusals", f"base_{group}", f"{group}_n"))
    return row | _share("object", None, 0) | {"preferences": math.nan, "skill": math.nan}


def _of_base(runs: Sequence[Record], measure: str, column: str, count: str) -> tuple[float | None, int]:
    """Return a value of the base and the number of its questions, which all runs with the measure share."""
    values = {(own[column], own[count]) for run in runs if (own := _result(run, measure))}
    if len(values) > 1:
        raise ValueError(f"benchmarks: the runs have {len(values)} base models by {column}; record those of one")
    return values.pop() if values else (None, 0)


def _share(name: str, share: float | None, n: int) -> dict[str, Any]:
    """Return a share with Wilson's 95 % interval and the number of its questions; NaN for an unknown share."""
    if share is None:
        return {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan, f"{name}_n": 0}
    of = rate(round(share * n), n)
    return {name: of.rate, f"{name}_low": of.low, f"{name}_high": of.high, f"{name}_n": of.n}


def _about(runs: Sequence[Record], files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the description of the record, after checking that all runs are of the same sets and benchmarks."""
    shared: dict[str, Record] = {}
    for name in MEASURES:
        own = {json.dumps(r["measures"][name]["inputs"], sort_keys=True) for r in runs if name in r["measures"]}
        if len(own) > 1:
            raise ValueError(f"benchmarks: the runs differ in {name}; record those that are alike")
        shared[name] = next((_result(run, name) for run in runs if name in run["measures"]), {})
    for name in SAME:
        if len({run["config"][name] for run in runs}) > 1:
            raise ValueError(f"benchmarks: the runs differ in {name}; record those that are alike")
    for name in files:
        measure, option = ASKED[name]
        content = contents_of(str(files[name]))
        if any(run["measures"][measure]["inputs"][option] != content for run in runs if measure in run["measures"]):
            raise ValueError(
                f"benchmarks: {files[name]} is not the file that the runs were asked; give that by --{name}"
            )
    questions, refusals = shared["questions"], shared["refusals"]
    now, git, there = datetime.now(UTC).date().isoformat(), git_state(), machine()
    seeds = sorted({run["config"]["seed"] for run in runs})
    asked = [f"MMLU, 1-shot, {questions['n']} questions"] if questions else []
    if refusals:
        prompts = sum(refusals[f"{group}_n"] for group in GROUPS)
        asked.append(f"XSTest, {prompts} prompts, refusals by {refusals['judge']}")
    shown = (
        f"SmolLM2-135M-Instruct, {runs[0]['config']['steps']} steps, λ = {LAM:g}, {seeds_text(seeds)}; "
        f"{'; '.join(asked)}; {now}, commit {commit_text(git)}, "
        f"{there['processor']}, {there['cores']} cores"
    )
    return {
        "command": f"python -m figures.recorded --benchmarks OUT {' '.join(f'--{name} PATH' for name in files)}",
        "date": now,
        "machine": there,
        "git": git,
        "versions": runs[0]["summary"]["versions"],
        "files": {name: _named(path) for name, path in files.items()},
        "mmlu": {key: questions.get(key) for key in ("limit", "n", "shots")},
        "xstest": {key: refusals.get(key) for key in ("limit", "judge")},
        "intervals": "Wilson's 95 % intervals over questions or prompts, not over seeds",
        "seconds": {
            name: [round(r["measures"][name]["seconds"]) for r in runs if name in r["measures"]] for name in MEASURES
        },
        "seeds": seeds,
        "facts": {"shown": shown},
    }


def _named(path: Path) -> dict[str, str]:
    """Return the name of a file or folder, and a file's SHA-256."""
    return {"name": path.name, **({"sha256": sha256(path)} if path.is_file() else {})}
