"""The house rules of docs/architecture.md, held against the sources; every rule is also shown to find a violation."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import source_tree
from support.source_tree import global_random, imported, parse

from figures.registry import REGISTRY

ROOT = Path(__file__).parents[2]

# The pipeline without the places of runs, which analyses read.
PIPELINE = [
    f"figures.pipeline.{path.stem}"
    for path in (ROOT / "figures/pipeline").glob("*.py")
    if path.stem not in ("__init__", "paths")
]
# Package or module -> imports that it must not have, also inside functions.
FLOORS = {
    "toyopt": ["torch", "transformers", "matplotlib", "pandas", "llm", "figures", "paper_repro"],
    "llm": ["matplotlib", "trl", "figures", "paper_repro"],
    "llm.common": [f"llm.{name}" for name in "data models training evaluation judging embedded study losses".split()],
    # llm.models.architecture, a table of facts about model families, is below both.
    "llm.data": [
        f"llm.{name}" for name in "models.loading models.lora models.policy training evaluation judging study".split()
    ],
    "llm.models": [f"llm.{name}" for name in "training evaluation judging study".split()],
    "llm.training": [f"llm.{name}" for name in "judging study cli".split()],
    "llm.evaluation": ["llm.study", "llm.cli"],
    "llm.judging": ["llm.study", "llm.cli"],
    "llm.skill": ["llm.study", "llm.cli"],
    "figures": ["torch", "transformers", "peft", "paper_repro"],
    "figures.analysis": ["matplotlib", "figures.artefacts", "figures.drawing", *PIPELINE],
    "figures.drawing": ["figures.artefacts", "figures.pipeline"],
    "figures.artefacts": PIPELINE,
}
MOST_LINES, MOST_TEST_LINES = 300, 500  # the tests of a module are in one file, whatever their number
# File -> why it is longer than MOST_LINES.
LONG: dict[str, str] = {
    "toyopt/problem.py": "one class whose methods share the same arrays",
    "toyopt/_kernel.py": "one compilation unit of numba",
}
# torch has one global generator a device: it is seeded in these files only, and put back afterwards.
TORCH_SEEDS = {"llm/common/processes.py", "llm/training/engine.py", "llm/embedded/networks.py"}
RULE_NAMES = {"Controller", "Rule", "Sequential", "Mix", "Alright", "Maxright", "Replay", "even_draw"}


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git tracks, or all where the sources are no checkout."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *patterns]
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = []
    files = [ROOT / name for name in names if name] or [p for pattern in patterns for p in ROOT.rglob(pattern)]
    return [p for p in files if p.is_file()]


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write a small source tree with the given files and return its root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.slow
def test_imports_only_go_down() -> None:
    assert source_tree.forbidden_imports(ROOT, FLOORS) == []


def test_an_import_that_goes_up_is_found(tmp_path: Path) -> None:
    inside = "def f():\n    from llm.config import TrainConfig\n    import torch.nn\n"
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import figures\n"
    root = plant(tmp_path, {"toyopt/a.py": inside, "llm/config.py": typing, "llm/common/b.py": "import llm.data"})
    assert source_tree.forbidden_imports(root, FLOORS) == [
        "toyopt.a imports llm.config.TrainConfig",
        "toyopt.a imports torch.nn",
        "llm.common.b imports llm.data",
        "llm.config imports figures",
    ]


@pytest.mark.slow
def test_no_modules_import_one_another() -> None:
    assert source_tree.circles(source_tree.import_graph(ROOT)) == []


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    files = {
        "llm/a.py": "from llm import b",
        "llm/b.py": "def f():\n    from llm.c import g",
        "llm/c.py": "import llm.a\ndef g(): ...",
        "llm/d.py": "import llm.a",
        "llm/__init__.py": "",
    }
    graph = source_tree.import_graph(plant(tmp_path, files))
    assert graph["llm.b"] == {"llm.c"}
    assert source_tree.circles(graph) == [["llm.a", "llm.b", "llm.c"]]


@pytest.mark.parametrize("package", ["llm", "figures"])
def test_at_most_eight_files_lie_directly_in_a_package(package: str) -> None:
    assert len(list((ROOT / package).glob("*.py"))) <= 8


def test_files_are_short_or_have_a_reason() -> None:
    long = source_tree.long_files(ROOT, ["toyopt", "llm", "figures", "benchmarks"], MOST_LINES)
    assert set(long) == set(LONG), "split the file, or give a reason in LONG"
    assert source_tree.long_files(ROOT, ["tests"], MOST_TEST_LINES) == {}


def test_a_long_file_is_found(tmp_path: Path) -> None:
    root = plant(tmp_path, {"llm/a.py": "\n" * 301, "llm/b.py": "\n" * 300})
    assert source_tree.long_files(root, ["llm"], MOST_LINES) == {"llm/a.py": 301}


WITHOUT_TORCH = """
import sys
for name in ("torch", "safetensors", "transformers", "peft", "datasets", "accelerate"):
    sys.modules[name] = None
import importlib, pkgutil
import llm, llm.common
for module in pkgutil.iter_modules(llm.common.__path__, "llm.common."):
    importlib.import_module(module.name)
"""


@pytest.mark.slow
@pytest.mark.process
def test_llm_and_its_common_part_import_without_torch() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.process
def test_importing_llm_takes_less_than_a_tenth_of_a_second() -> None:
    """Processor time of the least of seven processes, which other programs on the machine disturb least."""

    def spent() -> float:
        times = os.times()
        return times.children_user + times.children_system

    def least(code: str, n: int = 7) -> float:
        times = []
        for _ in range(n):
            began = spent()
            subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
            times.append(spent() - began)
        return min(times)

    bare, with_llm, with_numpy = least("pass"), least("import llm"), least("import numpy", 2)
    assert with_llm - bare < 0.1
    assert with_numpy > bare  # so the clock sees an import


@pytest.mark.slow
def test_rules_are_written_once() -> None:
    """llm and figures call toyopt's rules: they define none of their names and never ask for a rule's class."""
    for package in ("llm", "figures"):
        for path in source_tree.python_files(ROOT, package):
            tree = parse(path)
            defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            assert not RULE_NAMES & defined, path
            assert rule_classes_asked_for(tree) == [], path


def rule_classes_asked_for(tree: ast.AST) -> list[str]:
    """Return the rules' classes that `isinstance` is called with below `tree`."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and name_of(n.func) == "isinstance"]
    names = {n.id for call in calls for n in ast.walk(call.args[1]) if isinstance(n, ast.Name)}
    return sorted(names & RULE_NAMES)


def test_a_question_for_a_rules_class_is_found() -> None:
    assert rule_classes_asked_for(parse_text("isinstance(rule, (Mix, int))\nisinstance(x, str)")) == ["Mix"]


def name_of(function: ast.expr) -> str:
    """Return the last name of a called function: f of `f(...)` and of `a.b.f(...)`."""
    return getattr(function, "id", getattr(function, "attr", ""))


def parse_text(text: str) -> ast.Module:
    """Return the syntax tree of a text."""
    return ast.parse(text)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["toyopt", "llm", "figures", "benchmarks"])
def test_random_generators_are_instances_with_a_seed(package: str) -> None:
    for path in source_tree.python_files(ROOT, package):
        tree, name = parse(path), str(path.relative_to(ROOT))
        assert [use for use in global_random(tree) if use != "fork_rng"] == [], name
        unseeded = [
            ast.unparse(n)
            for n in ast.walk(tree)
            if isinstance(n, ast.Call) and name_of(n.func) == "default_rng" and not n.args
        ]
        assert unseeded == [], name
        seeds = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & {"manual_seed", "seed_all"}
        assert not seeds or name in TORCH_SEEDS or package == "benchmarks", name


def test_a_global_generator_is_found() -> None:
    assert global_random(parse_text("import numpy as np\nnp.random.seed(0)\nnp.random.default_rng(1)")) == ["seed"]
    assert global_random(parse_text("from random import random")) == ["random"]
    assert global_random(parse_text("import random\nrandom.gauss(0, 1)\nrandom.Random(1).gauss(0, 1)")) == ["gauss"]


def defines_an_artefact(tree: ast.Module) -> bool:
    """Return whether a module assigns ARTEFACT at its top."""
    assigned = [n for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign)]
    return any(ast.unparse(n).startswith(("ARTEFACT:", "ARTEFACT =")) for n in assigned)


def test_every_artefact_is_registered() -> None:
    files = source_tree.python_files(ROOT, "figures/artefacts")
    defining = {source_tree.module_name(ROOT, p) for p in files if defines_an_artefact(parse(p))}
    assert defining == set(REGISTRY.values())
    assert not defines_an_artefact(parse_text("def f():\n    ARTEFACT = 1"))


def drawing(tree: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions at the top of a module whose names begin with draw or _draw."""
    return [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.lstrip("_").startswith("draw")]


def files_read(tree: ast.AST) -> set[str]:
    """Return the means of computing or reading files that the code below `tree` uses."""
    roots = {name.partition(".")[0] for name in imported(tree)}
    calls = {ast.unparse(n.func).rpartition(".")[2] for n in ast.walk(tree) if isinstance(n, ast.Call)}
    return roots & {"toyopt", "scipy", "pathlib", "csv", "json"} | calls & {"open", "read_text", "read_json"}


@pytest.mark.parametrize("module", REGISTRY.values())
def test_draw_neither_computes_nor_reads_and_compute_has_no_colour(module: str) -> None:
    tree = parse(ROOT / (module.replace(".", "/") + ".py"))
    for function in drawing(tree):
        assert files_read(function) == set(), function.name
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name == "compute":
            texts = [n.value for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            assert not any(text.startswith("#") for text in texts)
            assert not any(name.startswith("matplotlib") for name in imported(function))


def test_a_draw_that_reads_is_found() -> None:
    tree = parse_text("def draw():\n    import json\n    path.read_text()\ndef _draw_path(): ...\ndef compute(): ...")
    assert [f.name for f in drawing(tree)] == ["draw", "_draw_path"]
    assert files_read(drawing(tree)[0]) == {"json", "read_text"}


@pytest.mark.slow
def test_figures_are_drawn_without_pyplot() -> None:
    for path in source_tree.python_files(ROOT, "figures"):
        assert not any("pyplot" in name for name in imported(parse(path))), path


@pytest.mark.slow
def test_no_file_holds_a_path_of_some_machine() -> None:
    files = [p for p in tracked("*") if p != Path(__file__) and p.suffix not in (".png", ".pdf")]
    assert len(files) > 100
    assert source_tree.machine_paths(ROOT, files) == []


def test_a_path_of_a_machine_is_found(tmp_path: Path) -> None:
    text = "a = '/home/me/x'\nb = '~/.cache/y' or 'docs/home/z' or 'https://a.b/home/c'\n"
    root = plant(tmp_path, {"llm/a.py": text})
    assert source_tree.machine_paths(root, [root / "llm/a.py"]) == ["llm/a.py:1: /home/me"]


def test_every_test_file_mirrors_a_module() -> None:
    assert source_tree.unmirrored_tests(ROOT) == []


def test_a_test_file_without_a_module_is_found(tmp_path: Path) -> None:
    names = ["tests/llm/test_a_part.py", "tests/llm/test_b.py", "tests/cross/test_c.py", "tests/llm/test_d.py"]
    root = plant(tmp_path, dict.fromkeys([*names, "llm/a.py", "llm/_d.py", "tests/support/oracle.py"], ""))
    assert source_tree.unmirrored_tests(root) == ["tests/llm/test_b.py"]


def test_no_test_file_is_named_after_a_tool() -> None:
    assert [p.name for p in (ROOT / "tests").rglob("*.py") if "mutant" in p.name] == []
