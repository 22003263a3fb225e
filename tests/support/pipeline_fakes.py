"""Small artefacts for the tests of `paper_repro.py`, written as modules into a folder of the test's own."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.commands import DEADLINE, Command

from figures.pipeline import jobs, paths, training

ROOT = Path(__file__).resolve().parents[2]

TEMPLATE = """
from __future__ import annotations
import os, signal, time
from pathlib import Path
from typing import Any
import numpy as np
from figures.artefact import Artefact, Data, Request, upper
from fake_{name}_drawing import draw

HERE = Path({folder!r})

def note(word):
    with (HERE / "log").open("a") as file:
        file.write(word + " {name}\\n")

def parameters(request: Request) -> dict[str, Any]:
    return {{"n": 4, "seed": request.seed, "seeds": request.seeds or 2, "scale": request.scale}}

def compute(parameters: dict[str, Any]) -> Data:
    note("compute")
    {body}
    x = (np.arange(parameters["n"]) + parameters["seed"]) / 3.0
    return Data(
        table={{"x": x, "word": np.array(["a", "b,c", 'd"e', "f"]), "yes": x > 0.5, "k": np.arange(4)}},
        extra={{"grid": np.array([[np.nan, np.inf], [0.1, -0.0]])}},
        facts={{"big": np.inf, "mean": np.float64(x.mean()), "count": 4, "word": "nan"}},
        checks=(upper("small", "x is small", {bound}, float(x.max())),),
    )

ARTEFACT = Artefact(
    name="{name}", title="The {name} <b>one</b>", paper="Figure 99", cost="instant", caption="A line & a caption.",
    parameters=parameters, compute=compute, draw=draw, is_table={table}, reconstructed={reconstructed!r},
)
"""

DRAWING = """
from __future__ import annotations
from pathlib import Path
from typing import Any
from figures.artefact import Data

HERE = Path({folder!r})
COLOUR = "black"  # of the line

def note(word):
    with (HERE / "log").open("a") as file:
        file.write(word + " {name}\\n")

def draw(data: Data) -> Any:
    from matplotlib.figure import Figure
    note("draw")
    figure = Figure(figsize=(2, 1.5))
    axes = figure.subplots()
    axes.plot(data.table["x"], color=COLOUR)
    axes.set_xlabel(r"$\\theta$ and words")
    return figure
"""

# Imported by the fork server of a real command: matplotlib and the real study's digest take longer than all the rest.
SET_UP = """
import sys
from types import ModuleType
from figures.pipeline import paths
paths.STUDY = {study!r}
sys.modules["figures.drawing.render"] = ModuleType("figures.drawing.render")
sys.modules["figures.drawing.render"].render = lambda draw, data: {{"pdf": b"%PDF", "png": b"PNG"}}
"""

# Stands in for llm.study: a run is a folder with a summary, which is there at once, or when the file `go` is there.
STUDY = """
import json, os, time
from pathlib import Path
from llm.study import METHODS, Failure, Outcome, Progress
from llm.common.processes import stop_requested

HERE = Path({folder!r})

class Run:
    def __init__(self, name): self.name = name

class Grid:
    def __init__(self, base, methods=METHODS, seeds=(0,)):
        self.base, self.methods, self.seeds = base, methods, seeds
    def runs(self):
        return [Run(f"{{m}}-seed{{s}}") for m in self.methods for s in self.seeds]

def training_digest():
    return (HERE / "digest").read_text() if (HERE / "digest").exists() else "abcdef0123456789"

def note(word):
    with (HERE / "log").open("a") as file:
        file.write(word + "\\n")

def run_study(grids, root, *, jobs=1, report=lambda _: None):
    names = list(dict.fromkeys(run.name for grid in grids for run in grid.runs()))
    done, failed = [], []
    with stop_requested() as wanted:
        for name in names:
            if not (root / name / "summary.json").exists():
                (HERE / "training.part").write_text(str(os.getpid()))
                (HERE / "training.part").replace(HERE / "training")
                while (HERE / "slow").exists() and not (HERE / "go").exists() and not wanted():
                    report(Progress(len(names), len(done), len(failed), (), 60.0))
                    time.sleep(0.02)
                if wanted():
                    while (HERE / "stubborn").exists():
                        time.sleep(0.02)
                    note("saved " + name)
                    return Outcome(tuple(done), tuple(failed), True)
                note("train " + name)
                if (HERE / ("fail " + name)).exists():
                    failed.append(Failure(name, 1, ("first", "error: no luck"), root / "logs" / (name + ".log")))
                    continue
                (root / name).mkdir(parents=True)
                (root / name / "summary.json").write_text(json.dumps({{"seconds": 2.0, "device": "cpu"}}))
            done.append(name)
            report(Progress(len(names), len(done), len(failed), (), 1.0))
    return Outcome(tuple(done), tuple(failed), False)
"""


class Cli:
    """Fake artefacts in a folder, and the command line for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.registry: dict[str, str] = {}

    def add(
        self,
        name: str,
        *,
        body: str = "pass",
        bound: float = 1e3,
        table: bool = False,
        reconstructed: str = "",
    ) -> None:
        """Register an artefact whose `compute` runs `body` and whose check has this `bound`."""
        values = {"folder": str(self.folder), "name": name, "body": body, "bound": bound, "table": table}
        self._write(f"fake_{name}", TEMPLATE.format(**values, reconstructed=reconstructed))
        self._write(f"fake_{name}_drawing", DRAWING.format(**values))
        self.registry[name] = f"fake_{name}"

    def add_with_runs(self, name: str, methods: Sequence[str] = ("mix",), **more: Any) -> None:
        """Register an artefact that needs a run of each method; its table says which it found."""
        self.add(name, body="found = sorted(p.name for p in Path(parameters['root']).glob('*/summary.json'))", **more)
        grids = {"g": {"preset": "embedded", "options": {"steps": 3}, "methods": list(methods)}}
        self.change(name, '"scale": request.scale}', f'"scale": request.scale, "grids": {grids!r}}}')

    def study(self, text: str = "") -> None:
        """Put a fake in the place of llm.study."""
        self._write("fake_study", STUDY.format(folder=str(self.folder)) + text)

    def change(self, name: str, old: str, new: str) -> None:
        """Edit the source of an artefact."""
        for module in (f"fake_{name}", f"fake_{name}_drawing"):
            text = (self.folder / f"{module}.py").read_text()
            if old in text:
                self._write(module, text.replace(old, new))
                return
        raise AssertionError(f"{name} has no {old}")

    def _write(self, module: str, text: str) -> None:
        """Write a module, to be imported anew."""
        (self.folder / f"{module}.py").write_text(text)
        for loaded in [name for name in sys.modules if name.startswith("fake_")]:
            del sys.modules[loaded]
        importlib.invalidate_caches()
        paths.training_digest.cache_clear()

    def log(self) -> list[str]:
        """What was computed and drawn since the last look."""
        path = self.folder / "log"
        lines = sorted(path.read_text().splitlines()) if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def start(self, *arguments: str) -> Command:
        """The command as a real process in a session of its own, in which nothing is drawn (see `SET_UP`)."""
        self._write("fake_set_up", SET_UP.format(study=paths.STUDY))
        with_runs = (self.folder / "fake_study.py").exists()
        values = {
            "folder": str(self.folder),
            "study": paths.STUDY,
            "libraries": ["fake_set_up", "figures.pipeline.build", *(["fake_study"] if with_runs else ["numpy"])],
            "argv": [*arguments, "--out", str(self.out)],
            "registry": self.registry,
        }
        return Command(values, self.folder / "stdout", self.folder / "stderr")

    def files(self) -> dict[str, bytes]:
        """Everything in the results folder, the cache included."""
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}


class InProcess:
    """Stands in for the fork server where the process is not what is tested: an artefact is made when it is started."""

    def __call__(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> InProcess:  # noqa: ARG002
        self.status = jobs.main(argv[3:])
        ended = InProcess()
        ended.status = self.status
        return ended

    def poll(self) -> int:
        return self.status

    def wait(self) -> int:
        return self.status

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class RunsInProcess:
    """Stands in for the process of the runs where that process is not what is tested."""

    def __init__(self, settings: Path, log: Path) -> None:  # noqa: ARG002
        self.status = training.main([str(settings), str(os.getppid())])

    def poll(self) -> int:
        return self.status

    def wait(self) -> int:
        return self.status

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


def _rendered(draw: Callable[[Any], Any], data: Any) -> dict[str, bytes]:
    """Stand in for `figures.drawing.render.render`: the lines of the figure in words, not rasterized."""
    lines = [(line.get_color(), *line.get_ydata()) for axes in draw(data).axes for line in axes.lines]
    return {"pdf": b"%PDF " + repr(lines).encode(), "png": b"PNG " + repr(lines).encode()}


def cli_in_process(folder: Path, monkeypatch: pytest.MonkeyPatch, *, pictures: bool = False) -> Cli:
    """A command line with the artefact `a`, in this process; `pictures`: its files are those that matplotlib makes."""
    if not pictures:
        monkeypatch.setattr("figures.drawing.render.render", _rendered)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits in one second would share their bytecode
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the process of an artefact sets its own
    monkeypatch.setattr(jobs, "fork_server", lambda _: InProcess())
    monkeypatch.setattr(training, "start", RunsInProcess)
    monkeypatch.setattr(training, "_stop_with_parent", lambda _: None)
    command = Cli(folder)
    command.add("a")
    return command


def strict(path: Path) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{path.name} says {word}")

    found: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return found


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` is true; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def gone(process: int) -> bool:
    """Whether a process has ended (a zombie that nobody has collected counts as ended)."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def lines(text: str) -> Sequence[str]:
    """The lines of `text` that are not empty."""
    return [line for line in text.splitlines() if line.strip()]
