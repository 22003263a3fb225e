"""Mutation testing of `toyopt`: how many small faults, put in on purpose, do the tests notice? (`make mutants`)

mutmut makes the mutants: its operators, its rules of what to leave alone, its trampolines (every mutant of a function
sits beside it, and an environment variable says which one runs). Two things are changed about it:

- the operator on texts is off: what a message or a statement says is no formula, and the tests of wrong input read
  the messages;
- decorated functions are mutated too (properties, cached values, what numba would compile): the decorators stay on
  the function that is called, and the mutants beside it are plain functions.

The running is done here, since it is what takes the time. The tests are collected once; every mutant gets a forked
process with just the tests that reach its function, those first that killed its neighbours, until one fails. A
function that already ran while the tests were collected would have left unmutated results behind: the survivors among
its mutants are run again, each in a fresh process and against all tests of its module.

numba's compiler is off (NUMBA_DISABLE_JIT=1): the loop is interpreted. The checkout is not touched: everything happens
in a temporary copy. A test that takes longer than `--slow` seconds, or fails without a mutant since it is about the
compiler, is left out and named. A mutant counts as killed when a test fails or runs into the time limit.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import difflib
import fnmatch
import gc
import importlib
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.95
# Module -> its tests; the first pattern that fits counts. What is not named here gets all but the last line's.
TESTS = {
    "toyopt/theorems/*": "test_theorems_*.py test_expectation*.py test_mutants_theorems*.py",
    "toyopt/certify/*": "test_certify_*.py test_mutants_certify*.py",
    "toyopt/symbolic/*": "test_symbolic*.py test_mutants_symbolic*.py",
    "toyopt/ledger.py": "test_door*.py test_ledger*.py test_claims*.py",
    "toyopt/_check.py": "test_wrong_input*.py test_mutants_core*.py",
    "toyopt/problem.py": "test_problem*.py test_wrong_input*.py test_mutants_core*.py",
    "toyopt/estimates.py": "test_estimates.py",
    "toyopt/algorithms.py": "test_algorithms.py test_estimates.py test_controller_state.py test_schedules.py "
    "test_wrong_input*.py test_mutants_core*.py",
    "toyopt/_kernel.py": "test_simulate*.py test_mutants_core*.py",
    "toyopt/simulate.py": "test_simulate*.py test_wrong_input*.py test_mutants_core*.py",
    "toyopt/optimum.py": "test_optimum.py test_wrong_input*.py test_mutants_core*.py",
    "toyopt/worst.py": "test_worst.py test_wrong_input*.py test_mutants_core*.py",
    "toyopt/examples.py": "test_examples.py test_wrong_input*.py test_mutants_core*.py",
}
NOT_BY_DEFAULT = ["test_door*.py", "test_fig*.py", "test_thm*.py", "test_benchmarks.py"]
LEFT_BEHIND = [".venv", ".git", "out", "build", "mutants", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"]
SETTINGS = {
    "NUMBA_DISABLE_JIT": "1",
    "HYPOTHESIS_PROFILE": "mutants",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONDONTWRITEBYTECODE": "1",
}
MEMORY = 6 << 30  # a mutant may ask for any amount
SWITCH = "MUTANT_UNDER_TEST"
STATUSES = ("killed", "survived", "timeout", "not covered")


@dataclass
class Mutant:
    name: str  # as mutmut's trampolines know it: toyopt.problem.x_f__mutmut_3
    path: str
    diff: str
    status: str = ""
    by: str = ""

    @property
    def function(self) -> str:
        return self.name.partition("__mutmut_")[0]


def test_files(path: str, folder: Path) -> list[str]:
    """The files in `folder` with the tests of the module at `path`."""
    names = sorted(p.name for p in folder.glob("test_*.py"))
    for pattern, chosen in TESTS.items():
        if fnmatch.fnmatch(path, pattern):
            return [n for n in names if any(fnmatch.fnmatch(n, c) for c in chosen.split())]
    return [n for n in names if not any(fnmatch.fnmatch(n, c) for c in NOT_BY_DEFAULT)]


# --- making the mutants -----------------------------------------------------------------------------------------------


def patch_mutmut() -> Any:
    """Mutmut's module for files, without the operator on texts and with decorated functions."""
    import libcst as cst
    from mutmut.mutation import file_mutation

    skip, arrange = file_mutation.MutationVisitor._skip_node_and_children, file_mutation.function_trampoline_arrangement

    def own(function: Any) -> bool:
        """Whether mutmut arranges the function with its decorators by itself."""
        names = [d.decorator.value for d in function.decorators if isinstance(d.decorator, cst.Name)]
        return not function.decorators or (
            len(function.decorators) == 1 and names[0:1] in (["staticmethod"], ["classmethod"])
        )

    def skipped(self: Any, node: Any) -> bool:
        if isinstance(node, cst.FunctionDef) and not own(node):
            return bool(skip(self, node.with_changes(decorators=[])))
        return bool(skip(self, node))

    def arranged(function: Any, mutants: Any, class_name: str | None) -> Any:
        if own(function):
            return arrange(function, mutants, class_name)
        empty, nodes, filling, names = arrange(function.with_changes(decorators=[]), mutants, class_name)
        called = nodes[0].with_changes(decorators=[*function.decorators, *nodes[0].decorators])
        return empty, [called, *nodes[1:]], filling, names

    file_mutation.MutationVisitor._skip_node_and_children = skipped
    file_mutation.function_trampoline_arrangement = arranged
    file_mutation.mutation_operators = [o for o in file_mutation.mutation_operators if o[0] is not cst.BaseString]
    return file_mutation


def mutate(path: str) -> tuple[str, list[Mutant]]:
    """The file's text with all its mutants in it, and their list. In the copy's root."""
    from mutmut.utils.format_utils import get_mutant_name

    file_mutation = patch_mutmut()
    made = file_mutation.mutate_file_contents(path, Path(path).read_text(encoding="utf-8"))
    lines, spans = made.code.splitlines(), made.line_span_by_function_name

    def text(name: str) -> list[str]:
        part = lines[spans[name].start - 1 : spans[name].end]
        plain = name.partition("__mutmut_")[0].replace("xǁ", "").replace("ǁ", ".").removeprefix("x_")
        return [line.replace(name, plain) for line in part]

    mutants = []
    for name in made.mutant_names:
        original = text(name.partition("__mutmut_")[0] + "__mutmut_orig")
        diff = "\n".join(difflib.unified_diff(original, text(name), path, path, lineterm="", n=2))
        mutants.append(Mutant(get_mutant_name(Path(path), name), path, diff))
    return made.code, mutants


# --- running the tests ------------------------------------------------------------------------------------------------


@dataclass
class Visit:
    """One test, run once without a mutant."""

    passed: bool
    seconds: float
    functions: set[str]


@dataclass
class Forks:
    """Forked processes, `most` at a time; what each returned goes to its own `done`."""

    most: int
    running: dict[int, tuple[int, Callable[[Any], None]]] = field(default_factory=dict)

    def start(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        while len(self.running) >= self.most:
            self.wait()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                nowhere = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(nowhere, stream)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                os.write(writing, pickle.dumps(work()))
            os._exit(0)
        os.close(writing)
        self.running[pid] = reading, done

    def wait(self) -> None:
        pid, status = os.wait()
        reading, done = self.running.pop(pid)
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        code = os.waitstatus_to_exitcode(status)
        done(pickle.loads(data) if data else "timeout" if code == -signal.SIGALRM else "crash")

    def finish(self) -> None:
        while self.running:
            self.wait()


class Runner:
    """A pytest plugin that runs, instead of the tests, the mutants against the tests."""

    def __init__(self, mutants: list[Mutant], paths: list[str], hits: set[str], options: argparse.Namespace) -> None:
        self.mutants, self.paths, self.hits = mutants, paths, hits
        self.slow, self.jobs, self.log = options.slow, options.jobs, options.out / "progress.txt"
        self.failed = False
        self.early: set[str] = set()
        self.out: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed = self.failed or report.failed

    def run_test(self, item: Any, limit: float) -> bool:
        """Run one test; whether it passed. The process ends if it takes longer than `limit` seconds."""
        self.failed = False
        signal.setitimer(signal.ITIMER_REAL, limit)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        return not self.failed

    def visit(self, item: Any) -> Visit:
        self.hits.clear()
        started = time.perf_counter()
        passed = self.run_test(item, self.slow)
        return Visit(passed, time.perf_counter() - started, set(self.hits))

    def judge(self, mutant: Mutant, items: list[Any], visits: dict[str, Visit]) -> tuple[str, str]:
        os.environ[SWITCH] = mutant.name
        for item in items:
            limit = 5.0 + 10.0 * visits[item.nodeid].seconds
            if not self.run_test(item, limit):
                return "killed", item.nodeid
        return "survived", ""

    def pytest_runtestloop(self, session: Any) -> bool:
        for path in self.paths:
            importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        self.early = set(self.hits)
        gc.collect()
        gc.freeze()  # or every forked process would copy what the collector touches
        visits = self.visit_all(session.items)
        items = [item for item in session.items if item.nodeid in visits]
        os.environ[SWITCH] = ""
        reached: dict[str, list[Any]] = collections.defaultdict(list)
        for path in self.paths:
            files = set(test_files(path, Path("tests")))
            functions = {m.function for m in self.mutants if m.path == path}
            for item in sorted(items, key=lambda i: visits[i.nodeid].seconds):
                if item.path.name in files:
                    for function in visits[item.nodeid].functions & functions:
                        reached[function].append(item)
        self.judge_all(visits, reached)
        return True

    def visit_all(self, items: list[Any]) -> dict[str, Visit]:
        visits: dict[str, Visit] = {}
        forks, progress = Forks(self.jobs), Progress("tests visited", len(items))
        for item in items:

            def done(result: Any, nodeid: str = item.nodeid) -> None:
                progress.step()
                if isinstance(result, Visit) and result.passed:
                    visits[nodeid] = result
                else:
                    why = (
                        "fails"
                        if isinstance(result, Visit)
                        else f"over {self.slow:g} s"
                        if result == "timeout"
                        else result
                    )
                    self.out.append(nodeid)
                    say(f"left out ({why} without a mutant): {nodeid}")

            forks.start(lambda item=item: self.visit(item), done)  # type: ignore[misc]
        forks.finish()
        return visits

    def note(self, mutant: Mutant) -> None:
        """Write down on the way what no test failed on, since a run may be cut short."""
        if mutant.status != "killed":
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"# {mutant.name}: {mutant.status}\n{mutant.diff}\n\n")

    def judge_all(self, visits: dict[str, Visit], reached: dict[str, list[Any]]) -> None:
        kills: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        forks, progress = Forks(self.jobs), Progress("mutants", len(self.mutants))
        for mutant in self.mutants:
            items = reached[mutant.function]
            if not items:
                mutant.status = "not covered"
                self.note(mutant)
                progress.step(True)
                continue
            counts = kills[mutant.function]
            items = sorted(items, key=lambda i: (-counts[i.nodeid], visits[i.nodeid].seconds))

            def done(result: Any, mutant: Mutant = mutant) -> None:
                mutant.status, mutant.by = result if isinstance(result, tuple) else (result, "")
                if mutant.status == "crash":
                    mutant.status, mutant.by = "killed", "the process ended"
                if mutant.status == "killed":
                    kills[mutant.function][mutant.by] += 1
                self.note(mutant)
                progress.step(mutant.status != "killed")

            forks.start(lambda m=mutant, i=items: self.judge(m, i, visits), done)  # type: ignore[misc]
        forks.finish()


def run_fresh(mutant: Mutant, left_out: Sequence[str], seconds: float) -> str:
    """The mutant in a fresh process, against all tests of its module."""
    files = [f"tests/{name}" for name in test_files(mutant.path, Path("tests"))]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    for nodeid in left_out:
        command += ["--deselect", nodeid]
    try:
        done = subprocess.run(
            command, env={**os.environ, SWITCH: mutant.name}, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    return "survived" if done.returncode == 0 else "killed"


# --- reporting --------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    os.write(1, (text + "\n").encode())


class Progress:
    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.count, self.alive = what, total, 0, 0
        self.started = self.said = time.monotonic()

    def step(self, alive: bool = False) -> None:
        self.count += 1
        self.alive += alive
        now = time.monotonic()
        if now - self.said > 15.0 or self.count == self.total:
            self.said = now
            left = (now - self.started) / self.count * (self.total - self.count)
            kept = f", {self.alive} not killed by a failing test" if self.alive else ""
            say(f"{self.what}: {self.count}/{self.total}{kept}; about {left:.0f} s left")


def table(mutants: Sequence[Mutant]) -> str:
    lines = [f"{'module':34}{'mutants':>9}{'killed':>9}{'survived':>10}{'timeouts':>10}{'not covered':>13}{'score':>9}"]
    groups = collections.defaultdict(list)
    for mutant in mutants:
        groups[mutant.path].append(mutant)
    for name, group in [*groups.items(), ("all", list(mutants))]:
        n = collections.Counter(m.status for m in group)
        counts = [len(group), *(n[s] for s in STATUSES)]
        widths = (9, 9, 10, 10, 13)
        lines.append(
            f"{name:34}" + "".join(f"{c:>{w}}" for c, w in zip(counts, widths, strict=True)) + f"{score(group):>9.1%}"
        )
    return "\n".join(lines)


def score(mutants: Sequence[Mutant]) -> float:
    return sum(m.status in ("killed", "timeout") for m in mutants) / max(len(mutants), 1)


def interval(killed: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact 95 % confidence interval of a probability; conservative for a draw without return."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, killed, n - killed + 1)) if killed > 0 else 0.0
    return low, float(beta.ppf(0.975, killed + 1, n - killed)) if killed < n else 1.0


# --- the whole --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def copy_of_the_repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        before = Path.cwd()
        os.chdir(copy)
        try:
            yield copy
        finally:
            os.chdir(before)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description="Mutation testing of toyopt.")
    parser.add_argument("modules", nargs="*", default=["toyopt/*"], help="globs of files, such as 'toyopt/theorems/*'")
    parser.add_argument("--sample", type=int, metavar="N", help="only N of the mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only those in FILE, such as mutants/survivors.txt")
    parser.add_argument("--slow", type=float, default=20.0, metavar="S", help="leave out tests longer than this (20)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--out", type=Path, default=ROOT / "mutants", help="folder of the results (default mutants/)")
    return parser.parse_args(arguments)


def select(mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    if options.names is not None:
        mutants = [m for m in mutants if m.name in options.names]
    if options.sample is not None and options.sample < len(mutants):
        chosen = set(random.Random(options.seed).sample(range(len(mutants)), options.sample))
        mutants = [m for i, m in enumerate(mutants) if i in chosen]
    return mutants


def test_mutants(mutants: list[Mutant], options: argparse.Namespace) -> None:
    """Find every mutant's fate. In the copy's root, with the mutated files in place."""
    import pytest
    from mutmut.mutation import trampoline

    hits: set[str] = set()
    trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)  # type: ignore[assignment]  # noqa: ARG005
    os.environ[SWITCH] = "stats"
    paths = list(dict.fromkeys(m.path for m in mutants))
    files = sorted({name for path in paths for name in test_files(path, Path("tests"))})
    runner = Runner(mutants, paths, hits, options)
    command = ["-qq", "-s", "--tb=no", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*command, "--rootdir=.", *(f"tests/{name}" for name in files)], plugins=[runner])
    os.environ[SWITCH] = ""
    if any(not m.status for m in mutants):
        raise SystemExit(f"the tests could not be collected (pytest's exit status {int(code)})")
    again = [m for m in mutants if m.function in runner.early and m.status in ("survived", "not covered")]
    if again:
        forks, progress = Forks(options.jobs), Progress("run again in a fresh process", len(again))
        for mutant in again:

            def done(result: Any, mutant: Mutant = mutant) -> None:
                mutant.status, mutant.by = result, "a fresh process"
                progress.step()

            forks.start(lambda m=mutant: run_fresh(m, runner.out, 1800.0), done)  # type: ignore[misc]
        forks.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    options.out = options.out.resolve()
    options.names = options.again and set(re.findall(r"^# (\S+):", options.again.read_text(encoding="utf-8"), re.M))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "progress.txt").unlink(missing_ok=True)
    with copy_of_the_repository() as copy:
        os.environ.update(SETTINGS, PYTHONPATH=str(copy))
        sys.path.insert(0, str(copy))
        found = sorted(
            {str(p) for p in Path("toyopt").rglob("*.py") if any(fnmatch.fnmatch(str(p), g) for g in options.modules)}
        )
        if not found:
            raise SystemExit(f"no file of toyopt fits {' '.join(options.modules)}")
        say(f"making the mutants of {len(found)} files")
        with ProcessPoolExecutor(options.jobs) as pool:
            made = dict(zip(found, pool.map(mutate, found), strict=True))
        everything = [m for _, mutants in made.values() for m in mutants]
        mutants = select(everything, options)
        if not mutants:
            raise SystemExit("there is no mutant to test")
        for path in {m.path for m in mutants}:
            Path(path).write_text(made[path][0], encoding="utf-8")
        say(f"{len(mutants)} mutants to test, of {len(everything)}")
        started = time.monotonic()
        test_mutants(mutants, options)
        say(f"tested in {time.monotonic() - started:.0f} s\n")
    text = table(mutants)
    alive = [m for m in mutants if m.status in ("survived", "not covered")]
    (options.out / "survivors.txt").write_text(
        "".join(f"# {m.name}: {m.status}\n{m.diff}\n\n" for m in alive), encoding="utf-8"
    )
    (options.out / "results.json").write_text(json.dumps([vars(m) for m in mutants], indent=1), encoding="utf-8")
    if len(mutants) < len(everything):
        low, high = interval(len(mutants) - len(alive), len(mutants))
        text += f"\n\na random sample of {len(mutants)} of {len(everything)} mutants, seed {options.seed}: "
        text += f"the score of all is in [{low:.1%}, {high:.1%}] with 95 % confidence (Clopper and Pearson, exact)"
    (options.out / "table.txt").write_text(text + "\n", encoding="utf-8")
    say(text)
    say(f"\nthe {len(alive)} that were not noticed: {options.out / 'survivors.txt'}")
    return 0 if score(mutants) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
