"""Formats of unpaired preferences: single responses with a label, and pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.text_data import says, user
from support.wrong import fails

from llm.data.formats import load
from llm.data.rows import Row

PAIR = {"prompt": "Where?", "chosen": "North.", "rejected": "South."}
CASES: dict[str, tuple[dict[str, Any], str, list[Row]]] = {
    "TRL's": (
        {"prompt": "Where?", "completion": "North.", "label": False},
        "labelled",
        [Row("Where?", ("North.",), label=False)],
    ),
    "TRL's, as conversations": (
        {"prompt": [user("q")], "completion": [says("a")], "label": True},
        "labelled",
        [Row([user("q")], ([says("a")],), label=True)],
    ),
    "messages": (
        {"messages": [user("q"), says("a")], "label": True},
        "labelled-messages",
        [Row([user("q")], ([says("a")],), label=True)],
    ),
    "LLaMA-Factory's sharegpt": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "label": False},
        "labelled-sharegpt",
        [Row([user("q")], ([says("a")],), label=False)],
    ),
    "LLaMA-Factory's alpaca": (
        {"instruction": "Sum.", "input": "1 2", "output": "3", "label": True},
        "labelled-instruction",
        [Row("Sum.\n\n1 2", ("3",), label=True)],
    ),
    "pairs": (
        PAIR,
        "explicit",
        [Row("Where?", ("North.",), label=True), Row("Where?", ("South.",), label=False)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_and_labels(name: str) -> None:
    cells, form, wanted = CASES[name]
    found = load([cells], kind="unpaired")
    assert (found.format, list(found.rows)) == (form, wanted)


def test_labels_may_be_numpys() -> None:
    rows = [{"prompt": "Where?", "completion": "North.", "label": np.bool_(label)} for label in (True, False)]
    assert [row.label for row in load(rows, kind="unpaired").rows] == [True, False]
    with pytest.raises(ValueError, match="column 'label' is false, which marks an undesirable completion"):
        load(rows[1:], kind="sft")


def test_a_label_may_have_another_name() -> None:
    rows = [{"instruction": "Sum.", "output": "3", "kto_tag": False}]
    assert load(rows, kind="unpaired", columns={"label": "kto_tag"}).rows[0].label is False


@pytest.mark.parametrize("value", ["true", 1, None, 0.0])
def test_a_label_is_true_or_false(value: Any) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": value}]
    fails(lambda: load(rows, kind="unpaired"), TypeError, "row 0 of", "must hold true or false, got ")
    good = {"prompt": "a", "completion": "b", "label": True}
    assert load([*rows, good], kind="unpaired", bad_rows="drop").dropped == 1


def test_rows_with_a_label_as_pairs_lead_to_kto() -> None:
    rows = [{"prompt": "a", "completion": "b", "label": True}]
    fails(lambda: load(rows, kind="preference"), ValueError, "the list", "--preference-loss kto")
    fails(lambda: load([{"a": "b"}], kind="preference"), ValueError, "the list", "name them by --columns OURS THEIRS")
    fails(lambda: load([{"a": "b"}], kind="unpaired"), ValueError, "the list", "an unpaired set needs prompt")


def test_sft_sets_still_refuse_undesirable_rows() -> None:
    rows = [{"prompt": "a", "completion": "b", "label": False}]
    fails(lambda: load(rows, kind="sft"), ValueError, "row 0 of", "undesirable")
