"""The import graph of a source tree and violations of the house rules, read from files without importing them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PACKAGES = ("toyopt", "llm", "figures")


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def python_files(root: Path, folder: str) -> list[Path]:
    """Return the Python files below `root / folder`, sorted."""
    return sorted((root / folder).rglob("*.py"))


def module_name(root: Path, path: Path) -> str:
    """Return the dotted name of the module in the file `path`; a package's is that of its folder."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path) -> dict[str, Path]:
    """Return the files of all modules of the three packages and of `paper_repro.py`, by name."""
    files = [p for package in PACKAGES for p in python_files(root, package)]
    return {module_name(root, path): path for path in [*files, *root.glob("paper_repro.py")]}


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node below `tree` except those under `if TYPE_CHECKING:`."""
    stack = list(ast.iter_child_nodes(tree))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            stack += node.orelse
            continue
        yield node
        stack += ast.iter_child_nodes(node)


def imported(tree: ast.AST, *, typing: bool = True) -> Iterator[str]:
    """Yield every imported name below `tree`, dotted, imports inside functions included.

    `from a.b import c` yields "a.b.c", which may be a module or a name in a.b. typing=False leaves out the imports for
    type checkers only.
    """
    for node in ast.walk(tree) if typing else runtime_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


@functools.cache
def runtime_imports(path: Path) -> frozenset[str]:
    """Return the names that a file imports at run time; each file is parsed once."""
    return frozenset(imported(parse(path), typing=False))


def import_graph(root: Path) -> dict[str, set[str]]:
    """Return the modules that each module imports at run time, imports inside functions included."""
    names = modules(root)
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = set()
        for target in runtime_imports(path):
            while target and target not in names:  # the name of a function or class: its module
                target = target.rpartition(".")[0]
            targets |= {target} - {"", name}
        graph[name] = targets
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import one another (strongly connected components of two and more), sorted."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(node: str, arrows: Mapping[str, set[str]], group: list[str]) -> None:
        stack = [(node, iter(sorted(arrows.get(node, ()))))]
        seen.add(node)
        while stack:
            current, rest = stack[-1]
            following = next((n for n in rest if n not in seen), None)
            if following is None:
                group.append(current)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(arrows.get(following, ())))))

    for node in sorted(graph):
        if node not in seen:
            visit(node, graph, order)
    reverse: dict[str, set[str]] = {}
    for node, targets in graph.items():
        for target in targets:
            reverse.setdefault(target, set()).add(node)
    seen.clear()
    groups = []
    for node in reversed(order):
        if node not in seen:
            group: list[str] = []
            visit(node, reverse, group)
            groups.append(sorted(group))
    return sorted(group for group in groups if len(group) > 1)


def forbidden_imports(root: Path, rules: Mapping[str, Sequence[str]]) -> list[str]:
    """Return "module imports name" for every import that `rules` (package or module: forbidden prefixes) forbid."""

    def under(name: str, prefix: str) -> bool:
        return name == prefix or name.startswith(prefix + ".")

    return [
        f"{name} imports {target}"
        for name, path in modules(root).items()
        for prefix, forbidden in rules.items()
        if under(name, prefix)
        for target in sorted(runtime_imports(path))
        if any(under(target, bad) for bad in forbidden)
    ]


def global_random(tree: ast.AST) -> list[str]:
    """Return the uses of a global random generator of `numpy.random`, `random` or `torch.random`."""
    allowed = {"default_rng", "Generator", "SeedSequence", "PCG64", "BitGenerator"}
    uses = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            uses += [alias.name for alias in node.names if alias.name != "Random"]
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id == "random" and node.attr != "Random":
            uses.append(node.attr)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "random" and node.attr not in allowed:
            uses.append(node.attr)
    return uses


def long_files(root: Path, folders: Sequence[str], most: int) -> dict[str, int]:
    """Return the numbers of lines of the Python files in `folders` that have more than `most`."""
    files = {str(p.relative_to(root)): p for folder in folders for p in python_files(root, folder)}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in files.items()}
    return {name: count for name, count in lines.items() if count > most}


MACHINE_PATH = re.compile(r"(?<![\w.~*/-])/(?:work|root|home|Users|tmp|var|opt)/[\w.-]+")


def machine_paths(root: Path, files: Sequence[Path]) -> list[str]:
    """Return "file:line: path" for every absolute path of some machine in text files."""
    lines = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            lines += [f"{path.relative_to(root)}:{number}: {m}" for m in MACHINE_PATH.findall(line)]
    return lines


def unmirrored_tests(root: Path) -> list[str]:
    """Return the test files that mirror no module: tests/llm/data/test_formats.py mirrors llm/data/formats.py.

    tests/llm/test_data.py may mirror the package llm/data, test_formats_bad.py an aspect of llm/data/formats.py, and
    tests/toyopt/simulate/ several aspects of toyopt/simulate.py; a leading underscore of a module is dropped. Files in
    tests/support, tests/cross and tests/conformance, which test no single module, are free.
    """
    names = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        parts = path.relative_to(root / "tests").parts
        if parts[0] in ("support", "cross", "conformance"):
            continue
        folder, words = root.joinpath(*parts[:-1]), path.stem.removeprefix("test_").strip("_").split("_")
        stems = ["_".join(words[:n]) for n in range(1, len(words) + 1)]
        forms = ("{}.py", "_{}.py", "__{}__.py", "{}/__init__.py")
        mirrored = [folder.with_suffix(".py"), *(folder / form.format(stem) for stem in stems for form in forms)]
        if not any(p.exists() for p in mirrored):
            names.append(str(path.relative_to(root)))
    return names
