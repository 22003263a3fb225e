"""Numbers of positions: as many tokens as a model's own forward pass takes, and not one more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import architectures
from support.depth import DEEP
from support.families import logp

from llm import TrainConfig
from llm.data.collate import collate
from llm.data.splits import Datasets
from llm.data.tokenization import TokenizedDataset
from llm.models.architecture import is_encoder_decoder
from llm.models.policy import Policy
from llm.models.position_limits import max_positions, max_prompt_positions
from llm.training.inputs import check_fits

# Architectures whose forward pass fails beyond a length. RoBERTa's and its like count from the padding id + 1; LED,
# Whisper and MPT have other names for their number in the configuration.
HARD = ("roberta", "led/seq2seq", "whisper", "mpt", "opt", "git", "bart/seq2seq", "marian")
EVERY = sorted(set(architectures.names()) - set(architectures.LEFT_OUT) - set(architectures.REFUSED))


def ids(n: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(n).integers(3, architectures.VOCABULARY, n))[None]


def takes(model: Any, prompt: int, response: int) -> bool:
    """Return whether transformers' forward pass gives numbers for so many tokens; a causal model's are one text."""
    inputs = {"input_ids": ids(prompt), "decoder_input_ids": ids(response)}
    try:
        with torch.no_grad():
            model(**(inputs if is_encoder_decoder(model) else {"input_ids": ids(response)}))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", EVERY if DEEP else HARD)
def test_the_limit_is_that_of_the_forward_pass(name: str) -> None:
    model = architectures.build(name)
    limit, prompts = max_positions(model), max_prompt_positions(model)
    if limit is None or prompts is None:
        assert takes(model, 2 * architectures.POSITIONS, 2 * architectures.POSITIONS)
        return
    assert takes(model, prompts, limit)
    assert name not in HARD or not takes(model, 8, limit + 1)  # rotary positions go on
    assert name not in HARD or not is_encoder_decoder(model) or not takes(model, prompts + 1, 8)
    if DEEP and takes(model, 8, limit + 3) is False:
        assert not takes(model, 8, limit + 1)


def dataset(prompt: int, response: int) -> TokenizedDataset:
    """One row of an SFT set with so many tokens."""
    rows = [ids(n)[0].numpy().astype(np.int32) for n in (prompt, response)]
    return TokenizedDataset("sft", (rows[0],), ((rows[1],),), ("0" * 16,), 0, 0, 0)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", ["roberta", "mpt", "whisper", "opt"])
def test_a_row_at_the_limit_is_right_and_one_beyond_is_too_long(name: str) -> None:
    found = architectures.subject(name)
    model = found.base.model
    limit = max_positions(model)
    assert limit is not None
    policy = Policy(model).eval()
    policy.positions = name not in ("roberta", "whisper", "opt")
    tokens = dataset(40, limit - 40)
    with torch.no_grad():
        given = float(policy(collate(tokens.prompts, tokens.responses))[0])
    assert given == pytest.approx(logp(model, tokens.prompts[0], tokens.responses[0][0]), rel=1e-5)
    asked = TrainConfig(batch_sft=1, batch_preference=1)
    sets = {"sft": tokens, "preference": found.rows}
    check_fits(Datasets(sets, {}), model, asked)
    with pytest.raises(ValueError, match=f"^sft: a row has {limit + 1} tokens, and the model takes {limit}; use --max"):
        check_fits(Datasets(sets | {"sft": dataset(40, limit - 39)}, {}), model, asked)


@pytest.mark.slow
def test_an_encoder_and_its_decoder_have_limits_of_their_own() -> None:
    from transformers import AutoModelForSeq2SeqLM, LEDConfig

    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 64}
    sizes |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "attention_window": 8}
    config = LEDConfig(**sizes, max_encoder_position_embeddings=48, max_decoder_position_embeddings=16)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    assert (max_prompt_positions(model), max_positions(model)) == (48, 16)
    assert takes(model, 48, 16)
    assert not takes(model, 48, 17)
    asked = TrainConfig(batch_sft=1, batch_preference=1)
    sets = {"sft": dataset(48, 16), "preference": dataset(48, 16)}
    check_fits(Datasets(sets, {}), model, asked)
    with pytest.raises(ValueError, match=r"^sft: a row has 17 tokens, and the model takes 16; use --max-length 16$"):
        check_fits(Datasets(sets | {"sft": dataset(8, 17)}, {}), model, asked)
