"""The cells of a raw row under our column names, with their types checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.data.messages import (
    BadRowError,
    Message,
    Text,
    WrongTypeError,
    encodable,
    is_nan,
    read_messages,
    read_tools,
    short,
)


@dataclass(frozen=True)
class Cells:
    """Raw row under our column names.

    cells         column -> value
    names         our column name -> theirs
    ignore_input  leave the column `input` out
    """

    cells: Mapping[str, Any]
    names: Mapping[str, str]
    ignore_input: bool

    def _value(self, column: str) -> tuple[Any, str]:
        """Return a cell's value, and the data set's own name of the column."""
        theirs = self.names.get(column, column)
        return self.cells.get(theirs), theirs

    def text(self, column: str) -> Text:
        """Return a cell that is a text, a message or a conversation, and not empty."""
        value, theirs = self._value(column)
        if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str | bytes)):
            return read_messages(value, theirs)
        return self.string(column, "a text or a list of messages")

    def conversation(self, column: str) -> list[Message]:
        """Return a cell that is a conversation, and not empty."""
        value, theirs = self._value(column)
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            raise WrongTypeError(f"{theirs} must be a list of messages, got {short(value)}")
        return read_messages(value, theirs)

    def string(self, column: str, kinds: str = "a text", *, optional: bool = False) -> str:
        """Return a cell that is a string, and not empty unless `optional`; "" for an absent optional cell."""
        value, theirs = self._value(column)
        if optional and (value is None or value != value):  # NaN stands for an absent text in pandas
            return ""
        if not isinstance(value, str):
            raise WrongTypeError(f"column '{theirs}' must hold {kinds}, got {short(value)}")
        if not optional and not value.strip():
            raise BadRowError(f"column '{theirs}' is empty")
        return encodable(value, theirs)

    def system(self) -> list[Message]:
        """Return the message of the column `system`, if there is one."""
        system = self.string("system", optional=True)
        return [{"role": "system", "content": system}] if system.strip() else []

    def history(self) -> list[Message]:
        """Return the messages of the column `history`: earlier turns, as pairs of question and answer."""
        value, theirs = self._value("history")
        messages: list[Message] = []
        if value is None or value != value or value == "":
            return messages
        for turn in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            if not isinstance(turn, Sequence) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
                raise WrongTypeError(f"column '{theirs}' must hold pairs of question and answer, got {short(turn)}")
            question, answer = (encodable(text, theirs) for text in turn)
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return messages

    def tools(self, *, wrap: bool = False) -> tuple[dict[str, Any], ...]:
        """Return the tools of the column `tools`; `wrap` as in `llm.data.messages.read_tools`."""
        value, theirs = self._value("tools")
        return read_tools(value, theirs, wrap=wrap)

    def template_kwargs(self) -> dict[str, Any]:
        """Return the arguments for the chat template in the column `chat_template_kwargs`."""
        value, theirs = self._value("chat_template_kwargs")
        try:
            kwargs = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
        except ValueError:
            kwargs = None
        if is_nan(kwargs):
            return {}
        if not isinstance(kwargs, Mapping):
            raise WrongTypeError(f"column '{theirs}' must hold names with values, got {short(value)}")
        return dict(kwargs)

    def label(self) -> bool:
        """Return the column `label`: whether a completion is desirable."""
        value, theirs = self._value("label")
        if isinstance(value, np.bool_):
            return bool(value)
        if not isinstance(value, bool):
            raise WrongTypeError(f"column '{theirs}' must hold true or false, got {short(value)}")
        return value

    def refuse_undesirable(self) -> None:
        """Raise BadRowError if the column `label` is false: a completion that KTO's sets mark as undesirable."""
        value, theirs = self._value("label")
        if isinstance(value, bool | np.bool_) and not value:
            raise BadRowError(f"column '{theirs}' is false, which marks an undesirable completion")
