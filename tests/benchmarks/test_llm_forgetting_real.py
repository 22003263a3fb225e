"""The paired comparison with TRL's stages: the same batches from the same adapter end at the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from safetensors.torch import load_file  # noqa: E402
from support import tiny_models as tiny  # noqa: E402

from benchmarks.__main__ import main  # noqa: E402
from benchmarks.llm_forgetting import ORDERS, Setting  # noqa: E402
from benchmarks.llm_forgetting_real import _conversation, compared, ours, theirs, world_of  # noqa: E402
from llm.data.tokenization import TokenizedDataset  # noqa: E402

quiet_trl = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
SETS = {
    "sft": tiny.sft_rows(12), "sft_held_out": tiny.sft_rows(6, seed=8),
    "preference": tiny.preference_rows(12), "preference_held_out": tiny.preference_rows(6, seed=9),
}  # fmt: skip


def text(tokenizer: Any, tokens: TokenizedDataset, i: int) -> dict[str, str]:
    """Row `i` as text, without the end of its responses; a response begins where the text of its prompt ends."""
    names = ("completion",) if tokens.kind == "sft" else ("chosen", "rejected")
    prompt, row = tokenizer.decode(tokens.prompts[i]), {}
    for name, ids in zip(names, tokens.responses[i], strict=True):
        row[name] = tokenizer.decode(np.concatenate([tokens.prompts[i], ids[:-1]])).removeprefix(prompt)
    return {"prompt": prompt, **row}


@quiet_trl
@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("order", ORDERS)
def test_both_sides_end_at_the_same_weights_after_either_stage(tmp_path: Path, order: str) -> None:
    base = tiny.base(tmp_path / "base", "gpt_neox")
    config = Setting(steps=4, batch=3).config(order, 5, model=str(base), lora_alpha=16)
    sets = {k: [{n: v if n == "prompt" else f" {v}" for n, v in r.items()} for r in rows] for k, rows in SETS.items()}
    world, trained = world_of(config, text, **sets)
    start, *own = ours(config, tmp_path / "llm", **sets)
    others = theirs(world, trained, config, start, tmp_path / "trl")
    before = load_file(start / "adapter_model.safetensors")
    for a, b in zip(own, others, strict=True):
        mine, other = (load_file(folder / "adapter_model.safetensors") for folder in (a, b))
        assert set(mine) == set(other)
        for name, weights in mine.items():
            moved = float((weights - before[name]).abs().max())
            assert moved > 1e-4, name
            # Adam amplifies rounding: 0.0004 to 0.003 of the way were measured, and 2 with the rows in reverse order.
            torch.testing.assert_close(weights, other[name], rtol=0.0, atol=1e-2 * moved, msg=name)
        before = mine


class Words:
    """A tokenizer whose ids are places in a list of texts."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def decode(self, ids: Any) -> str:
        return "".join(self.texts[i] for i in ids)


def test_rows_are_conversations_again() -> None:
    asked = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHow?\n\nNow.<|im_end|>\n<|im_start|>assistant\n"
    words = Words(asked, "Well.<|im_end|>\n", "No.<|im_end|>\n", "cut off")
    ids = [np.array([i], dtype=np.int32) for i in range(4)]
    tokens = TokenizedDataset("preference", (ids[0],), ((ids[1], ids[2]),), ("0" * 16,), 0, 0, 0)
    assert _conversation(words, tokens, 0) == {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How?\n\nNow."}],
        "chosen": [{"role": "assistant", "content": "Well."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    cut = TokenizedDataset("preference", (ids[0],), ((ids[1], ids[3]),), ("0" * 16,), 0, 0, 0)
    with pytest.raises(ValueError, match="not a whole conversation: 'cut off'"):
        _conversation(words, cut, 0)


def test_losses_agree_relatively_and_shares_absolutely() -> None:
    def stages(f_sft: float, skill: float) -> list[dict[str, float]]:
        return [{"f_SFT": 2.0, "skill: exact answers": 1.0}, {"f_SFT": f_sft, "skill: exact answers": skill}]

    near = compared("sft-dpo", [stages(0.100, 0.62)], [stages(0.1015, 0.60)])
    assert near.holds()
    assert [line[-1] for line in near.lines()] == ["yes"] * 4
    for f_sft, skill in ((0.103, 0.62), (0.100, 0.56)):
        far = compared("sft-dpo", [stages(0.100, 0.62)], [stages(f_sft, skill)])
        assert not far.holds()
        assert [line[-1] for line in far.lines()].count("NO") == 1


def test_the_benchmark_needs_a_preference_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--only", "forgetting-real"])
    assert error.value.code == 2
    assert "forgetting-real needs --preference FILE" in capsys.readouterr().err


def test_a_set_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any) -> None:
        """Compare nothing."""
        raise ValueError("preference: pairs.txt: not a known kind of file")

    monkeypatch.setattr("benchmarks.__main__.forgetting_real", refused)
    file = tmp_path / "pairs.txt"
    file.write_text("no pairs", encoding="utf-8")
    assert main(["--only", "forgetting-real", "--preference", str(file)]) == 2
    error = capsys.readouterr().err
    assert error == "benchmarks: forgetting-real: preference: pairs.txt: not a known kind of file\n"
