"""The configuration: what is documented and checked, and what a result depends on."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import typing
from pathlib import Path
from typing import Any

import pytest
from support.wrong import fails

from llm import TrainConfig, options
from llm.common.arguments import annotations_of
from llm.common.cache import digest
from llm.config import GROUPS, INPUTS, RESULT, SINGLE_OBJECTIVE, unused_options
from toyopt.algorithms import RULES

NAMES = [f.name for f in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.__name__)
def test_every_option_is_documented(group: type) -> None:
    source = ast.parse(textwrap.dedent(inspect.getsource(group))).body[0]
    assert isinstance(source, ast.ClassDef)
    for i, node in enumerate(source.body):
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).startswith("ClassVar"):
            after = source.body[i + 1]
            assert isinstance(after, ast.Expr), ast.unparse(node)
            assert isinstance(after.value, ast.Constant), ast.unparse(node)
            assert isinstance(after.value.value, str), ast.unparse(node)


AT_LEAST_0 = ("optima_steps", "reference_steps", "sft_rows", "preference_rows", "window", "lora_rank", "warmup")
AT_LEAST_0 += ("optima_every", "benchmark_every", "benchmark_shots", "benchmark_limit")
AT_LEAST_0 += ("seed", "world_seed", "eval_every", "gap_rows", "threads", "keep_every", "patience")
AT_LEAST_1 = ("steps", "k", "batch_sft", "batch_preference", "lora_alpha", "eval_rows", "save_every")
AT_LEAST_1 += ("block",)
RANGES = [
    *((name, -1, "at least 0", [0]) for name in AT_LEAST_0),
    *((name, 0, "at least 1", [1]) for name in AT_LEAST_1),
    ("max_length", 1, "at least 2", [2]),
    ("micro_tokens", -1, "at least 0", [0, 1]),
    *((name, -0.01, "between 0 and 1", [0.0, 1.0]) for name in ("lam", "conflict", "overlap", "replay")),
    *((name, 1.01, "between 0 and 1", [0.0, 1.0]) for name in ("lam", "conflict", "overlap", "replay")),
    *((name, 0.0, "greater than 0", [1e-9]) for name in ("beta", "lr", "max_loss_ratio", "orpo_lambda", "rpo_alpha")),
    *(
        (name, -1e-9, "at least 0", [0.0])
        for name in ("weight_decay", "clip", "f_dpo_star", "f_sft_star", "router_aux_loss", "neftune_alpha")
    ),
    *((name, -1e-9, "at least 0", [0.0, 2.0]) for name in ("simpo_beta", "simpo_gamma")),
    *((f"{which}desirable_weight", -0.1, "at least 0", []) for which in ("", "un")),
    *(
        (name, 1.0, "less than 1", [0.0, 0.999])
        for name in ("held_out", "keep_prompt", "lora_dropout", "beta1", "beta2")
    ),
    *((name, -0.1, "at least 0", [0.0]) for name in ("held_out", "keep_prompt", "lora_dropout", "beta1", "beta2")),
    *((n, float("nan"), "finite", []) for n in ("lam", "lr", "clip", "max_loss_ratio", "held_out", "f_dpo_star")),
    ("lr", float("inf"), "finite", []),
    ("label_smoothing", 0.5, "less than 0.5", [0.0]),
    ("label_smoothing", -0.1, "at least 0", [0.0]),
]


@pytest.mark.parametrize(("name", "value", "must", "good"), RANGES, ids=lambda x: str(x))
def test_ranges(name: str, value: Any, must: str, good: list[Any]) -> None:
    fails(lambda: TrainConfig(**{name: value}), ValueError, f"{name}: must be", str(value))
    fails(lambda: TrainConfig(**{name: value}), ValueError, f"{name}: must be", must)
    for each in good:
        assert getattr(TrainConfig(**{name: each}), name) == each


def test_every_number_has_a_range() -> None:
    kinds = {name: typing.get_args(hint) or (hint,) for name, hint in annotations_of(TrainConfig).items()}
    numbers = {name for name, kind in kinds.items() if kind[0] in (int, float, float | None)}
    assert numbers == {name for name, *_ in RANGES}


WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("steps", 2.0, "a whole number"),
    ("steps", True, "a whole number"),
    ("steps", "4", "a whole number"),
    ("lr", True, "a number"),
    ("lr", "fast", "a number"),
    ("lr", None, "a number"),
    ("model", 3, "a text"),
    ("stack", 1, "true or false"),
    ("lora_targets", "q_proj", "a list of texts"),
    ("lora_targets", (1,), "a list of texts"),
    ("sft_columns", {"prompt": 1}, "names to names"),
    ("sft_columns", ["prompt"], "names to names"),
]


@pytest.mark.parametrize(("name", "value", "must"), WRONG_TYPES, ids=lambda x: str(x))
def test_types(name: str, value: Any, must: str) -> None:
    fails(lambda: TrainConfig(**{name: value}), TypeError, f"{name}: must be {must}", repr(value))


CHOICES = {
    "method": list(RULES),
    "order": ["dpo-sft", "sft-dpo"],
    "alternation": ["coin", "even"],
    "f_star": ["estimate", "lowest", "compute", "given"],
    "preference_loss": ["dpo", "ipo", "hinge", "cdpo", "robust", "rpo", "simpo", "orpo"],
    "sft_mean": ["step", "batch"],
    "keep_best": ["no", "f_dpo", "f_sft", "mix", "worst_gap", "ideal_distance"],
    "bad_rows": ["error", "drop"],
    "overflow": ["truncate", "drop", "error"],
    "sft_turns": ["last", "all"],
    "share_prompt": ["auto", "yes", "no"],
    "optimizer": ["adamw", "sgd"],
    "schedule": ["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"],
    "precision": ["fp32", "bf16"],
    "device": ["auto", "cpu"],
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    fails(lambda: TrainConfig(**{name: "zigzag"}), ValueError, f"{name}: must be one of", ", ".join(CHOICES[name]))
    fails(lambda: TrainConfig(**{name: "zigzag"}), ValueError, f"{name}: must be one of", "got zigzag")
    more = {"f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0}
    for each in CHOICES[name]:
        assert getattr(TrainConfig(**{**more, name: each}), name) == each


def test_trackers() -> None:
    fails(lambda: TrainConfig(log_with=("tensorboard", "paper")), ValueError, "log_with: each must be one of", "paper")  # type: ignore[arg-type]
    assert TrainConfig(log_with=("tensorboard", "wandb")).log_with == ("tensorboard", "wandb")


TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"f_star": "given", "f_dpo_star": 0.1}, "f_star: given needs both", "--f-sft-star"),
    ({"f_star": "given", "f_sft_star": 0.1}, "f_star: given needs both", "--f-dpo-star"),
    ({"stack": True}, "stack: is for the sequential method", "alright"),
    ({"stack": True, "method": "sequential", "lora_rank": 0}, "stack: is for the sequential method", "rank 0"),
    ({"average": True}, "average: is for the sequential method", "alright"),
    ({"average": True, "method": "sequential", "lora_rank": 0}, "average: is for the sequential method", "rank 0"),
    ({"average": True, "method": "sequential", "stack": True}, "average: stack", "one of the two"),
    ({"average": True, "method": "sequential", "stage_reset": False}, "average: the second stage's", "stage_reset"),
    ({"stack": True, "method": "sequential", "stage_reset": False}, "stack: the second stage's", "stage_reset"),
    (
        {"preference_loss": "orpo", "method": "maxright", "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0},
        "f_star: given is f_DPO*",
        "f_orpo",
    ),
    (
        {"preference_loss": "ipo", "method": "maxright", "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0},
        "f_star: given is f_DPO*",
        "f_ipo",
    ),
    ({"label_smoothing": 0.1}, "label_smoothing: dpo has none, got 0.1", "cdpo or robust"),
    (
        {"preference_loss": "robust", "label_smoothing": 0.1, "method": "maxright"},
        "preference_loss: robust with label_smoothing 0.1 has no lower bound",
        "use cdpo",
    ),
    ({"label_smoothing": 0.1, "preference_loss": "hinge"}, "label_smoothing: hinge has none", "cdpo or robust"),
    ({"desirable_weight": 2.0}, "desirable_weight: dpo has none, got 2.0", "--preference-loss kto"),
    ({"undesirable_weight": 2.0, "preference_loss": "ipo"}, "undesirable_weight: ipo has none", "got 2.0"),
    ({"preference_loss": "kto", "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0}, "f_star: given is", "kto"),
    ({"preference_loss": "kto", "order": "sft"}, "order: must be one of kto-sft, sft-kto", "got sft"),
    ({"adapter": "x", "lora_rank": 0}, "adapter: cannot be trained on with lora_rank 0", "all weights"),
    ({"precision": "bf16", "lora_rank": 0}, "precision: bf16 would round most updates of all weights", "use fp32"),
    ({"reference": "sft", "lora_rank": 0}, "reference: with lora_rank 0", "got sft"),
    ({"neftune_alpha": 5.0, "compile": True}, "neftune_alpha: not with compile", "one of the two"),
    ({"keep_best": "mix", "eval_every": 0}, "keep_best: mix is measured by evaluations", "--eval-every"),
    ({"keep_best": "worst_gap"}, "keep_best: worst_gap is measured from optima", "--f-star compute"),
    ({"keep_best": "ideal_distance", "f_star": "lowest"}, "keep_best: ideal_distance is measured from", "or mix"),
    ({"keep_best": "f_dpo", "method": "sequential", "average": True}, "keep_best: with average", "f_dpo"),
    ({"patience": 3}, "patience: counts evaluations without a better one, got 3", "--keep-best"),
    ({"warmup": 3}, "warmup: the schedule constant has none, got 3", "--schedule constant_with_warmup"),
]


@pytest.mark.parametrize(("values", "begins", "shows"), TOGETHER, ids=lambda x: str(x))
def test_what_does_not_go_together(values: dict[str, Any], begins: str, shows: str) -> None:
    fails(lambda: TrainConfig(**values), ValueError, begins, shows)


def test_how_a_value_is_written_changes_nothing() -> None:
    a, b = TrainConfig(lam=1, lora_targets=["q", "v"]), TrainConfig(lam=1.0, lora_targets=("q", "v"))  # type: ignore[arg-type]
    assert a == b
    assert digest(a.as_dict()) == digest(b.as_dict())


def test_as_dict_is_plain_and_whole() -> None:
    made = TrainConfig.preset("pythia-1b-xright", sft_columns={"prompt": "q"}, log_with=["wandb"])
    values = json.loads(json.dumps(made.as_dict()))
    assert list(values) == NAMES
    assert TrainConfig(**values) == made


def test_every_option_is_in_one_group() -> None:
    names = [f.name for group in GROUPS for f in dataclasses.fields(group)]
    assert names == NAMES
    assert set(RESULT) | {options.MachineOptions, options.RunOptions} == set(GROUPS)
    assert not set(INPUTS) & set(SINGLE_OBJECTIVE)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_depends_on_every_option_but_those_of_machine_and_run(name: str) -> None:
    outside = {f.name for g in (options.MachineOptions, options.RunOptions) for f in dataclasses.fields(g)}
    assert (name in TrainConfig().values_of(*RESULT)) == (name not in outside)


def test_options_that_a_rule_does_not_read_are_those_of_other_rules() -> None:
    assert "k" not in unused_options("maxright")
    assert unused_options("maxright")["replay"] == TrainConfig().replay
    assert {"stack", "average", "block", "k"} < set(unused_options("mix"))
    assert not {"lam", "order", "f_star", "lr"} & set(unused_options("mix"))
    assert "stage_reset" not in unused_options("replay")


def test_folders() -> None:
    assert TrainConfig(out="a/b").folder == Path("a/b")
    named = TrainConfig(model="EleutherAI/pythia-1b", method="mix", lam=0.25, seed=3).folder
    assert named == Path("runs/pythia-1b-mix-lam0.25-seed3")
    assert TrainConfig(cache="~/x").cache_folder == Path("~/x").expanduser()
    assert TrainConfig().cache_folder == Path("~/.cache/forget-neither").expanduser()


def test_dpo_in_an_order_stands_for_any_loss_on_preferences() -> None:
    assert TrainConfig(preference_loss="kto", order="sft-dpo").order == "sft-kto"
    assert TrainConfig(preference_loss="kto").order == "kto-sft"
    assert TrainConfig(preference_loss="simpo", order="sft-dpo").order == "sft-dpo"
