"""Options from a file: TOML or YAML, in UTF-8 with or without a byte order mark."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read(path: str | Path) -> dict[str, Any]:
    """Return the options of a TOML or YAML file.

    Raises ValueError for an unreadable file, FileNotFoundError for a missing one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"config: there is no file {path}")
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise ValueError(f"config: {path} must end in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark, which TOML has not
    except UnicodeDecodeError as error:
        raise ValueError(f"config: {path} is not UTF-8, at byte {error.start}; save it as UTF-8") from error
    values = _toml(text, path) if path.suffix == ".toml" else _yaml(text, path)
    if not isinstance(values, dict):
        raise ValueError(f"config: {path} must hold names with values, got {type(values).__name__}")
    return values


def _toml(text: str, path: Path) -> Any:
    """Return the values of a TOML text; raise ValueError, naming the file, if it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"config: {path} is not TOML: {error}") from error


def _yaml(text: str, path: Path) -> Any:
    """Return the values of a YAML text, {} if it is empty; raise ValueError, naming the file, if it is none."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the compiled one takes a tenth of the time
        return yaml.load(text, Loader=loader) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"config: {path} is not YAML: {' '.join(str(error).split())}") from error
