"""Every architecture of transformers: the trainer's numbers beside plain forward passes of each row alone.

The rows are shorter and longer than every window, chunk and original context; the models are those of
`support.architectures`. `make test-deep` takes all of them, and the representatives in every layout; `make test` takes
the representatives in two layouts each, all of which occur, and every 30th other one.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
from support import architectures
from support.architectures import subject
from support.depth import DEEP

from llm.evaluation.conformance.finding import Finding
from llm.evaluation.conformance.forward import LAYOUTS, SAME, check_layouts

gc.freeze()  # an engine collects garbage when it closes, half a second each with all that torch and its like keep

# PEFT says so of fused experts' parameters, which its own choice of layers leaves out.
pytestmark = pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning")
REPRESENTATIVES = (
    "mistral", "gemma2", "gpt_oss", "llama4_text", "phi3+longrope", "bamba", "qwen3_next", "deepseek_v3", "gpt2",
    "t5/seq2seq", *(("mixtral", "mamba2", "gpt_neo", "bloom", "bart/seq2seq") if DEEP else ()),
)  # fmt: skip


TRAINED = sorted(set(architectures.names()) - set(architectures.LEFT_OUT) - set(architectures.REFUSED))
STRIDE = 1 if DEEP else 30
# The layouts that the representatives are compared in include the one of this test.
CHOSEN = [name for i, name in enumerate(TRAINED) if i % STRIDE == 0 and name not in REPRESENTATIVES]
# Attention as configured is eager or SDPA already, so that one of both layouts repeats the first.
OTHERS = [name for name in LAYOUTS if name not in ("as configured", "sdpa attention")]


def layouts(name: str) -> dict[str, dict[str, Any]]:
    """Return the layouts that a representative is compared in: all, or the first one and another in turn."""
    chosen = {"as configured", OTHERS[REPRESENTATIVES.index(name) % len(OTHERS)]}
    return {key: options for key, options in LAYOUTS.items() if DEEP or key in chosen}


def wrong(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.holds is False]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", CHOSEN)
def test_numbers_are_those_of_plain_forward_passes(name: str) -> None:
    findings = list(check_layouts(subject(name), {"as configured": {}}))
    assert wrong(findings) == []
    assert [f.claim for f in findings if f.group == "as configured"] == [
        "log-probabilities", "f_DPO", "f_SFT", "gradient of f_DPO", "gradient of f_SFT",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_numbers_are_the_same_in_every_layout(name: str) -> None:
    findings = list(check_layouts(subject(name), layouts(name)))
    assert wrong(findings) == []
    assert len({f.group for f in findings if f.holds or f.claim == SAME}) >= (5 if DEEP else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", architectures.REFUSED)
def test_models_whose_rows_cannot_be_trained_apart_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"^model: .*{architectures.REFUSED[name]}") as caught:  # noqa: SIM117
        with subject(name).opened({}):
            raise AssertionError("the model was opened")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", architectures.LEFT_OUT)
def test_architectures_that_are_left_out_cannot_be_built(name: str) -> None:
    assert name in architectures.names()
    error, reason = architectures.LEFT_OUT[name]
    assert reason
    with pytest.raises(Exception, match=error):
        architectures.build(name)


def test_hints_are_of_existing_architectures() -> None:
    from transformers import CONFIG_MAPPING

    assert set(architectures.HINTS) <= set(CONFIG_MAPPING)
    assert set(architectures.REFUSED) <= set(architectures.names())
    assert {kind for kind, _ in architectures.VARIANTS.values()} <= set(CONFIG_MAPPING)
    assert set(architectures.LEFT_OUT) <= set(architectures.names())
