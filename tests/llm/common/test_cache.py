"""Cache entries are complete and as written, or computed again; processes that want the same compute it once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.subprocesses import RunningScript, run_script

from llm.common.cache import ENTRY, ContentCache, DamagedError, digest

KEY = digest({"a": 1})


def save(text: str = "content", name: str = "value.txt") -> Callable[[Path], None]:
    """Return a function that writes a text into an entry's folder."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return write


def load(folder: Path) -> str:
    return (folder / "value.txt").read_text(encoding="utf-8")


def never(_: Path) -> None:
    pytest.fail("computed again")


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache", "texts")


def test_a_digest_depends_on_values_and_not_on_their_order() -> None:
    assert digest({"a": 1, "b": [True, None, 0.5]}) == digest({"b": [True, None, 0.5], "a": 1})
    assert len({digest(v) for v in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, ["a", 1])}) == 5
    assert digest({"λ": 0.5}) == "a5e23f5ba1d3460a"  # the same on every machine, for cache folders are shared


def test_an_entry_is_read_as_written_and_its_place_is_readable(cache: ContentCache, tmp_path: Path) -> None:
    assert cache.read(KEY, load) is None
    folder = cache.write(KEY, save())
    assert folder == cache.path(KEY) == tmp_path / "cache" / "texts" / KEY
    assert cache.path(KEY, "value.txt").is_file()
    assert cache.read(KEY, load) == "content"
    assert set(json.loads((folder / ENTRY).read_text(encoding="utf-8"))["files"]) == {"value.txt"}
    assert cache.read(digest("other"), load) is None


def test_a_new_write_replaces_all_files_of_an_entry(cache: ContentCache) -> None:
    cache.write(KEY, save(name="old.txt"))
    cache.write(KEY, save("new"))
    assert {path.name for path in cache.path(KEY).iterdir()} == {"value.txt", ENTRY}
    assert cache.read(KEY, load) == "new"


@pytest.mark.parametrize("damage", ["changed", "truncated", "lost", "lost below", "entry lost", "entry cut", "moved"])
def test_a_damaged_entry_is_reported_and_computed_again(damage: str, cache: ContentCache) -> None:
    other = digest({"a": 2})

    def write_two(folder: Path) -> None:
        save()(folder)
        save(name="deep/second.txt")(folder)

    cache.write(KEY, write_two)
    value, entry = cache.path(KEY, "value.txt"), cache.path(KEY, ENTRY)
    if damage == "changed":
        value.write_text("Content", encoding="utf-8")
    elif damage == "truncated":
        value.write_text("conten", encoding="utf-8")
    elif damage == "lost":
        value.unlink()
    elif damage == "lost below":
        cache.path(KEY, "deep/second.txt").unlink()
    elif damage == "entry lost":
        entry.unlink()
    elif damage == "entry cut":
        entry.write_bytes(entry.read_bytes()[:20])
    else:
        cache.path(KEY).rename(cache.path(other))
    key, reasons = (other if damage == "moved" else KEY), []
    assert cache.read(key, load, reasons.append) is None
    assert len(reasons) == 1
    assert key in reasons[0]
    assert cache.fetch(key, load, save("again")) == "again"
    assert cache.read(key, load, reasons.append) == "again"
    assert len(reasons) == 1


@pytest.mark.slow
def test_every_changed_byte_of_an_entry_is_noticed(cache: ContentCache) -> None:
    cache.write(KEY, save())
    for path in (cache.path(KEY, "value.txt"), cache.path(KEY, ENTRY)):
        content = path.read_bytes()
        for at in range(len(content)):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert cache.read(KEY, load) is None, (path.name, at)
        path.write_bytes(content)
    assert cache.read(KEY, load) == "content"


def test_content_of_another_form_counts_as_damaged_and_other_errors_are_raised(cache: ContentCache) -> None:
    cache.write(KEY, save())
    reasons: list[str] = []

    def refuse(_: Path) -> str:
        raise ValueError("another number of rows")

    def fail(_: Path) -> str:
        raise ZeroDivisionError

    assert cache.read(KEY, refuse, reasons.append) is None
    assert reasons == ["another number of rows"]
    with pytest.raises(ZeroDivisionError):
        cache.read(KEY, fail)
    with pytest.raises(DamagedError, match="cannot be read back"):
        cache.fetch(KEY, refuse, save())


def test_a_computation_that_fails_leaves_no_entry_and_no_lock(cache: ContentCache) -> None:
    def fail(folder: Path) -> None:
        save()(folder)
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match=r"^halfway$"):
        cache.fetch(KEY, load, fail)
    assert [path.name for path in cache.folder.iterdir()] == [f".{KEY}.lock"]
    assert cache.fetch(KEY, load, save()) == "content"


def test_a_cache_that_can_only_be_read_serves_its_entries(cache: ContentCache) -> None:
    cache.write(KEY, save())
    cache.folder.chmod(0o500)
    before = {path: path.stat().st_mtime_ns for path in [cache.folder, *cache.folder.rglob("*")]}
    try:
        assert cache.fetch(KEY, load, never) == "content"
        if os.geteuid() != 0:
            with pytest.raises(OSError, match=r"[Pp]ermission"):
                cache.fetch(digest("other"), load, save())
    finally:
        cache.folder.chmod(0o700)
    assert {path: path.stat().st_mtime_ns for path in [cache.folder, *cache.folder.rglob("*")]} == before


def test_only_the_entries_written_last_are_kept(cache: ContentCache, tmp_path: Path) -> None:
    keys = [digest(i) for i in range(5)]
    for at, key in enumerate(keys):
        cache.write(key, save())
        os.utime(cache.path(key, ENTRY), ns=(at, at))
    other = ContentCache(tmp_path / "cache", "others")
    other.write(KEY, save())
    cache.prune(keep=2)
    assert [cache.read(key, load) for key in keys] == [None] * 3 + ["content"] * 2
    cache.prune(keep=2)
    assert cache.read(keys[3], load) == other.read(KEY, load) == "content"
    cache.prune(keep=0)
    assert not any(cache.path(key).exists() for key in keys)


FETCHER = """
import sys
from pathlib import Path
from llm.common.cache import ContentCache

cache, key, made = ContentCache(Path(sys.argv[1]), "texts"), sys.argv[2], Path(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()

def save(folder):
    with made.open("a") as file:
        file.write("x")
    (folder / "value.txt").write_text("content")

print(cache.fetch(key, lambda folder: (folder / "value.txt").read_text(), save))
"""


@pytest.mark.slow
@pytest.mark.process
def test_processes_that_fetch_the_same_entry_compute_it_once(cache: ContentCache, tmp_path: Path) -> None:
    made = tmp_path / "made"
    fetchers = [RunningScript(FETCHER, cache.folder.parent, KEY, made) for _ in range(3)]
    for fetcher in fetchers:
        fetcher.release()
    assert [fetcher.finish() for fetcher in fetchers] == ["content\n"] * 3
    assert made.read_text(encoding="utf-8") == "x"


@pytest.mark.slow
@pytest.mark.process
def test_a_process_that_waits_reports_this_and_computes_after_a_kill(cache: ContentCache, tmp_path: Path) -> None:
    code = FETCHER.replace("file.write", "print('computing', flush=True); sys.stdin.readline(); file.write")
    slow = RunningScript(code, cache.folder.parent, KEY, tmp_path / "made")
    slow.release()
    assert slow.process.stdout is not None
    assert slow.process.stdout.readline() == "computing\n"
    assert cache.fetch(KEY, load, save("ours"), waiting=slow.kill) == "ours"
    assert {path.name for path in cache.folder.iterdir()} == {KEY, f".{KEY}.lock"}  # nothing unfinished is left


KILLED = """
import os, signal, sys
from pathlib import Path
from llm.common import files
from llm.common.cache import ContentCache

files._replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ContentCache(Path(sys.argv[1]), "texts").write(sys.argv[2], lambda folder: (folder / "value.txt").write_text("half"))
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_kill_before_the_rename_leaves_no_entry(cache: ContentCache) -> None:
    assert run_script(KILLED, cache.folder.parent, KEY).returncode == -signal.SIGKILL
    assert cache.read(KEY, load) is None
    assert len(list(cache.folder.iterdir())) == 1
    assert cache.fetch(KEY, load, save("whole")) == "whole"
    assert {path.name for path in cache.folder.iterdir()} == {KEY, f".{KEY}.lock"}
