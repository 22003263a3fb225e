"""Digest of the source code that a result depends on."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from llm.common.cache import digest
from llm.common.environment import ROOT, versions

PACKAGES = ("llm", "toyopt")
LIBRARIES = ("torch", "transformers", "peft")  # whose kernels and layers decide the numbers


@cache
def code_digest(
    *starts: str, packages: tuple[str, ...] = PACKAGES, skip: frozenset[str] = frozenset(), root: Path = ROOT
) -> str:
    """Return 16 hexadecimal digits that name the code of the modules that `starts` reach by import.

    starts    full names of modules
    packages  top-level packages whose modules count; imports of other libraries are not followed
    skip      full names of modules that are neither counted nor followed
    root      folder that contains the packages

    An import counts wherever it stands, in a function as well. The digest changes with the syntax trees, not with
    comments, docstrings or layout; imports for type checkers are not followed. Nothing is imported: the files are read,
    once per process. The `__init__` of a package on the way to a module counts, but its imports are not followed.
    """
    total = hashlib.sha256()
    for name, path in sorted(reached_modules(*starts, packages=packages, skip=skip, root=root).items()):
        total.update(f"{name}\n{code_of(path)}\n".encode())
    return total.hexdigest()[:16]


def computation_digest(*starts: str) -> str:
    """Return `code_digest` of modules that compute on models, with the versions of the libraries that compute."""
    return digest([code_digest(*starts), *(versions(LIBRARIES).get(name, "") for name in LIBRARIES)])


def reached_modules(
    *starts: str, packages: tuple[str, ...] = PACKAGES, skip: Collection[str] = (), root: Path = ROOT
) -> dict[str, Path]:
    """Return the files of the modules that `starts` reach, by full name; arguments as in `code_digest`.

    Raises ModuleNotFoundError if one of `starts` is no module of these packages.
    """
    files: dict[str, Path] = {}
    followed: set[str] = set(skip)
    waiting = list(starts)
    for start in starts:
        if _file(root, start, packages) is None:
            raise ModuleNotFoundError(f"{start} is no module of {', '.join(packages)} in {root}", name=start)
    while waiting:
        name = waiting.pop()
        path = _file(root, name, packages)
        if path is None or name in followed:
            continue
        followed.add(name)
        files[name] = path
        parts = name.split(".")
        for parent in (".".join(parts[:n]) for n in range(1, len(parts))):
            files[parent] = root.joinpath(*parent.split("."), "__init__.py")
        waiting += imported_modules(path, name, packages, root)
    return files


def imported_modules(path: Path, name: str, packages: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """Return the full names of the modules that the module `name` imports anywhere in its file."""
    return _imports(path, _stamp(path), name, packages, root)


def code_of(path: Path, without: frozenset[str] = frozenset()) -> str:
    """Return the code of a file without comments and docstrings, in one layout.

    without  names whose assignments at the top level are left out
    """
    return _code(path, _stamp(path), without)


def _stamp(path: Path) -> tuple[int, int]:
    """Return modification time and size of a file, so that an edited file is read again."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@cache
def _imports(path: Path, _: tuple[int, int], name: str, packages: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """Return the modules that a file with this stamp imports."""
    return tuple(_iterate_imports(path, name, packages, root))


def _iterate_imports(path: Path, name: str, packages: tuple[str, ...], root: Path) -> Iterator[str]:
    """Yield the modules that a file imports."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield submodule if _file(root, submodule, packages) else base


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a syntax tree without the blocks `if TYPE_CHECKING:`, which only type checkers follow."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from _executed(child)


def _file(root: Path, name: str, packages: tuple[str, ...]) -> Path | None:
    """Return the file of a module of these packages; None if there is none."""
    parts = name.split(".")
    if parts[0] not in packages:
        return None
    module, package = root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")
    return module if module.is_file() else package if package.is_file() else None


@cache
def _code(path: Path, _: tuple[int, int], without: frozenset[str]) -> str:
    """Return the code of a file with this stamp."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [statement for statement in tree.body if not _assigns(statement, without)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_text(s)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _assigns(statement: ast.stmt, names: frozenset[str]) -> bool:
    """Return whether a statement assigns one of these names."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)


def _is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a text and nothing else, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
