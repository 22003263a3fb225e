"""Embeddings of texts against computations by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm.evaluation.embedders import Embedder  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny base model."""
    return str(tiny.base(tmp_path_factory.mktemp("similar") / "base"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT whose tokenizer puts marks around a text, with no special pooling."""
    from tokenizers import processors
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    tokenizer.model_max_length = 16
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=32,
        )  # fmt: skip
        model = BertModel(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(folder)
    return folder


TEXTS = ["bax der fis", "got", "kul lam mex nor bas der fit gom kux lar mes not bal dem fil gor kus lat", "der bax fis"]


def test_tokens_means(base: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = Embedder("token", model=base, batch=2)(TEXTS)
    table, tokenizer = (
        AutoModelForCausalLM.from_pretrained(base).get_input_embeddings(),
        AutoTokenizer.from_pretrained(base),
    )
    for text, vector in zip(TEXTS, found, strict=True):
        mean = table(torch.tensor(tokenizer(text)["input_ids"])).mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(found[0], found[3], atol=1e-6)  # the order of words does not matter
    assert found.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hidden", "encoder"])
def test_states_are_means_over_real_tokens(kind: str, base: str, encoder: Path) -> None:
    """Each text alone, by hand, against all together with padding."""
    from transformers import AutoModel, AutoTokenizer

    name = base if kind == "hidden" else str(encoder)
    model, tokenizer = AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    embedder = Embedder(kind, model=base) if kind == "hidden" else Embedder(name)
    found = embedder(TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = tokenizer(text, truncation=True, max_length=128 if kind == "hidden" else 16, return_tensors="pt")
        states = model(input_ids=ids["input_ids"]).last_hidden_state[0]
        mean = states.mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).detach().numpy(), atol=1e-5)
    assert np.abs(found[0] - found[3]).max() > 1e-2  # here it does
    if kind == "encoder":
        assert embedder.longest == 16  # the tokenizer's, less than 32 places and 512


@pytest.mark.slow
def test_a_sentence_encoders_own_settings(encoder: Path, tmp_path: Path) -> None:
    """Its maximum length and its pooling, here the first token, come from its own files."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoModel, AutoTokenizer

    mine = tmp_path / "encoder"
    modules = [Transformer(str(encoder), max_seq_length=5), Pooling(16, pooling_mode="cls")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(mine))
    embedder = Embedder(str(mine))
    assert embedder.longest == 5
    assert Embedder(str(mine), longest=7).longest == 7
    ids = AutoTokenizer.from_pretrained(mine)(TEXTS[2], truncation=True, max_length=5, return_tensors="pt")["input_ids"]
    assert ids.shape == (1, 5)
    first = AutoModel.from_pretrained(mine).eval()(input_ids=ids).last_hidden_state[0, 0]
    np.testing.assert_allclose(embedder([TEXTS[2]])[0], (first / first.norm()).detach().numpy(), atol=1e-5)


@pytest.mark.slow
def test_chunks_keep_the_order_of_texts(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, done = Embedder("token", model=base)(TEXTS), []
    monkeypatch.setattr("llm.evaluation.embedders._CHUNK", 1)
    found = Embedder("token", model=base, batch=1)(TEXTS, lambda count, of: done.append((count, of)))
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert done == [(i, 4) for i in (1, 2, 3, 4)]


def test_without_the_package_the_remedy_is_one_line(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    absent = "sentence_transformers"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == absent else real(name, *a))
    with pytest.raises(ValueError, match=r"^embedder: sentence-transformers is not installed; pip install -e "):
        Embedder(str(encoder))
