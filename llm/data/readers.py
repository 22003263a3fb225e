"""Raw rows of files, folders, saved `datasets`, the hub and memory, as `llm.data.formats.load` describes them."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from llm.data.arrow import row_converter
from llm.data.folders import files_by_split
from llm.skill import rows as skill

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.-]+)?")
# Files of data that are not read: one beside files that are read is a part of the set.
_UNREAD = re.compile(r"\.(csv|tsv|arrow|ndjson|zst|bz2|xz|zip|7z|tar|tgz|lz4)(\.gz)?", re.IGNORECASE)
_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


class Table(NamedTuple):
    """Raw rows, the columns that any of them has, and a name for messages."""

    origin: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def is_hub_name(source: str) -> bool:
    """Return whether a name is written as the hub's are, org/name, and not as a file of a known form is."""
    return bool(_HUB_NAME.fullmatch(source)) and _suffix(Path(source)) is None


def read(source: Any, split: str | None, limit: int | None) -> Table:
    """Return the first `limit` raw rows of a source; the arguments and errors are those of `llm.data.formats.load`."""
    seed = skill.seed_of(source)
    if seed is not None:
        return _table(source, skill.read(seed, split, limit))
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            return _folder(path, split, limit)
        if path.exists():
            _no_splits(str(path), split)
            return _files(str(path), [path], limit)
        place, _, configuration = str(source).rpartition(":")
        if place and configuration and Path(place).expanduser().is_dir():
            return _folder(Path(place).expanduser(), split, limit, configuration)
        if isinstance(source, str) and is_hub_name(source):
            return _hub(source, split, limit)
        raise FileNotFoundError(f"{source}: no such file or folder, and no hub name (those are written org/name)")
    if isinstance(source, Sequence) and not isinstance(source, bytes):
        _no_splits("the list", split)
        for i, row in enumerate(source):
            if not isinstance(row, Mapping):
                raise TypeError(f"row {i} of the list: a dict is needed, got {type(row).__name__}")
        return _table("the list", source[:limit])

    import datasets

    if isinstance(source, datasets.Dataset | datasets.DatasetDict):
        return _dataset(f"the {type(source).__name__}", source, split, limit)
    raise TypeError(
        f"source: a path, a hub name, a datasets.Dataset or a list of dicts is needed, got {type(source).__name__}"
    )


def _table(origin: str, rows: Iterable[Mapping[str, Any]]) -> Table:
    rows = list(rows)
    return Table(origin, list(dict.fromkeys(itertools.chain.from_iterable(rows))), rows)


def _no_splits(origin: str, split: str | None) -> None:
    if split not in (None, "train"):
        raise ValueError(f"split: {origin} has no splits, got {split!r}")


def _dataset(origin: str, data: Any, split: str | None, limit: int | None) -> Table:
    """Return the rows of a `datasets.Dataset`, or of a split of a `DatasetDict`."""
    import datasets

    if isinstance(data, datasets.DatasetDict):
        wanted = split or "train"
        if wanted not in data:
            raise ValueError(f"{origin}: there is no split {wanted!r}, its splits are {', '.join(data) or 'none'}")
        data = data[wanted]
    elif split != str(data.split):
        _no_splits(origin, split)
    data = data.with_format(None)
    with _utf8(origin):
        rows = data.to_list() if limit is None else data.select(range(min(limit, len(data)))).to_list()
    return Table(origin, data.column_names, list(map(row_converter(data.features.arrow_schema), rows)))


@contextmanager
def _utf8(origin: str) -> Iterator[None]:
    """Raise ValueError, in one line, where pyarrow finds a text that is not UTF-8.

    pyarrow reports it by a UnicodeDecodeError without that error's five arguments, which Python makes a TypeError.
    """
    try:
        yield
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{origin}: a text or a column's name is not UTF-8; write the file anew") from error


def _hub(name: str, split: str | None, limit: int | None) -> Table:
    """Return rows from the Hugging Face hub or its cache; `datasets` >= 4 runs no script of a data set."""
    import datasets
    from datasets.exceptions import DatasetsError

    repo, _, config = name.partition(":")
    try:
        data = datasets.load_dataset(repo, config or None, split=split or "train")
    except (ConnectionError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: no such file or folder, and the hub does not give it ({_line(error)}); without a network "
            f"download it first (hf download --repo-type dataset {repo} --local-dir FOLDER) and give the FOLDER, or "
            "load it once where there is a network, then HF_HUB_OFFLINE=1 reads the cache"
        ) from error
    except (DatasetsError, ValueError, RuntimeError) as error:
        script = "script" in str(error)
        remedy = "; code that comes with a set is never run, give its data files instead" if script else ""
        raise ValueError(f"{name}: cannot be loaded from the hub: {_line(error)}{remedy}") from error
    return _dataset(name, data, None, limit)


def _line(error: BaseException) -> str:
    """Return another library's error message in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _folder(path: Path, split: str | None, limit: int | None, configuration: str = "") -> Table:
    """Return rows of a folder that `save_to_disk` wrote, or of data files, by split and configuration as on the hub."""
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        if configuration:
            raise ValueError(f"{path}: a saved dataset has no configurations, got {configuration!r}; give {path}")
        return _saved(path, split, limit)
    by_split = files_by_split(path, configuration)
    splits = {name: known for name, files in by_split.items() if (known := [file for file in files if _suffix(file)])}
    if not splits:
        raise FileNotFoundError(f"{path}: the folder holds no {', '.join(_SUFFIXES)} file and no saved dataset")
    wanted = split or "train"
    if wanted not in splits:
        raise ValueError(f"{path}: there is no split {wanted!r}, its splits are {', '.join(splits)}")
    if unread := [file.name for file in by_split[wanted] if _UNREAD.search(file.name) and not _suffix(file)]:
        raise ValueError(
            f"{path}: {unread[0]} of split {wanted!r} is not a known kind of file; convert it, or move it out of the "
            f"folder; known are {', '.join(_SUFFIXES)}"
        )
    suffixes = sorted({str(_suffix(file)) for file in splits[wanted]})
    if len(suffixes) > 1:
        # Most likely the same rows twice.
        raise ValueError(f"{path}: split {wanted!r} has files of more than one type ({', '.join(suffixes)}); give one")
    return _files(str(path), splits[wanted], limit)


def _saved(path: Path, split: str | None, limit: int | None) -> Table:
    import datasets
    import pyarrow

    try:
        data = datasets.load_from_disk(str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: the saved dataset is not complete: {_line(error)}") from error
    except (pyarrow.ArrowInvalid, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the saved dataset cannot be read: {_line(error)}") from error
    return _dataset(str(path), data, split, limit)


def _files(origin: str, paths: Sequence[Path], limit: int | None) -> Table:
    rows: Iterator[Mapping[str, Any]] = itertools.chain.from_iterable(_rows_of(path) for path in paths)
    return _table(origin, itertools.islice(rows, limit))


def _suffix(path: Path) -> str | None:
    """Return the known suffix of a file name, or None."""
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)


def _rows_of(path: Path) -> Iterator[Mapping[str, Any]]:
    suffix = _suffix(path)
    if suffix is None:
        raise ValueError(f"{path}: not a known kind of file; known are {', '.join(_SUFFIXES)}")
    if suffix == ".parquet":
        return _parquet(path)
    # The hub has many .json files that hold JSON Lines.
    return _json(path) if suffix.startswith(".json") and not suffix.startswith(".jsonl") else _json_lines(path)


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with _utf8(str(path)), pyarrow.parquet.ParquetFile(path) as file:
            where = f"{path}, a column of JSON"
            convert = row_converter(file.schema_arrow, lambda text: _parsed(text.encode(), where))
            for batch in file.iter_batches():
                yield from map(convert, batch.to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet: {_line(error)}") from error


def _lines(path: Path) -> Iterator[bytes]:
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            yield from file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be unpacked: {_line(error)}") from error


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            row = _parsed(line.rstrip(b"\r\n"), f"{path}, line {number}")
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: a JSON object is needed, got {type(row).__name__}")
            yield row


def _json(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a JSON list of objects, or of JSON Lines."""
    text = b"".join(_lines(path))
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from _json_lines(path)
        return
    for i, row in enumerate(_parsed(text, str(path))):
        if not isinstance(row, dict):
            raise ValueError(f"row {i} of {path}: a JSON object is needed, got {type(row).__name__}")
        yield row


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not valid JSON: {error.msg}, {_place(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not valid UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deep") from error
    except ValueError as error:  # Python reads no integers of more than sys.get_int_max_str_digits() digits
        raise ValueError(f"{where}: an integer is too long to be read; write it as a text or leave it out") from error


def _place(error: json.JSONDecodeError) -> str:
    return f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
