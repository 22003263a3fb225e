"""Fields of PEFT's LoraConfig by name: values, types, and one line for every field that cannot be set."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
from support.wrong import fails

pytest.importorskip("peft")

from peft import LoraConfig

from llm import TrainConfig
from llm.models.lora_settings import JOINABLE, OWN_OPTION, REFUSED, lora_settings, parse_settings

GOOD: list[tuple[str, Any]] = [
    ("use_dora=true", True),
    ("use_dora=True", True),
    ("use_rslora=false", False),
    ("init_lora_weights=pissa", "pissa"),
    ("init_lora_weights=pissa_niter_16", "pissa_niter_16"),
    ("init_lora_weights=true", True),
    ("modules_to_save=none", None),
    ('modules_to_save=["lm_head"]', ["lm_head"]),
    ("layers_to_transform=3", 3),
    ("layers_to_transform=[0, 3]", [0, 3]),
    ("layers_pattern=layers", "layers"),
    ('rank_pattern={"q_proj": 4}', {"q_proj": 4}),
    ('trainable_token_indices={"embed_tokens": [1, 2]}', {"embed_tokens": [1, 2]}),
]


@pytest.mark.parametrize(("text", "value"), GOOD)
def test_values_are_read_by_the_type_of_the_field(text: str, value: Any) -> None:
    name = text.partition("=")[0]
    assert lora_settings([text]) == {name: value}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's own, about fields that are given alone
        more = {"layers_to_transform": [0]} if name == "layers_pattern" else {}
        assert getattr(LoraConfig(**{name: value}, **more), name) == value


def test_objects_become_pefts_classes() -> None:
    from peft.tuners.lora.config import VeloraConfig

    (made,) = lora_settings(['velora_config={"num_groups": 2}']).values()
    assert made == VeloraConfig(num_groups=2)


WRONG: list[tuple[str, type[Exception], str, str]] = [
    ("use_dora", ValueError, "lora: each must be NAME=VALUE", "use_dora"),
    ("=true", ValueError, "lora: each must be NAME=VALUE", "=true"),
    ("user_dora=true", ValueError, "lora: user_dora is no field", "did you mean use_dora?"),
    ("use_dora=1", TypeError, "lora: use_dora must be true or false", "1"),
    ("use_dora=yes", TypeError, "lora: use_dora must be true or false", "yes"),
    ("init_lora_weights=nonsense", TypeError, "lora: init_lora_weights must be", "nonsense"),
    ("init_lora_weights=pissa_niter_x", TypeError, "lora: init_lora_weights must be", "pissa_niter_x"),
    ("rank_pattern=[1]", TypeError, "lora: rank_pattern must be an object in JSON", "[1]"),
    ("layers_to_transform=[true]", TypeError, "lora: layers_to_transform must be", "[true]"),
    ("modules_to_save=lm_head", TypeError, "lora: modules_to_save must be a list in JSON", "lm_head"),
    ('velora_config={"groups": 2}', TypeError, "lora: velora_config has no entry groups", "num_groups"),
    ("init_lora_weights=eva", ValueError, "lora: init_lora_weights=eva needs passes over data", "pissa"),
    ("init_lora_weights=loftq", ValueError, "lora: init_lora_weights=loftq needs", "quantised"),
]


@pytest.mark.parametrize(("text", "kind", "begins", "shows"), WRONG)
def test_wrong_settings_are_one_line(text: str, kind: type[Exception], begins: str, shows: str) -> None:
    fails(lambda: lora_settings([text]), kind, begins, shows)


@pytest.mark.parametrize(("name", "option"), OWN_OPTION.items())
def test_fields_with_an_option_of_their_own_are_refused_with_its_name(name: str, option: str) -> None:
    fails(lambda: TrainConfig(lora=(f"{name}=3",)), ValueError, f"lora: {name} has an option of its own", option)
    assert option.removeprefix("--").replace("-", "_") in {f.name for f in dataclasses.fields(TrainConfig)}


def test_every_field_that_is_named_here_is_one_of_pefts() -> None:
    known = {f.name for f in dataclasses.fields(LoraConfig)}
    assert {*OWN_OPTION, *REFUSED, *JOINABLE} - known <= {"inference_mode", "revision", "peft_version"}
    for name in REFUSED:
        fails(lambda name=name: parse_settings([f"{name}=x"]), ValueError, f"lora: {name} ", "leave it out")


TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"lora": ("use_dora=true",), "lora_rank": 0}, "lora: with lora_rank 0 there is no adapter", "leave it out"),
    ({"lora": ("use_dora=true",), "adapter": "x"}, "lora: --adapter goes on", "leave it out"),
    ({"lora": ("use_dora=true", "use_dora=true")}, "lora: use_dora is given twice", "once"),
    ({"lora": ("init_lora_weights=pissa",), "precision": "bf16"}, "lora: init_lora_weights=pissa", "--precision fp32"),
    (
        {"lora": ("init_lora_weights=olora", "use_rslora=true", 'rank_pattern={"a":1}')},
        "lora: init_lora_weights=olora with use_rslora",
        "leave one",
    ),
    ({"lora": ("use_dora=true",), "method": "sequential", "stack": True}, "lora: stack joins adapters", "use_dora"),
    ({"lora": ("lora_bias=true",), "method": "sequential", "average": True}, "lora: average joins", "lora_bias"),
]


@pytest.mark.parametrize(("values", "begins", "shows"), TOGETHER, ids=lambda x: str(x))
def test_settings_that_do_not_go_with_other_options(values: dict[str, Any], begins: str, shows: str) -> None:
    fails(lambda: TrainConfig(**values), ValueError, begins, shows)


def test_a_configuration_takes_a_list_of_a_file() -> None:
    assert TrainConfig(lora=["use_dora=true"]).lora == ("use_dora=true",)  # type: ignore[arg-type]
