"""Cosines before training and along a run: against plain gradients, known signs, records, options, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import Result, TrainConfig, train  # noqa: E402
from llm.data.formats import load  # noqa: E402
from llm.data.tokenization import tokenize  # noqa: E402
from llm.evaluation.cosine import CosineConfig, cosine, measure, table  # noqa: E402

MEMORY: dict[str, Any] = {"sft": tiny.sft_rows(16), "preference": tiny.preference_rows(16)}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run that keeps adapters."""
    folder = tmp_path_factory.mktemp("cosine")
    more = {"lora_rank": 2, "keep_every": 2, "steps": 6, "method": "mix", "beta": 0.3, "template": "none"}
    return {**door.place(folder), **more}


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """Return the finished run."""
    return train(TrainConfig(**options), quiet=True)


def start(options: dict[str, Any], **changes: Any) -> CosineConfig:
    """Return the options of a measurement before training."""
    values = {k: v for k, v in options.items() if k not in ("out", "keep_every")}
    return CosineConfig(**{**values, "groups": 4, **changes})


def plain_gradients(folder: Path, beta: float) -> tuple[list[float], list[np.ndarray]]:
    """Return values and gradients of f_DPO and f_SFT on all rows of the sets, by PEFT and transformers alone."""
    from peft import PeftModel

    base = tiny.model()
    model = PeftModel.from_pretrained(base, str(folder), is_trainable=True).eval()
    weights = [p for p in model.parameters() if p.requires_grad]

    def logp(prompt: Any, response: Any) -> Any:
        ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
        logits = model(input_ids=ids).logits[0].double().log_softmax(-1)
        at = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
        return logits[at, ids[0, at + 1]].sum()

    pairs = tokenize(load(tiny.preference_rows(), kind="preference"), tiny.tokenizer(), template="none")
    rows = tokenize(load(tiny.sft_rows(), kind="sft"), tiny.tokenizer(), template="none")
    margins = []
    for prompt, (chosen, rejected) in zip(pairs.prompts, pairs.responses, strict=True):
        with model.disable_adapter(), torch.no_grad():
            reference = logp(prompt, chosen) - logp(prompt, rejected)
        margins.append(beta * (logp(prompt, chosen) - logp(prompt, rejected) - reference))
    f_dpo = -torch.nn.functional.logsigmoid(torch.stack(margins)).mean()
    tokens = sum(len(response) for (response,) in rows.responses)
    f_sft = -torch.stack([logp(p, r) for p, (r,) in zip(rows.prompts, rows.responses, strict=True)]).sum() / tokens
    gradients = [torch.autograd.grad(f, weights) for f in (f_dpo, f_sft)]
    flat = [torch.cat([g.reshape(-1) for g in own]).double().numpy() for own in gradients]
    return [float(f_dpo.detach()), float(f_sft.detach())], flat


@pytest.mark.oracle
@pytest.mark.slow
def test_plain_cosines_of_all_rows_are_those_of_peft_and_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    mine = {**options, "held_out": 0.0, "eval_every": 0, "reference": "base", "out": str(tmp_path / "run")}
    folder = train(TrainConfig(**mine), quiet=True).folder
    found = cosine(CosineConfig(run=str(folder), part="train", rows=0, groups=4), quiet=True)
    assert [p["step"] for p in found["points"]] == [0, 2, 4, 6]
    for point, where in ((found["points"][0], "kept/step-000000"), (found["points"][-1], ".")):
        values, (dpo, sft) = plain_gradients(folder / where, beta=0.3)
        assert [point["values"][name] for name in ("dpo", "sft")] == pytest.approx(values, rel=1e-4)
        raw = dpo @ sft / (np.linalg.norm(dpo) * np.linalg.norm(sft))
        assert point["raw"][0][1] == pytest.approx(raw, abs=1e-3)
        for name, gradient in (("dpo", dpo), ("sft", sft)):
            if point["norms"][name] is not None:  # norm² = (1 - noise) ‖mean‖²
                whole = point["norms"][name] / np.sqrt(1.0 - point["noise"][name])
                assert whole == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-3)


@pytest.mark.slow
def test_along_a_run(run: Result, tmp_path: Path) -> None:
    out = tmp_path / "there" / "c.json"
    found = cosine(CosineConfig(run=str(run.folder), groups=3, out=str(out)), quiet=True)
    assert json.loads(out.read_text(encoding="utf-8")) == found
    points = found["points"]
    assert [p["step"] for p in points] == [0, 2, 4, 6]
    assert [p["part"] for p in points] == ["train", "held_out", "held_out", "held_out"]
    assert found["names"] == ["dpo", "sft"]
    assert points[0]["values"]["dpo"] == pytest.approx(np.log(2.0), rel=1e-5)
    evaluated = run.summary["evaluation"]
    for name in ("dpo", "sft"):  # all held-out rows, as in the run's last evaluation
        assert points[-1]["values"][name] == pytest.approx(evaluated[f"f_{name}"], rel=1e-4)
    for p in points:
        assert p["cosines"] == [list(column) for column in zip(*p["cosines"], strict=True)]
        assert abs(p["raw"][0][1]) <= 1.0
    assert (found["dpo_sft_start"], found["dpo_sft_end"]) == (points[0]["cosines"][0][1], points[-1]["cosines"][0][1])
    few = cosine(CosineConfig(run=str(run.folder), groups=3, points=2), quiet=True)
    assert few["points"] == [points[0], points[-1]]
    by_default = measure(run.folder)
    assert [p["step"] for p in by_default["points"]] == [0, 2, 4, 6]
    assert by_default["points"][0]["groups"] == 8
    assert by_default["points"][1]["groups"] == min(by_default["points"][1]["rows"].values()) < 8


@pytest.mark.slow
def test_before_training_is_the_start_of_the_run(run: Result, options: dict[str, Any]) -> None:
    before = cosine(start(options, groups=3), quiet=True)
    along = cosine(CosineConfig(run=str(run.folder), groups=3, points=1), quiet=True)
    assert before["points"] == along["points"]
    rows = before["points"][0]["rows"]
    assert set(rows) == {"dpo", "sft"}
    assert cosine(TrainConfig(**options), quiet=True) == cosine(start(options, groups=8), quiet=True)
    fewer = cosine(start(options, groups=3, rows=6), quiet=True)
    assert fewer["points"][0]["rows"] == {"dpo": 6, "sft": 6}


@pytest.mark.slow
def test_chosen_responses_for_rejected_ones_turn_the_gradient_round(options: dict[str, Any]) -> None:
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in MEMORY["preference"]]
    memory = {"model": tiny.model(), "tokenizer": tiny.tokenizer(), **MEMORY}
    asked = start(options, model="tiny", reference="base", held_out=0.0)
    ours = cosine(asked, quiet=True, **memory)["points"][0]
    theirs = cosine(asked, quiet=True, **{**memory, "preference": turned})["points"][0]
    assert abs(ours["raw"][0][1]) > 1e-3
    assert theirs["raw"][0][1] == pytest.approx(-ours["raw"][0][1], abs=1e-4)
    assert theirs["noise"] == pytest.approx(ours["noise"], rel=1e-3)


@pytest.mark.slow
def test_pairs_that_reject_what_sft_teaches_conflict_and_pairs_that_choose_it_agree(options: dict[str, Any]) -> None:
    """The rows are one row many times over, so that there is no noise, and the sign is known."""
    taught, other = "bax dex gos", "kur"
    sft = [{"prompt": "lat", "completion": taught}] * 8
    memory = {"model": tiny.model(), "tokenizer": tiny.tokenizer(), "sft": sft}
    asked = start(options, model="tiny", reference="base", held_out=0.0)
    for chosen, rejected, sign in ((other, taught, -1.0), (taught, other, 1.0)):
        pairs = [{"prompt": "lat", "chosen": chosen, "rejected": rejected}] * 8
        found = cosine(asked, quiet=True, **memory, preference=pairs)
        assert sign * found["dpo_sft_start"] > 0.1
        assert found["dpo_sft_start_error"] == pytest.approx(0.0, abs=1e-4)
        assert found["points"][0]["noise"]["dpo"] == pytest.approx(0.0, abs=1e-4)
        assert (" conflict: " in table(found), " agree: " in table(found)) == (sign < 0, sign > 0)


@pytest.mark.slow
def test_three_objectives_have_a_matrix_with_names(options: dict[str, Any]) -> None:
    short_form = ("sft", "preference", "beta", "batch_sft", "batch_preference", "method")
    own = {k: v for k, v in options.items() if k not in short_form}
    objective = ("a=sft:m", "b=preference:m", "c=sft:m", "batch=2")
    rows = {"a": MEMORY["sft"], "b": MEMORY["preference"], "c": MEMORY["sft"]}
    memory = {"model": tiny.model(), "tokenizer": tiny.tokenizer(), "rows": rows}
    asked = start({**own, "model": "tiny"}, objective=objective, batch_sft=2, batch_preference=2)
    found = cosine(asked, quiet=True, **memory)
    (point,) = found["points"]
    assert found["names"] == ["a", "b", "c"]
    assert np.shape(point["cosines"]) == np.shape(point["errors"]) == np.shape(point["raw"]) == (3, 3)
    assert point["cosines"][0][2] == pytest.approx(1.0)  # a and c have the same rows
    assert found["a_c_start"] == point["cosines"][0][2]
    assert found["a_b_start"] == pytest.approx(found["b_c_start"])
    assert sum(line.startswith("       0") for line in table(found).splitlines()) == 3 + 3


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"rows": -1}, "rows: must be at least 0, got -1"),
        ({"rows": 2}, "rows: must be 0, or at least 3, got 2"),
        ({"groups": 2}, "groups: must be at least 3, got 2"),
        ({"points": 0}, "points: must be at least 1, got 0"),
        ({"part": "test"}, "part: must be one of auto, train, held_out, got test"),
        ({"out": "c.txt"}, "out: must be a .json file, got c.txt"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=f"^{shown}$"):
        CosineConfig(**wrong)


@pytest.mark.slow
def test_wrong_runs_and_rows(run: Result, options: dict[str, Any], tmp_path: Path) -> None:
    def error(config: CosineConfig, **given: Any) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            cosine(config, quiet=True, **given)
        return str(caught.value)

    def trained(name: str, **changes: Any) -> str:
        own = {**options, "keep_every": 0, "steps": 2, "reference": "base", "eval_every": 0, **changes}
        return str(train(TrainConfig(**own, out=str(tmp_path / name)), quiet=True).folder)

    options = {k: v for k, v in options.items() if k != "out"}
    assert error(CosineConfig(run=str(tmp_path / "nowhere"))).startswith(f"run: {tmp_path / 'nowhere'} holds no run")
    both = error(CosineConfig(run=str(run.folder), sft="other.jsonl"))
    assert both == "sft: the run has options of its own; leave out --sft, or --run"
    few = {
        "model": tiny.model(),
        "tokenizer": tiny.tokenizer(),
        "sft": MEMORY["sft"],
        "preference": MEMORY["preference"][:2],
    }
    small = start(options, model="tiny", held_out=0.0, batch_preference=2, reference="base")
    assert error(small, **few) == "rows: dpo has 2 train rows, and at least 3 are needed; give more"
    held_out = {**few, "preference": MEMORY["preference"], "preference_held_out": MEMORY["preference"][:1]}
    message = "rows: dpo has 1 held_out rows, and at least 3 are needed; give --part train, or train with a larger"
    measured = start(options, model="tiny", batch_preference=2, reference="base", part="held_out")
    assert error(measured, **held_out).startswith(message)
    everything = error(CosineConfig(run=trained("whole", lora_rank=0)))
    assert everything == "run: it trained all weights; give a run with LoRA, or leave out --run to measure its start"
    stages = error(CosineConfig(run=trained("mean", method="sequential", average=True)))
    assert stages.startswith("run: it trained an adapter for each stage")
    closed = error(CosineConfig(run=trained("closed", held_out=0.0)))
    assert closed == "part: the run holds no rows of dpo out; give --part train"


@pytest.mark.slow
def test_the_command(run: Result, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    said = door.call(capsys, "cosine", run=run.folder, groups=3, points=2, out=out)
    assert said.status == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    lines = said.out.splitlines()
    assert lines == table(found).splitlines()
    assert lines[0].split() == ["step", "cosine", "95%", "interval", "raw"]
    assert lines[2].split()[-1] == f"{found['points'][1]['raw'][0][1]:.3f}"
    assert lines[-2].startswith("step 0: dpo and sft ")
    before = {k: v for k, v in options.items() if k not in ("out", "keep_every")}
    said = door.call(capsys, "cosine", **before, groups=3)
    assert said.status == 0
    assert said.out.splitlines()[1] == lines[1]
    none = door.call(capsys, "cosine", run=tmp_path / "nowhere")
    assert (none.status, "holds no run" in none.err, len(none.err.splitlines())) == (2, True, 1)


def test_the_words_for_an_interval_without_a_sign() -> None:
    point: dict[str, Any] = {
        "step": 0,
        "part": "train",
        "groups": 8,
        "cosines": [[1.0, -0.1], [-0.1, 1.0]],
        "errors": [[0.0, 0.1], [0.1, 0.0]],
    }
    point |= {"raw": [[1.0, -0.05], [-0.05, 1.0]], "rows": {"a": 9, "b": 9}}
    point |= {name: {"a": 0.5, "b": 0.5} for name in ("values", "norms", "noise")}
    record = {"names": ["a", "b"], "points": [point]}
    assert "may conflict or agree: the interval holds 0" in table(record)
    point["cosines"] = [[1.0, None], [None, None]]
    point["norms"] = {"a": 0.5, "b": None}
    assert "have no cosine: a gradient is 0, or all noise" in table(record)
