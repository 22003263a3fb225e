"""Figures 1, 3, 4, 7, 8 and the cost: their aggregation by hand on made-up runs, and that what is drawn is the data."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from figures.analysis import loss_space, published, seeds, sweeps
from figures.artefact import Request
from figures.artefacts import cost, fig1, fig3, fig4, fig7, fig8
from figures.drawing.loss_space import draw_far, draw_limits
from figures.drawing.render import render

ALL = (fig1, fig3, fig4, fig7, fig8, cost)
T95 = 12.7062047  # Student's t, 97.5 %, one degree of freedom: the half width of two values' interval is T95 * |a-b|/2
START, STAR = {"dpo": 0.7, "sft": 0.3}, {"dpo": 0.05, "sft": 0.1}
SPEED = {"Sequential": 1.0, "Mix": 1.8, "ALRIGHT": 1.05, "MAXRIGHT": 1.2}


def gaps(method, lam, k, seed):
    """What a made-up run ends with: better for larger λ on DPO, worse on SFT, a little of the seed."""
    off = 0.5 if method == "Sequential" else 0.1
    return off * (1.2 - lam) + 0.01 * seed + 0.001 * k, 0.15 * lam + 0.02 * seed


class Study:
    """Made-up runs of a specification, in place of those that `figures.runs` reads; `change` edits a run's row."""

    def __init__(self, monkeypatch, change=lambda row: row):
        self.change = change
        monkeypatch.setattr(seeds, "results", self.results)
        monkeypatch.setattr(seeds, "paths", self.paths)

    def results(self, parameters):
        rows = [self.change(row) for row in self.made(parameters)]
        return [row for row in rows if row is not None]

    def made(self, parameters):
        for grid, spec in parameters["grids"].items():
            for method in spec["methods"]:
                for lam in spec.get("lams", [0.5]):
                    for k in spec.get("ks", [10]) if method == "maxright" else [None]:
                        for seed in spec["seeds"]:
                            yield self.row(grid, seeds.NAMES[method], lam, k, seed, spec["options"].get("steps", 100))

    def row(self, grid, method, lam, k, seed, steps):
        dpo, sft = gaps(method, lam, k or 0, seed)
        seconds = 0.1 * steps * SPEED[method] * (1 + 0.02 * seed)
        row = {"grid": grid, "method": method, "lam": lam, "order": None, "k": k, "seed": seed, "steps": steps}
        row |= {"run": f"{method}-{lam}-{k}-{seed}", "steps_dpo": round(lam * steps), "gap_dpo": dpo, "gap_sft": sft}
        row |= {"ideal_distance": math.hypot(dpo, sft), "f_dpo": STAR["dpo"] + dpo, "f_sft": STAR["sft"] + sft}
        row |= {f"f_{n}_start": START[n] for n in START} | {f"f_{n}_star": STAR[n] for n in STAR}
        row |= {"scale_free_distance": 1.0, "hypervolume_share": 0.0, "device": "CPU, 1 threads"}
        row |= {"tokens": 100 * steps, "forward_tokens": int(100 * steps * SPEED[method])}
        row |= {"cpu_seconds": seconds, "seconds": 3.0 * seconds}
        row |= {"reference_cpu_seconds": 0.0, "log_probs_cpu_seconds": 0.5, "optima_cpu_seconds": 4.0}
        return row

    def paths(self, parameters):
        for row in self.results(parameters):
            for i in range(11):
                share, line = i / 10, {n: row[n] for n in ("grid", "method", "lam", "order", "k", "seed", "run")}
                line |= {n: row[n] * share for n in ("tokens", "forward_tokens", "seconds", "cpu_seconds")}
                for n in START:
                    line[f"f_{n}"] = row[f"f_{n}"] if i == 10 else START[n] + share * (row[f"f_{n}"] - START[n])
                    line[f"gap_{n}"] = line[f"f_{n}"] - STAR[n]
                line["ideal_distance"] = math.hypot(line["gap_dpo"], line["gap_sft"])
                yield line | {"step": row["steps"] * i // 10}


def data_of(module, **request):
    asked = {"seeds": 2, **request} if request["scale"] == "smoke" else request
    return module.compute(module.parameters(Request(**asked)) | {"root": "nowhere"})


def bar(data, quantity, method, prefix="bar", **wanted):
    found = loss_space.select(data.extra, prefix, quantity=quantity, method=method, **wanted)
    return tuple(float(found[name][0]) for name in ("value", "low", "high"))


@pytest.mark.parametrize("module", ALL)
@pytest.mark.parametrize("scale", ["smoke", "embedded", "paper"])
def test_data_of_every_scale_are_sound_and_drawn(module, scale, monkeypatch):
    Study(monkeypatch)
    parameters = module.parameters(Request(scale=scale))
    json.dumps(parameters)
    data = module.compute(parameters | {"root": "nowhere"})
    assert [check.name for check in data.checks if not check.holds] == []
    assert module.ARTEFACT.name == module.__name__.partition(".")[2]
    figure = module.ARTEFACT.draw(data)
    assert str(data.facts["scale"]) in figure.get_supxlabel()
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"Sequential", "ALRIGHT"} <= names


def test_means_and_intervals_over_seeds(monkeypatch):
    Study(monkeypatch)
    data = data_of(fig1, scale="smoke")
    values = [gaps("Mix", 0.5, 0, seed) for seed in (1, 2)]
    for i, quantity in enumerate(("gap_dpo", "gap_sft")):
        a, b = (value[i] for value in values)
        half = T95 * abs(a - b) / 2
        assert bar(data, quantity, "Mix") == pytest.approx(((a + b) / 2, (a + b) / 2 - half, (a + b) / 2 + half))
    distances = [math.hypot(*value) for value in values]
    assert bar(data, "ideal_distance", "Mix")[0] == pytest.approx(np.mean(distances))  # and not that of mean gaps
    path = loss_space.select(data.extra, "path", method="Mix")
    assert path["ideal_distance"][-1] == pytest.approx(np.mean(distances))
    assert path["step"].tolist() == list(range(0, 61, 6))
    assert path["f_dpo"][-1] == pytest.approx(STAR["dpo"] + np.mean([v[0] for v in values]))
    assert data.extra["start"].tolist() == pytest.approx([0.3, 0.7])  # f_SFT across, f_DPO up
    assert data.extra["ideal"].tolist() == pytest.approx([0.1, 0.05])


def test_the_csv_is_every_evaluation(monkeypatch):
    Study(monkeypatch)
    data = data_of(fig1, scale="smoke")
    assert len(data.table["step"]) == 4 * 2 * 11
    own = loss_space.chosen(data.table, method="MAXRIGHT", seed=2)
    assert own["step"].tolist() == list(range(0, 61, 6))
    assert own["gap_dpo"][-1] == pytest.approx(gaps("MAXRIGHT", 0.5, 10, 2)[0])
    assert own["steps_dpo"][-1] == 30  # what is said of a whole run stands on its last line
    assert np.isnan(own["steps_dpo"][:-1]).all()


def test_increases_are_over_sequential_of_the_same_lam_and_seed(monkeypatch):
    def slower(row):  # a machine that is slower for one λ and one seed says nothing of the methods
        factor = 7.0 if row["lam"] == 0.75 and row["seed"] == 2 else 1.0
        return row | {"cpu_seconds": row["cpu_seconds"] * factor}

    Study(monkeypatch, slower)
    data = data_of(fig3, scale="smoke")
    for lam in (0.25, 0.75):
        assert bar(data, "runtime_increase", "Mix", lam=lam) == pytest.approx((80.0,) * 3)
        assert bar(data, "tokens_increase", "MAXRIGHT", lam=lam) == pytest.approx((20.0,) * 3)
        assert bar(data, "runtime_increase", "Sequential", lam=lam)[0] == 0.0


def test_a_gpu_is_timed_by_the_clock_and_its_utilisation_is_shown(monkeypatch):
    clock = {"Sequential": 10.0, "Mix": 15.0, "ALRIGHT": 10.0, "MAXRIGHT": 11.0}
    Study(
        monkeypatch, lambda r: r | {"device": "GPU", "seconds": clock[r["method"]], "utilisation": clock[r["method"]]}
    )
    data = data_of(fig3, scale="smoke")
    assert data.facts["runtime"] == "seconds"
    assert bar(data, "runtime_increase", "Mix", lam=0.25)[0] == pytest.approx(50.0)
    assert bar(data, "utilisation_increase", "MAXRIGHT", lam=0.25)[0] == pytest.approx(10.0)
    assert "tokens_increase" not in data.extra["bar_quantity"]
    Study(monkeypatch, lambda r: r | {"device": "GPU", "utilisation": 5.0 if r["seed"] == 1 else None})
    assert "utilisation_increase" not in data_of(fig3, scale="smoke").extra["bar_quantity"]


def test_ours_stand_beside_the_paper_s(monkeypatch):
    Study(monkeypatch)
    data = data_of(fig3, scale="embedded")
    beside = data.beside
    assert len(beside["ours"]) == 4 * 5 * 4  # no utilisation on a CPU
    row = int(np.flatnonzero((beside["quantity"] == "gap_sft") & (beside["method"] == "MAXRIGHT"))[0])
    assert beside["lam"][row] == 0.01
    assert beside["paper"][row] == published.FIGURE3["MAXRIGHT", 0.01][1] == 0.08
    assert beside["ours"][row] == pytest.approx(np.mean([gaps("MAXRIGHT", 0.01, 10, s)[1] for s in (1, 2, 3)]))
    assert beside["low"][row] < beside["ours"][row] < beside["high"][row]
    assert beside["ours at"][row] == f"embedded world (small), {sweeps.STEPS['embedded']} steps, 3 seeds"
    assert not data_of(fig7, scale="smoke").beside


@pytest.mark.parametrize("module", ALL)
def test_one_seed_has_no_interval_and_is_drawn(module, monkeypatch):
    Study(monkeypatch)
    data = data_of(module, scale="smoke", seeds=1)
    assert np.isnan(data.extra["bar_low"]).all()
    assert np.isnan(data.extra["bar_high"]).all()
    assert np.isfinite(data.extra["bar_value"]).all()
    assert data.facts["scale"].endswith("1 seed")
    module.ARTEFACT.draw(data)


@pytest.mark.parametrize("module", ALL)
def test_what_is_not_known_is_left_out(module, monkeypatch):
    unknown = ("gap_dpo", "gap_sft", "ideal_distance", "f_dpo_star", "f_sft_star", "scale_free_distance", "device")
    unknown += ("optima_cpu_seconds", "cpu_seconds", "optima_seconds")
    Study(monkeypatch, lambda row: {**row, **dict.fromkeys(unknown), "seconds": 1.0})
    monkeypatch.setattr(seeds, "paths", lambda _: [])
    data = data_of(module, scale="smoke")
    assert np.isnan(bar(data, {cost: "scale_free_distance"}.get(module, "ideal_distance"), "ALRIGHT")[0])
    assert [check.name for check in data.checks if not check.holds] == ["ends"]
    module.ARTEFACT.draw(data)


def broken(monkeypatch, change):
    Study(monkeypatch, change)
    return {check.name for check in data_of(fig3, scale="smoke").checks if not check.holds and check.must_hold}


def test_runs_that_are_wrong_break_a_check(monkeypatch):
    def first(row):
        return row["method"] == "Sequential" and row["seed"] == 1 and row["lam"] == 0.25

    assert broken(monkeypatch, lambda row: None if first(row) else row) == {"runs"}
    assert broken(monkeypatch, lambda row: row | {"ideal_distance": row["ideal_distance"] + 1e-6}) == {"hypot"}
    assert broken(monkeypatch, lambda row: row | {"steps_dpo": row["steps"] - row["steps_dpo"]}) == {"split"}
    assert broken(monkeypatch, lambda row: row | {"f_sft_star": 0.31} if first(row) else row) == {"start"}
    study = Study(monkeypatch)
    elsewhere = [
        line | {"f_sft": line["f_sft"] + 1e-6} for line in study.paths(fig3.parameters(Request(scale="smoke", seeds=2)))
    ]
    monkeypatch.setattr(seeds, "paths", lambda _: elsewhere)
    assert [c.name for c in data_of(fig3, scale="smoke").checks if not c.holds] == ["ends"]


def test_a_run_of_two_grids_counts_once_and_an_unfinished_one_not_at_all(monkeypatch):
    study = Study(monkeypatch)
    specs = fig1.parameters(Request(scale="smoke", seeds=2))["grids"]
    twice = {"grids": {**specs, "again": specs["all"]}}
    found = loss_space.find(twice)
    assert len(found.results) == 8
    assert len(found.paths) == 8 * 11
    lines = list(study.paths(twice))
    monkeypatch.setattr(seeds, "paths", lambda _: [*lines, lines[0] | {"run": "unfinished"}])
    assert len(loss_space.find(twice).paths) == 8 * 11


def test_a_mean_path_has_the_steps_that_all_seeds_have():
    line = {"method": "Mix", "lam": 0.5, "k": None, "f_sft": 1.0, "forward_tokens": 10, "ideal_distance": 2.0}
    lines = [line | {"seed": s, "step": t, "f_dpo": s + t} for s, t in ((1, 0), (2, 0), (1, 5), (2, 5), (1, 7))]
    means = loss_space.mean_paths(lines)
    assert [(row["step"], row["f_dpo"], row["k"]) for row in means] == [(0, 1.5, 0), (5, 6.5, 0)]


def test_swing_by_hand():
    places = {0: (9.0, 9.0), 4: (5.0, 1.0), 5: (1.0, 1.0), 8: (4.0, 5.0), 10: (4.0, 4.0)}
    lines = [{"step": t, "f_dpo": x, "f_sft": y} for t, (x, y) in places.items()]
    assert seeds.swing(lines) == pytest.approx((5.0 + 1.0) / 2)  # from step 5 on
    assert math.isnan(seeds.swing(lines[:1]))
    assert math.isnan(seeds.swing([]))


def test_figure_4_by_k(monkeypatch):
    Study(monkeypatch)
    data = data_of(fig4, scale="embedded")
    for k in (1, 75):
        distances = [math.hypot(*gaps("MAXRIGHT", 0.5, k, s)) for s in (1, 2, 3)]
        assert bar(data, "ideal_distance", "MAXRIGHT", k=k)[0] == pytest.approx(np.mean(distances))
    assert bar(data, "share_dpo", "MAXRIGHT", k=1)[0] == 0.5
    assert bar(data, "runtime", "Sequential")[0] == pytest.approx(0.1 * sweeps.STEPS["embedded"] * 1.04)
    # A straight way in ten equal parts: each is a tenth of the way.
    ways = [np.hypot(START["dpo"] - STAR["dpo"] - g, START["sft"] - STAR["sft"] - h) / 10
            for g, h in (gaps("ALRIGHT", 0.5, 0, s) for s in (1, 2, 3))]  # fmt: skip
    assert bar(data, "swing", "ALRIGHT")[0] == pytest.approx(np.mean(ways))
    axes = fig4.draw(data).axes
    assert [tick.get_text() for tick in axes[3].get_xticklabels()] == [f"{k}" for k in sweeps.KS["embedded"]]


def test_hypervolume_of_a_front_by_hand():
    start_star = {"f_dpo_start": 1.0, "f_sft_start": 1.0, "f_dpo_star": 0.0, "f_sft_star": 0.0}
    rows = [start_star | {"f_dpo": x, "f_sft": y} for x, y in ((0.5, 0.5), (0.25, 0.75), (2.0, 0.1))]
    assert cost.front_share(rows) == pytest.approx(0.25 + 0.25 * 0.25)
    assert cost.front_share([start_star | {"f_dpo": 2.0, "f_sft": 0.1}]) == 0.0
    assert math.isnan(cost.front_share([{"f_dpo": 0.5, "f_sft": 0.5}]))
    assert math.isnan(cost.front_share([rows[0] | {"f_sft_star": 1.0}]))


def test_runtime_with_and_without_the_optima(monkeypatch):
    Study(monkeypatch)
    data = data_of(cost, scale="smoke")
    own = np.mean([6.0 * SPEED["MAXRIGHT"] * (1 + 0.02 * s) for s in (1, 2)])
    assert bar(data, "own", "MAXRIGHT", "part")[0] == pytest.approx(own)
    assert bar(data, "without", "MAXRIGHT", "part")[0] == pytest.approx(own + 0.5)
    assert bar(data, "with", "MAXRIGHT", "part")[0] == pytest.approx(own + 4.5)
    assert data.facts["seconds_with_f*_MAXRIGHT"] == pytest.approx(own + 4.5)
    for method in ("Sequential", "Mix", "ALRIGHT"):  # which train without it
        assert bar(data, "with", method, "part") == bar(data, "without", method, "part")
    lams = loss_space.select(data.extra, "bar", quantity="scale_free_distance")["lam"]
    assert sorted(set(lams)) == [0.25, 0.75]  # and not the λ of the paths
    assert set(loss_space.select(data.extra, "path")["lam"]) == {0.5}
    assert np.nanmax(data.table["optima_cpu_seconds"]) == 4.0
    assert np.isfinite(data.table["optima_cpu_seconds"]).sum() == 8 + 16  # once a run


def test_bars_have_the_heights_of_the_data(monkeypatch):
    Study(monkeypatch)
    data = data_of(fig3, scale="smoke")
    axes = {ax.get_title(): ax for ax in fig3.ARTEFACT.draw(data).axes}
    assert len(axes) == 7
    (distance,) = (ax for title, ax in axes.items() if title.endswith("ideal distance"))
    wanted = [bar(data, "ideal_distance", m, lam=v)[0] for v in (0.25, 0.75) for m in loss_space.METHODS]
    assert [patch.get_height() for patch in distance.patches] == pytest.approx(wanted)
    assert len({patch.get_hatch() for patch in distance.patches}) == 4  # they differ in grey
    assert axes["(a) where they end"].get_ylabel() == r"$f_{\mathrm{DPO}}$"


def test_limits_show_all_values_and_a_part_of_long_intervals():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    draw_limits(ax, [1.0, 2.0], [-50.0, 50.0, math.nan])
    assert ax.get_ylim() == pytest.approx((0.0, 2.0 + 0.4 * 2.0 + 0.06 * 2.0))
    draw_limits(ax, [-1.0, 1.0], [-1.2, math.nan])
    low, high = ax.get_ylim()
    assert low == pytest.approx(-1.2 - 0.08)
    assert high == pytest.approx(1.0 + 0.12)
    draw_limits(ax, [math.nan], [math.nan])
    assert ax.get_ylim()[0] == 0.0


def test_an_axis_is_logarithmic_only_where_one_value_would_dwarf_the_others():
    from matplotlib.figure import Figure

    scales = {}
    for name, values in {"near": [0.2, 0.3, 0.9], "far": [0.2, 0.3, -4.0], "tiny": [0.001, 0.001, 0.09]}.items():
        ax = Figure().subplots()
        draw_far(ax, [*values, math.nan])
        scales[name] = ax.get_yscale()
    assert scales == {"near": "linear", "far": "symlog", "tiny": "linear"}


def test_a_figure_is_written_without_a_warning(monkeypatch):
    Study(monkeypatch)
    files = render(fig4.draw, data_of(fig4, scale="embedded"))
    assert files["png"][:4] == b"\x89PNG"
