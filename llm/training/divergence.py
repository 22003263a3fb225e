"""Detection of divergence, and the message of a run that cannot continue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.training import checkpoint

if TYPE_CHECKING:
    from llm.training.engine import ForwardResult


@dataclass
class DivergenceDetector:
    """Detect divergence: a loss above `ratio` times its first value on three consecutive steps.

    A loss of up to 10 never counts as divergence.
    """

    ratio: float
    first: dict[str, float] = field(default_factory=dict)
    high: int = 0

    def detect(self, values: dict[str, float]) -> bool:
        """Return whether the losses diverge, given the values of one more step."""
        over = [v > max(10.0, self.ratio * self.first.setdefault(name, v)) for name, v in values.items()]
        self.high = self.high + 1 if any(over) else 0
        return self.high >= 3

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint; `DivergenceDetector(ratio, **state)` continues from them."""
        return {"first": dict(self.first), "high": self.high}


def diagnosis(step: int, reason: str, trained: Mapping[int, ForwardResult], lr: float, folder: Path) -> str:
    """Return the message of a run that cannot continue: reason, values, rows, learning rate, last checkpoint.

    step     number of the step that failed, from 1
    trained  forward passes of the step, by objective
    folder   folder of the run
    """
    values = ", ".join(f"f_{r.objective.label.upper()} = {r.value:.4g}" for r in trained.values())
    rows = "; ".join(f"{r.objective.name} rows {', '.join(map(str, r.rows[:4]))}, ..." for r in trained.values())
    last = checkpoint.newest(folder)
    saved = f"the last good state is {last.path}" if last else "no state had been saved yet"
    return (
        f"step {step}: {reason} ({values}; learning rate {lr:.3g}; {rows}). "
        f"A smaller --lr, a --warmup or --precision fp32 may help; {saved}"
    )
