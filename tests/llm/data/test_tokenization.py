"""Token ids: how responses end, what truncation keeps, selections and digests."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.text_data import THINKING, byte_level, make, numbers, preference, says, sft, texts, user, words

from llm.data.rows import Dataset, Row
from llm.data.tokenization import TokenizedDataset, tokenize, tokenize_prompts
from llm.data.truncation import truncate

transformers = pytest.importorskip("transformers")

tokenizers = pytest.importorskip("tokenizers")


@pytest.mark.parametrize("adds", ["", "<s> $", "$ </s>", "<s> $ </s>"])
def test_what_the_tokenizer_adds_stays_in_front_of_the_prompt_only(adds: str) -> None:
    """As a T5-like tokenizer ends every text: were its EOS left there, the prompt would be over before the response."""
    tokenizer = byte_level(adds)
    tokens = tokenize(sft(("q", "a")), tokenizer, template="none")
    assert texts(tokens, tokenizer) == [("<s>q" if "<s>" in adds else "q", "a</s>")]
    assert tokens.prompts[0].dtype == np.int32
    assert tokens.responses[0][0].dtype == np.int32


def test_eos_can_be_named() -> None:
    tokenizer = byte_level(eos=None)
    with pytest.raises(ValueError, match=r"^eos: the tokenizer has no EOS token .* --eos TOKEN$"):
        tokenize(sft(("q", "a")), tokenizer)
    tokens = tokenize(sft(("q", "a")), tokenizer, eos="<|im_end|>")
    assert texts(tokens, tokenizer) == [("User: q\nAssistant: ", "a<|im_end|>")]
    with pytest.raises(ValueError, match=r"^eos: must be one token of the tokenizer, got 'two words'$"):
        tokenize(sft(("q", "a")), tokenizer, eos="two words")
    assert tokenizer.pad_token is None  # and none was needed


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=4))
def test_plain_rows_decode_to_themselves_and_generation_sees_the_same_prompt(
    triples: list[tuple[str, str, str]],
) -> None:
    tokenizer = byte_level("<s> $")
    triples = [(p, "a" + chosen, "b" + rejected) for p, chosen, rejected in triples]
    tokens = tokenize(preference(*triples), tokenizer)
    expected = [(f"<s>User: {p}\nAssistant: ", a + "</s>", b + "</s>") for p, a, b in triples]
    assert texts(tokens, tokenizer) == expected
    alone = tokenize_prompts([p for p, _, _ in triples], tokenizer)
    assert [list(ids) for ids in alone] == [list(ids) for ids in tokens.prompts]
    assert list(tokens.lengths()) == [
        len(p) + len(a) + len(b) for p, (a, b) in zip(tokens.prompts, tokens.responses, strict=True)
    ]


IDS = st.lists(st.integers(10, 99), min_size=1, max_size=12)


@pytest.mark.slow
@given(IDS, st.lists(IDS, min_size=1, max_size=2), st.integers(0, 1), st.integers(0, 20))
@example(prompt=[10, 11], responses=[[12] * 9, [13]], lead=1, more=0)
def test_truncation_keeps_the_response_then_the_prompts_end(
    prompt: list[int], responses: list[list[int]], lead: int, more: int
) -> None:
    prompt = [1] * lead + prompt
    limit = lead + 2 + more
    kept, short = truncate(prompt, responses, max_length=limit, lead=lead)
    longest = max(map(len, responses))
    assert len(kept) + max(map(len, short)) == min(limit, len(prompt) + longest)
    assert kept[:lead] == prompt[:lead]
    assert len(kept) > lead
    assert prompt[lead:][-(len(kept) - lead) :] == kept[lead:]
    assert all(whole[: len(part)] == part for whole, part in zip(responses, short, strict=True))
    if longest <= limit - lead - 1:  # the responses fit beside the least prompt
        assert short == responses


def test_truncation_counts_and_the_other_ways_to_treat_long_rows() -> None:
    tokenizer = words("</s>", *"abcdef")
    rows = preference(("a b c", " d", " e f"), ("a", " b c d e f", " c"), ("a", " b", " c"))
    cut = tokenize(rows, tokenizer, template="none", max_length=5)
    assert texts(cut, tokenizer) == [
        ("b c", "d </s>", "e f </s>"),
        ("a", "b c d e", "c </s>"),
        ("a", "b </s>", "c </s>"),
    ]
    assert (cut.cut_prompts, cut.cut_responses, cut.dropped) == (1, 1, 0)
    some = tokenize(rows, tokenizer, template="none", max_length=5, overflow="drop")
    assert texts(some, tokenizer) == [("a", "b </s>", "c </s>")]
    assert (some.cut_prompts, some.cut_responses, some.dropped) == (0, 0, 2)
    assert some.keys == cut.keys[2:]
    with pytest.raises(
        ValueError, match=r"^row 0 of here: 6 tokens \(prompt 3, longest response 3\) .* 5; .*--max-length"
    ):
        tokenize(rows, tokenizer, template="none", max_length=5, overflow="error")
    assert len(tokenize(rows, tokenizer, template="none", max_length=7, overflow="error")) == 3


def test_a_leading_bos_survives_truncation_with_and_without_chat_template() -> None:
    for tokenizer in (byte_level("<s> $"), byte_level("<s> $", THINKING)):
        tokens = tokenize(sft(("0123456789" * 9, "ab")), tokenizer, max_length=9)
        assert len(tokens.prompts[0]) + len(tokens.responses[0][0]) == 9
        assert tokens.prompts[0][0] == tokenizer.bos_token_id
        assert texts(tokens, tokenizer)[0][1] == "ab</s>"


def test_pairs_that_cannot_be_told_apart_are_dropped() -> None:
    tokenizer = words("</s>", *"abcdef")
    rows = preference(("a", " b c d", " b c e"), ("a", " b ?", " b"), ("a", " b", " c"))
    tokens = tokenize(rows, tokenizer, template="none", max_length=3)
    assert texts(tokens, tokenizer) == [("a", "b </s>", "c </s>")]
    assert (tokens.dropped, tokens.equal_pairs, tokens.cut_prompts, tokens.cut_responses) == (2, 2, 0, 0)
    with pytest.raises(ValueError, match=r"^here: no row is left of 1: "):
        tokenize(preference(("a", " b c d", " b c e")), tokenizer, template="none", max_length=3)


def test_more_rows_than_a_batch_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = preference(*[(f"q{i}", f"a{i}", f"b{i}") for i in range(7)])
    whole = tokenize(rows, byte_level())
    monkeypatch.setattr("llm.data.token_rows._BATCH", 3)
    assert tokenize(rows, byte_level()).digest == whole.digest


PROMPTS = st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(lambda prompts: len(set(prompts)) > 1)


@pytest.mark.slow
@given(PROMPTS, st.data())
def test_select_takes_rows_in_the_given_order(prompts: list[int], data: st.DataObject) -> None:
    tokens = make(prompts)
    indices = data.draw(st.lists(st.integers(0, len(prompts) - 1), max_size=9))
    part = tokens.select(np.array(indices, dtype=np.int64))
    assert numbers(part) == indices
    assert part.keys == tuple(tokens.keys[i] for i in indices)
    assert list(part.lengths()) == [2] * len(indices)
    assert part.lengths().dtype == np.int64
    assert (part.digest == tokens.digest) == (indices == list(range(len(prompts))))


def test_select_refuses_masks_and_rows_that_are_not_there() -> None:
    with pytest.raises(TypeError, match=r"^indices: a whole number is needed, got .*True"):
        make([1, 2]).select(np.array([True, False]))
    with pytest.raises(IndexError, match=r"^indices: must be less than 2, the number of rows, got 2$"):
        make([1, 2]).select([2])


def test_the_digest_sees_where_ids_are_and_is_the_same_everywhere() -> None:
    def digest(prompt: list[int], responses: list[list[int]], kind: str = "sft") -> str:
        ids = [np.array(each, dtype=np.int32) for each in (prompt, *responses)]
        return TokenizedDataset(kind, (ids[0],), (tuple(ids[1:]),), ("k",), 0, 0, 0).digest

    different = [
        digest([1, 2], [[3]]),
        digest([1], [[2, 3]]),
        digest([1], [[2], [3]]),
        digest([1, 2], [[3]], "preference"),
    ]
    assert len(set(different)) == 4
    # Worked out apart: the kind, then sizes and ids of the row as little-endian 32-bit integers.
    apart = hashlib.sha256(b"sft" + struct.pack("<6i", 2, 2, 1, 1, 2, 3)).hexdigest()
    assert different[0] == apart


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            sft(("q", "a")),
            {"template": "no place"},
            r"^template: must be 'auto', 'none' or .*\{prompt\} in it, got 'no place'$",
        ),
        (sft(("q", "a")), {"overflow": "cut"}, r"^overflow: must be truncate, drop or error, got 'cut'$"),
        (sft(("q", "a")), {"max_length": 0}, r"^max_length: must be at least 1, got 0$"),
        (sft(("q", "a")), {"max_length": 1}, r"^max_length: prompt and response need 2 at the least, got 1$"),
        (sft(([user("q")], [says("a")])), {"template": "none"}, r"^row 0 of here: a conversation needs a template"),
        (
            sft(([user("q"), user("r")], [says("a")])),
            {},
            r"^row 0 of here: a plain template needs user and .*user, user",
        ),
        (sft(([{"role": "tool", "content": "q"}], [says("a")])), {}, r"plain template needs user and .* has tool;"),
        (sft(([{"role": "system", "content": "q"}], [says("a")])), {}, r"the prompt has no user's message"),
    ],
)
def test_wrong_arguments(rows: Dataset, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenize(rows, byte_level(), **options)


def test_rows_without_tokens_are_named_and_the_bad_rows_left_out_are_told() -> None:
    tokenizer = words("</s>", "a", "b")
    with pytest.raises(
        ValueError, match=r"^row 1 of here: the tokenizer makes no tokens of the prompt or of a response$"
    ):
        tokenize(sft(("a", " b"), ("a", "?")), tokenizer, template="none")
    rows = Dataset("sft", (Row("?", ("a",)),), "prompt-completion", "here", dropped=3)
    with pytest.raises(
        ValueError, match=r"^row 0 of here \(not counting the 3 bad rows left out\): the tokenizer makes no"
    ):
        tokenize(rows, tokenizer, template="none")


def test_what_the_tokenizer_itself_refuses_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^the tokenizer cannot encode the texts: WordLevel error"):
        tokenize(sft(("a", "unknown")), words("</s>", "a"), template="none")
    with pytest.raises(ValueError, match=r"^here: the set is empty$"):
        tokenize(sft(), words("</s>", "a"))
    assert tokenize_prompts([], words("</s>", "a")) == ()
