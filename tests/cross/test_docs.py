"""What README and docs name exists: files, modules, functions, commands and their options."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import figures.cli
import figures.recorded.__main__
import llm.cli
import toyopt.cli
import toyopt.pep.cli
from figures.registry import REGISTRY

LLM_COMMANDS = re.findall(r"^  (\w+) ", llm.cli.USAGE.partition("study")[0], re.MULTILINE)
ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]
FOLDERS = "toyopt|llm|figures|tests|docs|benchmarks|tools"
# A path from the root of the checkout, or the bare name of a Python file.
PATH = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]*\w|\w+\.py(?=`))")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)\)")
MODULE = re.compile(r"\b((?:toyopt|llm|figures)(?:\.(?!md\b)\w+)+)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
# Options of other programs that the pages name.
OTHERS = (
    "--multi_gpu", "--num_processes", "--nproc_per_node", "--use_fsdp", "--fsdp_", "--check",
    "--use_deepspeed", "--deepspeed_config_file", "--zero_stage",
)  # fmt: skip


def text_of(page: str) -> str:
    """Return the text of a page without its recorded tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"<!-- recorded: .*?<!-- end -->", "", text, flags=re.DOTALL)


def missing_paths(text: str, folder: Path = ROOT) -> list[str]:
    """Return the paths and links in a page that do not exist."""
    names = {p.name for top in FOLDERS.split("|") for p in (ROOT / top).rglob("*.py")} | {"paper_repro.py"}
    paths = {p for p in PATH.findall(text) if not (ROOT / p).exists() and p not in names}
    return sorted(paths | {link for link in LINK.findall(text) if not (folder / link).exists()})


def missing_names(text: str) -> list[str]:
    """Return the dotted names in a page that are neither modules nor attributes of modules."""
    missing = set()
    for name in {match[0] for match in MODULE.finditer(text)}:
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                thing = importlib.import_module(".".join(parts[:cut]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[cut:]:
            thing = getattr(thing, part, None)
        if thing is None:
            missing.add(name)
    return sorted(missing)


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_links_exist(page: str) -> None:
    assert missing_paths(text_of(page), (ROOT / page).parent) == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_functions_exist(page: str) -> None:
    pytest.importorskip("torch")
    assert missing_names(text_of(page)) == []


def help_of(main: Callable[[list[str]], object], *command: str) -> str:
    """Return the help text of a command, called in this process."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    assert shown.getvalue(), command
    return shown.getvalue()


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Return the options of all commands."""
    pytest.importorskip("torch")
    from benchmarks.__main__ import main as benchmarks

    helps = [help_of(llm.cli.main, command) for command in LLM_COMMANDS]
    helps += [help_of(llm.cli.main, "study", command) for command in ("run", "status", "commands", "table")]
    helps.append(help_of(toyopt.cli.main, "claim"))
    mains = (toyopt.pep.cli.main, figures.cli.main, benchmarks, figures.recorded.__main__.main)
    helps += [help_of(main) for main in mains]
    return set(OPTION.findall("\n".join(helps)))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str, options: set[str]) -> None:
    named = set(OPTION.findall(text_of(page)))
    of_others = {option for option in named if any(option.startswith(other) for other in OTHERS)}
    assert named - of_others - options == set()


@pytest.mark.parametrize("page", PAGES)
def test_make_commands_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    |PATH=\S+ |cpu )make ([a-z][a-z-]*)", text_of(page), re.MULTILINE))
    assert named <= targets


def test_the_readme_lists_every_artefact() -> None:
    table = text_of("README.md").partition("| name | in the paper")[2].partition("\n\n")[0]
    listed = {n for row in table.splitlines()[2:] for n in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == set(REGISTRY)


def test_names_that_do_not_exist_are_found() -> None:
    assert missing_paths("see `llm/data/nothing.py`, `llm/data/formats.py` and [x](docs/none.md)") == [
        "docs/none.md",
        "llm/data/nothing.py",
    ]
    assert missing_names("`toyopt.theorems.nothing` and `toyopt.problem`") == ["toyopt.theorems.nothing"]
