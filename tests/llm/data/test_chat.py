"""Chat templates: the forms that they read, and a date that does not change from day to day."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from support import tokenizer_families as families
from support.text_data import CHATML, byte_level, says, sft, texts, user

from llm.data.chat import ChatTemplate, writes_date
from llm.data.rows import Row
from llm.data.templates import TemplateOptions, needs_date
from llm.data.tokenization import tokenize

DATED = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y, %A %-d %%') }}|{% endif %}" + CHATML
PARTS = (
    "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{{ part.text }}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
CALL = {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


class Tomorrow(datetime.datetime):
    """A clock that is wrong by years."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.datetime(2031, 5, 6, tzinfo=tz)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama3_2", "gptoss", "gptoss_training", "muse_glimmer"])
def test_a_template_that_writes_today_has_the_same_ids_on_any_day(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = families.byte_level()
    tokenizer.chat_template = families.trl_templates()[name]
    rows, dated = sft(([user("q")], [says("a")])), TemplateOptions(date="2024-07-26")
    today = tokenize(rows, tokenizer, template=dated)
    undated = tokenize(rows, tokenizer)
    whole = tokenizer.apply_chat_template([user("q"), says("a")], tokenize=False)
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Tomorrow)
    assert tokenize(rows, tokenizer, template=dated).digest == today.digest
    assert tokenize(rows, tokenizer).digest != undated.digest
    # Nothing but the date differs from transformers' own text.
    shown = datetime.date.today().strftime("%d %b %Y" if name == "llama3_2" else "%Y-%m-%d")
    there = datetime.date(2024, 7, 26).strftime("%d %b %Y" if name == "llama3_2" else "%Y-%m-%d")
    assert shown in whole
    (prompt, response) = texts(today, tokenizer)[0]
    assert (prompt + response).startswith(whole.replace(shown, there))


def test_every_directive_of_a_date_is_written() -> None:
    text = ChatTemplate(byte_level("", DATED), date="2024-07-06").apply([user("q")], "row 0")
    assert text.startswith("06 Jul 2024, Saturday 6 ")
    assert "<|im_start|>user\nq<|im_end|>\n" in text


def test_only_templates_with_a_date_that_are_used_need_one() -> None:
    dated, plain = byte_level("", DATED), byte_level("", CHATML)
    assert writes_date(DATED)
    assert writes_date({"default": CHATML, "tool_use": DATED})
    assert needs_date("", ["auto"], dated)
    assert not needs_date("", ["auto"], plain)
    assert not needs_date("2024-07-26", ["auto"], dated)
    assert not needs_date("", ["none"], dated)
    assert needs_date("", ["none", "auto"], dated)
    with pytest.raises(ValueError, match=r"^template_date: must be a date YYYY-MM-DD, got 'May'$"):
        tokenize(sft(("q", "a")), dated, template=TemplateOptions(date="May"))


def test_typed_parts_are_given_as_they_are_or_joined() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    message = {"role": "user", "content": content}
    assert ChatTemplate(byte_level("", PARTS)).adapt([message]) == [message]
    assert ChatTemplate(byte_level("", CHATML)).adapt([message]) == [user("ab")]
    tokenizer = byte_level("", PARTS)
    rows = sft(([message], [{"role": "assistant", "content": content}]))
    assert texts(tokenize(rows, tokenizer), tokenizer) == [("user:ab</s>assistant:", "ab</s>")]


def test_texts_are_given_as_parts_to_a_template_that_reads_nothing_else() -> None:
    """As LLaVA's: it would write neither question nor answer."""
    assert ChatTemplate(byte_level("", PARTS)).adapt([user("q")]) == [
        {"role": "user", "content": [{"type": "text", "text": "q"}]}
    ]
    assert ChatTemplate(byte_level("", CHATML)).adapt([user("q")]) == [user("q")]
    tokenizer = byte_level("", PARTS)
    assert texts(tokenize(sft(([user("q")], [says("a")])), tokenizer), tokenizer) == [("user:q</s>assistant:", "a</s>")]
    assert texts(tokenize(sft(("q", "a")), tokenizer), tokenizer) == [("user:q</s>assistant:", "a</s>")]


@pytest.mark.parametrize(
    ("arguments", "given", "read"),
    [
        ("{{ c.function.arguments | tojson }}", '{"x": 1}', {"x": 1}),
        ("{{ c.function.arguments | tojson }}", {"x": 1}, {"x": 1}),
        ("{{ '' + c.function.arguments }}", {"x": 1}, '{"x": 1}'),
        ("{{ '' + c.function.arguments }}", '{"x":1}', '{"x":1}'),
        ("{{ '' + c.function.arguments if c.function.arguments is string else '' }}", '{"x":1}', '{"x":1}'),
    ],
)
def test_arguments_of_calls_are_given_as_the_template_reads_them(arguments: str, given: Any, read: Any) -> None:
    template = "{% for m in messages %}{% for c in m.tool_calls or [] %}" + arguments + "{% endfor %}{% endfor %}"
    call = {**CALL, "function": {"name": "f", "arguments": given}}
    (adapted,) = ChatTemplate(byte_level("", template)).adapt([{"role": "assistant", "tool_calls": [call]}])
    assert adapted["tool_calls"][0]["function"] == {"name": "f", "arguments": read}


def test_tools_and_arguments_of_the_template_reach_it() -> None:
    template = "{{ tools | tojson if tools else '' }}|{{ mode }}|" + CHATML
    tokenizer = byte_level("", template)
    row = Row([user("q")], ([says("a")],), ({"name": "f"},), {"mode": "own"})
    chat = TemplateOptions(kwargs={"mode": "all"})
    rows = sft()
    given = type(rows)("sft", (row, Row([user("q")], ([says("a")],))), "messages", "here")
    prompts = [prompt for prompt, _ in texts(tokenize(given, tokenizer, template=chat), tokenizer)]
    assert prompts[0].startswith('[{"name": "f"}]|own|<|im_start|>')
    assert prompts[1].startswith("|all|<|im_start|>")


def test_a_content_that_a_template_needs_may_be_absent_beside_a_call() -> None:
    template = "{% for m in messages %}{{ m.role + ':' + m.content }}{% for c in m.tool_calls or [] %}"
    template += "{{ c.function.name }}{% endfor %};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    tokenizer = byte_level("", template)
    rows = sft(([user("q")], [{"role": "assistant", "tool_calls": [CALL]}]))
    assert texts(tokenize(rows, tokenizer), tokenizer) == [("user:q;assistant:", "f;</s>")]


def test_what_a_template_leaves_out_is_counted() -> None:
    tokenizer = byte_level("", CHATML)
    rows = sft(
        ([user("q")], [{**says("a"), "reasoning_content": "Because."}]),
        ([user("q")], [says("a")]),
        ([user("q")], [{**says("a"), "tool_calls": [CALL], "thinking": "Because."}]),
    )
    notes = tokenize(rows, tokenizer).notes
    assert sorted(notes) == [
        f"{n} of 3 rows: the template leaves out or changes the response's {part} (first: row {i} of here)"
        for n, part, i in ((1, "calls", 2), (2, "thought", 0))
    ]
    with pytest.raises(ValueError, match=r"^row 0 of here: .* writes nothing of the response's calls"):
        tokenize(sft(([user("q")], [{**says(""), "tool_calls": [CALL]}])), tokenizer)
