"""Multiple-choice questions for tests, and what a refusal says."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from support import tiny_models as tiny

CHOICES = 4


def questions(n: int = 20, seed: int = 3) -> list[dict[str, Any]]:
    """Different questions with choices of various lengths; no choice is another question's."""
    draw = random.Random(seed)
    found: set[str] = set()
    while len(found) < n * (CHOICES + 1):
        found.add(tiny.text(draw, 2, 6))
    texts = sorted(found)  # a set's own order is not the same in every process
    draw.shuffle(texts)
    rows = [texts[i : i + CHOICES + 1] for i in range(0, len(texts), CHOICES + 1)]
    return [{"question": q, "choices": c, "answer": draw.randrange(CHOICES)} for q, *c in rows]


def refused(call: Callable[[], Any], *words: str) -> None:
    """A ValueError of one line with all these words."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
