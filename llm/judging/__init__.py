"""Quality of a model's answers according to a judge: win rates against references, and refusal rates."""

from __future__ import annotations

from llm.judging.endpoint import Endpoint, EndpointError
from llm.judging.pairwise import Pair, combined, instance, judge_pairs
from llm.judging.statistics import Rate, WinRate, bootstrap, rate, win_rate

__all__ = [
    "Endpoint",
    "EndpointError",
    "Pair",
    "Rate",
    "WinRate",
    "bootstrap",
    "combined",
    "instance",
    "judge_pairs",
    "rate",
    "win_rate",
]
