"""Detection of divergence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
