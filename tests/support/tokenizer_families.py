"""Tokenizers of every family, trained on a few sentences, with the special tokens of all chat templates."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = [
    "What is the capital of France? Paris is the capital of France.",
    "You are a helpful assistant. Be brief. It is four. Two and two make four.",
    "user assistant system tool weather in Berlin sunny city name arguments function",
    "Let me look. It is sunny. What is two plus two? yes it is a large city",
    "<|user|>\n[INST] hello [/INST] think tool_call tool_response Question: Answer:",
] * 20
# Tokens that chat templates write and tokenizers have as special ones.
SPECIAL = (
    "<unk> <s> </s> <pad> <|endoftext|> <|im_start|> <|im_end|> <bos> <eos> <start_of_turn> <end_of_turn> "
    "<|begin_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> <|end|> <|return|> <|start|> <|message|> "
    "<|channel|> <|call|> <|user|> <|assistant|> <|system|> <|observation|> <|END_OF_TURN_TOKEN|> "
    "<|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <|USER_TOKEN|> <|SYSTEM_TOKEN|> <end_of_utterance> <turn|> <|turn> "
    "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>"
).split()


def _fast(inner: Any, *, eos: str, bos: str | None) -> Any:
    rest = [token for token in SPECIAL if token not in (eos, bos, "<unk>")]
    ends = {"eos_token": eos, "unk_token": "<unk>", **({"bos_token": bos} if bos else {})}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, extra_special_tokens=rest, **ends)


def byte_level(eos: str = "<|endoftext|>", bos: str | None = None) -> Any:
    """As GPT-2's, Llama 3's, Qwen's: byte-level BPE."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(SENTENCES, trainer)
    return _fast(inner, eos=eos, bos=bos)


@cache
def _pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a SentencePiece BPE with byte fallback."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    fallback = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=["<unk>", "<s>", "</s>", *fallback], show_progress=False, max_token_length=16
    )
    inner.train_from_iterator(SENTENCES, trainer)
    model = json.loads(inner.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def prepend(eos: str = "</s>", bos: str | None = "<s>") -> Any:
    """As Llama 2's tokenizer.json: a normaliser puts ▁ before every text and every text after a special token."""
    vocabulary, merges = _pieces()
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return _fast(inner, eos=eos, bos=bos)


def llama(eos: str = "</s>", bos: str | None = "<s>", *, legacy: bool) -> Any:
    """transformers' LlamaTokenizer: Metaspace, with or without the legacy space after special tokens."""
    vocabulary, merges = _pieces()
    made = transformers.LlamaTokenizer(
        vocab=vocabulary, merges=merges, legacy=legacy, eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )
    made.add_special_tokens({"extra_special_tokens": [t for t in SPECIAL if t not in ("<unk>", "<s>", "</s>")]})
    made.eos_token, made.bos_token = eos, bos
    return made


def unigram(eos: str = "</s>", bos: str | None = "<s>", *, scheme: str) -> Any:
    """As T5's, XLNet's: Unigram with Metaspace, which puts a space before every text, the first one, or none."""
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    inner.decoder = decoders.Metaspace(prepend_scheme=scheme)
    alphabet = sorted({c for line in SENTENCES for c in line} | set('\n▁{}[]":,.'))
    trainer = trainers.UnigramTrainer(
        vocab_size=320, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(SENTENCES, trainer)
    return _fast(inner, eos=eos, bos=bos)


def word_piece(eos: str = "</s>", bos: str | None = "<s>") -> Any:
    """As BERT's: WordPiece, which drops white space."""
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=False)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    inner.train_from_iterator(SENTENCES, trainer)
    return _fast(inner, eos=eos, bos=bos)


FAMILIES: dict[str, Any] = {
    "byte-level": byte_level,
    "prepend": prepend,
    "llama legacy": lambda **ends: llama(**ends, legacy=True),
    "llama": lambda **ends: llama(**ends, legacy=False),
    "unigram always": lambda **ends: unigram(**ends, scheme="always"),
    "unigram first": lambda **ends: unigram(**ends, scheme="first"),
    "unigram never": lambda **ends: unigram(**ends, scheme="never"),
    "word-piece": word_piece,
}

# Beginning of a template's name -> EOS and BOS of the models that it belongs to.
_EOS = {
    "gemma": "<eos>", "llama3": "<|eot_id|>", "deepseek": "<｜end▁of▁sentence｜>", "gptoss": "<|return|>",
    "phi": "<|endoftext|>", "cohere": "<|END_OF_TURN_TOKEN|>", "glm": "<|endoftext|>", "diffusion": "<eos>",
    "llava": "</s>",
}  # fmt: skip
_BOS = {"gemma": "<bos>", "llama3": "<|begin_of_text|>", "deepseek": "<｜begin▁of▁sentence｜>", "diffusion": "<bos>"}


def ends_of(template: str) -> dict[str, str | None]:
    """EOS and BOS for a chat template of TRL by its name."""
    eos = next((token for start, token in _EOS.items() if template.startswith(start)), "<|im_end|>")
    return {"eos": eos, "bos": next((token for start, token in _BOS.items() if template.startswith(start)), None)}


@cache
def trl_templates() -> dict[str, str]:
    """Name -> text of every chat template that TRL ships."""
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}


def base_templates() -> list[str]:
    """Names of TRL's templates without those that differ from another in the marks of training alone."""
    return [name for name in trl_templates() if not re.search(r"_training$", name)]
