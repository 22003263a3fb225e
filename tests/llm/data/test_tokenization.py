"""Text to ids: where prompts end and responses begin, how they end, what truncation keeps, and held-out rows."""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from llm.data.formats import Dataset, Row, load  # noqa: E402 (needs the extra that the lines above ask for)
from llm.data.splits import hold_out, without
from llm.data.tokenization import TokenizedDataset, tokenize, tokenize_prompts, truncate

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As DeepSeek-R1's: the generation prompt opens a thought that an answer in the data does not have.
THINKING = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}"
    "{% else %}<A>{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<A><t>{% endif %}"
)
NO_END = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
REWRITES = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
REFUSES = "{{ raise_exception('roles must\nalternate') }}"


@cache
def byte_level(adds: str = "", chat: str | None = None, eos: str | None = "</s>") -> Any:
    """A byte-level BPE tokenizer, whose ids decode to any text; `adds`: what it puts around a text, "$" being that."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["User: where is it\nAssistant: it is here"] * 3, trainer)
    if adds:
        single = adds.replace("$", "$A")
        pairs = [(token, special.index(token)) for token in single.split() if token != "$A"]
        made.post_processor = tokenizers.processors.TemplateProcessing(single=single, special_tokens=pairs)
    options = {"eos_token": eos} if eos else {}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", additional_special_tokens=special[2:], **options
    )
    tokenizer.chat_template = chat
    return tokenizer


def words(*vocabulary: str) -> Any:
    """A tokenizer of whole words, to which a question mark is a space."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(vocabulary)}))
    made.normalizer = tokenizers.normalizers.Replace("?", " ")
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=vocabulary[0])


def sft(*pairs: tuple[Any, Any]) -> Dataset:
    return Dataset("sft", tuple(Row(prompt, (response,)) for prompt, response in pairs), "prompt-completion", "here")


def preference(*triples: tuple[Any, Any, Any]) -> Dataset:
    return Dataset("preference", tuple(Row(prompt, tuple(rest)) for prompt, *rest in triples), "explicit", "here")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def texts(tokens: TokenizedDataset, tokenizer: Any) -> list[tuple[str, ...]]:
    rows = zip(tokens.prompts, tokens.responses, strict=True)
    return [tuple(tokenizer.decode(ids) for ids in (prompt, *responses)) for prompt, responses in rows]


# Templates and ends.


@pytest.mark.parametrize(
    ("template", "prompt", "response", "expected"),
    [
        ("auto", "q", "a", ("User: q\nAssistant: ", "a</s>")),
        ("none", "q", " a", ("q", " a</s>")),
        ("none", "q", "a</s>", ("q", "a</s>")),  # once
        ("Q{prompt}{x}A", "{q} {prompt}", "a", ("Q{q} {prompt}{x}A", "a</s>")),
        ("auto", [user("q")], [says("a")], ("User: q\nAssistant: ", "a</s>")),
        (
            "auto",
            [{"role": "system", "content": "S"}, user("q"), says("a"), user("r")],
            [says("b\n")],
            ("S\nUser: q\nAssistant: a\nUser: r\nAssistant: ", "b\n</s>"),
        ),
        (
            "auto",
            [user("q")],
            [says("a"), user("r"), says("b")],
            ("User: q\nAssistant: ", "a\nUser: r\nAssistant: b</s>"),
        ),
        ("Q{prompt}A", [user("q"), says("a"), user("r")], [says("b")], ("QqAa\nQrA", "b</s>")),
    ],
)
def test_plain_templates(template: str, prompt: Any, response: Any, expected: tuple[str, str]) -> None:
    tokenizer = byte_level()
    assert texts(tokenize(sft((prompt, response)), tokenizer, template=template), tokenizer) == [expected]


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        # The template's own end stays as it is, though EOS is another token.
        (CHATML, ("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|>\n", "<t>b<|im_end|>\n")),
        # The border is where the template parts from the generation prompt, not where this answer does.
        (THINKING, ("<s><U>q<A>", "a</s>", "<t>b</s>")),
        (NO_END, ("[user] q\n[assistant] ", "a\n</s>", "<t>b\n</s>")),
    ],
)
def test_chat_templates(chat: str, expected: tuple[str, ...]) -> None:
    tokenizer = byte_level("<s> $", chat)
    strings = tokenize(preference(("q", "a", "<t>b")), tokenizer)
    assert texts(strings, tokenizer) == [expected]
    messages = tokenize(preference(([user("q")], [says("a")], [says("<t>b")])), tokenizer)
    assert (messages.digest, messages.keys) == (strings.digest, strings.keys)
    plain = tokenize(preference(("q", "a", "b")), tokenizer, template="Q{prompt}A")
    assert texts(plain, tokenizer) == [("<s>QqA", "a</s>", "b</s>")]


def test_a_chat_template_gives_what_trl_gives() -> None:
    trl = pytest.importorskip("trl.data_utils")
    tokenizer = byte_level("", CHATML)
    row = {"prompt": [user("q"), says("a"), user("r")], "chosen": [says("b")], "rejected": [says("c")]}
    theirs = trl.apply_chat_template(row, tokenizer)
    ours = tokenize(load([row], kind="preference"), tokenizer)
    assert texts(ours, tokenizer) == [(theirs["prompt"], theirs["chosen"], theirs["rejected"])]


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


# Truncation.

IDS = st.lists(st.integers(10, 99), min_size=1, max_size=12)


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
    rows = preference(("a b c", "d", "e f"), ("a", "b c d e f", "c"), ("a", "b", "c"))
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
    rows = preference(("a", "b c d", "b c e"), ("a", "b ?", "b"), ("a", "b", "c"))
    tokens = tokenize(rows, tokenizer, template="none", max_length=3)
    assert texts(tokens, tokenizer) == [("a", "b </s>", "c </s>")]
    assert (tokens.dropped, tokens.cut_prompts, tokens.cut_responses) == (2, 0, 0)
    with pytest.raises(ValueError, match=r"^here: no row is left of 1: "):
        tokenize(preference(("a", "b c d", "b c e")), tokenizer, template="none", max_length=3)


def test_more_rows_than_a_batch_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = preference(*[(f"q{i}", f"a{i}", f"b{i}") for i in range(7)])
    whole = tokenize(rows, byte_level())
    monkeypatch.setattr("llm.data.tokenization._BATCH", 3)
    assert tokenize(rows, byte_level()).digest == whole.digest


# Held-out rows, selections, digests.


def make(prompts: list[int]) -> TokenizedDataset:
    """A set whose i-th row has the response [i], so that rows can be told apart."""
    return TokenizedDataset(
        "sft",
        tuple(np.array([p], dtype=np.int32) for p in prompts),
        tuple((np.array([i], dtype=np.int32),) for i in range(len(prompts))),
        tuple(f"{p:016x}" for p in prompts),
        0,
        0,
        0,
    )


def numbers(tokens: TokenizedDataset) -> list[int]:
    return [int(responses[0][0]) for responses in tokens.responses]


PROMPTS = st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(lambda prompts: len(set(prompts)) > 1)


@given(PROMPTS, st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(0, 99))
def test_hold_out_parts_the_prompts(prompts: list[int], share: float, seed: int) -> None:
    training, held = hold_out(make(prompts), share, seed=seed)
    assert sorted(numbers(training) + numbers(held)) == list(range(len(prompts)))
    assert numbers(training) == sorted(numbers(training))
    assert not set(training.keys) & set(held.keys)
    assert len(training) > 0
    assert len(held) > 0
    again, backwards = hold_out(make(prompts), share, seed=seed), hold_out(make(prompts[::-1]), share, seed=seed)
    assert again[1].digest == held.digest
    if len(set(prompts)) == len(prompts):
        assert set(backwards[1].keys) == set(held.keys)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_hold_out_holds_the_share_and_another_seed_holds_others(share: float) -> None:
    tokens = make(list(range(200)))
    found = [set(numbers(hold_out(tokens, share, seed=seed)[1])) for seed in range(3)]
    assert {len(held) for held in found} == {round(200 * share)}
    assert found[0] != found[1] != found[2]


def test_hold_out_of_uneven_prompts_never_takes_the_large_one_for_a_small_share() -> None:
    tokens = make([0] * 90 + list(range(1, 11)))
    for seed in range(20):
        assert len(hold_out(tokens, 0.1, seed=seed)[1]) == 10
        assert len(hold_out(tokens, 0.001, seed=seed)[1]) == 1


def test_hold_out_comes_as_near_to_the_share_as_whole_prompts_can() -> None:
    tokens = make([i // 2 for i in range(20)])
    assert [len(hold_out(tokens, share, seed=0)[1]) for share in (0.13, 0.17)] == [2, 4]  # nearest to 2.6 and 3.4


def test_hold_out_none_and_what_cannot_be() -> None:
    tokens = make([1, 2, 2])
    training, held = hold_out(tokens, 0, seed=0)
    assert (len(training), len(held)) == (3, 0)
    with pytest.raises(ValueError, match=r"^share: 0\.5 cannot be held out of 2 rows that have 1 different prompts"):
        hold_out(make([1, 1]), 0.5, seed=0)
    cases: list[tuple[Any, type[Exception], str]] = [
        (1.0, ValueError, "less than 1"),
        (-0.1, ValueError, "at least 0"),
        (float("nan"), ValueError, "finite"),
        ("x", TypeError, "real"),
    ]
    for share, error, message in cases:
        with pytest.raises(error, match=rf"^share: .*{message}"):
            hold_out(tokens, share, seed=0)
    with pytest.raises(TypeError, match=r"^seed: a whole number is needed, got 0\.5$"):
        hold_out(tokens, 0.1, seed=0.5)  # type: ignore[arg-type]


def test_without_removes_the_prompts_of_another_set_however_they_are_written() -> None:
    tokenizer = byte_level()
    one = tokenize(sft(("q", "a"), ("r", "b"), ("q", "c")), tokenizer)
    other = tokenize(preference(([{"content": "q", "role": "user"}], [says("x")], [says("y")])), tokenizer)
    assert one.keys[0] == one.keys[2] == other.keys[0] != one.keys[1]
    assert texts(without(one, other), tokenizer) == [("User: r\nAssistant: ", "b</s>")]
    assert len(without(one, one)) == 0


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


# Wrong input.


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


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        (REWRITES, r"^row 0 of here: .* writes the prompt otherwise once it is answered.*--template"),
        (
            REFUSES,
            r"^row 0 of here: the tokenizer's chat template cannot write this conversation: roles must alternate$",
        ),
        ("fixed", r"^row 0 of here: .* the response cannot be told from it"),
    ],
)
def test_chat_templates_that_cannot_be_used(chat: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenize(sft(("q", "a")), byte_level("", chat))


def test_rows_without_tokens_are_named_and_the_bad_rows_left_out_are_told() -> None:
    tokenizer = words("</s>", "a", "b")
    with pytest.raises(
        ValueError, match=r"^row 1 of here: the tokenizer makes no tokens of the prompt or of a response$"
    ):
        tokenize(sft(("a", "b"), ("a", "?")), tokenizer, template="none")
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
