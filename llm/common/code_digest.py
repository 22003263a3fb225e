"""A name of the code that a run's result depends on."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("llm", "toyopt")
START = "llm.training.run"


def training_digest() -> str:
    """`code_digest` of what a run reaches."""
    return code_digest(START)


@cache
def code_digest(start: str) -> str:
    """A short name of the modules of `llm` and `toyopt` that one of them reaches by import, wherever the import stands.

    It changes with their syntax trees, not with comments, docstrings or layout. Read from the files, once a process:
    nothing is imported. A package's `__init__` that is only passed through counts, but what it re-exports does not.
    """
    total = hashlib.sha256()
    for name, path in sorted(modules(start).items()):
        total.update(f"{name}\n{_plain(path)}\n".encode())
    return total.hexdigest()[:16]


def modules(start: str = START) -> dict[str, Path]:
    """The files of the modules that `start` reaches, by name."""
    root = Path(__file__).resolve().parents[2]
    found: dict[str, Path] = {}
    followed: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = _file(root, name)
        if path is None or name in followed:
            continue
        followed.add(name)
        found[name] = path
        parts = name.split(".")
        for above in (".".join(parts[:n]) for n in range(1, len(parts))):
            found[above] = root.joinpath(*above.split("."), "__init__.py")
        waiting += _imported(ast.parse(path.read_text(encoding="utf-8")), name, path, root)
    return found


def _imported(tree: ast.AST, name: str, path: Path, root: Path) -> Iterator[str]:
    """The names of modules, and of some that are none, that a module imports anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if _file(root, inner) else base


def _file(root: Path, name: str) -> Path | None:
    """A module's file, if it is one of ours."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    plain, package = root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")
    return plain if plain.is_file() else package if package.is_file() else None


def _plain(path: Path) -> str:
    """The code without comments and docstrings, in one layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_text(s)] or [ast.ForwardResult()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
