"""Commands of Slurm that record their calls: what a study asks of Slurm, without one."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

# sbatch keeps its script under the job's number; squeue shows the file `queue` of the ids it is asked for.
SBATCH = """
n=$(( $(cat {folder}/number 2>/dev/null || echo 10) + 1 ))
if [ -f {folder}/refuse ]; then cat {folder}/refuse >&2; exit 1; fi
echo $n > {folder}/number; cp "$1" {folder}/$n.sh; echo "Submitted batch job $n"
"""
SQUEUE = """
if [ -f {folder}/broken ]; then cat {folder}/broken >&2; exit 1; fi
format=id; for a in "$@"; do [ "$a" = "%T" ] && format=state; done
jobs=$(echo "${{@: -1}}" | tr , '|')
grep -E "^($jobs)(_[0-9]+)? " {folder}/queue | if [ $format = state ]; then cut -d' ' -f2; else cat; fi
exit 0
"""


@dataclass
class Script:
    """A script that sbatch was given: its #SBATCH options, and its lines after them."""

    options: dict[str, str | bool]
    text: str


@dataclass
class Slurm:
    """Fake sbatch, srun, squeue and scontrol, first on PATH."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        (self.folder / "bin").mkdir(parents=True)
        place = shlex.quote(str(self.folder))
        for name, body in {"sbatch": SBATCH, "squeue": SQUEUE, "srun": "", "scontrol": ""}.items():
            path = self.folder / "bin" / name
            head = f'#!/bin/bash\necho "{name} $@" >> {place}/calls\n'
            path.write_text(head + body.format(folder=place), encoding="utf-8")
            path.chmod(0o755)
        self.queue({})
        self.monkeypatch.setenv("PATH", f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def calls(self) -> list[str]:
        """The command lines so far."""
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    def queue(self, states: Mapping[str, str]) -> None:
        """Set the jobs that squeue shows, by id."""
        text = "".join(f"{job} {state}\n" for job, state in states.items())
        (self.folder / "queue").write_text(text, encoding="utf-8")

    def submitted(self) -> list[Script]:
        """The scripts that sbatch was given, in order; the first job has the number 11."""
        files = sorted(self.folder.glob("*.sh"), key=lambda path: int(path.stem))
        return [read(path.read_text(encoding="utf-8")) for path in files]


def read(text: str) -> Script:
    """The options of a script for sbatch."""
    options: dict[str, str | bool] = {}
    for line in re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE):
        key, equals, value = line.partition("=")
        options[key] = shlex.split(value)[0] if equals else True
    return Script(options, text)
