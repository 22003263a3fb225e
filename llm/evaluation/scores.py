"""What lm-evaluation-harness found, as plain values with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

CONFIDENCE = 0.95
_SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match")  # means of zeros and ones


def scores(found: Mapping[str, Any]) -> dict[str, Any]:
    """The harness's results as ours: task -> shots, questions, part_of, metrics."""
    parts = {child: group for group, children in found.get("group_subtasks", {}).items() for child in children}
    every: dict[str, Any] = {}
    for name, values in found["results"].items():
        asked = found["n-samples"].get(name)
        count = asked["effective"] if asked else values.get("sample_len")
        single = asked is not None
        metrics = {}
        for key, value in values.items():
            metric, comma, kept = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{kept}")
            error = float(error) if isinstance(error, int | float) else None
            low, high = interval(float(value), error, int(count) if single and metric in _SHARES else 0)
            shown = metric if kept == "none" else f"{metric} ({kept})"
            metrics[shown] = {"value": float(value), "stderr": error, "low": low, "high": high}
        if metrics:
            every[name] = {
                "shots": _shots(name, found),
                "questions": count,
                "part_of": parts.get(name),
                "metrics": metrics,
            }
    return every


def _shots(name: str, found: Mapping[str, Any]) -> int | None:
    """A task's examples before a question; of a group its parts', if they agree. The harness leaves groups of groups
    out, such as mmlu.
    """
    if name in found["n-shot"]:
        return int(found["n-shot"][name])
    parts = {_shots(part, found) for part in found.get("group_subtasks", {}).get(name, ())}
    return parts.pop() if len(parts) == 1 else None


def interval(value: float, stderr: float | None, n: int) -> tuple[float | None, float | None]:
    """The 95 % interval: Wilson's for a share of `n` > 0 questions, else normal."""
    from scipy import stats

    if stderr is None or math.isnan(stderr):
        return None, None
    if n:
        found = stats.binomtest(round(value * n), n).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * stderr
    return value - reach, value + reach
