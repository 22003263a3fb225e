"""The figures beyond the paper and Figure 6, on made-up runs whose numbers are known by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from figures.analysis import seeds as runs
from figures.analysis import sweep_summary
from figures.analysis.seeds import NAMES
from figures.artefact import Artefact, Check, Data, Request
from figures.artefacts import conflict, curvature, families, fig6, sensitivity
from figures.drawing.render import render
from figures.pipeline.training import grid_of

BEYOND = (conflict, sensitivity, curvature, families)
START, STAR = {"dpo": 0.7, "sft": 1.1}, {"dpo": 0.2, "sft": 0.1}  # to gain: 0.5 and 1
STEPS = (0, 30, 60)
# f_DPO and f_SFT at every evaluation, before a seed's noise
WAYS = {
    "sequential": ((0.7, 1.1), (0.3, 1.0), (0.5, 0.15)),
    "mix": ((0.7, 1.1), (0.4, 0.6), (0.3, 0.3)),
    "alright": ((0.7, 1.1), (0.4, 0.6), (0.35, 0.3)),
    "maxright": ((0.7, 1.1), (0.4, 0.6), (0.25, 0.25)),
}
NOISE = {1: 0.0, 2: 0.01, 3: -0.01, 4: 0.02}

Changes = Callable[[Any, dict[str, Any]], dict[str, Any]]


def evaluation(run: Any, step: int) -> dict[str, Any]:
    """f_DPO is higher by the label conflict at the end; noise is a seed's, but for the start."""
    dpo, sft = WAYS[run.config.method][STEPS.index(step)]
    late = 0.0 if step == 0 else NOISE[run.config.seed]
    dpo += late + (run.config.conflict if step == 60 else 0.0)
    gaps = {"gap_dpo": dpo - STAR["dpo"], "gap_sft": sft + late - STAR["sft"]}
    return {"step": step, "f_dpo": dpo, "f_sft": sft + late, **gaps, "ideal_distance": math.hypot(*gaps.values())}


class Runs:
    """In place of figures.runs' readers: every run of the grids, with what `change` makes of its row."""

    def __init__(self, change: Changes = lambda _, row: row) -> None:
        self.change = change

    def _every(self, parameters: dict[str, Any]) -> list[tuple[str, Any, dict[str, Any]]]:
        return [
            (grid, run, {"grid": grid, **run.about, "method": NAMES[run.config.method], "run": run.name})
            for grid, spec in parameters["grids"].items()
            for run in grid_of(spec).runs()
        ]

    def results(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for _, run, about in self._every(parameters):
            end = evaluation(run, 60)
            row = {**about, **end, "steps": 60, "steps_dpo": 30, "steps_sft": 30, "device": "CPU, 1 threads"}
            row |= {f"f_{n}_start": START[n] for n in START} | {f"f_{n}_star": STAR[n] for n in STAR}
            row["scale_free_distance"] = math.hypot(end["gap_dpo"] / 0.5, end["gap_sft"] / 1.0)
            row |= {"cpu_seconds": 1.0, "seconds": 1.0, "forward_tokens": 100}
            del row["step"]
            found.append(self.change(run, row))
        return found

    def paths(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [{**about, **evaluation(run, step)} for _, run, about in self._every(parameters) for step in STEPS]
        return [row | {"forward_tokens": 100 * row["step"], "tokens": 1, "seconds": 1.0} for row in rows]

    def measured(self, parameters: dict[str, Any], name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        assert name == "curvature"
        return [(about, {"rows": spectrum(run)}) for _, run, about in self._every(parameters)]


def spectrum(run: Any) -> list[dict[str, Any]]:
    """f_DPO has a negative eigenvalue at the first of two points, f_SFT at both, the mix at none."""
    found = []
    for i, step in enumerate((0, 60)):
        for objective, negative in (("dpo", i == 0), ("sft", True), ("mix", False)):
            row = {"step": step, "objective": objective, "value": 1.0, "grad_norm": 0.5, "negative": negative}
            row |= {"largest": 100.0 * (i + 1), "smallest": -2.0 - run.config.seed if negative else 0.5}
            found.append(row | {"residual": 0.2, "along_gradient": None if i else 3.0})
    return found


def install(monkeypatch: pytest.MonkeyPatch, change: Changes = lambda _, row: row) -> None:
    fake = Runs(change)
    for name in ("results", "paths", "measured"):
        monkeypatch.setattr(runs, name, getattr(fake, name))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def data_of(module: Any, **request: Any) -> Data:
    asked = Request(**({"scale": "smoke", "seeds": 2} if "scale" not in request else {}) | request)
    found: Data = module.compute(module.parameters(asked) | {"root": "nowhere"})
    return found


def checks(data: Data) -> dict[str, Check]:
    return {check.name: check for check in data.checks}


def picked(data: Data, prefix: str, **wanted: Any) -> dict[str, Any]:
    from figures.analysis.loss_space import select

    row = select(data.extra, prefix, **wanted)
    assert len(next(iter(row.values()))) == 1, wanted
    return {name: values[0] for name, values in row.items()}


@pytest.mark.usefixtures("made_up")
def test_forgetting_is_the_rise_from_the_least_value_on_the_way() -> None:
    data = data_of(conflict)
    bar = {"grid": "conflict 0 overlap 0.5", "quantity": "forgetting"}
    # 0.5 at the end, 0.3 on the way; both seeds the same, for the noise is on both
    assert picked(data, "bar", method="Sequential", **bar)["value"] == pytest.approx(0.2)
    assert picked(data, "bar", method="Mix", **bar)["value"] == 0.0  # its last value is its least
    bar["grid"] = "conflict 1 overlap 0.5"
    assert picked(data, "bar", method="Sequential", **bar)["value"] == pytest.approx(1.2)
    assert picked(data, "bar", method="Sequential", **bar | {"quantity": "forgetting_share"})["value"] == (
        pytest.approx(2.4)
    )


@pytest.mark.usefixtures("made_up")
def test_gaps_as_they_are_and_as_shares_of_what_there_was_to_gain() -> None:
    data = data_of(conflict)
    bar = {"grid": "conflict 0.5 overlap 0.5", "method": "Mix"}
    dpo = picked(data, "bar", quantity="gap_dpo", **bar)
    # gaps 0.6 and 0.61 of the two seeds; t for one degree of freedom is 12.706, the standard error 0.005
    assert dpo["value"] == pytest.approx(0.605)
    assert dpo["high"] - dpo["value"] == pytest.approx(12.706 * 0.005, rel=1e-4)
    assert picked(data, "bar", quantity="gap_dpo_share", **bar)["value"] == pytest.approx(1.21)
    assert picked(data, "bar", quantity="gap_sft_share", **bar)["value"] == pytest.approx(0.205)
    assert picked(data, "bar", grid=bar["grid"], method="", quantity="gain_dpo")["value"] == pytest.approx(0.5)
    seed = picked(data, "dot", quantity="scale_free_distance", seed=1, **bar)["value"]
    assert seed == pytest.approx(math.hypot(1.2, 0.2))


@pytest.mark.usefixtures("made_up")
def test_a_panel_has_the_grids_that_differ_in_its_dial_alone() -> None:
    small, whole = data_of(conflict), data_of(conflict, scale="embedded")
    assert list(small.extra["panel_panel"]) == ["conflict"] * 3  # the other dial has one place
    panels = list(zip(*(whole.extra[f"panel_{n}"] for n in ("panel", "place", "label", "grid")), strict=True))
    assert panels == [
        ("conflict", 0, "0", "conflict 0 overlap 0.5"),
        ("conflict", 1, "0.5", "conflict 0.5 overlap 0.5"),
        ("conflict", 2, "1", "conflict 1 overlap 0.5"),
        ("overlap", 0, "0", "conflict 0.5 overlap 0"),
        ("overlap", 1, "0.5", "conflict 0.5 overlap 0.5"),
        ("overlap", 2, "1", "conflict 0.5 overlap 1"),
    ]
    assert set(whole.table["overlap"]) == {0.0, 0.5, 1.0}
    assert len(whole.table["method"]) == 5 * 4 * 3


@pytest.mark.usefixtures("made_up")
def test_sensitivity_says_which_numbers_changed() -> None:
    data = data_of(sensitivity, scale="embedded")
    assert data.facts["rate"] == "0.001, 0.002, 0.004"
    assert data.facts["batches"] == "4, 8, 16"
    assert data.facts["alternation"] == "coin, even"
    assert data.facts["blocks"] == "1, 5, 25"
    assert data_of(sensitivity).facts.keys() == {"scale", "rate", "blocks", "alternation"}  # smoke leaves batches alone


@pytest.mark.usefixtures("made_up")
def test_the_order_of_the_methods_is_judged_in_every_grid_that_has_both() -> None:
    found = checks(data_of(sensitivity, seeds=3))
    assert found["ideal-distance/twice-the-learning-rate/maxright-sequential"].verdict == "seen"
    assert found["ideal-distance/as-it-is/alright-sequential"].verdict == "seen"
    free = found["scale-free-distance/as-it-is/alright-sequential"]  # with the third seed, whose noise is -0.01
    assert free.attained == pytest.approx(
        np.mean([math.hypot(1.3 + 2 * n, 0.2 + n) - math.hypot(1.6 + 2 * n, 0.05 + n) for n in (0.0, 0.01, -0.01)])
    )
    assert not [name for name in found if "/even/" in name]


def test_the_verdict_turns_with_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "maxright", ((0.7, 1.1), (0.8, 1.2), (0.9, 1.3)))
    monkeypatch.setitem(WAYS, "sequential", ((0.7, 1.1), (0.5, 1.0), (0.45, 0.15)))
    install(monkeypatch)
    found = checks(data_of(conflict, seeds=3))
    assert found["ideal-distance/conflict-0-overlap-0.5/maxright-sequential"].verdict == "not seen"
    assert found["forgetting/conflict-0-overlap-0.5"].verdict == "not seen"
    assert found["forgetting/conflict-1-overlap-0.5"].verdict == "seen"


@pytest.mark.usefixtures("made_up")
def test_families_have_one_lam_their_own_points_and_settings() -> None:
    data = data_of(families, scale="embedded")
    assert set(data.table["lam"]) == {0.5}
    assert set(data.table["grid"]) == {"neox", "llama", "t5"}
    assert list(data.extra["ideal_t5"]) == pytest.approx([STAR["sft"], STAR["dpo"]])
    assert data.facts["setting_neox"] == "DPO first; LoRA on all layers"
    assert data.facts["setting_llama"] == "SFT first; LoRA on q_proj, v_proj"
    assert data.facts["setting_t5"] == "DPO first; LoRA on all layers"


@pytest.mark.parametrize("module", [conflict, sensitivity, curvature, families])
def test_at_scale_paper_these_are_of_the_embedded_world(module: Any) -> None:
    specs = module.parameters(Request(scale="paper"))["grids"].values()
    assert {spec["preset"] for spec in specs} == {"embedded"}


@pytest.mark.usefixtures("made_up")
def test_signs_of_the_spectrum_are_counted() -> None:
    data = data_of(curvature)
    shares = {
        objective: picked(data, "bar", method="Mix", objective=objective, quantity="negative")["value"]
        for objective in ("dpo", "sft", "mix")
    }
    assert shares == {"dpo": 0.5, "sft": 1.0, "mix": 0.0}
    mean = picked(data, "mean", method="ALRIGHT", objective="dpo", step=0)
    assert mean["smallest"] == -3.5  # -3 and -4 of both seeds
    assert mean["largest"] == 100.0
    assert math.isnan(picked(data, "mean", method="ALRIGHT", objective="dpo", step=60)["along_gradient"])
    found = checks(data)
    assert found["convex/dpo"].attained == 0.5
    assert found["convex/dpo"].verdict == "not seen"
    assert found["measured"].holds
    assert data.facts["largest_residual_share"] == pytest.approx(0.2 / 100)


@pytest.mark.usefixtures("made_up")
def test_the_gap_of_the_mix_and_the_fitted_shapes() -> None:
    data = data_of(curvature, seeds=1)
    gap = picked(data, "gap", method="Mix", step=60)["gap_mix"]
    assert gap == pytest.approx(0.5 * (0.3 + 0.5 - 0.2) + 0.5 * (0.3 - 0.1))
    raw = data.table["objective"] == "mix (held out)"
    assert raw.sum() == 4 * len(STEPS)
    assert np.isnan(data.table["gap_mix"][~raw]).all()
    # Sequential's gaps at 30 and 60: the constant is their geometric mean
    first, last = 0.5 * 0.1 + 0.5 * 0.9, 0.5 * (0.5 + 0.5 - 0.2) + 0.5 * 0.05
    assert data.facts["factor_Sequential"] == pytest.approx(math.sqrt(first * last))


def test_a_fit_finds_its_own_shape_and_leaves_out_the_first_half_and_what_is_not_positive() -> None:
    t = np.arange(1.0, 101.0)
    assert curvature.shape("ALRIGHT", np.array([4.0])) == pytest.approx(math.log(4.0) / 2.0)
    gap = 3.0 * curvature.shape("ALRIGHT", t)
    gap[:40] = 7.0
    gap[60], gap[61] = -1.0, np.nan
    assert curvature.fit("ALRIGHT", t, gap) == pytest.approx(3.0)
    assert math.isnan(curvature.fit("ALRIGHT", t, np.full(100, -1.0)))
    assert math.isnan(curvature.fit("Sequential", np.array([]), np.array([])))


@pytest.mark.parametrize("wrong", [9.0, math.nan])
def test_what_is_wrong_with_one_grid_shows(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    def change(run: Any, row: dict[str, Any]) -> dict[str, Any]:
        return row | ({"ideal_distance": wrong} if run.config.conflict == 1.0 and run.config.seed == 2 else {})

    install(monkeypatch, change)
    found = checks(data_of(conflict))
    assert not found["hypot"].holds
    assert found["runs"].holds
    assert (found["runs"].bound, found["runs"].attained) == (3 * 4 * 2, 3 * 4 * 2)
    assert found["ends"].holds


def test_a_missing_run_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    every, absent = runs.results, ("conflict 1 overlap 0.5", "Mix", 2)
    monkeypatch.setattr(
        runs, "results", lambda p: [r for r in every(p) if (r["grid"], r["method"], r["seed"]) != absent]
    )
    found = checks(data_of(conflict))
    assert not found["runs"].holds
    assert (found["runs"].bound, found["runs"].attained) == (24.0, 23.0)


def test_without_optima_the_shares_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = ("gap_dpo", "gap_sft", "ideal_distance", "scale_free_distance", "f_dpo_star", "f_sft_star")
    install(monkeypatch, lambda _, row: row | dict.fromkeys(unknown))
    data = data_of(conflict)
    bar = {"grid": "conflict 0 overlap 0.5", "method": "Sequential"}
    assert math.isnan(picked(data, "bar", quantity="gap_dpo_share", **bar)["value"])
    assert picked(data, "bar", quantity="forgetting", **bar)["value"] == pytest.approx(0.2)
    assert checks(data)["ideal-distance/conflict-0-overlap-0.5/maxright-sequential"].verdict == "mixed"


def test_nothing_to_gain_is_no_unit() -> None:
    row = {"f_dpo_start": 0.1, "f_dpo_star": 0.2}
    assert math.isnan(sweep_summary.to_gain(row, "dpo"))


def test_runs_that_were_not_measured_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(runs, "measured", lambda *_: [])
    with pytest.raises(ValueError, match="none of the runs has been measured"):
        data_of(curvature)


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("module", BEYOND)
def test_they_are_drawn_with_one_seed_and_with_several(module: Any, seeds: int) -> None:
    data = data_of(module, seeds=seeds)
    figure = module.draw(data)
    assert not [ax for ax in figure.axes if ax.axison and not ax.has_data()]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= set(data.table["method"])
    assert all(check.holds for check in data.checks if check.must_hold)


@pytest.mark.usefixtures("made_up")
def test_a_figure_shows_what_was_computed() -> None:
    data = data_of(conflict, seeds=3)
    figure = conflict.draw(data)
    forgetting = figure.axes[0]
    line = next(line for line in forgetting.get_lines() if line.get_marker() == "s")  # Sequential's mark
    assert list(line.get_ydata()) == pytest.approx([0.2, 0.7, 1.2])
    low, high = forgetting.get_ylim()
    assert low <= 0.0 < 1.2 < high
    assert [label.get_text() for label in figure.axes[-3].get_xticklabels()] == ["0", "0.5", "1"]


@pytest.mark.usefixtures("made_up")
def test_the_pictures_can_be_written() -> None:
    assert render(sensitivity.draw, data_of(sensitivity))["png"].startswith(b"\x89PNG")


PAIR = {"prompt": "Where is Aun?", "sft_prompt": "Where is Aun?", "chosen": "North", "rejected": "Dunno", "target": "N"}


def similar(*changes: dict[str, Any]) -> dict[str, Any]:
    cosines = {"prompts": 1.0, "chosen_target": 0.5, "rejected_target": 0.75, "chosen_rejected": 0.25}
    rows = {"preference_row": 3, "sft_row": 5}
    pairs = [PAIR | cosines | rows | change for change in changes]
    return {"prompts": 80, "mean": 0.9, "embedder": "token", "sft": "embedded", "preference": "embedded"} | {
        "pairs": pairs
    }


@pytest.fixture(autouse=True)
def not_calmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for the process that draws, and here it would be for all tests that follow."""
    monkeypatch.setattr("llm.common.progress.calm", lambda: None)


def fake_similar(monkeypatch: pytest.MonkeyPatch, *changes: dict[str, Any]) -> list[Any]:
    asked: list[Any] = []

    def found(config: Any, **options: Any) -> dict[str, Any]:
        asked.append((config, options))
        return similar(*changes)

    monkeypatch.setattr("llm.evaluation.similarity.similar_embedded", found)
    return asked


OTHER = {"prompt": "Is Aun  äst? $x_1$", "prompts": 0.8, "chosen_target": 0.1}


def test_figure_6_asks_for_the_world_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_similar(monkeypatch, {}, OTHER)
    parameters = fig6.parameters(Request(scale="smoke"))
    data = fig6.compute(parameters)
    ((config, options),) = asked
    assert options == {"embedder": "token", "top": 40}
    own = grid_of(parameters["grids"]["base"])
    assert len(own.runs()) == 1
    names = ("world_size", "world_family", "world_seed", "conflict", "overlap", "cache")
    assert [getattr(config, n) for n in names] == [getattr(own.runs()[0].config, n) for n in names]
    assert data.facts["mean_chosen_target"] == pytest.approx(0.3)
    assert data.facts["pairs_with_the_same_prompt"] == 1
    assert list(data.table["rank"]) == [1, 2]
    assert all(check.holds for check in data.checks)


def test_figure_6_shows_every_pair_and_the_first_that_differs_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_similar(monkeypatch, {}, OTHER)
    data = fig6.compute(fig6.parameters(Request(scale="smoke")))
    assert fig6.example(data) == 1
    figure = fig6.draw(data)
    marks = figure.axes[0].get_lines()[1]
    assert list(marks.get_ydata()) == [0.5, 0.1]
    words = [text.get_text() for text in figure.axes[1].texts]
    assert "Is Aun ?st? $x_1$" in words
    assert "North" in words
    assert render(fig6.draw, data)["pdf"].startswith(b"%PDF")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (({"prompts": 0.9}, OTHER), "same"),  # the same text
        ((OTHER, {}), "order"),
        (({"chosen_target": 1.2}, OTHER), "range"),
        (({"chosen_target": -1.2}, OTHER), "range"),
    ],
)
def test_cosines_that_cannot_be_are_found(
    monkeypatch: pytest.MonkeyPatch, changes: tuple[dict[str, Any], ...], name: str
) -> None:
    fake_similar(monkeypatch, *changes)
    found = checks(fig6.compute(fig6.parameters(Request(scale="smoke"))))
    assert [check.name for check in found.values() if not check.holds] == [name]


def test_figure_6_of_the_paper_compares_the_sets_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def found(config: Any, *, quiet: bool) -> dict[str, Any]:
        asked.append((config, quiet))
        return similar({}, OTHER) | {"sft": config.sft, "preference": config.preference}

    monkeypatch.setattr("llm.evaluation.similarity.similarity", found)
    parameters = fig6.parameters(Request(scale="paper"))
    assert "grids" not in parameters
    data = fig6.compute(parameters)
    config, quiet = asked[0]
    assert quiet
    assert (config.sft, config.preference) == ("vicgalle/alpaca-gpt4", "Dahoas/rm-hh-rlhf")
    assert (config.model, config.embedder, config.bad_rows) == ("EleutherAI/pythia-1b", "token", "drop")
    assert (config.sft_rows, config.preference_rows) == (24000, 8000)
    assert data.facts["sft"] == "vicgalle/alpaca-gpt4"
    assert fig6.draw(data).axes


def test_what_cannot_be_read_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> dict[str, Any]:
        raise FileNotFoundError("sft: there is no\nset x; give another")

    monkeypatch.setattr("llm.evaluation.similarity.similar_embedded", missing)
    with pytest.raises(RuntimeError, match=r"^the sets cannot be compared: sft: there is no set x; give another$"):
        fig6.compute(fig6.parameters(Request(scale="smoke")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", "(nothing)"), ("a\n b", "a b"), ("x" * 45, "x" * 40 + "\n" + "x" * 5), ("é$", "?$")],
)
def test_texts_are_cut_for_the_eye(text: str, shown: str) -> None:
    assert fig6.cut(text) == shown
    assert fig6.cut("word " * 100).count("\n") == fig6.LINES - 1
    assert fig6.cut("word " * 100).endswith(" ...")


@pytest.mark.parametrize("module", [*BEYOND, fig6])
def test_each_is_named_after_its_module(module: Any) -> None:
    artefact: Artefact = module.ARTEFACT
    assert module.__name__ == f"figures.{artefact.name}"
    assert (artefact.parameters, artefact.compute, artefact.draw) == (module.parameters, module.compute, module.draw)
