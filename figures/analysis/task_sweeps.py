"""Grids of the artefacts `tasks` and `realtasks`: several tasks in a row, by every rule of any number of objectives.

All tasks have equal weights, so that Sequential gives each an equal number of steps; an evaluation follows each stage,
and the other rules are evaluated after the same steps. In the embedded world, learning rate, β and number of steps were
chosen on seed 1, so that a stage teaches its task. Those of the real model were fixed before its first run: learning
rate, β and LoRA are the preset's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from figures.analysis import sweeps
from llm.data.objective_options import parse_objectives
from llm.embedded.tasks import TASKS
from llm.skill.rows import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from figures.analysis.sweeps import Spec
    from figures.artefact import Request

MIX = "Mix"
JOINT = "joint"  # grid of the rules without stages, whose runs are named by their methods
STAGE = {"smoke": 8, "embedded": 15, "real": 40}  # number of steps for each task
SEEDS = {"smoke": 1, "embedded": 5, "real": 1}
FIRST_SEED = 2
SHARES = {"smoke": [0.3], "embedded": [0.1, 0.3], "real": [0.05, 0.2]}  # of replayed steps
SMALL: dict[str, Any] = {
    "world_size": "small", "lr": 6e-3, "beta": 1.0, "batch_sft": 8, "batch_preference": 8, "eval_rows": 30, "k": 4,
}  # fmt: skip
SMALL_ROWS = 120  # of each task: those of a stage
# Rows longer than max_length are left out, so that no response is cut.
REAL: dict[str, Any] = {
    "batch_sft": 4, "batch_preference": 4, "max_length": 256, "overflow": "drop", "bad_rows": "drop", "held_out": 0.2,
    "eval_rows": 40, "f_star": "estimate", "k": 10, "alternation": "coin",
}  # fmt: skip
REAL_TASKS = (
    "skill=sft:skill", "rows=400",
    "chat=sft:vicgalle/alpaca-gpt4", "rows=1000",
    "preferences=preference:Dahoas/rm-hh-rlhf", "rows=1000",
    "calls=sft:hiyouga/glaive-function-calling-v2-sharegpt", "rows=1000",
)  # fmt: skip


def tasks(request: Request) -> tuple[str, ...]:
    """Return the tasks as objectives of `llm`, in the first order: the world's, or at scale `real` the user's."""
    if request.scale == "real":
        return request.tasks or REAL_TASKS
    named = ((f"{name}={task.kind}:embedded:{name}", f"rows={SMALL_ROWS}") for name, task in TASKS.items())
    return tuple(text for texts in named for text in texts)


def in_a_row(request: Request) -> dict[str, Spec]:
    """Return the grids by label: Sequential in two orders, Replay with several shares in the first, and `JOINT`.

    At scale `real` a step of Mix takes a fourth of the batch of each of four tasks, and so as many rows as a step of
    the others; its grid is then `MIX`.
    """
    real = request.scale == "real"
    request = request if real else sweeps.embedded(request)
    objectives = tasks(request)
    tables = parse_objectives(objectives)
    names = [table.name for table in tables]
    stage = STAGE[request.scale]
    options = {
        **(REAL if real else SMALL), "objective": list(objectives), "steps": stage * len(names), "eval_every": stage,
        "save_every": stage if real else stage * len(names),
    }  # fmt: skip
    if real and request.precision:
        options["precision"] = request.precision
    common: Spec = {
        "preset": sweeps.REAL_PRESET if real else "embedded",
        "seeds": [FIRST_SEED + request.seed + i for i in range(request.seeds or SEEDS[request.scale])],
        "measures": ["skill"] if any(seed_of(table.source) is not None for table in tables) else [],
    }

    def grid(methods: list[str], order: list[str], **more: Any) -> Spec:
        return {**common, "methods": methods, "orders": ["-".join(order)], "options": options | more}

    return {
        "Sequential": grid(["sequential"], names),
        "Sequential, reversed": grid(["sequential"], names[::-1]),
        **{f"Replay {p:.0%}": grid(["replay"], names, replay=p) for p in SHARES[request.scale]},
        **(
            _joint_real(grid, names)
            if real
            else {JOINT: grid(["mix", "alright", "maxright"], names, mix_one_graph=True)}
        ),
    }


def _joint_real(grid: Callable[..., Spec], names: list[str]) -> dict[str, Spec]:
    """Return the grids of the real model's rules without stages; Mix's batches are divided by the number of tasks."""
    rows = {name: max(1, REAL[name] // len(names)) for name in ("batch_sft", "batch_preference")}
    return {MIX: grid(["mix"], names, **rows), JOINT: grid(["alright", "maxright"], names)}
