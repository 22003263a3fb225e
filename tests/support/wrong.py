"""What the tests of wrong input share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

# (what is changed, the error, the argument that the message must name, the value that it must show)
Case = tuple[dict[str, Any], type[Exception], str, str]


def fails(call: Callable[[], Any], error: type[Exception], argument: str, value: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith(argument), message
    assert value in message.removeprefix(argument), message
    assert "\n" not in message


def ids(case: Case) -> str:
    return ",".join(case[0]) + " " + case[3]
