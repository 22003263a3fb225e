"""All assistant turns of a conversation in one sequence: which tokens are trained, against TRL and by rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import tiny_models as tiny
from support import tokenizer_families as families
from support.text_data import CHATML, byte_level, says, sft, user

from llm.data.formats import load
from llm.data.tokenization import TokenizedDataset, tokenize

CONVERSATION = [
    user("What is two plus two?"), says("It is four."), user("hello"), says("yes it is."),
    user("Be brief."), says("Two."),
]  # fmt: skip


def all_turns(tokenizer: Any, **options: Any) -> TokenizedDataset:
    return tokenize(load([{"messages": CONVERSATION}], kind="sft"), tokenizer, turns="all", **options)


def trained(tokens: TokenizedDataset, tokenizer: Any) -> list[str]:
    """Texts of the trained stretches of the first row."""
    assert tokens.trained is not None
    stretches: list[list[int]] = [[]]
    for i, is_trained in zip(tokens.responses[0][0].tolist(), tokens.trained[0].tolist(), strict=True):
        if is_trained:
            stretches[-1].append(i)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama3_training", "qwen3_training", "gptoss_training"])
def test_marked_templates_train_what_trl_trains(name: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    tokenizer = families.byte_level(**families.ends_of(name))
    tokenizer.chat_template = families.trl_templates()[name]
    tokenizer.pad_token = "<pad>"
    arguments = trl.SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, assistant_only_loss=True)
    trainer = trl.SFTTrainer(
        model=tiny.model("llama", vocabulary=len(tokenizer)),
        args=arguments,
        train_dataset=Dataset.from_list([{"messages": CONVERSATION}]),
        processing_class=tokenizer,
    )
    theirs = trainer.train_dataset[0]
    tokens = all_turns(tokenizer)
    assert tokens.trained is not None
    ours = [*tokens.prompts[0].tolist(), *tokens.responses[0][0].tolist()]
    assert ours == theirs["input_ids"]
    mask = [*[False] * len(tokens.prompts[0]), *tokens.trained[0].tolist()]
    assert [i if m else -100 for i, m in zip(ours, mask, strict=True)] == theirs["labels"]


@pytest.mark.parametrize("name", ["llama3", "cohere", "cohere2", "gemma", "lfm2", "qwen3_instruct_2507", "phi3"])
def test_rendering_finds_the_turns_that_the_marked_template_marks(name: str) -> None:
    found = []
    for variant in (name, f"{name}_training"):
        tokenizer = families.byte_level(**families.ends_of(name))
        tokenizer.chat_template = families.trl_templates()[variant]
        tokens = all_turns(tokenizer)
        assert tokens.trained is not None
        found.append((tokens.prompts[0].tolist(), tokens.responses[0][0].tolist(), tokens.trained[0].tolist()))
    assert found[0] == found[1]


def test_turns_that_end_otherwise_than_the_last_one_are_trained_with_their_ends() -> None:
    """gpt-oss: <|end|> within a conversation, <|return|> at its end; TRL's marks hold the turns' headers as well."""
    found = []
    for variant in ("gptoss", "gptoss_training"):
        tokenizer = families.byte_level(**families.ends_of(variant))
        tokenizer.chat_template = families.trl_templates()[variant]
        found.append(trained(all_turns(tokenizer), tokenizer))
    answers = ("It is four.<|end|>", "yes it is.<|end|>", "Two.<|return|>")
    assert found[0] == [f"<|channel|>final<|message|>{text}" for text in answers]
    assert found[1] == [f"<|start|>assistant{text}" for text in found[0]]


@pytest.mark.parametrize("between", ["", "<|end|>"])
def test_the_beginning_of_the_next_message_is_no_end_of_a_turn(between: str) -> None:
    """The last turn ends in EOS, those before in `between`; every message begins with the same special token."""
    last = "{% if loop.last and m.role == 'assistant' and not add_generation_prompt %}"
    message = "<|start|>{{ m.role }}\n{{ m.content }}" + last + "</s>{% else %}" + between + "{% endif %}"
    asked = "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
    tokenizer = byte_level("", "{% for m in messages %}" + message + "{% endfor %}" + asked)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|start|>", "<|end|>"]})
    texts = trained(all_turns(tokenizer), tokenizer)
    assert texts == [f"It is four.{between}", f"yes it is.{between}", "Two.</s>"]


def test_all_turns_are_trained_and_nothing_else() -> None:
    tokenizer = byte_level("", CHATML)
    assert trained(all_turns(tokenizer), tokenizer) == [
        f"{a}<|im_end|>\n" for a in ("It is four.", "yes it is.", "Two.")
    ]
    last = tokenize(load([{"messages": CONVERSATION}], kind="sft"), tokenizer)
    whole = all_turns(tokenizer)
    joined = [[*t.prompts[0].tolist(), *t.responses[0][0].tolist()] for t in (last, whole)]
    assert joined[0] == joined[1]
    assert (last.trained, last.trained_tokens(0)) == (None, len(last.responses[0][0]))
    assert whole.trained_tokens(0) < len(whole.responses[0][0])
    assert whole.digest != last.digest


def test_a_plain_template_trains_the_texts_of_the_turns() -> None:
    tokenizer = byte_level("<s> $")
    tokens = all_turns(tokenizer)
    # " it" is one token with the space before it.
    assert [t.strip() for t in trained(tokens, tokenizer)] == ["It is four.", "yes it is.", "Two.</s>"]
    assert tokenizer.decode(tokens.prompts[0]).startswith("<s>User: What is two plus two?\nAssistant:")


def test_rows_of_one_turn_are_as_before() -> None:
    tokenizer = byte_level("", CHATML)
    rows = sft(([user("q")], [says("a")]), ("r", "b"))
    one, all_of = tokenize(rows, tokenizer), tokenize(rows, tokenizer, turns="all")
    assert one.digest == all_of.digest
    dialogue = sft(("\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:", " b"))
    assert trained(tokenize(dialogue, tokenizer, turns="all"), tokenizer) == ["a<|im_end|>\n", "b<|im_end|>\n"]


def test_a_cut_response_is_cut_with_its_marks() -> None:
    tokenizer = byte_level("", CHATML)
    whole, cut = all_turns(tokenizer), all_turns(tokenizer, max_length=80)
    assert cut.trained is not None
    assert whole.trained is not None
    n = len(cut.responses[0][0])
    assert n < len(whole.responses[0][0])
    assert cut.trained[0].tolist() == whole.trained[0][:n].tolist()
    assert cut.select([0]).trained is not None


@pytest.mark.parametrize("name", ["qwen3", "qwen3_6"])
def test_a_template_that_rewrites_earlier_turns_is_refused(name: str) -> None:
    tokenizer = families.byte_level(**families.ends_of(name))
    tokenizer.chat_template = families.trl_templates()[name]
    with pytest.raises(ValueError, match=r"^row 0 of the list: .* earlier turns otherwise .*--sft-turns last"):
        all_turns(tokenizer)


def test_what_cannot_be_trained_in_one_pass() -> None:
    with pytest.raises(ValueError, match=r"^sft_turns: all needs a causal model"):
        all_turns(byte_level("", CHATML), encoder=True)
    nothing = CHATML.replace("{{ m.content }}", "{{ m.content }}{% generation %}{% endgeneration %}")
    with pytest.raises(ValueError, match=r"^row 0 of the list: the chat template marks nothing of this conversation"):
        all_turns(byte_level("", nothing))


MARKED = [
    user("What is two plus two?"), {**says("It is five."), "weight": 0}, user("hello"), says("yes it is."),
    user("Be brief."), {**says("Two."), "weight": 1},
]  # fmt: skip


@pytest.mark.parametrize("template", [CHATML, "llama3_training", "plain"])
def test_a_message_of_weight_0_is_not_trained(template: str) -> None:
    """OpenAI's and Mistral's mark of an answer that is shown and not to be learnt."""
    tokenizer = byte_level()
    tokenizer.chat_template = None if template == "plain" else families.trl_templates().get(template, template)
    tokens = tokenize(load([{"messages": MARKED}], kind="sft"), tokenizer, turns="all")
    texts = " ".join(trained(tokens, tokenizer))
    assert "It is five." not in texts
    assert "yes it is." in texts
    assert "Two." in texts
    whole = tokenizer.decode([*tokens.prompts[0].tolist(), *tokens.responses[0][0].tolist()])
    assert "It is five." in whole


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}, {"loss": False}]
)
def test_a_response_that_is_marked_as_not_to_be_trained_is_a_bad_row(mark: dict[str, Any]) -> None:
    bad, good = [user("hello"), {**says("yes"), **mark}], [user("hello"), {**says("no"), "weight": 1, "train": True}]
    with pytest.raises(ValueError, match=r"the response is marked as not to be trained \(weight 0, or train false\)"):
        load([{"messages": bad}], kind="sft")
    assert load([{"messages": bad}, {"messages": good}], kind="sft", bad_rows="drop").dropped == 1


@pytest.mark.parametrize("inside", [True, False])
def test_marks_that_leave_out_the_end_of_a_turn_are_named(inside: bool) -> None:
    """With marks around the content alone no turn's end is trained, and the model does not learn to end an answer."""
    marked = "{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}"
    if not inside:
        marked = "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n"
    plain = "{{ m.content }}<|im_end|>\n"
    either = f"{{% if m.role == 'assistant' %}}{marked}{{% else %}}{plain}{{% endif %}}"
    template = CHATML.replace(plain, either)
    tokenizer = byte_level(chat=template)
    tokens = all_turns(tokenizer)
    assert trained(tokens, tokenizer)[-1] == ("Two.<|im_end|>\n" if inside else "Two.")
    note = "1 of 1 rows: the template's {% generation %} marks leave out the end of the last turn, so that"
    assert [text.startswith(note) for text in tokens.notes] == ([] if inside else [True])
    assert trained(all_turns(byte_level(chat=CHATML)), byte_level(chat=CHATML))[-1] == "Two.<|im_end|>\n"
