"""The real model's figure: on made-up folders of runs, and from the recorded results."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.run_folders import texts, write

from figures.analysis import real_sweeps, recorded_runs, sweeps
from figures.artefact import Data, Request
from figures.artefacts import real
from figures.drawing.real import draw
from figures.pipeline.paths import grid_of
from figures.recorded import real as record
from figures.recorded import real_tables
from figures.recorded.real import ends, rows_of
from figures.recorded.real_figures import REAL, is_last
from llm.study.measures import measure_digest as code_of

pytestmark = pytest.mark.usefixtures("present_code")

REQUEST = Request(scale="real", seeds=2)
# exact match by method and order, without the part that depends on the seed
SKILL = {
    ("sequential", "sft-dpo"): 0.1, ("sequential", "dpo-sft"): 0.8, ("replay", "sft-dpo"): 0.5,
    ("mix", ""): 0.9, ("alright", ""): 0.6, ("maxright", ""): 0.7,
}  # fmt: skip


def made(root: Path, request: Request = REQUEST) -> Data:
    """Return the figure's data of made-up runs with known ends, as far from ln 2 before training as real ones."""
    parameters = real.parameters(request)
    for run in (run for spec in parameters["grids"].values() for run in grid_of(spec).runs()):
        folder, c = run.folder(root), run.config
        (folder / "measures").mkdir(parents=True, exist_ok=True)
        half, both = c.steps // 2, c.method == "mix"
        steps = {"dpo": c.steps if both else half, "sft": c.steps if both else half}
        first = {"f_dpo": math.log(2.0) if c.reference == "base" else 1.085, "f_sft": 3.0, "rewards/accuracies": 0.0}
        last = {"f_dpo": 0.6 + 0.01 * c.seed, "f_sft": 0.5, "rewards/accuracies": 0.6 if c.order == "sft-dpo" else 0.4}
        if c.f_star == "compute":
            last |= {"f_dpo": last["f_dpo"] + 0.1, "gap_dpo": 0.1 * c.seed, "gap_sft": 0.2, "ideal_distance": 0.3}
        is_reference = c.reference == "sft" and c.reference_steps == half and c.order == "sft-dpo"
        middle = last | ({"f_dpo": math.log(2.0)} if is_reference else {})
        lines = [{"step": s, "evaluation": "held_out", **v} for s, v in ((0, first), (half, middle), (c.steps, last))]
        summary = {"evaluation": last, "steps_by_objective": steps, "device": "CPU, 1 threads", "cpu_seconds": 7.0}
        summary["versions"] = {"torch": "9"}
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in c.as_dict().items()}
        write(folder / "run.json", {"fingerprint": {"rows": {}, "base": ""}, "config": config})
        write(folder / "summary.json", summary)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        order = c.order if c.method in ("sequential", "replay") else ""
        result = {"exact_match": SKILL[c.method, order] + 0.01 * c.seed, "n": 100}
        write(folder / "measures/skill.json", {"seconds": 1.0, "code": code_of("skill"), "result": result})
    return real.compute(parameters | {"root": str(root)})


def from_base(root: Path, pattern: str) -> Path:
    """Return the folder of a run whose reference is the base, with estimated optima if it needs any."""
    configs = {p.parent: json.loads(p.read_text(encoding="utf-8"))["config"] for p in root.glob(f"{pattern}/run.json")}
    return next(f for f, c in configs.items() if (c["reference"], c["f_star"]) == ("base", "estimate"))


@pytest.mark.slow
def test_every_label_has_its_runs_and_means(tmp_path: Path) -> None:
    data = made(tmp_path)
    labels = list(dict.fromkeys(data.table["label"]))
    assert labels == [
        "Sequential, SFT first", "Sequential, DPO first", "Replay 1%, SFT first", "Replay 5%, SFT first",
        "Replay 20%, SFT first", "Mix", "ALRIGHT", "MAXRIGHT",
        "Mix, λ = 0.25", "ALRIGHT, λ = 0.25", "MAXRIGHT, λ = 0.25",
        "Mix, λ = 0.75", "ALRIGHT, λ = 0.75", "MAXRIGHT, λ = 0.75",
        "Sequential, SFT first, SFT reference", "ALRIGHT, SFT reference", "MAXRIGHT, SFT reference",
        "MAXRIGHT, computed f*", "MAXRIGHT, computed f*, SFT reference",
    ]  # fmt: skip
    assert len(data.table["label"]) == 19 * 2 * 3  # labels, seeds, evaluations
    value = {
        (label, quantity): mean
        for label, quantity, mean in zip(
            *(data.extra[f"mean_{c}"] for c in ("label", "quantity", "value")), strict=True
        )
    }
    assert value["Sequential, SFT first", "skill_exact_match"] == pytest.approx(0.1 + 0.025)  # seeds 2 and 3
    assert value["Replay 5%, SFT first", "skill_exact_match"] == pytest.approx(0.525)
    assert value["Mix", "f_dpo"] == pytest.approx(0.625)
    assert all(check.holds for check in data.checks if check.must_hold)
    claims = {check.name: check for check in data.checks if check.verdict}
    kept = claims["skill-exact-match/alright-sequential-sft-first"]
    assert kept.attained == pytest.approx(0.5)
    assert kept.verdict == "seen"
    assert claims["accuracy/alright-sequential-dpo-first"].attained == pytest.approx(0.0)


@pytest.mark.slow
def test_the_figure_has_four_panels_with_every_label(tmp_path: Path) -> None:
    figure = draw(made(tmp_path))
    assert len(figure.axes) == 4
    assert [len(ax.get_lines()) for ax in figure.axes[:2]] == [8, 8]  # the paths of λ = 1/2 alone
    assert {"Mix", "Replay 20%, SFT first", "(c) skill: exact answers"} <= set(texts(figure))


@pytest.mark.slow
def test_finished_runs_are_recorded_though_some_are_missing(tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "results" / "real"
    data = made(out / "runs" / "0123456789ab")
    for path in (out / "runs").glob("*/mix-lam0.5-*/summary.json"):
        path.unlink()
    [line] = record.write(folder.parent, out)
    assert line == "real: 36 of 38 runs of seeds 2, 3; missing: Mix (seeds 2, 3)"
    described = recorded_runs.described(folder)
    assert (described["seeds"], described["runs"], described["training_code"]) == ([2, 3], 36, "0123456789ab")
    assert described["missing"] == {"Mix": [2, 3]}
    assert {role: described["sets"][role] for role in ("sft", "preference")} == {
        "sft": {"name": "skill"}, "preference": {"name": "Dahoas/rm-hh-rlhf"},
    }  # fmt: skip
    rows, facts = recorded_runs.read(folder)
    assert facts["scale"] == "SmolLM2-135M-Instruct, 120 steps, 2 seeds"
    assert set(rows["label"]) == set(data.table["label"]) - {"Mix"}
    found = {row["label"]: row["skill_exact_match"] for row in record.ends(rows_of(folder / recorded_runs.TABLE))}
    assert found["ALRIGHT"] == pytest.approx(0.625)
    with pytest.raises(FileNotFoundError, match="no finished run of the real model"):
        record.write(folder.parent, tmp_path / "empty")


@pytest.mark.slow
def test_the_recorded_command_names_the_precision(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "0123456789ab", Request(scale="real", seeds=1, precision="bf16"))
    record.write(tmp_path / "results", tmp_path)
    described = recorded_runs.described(tmp_path / "results" / "real")
    assert described["command"] == (
        "python paper_repro.py real --scale real --seeds 1 --preference FILE --precision bf16"
    )
    assert (described["facts"]["precision"], described["facts"]["reference"]) == ("bf16", "base")


@pytest.mark.slow
def test_runs_that_all_have_the_sft_reference_are_recorded_with_it(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "0123456789ab", Request(scale="real", seeds=1, reference="sft"))
    [line] = record.write(tmp_path / "results", tmp_path)
    assert line == "real: 15 of 15 runs of seed 2"
    described = recorded_runs.described(tmp_path / "results" / "real")
    assert described["command"] == "python paper_repro.py real --scale real --seeds 1 --preference FILE --reference sft"


def test_runs_with_the_sft_reference_alone_are_of_the_figure_with_both() -> None:
    """Its runs name their reference's steps; those of `--reference sft` have as many as the run itself."""
    spec = real.parameters(Request(scale="real"))["grids"]["joint, SFT reference"]
    configs = [run.config.as_dict() for run in grid_of(spec).runs()]
    assert REAL.request(configs).reference == ""
    given = next(iter(real.parameters(Request(scale="real", reference="sft"))["grids"].values()))
    assert REAL.request([run.config.as_dict() for run in grid_of(given).runs()]).reference == "sft"


@pytest.mark.slow
def test_several_seeds_are_recorded_of_which_some_runs_are_unfinished(tmp_path: Path) -> None:
    """Of seed 3 MAXRIGHT is begun only, Replay 1% has no measure of its skill, and ALRIGHT is not there at all."""
    root, folder = tmp_path / "runs" / "0123456789ab", tmp_path / "results" / "real"
    made(root)
    stopped = from_base(root, "maxright-lam0.5-*-seed3-*")
    (stopped / "summary.json").unlink()
    begun = stopped / "metrics.jsonl"
    begun.write_text("".join(begun.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    shares = {json.loads(p.read_text())["config"]["replay"]: p.parent for p in root.glob("replay-*-seed3-*/run.json")}
    (shares[0.01] / "measures/skill.json").unlink()
    shutil.rmtree(from_base(root, "alright-lam0.5-*seed3-*"))
    [line] = record.write(folder.parent, root)  # the folder of one training code itself
    assert line == (
        "real: 35 of 38 runs of seeds 2, 3; missing: Replay 1%, SFT first (seed 3), ALRIGHT (seed 3), MAXRIGHT (seed 3)"
    )
    rows = rows_of(folder / recorded_runs.TABLE)
    assert {row["seed"] for row in rows if row["label"] == "ALRIGHT"} == {"2"}
    found = {row["label"]: row for row in ends(rows)}
    assert (found["ALRIGHT"]["seeds"], found["Mix"]["seeds"]) == (1, 2)
    assert found["ALRIGHT"]["skill_exact_match"] == pytest.approx(0.6 + 0.02)
    assert found["Mix"]["skill_exact_match"] == pytest.approx(0.9 + 0.025)
    text = real_tables.runs({"real": {**recorded_runs.described(folder), "rows": ends(rows)}})
    assert "| ALRIGHT (1 of 2 seeds) | 0.62 |" in text
    assert "| Mix | 0.93 |" in text
    assert "| Mix, λ = 0.25 | 0.93 |" in text
    usual = real_tables.runs({"real": {**recorded_runs.described(folder), "rows": ends(rows)}}, usual=True)
    assert "| λ = ½ | skill: exact answers |" in usual
    assert "| Mix | 0.93 |" in usual
    assert "λ = 0.25" not in usual
    assert "SFT reference" not in usual
    assert "Not finished: Replay 1%, SFT first (seed 3), ALRIGHT (seed 3), MAXRIGHT (seed 3)." in text


@pytest.mark.slow
def test_runs_with_computed_optima_are_beside_those_with_estimated_ones(tmp_path: Path) -> None:
    root, folder = tmp_path / "runs" / "0123456789ab", tmp_path / "results" / "real"
    made(root)
    shutil.rmtree(from_base(root, "maxright-lam0.5-*seed3-*"))
    record.write(folder.parent, root)
    rows = rows_of(folder / recorded_runs.TABLE)
    text = real_tables.optima({"real": {"ends": list(filter(is_last, rows))}})
    assert text.splitlines()[2:] == [  # of seed 3 there is no run beside that with the base as reference
        "| base | 2 | 0.52 | 0.30 | 60, 60 | 0.62, 0.72 | 0.50, 0.50 | 0.72, 0.72 |",
        "| sft | 2 | 0.52 | 0.30 | 60, 60 | 0.62, 0.72 | 0.50, 0.50 | 0.72, 0.72 |",
        "| sft | 3 | 0.43 | 0.30 | 60, 60 | 0.63, 0.73 | 0.50, 0.50 | 0.73, 0.73 |",
    ]
    assert real_tables.optima({}) == real_tables.NOTHING
    assert {row["f_sft_star"] for row in rows if row["label"] == "MAXRIGHT"} == {"nan"}


@pytest.mark.slow
def test_the_figure_of_unfinished_seeds_has_the_claims_of_the_shared_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, folder = tmp_path / "0123456789ab", tmp_path / "results" / "real"
    made(root)
    shutil.rmtree(from_base(root, "alright-lam0.5-*seed3-*"))
    record.write(folder.parent, root)
    monkeypatch.setattr(real, "FOLDER", folder)
    data = real.compute({"recorded": recorded_runs.digests(folder)})
    assert all(check.holds for check in data.checks if check.must_hold)
    claims = {check.name: check for check in data.checks if check.verdict}
    one, two = (claims[f"skill-exact-match/{m}-sequential-sft-first"] for m in ("alright", "maxright"))
    assert (one.verdict, two.verdict) == ("mixed", "seen")
    assert "[1 seeds]" in one.statement
    assert two.attained == pytest.approx(0.6)
    draw(data)


@pytest.mark.slow
def test_runs_of_two_codes_of_two_sets_or_of_other_settings_are_refused(
    tmp_path: Path, present_code: Callable[[str], None]
) -> None:
    results = tmp_path / "results"
    made(tmp_path / "runs" / "aaaaaaaaaaaa")
    made(tmp_path / "runs" / "bbbbbbbbbbbb")
    with pytest.raises(ValueError, match=r"has runs of 2 training codes; give one of these folders: .*aaa.*bbb"):
        record.write(results, tmp_path)
    root = tmp_path / "runs" / "aaaaaaaaaaaa"
    present_code(root.name)
    assert record.write(results, root) == ["real: 38 of 38 runs of seeds 2, 3"]
    path = next(root.glob("mix-*/run.json"))
    text = path.read_text(encoding="utf-8")
    beside = root / "sequential-of-tasks"  # a run on other objectives, as the artefact `tasks` makes them
    beside.mkdir()
    config = json.loads(text)["config"] | {"sft": "embedded", "objective": ["a=sft:skill", "b=sft:b.jsonl"]}
    (beside / "run.json").write_text(json.dumps({"config": config}), encoding="utf-8")
    assert record.write(results, root) == ["real: 38 of 38 runs of seeds 2, 3"]
    path.write_text(text.replace("Dahoas/rm-hh-rlhf", "pairs.jsonl"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"are of several settings, skill, rm-hh-rlhf, fp32; skill, pairs.jsonl"):
        record.write(results, root)
    path.write_text(text, encoding="utf-8")
    for run in list(root.glob("*/run.json")):
        run.parent.rename(run.parent.with_name(f"{run.parent.name}0"))  # as if options had been added since
    with pytest.raises(ValueError, match="are not those of this code"):
        record.write(results, root)
    present_code("bbbbbbbbbbbb")
    for path in (tmp_path / "runs" / "bbbbbbbbbbbb").glob("*/summary.json"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="is finished; the command that began them resumes"):
        record.write(results, tmp_path / "runs" / "bbbbbbbbbbbb")


@pytest.mark.slow
def test_a_missing_run_and_another_start_are_caught(tmp_path: Path) -> None:
    made(tmp_path)
    next(tmp_path.glob("mix-*/summary.json")).unlink()
    path = from_base(tmp_path, "alright-*") / "metrics.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("0.69314", "0.69414", 1), encoding="utf-8")
    assert failing(tmp_path) == ["runs", "start"]


def failing(root: Path, request: Request = REQUEST) -> list[str]:
    """Return the names of the checks that must hold and do not, for runs in a folder."""
    checks = real.compute(real.parameters(request) | {"root": str(root)}).checks
    return [check.name for check in checks if check.must_hold and not check.holds]


@pytest.mark.slow
def test_a_run_with_the_sft_reference_is_its_reference_after_the_sft_stage(tmp_path: Path) -> None:
    data = made(tmp_path)
    assert {"start", "reference"} <= {check.name for check in data.checks}
    assert failing(tmp_path) == []
    paths = [path.parent for path in tmp_path.glob("sequential-*sft-dpo*/run.json")]
    own = next(f for f in paths if json.loads((f / "run.json").read_text())["config"]["reference"] == "sft")
    text = (own / "metrics.jsonl").read_text(encoding="utf-8")
    (own / "metrics.jsonl").write_text(text.replace("0.69314", "0.69414", 1), encoding="utf-8")
    assert failing(tmp_path) == ["reference"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"reference": "sft"}, {"precision": "bf16"}])
def test_runs_with_one_reference_or_in_bf16_need_not_start_at_ln_2(tmp_path: Path, changes: dict[str, Any]) -> None:
    request = dataclasses.replace(REQUEST, **changes)
    made(tmp_path, request)
    for path in tmp_path.glob("*/metrics.jsonl"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("0.69314", "0.69414"), encoding="utf-8")
    assert failing(tmp_path, request) == []


def test_the_recorded_table_gives_the_same_figure_without_runs() -> None:
    data = real.compute(real.parameters(Request()))
    assert data.facts["recorded"] is True
    assert all(check.holds for check in data.checks if check.must_hold)
    recorded = {row["label"]: row for row in ends(rows_of(recorded_runs.FOLDER / recorded_runs.TABLE))}
    for label, quantity, mean in zip(*(data.extra[f"mean_{c}"] for c in ("label", "quantity", "value")), strict=True):
        if quantity in recorded[label]:
            assert mean == pytest.approx(recorded[label][quantity])
    assert len(draw(data).axes) == 4


def test_recorded_results_hold_numbers_and_no_place_of_a_machine() -> None:
    for name in recorded_runs.digests():
        text = (recorded_runs.FOLDER / name).read_text(encoding="utf-8")
        assert not any(word in text for word in ("/tmp", "/home", "/root", "/work", "C:\\"))
    facts: dict[str, Any] = recorded_runs.read()[1]
    assert facts["scale"].startswith("SmolLM2-135M-Instruct")


def test_without_recorded_results_the_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python paper_repro.py real --scale real"):
        recorded_runs.digests(tmp_path / "real")


def test_the_users_sets_replace_the_defaults() -> None:
    spec = real_sweeps.real(Request(scale="real", sft="mine.jsonl", preference="pairs.jsonl"))["joint"]
    assert (spec["options"]["sft"], spec["options"]["preference"]) == ("mine.jsonl", "pairs.jsonl")
    assert spec["options"]["sft_rows"] == 0
    assert spec["measures"] == []
    assert real_sweeps.real(Request(scale="real"))["joint"]["measures"] == ["skill"]


def test_the_joint_methods_are_trained_with_every_lambda_and_labelled_by_it() -> None:
    runs = {
        (real_sweeps.real_label(name, method), run.config.lam)
        for name, spec in real_sweeps.real(Request(scale="real")).items()
        for method in spec["methods"]
        for run in grid_of({**spec, "methods": [method]}).runs()
    }
    others = ("Sequential", "Replay"), ("reference", "computed")
    joint = {one for one in runs if not one[0].startswith(others[0]) and not any(word in one[0] for word in others[1])}
    assert joint == {
        (f"{method}{label}", lam)
        for method in ("mix", "alright", "maxright")
        for lam, label in ((0.25, ", λ = 0.25"), (0.5, ""), (0.75, ", λ = 0.75"))
    }
    assert {lam for _, lam in runs - joint} == {0.5}


def test_seeds_of_the_real_model_are_not_the_one_that_its_settings_were_chosen_on() -> None:
    assert sweeps.seeds(Request(scale="real")) == [2, 3, 4]
    assert np.all(np.array(sweeps.seeds(Request(scale="real", seeds=5, seed=1))) > 1)
