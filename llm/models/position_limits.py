"""The largest number of tokens that a model has positions for, from its position embeddings and its configuration.

The configuration names a number that some families do not reach: RoBERTa and its like count positions from the padding
id + 1, so that a table of 514 rows is for 512 tokens. Other families have a number under a name of their own (LED,
Whisper, MPT), or another number for the prompt than for the response.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from llm.models.architecture import is_encoder_decoder

# Names of learned tables of positions, of tables that are for distances, and of towers that read no text.
_TABLE = re.compile(r"(?!.*(relative|distance)).*(position|wpe|pos_emb)")
_NO_TEXT = re.compile(r"vision|visual|image|audio|speech")
_LIMITS = ("max_position_embeddings", "max_seq_len")


def max_positions(model: Any) -> int | None:
    """Return the largest number of tokens in a sequence, of an encoder-decoder in a response; None without a limit."""
    return _limit(model, model.get_decoder() if is_encoder_decoder(model) else model)


def max_prompt_positions(model: Any) -> int | None:
    """Return the largest number of tokens that an encoder takes as a prompt, or `max_positions` without an encoder."""
    return _limit(model, model.get_encoder()) if is_encoder_decoder(model) else max_positions(model)


def _limit(model: Any, part: Any) -> int | None:
    """Return the least limit of the tables and of the configuration of a part of a model, such as its decoder."""
    described = getattr(part, "config", model.config).get_text_config()
    named = (getattr(described, name, None) for name in _LIMITS)
    configured = next((int(number) for number in named if number), None)
    return min([*_table_sizes(part), *([] if configured is None else [configured])], default=None)


def _table_sizes(part: nn.Module) -> list[int]:
    """Return the number of tokens that each learned table of text positions has rows for."""
    sizes = []
    for name, module in part.named_modules():
        if isinstance(module, nn.Embedding) and _is_table(name):
            # BART and OPT keep `offset` rows before position 0; tables with a padding id begin after its row.
            unused = int(getattr(module, "offset", 0)) + (0 if module.padding_idx is None else module.padding_idx + 1)
            sizes.append(module.num_embeddings - unused)
    return sizes


def _is_table(name: str) -> bool:
    """Return whether a module's path names a table of positions of text."""
    return _NO_TEXT.search(name) is None and any(_TABLE.match(segment) for segment in name.split("."))
