"""Stop signals, child processes, and the fork server, whose children are as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.subprocesses import RunningScript, environment, is_alive, until

from llm.common import processes
from llm.common.processes import Child, ForkServer, Start, cores, preserve_torch_state, start_process, stop_requested

CHILD = [sys.executable, "-m", "support.child"]
PRELOAD = ["support.child:preload", "no_such_module", "support.child:fail_to_preload"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    forks = ForkServer(PRELOAD)
    yield forks
    forks.close()


@pytest.fixture(params=["process", "fork"])
def start(request: pytest.FixtureRequest) -> Start:
    """Both ways to start a command: they must not be told apart."""
    return start_process if request.param == "process" else request.getfixturevalue("server")


def state(start: Start, folder: Path, **env: str) -> dict[str, Any]:
    """Return the state in which a command finds its process."""
    folder.mkdir(exist_ok=True)
    child = start([*CHILD, "state", str(folder / "state")], folder / "log", environment(**env))
    assert child.wait() == 0, (folder / "log").read_text(encoding="utf-8")
    return dict(json.loads((folder / "state").read_text(encoding="utf-8")))


def hang(start: Start, file: Path) -> tuple[Child, int, int]:
    """Start a command that does not end: the child, its process number and its parent's."""
    child = start([*CHILD, "hang", str(file)], file.with_suffix(".log"), environment())
    until(lambda: file.is_file() and file.read_text(encoding="utf-8").count(" "), "the child")
    pid, parent = map(int, file.read_text(encoding="utf-8").split())
    return child, pid, parent


# Stop signals.


def test_a_first_signal_is_counted_and_a_second_ctrl_c_interrupts() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt), stop_requested() as stop:  # noqa: PT012
        assert (stop(), stop.count) == (False, 0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert (stop(), stop.count) == (True, 2)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("not interrupted")
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_signals_are_only_counted_where_nothing_may_interrupt() -> None:
    with stop_requested(interrupt=False) as stop:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.count == 3


def test_outside_the_main_thread_signals_keep_their_effect() -> None:
    handlers: list[Any] = []

    def work() -> None:
        with stop_requested() as stop:
            handlers.extend([signal.getsignal(signal.SIGTERM), stop()])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM), False]


# What both ways of starting a command have in common.


@pytest.mark.slow
@pytest.mark.process
def test_a_command_finds_its_process_as_new(start: Start, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # A shell without job control lets its background jobs ignore Ctrl-C, and they hand this on.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, ignored))
    before = state(start, tmp_path / "a", MARK="one")
    spoil = start([*CHILD, "spoil"], tmp_path / "spoil.log", environment())
    assert spoil.wait() == 0
    after = state(start, tmp_path / "b", MARK="two")
    assert (before["mark"], after["mark"]) == ("one", "two")
    assert not after["spoilt"]
    assert before["pid"] != after["pid"]
    assert before["random"] != after["random"]
    same = ("filters", "signals", "mask", "cwd", "name", "settings")
    assert {n: before[n] for n in same} == {n: after[n] for n in same}
    assert after["signals"][:2] == [repr(signal.SIG_DFL), repr(signal.default_int_handler)]
    assert (after["mask"], after["name"], after["settings"]) == ([], "__main__", [])
    assert after["cwd"] == str(Path.cwd())
    assert after["argv"] == ["state", str(tmp_path / "b" / "state")]
    assert after["session"] != os.getsid(0)  # Ctrl-C on the terminal does not reach it
    if sys.platform == "linux":
        assert after["files"] == ["/dev/null", str(tmp_path / "b" / "log"), str(tmp_path / "b" / "log")]


@pytest.mark.slow
@pytest.mark.process
def test_output_is_appended_to_the_log_and_the_exit_status_is_returned(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n", encoding="utf-8")
    for action, status in (("print", 3), ("words", 1), ("fails", 1), ("state", 1)):
        assert start([*CHILD, action], log, environment()).wait() == status, action
    text = log.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert {"to the output", "to the errors", "error: in words", "KeyError: 'no such\\naction'"} <= {*text.splitlines()}
    assert text.count("Traceback (most recent call last):") == 2


@pytest.mark.slow
@pytest.mark.process
def test_a_command_is_stopped_and_killed_alone(start: Start, tmp_path: Path) -> None:
    victim, pid, _ = hang(start, tmp_path / "victim")
    other, _, _ = hang(start, tmp_path / "other")
    victim.kill()
    assert victim.wait() == victim.poll() == -signal.SIGKILL
    assert not is_alive(pid)
    assert other.poll() is None
    other.terminate()
    assert other.wait() == -signal.SIGTERM
    victim.kill()  # it is gone: nothing happens
    assert state(start, tmp_path / "next")["spoilt"] is False


KILLED_PARENT = """
import sys
from pathlib import Path
from llm.common.processes import ForkServer, start_process
from support.subprocesses import environment, until

folder, start = Path(sys.argv[1]), ForkServer() if sys.argv[2] == "fork" else start_process
files = [folder / "0", folder / "1"]
for file in files:
    start([sys.executable, "-m", "support.child", "hang", str(file)], folder / "log", environment())
until(lambda: all(f.is_file() and f.read_text().count(" ") for f in files), "the children")
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
@linux
@pytest.mark.process
@pytest.mark.parametrize("way", ["fork", "process"])
def test_nothing_outlives_a_process_that_is_killed(way: str, tmp_path: Path) -> None:
    parent = RunningScript(KILLED_PARENT, tmp_path, way)
    pids = {int(pid) for name in "01" for pid in (tmp_path / name).read_text(encoding="utf-8").split()}
    assert len(pids) == 3  # two commands, and their parent
    assert all(map(is_alive, pids))
    parent.kill()
    until(lambda: not any(map(is_alive, pids)), "the end of all")


# The fork server alone.


@pytest.mark.process
def test_forks_begin_with_the_servers_imports(server: ForkServer, tmp_path: Path) -> None:
    one, two = state(server, tmp_path / "a"), state(server, tmp_path / "b")
    assert one["parent"] == two["parent"] != os.getpid()
    assert one["preloaded"] == two["preloaded"] == [one["parent"]]


@pytest.mark.slow
@pytest.mark.process
def test_imports_that_fail_in_the_server_are_in_the_log_of_the_first_command(
    server: ForkServer, tmp_path: Path
) -> None:
    server.close()
    assert state(server, tmp_path)["spoilt"] is False
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "ModuleNotFoundError: No module named 'no_such_module'" in log
    assert "OSError: no such library" in log


@pytest.mark.slow
@linux
@pytest.mark.process
def test_a_server_that_is_killed_takes_its_forks_along_and_is_replaced(server: ForkServer, tmp_path: Path) -> None:
    child, pid, parent = hang(server, tmp_path / "child")
    os.kill(parent, signal.SIGTERM)  # batch systems send it to all processes; commands are to save first
    os.kill(parent, signal.SIGINT)
    assert child.poll() is None
    os.kill(parent, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    until(lambda: not is_alive(pid), "the end of the child")
    new = state(server, tmp_path / "next")
    assert new["parent"] != parent
    assert new["preloaded"] == [new["parent"]]


@pytest.mark.slow
@linux
@pytest.mark.process
def test_a_closed_server_leaves_nothing_and_starts_again_in_the_next_environment(
    server: ForkServer, tmp_path: Path
) -> None:
    child, pid, parent = hang(server, tmp_path / "child")
    server.close()
    server.close()  # nothing is left to do
    assert child.poll() == -signal.SIGKILL
    until(lambda: not is_alive(pid) and not is_alive(parent), "the end of both")
    new = state(server, tmp_path / "next", MARK="new")
    assert (new["mark"], is_alive(new["parent"])) == ("new", True)


@pytest.mark.slow
@pytest.mark.process
def test_a_process_has_one_server_at_a_time(server: ForkServer, tmp_path: Path) -> None:
    first, second = state(server, tmp_path / "first"), ForkServer()
    with pytest.raises(RuntimeError, match=r"^another fork server is in use in this process; close it first$"):
        state(second, tmp_path / "second")
    second.close()  # was never in use: the other one goes on
    assert state(server, tmp_path / "third")["parent"] == first["parent"]
    server.close()
    assert state(second, tmp_path / "fourth")["preloaded"] == []
    second.close()


@pytest.mark.slow
@pytest.mark.process
def test_starting_leaves_this_process_as_it_was(server: ForkServer, tmp_path: Path) -> None:
    before, main = dict(os.environ), sys.modules["__main__"]
    state(server, tmp_path, MARK="theirs")
    assert dict(os.environ) == before
    assert sys.modules["__main__"] is main


SCRIPT = """
import sys
from pathlib import Path
from llm.common.processes import ForkServer
from support.subprocesses import environment

print("the script runs", flush=True)
server = ForkServer()
folder = Path(sys.argv[1])
child = server([sys.executable, "-m", "support.child", "state", str(folder / "state")], folder / "log", environment())
print(child.wait())
server.close()
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_script_without_a_main_guard_is_not_run_again_in_its_children(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "the script runs\n0\n"), done.stderr


def test_a_command_of_another_form_is_refused(server: ForkServer, tmp_path: Path) -> None:
    for argv in ([sys.executable, "-c", "pass"], ["python", "-m", "support.child"]):
        with pytest.raises(ValueError, match=r"^argv: must be .* -m MODULE \.\.\., got "):
            server(argv, tmp_path / "log", environment())


# This process.


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "sched_getaffinity"):
        assert cores() == len(os.sched_getaffinity(0))
        monkeypatch.delattr(processes.os, "sched_getaffinity")
    assert cores() == os.cpu_count()
    monkeypatch.setattr(processes.os, "cpu_count", lambda: None)
    assert cores() == 1


def test_torch_is_afterwards_as_it_was() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 2).eval()
    model.bias.requires_grad_(False)
    threads, before = torch.get_num_threads(), torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match=r"^inside$"), preserve_torch_state(model):  # noqa: PT012
        torch.manual_seed(1)
        torch.set_num_threads(threads + 1)
        model.train().requires_grad_(True)
        raise RuntimeError("inside")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (model.training, model.weight.requires_grad, model.bias.requires_grad) == (False, True, False)
