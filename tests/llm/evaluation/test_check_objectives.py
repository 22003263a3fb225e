"""The command `check` on any number of objectives, on a finished run, and on options that no check depends on."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_models as tiny
from support.text_data import says, user

from llm.cli import main
from llm.config import TrainConfig
from llm.data.tokenization import TokenizedDataset
from llm.evaluation.check import CheckConfig, check
from llm.evaluation.conformance import plain
from llm.evaluation.conformance.configuration import checked_config
from llm.evaluation.conformance.finding import Finding
from llm.losses import PREFERENCE_LOSSES
from llm.models import policy

gc.freeze()  # an engine collects garbage when it closes, half a second each with all that torch and its like keep


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an SFT set of conversations, and two sets of pairs."""
    folder = tmp_path_factory.mktemp("place")
    tiny.base(folder / "base", "llama")
    rows = tiny.sft_rows(8)
    turns = [
        {"messages": [user(a["prompt"]), says(a["completion"]), user(b["prompt"]), says(b["completion"])]}
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    ]
    sets = {"turns": turns, "sft": rows, "pairs": tiny.preference_rows(6), "others": tiny.preference_rows(6, seed=5)}
    for name, table in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return folder


def options(place: Path, **changes: Any) -> CheckConfig:
    given = {
        "model": str(place / "base"), "device": "cpu", "lora_rank": 4, "cache": str(place / "cache"), "rows": 2,
        "max_length": 64,
    }  # fmt: skip
    return CheckConfig(**given | changes)


def three(place: Path, **changes: Any) -> CheckConfig:
    """Return a check of three objectives with losses, turns and held-out sets of their own."""
    tables = (
        {"name": "talk", "kind": "sft", "source": str(place / "turns.jsonl"), "turns": "all", "weight": 0.2},
        {"name": "short", "kind": "preference", "source": str(place / "pairs.jsonl"), "loss": "simpo", "batch": 3},
        {
            "name": "near", "kind": "preference", "source": str(place / "others.jsonl"), "loss": "ipo", "beta": 0.5,
            "evaluation": str(place / "pairs.jsonl"),
        },
    )  # fmt: skip
    return options(place, objective=tables, method="maxright", **changes)


def wrong(findings: list[Finding]) -> set[str]:
    return {f"{f.group}: {f.claim}" for f in findings if f.holds is False}


@pytest.mark.slow
def test_every_objective_is_checked_by_its_own_loss_on_its_own_set(place: Path) -> None:
    findings = check(three(place, keep_best="mix", eval_every=1, patience=2))
    assert wrong(findings) == set()
    numbers = [f.claim for f in findings if f.group == "as configured"]
    losses = ["f_talk", "f_short", "f_near"]
    assert numbers == ["log-probabilities", *losses, *(f"gradient of {name}" for name in losses)]
    assert {f.group for f in findings} >= {"tokens, talk", "tokens, short", "tokens, near", "adapter", "generation"}
    started = {f.claim.split()[0]: f.holds for f in findings if f.group == "start"}
    assert started == {"f_short": True, "f_near": True}


@pytest.mark.slow
def test_a_wrong_gradient_of_an_objective_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward: Callable[..., torch.Tensor] = policy.Policy.forward

    def doubled(self: Any, batch: Any) -> torch.Tensor:
        return forward(self, batch) * (1.0 if batch.segments is None or not self.training else 1.01)

    monkeypatch.setattr(policy.Policy, "forward", doubled)
    found = wrong(check(three(place, parts=("forward",))))
    first = {claim for claim in found if claim.startswith("as configured")}
    assert first == {"as configured: gradient of f_short", "as configured: gradient of f_near"}


@pytest.mark.slow
def test_a_loss_in_dpos_place_is_checked_beside_f_dpo(place: Path) -> None:
    sets = {"sft": str(place / "sft.jsonl"), "preference": str(place / "pairs.jsonl")}
    findings = check(options(place, **sets, preference_loss="hinge", parts=("forward", "start")))
    assert wrong(findings) == set()
    assert {"f_DPO", "f_SFT", "f_HINGE", "gradient of f_HINGE"} <= {f.claim for f in findings}
    assert {f.claim.split()[0] for f in findings if f.group == "start"} == {"f_HINGE"}


@pytest.mark.slow
def test_turns_that_are_not_trained_do_not_count(place: Path) -> None:
    sets = {"sft": str(place / "turns.jsonl"), "preference": str(place / "pairs.jsonl")}
    assert wrong(check(options(place, **sets, sft_turns="all", parts=("forward",)))) == set()


def test_plain_losses_are_of_the_trained_tokens() -> None:
    arrays = np.array([3, 4], np.int32), np.array([5, 6, 7], np.int32)
    mask = (np.array([True, False, True]),)
    tokens = TokenizedDataset("sft", arrays[:1], ((arrays[1],),), ("0" * 16,), 0, 0, 0, trained=mask)
    model = tiny.model("llama")
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([[3, 4, 5, 6, 7]])).logits[0].log_softmax(-1)
        expected = float(logps[1, 5] + logps[3, 7])
        assert float(plain.response_logps(model, tokens)) == pytest.approx(expected, rel=1e-6)
        assert float(plain.f_sft(torch.tensor([[expected]]), tokens)) == pytest.approx(-expected / 2)


def test_a_check_depends_on_no_option_about_what_a_run_keeps_and_holds_out(place: Path) -> None:
    config = three(place, keep_best="worst_gap", f_star="compute", eval_every=5, patience=3, steps=50, batch_sft=9)
    checked = checked_config(config)
    assert [(o.batch, o.held_out, o.evaluation) for o in checked.objectives] == [(1, 0.0, "")] * 3
    assert (checked.keep_best, checked.f_star, checked.patience) == ("no", "estimate", 0)
    losses = [o.loss for o in checked.objectives]
    assert losses == [o.loss for o in config.objectives]
    assert losses[2] == PREFERENCE_LOSSES["ipo"].from_options(TrainConfig(beta=0.5))


@pytest.mark.slow
def test_a_finished_run_is_checked_with_its_adapter_and_its_objectives(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "--lora-targets q_proj --steps 2 --eval-every 0 --held-out 0.3 --max-length 64".split()
    objectives = (
        f"--objective a=sft:{place / 'sft.jsonl'} batch=2 --objective b=preference:{place / 'pairs.jsonl'} batch=2"
    )
    paths = ["--model", str(place / "base"), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["train", "--device", "cpu", "--lora-rank", "4", *own, *paths, *objectives.split()]) == 0
    capsys.readouterr()
    run = ["--run", str(tmp_path / "run"), "--rows", "2"]
    assert main(["check", *run, "--parts", "tokens", "start", "adapter"]) == 0
    printed = capsys.readouterr().out
    assert "tokens, a " in printed
    assert "f_b is ln 2" in printed
    assert "does not begin as DPO's reference" in printed.replace("\n", " ")
    assert main(["check", "--run", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
