"""Texts to unit vectors, whose inner products are cosines: from a base model's tokens, or by a sentence encoder.

token   the mean of the base model's input embeddings of the text's tokens; the order of words does not matter
hidden  the mean of its last hidden states
a name  an encoder of Hugging Face, pooled as sentence-transformers pools it: the mean over tokens, or the first token
        where its own `1_Pooling/config.json` says so
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llm.common.files import read_json
from llm.config import TrainConfig
from llm.models.architecture import is_encoder_decoder, max_positions
from llm.models.loading import load_base, load_tokenizer

Vectors = NDArray[np.float32]
Report = Callable[[int, int], None]

OF_A_MODEL = ("token", "hidden")
LONGEST = 512  # tokens, where the encoder does not say it


class Embedder:
    """`embed(texts)` gives (len(texts), d) float32, each of length 1.

    kind     "token", "hidden", or the folder or hub name of a sentence encoder
    model    for "token" and "hidden": the folder or hub name of the base model
    batch    texts at once
    longest  tokens of a text that count; 0: as many as the encoder takes

    FileNotFoundError, in one line, for what is not there.
    """

    def __init__(
        self, kind: str = "token", *, model: str = "", batch: int = 64, longest: int = 0, remote_code: bool = False
    ) -> None:
        if kind in OF_A_MODEL and not model:
            raise ValueError(f"model: the embedder {kind} needs a base model; give its folder or hub name by --model")
        name = model if kind in OF_A_MODEL else kind
        config = TrainConfig(remote_code=remote_code)
        self.kind, self.batch = kind, batch
        self.tokenizer = load_tokenizer(name, config)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        body = _encoder(name, remote_code) if kind not in OF_A_MODEL else load_base(name, config).base_model
        self.model = body.to(self.device).eval()
        self.first = kind not in OF_A_MODEL and _first_token(name)
        self.longest = longest or _longest(name, self.tokenizer, self.model)

    def __call__(self, texts: Sequence[str], report: Report | None = None) -> Vectors:
        """The vectors of the texts. ValueError if one has no token."""
        special = self.kind not in OF_A_MODEL  # an encoder has learnt to see its marks
        ids = [self._ids(text, special) for text in texts]
        order = np.argsort([len(i) for i in ids], kind="stable")  # little padding
        found: list[Vectors | None] = [None] * len(ids)
        for start in range(0, len(ids), self.batch):
            rows = order[start : start + self.batch]
            for row, vector in zip(rows, self._vectors([ids[r] for r in rows]), strict=True):
                found[row] = vector
            if report:
                report(min(start + self.batch, len(ids)), len(ids))
        return np.stack([v for v in found if v is not None])

    def _ids(self, text: str, special: bool) -> list[int]:
        ids = list(
            self.tokenizer(text, add_special_tokens=special, truncation=True, max_length=self.longest)["input_ids"]
        )
        if not ids:
            raise ValueError(f"embedder: the tokenizer makes no token of the text {text[:40]!r}")
        return ids

    @torch.no_grad()
    def _vectors(self, rows: list[list[int]]) -> Vectors:
        width = max(map(len, rows))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.device)
        if self.kind == "token":
            states = self.model.get_input_embeddings()(ids)
        else:
            inner = self.model.get_encoder() if is_encoder_decoder(self.model) else self.model
            states = inner(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.float()
        mean = (states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        pooled = states[:, 0] if self.first else mean
        unit: Vectors = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return unit


def _encoder(name: str, remote_code: bool) -> Any:
    """A model without a head; safetensors only, as for all models here."""
    from transformers import AutoModel

    try:
        return AutoModel.from_pretrained(
            str(Path(name).resolve()) if Path(name).is_dir() else name,
            dtype=torch.float32,
            trust_remote_code=remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise FileNotFoundError(f"embedder: {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error


def _first_token(name: str) -> bool:
    """Whether a sentence encoder says that its first token stands for the text. ValueError for other poolings."""
    pooling = _settings(name, "1_Pooling/config.json")
    chosen = [k for k, v in pooling.items() if k.startswith("pooling_mode_") and v is True]
    if not chosen or chosen == ["pooling_mode_mean_tokens"]:
        return False
    if chosen == ["pooling_mode_cls_token"]:
        return True
    raise ValueError(f"embedder: {name} asks for {', '.join(chosen)}; there are the mean over tokens and the first one")


def _longest(name: str, tokenizer: Any, model: Any) -> int:
    """The most tokens of a text: what a sentence encoder says, and no more than tokenizer and model take."""
    own = _settings(name, "sentence_bert_config.json").get("max_seq_length") or LONGEST
    places = max_positions(model) or own
    return int(min(own, tokenizer.model_max_length, places))


def _settings(name: str, file: str) -> dict[str, Any]:
    """A .json of a model's folder or of its repository on the hub; empty if there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return dict(read_json(Path(path))) if path else {}
