"""The code digest changes with the code that a module reaches, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.common.code_digest import code_digest, reached_modules
from llm.study import training_digest

START = "llm.training.run"
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file of a small tree of packages, which is there already."""

    def write_file(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    for package in ("llm", "llm/training", "llm/deep", "toyopt", "figures"):
        write_file(f"{package}/__init__.py", "from llm import aside\n")
    write_file("llm/training/run.py", "def f():\n    from ..deep import far\n    return far.g()\n")
    write_file("llm/deep/far.py", "import toyopt.core as core\nimport os\ng = 1\n")
    write_file("toyopt/core.py", "class A:\n    'Words.'\n    x: int = 1\n")
    write_file("llm/aside.py", "a = 1\n")
    write_file("figures/fig.py", "from llm.deep.far import g\nfrom figures import style\n")
    write_file("figures/style.py", "import llm.aside\nblue = 1\n")
    return write_file


def fresh(root: Path, *starts: str, **options: object) -> str:
    """Return the digest without the memory of this process: files change only in tests."""
    return code_digest.__wrapped__(*(starts or (START,)), root=root, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("write")
def test_modules_are_reached_through_imports_at_any_place(tmp_path: Path) -> None:
    assert set(reached_modules(START, root=tmp_path)) == {
        "llm", "llm.training", "llm.training.run", "llm.deep", "llm.deep.far", "toyopt", "toyopt.core",
    }  # fmt: skip
    assert reached_modules(START, root=tmp_path)["llm.deep"] == tmp_path / "llm/deep/__init__.py"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("llm/aside.py", "a = 2\n"),  # not reached
        ("toyopt/core.py", "# A comment\nclass A:\n    'Others.'\n\n    x: int = (1)\n    'What x is.'\n"),
        ("llm/training/run.py", "def f():\n    'Do.'\n    from ..deep import far\n    return far.g()\n"),
    ],
)
def test_comments_docstrings_layout_and_other_modules_do_not_count(
    file: str, text: str, write: Write, tmp_path: Path
) -> None:
    before = fresh(tmp_path)
    write(file, text)
    assert fresh(tmp_path) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("toyopt/core.py", "class A:\n    x: int = 2\n"),
        ("llm/deep/far.py", "import toyopt.core as core\nimport os\ng = 2\n"),
        ("llm/deep/__init__.py", "from llm import aside\nprint('hm')\n"),
        ("llm/training/run.py", "def f():\n    from ..deep import far\n    import llm.aside\n    return far.g()\n"),
    ],
)
def test_reached_code_counts(file: str, text: str, write: Write, tmp_path: Path) -> None:
    before = fresh(tmp_path)
    write(file, text)
    assert fresh(tmp_path) != before


def test_a_function_of_a_docstring_alone_has_a_digest(write: Write, tmp_path: Path) -> None:
    write("toyopt/core.py", "class A:\n    'Words.'\n")
    before = fresh(tmp_path)
    write("toyopt/core.py", "class A:\n    pass\n")
    assert fresh(tmp_path) == before


def test_imports_for_type_checkers_are_not_followed(write: Write, tmp_path: Path) -> None:
    write("llm/deep/far.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toyopt.core\ng = 1\n")
    assert "toyopt.core" not in reached_modules(START, root=tmp_path)


def test_several_starts_packages_and_modules_to_skip(write: Write, tmp_path: Path) -> None:
    packages = ("figures", "llm")

    def reached(*starts: str, skip: frozenset[str] = frozenset()) -> set[str]:
        return set(reached_modules(*starts, packages=packages, skip=skip, root=tmp_path))

    assert reached("figures.fig") == {
        "figures", "figures.fig", "figures.style", "llm", "llm.aside", "llm.deep", "llm.deep.far",
    }  # fmt: skip
    assert reached("figures.fig", skip=frozenset({"figures.style"})) == {
        "figures", "figures.fig", "llm", "llm.deep", "llm.deep.far",
    }  # fmt: skip
    assert reached("figures.style", "llm.deep.far") == reached("figures.style") | reached("llm.deep.far")
    one = fresh(tmp_path, "figures.fig", packages=packages)
    style = frozenset({"figures.style"})
    assert fresh(tmp_path, "figures.fig", packages=packages, skip=style) != one
    write("figures/style.py", "import llm.aside\nblue = 2\n")
    assert fresh(tmp_path, "figures.fig", packages=packages) != one


def test_a_start_that_is_no_module_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^llm\.no is no module of llm, toyopt in "):
        code_digest("llm.no", root=tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"^figures\.cli is no module of llm, toyopt in "):
        code_digest("figures.cli")


def test_the_training_digest_covers_everything_that_a_run_imports() -> None:
    modules = set(reached_modules(START))
    assert {START, "llm.config", "llm.data.splits", "llm.embedded.base", "toyopt.algorithms"} <= modules
    assert {"llm.study.sweep", "llm.cli", "llm.judging.world", "toyopt.certify", "figures"}.isdisjoint(modules)


@pytest.mark.slow
def test_the_training_digest_is_computed_without_torch() -> None:
    code = "import sys; from llm.study import training_digest; print(training_digest(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [training_digest(), "False"]
