"""Token ids of files on disk, so that a set is read and tokenised once: found by everything that the ids depend on.

The key has the content of the set's files, the options that read and template them, the tokenizer, the code of
`llm.data` and the libraries. A small set is tokenised about as fast as it is found on disk; its ids are kept in this
process, since a worker of a study carries out many runs on the same few sets. Rows in memory and sets of the hub are
tokenised each time.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.cache import ContentCache, digest, sha256
from llm.common.code_digest import code_digest
from llm.common.environment import versions
from llm.common.files import read_json, write_json
from llm.data.chat import today, writes_date

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset

Tokenized = tuple["TokenizedDataset", list[str]]  # the set, and one line for each property that a user should know

LEAST_BYTES = 1 << 20  # of a set on disk; a smaller one is kept in this process
_KEPT = 32  # sets on disk; the oldest are removed
_KEPT_HERE = 16  # small sets in this process
_here: dict[str, Tokenized] = {}
_LIBRARIES = ("transformers", "tokenizers", "jinja2", "datasets", "pyarrow")


def cached_tokens(
    root: Path, source: Any, tokenizer: Any, options: Mapping[str, Any], compute: Callable[[], Tokenized]
) -> Tokenized:
    """Return `compute()`, or the result that the cache in the folder `root` has for equal arguments.

    source   as in `llm.data.formats.load`; only a file or a folder of files is cached
    options  plain values that decide the rows and their ids
    """
    files = _files(source)
    tokens = fingerprint(tokenizer)
    if tokens is None or not files:
        return compute()
    content = [(path.name, sha256(path)) for path in files]
    date = today() if writes_date(tokenizer.chat_template) else ""
    parts = [content, str(source), tokens, date, dict(options)]
    if sum(path.stat().st_size for path in files) < LEAST_BYTES:
        return _kept_here(digest(parts), compute)
    code = code_digest("llm.data.formats", "llm.data.tokenization", "llm.data.token_cache")
    key = digest([*parts, code, versions(_LIBRARIES)])
    cache = ContentCache(root, "tokens")
    known = cache.read(key, _load)
    if known is None:
        known = compute()
        try:
            cache.write(key, functools.partial(_save, *known))
            cache.prune(_KEPT)
        except OSError:
            return known  # a cache that is full or read-only costs time, and no result
    return known


def _kept_here(key: str, compute: Callable[[], Tokenized]) -> Tokenized:
    """Return the result that this process has under a key, else `compute()`, which then replaces the oldest."""
    if key not in _here:
        while len(_here) >= _KEPT_HERE:
            del _here[next(iter(_here))]
        _here[key] = compute()
    return _here[key]


def fingerprint(tokenizer: Any) -> str | None:
    """Return the digest of a tokenizer's rules, special tokens and chat template; None for one written in Python."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    if rules is None or not hasattr(rules, "to_str"):
        return None
    paths = ("name_or_path", "vocab_file", "tokenizer_file", "merges_file")
    settings = {name: str(value) for name, value in tokenizer.init_kwargs.items() if name not in paths}
    parts = [type(tokenizer).__name__, settings, str(tokenizer.special_tokens_map), str(tokenizer.chat_template)]
    return hashlib.sha256((json.dumps(parts, sort_keys=True) + rules.to_str()).encode()).hexdigest()


def _files(source: Any) -> list[Path]:
    """Return the files of a set that lies on disk; none for any other source."""
    if not isinstance(source, str | Path):
        return []
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []


def _save(tokens: TokenizedDataset, lines: list[str], folder: Path) -> None:
    from safetensors.numpy import save_file

    rows = zip(tokens.prompts, tokens.responses, strict=True)
    parts = [part for prompt, responses in rows for part in (prompt, *responses)]
    arrays: dict[str, Any] = {
        "ids": np.concatenate(parts).astype(np.int32),
        "sizes": np.array([len(part) for part in parts], dtype=np.int64),
        "keys": np.frombuffer("".join(tokens.keys).encode(), dtype=np.uint8),
    }
    if tokens.trained is not None:
        arrays["trained"] = np.concatenate(tokens.trained).astype(np.uint8)
    if tokens.labels is not None:
        arrays["labels"] = np.array(tokens.labels, dtype=np.uint8)
    save_file(arrays, folder / "ids.safetensors")
    plain = {name: getattr(tokens, name) for name in _PLAIN}
    write_json(folder / "about.json", {**plain, "notes": list(tokens.notes), "lines": lines})


_PLAIN = ("kind", "cut_prompts", "cut_responses", "dropped", "equal_pairs")


def _load(folder: Path) -> Tokenized:
    from safetensors.numpy import load_file

    from llm.data.tokenization import TokenizedDataset

    arrays, about = load_file(folder / "ids.safetensors"), read_json(folder / "about.json")
    parts = _split(arrays["ids"], arrays["sizes"])
    each = {"sft": 2, "preference": 3, "unpaired": 2}[about["kind"]]
    responses = tuple(tuple(parts[i + 1 : i + each]) for i in range(0, len(parts), each))
    text = arrays["keys"].tobytes().decode()
    n = len(responses)
    digits = len(text) // n
    trained = None
    if "trained" in arrays:
        trained = tuple(_split(arrays["trained"].astype(bool), np.array([len(r[0]) for r in responses])))
    tokens = TokenizedDataset(
        prompts=tuple(parts[::each]),
        responses=responses,
        keys=tuple(text[i * digits : (i + 1) * digits] for i in range(n)),
        trained=trained,
        labels=tuple(map(bool, arrays["labels"])) if "labels" in arrays else None,
        notes=tuple(about["notes"]),
        **{name: about[name] for name in _PLAIN},
    )
    return tokens, about["lines"]


def _split(values: Any, sizes: Any) -> list[Any]:
    """Return consecutive parts of `values` with these sizes, as views."""
    ends = np.cumsum(sizes).tolist()
    return [values[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
