"""The specification of a training run: its rule, its objectives, and its evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llm.training.benchmarks import Benchmarks
from llm.training.objective import Objective
from toyopt.algorithms import Rule


@dataclass(frozen=True)
class TrainSpec:
    """The rule, its objectives, and the objectives to evaluate.

    rule        a rule of toyopt.algorithms
    objectives  the objectives that the rule can choose
    held_out    objectives to evaluate, by the name of the set and by objective
    steps       T
    f_star      optima on the sets of `held_out`, by set and objective, for the reported gaps
    benchmarks  tasks of lm-evaluation-harness to score the policy by; None if there are none
    """

    rule: Rule
    objectives: Mapping[int, Objective]
    held_out: Mapping[str, Mapping[int, Objective]]
    steps: int
    f_star: Mapping[str, Mapping[int, float]]
    benchmarks: Benchmarks | None = None

    def with_share_prompt(self, share_prompt: bool) -> TrainSpec:
        """Return the specification whose objectives compute a pair's prompt once, or for each response."""

        def changed(objectives: Mapping[int, Objective]) -> dict[int, Objective]:
            return {i: replace(objective, share_prompt=share_prompt) for i, objective in objectives.items()}

        held_out = {name: changed(group) for name, group in self.held_out.items()}
        return replace(self, objectives=changed(self.objectives), held_out=held_out)
