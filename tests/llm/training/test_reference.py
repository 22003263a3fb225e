"""DPO's reference: computed once, found again only for the same rows and weights, equal to a plain forward pass."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny

from llm import TrainConfig, train

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny saved model."""
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    """Of a tiny run in a folder."""
    own = {"steps": 2, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2, "max_length": 64}
    where = {"model": str(base), "out": str(folder / "run"), "cache": str(folder / "cache"), "device": "cpu"}
    return TrainConfig(**{**own, **where, "held_out": 0.2, "eval_every": 0, "sft": "x", "preference": "y", **changes})


def prepared(c: TrainConfig, **given: Any) -> Any:
    """The inputs of a run before it trains, and its objectives."""
    from llm.training.inputs import GivenInputs, open_inputs
    from llm.training.objectives import load_objectives, needed_rows

    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows(), **given}
    with open_inputs(c, GivenInputs(**sets), quiet=True) as inputs:
        objectives = load_objectives(inputs, trained=needed_rows(inputs))
        return inputs, objectives.train, objectives.held_out


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all sets whose log-probabilities are computed."""
    from llm.common.cache import ContentCache

    keys: list[str] = []
    ordinary = ContentCache.write

    def noted(self: ContentCache, key: str, save: Any) -> Path:
        keys.extend([key] if self.folder.name == "reference" else [])
        return ordinary(self, key, save)

    monkeypatch.setattr(ContentCache, "write", noted)
    return keys


def direct(model: Any, tokens: Any) -> Any:
    """(n, 2) float64: plain forward passes of transformers, a sequence at a time, nothing shared or padded."""
    rows = []
    for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True):
        row = []
        for response in responses:
            ids = torch.tensor([[*prompt, *response]])
            with torch.no_grad():
                logps = model(input_ids=ids).logits[0].double().log_softmax(-1)
            row.append(sum(logps[len(prompt) + j - 1, int(t)] for j, t in enumerate(response)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.slow
def test_the_second_run_computes_nothing(base: Path, tmp_path: Path, computed: list[str]) -> None:
    _, tasks, evals = prepared(config(base, tmp_path))
    assert len(set(computed)) == 2  # training and held-out pairs
    _, again, evals_again = prepared(config(base, tmp_path, lr=1.0, beta=0.7, seed=42, method="mix", lora_rank=2))
    assert len(computed) == 2
    assert torch.equal(tasks[0].reference, again[0].reference)
    assert torch.equal(evals[0].reference, evals_again[0].reference)


@pytest.mark.slow
def test_whatever_it_depends_on_gives_it_another_name(base: Path, tmp_path: Path, computed: list[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    tiny.model(seed=3).save_pretrained(other)
    rows = tiny.preference_rows()
    swapped = [{**rows[0], "chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}, *rows[1:]]
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"template": "Q {prompt} A "}, {}),
        ({"precision": "bf16"}, {}),
        ({"model": str(other)}, {}),
        ({"max_length": 8}, {}),
        ({"reference": "sft"}, {}),
        ({"reference": "chosen"}, {}),
        ({"reference": "chosen", "reference_prompts": True}, {}),
        ({}, {"preference": swapped}),
    ]
    for j, (options, given) in enumerate(variants):
        prepared(config(base, tmp_path, **options), **given)
        assert len(computed) == len(set(computed)), f"variant {j} took another one's"
        # At least its training pairs are others; a swapped pair need not be among the held-out ones.
        assert len(computed) >= 2 * (j + 1) - (j == len(variants) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["whole sets", "rows"])
def test_the_first_evaluation_is_ln_2_whatever_the_cache_holds(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    """The policy starts as the reference: of other weights, of the same under another configuration, of its own."""
    from llm.training import reference
    from llm.training.metrics import read_metrics

    if stored == "rows":
        monkeypatch.setattr(reference, "WHOLE_SET_OPERATIONS", 0.0)
    other, turned = tmp_path / "other", tmp_path / "turned"
    shutil.copytree(base, other)
    tiny.model(seed=3).save_pretrained(other)
    shutil.copytree(base, turned)
    described = json.loads((turned / "config.json").read_text(encoding="utf-8"))
    described["rope_parameters"]["rope_theta"] = 7.0
    (turned / "config.json").write_text(json.dumps(described), encoding="utf-8")
    sets: dict[str, Any] = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    for j, model in enumerate((base, other, turned, base)):
        changes = {"out": str(tmp_path / f"run{j}"), "steps": 1, "eval_every": 1, "reference": "base", "beta": 1.0}
        done = train(config(model, tmp_path, **changes), quiet=True, **sets)
        assert read_metrics(done.folder)[0]["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-6), model.name


@pytest.mark.slow
def test_a_damaged_file_is_computed_again(base: Path, tmp_path: Path, computed: list[str]) -> None:
    from safetensors.torch import save_file

    def spoil(path: Path, damage: str) -> None:
        data = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(data[:-4])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "one bit":
            path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        else:
            save_file({"other": torch.zeros(1)}, path)

    _, tasks, _ = prepared(config(base, tmp_path))
    paths = sorted((tmp_path / "cache" / "reference").glob("*/logps.safetensors"))
    assert len(paths) == 2
    whole = {p: p.read_bytes() for p in paths}
    # A kind of damage for each of the two files at a time.
    for times, (first, second) in enumerate([("truncated", "empty"), ("one bit", "no tensor")], start=1):
        for path, damage in zip(paths, (first, second), strict=True):
            spoil(path, damage)
        _, again, _ = prepared(config(base, tmp_path))
        assert len(computed) == 2 + 2 * times
        assert torch.equal(tasks[0].reference, again[0].reference)
        assert {p: p.read_bytes() for p in paths} == whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["base", "chosen", "sft", "paper", "folder"])
def test_it_is_what_a_plain_forward_pass_gives(base: Path, tmp_path: Path, kind: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    order = {"order": "sft-dpo"} if kind == "paper" else {}
    if kind == "folder":
        first = config(base, tmp_path / "first", steps=3)
        name = str(train(first, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True).folder)
    else:
        name = kind
    inputs, tasks, evals = prepared(config(base, tmp_path, reference=name, **order))
    model = AutoModelForCausalLM.from_pretrained(base)
    folders = list((tmp_path / "cache" / "adapters").glob("*")) + ([Path(name)] if kind == "folder" else [])
    assert len(folders) == (kind != "base")
    for folder in folders:
        model = PeftModel.from_pretrained(model, folder)
    sets = {0: (tasks[0], inputs.datasets.train["preference"]), 1: (evals[0], inputs.datasets.held_out["preference"])}
    for task, tokens in sets.values():
        expected = direct(model.eval(), tokens)
        # Sums of some dozen float32 log-probabilities of size 5: 1e-6 each.
        torch.testing.assert_close(task.reference.double(), expected, rtol=1e-6, atol=5e-5)
    if kind != "base":
        with model.disable_adapter():
            assert (direct(model, inputs.datasets.train["preference"]) - tasks[0].reference).abs().max() > 1e-2
    if kind == "paper":  # SFT comes first, so it is the SFT set's; chosen's would be another
        _, other, _ = prepared(config(base, tmp_path, reference="sft", **order))
        assert torch.equal(other[0].reference, tasks[0].reference)


@pytest.mark.slow
def test_a_policy_that_starts_at_its_reference_has_no_reward(base: Path, tmp_path: Path) -> None:
    c = config(base, tmp_path, eval_every=1, method="mix")
    folder = train(c, sft=tiny.sft_rows(), preference=tiny.preference_rows(), quiet=True).folder
    first = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["step"] == 0
    assert first["f_dpo"] == pytest.approx(0.6931471805599453, abs=1e-6)
    assert first["rewards/margins"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.slow
def test_a_model_that_gives_no_numbers_is_named(base: Path, tmp_path: Path) -> None:
    broken = tiny.model()
    with torch.no_grad():
        broken.get_output_embeddings().weight[:] = float("nan")
    with pytest.raises(
        ValueError, match=r"^reference: its log-probability of row 0 is not finite; is the model damaged"
    ):
        prepared(config(base, tmp_path, model=_saved(broken, tmp_path / "broken")))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def _saved(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


# Large sets: rows as they are needed.


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows computed at a time, with every set counted as large."""
    from llm.training import reference

    counts: list[int] = []
    ordinary = reference._compute

    def noted(engine: Any, objective: Any, rows: Any, report: Any) -> Any:
        counts.append(len(rows))
        return ordinary(engine, objective, rows, report)

    monkeypatch.setattr(reference, "WHOLE_SET_OPERATIONS", 0.0)
    monkeypatch.setattr(reference, "_compute", noted)
    return counts


MANY = tiny.preference_rows(60, seed=9)


def large(base: Path, folder: Path, **changes: Any) -> tuple[Any, Any]:
    """The inputs of a run that needs few of its pairs, and its preference objective."""
    c = config(base, folder, **{"held_out": 0.0, "method": "mix", "window": 0, "batch_preference": 2, **changes})
    inputs, train_objectives, _ = prepared(c, preference=MANY)
    return inputs, train_objectives[0]


@pytest.mark.slow
def test_a_large_set_is_computed_where_it_is_needed(base: Path, tmp_path: Path, by_rows: list[int]) -> None:
    from transformers import AutoModelForCausalLM

    inputs, objective = large(base, tmp_path, steps=5)
    computed_rows = torch.isfinite(objective.reference).all(dim=1)
    assert by_rows == [10]
    assert int(computed_rows.sum()) == 10
    expected = direct(AutoModelForCausalLM.from_pretrained(base).eval(), inputs.datasets.train["preference"])
    torch.testing.assert_close(
        objective.reference[computed_rows].double(), expected[computed_rows], rtol=1e-6, atol=5e-5
    )


@pytest.mark.slow
def test_longer_runs_and_others_only_add_rows(base: Path, tmp_path: Path, by_rows: list[int]) -> None:
    _, first = large(base, tmp_path, steps=5)
    _, again = large(base, tmp_path, steps=5)
    assert by_rows == [10]
    assert torch.equal(first.reference.nan_to_num(), again.reference.nan_to_num())
    _, longer = large(base, tmp_path, steps=9)
    assert by_rows == [10, 8]
    known = torch.isfinite(first.reference)
    assert torch.equal(longer.reference[known], first.reference[known])
    large(base, tmp_path, steps=9, method="alright", lam=0.5)  # a part of the same batches
    assert by_rows == [10, 8]
    _, other = large(base, tmp_path, steps=9, seed=7)
    needed = {int(i) for i in torch.isfinite(other.reference).all(dim=1).nonzero()}
    before = {int(i) for i in torch.isfinite(longer.reference).all(dim=1).nonzero()}
    assert by_rows == [10, 8, len(needed - before)]
    reordered = config(base, tmp_path, held_out=0.0, method="mix", window=0, batch_preference=60, batch_sft=4, steps=1)
    prepared(reordered, preference=MANY[::-1])
    assert sum(by_rows) == 60  # the rows are known in whatever order they stand


@pytest.mark.slow
def test_a_damaged_piece_is_computed_again(base: Path, tmp_path: Path, by_rows: list[int]) -> None:
    _, first = large(base, tmp_path, steps=5)
    (path,) = (tmp_path / "cache" / "reference_rows").rglob("logps.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    _, again = large(base, tmp_path, steps=5)
    assert by_rows == [10, 10]
    assert torch.equal(first.reference.nan_to_num(), again.reference.nan_to_num())


@pytest.mark.slow
def test_a_stop_keeps_the_pieces_that_are_done(
    base: Path, tmp_path: Path, by_rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm.training import reference
    from llm.training.errors import InterruptedRunError

    monkeypatch.setattr(reference, "PIECE", 4)
    _, whole = large(base, tmp_path / "whole", steps=5)
    assert by_rows == [4, 4, 2]
    with pytest.raises(InterruptedRunError, match="the same command resumes"):
        interrupted(base, tmp_path / "cut")
    assert by_rows == [4, 4, 2, 4]
    _, resumed = large(base, tmp_path / "cut", steps=5)
    assert by_rows == [4, 4, 2, 4, 4, 2]
    assert torch.equal(whole.reference.nan_to_num(), resumed.reference.nan_to_num())


def interrupted(base: Path, folder: Path) -> None:
    """Prepare the run of `large` with a stop that is requested from the beginning."""
    from llm.training.inputs import GivenInputs, open_inputs
    from llm.training.objectives import load_objectives, needed_rows

    c = config(base, folder, held_out=0.0, method="mix", window=0, batch_preference=2, steps=5)
    sets = GivenInputs(sft=tiny.sft_rows(), preference=MANY)
    with open_inputs(c, sets, quiet=True, stop=lambda: True) as inputs:
        load_objectives(inputs, trained=needed_rows(inputs))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sequential", "maxright"])
def test_a_run_on_a_large_set_trains_as_on_a_small_one(
    base: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm.training import reference

    values = []
    for name, operations in (("small", 1e12), ("large", 0.0)):
        monkeypatch.setattr(reference, "WHOLE_SET_OPERATIONS", operations)
        c = config(base, tmp_path / name, method=method, steps=6, window=0)
        folder = train(c, sft=tiny.sft_rows(), preference=MANY, quiet=True).folder
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        values.append(
            [(line["step"], line.get("f_dpo", 0.0), line.get("f_sft", 0.0)) for line in map(json.loads, lines)]
        )
    for small, big in zip(*values, strict=True):
        assert big == pytest.approx(small, rel=1e-4)
