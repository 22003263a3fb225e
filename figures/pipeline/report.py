"""`index.html`: every finished artefact in the folder on one page that needs no network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from figures.analysis.multiple import MARK, survives, survivors, with_adjusted
from figures.artefact import VERDICTS, Request
from figures.pipeline.build import LIBRARIES, SOURCE, present
from figures.pipeline.cache import read_csv, to_json
from figures.pipeline.paths import FOLDER, summaries
from llm.common.cache import sha256
from llm.common.environment import git_state, versions
from llm.common.files import write_text
from llm.common.progress import duration

SIGNS = {"upper": "≤", "lower": "≥", "equal": "="}
KINDS = {"upper": "upper bound", "lower": "lower bound", "equal": "equality"}
FORMAT = "paper_repro manifest 1"  # of the manifest
NAME = re.compile(r"[A-Za-z0-9_]+")  # of an artefact; other names do not go into a link
ROWS = 200  # of a table that the page shows; the CSV has all


def write_report(out: Path, registry: Mapping[str, str]) -> None:
    """Write `index.html` anew. Raises OSError if `out` cannot be written."""
    write_text(out / "index.html", page(out, registry))


@cache
def _template() -> Template:
    """Return the compiled template of the page."""
    environment = Environment(
        loader=PackageLoader("figures", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {"number": number, "brief": brief, "seconds": seconds, "cell": cell}
    filters["p_value"] = p_value
    environment.filters |= filters
    environment.globals["dagger"] = MARK
    return environment.get_template("report.html.jinja")


def page(out: Path, registry: Mapping[str, str]) -> str:
    """Return the page as text."""
    artefacts = [_view(out, record) for record in collect(out, registry)]
    claims = [check | {"of": a["name"]} for a in artefacts for check in a["claims"]]
    return _template().render(
        source=SOURCE,
        artefacts=artefacts,
        total=sum(a["tally"]["total"] for a in artefacts),
        hold=sum(a["tally"]["hold"] for a in artefacts),
        broken=[c | {"of": a["name"]} for a in artefacts for c in a["theory"] if c["must_hold"] and not c["holds"]],
        claims=claims,
        counts={verdict: sum(c["verdict"] == verdict for c in claims) for verdict in VERDICTS},
        decided=sum(claim["verdict"] != "mixed" for claim in claims),
        survive=sum(a["tally"]["survive"] for a in artefacts),
        survive_together=survivors(claims),
        not_made=_not_made(out, {a["name"] for a in artefacts}),
        runs=[_runs(summary, artefacts) for summary in summaries(out)],
        looks={"seen": "good", "mixed": "soft", "not seen": "bad"},
        signs=SIGNS,
        kinds=KINDS,
    )


def number(value: Any) -> str:
    """Return a number as on the page, with six digits; the files have all digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:.6g}".replace("-", "−").partition("e")
        return mantissa + (f"×10{exponent_of(exponent)}" if exponent else "")
    return str(value)


def p_value(value: Any) -> str:
    """Return a p-value with two digits, as text; "" for an unknown one."""
    p = math.nan if value is None else float(value)
    return "" if math.isnan(p) else number(float(f"{p:.2g}"))


def brief(value: Any) -> str:
    """Return a measured number with four digits, as its spread justifies no more."""
    return number(float(f"{value:.4g}")) if isinstance(value, float) else number(value)


def cell(text: str) -> str:
    """Return a number of a CSV as on the page: unchanged if it is short, else with six digits."""
    return text if len(text) <= 8 else number(float(text))


def exponent_of(digits: str) -> str:
    """Return an exponent as superscripts: `−05` as `⁻⁵`."""
    return str(int(digits.replace("−", "-"))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def seconds(value: float) -> str:
    """Return a duration as text, in the unit of its length."""
    if value < 0.0015:
        return "1 ms"
    if value < 0.95:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else duration(value)


def command(record: Mapping[str, Any]) -> str:
    """Return the command that makes the artefact again; defaults are left out."""
    words = ["python paper_repro.py", record["name"]]
    for field, default in asdict(Request()).items():
        if record.get(field, default) != default:
            words.append(f"--{field} {record[field]}")
    return " ".join(words)


def verdicts(claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return empirical claims as a table: one row per claim, one column per place; "" is the place of claims without.

    {"places": [...], "rows": [{"label", "cells": place -> claim}]}, both in the order of the claims.
    """
    rows: dict[str, dict[str, Any]] = {}
    for claim in claims:
        label = claim["claim"]
        rows.setdefault(label, {"label": label, "cells": {}})["cells"][claim["place"]] = claim
    return {"places": list(dict.fromkeys(claim["place"] for claim in claims)), "rows": list(rows.values())}


def beside(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the rows beside the paper's for the page; a text equal in every row goes above the table.

    {"same": name -> text, "header": names, "numeric": whether a column is of numbers, "rows": tuples}
    """
    same = {
        name: values[0]
        for name, values in columns.items()
        if len(values) > 1 and isinstance(values[0], str) and len(set(values)) == 1
    }
    kept = {name: values for name, values in columns.items() if name not in same}
    numeric = [all(isinstance(value, float | int) for value in values) for values in kept.values()]
    return {"same": same, "header": list(kept), "numeric": numeric, "rows": list(zip(*kept.values(), strict=True))}


def grid_in_words(spec: Mapping[str, Any]) -> str:
    """Return a grid's specification on one line: `preset embedded; methods mix, alright; seeds 1, 2; steps 300`."""
    flat = {k: v for k, v in spec.items() if k != "options"} | dict(spec.get("options", {}))
    listed = {k: v if isinstance(v, list) else [v] for k, v in flat.items() if v not in ("", [], None)}
    return "; ".join(f"{key.replace('_', ' ')} {', '.join(map(str, values))}" for key, values in listed.items())


def _not_made(out: Path, made: set[str]) -> list[dict[str, str]]:
    """Return the failed artefacts that were never made before: name, and last line of the error."""
    failures = []
    for path in sorted(out.glob("*.error.txt")):
        name = path.name.partition(".")[0]
        if name not in made:
            words = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            failures.append({"name": name, "why": words[-1] if words else "no word", "file": path.name})
    return failures


def _runs(summary: Mapping[str, Any], artefacts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the template's values of a folder of runs; `used` names the artefacts computed from these runs."""
    used = [a["name"] for a in artefacts if a["runs"] == f"{FOLDER}/{summary['folder']}"]
    return {**summary, "path": f"{FOLDER}/{summary['folder']}", "used": used}


def _view(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return the template's values of one artefact."""
    checks = [
        check | {"id": f"{record['name']}-check-{i}", "survives": bool(check["verdict"]) and survives(check)}
        for i, check in enumerate(with_adjusted(record["checks"]), start=1)
    ]
    view = record | {
        "tally": tally(record),
        "theory": [check for check in checks if not check["verdict"]],
        "claims": [check for check in checks if check["verdict"]],
        "verdicts": verdicts([check for check in checks if check["verdict"]]),
        "beside": beside(record["beside"]),
        "parameters": {k: v for k, v in record["parameters"].items() if k != "grids"},
        "grids": {k: grid_in_words(spec) for k, spec in (record["parameters"].get("grids") or {}).items()},
        "command": command(record),
        "failed": (out / f"{record['name']}.error.txt").exists(),
        "size": _png_size(out / f"{record['name']}.png"),
        "header": [],
        "rows": [],
        "left_out": 0,
        "numeric": [],
    }
    if record["is_table"]:
        header, rows = read_csv(out / f"{record['name']}.csv")
        view |= {"header": header, "rows": rows[:ROWS], "left_out": max(0, len(rows) - ROWS)}
        view["numeric"] = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    return view


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _png_size(path: Path) -> tuple[int, int]:
    """Return width and height from the header of a PNG, so that the page keeps still while pictures load."""
    head = path.read_bytes()[16:24]
    return int.from_bytes(head[:4]), int.from_bytes(head[4:])


def collect(out: Path, order: Iterable[str]) -> list[dict[str, Any]]:
    """Return the JSON of every finished artefact in `out`: those of `order` first, in that order, then by name."""
    ranks = {name: rank for rank, name in enumerate(order)}
    names = [path.stem for path in out.glob("*.json") if NAME.fullmatch(path.stem)]
    names.sort(key=lambda name: (ranks.get(name, len(ranks)), name))
    return [record for name in names if (record := present(out, name)) is not None]


def tally(record: Mapping[str, Any]) -> dict[str, Any]:
    """Count the checks, those that hold, the empirical claims, and the verdicts that survive Holm's correction.

    The violated checks that must hold are listed.
    """
    checks = [check for check in record["checks"] if not check["verdict"]]
    claims = [check for check in record["checks"] if check["verdict"]]
    given = [check["verdict"] for check in claims]
    return {
        "total": len(checks),
        "hold": sum(bool(check["holds"]) for check in checks),
        "broken": [check["name"] for check in checks if check["must_hold"] and not check["holds"]],
        "empirical": {verdict: given.count(verdict) for verdict in VERDICTS},
        "survive": survivors(claims),
    }


def write_manifest(out: Path, registry: Mapping[str, str]) -> None:
    """Write `manifest.json` anew. Raises OSError if `out` cannot be written."""
    artefacts = {}
    for record in collect(out, registry):
        name = record["name"]
        path = out / f"{name}.json"
        artefacts[name] = {
            "paper": record["paper"],
            "files": record["files"] | {f"{name}.json": {"sha256": sha256(path), "bytes": path.stat().st_size}},
            "key": record["key"],
            "scale": record["scale"],
            "seeds": record["seeds"],
            "seed": record["seed"],
            "computed": record["computed"],
            "drawn": record["drawn"],
            "seconds": record["seconds"],
            "checks": tally(record),
            "environment": {"versions": record["versions"], "git": record["git"]},
        }
    environment = {"versions": versions(LIBRARIES), "git": git_state()}
    content = {"format": FORMAT, "source": SOURCE, "environment": environment, "artefacts": artefacts}
    write_text(out / "manifest.json", to_json(content))
