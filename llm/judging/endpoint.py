"""A judge behind an OpenAI-compatible endpoint, requested through the `openai` client."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from llm.judging.templates import Messages

_RETRIED = frozenset({408, 409, 429})  # beside 500 and above: the statuses that the client retries
_SHOWN = 300  # characters of an endpoint's response in an error message


class EndpointError(RuntimeError):
    """An endpoint that gave no valid response in any attempt."""


@dataclass(frozen=True)
class Endpoint:
    """Address of a judge and parameters of its requests.

    url          up to and without /chat/completions, such as http://127.0.0.1:8000/v1
    model        the judge's name at the endpoint
    key          sent as a bearer token unless empty; never part of a message or a file
    temperature  of the judge; None: not sent, for judges without the parameter
    max_tokens   of a reply; 0: not sent
    timeout      seconds until a connection, or the next bytes of a response
    attempts     number of attempts of one request; pauses between attempts are the client's: exponential, or as long as
                 the endpoint's Retry-After asks, at most two minutes

    Raises ValueError, in one line that names the option, for values out of range.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    temperature: float | None = 0.0
    max_tokens: int = 512
    timeout: float = 60.0
    attempts: int = 6

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.url)
            host = url.hostname
            _ = url.port  # ValueError unless a number
        except (ValueError, AttributeError) as error:
            raise ValueError(f"judge: must be a URL, such as http://127.0.0.1:8000/v1, got {self.url!r}") from error
        if url.username is not None or url.password is not None:
            raise ValueError("judge: must be a URL without a name and a password in it; a key goes by --key-from NAME")
        if url.scheme not in ("http", "https") or not host:
            raise ValueError(f"judge: must be a URL, such as http://127.0.0.1:8000/v1, got {self.url!r}")
        if not self.model:
            raise ValueError("judge_model: the endpoint needs the name of the judging model; give --judge-model NAME")
        if not (self.key.isascii() and self.key.isprintable()):
            raise ValueError("key_from: the key has characters that no HTTP header can have")
        if self.attempts < 1 or self.max_tokens < 0 or not self.timeout > 0.0:
            raise ValueError(
                "attempts, max_tokens, timeout: must be at least 1, at least 0 and above 0, got "
                f"{self.attempts}, {self.max_tokens}, {self.timeout}"
            )
        object.__setattr__(self, "url", self.url.rstrip("/").removesuffix("/chat/completions"))

    def body(self, messages: Messages) -> dict[str, Any]:
        """Return the body of a request; a verdict's key is a digest of it."""
        body: dict[str, Any] = {"model": self.model, "messages": messages}
        body |= {} if self.temperature is None else {"temperature": self.temperature}
        return body | ({"max_tokens": self.max_tokens} if self.max_tokens else {})


def key_in(name: str) -> str:
    """Return the key in an environment variable, "" for no name; ValueError if the variable is absent or empty."""
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ValueError(f"key_from: the environment has no {name}; export it, or name another variable")
    return key


def require_client() -> None:
    """Raise ValueError, in one line with the remedy, unless the extra `judge` is installed."""
    if importlib.util.find_spec("openai") is None:
        raise ValueError("judge: the openai client is not installed; pip install -e '.[judge]'")


class Asker:
    """Client of one endpoint for any number of threads: `with Asker(endpoint) as ask: reply = ask(messages)`."""

    def __init__(self, endpoint: Endpoint) -> None:
        require_client()
        import openai

        self.endpoint = endpoint
        self._stopped = threading.Event()
        self._client = openai.OpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key or "none",  # the client demands a key; `_ask` leaves the header out
            timeout=endpoint.timeout,
            max_retries=endpoint.attempts - 1,
            http_client=openai.DefaultHttpxClient(
                event_hooks={"request": [self._check_running], "response": [_check_completion]}
            ),
        )
        self._headers: Any = {} if endpoint.key else {"Authorization": openai.Omit()}

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """Send no further request: not for new messages, and not as a further attempt. Pending responses arrive."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and drop all connections."""
        self.stop()
        self._client.close()

    def __call__(self, messages: Messages) -> str:
        """Return the judge's reply, "" if the reply has no content.

        Raises EndpointError if no attempt brings a chat completion; ValueError at once if the endpoint refuses the
        request itself, such as an unknown model or a wrong key.
        """
        import openai

        create: Any = self._client.chat.completions.with_raw_response.create
        try:
            response = create(**self.endpoint.body(messages), extra_headers=self._headers)
        except openai.APIStatusError as error:
            status, text = error.status_code, self._shown(error.response.text)
            if status in _RETRIED or status >= 500:
                raise self._failed(error, f"status {status}, {text}") from error
            raise ValueError(self._refused(status, text)) from error
        except openai.APITimeoutError as error:
            raise self._failed(error, f"no answer within {self.endpoint.timeout:g} s") from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            reason = self._shown(str(cause))
            if not isinstance(cause, _no_completion()):
                reason = f"{type(cause).__name__}: {reason}"
            raise self._failed(error, reason) from error
        return reply_in(response.text) or ""

    def _failed(self, error: Any, reason: str) -> EndpointError:
        count = 1 + int(error.request.headers.get("x-stainless-retry-count", 0))
        attempts = f"{count} attempts" if count > 1 else "one attempt"
        return EndpointError(f"judge: {self.endpoint.url} does not answer ({attempts}; the last one: {reason})")

    def _refused(self, status: int, text: str) -> str:
        remedy = {
            401: "; name by --key-from NAME the environment variable with the key",
            403: "; name by --key-from NAME the environment variable with the key",
            404: f"; is --judge-model {self.endpoint.model} its name there, and does the URL end as it should (/v1)?",
        }.get(status, "")
        return f"judge: {self.endpoint.url} refuses the request: status {status}, {text}{remedy}"

    def _shown(self, text: str) -> str:
        """Return the beginning of a response on one line, with the key masked, which some endpoints repeat."""
        text = " ".join(text.split())
        text = text.replace(self.endpoint.key, "***") if self.endpoint.key else text
        return (text if len(text) <= _SHOWN else text[:_SHOWN] + "...") or "an empty text"

    def _check_running(self, _request: Any) -> None:
        if self._stopped.is_set():
            raise EndpointError(f"judge: {self.endpoint.url} is not asked again after an error")


def reply_in(text: str) -> str | None:
    """Return the content of a chat completion, "" for a message without content, None for any other text."""
    try:
        content = json.loads(text)["choices"][0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return content if isinstance(content, str) else "" if content is None else None


def _no_completion() -> type[Exception]:
    """Return the exception for a response that is no chat completion; the client retries it as a broken connection."""
    from httpx2 import DecodingError

    return DecodingError


def _check_completion(response: Any) -> None:
    """Raise, so that the client retries, if a response with status 200 holds no chat completion."""
    if response.status_code == 200:
        response.read()
        if reply_in(response.text) is None:
            text = " ".join(response.text.split()) or "an empty text"
            raise _no_completion()(f"no chat completion but {text}", request=response.request)  # type: ignore[call-arg]
