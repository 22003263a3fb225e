"""Dependencies of a result as digests: the key of the computed data, and the key of the files drawn from the data.

The first depends on the code that an artefact's module reaches by import, but for drawing, and on the module itself
without its description `ARTEFACT`. The second depends on the code that draws and on the words of the description. A
change of color or caption therefore leaves the computed data valid. Comments, layout and docstrings count in neither.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.cache import digest
from llm.common.code_digest import code_digest, code_of, imported_modules
from llm.common.environment import ROOT, versions

if TYPE_CHECKING:
    from figures.artefact import Artefact

FORMAT = 2  # of the cached data; to be raised when `Data` or its form on disk changes its meaning
PACKAGES = ("toyopt", "llm", "figures")
LIBRARIES = ("numpy", "scipy", "numba")  # computed numbers may depend on
RENDERING = ("figures.drawing.style", "figures.drawing.render")
DESCRIPTION = "ARTEFACT"


def compute_key(artefact: Artefact, module: str, parameters: Mapping[str, Any], training: str = "") -> str:
    """Return the key of an artefact's data: equal keys, equal numbers.

    module    full name of the module that defines the artefact
    training  digest of the training code, if the artefact is computed from runs
    """
    libraries = versions(LIBRARIES)
    libraries["python"] = ".".join(libraries["python"].split(".")[:2])
    return digest(
        {
            "format": FORMAT,
            "name": artefact.name,
            "parameters": parameters,
            "training": training,
            "source": _source(module, skip=_not_computing()),
            "versions": libraries,
        }
    )


def draw_key(key: str, artefact: Artefact, request: Mapping[str, Any]) -> str:
    """Return the key of the files drawn from the data of `key`; drawing, words and style change this key."""
    words = {
        "title": artefact.title,
        "paper": artefact.paper,
        "caption": artefact.caption,
        "reconstructed": artefact.reconstructed,
        "is_table": artefact.is_table,
    }
    skip = frozenset(name for name in _modules("figures") if not name.startswith("figures.drawing"))
    return digest(
        {
            "key": key,
            "words": words,
            "source": [_source(artefact.draw.__module__, skip), *(_source(name, skip) for name in RENDERING)],
            "matplotlib": versions(["matplotlib"]).get("matplotlib", ""),
            "request": request,
        }
    )


def _source(module: str, skip: frozenset[str]) -> str:
    """Return the digest of a module without its description, and of the code that it reaches by import."""
    path = _file(module)
    names = {name for name in imported_modules(path, module, PACKAGES, ROOT) if name.split(".")[0] in PACKAGES}
    reached = sorted(names - skip)
    own = code_of(path, frozenset({DESCRIPTION}))
    return digest([own, code_digest(*reached, packages=PACKAGES, skip=skip) if reached else ""])


def _not_computing() -> frozenset[str]:
    """Return the modules of `figures` that never decide a number: drawing, descriptions, and the pipeline."""
    skipped = ("figures.drawing", "figures.pipeline", "figures.artefact", "figures.registry")
    own = (
        name for name in _modules("figures") if name.startswith(skipped) and not name.startswith("figures.artefacts")
    )
    return frozenset(own) - {"figures.pipeline.paths"}


@cache
def _modules(package: str) -> frozenset[str]:
    """Return the full names of all modules in a package of this repository."""
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py"))
    return frozenset(".".join(part for part in file.parts if part != "__init__") for file in files)


def _file(module: str) -> Path:
    """Return the source file of a module. Raises ModuleNotFoundError if there is none."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source file for module {module!r}", name=module)
    return Path(spec.origin)
