"""Made-up folders of finished runs with answers and questions whose numbers are known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from figures.artefact import Artefact, Data, Request
from figures.pipeline.paths import grid_of
from llm.embedded.language import PLAIN, courteous, fuller, neutral, preference_score, question
from llm.embedded.world import Fact, World
from llm.study.measures import measure_digest as code_of

WORLD = World(0, 40)  # that of world_size small
SMOKE = Request(scale="smoke", seeds=2)
# number of ties of every method for seeds 1 and 2, of 40 answers; no answer wins
TIES = {"sequential": (4, 8), "mix": (20, 22), "alright": (30, 30), "maxright": (40, 38), "replay": (12, 14)}


def answer_of(method: str, fact: Fact, number: int) -> str:
    """Return a method's answer: Sequential's in SFT's style, others with a courtesy; MAXRIGHT's first is wrong."""
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
        answer = answer_of(method, fact, i)
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
    """Write the folder of every run of these grids in the layout of `llm.study`."""
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
        write(folder / "run.json", {"fingerprint": {"rows": {}, "base": ""}, "config": config})
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
