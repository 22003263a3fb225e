"""`train`: from a configuration to an adapter. The phases, and what is kept between them.

1. the sets, tokenised      2. DPO's reference: its adapter if it has one, then its log-probabilities (cached)
3. the optima, if MAXRIGHT wants them computed (cached)      4. the loop      5. the adapter and its card
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.processes import preserve_torch_state, stop_requested
from llm.config import TrainConfig
from llm.training.run_folder import claimed
from toyopt.algorithms import DPO, SFT, Alright, Maxright, Mix, Rule, Sequential


@dataclass(frozen=True)
class Result:
    """A finished run: its folder (the adapter is in it), and what `summary.json` holds."""

    folder: Path
    summary: dict[str, Any]


def train(
    config: TrainConfig | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    sft: Any = None,
    preference: Any = None,
    sft_held_out: Any = None,
    preference_held_out: Any = None,
    quiet: bool = False,
) -> Result:
    """Train one adapter on an SFT set and a preference set.

    config      what to do; the rest, if given, is used in place of what it names
    model       a causal language model of transformers, in memory; it is given back without adapters
    tokenizer   its tokeniser
    sft, preference, sft_held_out, preference_held_out  lists of dicts or `datasets.Dataset`s

    A folder with the same run goes on where it was, or is returned if it is finished. ValueError, TypeError or
    FileNotFoundError, in one line, for wrong input; `llm.loop.StoppedRunError` with a diagnosis if a loss explodes.
    """
    from llm.training.run import Run

    given = {"sft": sft, "preference": preference}
    given |= {"sft_held_out": sft_held_out, "preference_held_out": preference_held_out}
    config = config or TrainConfig()
    if (model is None) != (tokenizer is None):
        raise TypeError("model and tokenizer: give both or neither")
    with claimed(config) as folder, stop_requested() as wanted, preserve_torch_state(model):
        run = Run(config, folder, model=model, tokenizer=tokenizer, given=given, quiet=quiet, wanted=wanted)
        try:
            return Result(folder, run.train())
        finally:
            run.give_back()


def rule_of(config: TrainConfig, f_star: tuple[float, float] = (0.0, 0.0)) -> Rule:
    """The rule of toyopt.algorithms that a configuration names; λ weighs DPO, and Sequential's share of steps."""
    if config.method == "sequential":
        first = round(config.lam * config.steps)
        steps, order = (first, config.steps - first), (DPO, SFT)
        return Sequential(steps[::-1], order[::-1]) if config.order == "sft-dpo" else Sequential(steps, order)
    if config.method == "mix":
        return Mix(config.lam)
    return Alright(config.lam) if config.method == "alright" else Maxright(config.lam, f_star, config.k)
