"""Tokenizers of folders have the ids of their tokenizer.json, read by the library `tokenizers` alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from llm import TrainConfig
from llm.models.loading import load_tokenizer
from llm.models.tokenizer_files import replacement_note

CONFIG = TrainConfig()
# As OLMo 2's and Granite's: groups of three digits, where GPT-2's class takes all digits of a number together.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXTS = ["In 2023 it was 650841823.", "don't  stop\n\n\nhere ", " a b", "cafe\u0301"]


def trained(kind: str) -> Tokenizer:
    """Return a tokenizer whose merges depend on its way of splitting texts."""
    sentencepiece = kind == "llama 2"
    made = Tokenizer(models.BPE(byte_fallback=sentencepiece, unk_token="<unk>" if sentencepiece else None))
    alphabet = [] if sentencepiece else pre_tokenizers.ByteLevel.alphabet()
    if sentencepiece:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    elif kind == "olmo 2":
        split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
        made.decoder = decoders.ByteLevel()
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(False)
        made.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS * 20, trainer)
    return made


def saved(folder: Path, kind: str, tokenizer_class: str | None, model_type: str) -> Tokenizer:
    """Write tokenizer.json with the configurations beside it."""
    made = trained(kind)
    made.save(str(folder / "tokenizer.json"))
    named: dict[str, Any] = {"eos_token": "</s>", "unk_token": "<unk>", "chat_template": "{{ messages }}"}
    named |= {} if tokenizer_class is None else {"tokenizer_class": tokenizer_class}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return made


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("kind", "tokenizer_class", "model_type"),
    [
        ("olmo 2", "GPT2Tokenizer", "llama"),
        ("olmo 2", "LlamaTokenizerFast", "qwen2"),  # DeepSeek's distilled Qwen
        ("olmo 2", None, "gpt_neox"),
        ("gpt 2", "PreTrainedTokenizerFast", "qwen2"),
        ("llama 2", "LlamaTokenizer", "llama"),
        ("olmo 2", "PreTrainedTokenizerFast", "olmo2"),
        ("gpt 2", "GPT2TokenizerFast", "gpt2"),
    ],
)
def test_ids_are_those_of_the_file(kind: str, tokenizer_class: str | None, model_type: str, tmp_path: Path) -> None:
    made = saved(tmp_path, kind, tokenizer_class, model_type)
    found = load_tokenizer(str(tmp_path), CONFIG)
    for text in TEXTS:
        assert found(text, add_special_tokens=False)["input_ids"] == made.encode(text, add_special_tokens=False).ids
    assert (found.eos_token, found.chat_template) == ("</s>", "{{ messages }}")
    assert found.convert_tokens_to_ids("</s>") == made.token_to_id("</s>")
    again = tmp_path / "again"
    found.save_pretrained(again)
    for text in TEXTS:
        assert load_tokenizer(str(again), CONFIG)(text)["input_ids"] == found(text)["input_ids"]


def test_a_class_that_agrees_with_the_file_stays(tmp_path: Path) -> None:
    saved(tmp_path, "gpt 2", "GPT2Tokenizer", "gpt2")
    found = load_tokenizer(str(tmp_path), CONFIG)
    assert type(found).__name__ == "GPT2Tokenizer"
    assert replacement_note(found) is None


def test_a_replaced_class_is_named_in_one_line(tmp_path: Path) -> None:
    saved(tmp_path, "olmo 2", "GPT2Tokenizer", "llama")
    note = replacement_note(load_tokenizer(str(tmp_path), CONFIG))
    assert note is not None
    assert "tokenizer.json; transformers' GPT2Tokenizer splits texts otherwise" in note
    assert "\n" not in note


def test_special_tokens_that_only_the_class_names_stay_if_the_vocabulary_has_them(tmp_path: Path) -> None:
    """GPT-2's class names <|endoftext|> where no file does; its own vocabulary may lack the token."""
    saved(tmp_path, "olmo 2", "GPT2Tokenizer", "llama")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    found = load_tokenizer(str(tmp_path), CONFIG)
    assert found.eos_token is None
    described = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    described["added_tokens"][2]["content"] = "<|endoftext|>"
    described["model"]["vocab"]["<|endoftext|>"] = described["model"]["vocab"].pop("</s>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    assert load_tokenizer(str(tmp_path), CONFIG).eos_token_id == 2


@pytest.mark.parametrize("own", [None, "{{ messages | length }}"])
def test_the_template_of_a_processor_is_used_where_the_tokenizer_has_none(own: str | None, tmp_path: Path) -> None:
    saved(tmp_path, "gpt 2", "GPT2Tokenizer", "gpt2")
    named = {"eos_token": "</s>"} | ({} if own is None else {"chat_template": own})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    assert load_tokenizer(str(tmp_path), CONFIG).chat_template == own
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert load_tokenizer(str(tmp_path), CONFIG).chat_template == (own or "{{ messages }}")
    (tmp_path / "chat_template.json").write_text("[]")
    if own is None:
        with pytest.raises(FileNotFoundError, match=r"chat_template\.json holds no text `chat_template`; download"):
            load_tokenizer(str(tmp_path), CONFIG)


def test_a_translation_model_keeps_the_language_that_its_class_puts_around_a_text(tmp_path: Path) -> None:
    """mBART's class writes it; its normalizer is not the file's."""
    from transformers import AutoTokenizer

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always")
    special = ["<s>", "<pad>", "</s>", "<unk>", "en_XX", "de_DE"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(TEXTS * 20, trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    named = {"tokenizer_class": "MBartTokenizer", "src_lang": "de_DE", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    found, german = load_tokenizer(str(tmp_path), CONFIG), made.token_to_id("de_DE")
    assert type(found).__name__ == "TokenizersBackend"
    assert AutoTokenizer.from_pretrained(tmp_path)("A B")["input_ids"][-1] == german
    assert found("A B")["input_ids"] == [*made.encode("A B").ids, made.token_to_id("</s>"), german]
