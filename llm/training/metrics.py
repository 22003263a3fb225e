"""The lines of metrics.jsonl: what a step and an evaluation say of themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llm.training.engine import Pass
from llm.training.objective import Task
from toyopt.algorithms import DPO, SFT, Controller, Maxright

NAMES = {DPO: "dpo", SFT: "sft"}


def step_line(
    control: Controller, passes: Mapping[int, Pass], looks: Mapping[int, Pass], labels: Mapping[int, str] = NAMES
) -> dict[str, Any]:
    """The objective that was trained on, the values, rewards under TRL's names, and MAXRIGHT's gaps with their ages.

    passes, looks  what was trained on, and what the rule was shown before; an objective that was not expected to be
                   chosen was shown on other rows than it was trained on, and has both values
    labels         what the values are called; "objective" says dpo for any loss on pairs
    """
    line: dict[str, Any] = {"step": control.t, "objective": "+".join(NAMES[i] for i in passes)}
    for i, p in {**looks, **passes}.items():
        line[f"f_{labels[i]}"] = p.value
        if i in looks and looks[i] is not p:
            line[f"seen_{labels[i]}"] = looks[i].value
        line |= p.task.metrics(p.sums)
    if isinstance(control.rule, Maxright):
        for i, name in labels.items():
            line |= {f"gap_{name}": control.gaps[i], f"age_{name}": control.ages[i]}
            line[f"f_{name}_star"] = control.rule.f_star[i]
    return line


def evaluation_line(
    step: int,
    where: str,
    tasks: Mapping[int, Task],
    sums: Mapping[int, dict[str, float]],
    optima: Mapping[int, float],
) -> dict[str, Any]:
    """The objectives on the set `where`, and their gaps and ideal distance as far as the optima are known."""
    line: dict[str, Any] = {"step": step, "evaluation": where}
    for i, task in tasks.items():
        line[f"f_{task.label}"] = task.value(sums[i])
        line |= task.metrics(sums[i])
        if i in optima:
            line[f"gap_{task.label}"] = line[f"f_{task.label}"] - optima[i]
    gaps = [line[f"gap_{name}"] for name in NAMES.values() if f"gap_{name}" in line]
    if len(gaps) == len(NAMES):
        line["ideal_distance"] = math.hypot(*gaps)
    return line
