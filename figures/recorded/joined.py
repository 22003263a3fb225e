"""Join newly recorded runs of the real model with those that are recorded already: further seeds, or runs made anew.

Runs of several trainings, on several machines or by several training codes, stand in one table if their settings and
sets are the same. Every run then belongs to one of the `parts` of the description, which tell where it was made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from figures.recorded.table_text import Record, commit_text, made_at, seeds_text, with_seeds

Row = Mapping[str, str]
Key = tuple[str, int]  # label and seed of a run
PARTS = "parts"
ORIGIN = ("date", "machine", "versions", "git", "training_code")
OWN = ("scale", "made", "recorded")  # facts that are not settings
# Of records that were written before these options were among the facts.
USUAL = {"reference": "base", "precision": "fp32"}


def join(
    old: Record, old_rows: Sequence[Row], new: Record, new_rows: Sequence[Row]
) -> tuple[dict[str, Any], list[Row]]:
    """Return description and rows of the recorded runs and the new ones; a run of both is taken from the new ones.

    old, new  descriptions as `figures.recorded.real` writes them, each with its rows of the table as text

    Raises ValueError if a setting, a set or the columns of the tables differ.
    """
    _check(old, old_rows, new, new_rows)
    old_rows, new_rows = _alike(old_rows, new_rows)
    added = _keys(new_rows)
    kept = [row for row in old_rows if _key(row) not in added]
    parts = [part for part in (_without(part, added) for part in parts_of(old, old_rows)) if part["runs"]]
    parts.append({**{name: new[name] for name in ORIGIN}, "runs": _runs(added)})
    rows = _sorted([*old_rows, *new_rows], [*kept, *new_rows])
    keys = _keys(rows)
    seeds = sorted({seed for _, seed in keys})
    labels = dict.fromkeys([*(row["label"] for row in rows), *old["missing"], *new["missing"]])
    gaps = {label: [seed for seed in seeds if (label, seed) not in keys] for label in labels}
    main = max(parts, key=lambda part: sum(map(len, part["runs"].values())))  # the first of equal ones
    scale = with_seeds(new["facts"]["scale"], len(seeds))
    described = {
        "command": re.sub(r"--seeds \d+", f"--seeds {max(map(_seeds_asked, (old, new)))}", new["command"]),
        **{name: main[name] for name in ORIGIN},
        "facts": {**new["facts"], "scale": scale, "made": _made(parts, main)},
        "sets": new["sets"],
        "seeds": seeds,
        "runs": len(keys),
        "missing": {label: seeds for label, seeds in gaps.items() if seeds},
        **({PARTS: parts} if len(parts) > 1 else {}),
    }
    return described, rows


def parts_of(about: Record, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the parts of recorded runs, each with the runs that it has, label -> seeds; one part if all are of one."""
    if PARTS in about:
        return list(about[PARTS])
    return [{**{name: about[name] for name in ORIGIN}, "runs": _runs(_keys(rows))}]


def origin(about: Record, label: str, seed: int) -> Record:
    """Return the part of recorded runs that has the run of a label and seed."""
    found = [part for part in about.get(PARTS, ()) if seed in part["runs"].get(label, ())]
    return found[0] if found else about


def further(about: Record, shown: Callable[[str], bool] = lambda _: True) -> list[tuple[str, Record]]:
    """Return the names of the shown runs of every part that is not the description's own, with that part.

    shown  label -> whether its runs are shown
    """
    own = {name: about[name] for name in ORIGIN}
    others = []
    for part in about.get(PARTS, ()):
        runs = {label: seeds for label, seeds in part["runs"].items() if shown(label)}
        if runs and {name: part[name] for name in ORIGIN} != own:
            others.append((_named(runs, {label for p in about[PARTS] for label in p["runs"] if shown(label)}), part))
    return others


def _check(old: Record, old_rows: Sequence[Row], new: Record, new_rows: Sequence[Row]) -> None:
    """Raise ValueError naming the first difference for which runs do not belong into one table."""
    then, now = ({**USUAL, **record["facts"]} for record in (old, new))
    names = [name for name in dict.fromkeys((*then, *now)) if name not in OWN]
    pairs = [(name, then.get(name), now.get(name)) for name in names]
    pairs += [("sets", old["sets"], new["sets"]), ("columns", _columns(old_rows), _columns(new_rows))]
    for name, before, after in pairs:
        if before != after:
            raise ValueError(
                f"add: {name} of the recorded runs is {before}, and of the new ones {after}; without --add these "
                "replace all that is recorded"
            )


def _alike(*tables: Sequence[Row]) -> list[list[Row]]:
    """Return tables with the same form of text in every column: floats, integers, or words with "" for nothing.

    A column of one kind in the whole may be of another kind in a part: words as nothing but NaN, floats as integers.
    """
    forms = {name: _form([row[name] for table in tables for row in table]) for name in _columns(tables[0])}
    return [[{name: form(row[name]) for name, form in forms.items()} for row in table] for table in tables]


def _form(values: Sequence[str]) -> Callable[[str], str]:
    """Return the function that writes a value in the form of its column."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return lambda value: "" if value == "nan" else value
    whole = all(value.lstrip("-").isdigit() for value in values)
    return str if whole or not numbers else lambda value: repr(float(value))


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(rows[0]) if rows else []


def _key(row: Row) -> Key:
    return row["label"], int(row["seed"])


def _keys(rows: Iterable[Row]) -> dict[Key, None]:
    """Return the runs that rows are of, in the order of their first rows."""
    return dict.fromkeys(map(_key, rows))


def _runs(keys: Iterable[Key]) -> dict[str, list[int]]:
    """Return runs as label -> seeds."""
    runs: dict[str, list[int]] = {}
    for label, seed in keys:
        runs.setdefault(label, []).append(seed)
    return {label: sorted(seeds) for label, seeds in runs.items()}


def _without(part: Record, keys: Mapping[Key, None]) -> dict[str, Any]:
    """Return a part without some of its runs."""
    left = {label: [seed for seed in seeds if (label, seed) not in keys] for label, seeds in part["runs"].items()}
    return {**part, "runs": {label: seeds for label, seeds in left.items() if seeds}}


def _sorted(order: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Return rows by kind, label and seed, kinds and labels in the order in which `order` has them first."""
    kinds, labels = (list(dict.fromkeys(row.get(name, "") for row in order)) for name in ("rows", "label"))

    def place(row: Row) -> tuple[int, int, int]:
        return kinds.index(row.get("rows", "")), labels.index(row["label"]), int(row["seed"])

    return sorted(rows, key=place)


def _seeds_asked(about: Record) -> int:
    """Return the number of seeds that the command of recorded runs names."""
    found = re.search(r"--seeds (\d+)", about["command"])
    return int(found[1]) if found else 0


def _made(parts: Sequence[Record], main: Record) -> str:
    """Return when and where recorded runs were made as one phrase."""
    text = made_at(main)
    for part in parts:
        if part is not main:
            number = sum(map(len, part["runs"].values()))
            same = part["machine"] == main["machine"]
            where = f"{part['date']}, commit {commit_text(part['git'])}" if same else made_at(part)
            text += f"; {number} run{'s' * (number > 1)}: {where}"
    return text


def _named(runs: Mapping[str, Sequence[int]], labels: Collection[str]) -> str:
    """Return runs as text: `seed 3` if all labels have a run of it among them, else every label with its seeds."""
    seeds = sorted({seed for own in runs.values() for seed in own})
    if labels == set(runs) and all(list(own) == seeds for own in runs.values()):
        return seeds_text(seeds)
    return ", ".join(f"{label} ({seeds_text(own)})" for label, own in runs.items())
