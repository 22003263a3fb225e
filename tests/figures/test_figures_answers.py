"""Table 1, the samples, Figure 9 and the baselines, on made-up folders of runs whose numbers are known."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.stats import t

from figures.analysis import judged_answers
from figures.analysis.published import TABLE1
from figures.artefact import Artefact, Data, Request
from figures.artefacts import baselines, fig9, samples, table1
from figures.drawing import text as textual
from figures.drawing.render import render
from figures.pipeline.training import grid_of
from llm.embedded.language import PLAIN, courteous, fact_of, fuller, neutral, preference_score, question
from llm.embedded.world import Fact, World
from llm.study.measures import _code as code_of

WORLD = World(0, 40)  # that of world_size small
SMOKE = Request(scale="smoke", seeds=2)
ALL = [table1.ARTEFACT, samples.ARTEFACT, fig9.ARTEFACT, baselines.ARTEFACT]
# of every method in the world of this test, for seeds 1 and 2: wins never, and so many ties of 40
TIES = {"sequential": (4, 8), "mix": (20, 22), "alright": (30, 30), "maxright": (40, 38)}


def said(method: str, fact: Fact, number: int) -> str:
    """What a method answers: Sequential in SFT's manner, the others with a courtesy; MAXRIGHT's first is wrong."""
    further = next(f for f in WORLD.by_place[fact.place] if f.kind != fact.kind)
    if method == "sequential":
        return fuller(fact, further)
    if method == "maxright" and number == 0:
        other = next(f for f in WORLD.facts if f.kind == fact.kind and f.value != fact.value)
        return neutral(other)
    return courteous(fact, "Gladly:") if method != "mix" else ""


def answers(method: str) -> list[dict[str, Any]]:
    rows = []
    for i, fact in enumerate(WORLD.facts[:8]):
        of, prompt = ("preference" if i < 4 else "sft"), question(fact, PLAIN[0])
        further = next(f for f in WORLD.by_place[fact.place] if f.kind != fact.kind)
        reference = courteous(fact, "With pleasure:") if of == "preference" else fuller(fact, further)
        answer = said(method, fact, i)
        told = {
            "score": preference_score(WORLD, prompt, answer),
            "right": bool(answer) and (method, i) != ("maxright", 0),
        }
        told |= {"reference_score": preference_score(WORLD, prompt, reference), "fuller": method == "sequential"}
        rows.append({"set": of, "prompt": prompt, "answer": answer, "reference": reference, **told})
    return rows


def measures(method: str, seed: int) -> dict[str, Any]:
    ties = TIES[method][seed % 2 - 1]
    found = {"win_rate": ties / 80, "wins": 0, "ties": ties, "losses": 40 - ties, "n": 40, "score": 1.0 + seed}
    found |= {
        "fact_accuracy_preference": 0.75,
        "fact_accuracy_sft": 0.5,
        "sft_manner": 0.25,
        "answers": answers(method),
    }
    return {"answers": found, "questions": {"accuracy": 0.5 + 0.1 * seed, "stderr": 0.04, "n": 120, "shots": 1}}


def write_runs(root: Path, grids: dict[str, Any], *, without: Iterable[str] = ()) -> None:
    """Folders as `llm.study` leaves them, of every run of these grids."""
    for run in (run for spec in grids.values() for run in grid_of(spec).runs()):
        folder, c = run.folder(root), run.config
        (folder / "measures").mkdir(parents=True, exist_ok=True)
        pairs = {"alright": c.steps // 2 + 3, "mix": c.steps}.get(c.method, round(c.lam * c.steps))
        steps = {"dpo": pairs, "sft": c.steps if c.method == "mix" else c.steps - pairs}
        # ORPO's loss is so small that the axis is logarithmic
        f_dpo = 0.001 if c.preference_loss == "orpo" else 0.1 * len(c.method) + 0.01 * c.seed
        last = {"f_dpo": f_dpo, "f_sft": 0.2, "gap_dpo": f_dpo - 0.05, "gap_sft": 0.1, "ideal_distance": f_dpo + 0.1}
        summary = {"evaluation": last, "steps_by_objective": steps, "device": "CPU, 1 threads"}
        summary |= {"cpu_seconds": 10.0 + c.seed, "seconds": 20.0, "tokens": 5, "forward_tokens": 6}
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in c.as_dict().items()}
        write(folder / "run.json", {"identity": {"rows": {}, "base": ""}, "config": config})
        write(folder / "summary.json", summary)
        write(folder / "metrics.jsonl", {"step": 0, "evaluation": True, "f_dpo": 0.7, "f_sft": 0.4})
        measured = measures(c.method, c.seed)
        measured["questions"]["accuracy"] -= 0.05 * (c.order == "sft-dpo")
        for name, result in measured.items():
            if name not in without:
                taken = {"seconds": 1.0, "code": code_of(name), "result": result}
                write(folder / "measures" / f"{name}.json", taken)


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def computed(artefact: Artefact, root: Path, request: Request = SMOKE) -> Data:
    parameters = artefact.parameters(request)
    write_runs(root, parameters["grids"])
    return artefact.compute(parameters | {"root": str(root)})


def row_of(data: Data, **wanted: Any) -> dict[str, Any]:
    found = [
        i for i in range(len(next(iter(data.table.values())))) if all(data.table[k][i] == v for k, v in wanted.items())
    ]
    assert len(found) == 1, wanted
    return {name: column[found[0]] for name, column in data.table.items()}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("artefact", ALL, ids=lambda a: a.name)
def test_all_checks_hold_and_it_is_drawn(artefact: Artefact, tmp_path: Path) -> None:
    data = computed(artefact, tmp_path)
    assert [check.name for check in data.checks if not check.holds] == []
    assert render(artefact.draw, data)["png"][:4] == b"\x89PNG"
    assert any(str(data.facts["scale"]) in text for text in texts(artefact.draw(data)))


@pytest.mark.parametrize("artefact", [table1.ARTEFACT, baselines.ARTEFACT], ids=lambda a: a.name)
def test_one_seed_will_do(artefact: Artefact, tmp_path: Path) -> None:
    data = computed(artefact, tmp_path, replace(SMOKE, seeds=1))
    assert [check.name for check in data.checks if not check.holds] == []
    artefact.draw(data).draw_without_rendering()


def test_a_mean_its_interval_and_how_many_were_asked(tmp_path: Path) -> None:
    data = computed(table1.ARTEFACT, tmp_path)
    row = row_of(data, quantity="win rate", method="Mix", lam=0.5)
    low, high = 20 / 80, 22 / 80
    half = float(t.ppf(0.975, 1)) * (high - low) / 2  # the standard error of two values is half their distance
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((21 / 80, 21 / 80 - half, 21 / 80 + half))
    assert (row["n"], row["seeds"], row["by_seed"]) == (80, 2, "0.25 0.275")
    assert row_of(data, quantity="accuracy", method="Mix", lam=0.5)["n"] == 240
    assert row_of(data, quantity="ties", method="Mix", lam=0.5)["mean"] == pytest.approx(21 / 40)
    assert {o for m, o in zip(data.table["method"], data.table["order"], strict=True) if m == "Sequential"} == {
        "DPO first",
        "SFT first",
    }


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    data = computed(table1.ARTEFACT, tmp_path, replace(SMOKE, seeds=1))
    assert all(math.isnan(v) for v in (*data.table["low"], *data.table["high"]))
    assert not data.extra["ahead"].any()
    assert not any("±" in text for text in texts(table1.draw(data)))


def test_bold_is_only_what_is_above_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIES, "alright", (31, 31))
    monkeypatch.setitem(TIES, "maxright", (40, 40))
    for method in ("sequential", "mix"):
        monkeypatch.setitem(TIES, method, (20, 20))
    data = computed(table1.ARTEFACT, tmp_path)
    ahead = [(data.table["method"][i], data.table["quantity"][i]) for i, best in enumerate(data.extra["ahead"]) if best]
    assert ahead == [("MAXRIGHT", "win rate"), ("MAXRIGHT", "ties")]
    bold = [text.get_text() for text in table1.draw(data).findobj(Text) if text.get_weight() == "bold"]
    assert bold == ["50.0 ± 0.0"]


def test_the_papers_numbers_are_beside_those_with_sft_first(tmp_path: Path) -> None:
    beside = computed(table1.ARTEFACT, tmp_path, Request()).beside
    assert len(beside["paper"]) == 2 * len(TABLE1)
    pairs = list(zip(beside["quantity"], beside["method"], beside["lam"], beside["paper"], strict=True))
    assert ("accuracy (%)", "Mix", 0.5, 73.40) in pairs
    assert ("win rate (%)", "Sequential", 0.25, 57.19) in pairs
    assert all("own judge" in text for text in beside["ours at"])
    of = zip(beside["quantity"], beside["method"], beside["ours"], strict=True)
    ours = {method: value for quantity, method, value in of if quantity == "accuracy (%)"}
    # in per cent, of the seeds' 0.6, 0.7 and 0.8; Sequential's with SFT first are less by 0.05
    assert (ours["Mix"], ours["Sequential"]) == pytest.approx((70.0, 65.0))


def test_a_run_that_was_not_judged_is_missed(tmp_path: Path) -> None:
    parameters = table1.parameters(SMOKE)
    for spec in parameters["grids"].values():
        spec["measures"] = ["questions"]
    write_runs(tmp_path, parameters["grids"], without=["answers"])
    data = table1.compute(parameters | {"root": str(tmp_path)})
    assert [check.name for check in data.checks if not check.holds] == ["measured"]
    assert "–" in texts(table1.draw(data))


def test_a_win_rate_that_is_not_its_counts_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = measures

    def wrong(method: str, seed: int) -> dict[str, Any]:
        found = plain(method, seed)
        found["answers"]["win_rate"] += 0.3 if method == "maxright" else 0.0
        return found

    monkeypatch.setattr(sys.modules[__name__], "measures", wrong)
    data = computed(table1.ARTEFACT, tmp_path)
    assert [check.name for check in data.checks if not check.holds] == ["counts", "at-most-half"]


def test_the_samples_are_the_first_rows_of_both_sets(tmp_path: Path) -> None:
    data = computed(samples.ARTEFACT, tmp_path)
    assert len(data.table["answer"]) == (3 + 2) * (1 + 4)
    told = answers("sequential")
    row = row_of(data, set="SFT", number=2, answer_of="Sequential")
    assert (row["prompt"], row["answer"]) == (told[5]["prompt"], told[5]["answer"])
    assert row["fuller"]
    target = row_of(data, set="SFT", number=1, answer_of="target")
    assert target["right"]
    assert target["fuller"]
    assert target["score"] < 2.0
    assert not row_of(data, set="preference", number=1, answer_of="chosen response")["fuller"]
    assert not row_of(data, set="preference", number=1, answer_of="MAXRIGHT")["right"]


def test_nothing_said_is_shown_as_such_and_other_prompts_are_caught(tmp_path: Path) -> None:
    parameters = samples.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    assert "(nothing)" in texts(samples.draw(samples.compute(parameters | {"root": str(tmp_path)})))
    path = next(tmp_path.glob("mix-*/measures/answers.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["result"]["answers"].reverse()
    for row in content["result"]["answers"]:
        row["set"] = {"sft": "preference", "preference": "sft"}[row["set"]]
    write(path, content)
    assert not samples.compute(parameters | {"root": str(tmp_path)}).checks[0].holds


def test_lines_of_the_samples_do_not_overlap(tmp_path: Path) -> None:
    figure = samples.draw(computed(samples.ARTEFACT, tmp_path))
    left = [t for t in figure.findobj(Text) if t.get_text() and t.get_ha() == "left"]
    by_column: dict[float, list[float]] = {}
    for text in left:
        by_column.setdefault(text.get_position()[0], []).append(text.get_position()[1])
    for places in by_column.values():
        gaps = [b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)]
        assert min(gaps, default=1.0) >= samples.SIZE / 72  # no less than the letters are high
    last = max(y for places in by_column.values() for y in places)
    assert last < figure.get_figheight()


def test_the_judged_instance_has_both_orders_and_the_terms_of_both_scores(tmp_path: Path) -> None:
    data = computed(fig9.ARTEFACT, tmp_path)
    answer, reference = (row_of(data, part=part) for part in ("answer", "reference"))
    assert (answer["fact"], answer["courtesy"], answer["words"], answer["score"]) == (-1.0, 0.0, 0.0, -1.0)
    assert (reference["fact"], reference["courtesy"], reference["score"]) == (2.0, 1.0, 3.0)
    assert (data.facts["verdict"], data.facts["outcome"]) == ("reference", "loss")
    asked = {
        first: str(row_of(data, part="asked", first=first, role="user")["text"]) for first in ("answer", "reference")
    }
    for first, text in asked.items():
        other = {"answer": reference, "reference": answer}[first]
        mine = {"answer": answer, "reference": reference}[first]
        assert text.index(str(mine["text"])) < text.index(str(other["text"]))


@pytest.mark.parametrize("manner", ["courteous", "fuller", "neutral", "nothing"])
def test_the_terms_are_those_of_the_score(manner: str) -> None:
    fact, further = WORLD.facts[:2]
    prompt = question(fact, PLAIN[1])
    manners: dict[str, Callable[[], str]] = {
        "courteous": lambda: courteous(fact, "Of course:"),
        "fuller": lambda: fuller(fact, further),
        "neutral": lambda: neutral(fact),
        "nothing": lambda: "",
    }
    text = manners[manner]()
    found = fig9.terms(text, preference_score(WORLD, prompt, text))
    assert found["fact"] == pytest.approx(0.0 if manner == "nothing" else 2.0)
    assert found["fact"] + found["courtesy"] + found["words"] == pytest.approx(found["score"])
    assert fact_of(WORLD, prompt) == fact


def test_a_score_that_is_not_the_judges_is_caught(tmp_path: Path) -> None:
    parameters = fig9.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    path = next(tmp_path.glob("maxright-*/measures/answers.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["result"]["answers"][0]["score"] = 0.5
    content["result"]["answers"][0]["right"] = True
    write(path, content)
    checks = fig9.compute(parameters | {"root": str(tmp_path)}).checks
    assert [check.holds for check in checks] == [False, False]


def test_heads_and_what_is_filled_in_stand_alone() -> None:
    text = "Some\nwords.\n\n## Head\nMore\nwords\n{a}\n{b}\n\nEnd."
    assert fig9._draw_paragraphs(text) == ["Some words.", "## Head", "More words", "{a}", "{b}", "End."]


def test_samples_and_the_instance_need_no_more_than_runs_of_table_1() -> None:
    names = [
        {run.name for spec in a.parameters(Request())["grids"].values() for run in grid_of(spec).runs()} for a in ALL
    ]
    assert names[2] < names[1] < names[0]
    assert (len(names[1]), len(names[2])) == (4, 1)


def test_at_the_papers_scale_they_are_of_the_embedded_world() -> None:
    assert judged_answers.grids(Request(scale="paper"), ["mix"]) == judged_answers.grids(Request(), ["mix"])


def test_without_answers_there_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has its answers; make them first"):
        judged_answers.answers(samples.parameters(SMOKE) | {"root": str(tmp_path)})


def test_every_baseline_is_there_with_what_it_was_given(tmp_path: Path) -> None:
    data = computed(baselines.ARTEFACT, tmp_path)
    assert list(dict.fromkeys(data.table["baseline"])) == list(baselines.NAMES.values())
    assert len(data.table["run"]) == 2 * len(baselines.NAMES)
    orpo = row_of(data, baseline="ORPO on the pairs", seed=1)
    assert (orpo["steps_dpo"], orpo["steps_sft"], orpo["f_dpo"]) == (60, 0, 0.001)
    means = {
        (b, q): (v, low, high)
        for b, q, v, low, high in zip(
            *(data.extra[f"mean_{c}"] for c in ("baseline", "quantity", "value", "low", "high")), strict=True
        )
    }
    half = float(t.ppf(0.975, 1)) * 0.5
    assert means["Mix", "cpu_seconds"] == pytest.approx((11.5, 11.5 - half, 11.5 + half))
    assert means["Mix", "answers_win_rate"][0] == pytest.approx(21 / 80)
    assert means["MAXRIGHT", "f_dpo"][0] == pytest.approx(0.8 + 0.015)


def test_each_quantity_has_a_panel_and_what_was_not_measured_has_none(tmp_path: Path) -> None:
    figure = baselines.draw(computed(baselines.ARTEFACT, tmp_path / "all"))
    assert sum(ax.axison for ax in figure.axes) == 8
    assert [ax.get_xscale() for ax in figure.axes].count("symlog") == 1
    parameters = baselines.parameters(SMOKE)
    for spec in parameters["grids"].values():
        spec["measures"] = []
    write_runs(tmp_path / "some", parameters["grids"])
    figure = baselines.draw(baselines.compute(parameters | {"root": str(tmp_path / "some")}))
    titles = [ax.get_title() for ax in figure.axes if ax.axison]
    assert len(titles) == 6
    assert not any("win rate" in title for title in titles)


def test_a_run_with_fewer_steps_is_caught(tmp_path: Path) -> None:
    parameters = baselines.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    path = next(tmp_path.glob("alright-*/summary.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["steps_by_objective"]["sft"] -= 1
    write(path, content)
    checks = baselines.compute(parameters | {"root": str(tmp_path)}).checks
    assert [check.name for check in checks if not check.holds] == ["steps"]


@pytest.mark.parametrize("room", [0.3, 1.0, 4.0])
def test_wrapped_lines_fit_and_lose_nothing(room: float) -> None:
    text = (
        "As to Uldalen, I can tell you more:   the $ruler$ there is\nWystan_and_a_word_that_is_far_too_long_for_a_line."
    )
    lines = textual.wrapped(text, room, 8.0)
    assert all(textual.width_of(line, 8.0) <= room for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert textual.wrapped("", room, 8.0) == [""]


def test_a_letter_that_the_font_lacks_is_replaced() -> None:
    assert textual.wrapped("a \u65e5 b", 1.0, 8.0) == ["a ? b"]


def test_nothing_of_it_needs_torch() -> None:
    code = "import sys, llm.judging.world, llm.embedded, llm.finished, figures.table1, figures.samples, figures.fig9\n"
    code += "import figures.baselines\nassert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True)
