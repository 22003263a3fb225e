"""What README and docs name exists: files, modules, functions, commands and their options; their code is code."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
import textwrap
import tomllib
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
COMMAND = re.compile(
    r"python(?: -m (?P<module>llm|toyopt\.pep|toyopt claim|figures\.recorded|benchmarks)| (?P<file>paper_repro\.py))"
    r"(?P<rest>[^`\n]*)"
)
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)\)")
MODULE = re.compile(r"\b((?:toyopt|llm|figures)(?:\.(?!md\b)\w+)+)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
ANY_OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][a-zA-Z0-9_-]*")
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


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_into_pages_reach_a_heading(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text_of(page))
    targets = [(ROOT / page).parent / file if file else ROOT / page for file, _ in links]
    assert [name for (_, name), target in zip(links, targets, strict=True) if name not in headings(target)] == []


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
def options() -> dict[str, set[str]]:
    """Return the options of every command, by its words, such as `llm study run`."""
    pytest.importorskip("torch")
    from benchmarks.__main__ import main as benchmarks

    helps = {f"llm {command}": help_of(llm.cli.main, command) for command in LLM_COMMANDS}
    for command in ("run", "status", "commands", "table"):  # which take all options of a run as well
        helps[f"llm study {command}"] = help_of(llm.cli.main, "study", command) + helps["llm train"]
    mains = {"toyopt.pep": toyopt.pep.cli.main, "paper_repro.py": figures.cli.main, "benchmarks": benchmarks,
             "figures.recorded": figures.recorded.__main__.main}  # fmt: skip
    helps |= {name: help_of(main) for name, main in mains.items()}
    helps["toyopt claim"] = help_of(toyopt.cli.main, "claim")
    return {name: {_plain(option) for option in ANY_OPTION.findall(text)} for name, text in helps.items()}


def _plain(option: str) -> str:
    """Return an option with - for _, which every command reads alike."""
    return option.replace("_", "-")


def foreign_options(text: str, options: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the commands in a page with the options that they do not have; of unknown commands the command alone."""
    wrong = []
    for match in COMMAND.finditer(re.sub(r" *\\\n *", " ", text)):
        place, rest = match["module"] or match["file"], match["rest"].partition("  #")[0]
        words = re.match(r"(?: study)?(?: [a-z]+)?", rest)
        name = f"llm{words[0]}" if place == "llm" and words else place
        if name not in options and name != "llm":
            wrong.append((name, ""))
        wrong += [(name, o) for o in ANY_OPTION.findall(rest) if _plain(o) not in options.get(name, set())]
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str, options: dict[str, set[str]]) -> None:
    named = {_plain(option) for option in OPTION.findall(text_of(page))}
    of_others = {option for option in named if any(option.startswith(_plain(other)) for other in OTHERS)}
    assert named - of_others - set().union(*options.values()) == set()
    assert foreign_options(text_of(page), options) == []


@pytest.mark.slow
def test_an_option_of_another_command_is_found(options: dict[str, set[str]]) -> None:
    text = "    python -m llm merge --adapter x \\\n        --lam 0.5  # --none\n`python -m toyopt claim S --p 1`"
    assert foreign_options(text, options) == [("llm merge", "--lam")]
    assert foreign_options("`python -m llm trian --lam 1`", options) == [("llm trian", ""), ("llm trian", "--lam")]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_code_are_python_and_toml(page: str) -> None:
    for language, text in BLOCK.findall(text_of(page)):
        if language == "toml":
            tomllib.loads(text)
        else:
            compile(textwrap.dedent(text), page, "exec")


def test_every_fence_is_a_block_of_a_known_language() -> None:
    for page in PAGES:
        text = text_of(page)
        assert 2 * len(BLOCK.findall(text)) == len(re.findall("^```", text, re.MULTILINE)), page


@pytest.mark.oracle
@pytest.mark.slow
def test_the_names_in_trl_are_trls_and_the_defaults_ours() -> None:
    trl, transformers = pytest.importorskip("trl"), pytest.importorskip("transformers")
    from llm import TrainConfig

    table = text_of("docs/llm.md").partition("## Names in TRL and transformers")[2].partition("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| `")]
    theirs = {name for cls in (trl.SFTConfig, trl.DPOConfig, trl.ModelConfig) for name in cls.__dataclass_fields__}
    theirs |= {*inspect.signature(trl.DPOTrainer).parameters, *dir(transformers)}
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert len(named) > 20
    assert named <= theirs
    ours = TrainConfig().as_dict()
    defaults = {o: v for row in rows for o, v in re.findall(r"`--([a-z0-9-]+)` \(([^)]+)\)", row[1])}
    assert len(defaults) >= 7
    for option, value in defaults.items():
        default = ours[option.replace("-", "_")]
        assert type(default)(value) == default, option


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
