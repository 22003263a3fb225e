"""KTO on unpaired preferences: TRL's KTOTrainer is the oracle of values, gradients and metrics; runs of all methods."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from support import tiny_models as tiny
from support.wrong import fails

from llm import TrainConfig, train
from llm.common.files import read_json
from llm.data.formats import load
from llm.data.sampler import split
from llm.data.templates import PLAIN
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.data.unpaired import with_mismatches
from llm.evaluation.held_out import EvaluateConfig, evaluate
from llm.losses import KTOLoss
from llm.models.policy import Policy
from llm.training.metrics import read_metrics
from llm.training.mismatched import begin_sums
from llm.training.objective import SUMS, Objective, as_pairs
from toyopt.algorithms import RULES

trl = pytest.importorskip("trl")
BETA, WEIGHTS = 0.3, (1.5, 0.7)
LORA = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def labelled(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return unpaired rows with different prompts, about a third of them undesirable."""
    return [{**row, "label": i % 3 != 1} for i, row in enumerate(tiny.sft_rows(n, seed=seed))]


def prompted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "prompt": PLAIN.replace("{prompt}", row["prompt"])} for row in rows]


SINGLE = prompted(labelled(7))
PAIRS = prompted(tiny.preference_rows(4))


def tokens(rows: list[dict[str, Any]], max_length: int = 1024) -> TokenizedDataset:
    found = tokenize(load(rows, kind="unpaired"), tiny.tokenizer(), template="none", max_length=max_length)
    return with_mismatches(found, max_length)


def stirred(model: Any, seed: int) -> Any:
    """The model with an adapter drawn anew, A and B."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1, generator=draw)
    return model


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n.removeprefix("model."): p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {n: g for n, g in found.items() if g is not None}


@functools.cache
def oracle(form: str, seed: int) -> Any:
    """TRL's loss of one batch of all rows, the adapter's gradients, and the metrics."""
    folder = Path(tempfile.gettempdir()) / "trl-unused"
    rows = {"single": SINGLE, "pairs": PAIRS}[form]
    settings = trl.KTOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
        max_length=None, per_device_train_batch_size=8, disable_tqdm=True, logging_steps=1, beta=BETA,
        desirable_weight=WEIGHTS[0], undesirable_weight=WEIGHTS[1],
    )  # fmt: skip
    trainer = trl.KTOTrainer(
        model=tiny.model("llama"), peft_config=LORA, args=settings, train_dataset=Dataset.from_list(rows),
        processing_class=tiny.tokenizer(),
    )  # fmt: skip
    stirred(trainer.model, seed).train()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    metrics = {k: float(np.mean(v)) for k, v in trainer._metrics["train"].items()}
    return batch, float(loss.detach()), gradients(trainer.model), metrics


class One:
    """An accelerator of one process."""

    device = torch.device("cpu")

    def reduce(self, value: torch.Tensor, reduction: str) -> torch.Tensor:  # noqa: ARG002
        return value


def ours(form: str, seed: int, parts: int) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """The objective's mean over all rows in so many micro-batches, its gradients, and its metrics."""
    policy = Policy(stirred(get_peft_model(tiny.model("llama"), copy.deepcopy(LORA)), seed))
    found = tokens({"single": SINGLE, "pairs": PAIRS}[form])
    rows = np.arange(len(found))
    with torch.no_grad(), policy.model.disable_adapter():  # type: ignore[operator]
        reference = policy(Objective("pairs", as_pairs(found)).batch(rows)).view(-1, 2)
    task = Objective("kto", found, KTOLoss(BETA, *WEIGHTS), reference, by_name=True)
    pieces = [(part, None) for part in split(rows, parts)]
    kl, sums = begin_sums(One(), policy, task, pieces)  # type: ignore[arg-type]
    for part, _ in pieces:
        batch = task.batch(part)
        total, more = task.measure(policy(batch), batch, part, kl=kl)
        (total / task.units(rows)).backward()
        sums = sums + more
    named = dict(zip(SUMS, sums.tolist(), strict=True))
    return task.value(named), gradients(policy), task.metrics(named)


SEEDS = (8, 9)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("form", ["single", "pairs"])
def test_kto_is_trls(form: str, parts: int, seed: int) -> None:
    """TRL rotates the completions of a batch, which is here the whole set: the mismatched rows are the same."""
    _, loss, theirs, reported = oracle(form, seed)
    value, own, metrics = ours(form, seed, parts)
    assert value == pytest.approx(loss, abs=1e-5)
    assert set(own) == set(theirs)
    assert len(own) == 28  # two layers, seven linear maps each, A and B
    for name, gradient in theirs.items():
        assert float(gradient.abs().max()) > 1e-5, name
        torch.testing.assert_close(own[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
    assert set(metrics) == {n for n in reported if n.partition("/")[0] in ("rewards", "logps", "kl")}
    assert metrics == pytest.approx({n: reported[n] for n in metrics}, abs=1e-4)


@pytest.mark.slow
@pytest.mark.oracle
def test_both_signs_of_the_estimate_are_compared() -> None:
    """A negative mean of the mismatched log-ratios counts as 0."""
    for form in ("single", "pairs"):
        values = [oracle(form, seed)[3]["kl"] for seed in SEEDS]
        assert values[0] == 0.0, form
        assert values[1] > 0.1, form


@pytest.mark.slow
@pytest.mark.oracle
def test_ids_are_trls() -> None:
    """Prompts, responses and mismatched responses, row by row."""
    batch, found = oracle("single", SEEDS[0])[0], tokens(SINGLE)
    for i, (prompt, responses) in enumerate(zip(found.prompts, found.responses, strict=True)):
        for start, response in zip(("", "KL_"), responses, strict=True):
            ids = batch[f"{start}input_ids"][i][batch[f"{start}attention_mask"][i] == 1].tolist()
            assert ids == [*prompt, *response]
            assert int(batch[f"{start}completion_mask"][i].sum()) == len(response)
    assert batch["label"].tolist() == list(found.labels or ())


# Runs.

ROWS: dict[str, Any] = {"sft": tiny.sft_rows(20), "preference": labelled(24, seed=3)}
HELD: dict[str, Any] = {"sft_held_out": tiny.sft_rows(7, seed=11), "preference_held_out": labelled(9, seed=12)}
CLOCK = {"seconds", "cpu_seconds", "memory_mb"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    options: dict[str, Any] = {
        "model": str(base), "out": str(folder / "run"), "cache": str(base.parent / "cache"), "preference_loss": "kto",
        "steps": 6, "lr": 2e-2, "lora_rank": 4, "batch_sft": 4, "batch_preference": 4, "held_out": 0.3,
        "eval_every": 3, "eval_rows": 8, "device": "cpu", "max_length": 64, "beta": BETA,
    }  # fmt: skip
    return TrainConfig(**{**options, **changes})


def run(asked: TrainConfig, **given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of steps and of evaluations, without clocks."""
    lines = read_metrics(train(asked, quiet=True, **(given or ROWS)).folder)
    lines = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]
    return [x for x in lines if "objective" in x], [x for x in lines if "evaluation" in x]


@pytest.mark.slow
@pytest.mark.parametrize("method", RULES)
def test_a_run_reports_kto_by_its_own_name(method: str, base: Path, tmp_path: Path) -> None:
    """The untrained policy is the reference: r = z = 0, and the loss is ½ for every row."""
    steps, watched = run(config(base, tmp_path, method=method, k=2))
    assert watched[0]["f_kto"] == pytest.approx(0.5, abs=1e-6)
    assert watched[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert all({"f_kto", "f_sft", "kl", "rewards/chosen", "rewards/rejected"} <= set(x) for x in watched)
    assert not any("dpo" in key for line in (*steps, *watched) for key in line)
    assert {name for x in steps for name in x["objective"].split("+")} == {"kto", "sft"}
    summary = read_json(tmp_path / "run" / "summary.json")
    assert set(summary["steps_by_objective"]) == set(summary["f_star"]) == {"kto", "sft"}
    assert "KTO, β = 0.3" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    again = evaluate(EvaluateConfig(run=str(tmp_path / "run")), quiet=True, **ROWS)
    assert again == pytest.approx(summary["evaluation"], rel=1e-5, abs=1e-6)


def logp(model: Any, prompt: Any, response: Any) -> torch.Tensor:
    """Return log π(response | prompt) of one row alone."""
    ids = torch.from_numpy(np.concatenate([prompt, response])).long()[None]
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, ids[0, len(prompt) :, None]).sum()


def plain_kto(model: Any, reference: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """Return eq. (7) and (8) of arXiv 2402.01306 by a loop over rows, whose responses are rotated by one for z."""
    found = tokenize(load(rows, kind="unpaired"), tiny.tokenizer(), max_length=64)
    responses = [r[0] for r in found.responses]
    ratios, mismatched = [], []
    for prompt, own, other in zip(found.prompts, responses, [responses[-1], *responses[:-1]], strict=True):
        with torch.no_grad():
            before, mismatch = logp(reference, prompt, own), logp(reference, prompt, other)
            mismatched.append(float(logp(model, prompt, other) - mismatch))
        ratios.append(logp(model, prompt, own) - before)
    z = max(0.0, sum(mismatched) / len(rows))
    losses = [
        WEIGHTS[0] * (1 - torch.sigmoid(BETA * (ratio - z)))
        if row["label"]
        else WEIGHTS[1] * (1 - torch.sigmoid(BETA * (z - ratio)))
        for row, ratio in zip(rows, ratios, strict=True)
    ]
    return torch.stack(losses).mean()


@pytest.mark.slow
@pytest.mark.oracle
def test_steps_of_gradient_descent_follow_the_plain_gradient(base: Path, tmp_path: Path) -> None:
    """All weights, whole batches, two steps: the change of a weight is the rate times the sum of plain gradients.

    The second step starts away from the reference. float32 has some hundred roundings in a value: 1e-5.
    """
    from transformers import AutoModelForCausalLM

    rate, n = 0.05, len(ROWS["preference"])
    descent = {"optimizer": "sgd", "clip": 0.0, "lora_rank": 0, "lr": rate, "steps": 2, "eval_every": 1}
    descent |= {"batch_preference": n, "held_out": 0.0, "method": "mix", "lam": 1.0, "eval_rows": 100}
    weights = {"desirable_weight": WEIGHTS[0], "undesirable_weight": WEIGHTS[1]}
    steps, watched = run(config(base, tmp_path, **descent, **weights, micro_tokens=100), **ROWS, **HELD)
    model, reference = (AutoModelForCausalLM.from_pretrained(base).double().eval() for _ in range(2))
    for step in range(2):
        assert watched[step]["f_kto"] == pytest.approx(
            float(plain_kto(model, reference, HELD["preference_held_out"]).detach()), abs=1e-5
        )
        value = plain_kto(model, reference, ROWS["preference"])
        assert steps[step]["f_kto"] == pytest.approx(float(value.detach()), abs=1e-5)
        model.zero_grad()
        value.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
    assert steps[1]["kl"] > 1e-3
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "run").double().state_dict()
    start = reference.state_dict()
    for name, wanted in model.state_dict().items():
        torch.testing.assert_close(trained[name], wanted, rtol=0, atol=1e-5, msg=name)
    assert max(float((trained[n] - start[n]).abs().max()) for n in trained) > 1e-3


@pytest.mark.slow
def test_optima_are_those_of_kto_and_shared_with_the_form_for_any_number(base: Path, tmp_path: Path) -> None:
    """The computed optimum is the least value of a run on KTO alone; both forms find the same cached run."""
    short = config(base, tmp_path / "a", method="maxright", k=2, f_star="compute", cache=str(tmp_path / "cache"))
    steps, watched = run(short)
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "optima").glob("*/summary.json")}
    assert all(x["gap_kto"] == pytest.approx(x["f_kto"] - watched[0]["f_kto"] + watched[0]["gap_kto"]) for x in watched)
    assert all("ideal_distance" in x and "f_kto_star" in y for x, y in zip(watched, steps, strict=False))
    texts = ("kto=preference:rows", "loss=kto", "sft=sft:rows")
    other = config(
        base, tmp_path / "b", method="maxright", k=2, f_star="compute", cache=str(tmp_path / "cache"), objective=texts,
        preference_loss="dpo",
    )  # fmt: skip
    lines, seen = run(other, rows={"kto": ROWS["preference"], "sft": ROWS["sft"]})
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "optima").glob("*/summary.json")} == made
    assert (lines, seen) == (steps, watched)


@pytest.mark.slow
def test_a_reference_is_trained_on_the_desirable_responses(base: Path, tmp_path: Path) -> None:
    """`--reference chosen` is an SFT run on them: its rows are those of a set of the desirable rows."""
    good = [{k: v for k, v in row.items() if k != "label"} for row in ROWS["preference"] if row["label"]]
    steps, watched = run(config(base, tmp_path, reference="chosen", method="mix", held_out=0.0))
    assert watched == []
    found = {p.parent.name for p in (base.parent / "cache" / "adapters").glob("*/summary.json")}
    assert found
    run(config(base, tmp_path / "other", reference="sft", method="mix", held_out=0.0, batch_sft=4), sft=good,
        preference=ROWS["preference"])  # fmt: skip
    assert {p.parent.name for p in (base.parent / "cache" / "adapters").glob("*/summary.json")} == found
    assert steps[0]["f_kto"] != pytest.approx(0.5, abs=1e-3)  # the policy begins at the base


# Measures beside training.


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on KTO and SFT that keeps adapters, away from its reference."""
    folder = tmp_path_factory.mktemp("finished")
    run(config(base, folder, method="mix", held_out=0.0, keep_every=6, desirable_weight=1.5, undesirable_weight=0.7))
    return folder / "run"


def plain_values(base: Path, folder: Path) -> tuple[torch.Tensor, torch.Tensor, list[Any]]:
    """Return KTO's and SFT's values on all rows, with graphs, by PEFT's model, and the adapter's weights."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(base).double().eval()
    eager = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")  # which has second derivatives
    model = PeftModel.from_pretrained(eager, str(folder), is_trainable=True).double().eval()
    found = tokenize(load(ROWS["sft"], kind="sft"), tiny.tokenizer(), max_length=64)
    logps = [logp(model, p, r[0]) for p, r in zip(found.prompts, found.responses, strict=True)]
    f_sft = -torch.stack(logps).sum() / sum(len(r[0]) for r in found.responses)
    return plain_kto(model, reference, ROWS["preference"]), f_sft, [p for p in model.parameters() if p.requires_grad]


def flat(value: torch.Tensor, weights: list[Any], *, graph: bool = False) -> torch.Tensor:
    return torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(value, weights, create_graph=graph, retain_graph=True)]
    )


@pytest.mark.slow
@pytest.mark.oracle
def test_the_cosine_is_of_plain_gradients(base: Path, finished: Path) -> None:
    """The divergence is that of all rows, as in one step on them."""
    from llm.evaluation.cosine import CosineConfig, cosine

    asked = CosineConfig(run=str(finished), part="train", rows=0, groups=4, points=2)
    point = cosine(asked, quiet=True, **ROWS)["points"][-1]
    f_kto, f_sft, weights = plain_values(base, finished)
    assert point["rows"] == {"kto": 24, "sft": 20}
    assert point["values"]["kto"] == pytest.approx(float(f_kto.detach()), abs=1e-5)
    a, b = flat(f_kto, weights), flat(f_sft, weights)
    assert point["raw"][0][1] == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-4)


def test_rows_of_one_prompt_are_measured_in_one_group(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from llm.evaluation import cosine as module

    drawn: list[list[str]] = []
    own = module._drawn

    def recorded(*args: Any) -> Any:
        objectives = own(*args)
        drawn.append(list(objectives[0].tokens.keys))
        return objectives

    monkeypatch.setattr(module, "_drawn", recorded)
    pairs = tiny.preference_rows(12)
    module.cosine(config(base, tmp_path, held_out=0.0), quiet=True, **{**ROWS, "preference": pairs})
    (keys,) = drawn
    assert len(keys) == 24
    assert keys[::2] == keys[1::2]


@pytest.mark.slow
@pytest.mark.oracle
def test_the_curvature_is_that_of_the_plain_loss(base: Path, finished: Path) -> None:
    """By a second derivative of the plain loss, in which the divergence is a number."""
    from llm.evaluation.curvature import CurvatureConfig, curvature

    asked = CurvatureConfig(run=str(finished), rows=20, points=2, products=5)  # all of the SFT set
    found = curvature(asked, quiet=True, **ROWS)
    rows = {row["objective"]: row for row in found["rows"][-3:]}
    assert list(rows) == ["kto", "sft", "mix"]
    _, f_sft, weights = plain_values(base, finished)
    gradient = flat(f_sft, weights, graph=True)
    unit = (gradient / gradient.norm()).detach()
    assert rows["sft"]["grad_norm"] == pytest.approx(float(gradient.detach().norm()), rel=1e-4)
    assert rows["sft"]["along_gradient"] == pytest.approx(float(unit @ flat(gradient @ unit, weights)), rel=1e-3)
    assert rows["mix"]["value"] == pytest.approx(0.5 * rows["kto"]["value"] + 0.5 * rows["sft"]["value"])


@pytest.mark.slow
@pytest.mark.oracle
def test_the_curvature_of_kto_holds_its_divergence(base: Path, finished: Path) -> None:
    from llm.evaluation.hessian import Surface
    from llm.models.lora import load_adapter

    bare = tiny.model()
    bare.set_attn_implementation("eager")
    model = load_adapter(bare, str(finished), trainable=True)
    policy = Policy(model).eval()
    policy.twice_differentiable = True
    found = with_mismatches(tokenize(load(ROWS["preference"], kind="unpaired"), tiny.tokenizer(), max_length=64), 64)
    with torch.no_grad(), model.disable_adapter():
        reference = policy(Objective("pairs", as_pairs(found)).batch(np.arange(24))).view(-1, 2)
    task = Objective("kto", found, KTOLoss(BETA, *WEIGHTS), reference, by_name=True)
    f_kto, _, weights = plain_values(base, finished)
    gradient = flat(f_kto, weights, graph=True)
    along = torch.from_numpy(np.random.default_rng(0).standard_normal(len(gradient)))
    product = flat(gradient @ along, weights).numpy()
    for most in (10**6, 100):
        surface = Surface(policy, task, np.arange(24), most=most)
        assert surface.kl > 1e-3
        assert surface.value == pytest.approx(float(f_kto.detach()), abs=1e-5)
        scale = float(np.abs(product).max())
        np.testing.assert_allclose(surface.product(along.numpy()), product, atol=1e-3 * scale)


@pytest.mark.slow
@pytest.mark.oracle
def test_check_compares_kto_with_plain_forward_passes(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from llm.evaluation.check import CheckConfig, check
    from llm.training import engine

    options = config(base, tmp_path, desirable_weight=1.5, undesirable_weight=0.7).as_dict()
    findings = check(CheckConfig(**options, rows=4), **ROWS)
    assert [f for f in findings if f.holds is False] == []
    held = {f.claim for f in findings if f.holds}
    assert {"f_kto", "gradient of f_kto", "f_sft"} <= {claim.lower() for claim in held}
    assert sum(claim.startswith("f_kto is that of the base") for claim in held) == 4
    assert {f.group for f in findings} >= {"tokens, preference", "adapter", "generation", "bf16, as configured"}
    own = engine.begin_sums
    monkeypatch.setattr(engine, "begin_sums", lambda *args: (own(*args)[0] + 0.5, own(*args)[1]))
    findings = check(CheckConfig(**options, rows=4, parts=("forward",)), **ROWS)
    assert {"f_kto", "gradient of f_kto"} <= {f.claim for f in findings if f.holds is False}


WRONG: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"preference": [{"prompt": "bax", "completion": "der"}]}, "preference: ", "missing columns: an unpaired set"),
    ({}, {"preference": [{**labelled(1)[0], "label": "yes"}]}, "preference: row 0", "true or false, got str 'yes'"),
    ({}, {"preference": [labelled(1)[0]] * 9, }, "preference: ", "all 9 rows have the same prompt"),
    ({"preference_loss": "dpo"}, {}, "preference: ", "--preference-loss kto"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "rows", "begins", "shows"), WRONG)
def test_wrong_rows_are_one_line(
    options: dict[str, Any], rows: dict[str, Any], begins: str, shows: str, base: Path, tmp_path: Path
) -> None:
    asked = config(base, tmp_path, held_out=0.0, **options)
    error = TypeError if "yes" in shows else ValueError
    fails(lambda: train(asked, quiet=True, **{**ROWS, **rows}), error, begins, shows)
    assert not (tmp_path / "run").exists()
