"""What the layout promises, read from the sources: who imports whom, who draws, and where chance comes from."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from figures.registry import REGISTRY

ROOT = Path(__file__).parents[2]
TOYOPT = sorted((ROOT / "toyopt").rglob("*.py"))
FIGURES = sorted((ROOT / "figures").glob("*.py"))
LLM = sorted((ROOT / "llm").rglob("*.py"))
# torch's generators are global: they are set for a while (and put back), or as a function of seed and step (dropout).
SEEDED = {f"llm/{name}.py": ["manual_seed"] for name in ("model", "session", "embedded/networks")}
SEEDED["llm/session.py"] *= 2  # on a CPU, and elsewhere
# A forked process takes a seed of its own from the system, for the names of temporary files.
FORKED = {"llm/study/forks.py": ["seed"]}


def imports(tree: ast.AST) -> Iterator[str]:
    """The top-level package of everything imported anywhere below `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def global_chance(tree: ast.AST) -> list[str]:
    """Uses of numpy.random or random other than by a generator of one's own."""
    allowed = {"default_rng", "Generator", "SeedSequence", "PCG64"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            found += [alias.name for alias in node.names if alias.name != "Random"]
        named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
        found += [node.attr] if named and node.attr != "Random" else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "random":
            found += [node.attr] if node.attr not in allowed else []
    return found


def drawing(tree: ast.Module) -> list[ast.FunctionDef]:
    return [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.lstrip("_").startswith("draw")]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TOYOPT, ids=lambda p: str(p.relative_to(ROOT)))
def test_toyopt_knows_nothing_of_torch_models_or_figures(path: Path) -> None:
    tree = parse(path)
    assert not {"torch", "llm", "figures", "matplotlib", "transformers"} & set(imports(tree))
    assert global_chance(tree) == []


@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.name)
def test_figures_draw_without_pyplot_and_chance_has_a_seed(path: Path) -> None:
    tree = parse(path)
    assert "torch" not in set(imports(tree))
    assert "pyplot" not in path.read_text(encoding="utf-8").replace("never by pyplot", "")
    assert global_chance(tree) == []


@pytest.mark.parametrize("path", LLM, ids=lambda p: str(p.relative_to(ROOT)))
def test_llm_knows_nothing_of_figures_and_its_chance_has_a_seed(path: Path) -> None:
    tree = parse(path)
    assert not {"figures", "matplotlib", "trl"} & set(imports(tree))
    allowed = ["fork_rng", *FORKED.get(str(path.relative_to(ROOT)), [])]
    assert [name for name in global_chance(tree) if name not in allowed] == []
    seeds = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in ("manual_seed", "seed_all")]
    assert seeds == SEEDED.get(str(path.relative_to(ROOT)), [])


def test_the_rules_are_called_and_not_written_again() -> None:
    """llm asks toyopt.algorithms who is trained next, in one place, and defines nothing of the rules' names itself."""
    text = {path.name: path.read_text(encoding="utf-8") for path in LLM}
    assert [name for name, code in text.items() if "control.decide(" in code] == ["loop.py"]
    nodes = [n for code in text.values() for n in ast.walk(ast.parse(code))]
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert not {"draw", "even_draw", "lagging", "Controller", "Alright", "Maxright", "Mix", "Sequential"} & defined


@pytest.mark.parametrize("module", REGISTRY.values())
def test_draw_neither_computes_nor_reads_and_compute_knows_no_colour(module: str) -> None:
    tree = parse(ROOT / (module.replace(".", "/") + ".py"))
    for function in drawing(tree):
        assert not {"toyopt", "scipy", "pathlib", "csv", "json"} & set(imports(function)), function.name
        calls = {
            node.func.id
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "open" not in calls
    compute = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == "compute"]
    assert len(compute) == 1
    words = {
        node.value for node in ast.walk(compute[0]) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not any(word.startswith("#") for word in words)
    assert "matplotlib" not in set(imports(compute[0]))


def test_the_checks_above_can_fail() -> None:
    assert set(imports(ast.parse("def f():\n    from torch.nn import Module\n    import llm.data"))) == {"torch", "llm"}
    assert global_chance(ast.parse("import numpy as np\nnp.random.seed(0)\nnp.random.default_rng(1)")) == ["seed"]
    assert global_chance(ast.parse("from random import random")) == ["random"]
    assert global_chance(ast.parse("import random\nrandom.gauss(0, 1)\nrandom.Random(1).gauss(0, 1)")) == ["gauss"]
    assert [f.name for f in drawing(ast.parse("def draw(): ...\ndef _draw_path(): ...\ndef compute(): ..."))] == [
        "draw",
        "_draw_path",
    ]
