"""What is trained on and what is held out; sets and models in memory; what `train` leaves as it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")

from llm import (
    TrainConfig,
    train,
)
from llm.data.splits import Datasets, load_datasets  # noqa: E402
from llm.data.tokenization import TokenizedDataset  # noqa: E402

BASE = TrainConfig(held_out=0.2, max_length=64, bad_rows="error")


def load(config: TrainConfig = BASE, **given: Any) -> Datasets:
    return load_datasets(
        config, tiny.tokenizer(), {"sft": tiny.sft_rows(), "preference": tiny.preference_rows(), **given}
    )


def changed(**options: Any) -> TrainConfig:
    return dataclasses.replace(BASE, **options)


def held(sets: Datasets) -> tuple[TokenizedDataset, TokenizedDataset]:
    assert sets.sft_held_out is not None
    assert sets.preference_held_out is not None
    return sets.sft_held_out, sets.preference_held_out


def shared_rows() -> dict[str, list[dict[str, str]]]:
    """Sets in which prompts occur several times each, and in both."""
    prompts = [f"{a} {b}" for a in tiny.WORDS[:5] for b in tiny.WORDS[:4]]
    words = tiny.WORDS
    sft = [{"prompt": p, "completion": words[(i + j) % 40]} for j in range(3) for i, p in enumerate(prompts)]
    pairs = [
        {"prompt": p, "chosen": words[i], "rejected": words[i + 1 + j]} for j in (0, 1) for i, p in enumerate(prompts)
    ]
    return {"sft": sft, "preference": pairs[6:]}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_prompt_on_both_sides_also_across_the_sets(seed: int) -> None:
    rows = shared_rows()
    sets = load(changed(seed=seed), **rows)
    trained = {*sets.sft.keys, *sets.preference.keys}
    tested = {key for tokens in held(sets) for key in tokens.keys}
    assert trained
    assert not trained & tested
    assert {len(held(sets)[0]), len(held(sets)[1])} == {12, round(0.2 * len(rows["preference"]))}
    # what was held out of one set was taken out of the other, and told
    away = {"sft": 60 - 12 - len(sets.sft), "preference": 34 - len(held(sets)[1]) - len(sets.preference)}
    for kind, other in (("sft", "preference"), ("preference", "sft")):
        note = f"{kind}: {away[kind]} training rows left out, whose prompts are held out of the {other} set"
        assert (note in sets.notes) == (away[kind] > 0)
    assert seed == 2 or sum(away.values()) > 0  # seed 2 holds the same prompts out of both


def test_another_seed_holds_others_out() -> None:
    assert load(changed(seed=1)).digests != load(changed(seed=2)).digests
    assert load(changed(seed=1)).digests == load(changed(seed=1)).digests


def test_sets_that_do_not_meet_lose_nothing() -> None:
    sets = load()
    assert (len(sets.sft), len(held(sets)[0])) == (32, 8)
    assert (len(sets.preference), len(held(sets)[1])) == (19, 5)
    assert sets.notes == ()
    assert set(sets.digests) == {"sft", "preference", "sft_held_out", "preference_held_out"}


def test_sets_of_ones_own_to_evaluate_on() -> None:
    rows = shared_rows()
    mine = [*rows["sft"][:2], {"prompt": "nol", "completion": "nol"}]
    sets = load(
        sft=rows["sft"],
        preference=rows["preference"],
        sft_held_out=mine,
        preference_held_out=tiny.preference_rows(4, 9),
    )
    assert [len(t) for t in held(sets)] == [3, 4]
    # the first two prompts occur three times each in the SFT set, and the first of them nowhere else
    assert len(sets.sft) == 54
    assert "sft: 6 training rows left out, whose prompts are held out" in sets.notes
    assert not set(sets.preference.keys) & set(held(sets)[0].keys)


def test_named_sets_to_evaluate_on(tmp_path: Path) -> None:
    mine = door.write(tmp_path / "mine.jsonl", tiny.sft_rows(5, 77))
    sets = load(changed(sft_held_out=mine, sft_rows=10))
    assert len(held(sets)[0]) == 5  # a limit is for training rows
    assert len(sets.sft) == 10


def test_evaluate_on_training_rows() -> None:
    sets = load(changed(eval_on_train=True))
    tested = held(sets)
    assert (len(sets.sft), len(sets.preference)) == (40, 24)
    assert [len(t) for t in tested] == [8, 4]
    assert tested[0].digest == sets.sft.select(range(8)).digest
    assert tested[1].digest == sets.preference.select(range(4)).digest


def test_nothing_held_out() -> None:
    sets = load(changed(held_out=0.0))
    assert (sets.sft_held_out, sets.preference_held_out) == (None, None)
    assert (len(sets.sft), len(sets.preference)) == (40, 24)
    assert set(sets.digests) == {"sft", "preference"}


def test_limits_take_the_first_rows() -> None:
    sets = load(changed(sft_rows=7, preference_rows=5, held_out=0.0))
    whole = load(changed(held_out=0.0))
    assert sets.sft.digest == whole.sft.select(range(7)).digest
    assert sets.preference.digest == whole.preference.select(range(5)).digest


def test_notes_tell_what_was_cut_and_dropped() -> None:
    bad = [{"prompt": "", "completion": "bax"}, *tiny.sft_rows()]
    sets = load(changed(bad_rows="drop", max_length=14, held_out=0.0), sft=bad)
    assert "sft: 1 of 41 rows that cannot be used were dropped" in sets.notes
    lengths = load(changed(held_out=0.0)).sft
    longer = sum(int(n) > 14 for n in lengths.lengths())
    assert 0 < longer < 40
    assert f"sft: {longer} of 41 prompts were cut at their beginning to max_length 14" in sets.notes
    dropped = load(changed(overflow="drop", max_length=14, held_out=0.0))
    assert f"sft: {longer} of 40 rows longer than max_length 14 were dropped" in dropped.notes
    assert len(dropped.sft) == 40 - longer


def test_an_empty_set_in_memory_is_not_the_named_one() -> None:
    for name in ("sft", "preference", "sft_held_out", "preference_held_out"):
        shown = name.replace("_held_out", r" \(held out\)")
        with pytest.raises(ValueError, match=rf"^{shown}: the list: the set is empty$"):
            load(**{name: []})


def test_errors_in_memory_name_the_set() -> None:
    with pytest.raises(TypeError, match=r"^preference: row 0 of the list: a dict is needed, got str$"):
        load(preference=["bax"])
    with pytest.raises(TypeError, match=r"^sft: source: a path, a hub name, .* is needed, got int$"):
        load(sft=3)


# train() with everything in memory


@pytest.fixture(autouse=True)
def _no_embedded_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given in memory stands in for `embedded`, the default name; making that world takes minutes."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the embedded world was asked for")

    monkeypatch.setattr("llm.embedded.prepare", refuse)


def _config(folder: Path, **options: Any) -> TrainConfig:
    return TrainConfig(
        out=str(folder / "run"), cache=str(folder / "cache"), steps=3, batch_sft=4, batch_preference=4, lora_rank=2,
        lr=1e-2, max_length=64, held_out=0.2, eval_every=0, device="cpu", **options,
    )  # fmt: skip


def test_files_datasets_and_lists_are_the_same_run(tmp_path: Path) -> None:
    import datasets

    options = door.place(tmp_path)
    rows = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    written = dataclasses.replace(_config(tmp_path), model=options["model"])
    named = dataclasses.replace(written, sft=options["sft"], preference=options["preference"], out=str(tmp_path / "b"))
    found = [
        train(written, quiet=True, **rows),
        train(named, quiet=True),
        train(
            dataclasses.replace(_config(tmp_path), out=str(tmp_path / "c")),
            quiet=True,
            model=tiny.model(),
            tokenizer=tiny.tokenizer(),
            **{k: datasets.Dataset.from_list(v) for k, v in rows.items()},
        ),
    ]
    weights = {(r.folder / "adapter_model.safetensors").read_bytes() for r in found}
    assert len(weights) == 1
    told = [json.loads((r.folder / "run.json").read_text(encoding="utf-8")) for r in found]
    assert [t["in_memory"] for t in told] == [["sft", "preference"], [], ["model", "sft", "preference"]]
    assert len({json.dumps([t["identity"]["rows"], t["identity"]["base"]]) for t in told}) == 1


@pytest.mark.parametrize("options", [{}, {"lora_dropout": 0.3}, {"method": "sequential", "stack": True}])
def test_train_leaves_everything_else_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    model = tiny.model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    frozen = next(iter(model.parameters())).requires_grad_(False)
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    assert sorted(set(flags.values())) == [False, True]
    kinds = [type(m) for m in model.modules()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    capsys.readouterr()
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    result = train(_config(tmp_path, **options), model=model, tokenizer=tiny.tokenizer(), quiet=True, **sets)
    assert capsys.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert [type(m) for m in model.modules()] == kinds
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert not frozen.requires_grad
    assert not model.training
    assert {k: bool(torch.equal(v, before[k])) for k, v in model.state_dict().items()} == dict.fromkeys(before, True)
    assert (result.folder / "adapter_model.safetensors").is_file()


def test_wrong_input_leaves_a_model_in_memory_alone(tmp_path: Path) -> None:
    model = tiny.model()
    kinds = [type(m) for m in model.modules()]
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    with pytest.raises(ValueError, match=r"^lora_targets: zzz is no layer"):
        train(_config(tmp_path, lora_targets=("zzz",)), model=model, tokenizer=tiny.tokenizer(), quiet=True, **sets)
    assert [type(m) for m in model.modules()] == kinds
    assert all(p.requires_grad for p in model.parameters())
    assert not (tmp_path / "run").exists()


def test_a_model_needs_its_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^model and tokenizer: give both or neither$"):
        train(_config(tmp_path), model=tiny.model())
    assert not (tmp_path / "run").exists()


def test_all_weights_of_a_model_in_memory(tmp_path: Path) -> None:
    model = tiny.model()
    before = model.get_input_embeddings().weight.clone()
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    options = {**_config(tmp_path).as_dict(), "lora_rank": 0}
    result = train(TrainConfig(**options), model=model, tokenizer=tiny.tokenizer(), quiet=True, **sets)
    assert torch.equal(model.get_input_embeddings().weight, before)  # it is a copy that was trained
    assert (result.folder / "model.safetensors").is_file()
    assert all(p.requires_grad for p in model.parameters())
