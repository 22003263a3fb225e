"""`push_to_hub`: what is uploaded, checks before the run, and one line for every refusal of the hub."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import huggingface_hub
import pytest
from support import tiny_models as tiny
from support.wrong import fails

from llm import TrainConfig, train
from llm.training.hub import check_push, push

REPOSITORY = "someone/tiny-adapter"
GIVEN: dict[str, Any] = {
    "model": tiny.model(), "tokenizer": tiny.tokenizer(),
    "sft": tiny.sft_rows(20), "preference": tiny.preference_rows(20),
}  # fmt: skip
REAL = huggingface_hub.HfApi


class FakeApi:
    """Stands for HfApi; its calls must fit the signatures of the real one."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def create_repo(self, *arguments: Any, **more: Any) -> None:
        self._note("create_repo", *arguments, **more)

    def upload_folder(self, *arguments: Any, **more: Any) -> Any:
        self._note("upload_folder", *arguments, **more)
        return SimpleNamespace(commit_url=f"https://huggingface.co/{REPOSITORY}/commit/1")

    def _note(self, name: str, *arguments: Any, **more: Any) -> None:
        bound = inspect.signature(inspect.unwrap(getattr(REAL, name))).bind(self, *arguments, **more)
        self.calls.append((name, {k: v for k, v in bound.arguments.items() if k != "self"}))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The calls of the hub's API, with a token in the environment and the network allowed."""
    online(monkeypatch)
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "calls", [])
    return FakeApi.calls


def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_notatoken")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def config(folder: Path, **changes: Any) -> TrainConfig:
    own: dict[str, Any] = {
        "model": "someone/tiny", "sft": "rows", "preference": "rows", "out": str(folder / "run"),
        "cache": str(folder / "cache"), "steps": 2, "lora_rank": 2, "batch_sft": 4, "batch_preference": 4,
        "held_out": 0.2, "eval_every": 0, "device": "cpu", "max_length": 64, "push_to_hub": REPOSITORY,
    }  # fmt: skip
    return TrainConfig(**{**own, **changes})


@pytest.mark.slow
def test_a_finished_run_uploads_its_adapter_tokenizer_and_card(
    tmp_path: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(config(tmp_path), **GIVEN).folder
    assert f"uploaded: https://huggingface.co/{REPOSITORY}/commit/1" in capsys.readouterr().err
    (made, first), (uploaded, second) = calls
    assert (made, first) == ("create_repo", {"repo_id": REPOSITORY, "private": True, "exist_ok": True})
    assert (uploaded, second["repo_id"], Path(second["folder_path"])) == ("upload_folder", REPOSITORY, folder)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    sent = {name for name in names if any(fnmatch(name, pattern) for pattern in second["allow_patterns"])}
    needed = {"adapter_config.json", "adapter_model.safetensors", "README.md", "tokenizer.json"}
    assert needed <= sent
    assert not any(name.startswith(("run.json", "metrics", "checkpoints", "summary")) for name in sent)
    before = (folder / "summary.json").stat().st_mtime_ns
    train(config(tmp_path), quiet=True, **GIVEN)  # the same command uploads again, and trains nothing
    assert len(calls) == 4
    assert (folder / "summary.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_without_the_option_asks_the_hub_nothing(tmp_path: Path, calls: list[Any]) -> None:
    train(config(tmp_path, push_to_hub=""), quiet=True, **GIVEN)
    assert calls == []


def test_what_cannot_be_uploaded_is_one_line_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[Any]
) -> None:
    check_push(config(tmp_path))
    bad = "a/b/c"
    fails(lambda: check_push(config(tmp_path, push_to_hub=bad)), ValueError, "push_to_hub: ", bad)
    for model in ("embedded", str(tmp_path)):
        begins = f"push_to_hub: the base model {model} is on this machine"
        fails(lambda model=model: check_push(config(tmp_path, model=model)), ValueError, begins, "a name of the hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fails(lambda: check_push(config(tmp_path)), ValueError, "push_to_hub: HF_HUB_OFFLINE is set", "unset it")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    fails(
        lambda: train(config(tmp_path), quiet=True, **GIVEN), ValueError, "push_to_hub: there is no token", "HF_TOKEN"
    )
    assert not (tmp_path / "run").exists()
    assert calls == []


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that answers every request with 403, in the hub's form, as the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = b'{"error": "You do not have the required permissions"}'
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Error-Message", "You do not have the required permissions")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    online(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_refusal_of_the_hub_is_one_line(tmp_path: Path, refusing: str) -> None:  # noqa: ARG001
    begins = f"push_to_hub: {REPOSITORY}: "
    fails(lambda: push(tmp_path, REPOSITORY), ValueError, begins, "permissions")
    fails(lambda: push(tmp_path, REPOSITORY), ValueError, begins, "the same command uploads it again")


def test_a_hub_that_is_not_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    online(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    fails(lambda: push(tmp_path, REPOSITORY), ValueError, f"push_to_hub: {REPOSITORY}: ", "uploads it again")


def test_an_error_of_our_own_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    online(monkeypatch)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace())
    with pytest.raises(AttributeError):
        push(tmp_path, REPOSITORY)
