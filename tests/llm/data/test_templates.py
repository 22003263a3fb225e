"""Templates: the texts of prompts and responses, and the position where a response begins."""

from __future__ import annotations

from typing import Any

import pytest
from support import tokenizer_families as families
from support.text_data import CHATML, THINKING, byte_level, preference, says, sft, texts, user

from llm import TrainConfig
from llm.data.formats import load
from llm.data.splits import load_datasets
from llm.data.templates import TemplateOptions, parse_kwargs
from llm.data.tokenization import tokenize

NO_END = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)

REWRITES = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"

REFUSES = "{{ raise_exception('roles must\nalternate') }}"


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


def test_each_set_may_have_a_template_of_its_own() -> None:
    tokenizer = byte_level("", CHATML)
    rows = [{"prompt": f"q{i}", "completion": "a"} for i in range(3)]
    pairs = [{"prompt": f"r{i}", "chosen": "b", "rejected": "c"} for i in range(3)]
    config = TrainConfig(held_out=0.0, template="Q{prompt}A", preference_template="auto")
    sets = load_datasets(config, tokenizer, {"sft": rows, "preference": pairs})
    assert texts(sets.train["sft"], tokenizer)[0] == ("Qq0A", "a</s>")
    assert texts(sets.train["preference"], tokenizer)[0][0] == "<|im_start|>user\nr0<|im_end|>\n<|im_start|>assistant\n"
    options = config.as_dict()
    assert [TemplateOptions.of(options, kind).name for kind in ("sft", "preference")] == ["Q{prompt}A", "auto"]


def test_arguments_of_the_template_are_a_json_object() -> None:
    assert parse_kwargs('{"enable_thinking": false}') == {"enable_thinking": False}
    assert parse_kwargs(" ") == {}
    for wrong in ("{", "[1]", "yes"):
        with pytest.raises(ValueError, match=r"^template_kwargs: must be a JSON object, got "):
            TrainConfig(template_kwargs=wrong)
    with pytest.raises(ValueError, match=r"^template_date: must be a date YYYY-MM-DD, got '1.5.2024'$"):
        TrainConfig(template_date="1.5.2024")
    thinking = CHATML.replace("assistant\n{% endif %}", "assistant\n{% if quiet %}<t></t>{% endif %}{% endif %}")
    thinking = thinking.replace("{{ m.content }}", "{{ '<t></t>' if quiet and m.role == 'assistant' }}{{ m.content }}")
    tokenizer = byte_level("", thinking)
    options = TemplateOptions(kwargs=parse_kwargs('{"quiet": true}'))
    ((prompt, response),) = texts(tokenize(sft(("q", "a")), tokenizer, template=options), tokenizer)
    assert prompt.endswith("<|im_start|>assistant\n<t></t>")
    assert response == "a<|im_end|>\n"


def test_tools_and_calls_need_a_chat_template() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    with pytest.raises(ValueError, match=r"^row 0 of here: only a chat template can write tool calls"):
        tokenize(sft(([user("q")], [call])), byte_level())
    rows = load([{"prompt": "q", "completion": "a", "tools": [{"name": "f"}]}], kind="sft")
    with pytest.raises(ValueError, match=r"^row 0 of the list: only a chat template can describe tools"):
        tokenize(rows, byte_level())


@pytest.mark.parametrize("before", ["\n\n", ""])
@pytest.mark.parametrize(("chat", "prompt"), [(None, "User: q\nAssistant: a\nUser: r\nAssistant: "), (CHATML, None)])
def test_a_dialogue_in_a_string_is_templated_once(chat: str | None, prompt: str | None, before: str) -> None:
    tokenizer = byte_level("", chat)
    dialogue = f"{before}Human: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:"
    strings = tokenize(preference((dialogue, " b", " c")), tokenizer)
    turns = tokenize(preference(([user("q"), says("a"), user("r")], [says("b")], [says("c")])), tokenizer)
    assert (strings.digest, strings.keys) == (turns.digest, turns.keys)
    if prompt:
        assert texts(strings, tokenizer) == [(prompt, "b</s>", "c</s>")]
    raw = tokenize(preference((dialogue, " b", " c")), tokenizer, template="none")
    assert texts(raw, tokenizer) == [(dialogue, " b</s>", " c</s>")]


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "x"}}}
CALLED = [user("q"), {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "sun"}]
WITH_TOOLS = (
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


# As Qwen's: messages of other roles are left out; a tool's result is escaped.
PARTS_ONLY = ("idefics3", "smolvlm", "llava_next")
KNOWN = (
    "{% for m in messages %}{% if m.role in ('user', 'assistant') or (m.role == 'system' and loop.first) %}"
    "[{{ m.role }}] {{ m.content | trim }}\n{% elif m.role == 'tool' %}[tool] {{ m.content | tojson }}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_messages_of_the_prompt_that_a_template_leaves_out_are_counted_by_role() -> None:
    rows = [
        {"messages": [said("system", " Be  brief."), user("two?"), says("four")]},
        {"messages": [said("developer", "Be brief."), user("two?"), says("four")]},
        {"messages": [user("hi"), says("yes"), said("system", "Be brief."), user("two?"), says("four")]},
        {"messages": [user("hi"), said("tool", '"sunny" <now>'), user("two?"), says("four")]},
    ]
    tokens = tokenize(load(rows, kind="sft"), byte_level(chat=KNOWN))
    assert tokens.notes == tuple(
        f"1 of 4 rows: the template leaves out or changes the prompt's messages of role {role} (first: row {i} of the "
        "list)"
        for role, i in (("developer", 1), ("system", 2))
    )


@pytest.mark.parametrize("role", ["ipython", "function"])
def test_a_prompt_whose_last_message_is_not_written_is_an_error(role: str) -> None:
    rows = load([{"messages": [user("hi"), says("yes"), said(role, "two plus two"), says("four")]}], kind="sft")
    with pytest.raises(ValueError, match=f"^row 0 of the list: .* the prompt's last message, of role '{role}'; give"):
        tokenize(rows, byte_level(chat=KNOWN))
    assert tokenize(rows, byte_level(chat=CHATML)).notes == ()


def test_a_template_without_tools_or_calls_is_named_once() -> None:
    row = {"tools": [TOOL], "messages": [*CALLED, says("It is sunny.")]}
    for chat, parts in ((NO_END, ("earlier calls", "tools")), (WITH_TOOLS, ())):
        tokens = tokenize(load([row, row], kind="sft"), byte_level(chat=chat))
        assert tokens.notes == tuple(
            f"2 of 2 rows: the template leaves out or changes the prompt's {part} (first: row 0 of the list)"
            for part in parts
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", families.base_templates())
def test_texts_that_a_chat_template_has_written_already_are_counted(name: str) -> None:
    tokenizer = families.byte_level(**families.ends_of(name))
    tokenizer.chat_template = families.trl_templates()[name]
    asked = [{"role": "user", "content": [{"type": "text", "text": "q"}] if name in PARTS_ONLY else "q"}]
    written = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    note = "1 of 2 rows: the prompt is a text that the chat template has written already, and is written once more"
    rows = sft(("What do <b> and [1] | mean? User: I; user: you", "a"), (written, "b"))
    said = [f"{note}; use --template none for such a set (first: row 1 of here)"]
    plain = name in ("idefics3", "smolvlm")  # they write "User:" and no mark that is no word
    assert [n for n in tokenize(rows, tokenizer).notes if "already" in n] == ([] if plain else said)
    assert tokenize(rows, tokenizer, template="none").notes == ()
    conversation = tokenize(sft(([user("q")], [says("b")])), tokenizer)
    assert not [n for n in conversation.notes if "already" in n]
