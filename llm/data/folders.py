"""Data files of a folder by split, as `datasets.load_dataset` finds them: by the card of the set, else by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = "README.md"


def files_by_split(folder: Path, configuration: str = "") -> dict[str, list[Path]]:
    """Return the files of each split of a folder, sorted; empty if there are none.

    configuration  name of one of the configurations that the folder's README.md lists; "": its default, or its only one

    A clone of a set of the hub often has several configurations, which are different sets or the same rows twice.
    Raises ValueError, in one line, for a configuration that is not listed, or where one of several must be named.
    """
    from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns, sanitize_patterns

    chosen = _configuration(folder, configuration)
    base = str((folder / str(chosen.get("data_dir") or "")).resolve())
    try:
        named = chosen.get("data_files")
        patterns = get_data_patterns(base) if named is None else sanitize_patterns(named)
        by_split = DataFilesDict.from_local_or_remote(patterns, base_path=base)
    except EmptyDatasetError:
        return {}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}: {CARD} names data files that are not there: {' '.join(str(error).split())}"
        ) from error
    return {str(split): sorted(map(Path, files)) for split, files in by_split.items()}


def _configuration(folder: Path, name: str) -> Mapping[str, Any]:
    """Return the entries (data_files, data_dir) of a configuration in a folder's card; none without configurations."""
    known = _configurations(folder)
    if not name and known:
        try:
            name = known.get_default_config_name() or ""
        except ValueError as error:
            raise ValueError(f"{folder}: {' '.join(str(error).split())}; name one by {folder}:NAME") from error
        if not name:
            listed = ", ".join(known)
            raise ValueError(
                f"{folder}: the folder has several configurations ({listed}); name one by {folder}:{next(iter(known))}"
            )
    if name and name not in known:
        raise ValueError(
            f"{folder}: there is no configuration {name!r} in its {CARD}, which lists {', '.join(known) or 'none'}"
        )
    chosen: Mapping[str, Any] = known[name] if name else {}
    return chosen


def _configurations(folder: Path) -> Any:
    """Return the configurations that a folder's card lists, by name; ValueError, in one line, for a damaged card."""
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = folder / CARD
    if not card.is_file():
        return MetadataConfigs()
    try:
        return MetadataConfigs.from_dataset_card_data(metadata_load(card) or {})
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{card}: its list of configurations cannot be read: {reason}; mend or remove it") from error
