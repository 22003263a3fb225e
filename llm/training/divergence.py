"""When a run must stop: a loss that explodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Alarm:
    """Rings when a loss is far above its first value three times in a row.

    times  how often its first value is too much; losses of up to 10 never are
    """

    times: float
    first: dict[str, float] = field(default_factory=dict)
    high: int = 0

    def see(self, values: dict[str, float]) -> bool:
        """Whether it rings, the objectives having these values now."""
        over = [v > max(10.0, self.times * self.first.setdefault(name, v)) for name, v in values.items()]
        self.high = self.high + 1 if any(over) else 0
        return self.high >= 3

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must keep; `Alarm(times, **state)` goes on from it."""
        return {"first": dict(self.first), "high": self.high}
