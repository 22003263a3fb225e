"""Replace the generated parts of pages, which stand between `<!-- recorded: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from figures.analysis.recorded_runs import ABOUT, ABOUT_BENCHMARKS, BENCHMARKS, TABLE
from figures.recorded.real import ends, rows_of
from figures.recorded.real_figures import FIGURES, REAL
from figures.recorded.table_text import Record
from figures.recorded.tables import BLOCKS
from llm.common.environment import ROOT

RECORDED = ROOT / "docs" / "recorded"
PAGES = ("README.md", "docs/experiments.md", "docs/llm.md")
MARK = re.compile(r"(<!-- recorded: (?P<name>[\w-]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)


def read_records(folder: Path = RECORDED) -> dict[str, Record]:
    """Return the recorded results by name: that of their file, or of their folder in results; and "benchmarks".

    Of runs of the real model "rows" are means over seeds, and "ends" the table's rows with the values of whole runs.
    """
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    results = folder.parents[1] / "results"
    for figure in FIGURES:
        own = results / figure.name
        if (own / ABOUT).is_file():
            about = json.loads((own / ABOUT).read_text(encoding="utf-8"))
            rows = rows_of(own / TABLE)
            means = ends(rows, tuple(figure.shown), figure.is_end)
            records[figure.name] = {**about, "rows": means, "ends": list(filter(figure.is_end, rows))}
    own = results / REAL.name
    if (own / ABOUT_BENCHMARKS).is_file():
        about = json.loads((own / ABOUT_BENCHMARKS).read_text(encoding="utf-8"))
        records["benchmarks"] = {**about, "rows": rows_of(own / BENCHMARKS)}
    return records


def rendered(text: str, records: Mapping[str, Record]) -> str:
    """Return a page with its generated parts made anew; KeyError for a part that is not known."""
    return MARK.sub(lambda m: f"{m[1]}{BLOCKS[m['name']](records)}\n{m[4]}", text)


def stale_pages(root: Path = ROOT) -> list[str]:
    """Return the pages whose generated parts differ from docs/recorded."""
    records = read_records(root / "docs" / "recorded")
    texts = {name: (root / name).read_text(encoding="utf-8") for name in PAGES}
    return [name for name, text in texts.items() if rendered(text, records) != text]


def write_pages(root: Path = ROOT) -> list[str]:
    """Write the generated parts of all pages anew and return the names of the pages that changed."""
    changed = stale_pages(root)
    records = read_records(root / "docs" / "recorded")
    for name in changed:
        path = root / name
        path.write_text(rendered(path.read_text(encoding="utf-8"), records), encoding="utf-8")
    return changed
