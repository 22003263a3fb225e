"""DPO's reference: its log-probabilities are computed once and kept on disk, and no second model is ever in memory.

The reference is the bare base or an adapter on it. A file of log-probabilities is found by what they depend on: the
token ids (hence data, tokeniser, template and truncation), the weights of base and adapter, and the precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from llm.common.files import atomically
from llm.config import digest
from llm.models.loading import fingerprint
from llm.training.engine import Engine
from llm.training.objective import Objective


def key(task: Objective, base: str, adapter: str, precision: str) -> str:
    """The name under which a task's reference log-probabilities are kept."""
    return digest(
        {"version": 1, "tokens": task.tokens.digest, "base": base, "adapter": adapter, "precision": precision}
    )


def path_of(cache: Path, name: str) -> Path:
    """Where they lie."""
    return cache / "reference" / f"{name}.safetensors"


def load(path: Path, rows: int) -> torch.Tensor | None:
    """(rows, 2) float32, or None if they have not been computed yet; a damaged file counts as none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            values: torch.Tensor = file.get_tensor("logps")
            mark = (file.metadata() or {}).get("fingerprint")
    except SafetensorError:
        return None
    if mark != fingerprint([("logps", values)]):
        return None
    return values if values.shape == (rows, 2) else None


def compute(session: Engine, task: Objective, path: Path, report: Any = None) -> torch.Tensor:
    """The log-probabilities of all chosen and rejected responses under the session's policy, saved at `path`."""
    from safetensors.torch import save_file

    values = session.logps(task, report)
    if not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).any(dim=1).nonzero()[0])
        raise ValueError(
            f"reference: its log-probability of row {row} is not finite; is the model damaged, or bf16 too coarse?"
        )
    if session.accelerator.is_main_process:
        with atomically(path) as temporary:
            save_file({"logps": values}, temporary, metadata={"fingerprint": fingerprint([("logps", values)])})
    session.accelerator.wait_for_everyone()
    return values
