"""One request to a judge's endpoint: its content, its retries, and the error when it fails for good."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import time
from typing import Any

import pytest
from support.judge_server import Answer, Body, serving

from llm.judging.endpoint import Asker, Endpoint, EndpointError, key_in, reply_in
from llm.judging.templates import better

ASK = [{"role": "user", "content": "which?"}]


SECRET = "sk-very-secret-0123"


def judge_at(url: str, **options: Any) -> Endpoint:
    return Endpoint(url, "the-judge", **{"timeout": 10.0, "attempts": 2, **options})


def ask(url: str, **options: Any) -> str:
    with Asker(judge_at(url, **options)) as asker:
        return asker(ASK)


@pytest.mark.slow
def test_what_is_sent() -> None:
    with serving(lambda *_: Answer("fine")) as server:
        assert ask(server.url + "/", key=SECRET) == "fine"
        assert ask(server.url + "/chat/completions", temperature=None, max_tokens=0) == "fine"
    assert server.paths == ["/v1/chat/completions"] * 2
    assert server.asked[0] == {"model": "the-judge", "messages": ASK, "temperature": 0.0, "max_tokens": 512}
    assert server.asked[1] == {"model": "the-judge", "messages": ASK}
    assert server.keys == [f"Bearer {SECRET}", None]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_and_then_well(status: int) -> None:
    with serving(lambda _, number: Answer(status=status if number < 2 else 200)) as server:
        assert ask(server.url, attempts=3) == "m"
    assert len(server.asked) == 3


@pytest.mark.slow
def test_retry_after_is_respected_and_nothing_else_is_slept() -> None:
    def answer(_body: Body, number: int) -> Answer:
        return Answer(status=429, headers={"Retry-After": "0.3"}) if number == 0 else Answer()

    with serving(answer) as server:
        began = time.monotonic()
        ask(server.url)
    assert 0.3 <= time.monotonic() - began < 10.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Answer(status=500, raw="the cat\nis on the GPU"), "status 500, the cat is on the GPU"),
        (Answer(raw="<html>not JSON"), "no chat completion but <html>not JSON"),
        (Answer(raw='{"choices": []}'), r"no chat completion but \{\"choices\": \[\]\}"),
        (Answer(raw='{"choices": [{"message": {"content": 3}}]}'), "no chat completion"),
        (Answer(raw=""), "no chat completion but an empty text"),
    ],
)
def test_failing_for_good_names_the_endpoint(answer: Answer, shown: str) -> None:
    with serving(lambda *_: answer) as server:
        with pytest.raises(EndpointError, match=rf"^judge: {server.url} does not answer \(2 attempts; .*{shown}"):
            ask(server.url)
        assert len(server.asked) == 2


@pytest.mark.slow
def test_a_refusal_is_final_and_shows_the_endpoints_message() -> None:
    body = json.dumps({"error": {"message": "The model `the-judge` does not exist."}})
    with serving(lambda *_: Answer(status=404, raw=body)) as server:
        with pytest.raises(
            ValueError, match=r"status 404, .*does not exist.*is --judge-model the-judge its name there"
        ):
            ask(server.url)
        assert len(server.asked) == 1


@pytest.mark.slow
def test_a_key_is_never_shown() -> None:
    shown = r"status 401, .*provided: \*\*\*; name by --key-from"
    wrong = Answer(status=401, raw=f"Incorrect API key provided: {SECRET}")
    with serving(lambda *_: wrong) as server, pytest.raises(ValueError, match=shown) as caught:
        ask(server.url, key=SECRET)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(judge_at("http://a/v1", key=SECRET))
    with pytest.raises(ValueError, match=r"^key_from: the key has characters") as caught:
        judge_at("http://a/v1", key=SECRET + "\n")
    assert SECRET not in str(caught.value)


def test_a_key_is_read_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {SECRET}\n")
    assert key_in("JUDGE_KEY") == SECRET
    assert key_in("") == ""
    monkeypatch.setenv("JUDGE_KEY", " ")
    with pytest.raises(ValueError, match=r"^key_from: the environment has no JUDGE_KEY; export it"):
        key_in("JUDGE_KEY")


@pytest.mark.slow
def test_slow_answers_time_out_and_are_asked_for_again() -> None:
    free = threading.Event()

    def answer(_body: Body, number: int) -> Answer:
        return Answer(before=lambda: free.wait(20.0) if number == 0 else None)

    with serving(answer) as server:
        assert ask(server.url, timeout=1.0) == "m"
        free.set()
    assert len(server.asked) >= 2


@pytest.mark.slow
def test_who_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match=r"\(one attempt; the last one: no answer within 0\.1 s\)$"):
            ask(url, timeout=0.1, attempts=1)


@pytest.mark.slow
def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EndpointError, match=rf"^judge: http://127.0.0.1:{port}/v1 does not answer .*ConnectError"):
        ask(f"http://127.0.0.1:{port}/v1")


def test_an_empty_message_is_a_reply_without_a_verdict() -> None:
    assert reply_in(Answer(reply=None).text) == ""
    with serving(lambda *_: Answer(reply=None)) as server:
        assert ask(server.url) == ""
    assert better("") is None


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"url": "localhost:8000"}, "^judge: must be a URL"),
        ({"url": "ftp://a/v1"}, "^judge: must be a URL"),
        ({"url": "http://me:pw@a/v1"}, "^judge: must be a URL without a name and a password"),
        ({"model": ""}, "^judge_model: "),
        ({"attempts": 0}, "^attempts, max_tokens"),
        ({"timeout": 0.0}, "^attempts, max_tokens"),
    ],
)
def test_what_is_no_endpoint(options: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=shown) as caught:
        Endpoint(**{"url": "http://a/v1", "model": "x", **options})
    assert "pw" not in str(caught.value)


def test_without_the_client_the_remedy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "openai" else real(name, *a))
    with pytest.raises(ValueError, match=r"^judge: the openai client is not installed; pip install -e '\.\[judge\]'$"):
        Asker(judge_at("http://a/v1"))


def test_nothing_is_sent_after_a_stop() -> None:
    with serving(lambda *_: Answer()) as server, Asker(judge_at(server.url)) as asker:
        assert asker(ASK) == "m"
        asker.stop()
        with pytest.raises(EndpointError, match="is not asked again after an error"):
            asker(ASK)
        assert len(server.asked) == 1


def test_the_environment_of_another_service_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with serving(lambda *_: Answer()) as server:
        assert ask(server.url) == "m"
        assert server.keys == [None]
