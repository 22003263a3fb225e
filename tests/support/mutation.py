"""Random damage to files: bytes anywhere, values of a JSON document, lines of JSON, cells of a Parquet file."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

# Values that real files hold by mistake. No large numbers: a model of a billion layers is large, not wrong.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 1.5, float("nan"), "", " ", "x", "\u0000", "\ud800", "null", [], [[]], {}, [None],
    ["x", 1], {"x": 1}, [{"role": "user"}], [{"role": "user", "content": "x"}], [{"role": 1, "content": None}],
)  # fmt: skip


def damage(path: Path, draw: Random) -> str:
    """Change a file in a random way that suits its format; return a description of the change."""
    kinds = [damage_bytes]
    if path.suffix == ".json":
        kinds += [damage_json, damage_json]
    if path.suffix == ".jsonl":
        kinds += [damage_lines, damage_lines, damage_lines]
    if path.suffix == ".parquet":
        kinds += [damage_cells]
    kind = draw.choice(kinds)
    return f"{path.name}: {kind(path, draw)}"


def damage_bytes(path: Path, draw: Random) -> str:
    """Flip, remove, repeat, insert or cut off bytes."""
    data = bytearray(path.read_bytes())
    at, n = draw.randrange(len(data) + 1), draw.randrange(1, 40)
    kind = draw.choice(("flip", "remove", "repeat", "insert", "cut", "empty", "text"))
    if kind == "flip" and at < len(data):
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "remove":
        del data[at : at + n]
    elif kind == "repeat":
        data[at:at] = data[at : at + n]
    elif kind == "insert":
        data[at:at] = draw.randbytes(n)
    elif kind == "cut":
        del data[at:]
    elif kind == "empty":
        data.clear()
    elif kind == "text":
        data = bytearray(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    path.write_bytes(data)
    return f"{kind} at {at}, {n}"


def damage_json(path: Path, draw: Random) -> str:
    """Replace, remove or add a value anywhere in a JSON document."""
    document = json.loads(path.read_text(encoding="utf-8"))
    what, document = _changed(document, draw)
    path.write_text(json.dumps(document), encoding="utf-8")
    return what


def damage_lines(path: Path, draw: Random) -> str:
    """Change one line of JSON, or remove or repeat lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = draw.randrange(len(lines))
    kind = draw.choice(("value", "value", "value", "remove", "repeat", "join"))
    if kind == "value":
        what, row = _changed(json.loads(lines[at]), draw)
        lines[at], kind = json.dumps(row), what
    elif kind == "remove":
        del lines[at:]
    elif kind == "repeat":
        lines[at:at] = [lines[at]] * 3
    else:
        lines[at] += lines[at]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line {at}: {kind}"


def damage_cells(path: Path, draw: Random) -> str:
    """Replace a whole column of a Parquet file, or rename or remove it."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    j, kind = draw.randrange(table.num_columns), draw.choice(("numbers", "nulls", "bytes", "rename", "remove", "none"))
    name, n = table.column_names[j], table.num_rows
    if kind == "rename":
        table = table.rename_columns(["x" if k == j else c for k, c in enumerate(table.column_names)])
    elif kind == "remove":
        table = table.remove_column(j)
    elif kind == "none":
        table = table.slice(0, 0)
    else:
        columns = {"numbers": pa.array(range(n)), "nulls": pa.nulls(n), "bytes": pa.array([b"\xff"] * n)}
        table = table.set_column(j, name, columns[kind])
    parquet.write_table(table, path)
    return f"{kind} of {name}"


def _changed(document: Any, draw: Random) -> tuple[str, Any]:
    """Return a description and the document with a value replaced, removed, added or repeated."""
    places = list(_places(document))
    if not places or draw.random() < 0.05:
        value = draw.choice(ODD_VALUES)
        return f"all -> {value!r}", value
    holder, key = draw.choice(places)
    kind = draw.choice(("replace", "replace", "replace", "remove", "add"))
    if kind == "remove":
        del holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder[draw.choice(("x", "", "tools", "system", "label", "messages", "prompt"))] = draw.choice(ODD_VALUES)
    else:
        holder[key] = draw.choice(ODD_VALUES)
    return f"{kind} {key!r}", document


def _places(document: Any) -> Any:
    """Yield (holder, key) of every value below a document; of long lists the first and last few."""
    items: list[Any] = []
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    for key, value in items if len(items) < 80 else items[:40] + items[-40:]:
        yield document, key
        yield from _places(value)
