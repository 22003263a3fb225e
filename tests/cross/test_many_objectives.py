"""Three objectives: their values and gradients are those of plain forward passes, and equivalent runs are equal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_models as tiny
from support.wrong import fails

from llm import TrainConfig, train
from llm.data.formats import load
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.training.metrics import read_metrics
from toyopt.algorithms import RULES

STEPS, BETA, GAMMA = 6, 0.3, 0.2
CLOCK = {"seconds", "cpu_seconds", "memory_mb"}
ROWS: dict[str, list[dict[str, str]]] = {
    "chat": tiny.sft_rows(24),
    "manner": tiny.preference_rows(20),
    "brief": tiny.preference_rows(18, seed=5),
}
KINDS = {"chat": "sft", "manner": "preference", "brief": "preference"}
LOSSES = {"chat": (), "manner": (f"beta={BETA}",), "brief": ("loss=simpo", "simpo_beta=2.0", f"simpo_gamma={GAMMA}")}
HELD_OUT: dict[str, list[dict[str, str]]] = {
    "chat_held_out": tiny.sft_rows(7, seed=11),
    "manner_held_out": tiny.preference_rows(6, seed=12),
    "brief_held_out": tiny.preference_rows(5, seed=13),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def three(weights: tuple[float, ...] = (0.2, 0.3, 0.5), *, whole: bool = False, more: str = "") -> list[str]:
    """Return the texts of the three objectives; `whole` batches are whole sets, `more` is a field of each."""
    texts = []
    for (name, kind), weight in zip(KINDS.items(), weights, strict=True):
        batch = len(ROWS[name]) if whole else 4
        texts += [f"{name}={kind}:memory", f"weight={weight}", f"batch={batch}", *LOSSES[name]]
        texts += [more] if more else []
    return texts


def run(base: Path, folder: Path, rows: dict[str, Any], **options: Any) -> tuple[list[dict[str, Any]], bytes, Any]:
    """Return the lines of metrics.jsonl without clocks, the weights' bytes, and the summary."""
    plain: dict[str, Any] = {
        "model": str(base), "out": str(folder / "run"), "cache": str(base.parent / "cache"), "steps": STEPS,
        "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2, "max_length": 64, "held_out": 0.2,
        "eval_every": 3, "eval_rows": 6, "device": "cpu",
    }  # fmt: skip
    result = train(TrainConfig(**{**plain, **options}), quiet=True, **rows)
    lines = [{k: v for k, v in line.items() if k not in CLOCK} for line in read_metrics(result.folder)]
    weights = next(p for p in result.folder.glob("*model.safetensors") if p.parent == result.folder)
    return lines, weights.read_bytes(), result.summary


# Plain forward passes: a loop over rows, in float64, with nothing of ours but the token ids.


def tokens_of(name: str, rows: list[dict[str, str]]) -> TokenizedDataset:
    kind: Any = KINDS[name.removesuffix("_held_out")]
    return tokenize(load(rows, kind=kind), tiny.tokenizer(), max_length=64)


def logp(model: Any, prompt: np.ndarray, response: np.ndarray) -> torch.Tensor:
    """Return log π(response | prompt) of one row alone."""
    ids = torch.from_numpy(np.concatenate([prompt, response])).long()[None]
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, ids[0, len(prompt) :, None]).sum()


def plain_value(model: Any, reference: Any, name: str, tokens: TokenizedDataset) -> torch.Tensor:
    """Return f_SFT, f_DPO or SimPO's loss of a set, by the formulas of the papers."""
    rows = list(zip(tokens.prompts, tokens.responses, strict=True))
    if name == "chat":
        return -sum(logp(model, p, r[0]) for p, r in rows) / sum(len(r[0]) for _, r in rows)  # type: ignore[return-value]
    losses = []
    for prompt, pair in rows:
        logps = [logp(model, prompt, y) for y in pair]
        if name == "manner":
            with torch.no_grad():
                ref = [logp(reference, prompt, y) for y in pair]
            margin = BETA * ((logps[0] - ref[0]) - (logps[1] - ref[1]))
        else:
            margin = 2.0 * (logps[0] / len(pair[0]) - logps[1] / len(pair[1])) - GAMMA
        losses.append(-torch.nn.functional.logsigmoid(margin))
    return torch.stack(losses).mean()


def in_float64(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path).double().eval()


@pytest.mark.slow
@pytest.mark.oracle
def test_a_step_of_mix_is_the_weighted_sum_of_plain_gradients(base: Path, tmp_path: Path) -> None:
    """All weights are trained, by gradient descent: the change of a weight is its gradient times the rate.

    Values before and after the step, on training and on held-out rows, are those of plain forward passes: float32 with
    the roundings of some hundred operations, 1e-5.
    """
    rate, weights = 0.5, (0.2, 0.3, 0.5)
    options = {"objective": three(weights, whole=True), "method": "mix", "steps": 1, "lr": rate, "eval_every": 1}
    descent = {"optimizer": "sgd", "clip": 0.0, "lora_rank": 0, "held_out": 0.0, "eval_rows": 100}
    lines, _, _ = run(base, tmp_path, {"rows": ROWS | HELD_OUT}, **options, **descent)
    before, after = in_float64(base), in_float64(tmp_path / "run")
    reference = in_float64(base)
    for name in ROWS:  # a training row whose prompt is held out is left out
        held = {key for other in HELD_OUT for key in tokens_of(other, HELD_OUT[other]).keys}
        assert not held & set(tokens_of(name, ROWS[name]).keys)
    values = {name: plain_value(before, reference, name, tokens_of(name, rows)) for name, rows in ROWS.items()}
    torch.stack([w * v for w, v in zip(weights, values.values(), strict=True)]).sum().backward()
    step = next(line for line in lines if "objective" in line)
    assert step["objective"] == "chat+manner+brief"
    for name, value in values.items():
        assert step[f"f_{name}"] == pytest.approx(float(value.detach()), abs=1e-5)
    moved = 0.0
    for (name, start), end in zip(before.named_parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(start.detach() - rate * start.grad, end.detach(), atol=1e-5, rtol=1e-5, msg=name)
        moved = max(moved, float((start - end).detach().abs().max()))
    assert moved > 1e-2
    ends = [line for line in lines if line.get("evaluation") == "held_out"]
    for line, model in zip(ends, (before, after), strict=True):
        for name in ROWS:
            plain = plain_value(model, reference, name, tokens_of(name, HELD_OUT[f"{name}_held_out"]))
            assert line[f"f_{name}"] == pytest.approx(float(plain.detach()), abs=1e-4), (line["step"], name)


TWO = {"sft": ROWS["chat"], "preference": ROWS["manner"]}
METHODS: dict[str, dict[str, Any]] = {
    "sequential": {"order": "sft-dpo"},
    "mix": {},
    "alright": {"reference": "sft", "reference_steps": 2},
    "maxright": {"k": 2},
    "replay": {"replay": 0.5},
    "maxright, computed": {"method": "maxright", "f_star": "compute", "optima_steps": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_objectives_are_the_short_form(name: str, base: Path, tmp_path: Path) -> None:
    """The same bytes, for names and an order of the short form."""
    options = {"method": name, **METHODS[name]}
    short = run(base, tmp_path / "short", TWO, lam=0.3, sft="x", preference="y", **options)
    texts = ["dpo=preference:y", "weight=0.3", "sft=sft:x"]
    rows = {"rows": {"dpo": TWO["preference"], "sft": TWO["sft"]}}
    named = run(base, tmp_path / "named", rows, objective=texts, **options)
    assert named[0] == short[0]
    assert named[1] == short[1]
    assert named[2]["steps_by_objective"] == short[2]["steps_by_objective"]
    assert named[2]["f_star"] == short[2]["f_star"]


@pytest.mark.slow
@pytest.mark.parametrize("method", RULES)
def test_an_objective_of_weight_0_is_never_trained(method: str, base: Path, tmp_path: Path) -> None:
    """Under MAXRIGHT also where its gap is the only one that is not negative: all other optima are far too high."""
    texts = three((0.5, 0.0, 0.5), more="f_star=50.0")
    texts[texts.index("f_star=50.0", 6)] = "f_star=0.0"
    lines, _, summary = run(base, tmp_path, {"rows": ROWS}, method=method, objective=texts, f_star="given", k=1)
    assert summary["steps_by_objective"]["manner"] == 0
    assert summary["steps_by_objective"]["chat"] + summary["steps_by_objective"]["brief"] >= STEPS
    gaps = [line["gap_manner"] for line in lines if "gap_manner" in line and "objective" in line]
    assert (len(gaps) == STEPS and min(gaps) > 0.0) == (method == "maxright")


@pytest.mark.slow
def test_names_and_positions_change_no_stream(base: Path, tmp_path: Path) -> None:
    """The batches of a set depend on its name: two objectives in another order train on the same rows."""
    options = {"method": "mix", "clip": 0.0, "eval_every": 0, "steps": 2}
    first = run(base, tmp_path / "a", {"rows": ROWS}, objective=three((0.2, 0.3, 0.5)), **options)[0]
    texts = three((0.2, 0.3, 0.5))
    at = [i for i, text in enumerate(texts) if "=sft:" in text or "=preference:" in text]
    parts = [texts[a:b] for a, b in zip(at, [*at[1:], len(texts)], strict=True)]
    second = run(base, tmp_path / "b", {"rows": ROWS}, objective=[*parts[2], *parts[0], *parts[1]], **options)[0]
    assert second[0]["objective"] == "brief+chat+manner"
    for name in ROWS:  # before the first step; later ones differ by the order of a sum
        assert second[0][f"f_{name}"] == first[0][f"f_{name}"]
        assert second[1][f"f_{name}"] == pytest.approx(first[1][f"f_{name}"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", ["sft", "preference"])
def test_all_sets_may_be_of_one_kind(kinds: str, base: Path, tmp_path: Path) -> None:
    names = [name for name, kind in KINDS.items() if kind == kinds]
    rows = {name: ROWS[name] for name in names} | ({"code": tiny.sft_rows(20, seed=9)} if kinds == "sft" else {})
    texts = [f"{name}={kinds}:memory" for name in rows]
    lines, _, summary = run(base, tmp_path, {"rows": rows}, method="maxright", k=2, objective=texts)
    assert summary["weights"] == dict.fromkeys(rows, 0.5)
    assert sum(summary["steps_by_objective"].values()) == STEPS
    assert {f"f_{name}" for name in rows} < set(lines[0])


def test_sets_in_memory_belong_to_an_objective(base: Path, tmp_path: Path) -> None:
    config = TrainConfig(model=str(base), objective=three(), out=str(tmp_path / "run"), cache=str(tmp_path / "cache"))
    for given, name in (({"sft": ROWS["chat"]}, "sft"), ({"rows": {"chat_held": ROWS["chat"]}}, "chat_held")):
        begins = f"{name}: is given in memory, and the objectives' sets are"
        fails(lambda given=given: train(config, quiet=True, **given), TypeError, begins, "chat, manner, brief")
    short = TrainConfig(model=str(base), sft="x", out=str(tmp_path / "run"), cache=str(tmp_path / "cache"))
    begins = "chat: is given in memory, and the objectives' sets are"
    fails(lambda: train(short, quiet=True, rows={"chat": ROWS["chat"]}), TypeError, begins, "preference, sft")
    large = [text.replace("batch=4", "batch=99") for text in three()]
    asked = dataclasses.replace(config, objective=large, device="cpu")
    begins = "objective chat: batch: must be at most the number of training rows"
    fails(lambda: train(asked, quiet=True, rows=ROWS), ValueError, begins, "use batch=")


@pytest.mark.slow
def test_a_finished_run_is_evaluated_by_name(base: Path, tmp_path: Path) -> None:
    from llm.evaluation.held_out import EvaluateConfig, evaluate

    lines, _, _ = run(base, tmp_path, {"rows": ROWS}, method="mix", objective=three(), f_star="compute", optima_steps=2)
    again = evaluate(EvaluateConfig(run=str(tmp_path / "run")), quiet=True, rows=ROWS)
    last = lines[-1]
    assert {k: again[k] for k in again} == pytest.approx({k: last[k] for k in again})
    assert {"f_chat", "gap_manner", "rewards/margins/brief", "ideal_distance"} < set(again)
