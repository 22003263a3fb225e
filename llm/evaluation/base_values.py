"""Measures of the base model that runs were trained from, computed once and kept in the cache of computations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.common.cache import ContentCache, digest
from llm.common.code_digest import computation_digest
from llm.common.contents import contents_of
from llm.common.files import read_json, write_json
from llm.training.run_folder import load_run

KIND, FILE = "base_values", "values.json"
SETTINGS = ("eos", "precision")  # beside those of the template


def with_base(
    folder: Path,
    module: str,
    options: Mapping[str, Any],
    measured: Callable[[bool], dict[str, Any]],
    shown: Sequence[str],
) -> dict[str, Any]:
    """Return a measure's values of a run, with `shown` ones of its base model as base_NAME beside them.

    folder    of the finished run
    module    full name of the measure's module, whose code its values depend on
    options   all that its values depend on beside the base model and the code; values that are paths count by content
    measured  (whether of the base instead of the run) -> values

    The base's values are in the cache of the run's configuration, by the digests of the base's weights, the options,
    the code and the libraries; runs that are measured at the same time wait for the first. A run that started from an
    adapter, or has no adapter, has no base of this kind: its base values are None.
    """
    result = measured(False)
    run = load_run(folder)
    if run.config.adapter or not (folder / "adapter_config.json").is_file():
        return {**result, **{f"base_{key}": None for key in shown}}
    settings = {key: value for key, value in run.config.as_dict().items() if "template" in key or key in SETTINGS}
    contents = {key: contents_of(value) for key, value in options.items()}
    code = computation_digest(module)
    key = digest({"module": module, "base": run.base, "options": contents, "settings": settings, "code": code})
    cache = ContentCache(run.config.cache_folder, KIND)
    values = cache.fetch(
        key, lambda place: read_json(place / FILE), lambda place: write_json(place / FILE, measured(True))
    )
    return {**result, **{f"base_{key}": values[key] for key in shown}}
