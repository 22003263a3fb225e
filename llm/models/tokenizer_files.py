"""Tokenizers whose ids are those of their tokenizer.json.

transformers 5 builds some tokenizers anew, from the vocabulary of tokenizer.json and the normalizer and pre-tokenizer
that their class has in its code; `tokenizer_class` or the model's type chooses the class. Where the file has another
normalizer or pre-tokenizer, ids differ from those of the model's pre-training, without an error (OLMo 2, Granite,
DeepSeek's distilled Qwen and others). The file is the tokenizer that the model was published with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

# Names in tokenizer.json of what a tokenizer does before its vocabulary counts, and of its vocabulary's options.
_PARTS = ("normalizer", "pre_tokenizer")
_OPTIONS = (
    "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges",
)  # fmt: skip
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def exact(tokenizer: Any, name: str) -> Any:
    """Return a loaded tokenizer, or in its place that of its tokenizer.json if its class changes the file's ids.

    name  the folder or hub name from which `AutoTokenizer` loaded it

    Special tokens, chat template and settings stay. A tokenizer without such a file is returned unchanged.
    """
    from transformers import PreTrainedTokenizerFast

    backend = getattr(tokenizer, "backend_tokenizer", None)
    path = None if type(tokenizer) is PreTrainedTokenizerFast else _file(name, "tokenizer.json")
    if path is None or not isinstance(backend, Tokenizer):
        return tokenizer
    described = json.loads(path.read_text(encoding="utf-8"))
    if _same(backend, described):
        return tokenizer
    vocabulary = {*_words(described), *(token["content"] for token in described.get("added_tokens") or ())}
    special = {key: getattr(tokenizer, key) for key in _NAMED}
    kept = {key: token for key, token in special.items() if token is not None and token in vocabulary}
    own = PreTrainedTokenizerFast.from_pretrained(name, **kept)
    own.replaced_class = type(tokenizer).__name__
    if getattr(tokenizer, "src_lang", None):  # a translation model's class puts its language around a text
        own.backend_tokenizer.post_processor = backend.post_processor
    return own


def with_processor_template(tokenizer: Any, name: str) -> Any:
    """Return a tokenizer without a chat template with that of its folder's processor, if there is one.

    name  the folder or hub name of the tokenizer

    Vision-language models (LLaVA) keep their template in chat_template.json, which transformers gives to the processor
    alone. Raises ValueError for a file that holds no template.
    """
    path = None if getattr(tokenizer, "chat_template", None) else _file(name, "chat_template.json")
    if path is None:
        return tokenizer
    try:
        template = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
    except (ValueError, KeyError, TypeError):
        template = None
    if not isinstance(template, str):
        raise ValueError(f"{path} holds no text `chat_template`; download the file again, or remove it")
    tokenizer.chat_template = template
    return tokenizer


def replacement_note(tokenizer: Any) -> str | None:
    """Return a line on a tokenizer that `exact` took from its file in place of its class; None for any other."""
    replaced = getattr(tokenizer, "replaced_class", None)
    if replaced is None:
        return None
    return (
        f"the tokenizer is that of tokenizer.json; transformers' {replaced} splits texts otherwise, so name "
        "TokenizersBackend as tokenizer_class for other programs"
    )


def _file(name: str, file: str) -> Path | None:
    """Return the path of a file in a folder or in the hub's cache, or None."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    from transformers.utils.hub import cached_file

    cached = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if cached is None else Path(cached)


def _same(backend: Tokenizer, described: dict[str, Any]) -> bool:
    """Return whether a tokenizer has the normalizer, the pre-tokenizer and the vocabulary's options of a file."""
    # Of the file's own vocabulary nothing is needed, and it takes most of the time.
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    bare = Tokenizer.from_str(json.dumps({**described, "model": empty, "added_tokens": [], "post_processor": None}))
    if any(_state(getattr(bare, part)) != _state(getattr(backend, part)) for part in _PARTS):
        return False
    model = described.get("model") or {}
    if model.get("type", type(backend.model).__name__) != type(backend.model).__name__:
        return False
    return all(
        (getattr(backend.model, option) or None) == (model.get(option) or None)
        for option in _OPTIONS
        if hasattr(backend.model, option)
    )


def _state(part: Any) -> Any:
    """Return a normalizer's or a pre-tokenizer's plain description, without offsets, None without one."""
    return None if part is None else _without_offsets(json.loads(part.__getstate__()))


def _without_offsets(value: Any) -> Any:
    """Return nested lists and dicts without `trim_offsets`, which changes no id."""
    if isinstance(value, dict):
        return {key: _without_offsets(item) for key, item in value.items() if key != "trim_offsets"}
    return [_without_offsets(item) for item in value] if isinstance(value, list) else value


def _words(described: dict[str, Any]) -> list[str]:
    """Return the words of the vocabulary of a tokenizer.json: keys, or pairs with a score."""
    vocabulary = (described.get("model") or {}).get("vocab") or ()
    return list(vocabulary) if isinstance(vocabulary, dict) else [word for word, *_ in vocabulary]
