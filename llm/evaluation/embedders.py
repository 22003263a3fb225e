"""Texts to unit vectors, whose inner products are cosines: from a base model's tokens, or by a sentence encoder.

token   mean of the base model's input embeddings over the text's tokens; the order of words does not matter
hidden  mean of the base model's last hidden states
a name  a sentence encoder: a hub name or a folder, through the package sentence-transformers
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llm.config import TrainConfig
from llm.models.architecture import is_encoder_decoder
from llm.models.loading import load_base, load_tokenizer
from llm.models.position_limits import max_prompt_positions

Vectors = NDArray[np.float32]
Report = Callable[[int, int], None]

OF_A_MODEL = ("token", "hidden")
LONGEST = 512  # tokens, where neither the encoder nor its tokenizer has a maximum
_CHUNK = 16  # batches between two reports of progress of a sentence encoder


class Embedder:
    """Embedding of texts: `embed(texts)` returns (len(texts), d) float32 rows of length 1.

    kind     "token", "hidden", or the folder or hub name of a sentence encoder
    model    for "token" and "hidden": the folder or hub name of the base model
    batch    number of texts in a batch
    longest  maximum number of tokens of a text, which is cut there; 0: the model's maximum, which replaces it

    Raises FileNotFoundError or ValueError, in one line, for an absent model or package.
    """

    def __init__(
        self, kind: str = "token", *, model: str = "", batch: int = 64, longest: int = 0, remote_code: bool = False
    ) -> None:
        if kind in OF_A_MODEL and not model:
            raise ValueError(f"model: the embedder {kind} needs a base model; give its folder or hub name by --model")
        self.batch = batch
        self._encode, self.longest = (
            _model_means(kind, model, longest, remote_code)
            if kind in OF_A_MODEL
            else _sentence_encoder(kind, longest, remote_code)
        )

    def __call__(self, texts: Sequence[str], report: Report | None = None) -> Vectors:
        """Return the vectors of the texts, shape (len(texts), d); ValueError for a text without a token."""
        order = np.argsort([len(text) for text in texts], kind="stable")  # texts of similar lengths need little padding
        size = self.batch * _CHUNK
        rows: list[Vectors] = []
        for start in range(0, len(order), size):
            rows.append(self._encode([texts[i] for i in order[start : start + size]], self.batch))
            if report:
                report(min(start + size, len(order)), len(order))
        return np.concatenate(rows)[np.argsort(order, kind="stable")]


Encode = Callable[[Sequence[str], int], Vectors]  # (texts, number of texts in a batch) -> unit vectors


def _model_means(kind: str, name: str, longest: int, remote_code: bool) -> tuple[Encode, int]:
    """Return the embedding by means of a base model's vectors, and its maximum number of tokens.

    The vectors are input embeddings for the kind "token", last hidden states for "hidden".
    """
    config = TrainConfig(remote_code=remote_code)
    tokenizer = load_tokenizer(name, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_base(name, config).base_model.to(device).eval()
    context = max_prompt_positions(model) or LONGEST
    cut = longest or int(min(LONGEST, tokenizer.model_max_length, context))

    def token_ids(text: str) -> list[int]:
        ids = list(tokenizer(text, add_special_tokens=False, truncation=True, max_length=cut)["input_ids"])
        if not ids:
            raise ValueError(f"embedder: the tokenizer makes no token of the text {text[:40]!r}")
        return ids

    @torch.no_grad()
    def encode_batch(rows: Sequence[list[int]]) -> Vectors:
        width, pad = max(map(len, rows)), tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        if kind == "token":
            states = model.get_input_embeddings()(ids)
        else:
            inner = model.get_encoder() if is_encoder_decoder(model) else model
            states = inner(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states.float() * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        unit: Vectors = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return unit

    def encode(texts: Sequence[str], batch: int) -> Vectors:
        ids = [token_ids(text) for text in texts]
        return np.concatenate([encode_batch(ids[start : start + batch]) for start in range(0, len(ids), batch)])

    return encode, cut


def _sentence_encoder(name: str, longest: int, remote_code: bool) -> tuple[Encode, int]:
    """Return the embedding by a sentence encoder with its own pooling, and its maximum number of tokens."""
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise FileNotFoundError(f"embedder: there is no folder {name}")
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ValueError("embedder: sentence-transformers is not installed; pip install -e '.[similarity]'")
    from sentence_transformers import SentenceTransformer

    try:
        model: Any = SentenceTransformer(
            str(Path(name).expanduser().resolve()) if Path(name).expanduser().is_dir() else name,
            trust_remote_code=remote_code,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except (OSError, ValueError, ImportError) as error:
        raise FileNotFoundError(f"embedder: {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    model.max_seq_length = longest or model.max_seq_length or LONGEST

    def encode(texts: Sequence[str], batch: int) -> Vectors:
        vectors: Vectors = model.encode(
            list(texts), batch_size=batch, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
        )
        return vectors

    return encode, int(model.max_seq_length)
