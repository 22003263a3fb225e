"""What the tests of judging share: no proxy on the way to the server of this machine, and a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is on this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that held a share of its rows out; two pairs of its set have the same prompt."""
    from llm import TrainConfig, train

    folder = tmp_path_factory.mktemp("run")
    options = {**door.place(folder), "steps": 1, "eval_every": 0}
    pairs = tiny.preference_rows()
    door.write(folder / "preference.jsonl", [*pairs, *({**row, "chosen": "bax"} for row in pairs)])
    return train(TrainConfig(**options), quiet=True).folder
