"""Similarity of an SFT set and a preference set: the closest pairs of prompts, and the similarity of their responses.

As in Figure 6 of arXiv 2410.15483v3: where two sets nearly share a prompt but the SFT target is far from the chosen
response, the two objectives conflict. All similarities are cosines of the vectors of `llm.evaluation.embedders`.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, check_options
from llm.common.files import atomic_path, check_name, ensure_output, write_json
from llm.common.progress import Line, say
from llm.data.formats import load
from llm.data.messages import Text, as_messages, written
from llm.data.rows import Dataset, Kind

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.evaluation.embedders import Embedder

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]

BLOCK = 2048  # prompts of either set in one block: 32 MiB of similarities
DECIMALS = 6  # float32 vectors of length 1 give a cosine to about 1e-7; smaller differences are ties
COSINES = ("prompts", "chosen_target", "rejected_target", "chosen_rejected")


@dataclass(frozen=True)
class SimilarityConfig:
    """Options of `similarity`: two sets, and an embedder."""

    sft: str
    """SFT set: a hub name, a .jsonl(.gz), .json(.gz) or .parquet file, or a folder."""
    preference: str
    """Preference set: the same kinds."""
    embedder: str = "token"
    """token (mean of the model's input embeddings), hidden (mean of its last hidden states), or the folder or hub name
    of a sentence encoder."""
    model: str = ""
    """Base model for token and hidden: a folder or a hub name."""
    top: Annotated[int, AT_LEAST_1] = 100
    """Number of closest pairs in the output."""
    out: str = ""
    """Write the numbers and the texts to this .json, or the pairs to this .csv."""
    sft_split: str = "train"
    """Split of the SFT set."""
    preference_split: str = "train"
    """Split of the preference set."""
    sft_format: str = "auto"
    """Format of the SFT set's columns: auto, prompt-completion, messages, sharegpt, instruction."""
    preference_format: str = "auto"
    """Format of the preference set's columns: auto, explicit, sharegpt, instruction, implicit."""
    sft_columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """Our column names to those of the SFT set."""
    preference_columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """The same for the preference set."""
    sft_rows: Annotated[int, NOT_NEGATIVE] = 0
    """Number of rows from the start; 0: all."""
    preference_rows: Annotated[int, NOT_NEGATIVE] = 0
    """Number of rows from the start; 0: all."""
    bad_rows: str = "error"
    """Handling of invalid rows: error or drop."""
    batch: Annotated[int, AT_LEAST_1] = 64
    """Number of texts in a batch of the embedder."""
    max_length: Annotated[int, NOT_NEGATIVE] = 0
    """Maximum number of tokens of a text; 0: the embedder's maximum, or 512 if it has none."""
    remote_code: bool = False
    """Run Python code that a model repository contains."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.bad_rows not in ("error", "drop"):
            raise ValueError(f"bad_rows: must be error or drop, got {self.bad_rows}")
        if self.out:
            check_name(self.out, ".json", ".csv")


@dataclass(frozen=True)
class Pair:
    """A preference row, the SFT row with the closest prompt, and the cosines of their texts.

    prompts                          of both prompts
    chosen_target, rejected_target   of a response with the SFT row's
    chosen_rejected                  of the two responses
    """

    preference_row: int
    sft_row: int
    prompts: float
    chosen_target: float
    rejected_target: float
    chosen_rejected: float
    prompt: str
    sft_prompt: str
    chosen: str
    rejected: str
    target: str


def similarity(config: SimilarityConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Return the `summary` of the closest pairs of two named sets; write it to `config.out` if that is set.

    Raises FileNotFoundError, ValueError or TypeError, in one line that names the set, for a set that cannot be read.
    """
    if config.out:
        ensure_output(config.out, sft=config.sft, preference=config.preference)
    sft, preference = _set(config, "sft"), _set(config, "preference")
    from llm.evaluation.embedders import Embedder

    embed = Embedder(
        config.embedder, model=config.model, batch=config.batch, longest=config.max_length,
        remote_code=config.remote_code,
    )  # fmt: skip
    values, pairs = similar_pairs(sft, preference, _with_progress(embed, quiet), top=config.top, quiet=quiet)
    record = {"sft": config.sft, "preference": config.preference, "model": config.model}
    record |= {"embedder": config.embedder, **summary(values, pairs)}
    if config.out.endswith(".json"):
        write_json(Path(config.out), record)
    elif config.out:
        _write_csv(Path(config.out), pairs)
    return record


def similar_embedded(config: TrainConfig, embedder: str = "token", top: int = 100) -> dict[str, Any]:
    """Return `similarity` of an embedded world's training sets, with its base for "token" and "hidden"."""
    from llm.embedded.prepare import embedded_paths

    paths = embedded_paths(config)
    chosen = SimilarityConfig(
        sft=str(paths.sft), preference=str(paths.preference), embedder=embedder, model=str(paths.base), top=top
    )
    return similarity(chosen, quiet=True) | {"sft": "embedded", "preference": "embedded", "model": "embedded"}


def similar_pairs(
    sft: Dataset, preference: Dataset, embed: Embed, *, top: int, quiet: bool = True
) -> tuple[NDArray[np.float64], list[Pair]]:
    """Return (each preference prompt's largest cosine with an SFT prompt, the `top` closest pairs in falling order).

    embed  texts -> (n, d), vectors of length 1

    Of equally close prompts, and of equally close pairs, the first rows come first. An SFT prompt may be in many pairs.
    """
    theirs, ours = (_first_rows([plain(row.prompt) for row in rows.rows]) for rows in (sft, preference))
    sft_vectors, vectors = embed(list(theirs)), embed(list(ours))
    held = (vectors.nbytes + sft_vectors.nbytes) / 1e6
    at_once = 8 * min(BLOCK, len(vectors)) * min(BLOCK, len(sft_vectors)) / 1e6
    say(
        f"similarity: {len(vectors)} prompts against {len(sft_vectors)}, {vectors.shape[1]} numbers each: "
        f"{held:.0f} MB, and {at_once:.0f} MB of similarities at once",
        active=not quiet,
    )
    with Line("closest prompts", active=not quiet) as line:
        values, where = closest(vectors, sft_vectors, report=line)
    place, first = {prompt: j for j, prompt in enumerate(ours)}, list(theirs.values())
    of_row = np.array([place[plain(row.prompt)] for row in preference.rows], dtype=np.int64)
    order = np.argsort(-values[of_row], kind="stable")[:top]
    rows = [(int(row), first[int(where[of_row[row]])]) for row in order]
    return values[of_row], _pairs(sft, preference, embed, rows)


def closest(
    vectors: Vectors, others: Vectors, *, block: int = BLOCK, report: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (each vector's largest inner product with one of the others, the index of that other), each (n,).

    vectors (n, d), others (m, d). Never more than (block, block) products are in memory; the result does not depend on
    the block, and among equals the first one is taken. Products are rounded to DECIMALS.
    """
    values = np.full(len(vectors), -np.inf)
    where = np.zeros(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), block):
        mine = vectors[start : start + block].astype(np.float64)
        rows = slice(start, start + len(mine))
        for other in range(0, len(others), block):
            products = np.round(mine @ others[other : other + block].astype(np.float64).T, DECIMALS)
            best = products.argmax(axis=1)
            largest = products[np.arange(len(mine)), best]
            better = largest > values[rows]
            values[rows] = np.where(better, largest, values[rows])
            where[rows] = np.where(better, best + other, where[rows])
        if report:
            report(start + len(mine), len(vectors))
    return values, where


def summary(values: NDArray[np.float64], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return plain values for a record.

    "prompts" (number in the preference set), "mean" and "quantiles" of their largest cosines with an SFT prompt, the
    means over the pairs as "top_...", and the "pairs" themselves.
    """
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    means = {f"top_{n}": float(np.mean([getattr(p, n) for p in pairs])) for n in COSINES}
    return {
        "prompts": len(values),
        "mean": float(values.mean()),
        "quantiles": {f"{share:g}": float(np.quantile(values, share)) for share in shares},
        "top": len(pairs),
        **means,
        "pairs": [dataclasses.asdict(p) for p in pairs],
    }


def table(record: dict[str, Any]) -> str:
    """Return the record of `similarity` as text."""
    lines = [
        f"{record['prompts']} preference prompts, the closest SFT prompt of each: cosine {record['mean']:.4f} (mean)"
    ]
    lines += [f"the {record['top']} closest pairs, means:"]
    return "\n".join([*lines, *(f"  {name:<16} {record[f'top_{name}']:.4f}" for name in COSINES)])


def plain(text: Text) -> str:
    """Return a text unchanged, and a conversation as its messages' texts, one paragraph each."""
    return text if isinstance(text, str) else "\n\n".join(written(message) for message in as_messages(text, ""))


def _first_rows(texts: Sequence[str]) -> dict[str, int]:
    """Return each distinct text with its first row: equal texts must not differ by rounding."""
    rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, row)
    return rows


def _pairs(sft: Dataset, preference: Dataset, embed: Embed, rows: Sequence[tuple[int, int]]) -> list[Pair]:
    """Return the pairs of these (preference row, SFT row), with their cosines."""
    texts = []
    for i, j in rows:
        row, other = preference.rows[i], sft.rows[j]
        texts.append([plain(t) for t in (row.prompt, other.prompt, *row.responses, *other.responses)])
    vectors = embed([t for five in texts for t in five]).astype(np.float64).reshape(len(texts), 5, -1)

    def cosines(a: int, b: int) -> list[float]:
        return [float(v) for v in np.round(np.sum(vectors[:, a] * vectors[:, b], axis=1), DECIMALS)]

    columns = zip(cosines(0, 1), cosines(2, 4), cosines(3, 4), cosines(2, 3), strict=True)
    return [Pair(i, j, *four, *five) for (i, j), four, five in zip(rows, columns, texts, strict=True)]


def _set(config: SimilarityConfig, kind: Kind) -> Dataset:
    """Return a set named by the configuration; errors name the option."""
    try:
        return load(
            getattr(config, kind),
            kind=kind,
            split=getattr(config, f"{kind}_split"),
            columns=getattr(config, f"{kind}_columns"),
            format=getattr(config, f"{kind}_format"),
            limit=getattr(config, f"{kind}_rows") or None,
            bad_rows=config.bad_rows,  # type: ignore[arg-type]
        )
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise type(error)(f"{kind}: {error}") from error


def _with_progress(embed: Embedder, quiet: bool) -> Embed:
    def reported(texts: Sequence[str]) -> Vectors:
        with Line("embedding", active=not quiet) as line:
            return embed(texts, line)

    return reported


def _write_csv(path: Path, pairs: Sequence[Pair]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in dataclasses.fields(Pair)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(p) for p in pairs)
