"""`index.html`: every finished artefact in the folder on one page that needs no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from figures.artefact import Request
from figures.files import write
from figures.manifest import collect, tally
from figures.store import SOURCE
from figures.table import read_csv

SIGNS = {"upper": "≤", "lower": "≥", "equal": "="}
KINDS = {"upper": "upper bound", "lower": "lower bound", "equal": "equality"}
ROWS = 200  # of a table that the page shows; the CSV has all


def write_report(out: Path, registry: Mapping[str, str]) -> None:
    """Write `index.html` anew. Raises OSError if `out` cannot be written."""
    write(out / "index.html", page(out, registry).encode())


def page(out: Path, registry: Mapping[str, str]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("figures", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {"number": number, "seconds": seconds, "cell": cell}
    environment.filters |= filters
    artefacts = [_view(out, record) for record in collect(out, registry)]
    return environment.get_template("report.html.jinja").render(
        source=SOURCE,
        artefacts=artefacts,
        total=sum(a["tally"]["total"] for a in artefacts),
        hold=sum(a["tally"]["hold"] for a in artefacts),
        broken=[f"{a['name']}: {name}" for a in artefacts for name in a["tally"]["broken"]],
        signs=SIGNS,
        kinds=KINDS,
    )


def number(value: Any) -> str:
    """A number as the page shows it: six digits; the files have all of them."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:.6g}".replace("-", "−").partition("e")
        return mantissa + (f"×10{exponent_of(exponent)}" if exponent else "")
    return str(value)


def cell(text: str) -> str:
    """A number of a CSV as the page shows it: as it stands if it is short, else with six digits."""
    return text if len(text) <= 8 else number(float(text))


def exponent_of(digits: str) -> str:
    """`−05` as `⁻⁵`."""
    return str(int(digits.replace("−", "-"))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def seconds(value: float) -> str:
    """A duration in words that suit its length."""
    if value < 0.0015:
        return "1 ms"
    if value < 0.95:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} min"


def command(record: Mapping[str, Any]) -> str:
    """The command that makes the artefact again; what is the default is left out."""
    words = ["python paper_repro.py", record["name"]]
    for field, default in asdict(Request()).items():
        if record[field] != default:
            words.append(f"--{field} {record[field]}")
    return " ".join(words)


def _view(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What the template shows of one artefact."""
    view = record | {
        "tally": tally(record),
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
    """Width and height from the header of a PNG, so that the page keeps still while pictures load."""
    head = path.read_bytes()[16:24]
    return int.from_bytes(head[:4]), int.from_bytes(head[4:])
