"""Keys of computed data and of drawings: what changes them, and what does not."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support.pipeline_fakes import Cli, cli_in_process

from figures.artefact import Artefact
from figures.pipeline import keys


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return cli_in_process(tmp_path, monkeypatch)


def both(cli: Cli, **parameters: object) -> tuple[str, str]:
    """The keys of the data and of the drawing of the fake artefact; the latter for data of one key."""
    artefact: Artefact = importlib.import_module(cli.registry["a"]).ARTEFACT
    return keys.compute_key(artefact, "fake_a", parameters), keys.draw_key("k", artefact, {"scale": "smoke"})


@pytest.mark.parametrize(
    ("old", "new", "computes", "draws"),
    [
        ("/ 3.0", "/ 4.0", True, False),
        ('"n": 4', '"n": 5', True, False),
        ('COLOUR = "black"', 'COLOUR = "red"', False, True),
        ("figsize=(2, 1.5)", "figsize=(2, 2)", False, True),
        ("A line & a caption.", "Another caption.", False, True),
        ("# of the line", "# of the curve", False, False),
    ],
)
def test_an_edit_changes_the_keys_of_its_dependents(cli: Cli, old: str, new: str, computes: bool, draws: bool) -> None:
    before = both(cli)
    cli.change("a", old, new)
    assert [a != b for a, b in zip(before, both(cli), strict=True)] == [computes, draws]


def test_the_key_of_data_depends_on_parameters_versions_and_training_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact: Artefact = importlib.import_module(cli.registry["a"]).ARTEFACT
    first = both(cli, n=1)[0]
    assert both(cli, n=1)[0] == first != both(cli, n=2)[0]
    assert keys.compute_key(artefact, "fake_a", {"n": 1}, "other code") != first
    monkeypatch.setattr(keys, "versions", lambda _: {"python": "3.11.2", "numpy": "9"})
    assert both(cli, n=1)[0] != first
    newer = both(cli, n=1)[0]
    monkeypatch.setattr(keys, "versions", lambda _: {"python": "3.11.9", "numpy": "9"})
    assert both(cli, n=1)[0] == newer  # a patch of Python changes no number


@pytest.mark.slow
def test_the_data_of_an_artefact_depend_on_mathematics_and_analysis_and_not_on_drawing_or_pipeline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reached(module: str) -> set[str]:
        seen: set[str] = set()
        original = keys.code_digest

        def note(*starts: str, **options: object) -> str:
            from llm.common.code_digest import reached_modules

            seen.update(reached_modules(*starts, **options))  # type: ignore[arg-type]
            return original(*starts, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(keys, "code_digest", note)
        keys._source(module, keys._not_computing())
        monkeypatch.undo()
        return seen

    theory, runs = reached("figures.artefacts.fig2"), reached("figures.artefacts.fig1")
    assert "toyopt.simulate" in theory
    assert {"figures.analysis.seeds", "figures.pipeline.paths", "llm.study.table"} <= runs
    for modules in (theory, runs):
        assert not any(name.startswith("figures.drawing.") for name in modules)
        assert not {"figures.artefact", "figures.pipeline.run", "figures.cli"} & modules
