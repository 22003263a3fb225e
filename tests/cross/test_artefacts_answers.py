"""Table 1, the samples, Figure 9 and the baselines: checks and drawings on made-up folders of runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from support.run_folders import SMOKE, computed, texts

from figures.artefact import Artefact
from figures.artefacts import baselines, fig9, samples, table1
from figures.drawing.render import render

ALL = [table1.ARTEFACT, samples.ARTEFACT, fig9.ARTEFACT, baselines.ARTEFACT]


@pytest.mark.slow
@pytest.mark.parametrize("artefact", ALL, ids=lambda a: a.name)
def test_all_checks_hold_and_it_is_drawn(artefact: Artefact, tmp_path: Path) -> None:
    data = computed(artefact, tmp_path)
    assert [check.name for check in data.checks if not check.holds] == []
    drawn: list[Figure] = []
    files = render(lambda given: drawn.append(artefact.draw(given)) or drawn[-1], data)
    assert files["png"][:4] == b"\x89PNG"
    assert any(str(data.facts["scale"]) in text for text in texts(drawn[0]))


@pytest.mark.slow
@pytest.mark.parametrize("artefact", [table1.ARTEFACT, baselines.ARTEFACT], ids=lambda a: a.name)
def test_one_seed_will_do(artefact: Artefact, tmp_path: Path) -> None:
    data = computed(artefact, tmp_path, replace(SMOKE, seeds=1))
    assert [check.name for check in data.checks if not check.holds] == []
    artefact.draw(data).draw_without_rendering()


@pytest.mark.slow
@pytest.mark.process
def test_no_artefact_module_imports_torch() -> None:
    modules = "table1, samples, fig9, baselines"
    code = f"import sys\nfrom figures.artefacts import {modules}\nimport llm.judging.world, llm.embedded\n"
    code += "import llm.training.run_folder\nassert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
