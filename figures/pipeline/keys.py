"""What a result depends on, as digests: the key of the computed data, and the key of the files drawn from it.

The first knows the mathematics (`toyopt`) and those statements of the artefact's module that its `compute`
and `parameters` reach by name; the second also the rest of that module and the style. So a change of colour
leaves the computed data alone. Comments, layout and docstrings are no part of either.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from figures.pipeline.environment import computing_versions, versions
from figures.pipeline.files import canonical, sha256

FORMAT = 1  # of the cached data; to be raised when `Data` or the way it is stored changes its meaning
WHOLE_PACKAGES = ("toyopt", "llm")  # what is computed with; taken whole, `toyopt` always
INTERFACE = frozenset({"figures.artefact", "figures.drawing.style"})  # never decide a number
DRAWING = ("figures.drawing.style", "figures.drawing.render")
# With these, names may be reached that the text does not show.
DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "__import__", "importlib"})


def compute_key(name: str, module: str, parameters: Mapping[str, Any], training: str = "") -> str:
    """The address of an artefact's data: equal keys, equal numbers. `training`: the digest of the training code."""
    return sha256(
        canonical(
            {
                "format": FORMAT,
                "name": name,
                "parameters": parameters,
                **({"training": training} if training else {}),
                "source": compute_source(module),
                "versions": computing_versions(),
            }
        )
    )


def draw_key(key: str, module: str, request: Mapping[str, Any]) -> str:
    """Of the files drawn from the data of `key`: it changes with the drawing, the words or the style."""
    files = sorted(_closure([module, *DRAWING], skip=frozenset({"figures.artefact"})))
    return sha256(
        canonical(
            {
                "key": key,
                "source": [_module_digest(found) for found in files],
                "matplotlib": versions()["matplotlib"],
                "request": request,
            }
        )
    )


def compute_source(module: str) -> str:
    """Digest of everything that `compute` of the artefact in `module` can be seen to use."""
    statements = reached(parse(_path(module)))
    imported = set(_imports(statements, module))
    helpers = sorted(_closure((m for m in imported if m.startswith("figures.")), skip=INTERFACE))
    packages = [p for p in WHOLE_PACKAGES if p == "toyopt" or _uses(p, imported, helpers)]
    parts = [ast.dump(statement) for statement in statements]
    parts += [_module_digest(helper) for helper in helpers]
    parts += [package_digest(Path(_path(package)).parent) for package in packages if _exists(package)]
    return sha256(canonical(parts))


def _uses(package: str, imported: set[str], helpers: Iterable[str]) -> bool:
    """Whether the module or one of its helpers imports `package`."""
    names = set(imported)
    for helper in helpers:
        names.update(_imports([parse(_path(helper))], helper))
    return any(name.split(".")[0] == package for name in names)


@cache
def package_digest(folder: Path) -> str:
    """Digest of every Python file below `folder`, by relative path and syntax tree."""
    files = sorted(folder.rglob("*.py"))
    return sha256(canonical([[f.relative_to(folder).as_posix(), ast.dump(parse(str(f)))] for f in files]))


def parse(path: str) -> ast.Module:
    """The syntax tree of a file without its docstrings."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


def reached(tree: ast.Module) -> list[ast.stmt]:
    """The top-level statements that `parameters` and `compute` of the module's `ARTEFACT` reach by name.

    Of an import statement only the names that are wanted. Where this cannot be told from the text, everything
    but the functions called `draw…` or `_draw…`: recomputing too often is the safe mistake.
    """
    roots = _roots(tree)
    body = [s for s in tree.body if not _is_idle(s)]
    if roots is not None:
        wanted = set(roots)
        taken: set[int] = set()
        while fresh := [s for s in body if id(s) not in taken and _counts(s, wanted)]:
            taken.update(id(s) for s in fresh)
            wanted.update(name for s in fresh if not _is_import(s) for name in _names(s))
        if not wanted & DYNAMIC:
            return [_only(s, wanted) for s in body if id(s) in taken]
    return [s for s in body if not (isinstance(s, ast.FunctionDef) and s.name.lstrip("_").startswith("draw"))]


def _counts(statement: ast.stmt, wanted: set[str]) -> bool:
    """Whether a statement defines a wanted name, or does anything but define."""
    bound = _binds(statement)
    return bound is None or bool(bound & wanted)


def _roots(tree: ast.Module) -> set[str] | None:
    """Names in the `parameters=` and `compute=` of `ARTEFACT = Artefact(...)`; None if it is not so written."""
    for statement in tree.body:
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        if value is not None and "ARTEFACT" in (_binds(statement) or ()) and isinstance(value, ast.Call):
            found = {k.arg: k.value for k in value.keywords}
            if {"parameters", "compute"} <= found.keys():
                return _names(found["parameters"]) | _names(found["compute"])
    return None


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing when run: a future import, or imports for the type checker alone."""
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return True
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in {
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    }


def _binds(statement: ast.stmt) -> set[str] | None:
    """The names that a statement only defines; None if it does anything else, and so always counts."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        plain = all(isinstance(t, ast.Name | ast.Tuple) for t in targets)
        return {name for t in targets for name in _names(t)} if plain else None
    return None


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _only(statement: ast.stmt, wanted: set[str]) -> ast.stmt:
    """An import statement cut down to the wanted names; any other as it is."""
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        return statement
    names = [alias for alias in statement.names if (alias.asname or alias.name.split(".")[0]) in wanted]
    if isinstance(statement, ast.Import):
        return ast.Import(names=names)
    return ast.ImportFrom(module=statement.module, names=names, level=statement.level)


def _imports(nodes: Iterable[ast.AST], module: str) -> Iterator[str]:
    """Full names of the modules imported anywhere in `nodes` (`from a import b` gives `a` and `a.b`)."""
    package = module.rpartition(".")[0]
    for node in (found for top in nodes for found in ast.walk(top)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _closure(modules: Iterable[str], skip: frozenset[str]) -> set[str]:
    """`modules` that are files, and the modules of `figures` that they import, and so on."""
    found: set[str] = set()
    ahead = list(modules)
    while ahead:
        module = ahead.pop()
        if module in found or module in skip or module == "figures" or not _exists(module):
            continue
        found.add(module)
        ahead += [m for m in _imports([parse(_path(module))], module) if m.startswith("figures.")]
    return found


@cache
def _module_digest(module: str) -> str:
    return sha256(ast.dump(parse(_path(module))).encode())


def _exists(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError):  # `from figures.x import name`: `figures.x` is no package
        return False
    return spec is not None and spec.origin is not None and spec.origin.endswith(".py")


def _path(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source file for module {module!r}", name=module)
    return spec.origin
