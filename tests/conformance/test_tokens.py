"""Token ids of every chat template that TRL ships and of every tokenizer family, against `apply_chat_template`."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from support import tokenizer_families as families
from support.text_data import says, user

from llm.data.formats import load
from llm.data.tokenization import tokenize, tokenize_prompts

pytestmark = pytest.mark.oracle

ASKED = [user("What is two plus two?")]
WEATHER = [user("weather in Berlin?")]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "name"}},
                "required": ["city"],
            },
        },
    }
]


def call(arguments: Any) -> list[dict[str, Any]]:
    return [{"id": "call00000", "type": "function", "function": {"name": "weather", "arguments": arguments}}]


def parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


CALL, JSON_CALL = call({"city": "Berlin"}), call('{"city": "Berlin"}')
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call00000", "content": "sunny"}
FOUR = [says("It is four.")]
# Kind -> conversations that mean the same, the row's own first, as (prompt, response); the text that is to be trained.
KINDS: dict[str, tuple[list[tuple[Any, Any]], str]] = {
    "plain": ([(ASKED, FOUR)], "It is four."),
    "system": ([([{"role": "system", "content": "Be brief."}, *ASKED], FOUR)], "It is four."),
    "turns": ([([*ASKED, says("Four."), *ASKED], FOUR)], "It is four."),
    "inline thought": ([(ASKED, [says("<think>\nTwo and two.\n</think>\n\nIt is four.")])], "It is four."),
    "thought": ([(ASKED, [{**says("It is four."), "reasoning_content": "Two and two."}])], "It is four."),
    "space": ([(ASKED, [says("  It is four.\n")])], "It is four."),
    "call": ([(WEATHER, [{**says(""), "tool_calls": c}]) for c in (CALL, JSON_CALL)], "Berlin"),
    "call as JSON": (
        [(WEATHER, [{**says("Let me look."), "tool_calls": c}]) for c in (JSON_CALL, CALL)],
        "Berlin",
    ),
    "result": (
        [([*WEATHER, {**says(""), "tool_calls": c}, RESULT], [says("It is sunny.")]) for c in (CALL, JSON_CALL)],
        "It is sunny.",
    ),
    "parts": (
        [
            (
                [{"role": "user", "content": parts("What is two plus two?")}],
                [{**says(""), "content": parts("It is four.")}],
            ),
            (ASKED, FOUR),
        ],
        "It is four.",
    ),
}


# Templates of vision models that read contents as typed parts only.
PARTS_ONLY = ("idefics3", "smolvlm", "llava_next")


def in_parts(messages: Any) -> list[dict[str, Any]]:
    """Return messages with every content that is a text as one typed part."""
    return [{**m, "content": parts(m["content"])} if isinstance(m.get("content"), str) else m for m in messages]


@cache
def tokenizer(family: str, eos: str, bos: str | None) -> Any:
    return families.FAMILIES[family](eos=eos, bos=bos)


def applied(template: Any, messages: Any, **options: Any) -> list[int] | None:
    """transformers' own ids, None if the template cannot write the messages."""
    try:
        ids = template.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
    except Exception:  # what a template raises is its own affair
        return None
    return list(ids)


def check(family: str, name: str, kind: str) -> str:
    """Compare a row's ids with transformers' own; return "equal", or why the row is refused."""
    ends = families.ends_of(name)
    chat = tokenizer(family, ends["eos"] or "", ends["bos"])
    chat.chat_template = families.trl_templates()[name]
    forms, meant = KINDS[kind]
    tools = TOOLS if "call" in kind or kind == "result" else None
    written = in_parts if name in PARTS_ONLY else list
    wholes = [applied(chat, written([*p, *a]), tools=tools) for p, a in forms]
    prompts = [applied(chat, written(p), tools=tools, add_generation_prompt=True) for p, _ in forms]
    rows = load([{"prompt": forms[0][0], "completion": forms[0][1], "tools": tools}], kind="sft")
    refusal = ""
    try:
        tokens = tokenize(rows, chat)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        for prompt, whole in zip(prompts, wholes, strict=True):
            # Refused only where transformers fails too, or nothing of the response would be trained.
            if whole is not None and prompt is not None and whole[: len(prompt)] == prompt and kind != "parts":
                assert meant not in chat.decode(whole[len(prompt) :]), (name, kind, refusal)
        return "refused"
    prompt, response = tokens.prompts[0].tolist(), tokens.responses[0][0].tolist()
    assert tokenize_prompts([rows.rows[0]], chat)[0].tolist() == prompt
    assert any(prompt + response in (whole, [*(whole or []), chat.eos_token_id]) for whole in wholes), (name, kind)
    if family == "byte-level":
        assert meant in chat.decode(response) or any("leaves out" in note for note in tokens.notes), (name, kind)
    whole_prompts = [p for p in prompts if p is not None]
    # Some generation prompts end in the beginning of a thought that an answer need not have.
    assert any(chat.decode(p).startswith(chat.decode(prompt)) for p in whole_prompts), (name, kind)
    return "equal" if prompt in whole_prompts else "shorter prompt"


@pytest.mark.slow
@pytest.mark.parametrize("name", families.base_templates())
def test_every_template_gives_the_ids_of_the_whole_conversation(name: str) -> None:
    found = {kind: check("byte-level", name, kind) for kind in KINDS}
    assert found["plain"] != "refused"
    assert name not in PARTS_ONLY or found["parts"] != "refused"
    thinking = ("deepseek", "nemotron")  # their generation prompts begin a thought
    assert ("shorter prompt" in found.values()) == name.startswith(thinking)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name != "byte-level"])
def test_every_tokenizer_family_gives_the_ids_of_the_whole_conversation(family: str) -> None:
    for name in ("llama3", "qwen3", "gptoss", "glm4moe", "phi3"):
        for kind in ("plain", "turns", "space", "thought"):
            assert check(family, name, kind) == "equal"
