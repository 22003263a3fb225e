"""The real model's figure of instructions and preferences: on made-up folders of runs, and from recorded results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from support.run_folders import texts, write

from figures.analysis import recorded_runs
from figures.artefact import Data, Request
from figures.artefacts import chat
from figures.drawing.chat import draw
from figures.pipeline.paths import grid_of
from figures.recorded import real as record
from figures.recorded import real_tables
from figures.recorded.real import ends, rows_of
from figures.recorded.real_figures import CHAT

pytestmark = pytest.mark.usefixtures("present_code")

REQUEST = Request(scale="real", seeds=2)
LABELS = [
    "Sequential, DPO first", "Sequential, SFT first", "Replay 20%, DPO first", "Mix", "ALRIGHT", "MAXRIGHT"
]  # fmt: skip
# method and order -> f_DPO, f_SFT, accuracy between the stages and at the end, without the part of the seed
VALUES = {
    ("sequential", "dpo-sft"): ((0.65, 1.7, 0.65), (0.75, 1.5, 0.45)),
    ("sequential", "sft-dpo"): ((0.70, 1.5, 0.50), (0.66, 1.9, 0.60)),
    ("replay", "dpo-sft"): ((0.65, 1.7, 0.65), (0.70, 1.5, 0.55)),
    ("mix", ""): ((0.67, 1.6, 0.60), (0.64, 1.5, 0.65)),
    ("alright", ""): ((0.67, 1.6, 0.60), (0.66, 1.55, 0.62)),
    ("maxright", ""): ((0.67, 1.6, 0.60), (0.65, 1.55, 0.63)),
}


def made(root: Path, start: float = math.log(2.0)) -> Data:
    """Return the figure's data of made-up runs with known values."""
    parameters = chat.parameters(REQUEST)
    for run in (run for spec in parameters["grids"].values() for run in grid_of(spec).runs()):
        folder, c = run.folder(root), run.config
        folder.mkdir(parents=True, exist_ok=True)
        half, both = c.steps // 2, c.method == "mix"
        middle, last = VALUES[c.method, c.order if c.method in ("sequential", "replay") else ""]
        names = ("f_dpo", "f_sft", "rewards/accuracies")
        first = dict(zip(names, (start, 1.65, 0.4), strict=True))
        values = [{n: v + 0.001 * c.seed for n, v in zip(names, point, strict=True)} for point in (middle, last)]
        lines = [
            {"step": s, "evaluation": "held_out", **v}
            for s, v in zip((0, half, c.steps), (first, *values), strict=True)
        ]
        steps = dict.fromkeys(("dpo", "sft"), c.steps if both else half)
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in c.as_dict().items()}
        write(folder / "run.json", {"fingerprint": {"rows": {}, "base": ""}, "config": config})
        summary = {"evaluation": values[1], "steps_by_objective": steps, "device": "CPU", "cpu_seconds": 7.0}
        write(folder / "summary.json", summary | {"versions": {"torch": "9"}})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return chat.compute(parameters | {"root": str(root)})


@pytest.mark.slow
def test_means_checks_and_claims_of_made_up_runs(tmp_path: Path) -> None:
    data = made(tmp_path)
    assert list(dict.fromkeys(data.table["label"])) == LABELS
    assert len(data.table["label"]) == len(LABELS) * 2 * 3  # labels, seeds, evaluations
    keys = ("label", "quantity", "value")
    means = {(label, name): value for label, name, value in zip(*(data.extra[f"mean_{k}"] for k in keys), strict=True)}
    assert means["Sequential, DPO first", "f_dpo"] == pytest.approx(0.75 + 0.0025)  # seeds 2 and 3
    assert means["MAXRIGHT", "accuracy"] == pytest.approx(0.63 + 0.0025)
    assert all(check.holds for check in data.checks if check.must_hold)
    claims = {check.name: check.attained for check in data.checks if check.verdict}
    assert claims["forgetting/f-dpo"] == pytest.approx(0.10)  # from 0.65 to 0.75
    assert claims["forgetting/accuracy"] == pytest.approx(0.20)  # from 0.65 to 0.45
    assert claims["forgetting/f-sft"] == pytest.approx(0.40)  # from 1.5 to 1.9
    assert claims["kept/f-dpo/alright"] == pytest.approx(0.09)
    assert claims["kept/accuracy/maxright"] == pytest.approx(0.18)
    assert claims["kept/f-sft/alright"] == pytest.approx(0.35)


@pytest.mark.slow
def test_bf16_may_start_near_ln_2_and_fp32_may_not(tmp_path: Path) -> None:
    data = made(tmp_path, start=0.696)
    assert [check.name for check in data.checks if check.must_hold and not check.holds] == []
    apart = made(tmp_path, start=0.6985)
    assert [check.name for check in apart.checks if check.must_hold and not check.holds] == ["start"]


@pytest.mark.slow
def test_the_figure_has_paths_and_ends_of_three_quantities(tmp_path: Path) -> None:
    figure = draw(made(tmp_path))
    assert len(figure.axes) == 6
    assert [len(ax.get_lines()) for ax in figure.axes[::2]] == [7, 7, 7]  # a line for the model before training
    assert {"(c) preferences: accuracy", "Replay 20%, DPO first"} <= set(texts(figure))
    assert min(figure.axes[4].get_lines()[1].get_xdata()) > 0  # before training the accuracy counts rounding errors


@pytest.mark.slow
def test_runs_are_recorded_beside_those_of_the_skill(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "0123456789ab")
    next(tmp_path.glob("runs/*/mix-*seed3*/summary.json")).unlink()
    [line] = record.write(tmp_path / "results", tmp_path)
    assert line == "chat: 11 of 12 runs of seeds 2, 3; missing: Mix (seed 3)"
    described = recorded_runs.described(tmp_path / "results" / "chat")
    assert described["command"] == "python paper_repro.py chat --scale real --seeds 2 --chat FILE --preference FILE"
    assert described["facts"]["precision"] == "bf16"
    rows = ends(rows_of(tmp_path / "results" / "chat" / recorded_runs.TABLE), tuple(CHAT.shown))
    text = real_tables.runs({"chat": {**described, "rows": rows}}, CHAT)
    assert "| Sequential, DPO first | 0.45 | 0.75 | 1.50 |" in text
    assert "| Mix (1 of 2 seeds) |" in text


@pytest.mark.slow
def test_the_recorded_table_gives_the_figure_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FOLDER", tmp_path / "results" / "chat")
    with pytest.raises(FileNotFoundError, match=r"make the runs with: python paper_repro\.py chat --scale real"):
        chat.compute(chat.parameters(Request()))
    trained = made(tmp_path / "runs" / "0123456789ab")
    record.write(tmp_path / "results", tmp_path)
    data = chat.compute(chat.parameters(Request()))
    assert data.facts["recorded"] is True
    for name, values in trained.extra.items():
        np.testing.assert_array_equal(data.extra[name], values)
    assert all(check.holds for check in data.checks if check.must_hold)
    assert np.isfinite(data.table["f_dpo"]).all()
    assert len(draw(data).axes) == 6
    for name in recorded_runs.digests(chat.FOLDER):
        text = (chat.FOLDER / name).read_text(encoding="utf-8")
        assert not any(word in text for word in ("/tmp", "/home", "/root", "/work", "C:\\"))


def test_the_users_sets_reach_the_runs() -> None:
    request = Request(scale="real", chat="mine.jsonl", preference="pairs.jsonl", precision="fp32")
    options = chat.parameters(request)["grids"]["joint"]["options"]
    assert (options["sft"], options["preference"], options["precision"]) == ("mine.jsonl", "pairs.jsonl", "fp32")
    usual = grid_of(chat.parameters(Request(scale="real"))["grids"]["joint"]).base
    assert (usual.sft, usual.preference) == ("vicgalle/alpaca-gpt4", "Dahoas/rm-hh-rlhf")
    assert (usual.precision, usual.lr, usual.batch_sft, usual.batch_preference) == ("bf16", 3e-4, 8, 8)
