"""Files are complete or absent: atomic writes, JSON and locks, with several processes and kills."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.subprocesses import RunningScript, run_script, until

from llm.common import files
from llm.common.files import (
    BusyError,
    atomic_path,
    check_name,
    ensure_writable,
    is_locked,
    lock,
    read_json,
    remove_unfinished,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Atomic writes.


def test_a_file_and_a_folder_appear_only_when_complete(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "file") as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert not (tmp_path / "deep" / "file").exists()
    assert (tmp_path / "deep" / "file").read_text(encoding="utf-8") == "new"
    for content in ("first", "second"):
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content, encoding="utf-8")
        assert names(tmp_path / "folder") == {content}
    assert names(tmp_path) == {"deep", "folder"}


def test_bytes_and_texts_are_stored_as_given(tmp_path: Path) -> None:
    write_bytes(tmp_path / "bytes", b"\x00\r\n\xff")
    write_text(tmp_path / "text", "λ\r\nθ\n")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "text").read_bytes() == "λ\r\nθ\n".encode()


def test_others_may_read_a_written_file_as_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_block_that_raises_leaves_the_old_content(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(RuntimeError, match=r"^halfway$"), atomic_path(tmp_path / "file") as temporary:  # noqa: PT012
        temporary.write_text("new", encoding="utf-8")
        raise RuntimeError("halfway")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("folder", [False, True])
def test_content_is_on_disk_before_the_rename(folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> Any:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic_path(tmp_path / "x") as temporary:
        if folder:
            temporary.mkdir()
        (temporary / "inner" if folder else temporary).write_bytes(b"content")
    content = ["sync inner", "sync x"] if folder else ["sync x"]
    assert steps == [*content, "rename", f"sync {tmp_path.name}"]


def test_a_full_disk_is_one_os_error_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(tmp_path / "file", "new")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == {"file"}


def test_a_full_disk_that_safetensors_reports_is_an_os_error(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    full = safetensors.SafetensorError('I/O error: No space left on device (os error 28) at path "x"')
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_path(tmp_path / "file"):
        raise full
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(safetensors.SafetensorError, match=r"^else$"), atomic_path(tmp_path / "file"):
        raise safetensors.SafetensorError("else")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_that_tokenizers_reports_is_an_os_error(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    for block in (atomic_path(tmp_path / "folder"), files.full_disk_as_os_error(tmp_path)):
        with pytest.raises(OSError, match="No space left on device") as caught, block:
            inner.save("/dev/full")
        assert caught.value.errno == errno.ENOSPC


def test_a_folder_does_not_replace_a_file_nor_a_file_a_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").touch()
    with pytest.raises(NotADirectoryError), atomic_path(tmp_path / "file") as temporary:
        temporary.mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "folder", "new")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path / "folder") == {"inner"}
    assert names(tmp_path) == {"file", "folder"}


def test_only_names_that_are_unfinished_are_removed(tmp_path: Path) -> None:
    ours, theirs = atomic_path(tmp_path / "ours"), atomic_path(tmp_path / "theirs")
    for unfinished in (ours, theirs):
        part = unfinished.__enter__()  # and the process is killed
        part.mkdir()
        (part / "part").write_text("part", encoding="utf-8")
    (tmp_path / "kept").mkdir()
    (tmp_path / ".hidden").touch()
    remove_unfinished(tmp_path, "ours")
    assert len(names(tmp_path)) == 3
    remove_unfinished(tmp_path)
    assert names(tmp_path) == {"kept", ".hidden"}


KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from llm.common import files

kind, path = sys.argv[1], Path(sys.argv[2])
files._replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with files.atomic_path(path) as temporary:
    if kind == "folder":
        temporary.mkdir()
        (temporary / "new").touch()
    else:
        temporary.write_text("new")
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_between_write_and_rename_leaves_the_old_content(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
        (path / "old").touch()
    else:
        write_text(path, "old")
    assert run_script(KILLED_BETWEEN, kind, path).returncode == -signal.SIGKILL
    assert names(path) == {"old"} if kind == "folder" else path.read_text(encoding="utf-8") == "old"
    assert len(names(tmp_path)) == 2  # the new content, unfinished
    remove_unfinished(tmp_path)
    assert names(tmp_path) == {"x"}


WRITER = """
import sys
from pathlib import Path
from llm.common.files import atomic_path

kind, path, letter = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    with atomic_path(path) as temporary:
        if kind == "folder":
            temporary.mkdir()
        for name in ("a", "b") if kind == "folder" else ("",):
            (temporary / name).write_text(letter * 100_000)
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_processes_that_write_the_same_path_never_mix_their_content(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    writers = [RunningScript(WRITER, kind, path, letter) for letter in "AB"]
    for writer in writers:
        writer.release()
    seen = 0
    while any(writer.process.poll() is None for writer in writers) or seen == 0:
        parts = [path / "a", path / "b"] if kind == "folder" else [path]
        try:
            texts = {part.read_text(encoding="utf-8") for part in parts}
        except FileNotFoundError:  # not there yet, or a folder between its two renames
            continue
        assert all(text in ("A" * 100_000, "B" * 100_000) for text in texts)
        seen += 1
    for writer in writers:
        writer.finish()
    parts = [path / "a", path / "b"] if kind == "folder" else [path]
    assert len({part.read_text(encoding="utf-8") for part in parts}) == 1
    assert names(tmp_path) == {"x"}


# JSON.


def test_json_is_read_as_written(tmp_path: Path) -> None:
    values = {"a": [0.1, 1e-300, 2**200, math.inf], "b": None, "c": "λ"}
    write_json(tmp_path / "x.json", values)
    assert read_json(tmp_path / "x.json") == values
    write_json(tmp_path / "nan.json", math.nan)
    assert math.isnan(read_json(tmp_path / "nan.json"))


@pytest.mark.parametrize("damage", [b'{"a": [0.1', b"", b"\xff\xfe"])
def test_damaged_json_is_an_error_of_one_line_with_the_remedy(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"x\.json is damaged \(.*\); remove it and run again$") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


# Folders that cannot be written to.


def test_an_output_replaces_no_file_of_a_run_or_a_model(tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "model"
    for path in (
        run / "run.json",
        run / "summary.json",
        run / "metrics.jsonl",
        run / "mine.json",
        model / "config.json",
    ):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "summary.json").touch()
    for own in (run / "run.json", run / "summary.json", run / "metrics.jsonl", model / "config.json"):
        with pytest.raises(ValueError, match=f"^out: {own} belongs to the run or model in its folder; give another"):
            check_name(str(own), ".json", ".jsonl")
    for free in (run / "mine.json", run / "new.json", tmp_path / "summary.json"):
        check_name(str(free), ".json")


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    ensure_writable("out", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_below_a_file_is_refused_by_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ValueError, match=rf"^cache: {folder} cannot be written to \(.*\); .* --cache$"):
            ensure_writable("cache", folder)


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.geteuid() == 0:  # root may write everywhere: ask as the system answers others
            monkeypatch.setattr(files.os, "access", lambda _, mode: not mode & os.W_OK)
        with pytest.raises(ValueError, match=r"^out: .* \(permission denied\); give another folder with --out$"):
            ensure_writable("out", tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_write_into_a_folder_that_is_read_only_is_an_os_error(tmp_path: Path) -> None:
    target = Path("/proc") if sys.platform == "linux" else tmp_path / "closed"
    if not target.exists():
        target.mkdir(mode=0o500)
    with pytest.raises(OSError, match=r"No such file|[Pp]ermission|Read-only|not permitted"):
        write_text(target / "file", "x")


# Locks.


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    assert not is_locked(path)
    with lock(path):
        assert is_locked(path)
        with pytest.raises(BusyError, match=r"^another process holds .*\.lock$"), lock(path):
            pytest.fail("two holders")
    assert not is_locked(path)
    with lock(path):
        pass


def test_a_block_that_raises_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^inside$"), lock(tmp_path / ".lock"):
        raise RuntimeError("inside")
    assert not is_locked(tmp_path / ".lock")


HOLDER = """
import sys, time
from pathlib import Path
from llm.common.files import lock

with lock(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    holder = RunningScript(HOLDER, tmp_path / ".lock")
    assert is_locked(tmp_path / ".lock")
    with pytest.raises(BusyError), lock(tmp_path / ".lock"):
        pytest.fail("two holders")
    holder.kill()
    assert not is_locked(tmp_path / ".lock")


@pytest.mark.slow
@pytest.mark.process
def test_a_process_that_waits_gets_the_lock_after_the_holder(tmp_path: Path) -> None:
    holder, told = RunningScript(HOLDER, tmp_path / ".lock"), []

    def waiting() -> None:
        told.append(holder.process.poll())
        holder.release()

    with lock(tmp_path / ".lock", wait=True, waiting=waiting):
        until(lambda: holder.process.poll() is not None, "the holder to end")
    assert told == [None]
    holder.finish()


@pytest.mark.slow
def test_importing_it_needs_no_library_of_models() -> None:
    code = (
        "import sys, llm.common.files, llm.common.cache, llm.common.environment, llm.common.processes;"
        "print(sorted({'torch', 'safetensors', 'numpy', 'transformers', 'llm.cli', 'llm.training'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
