"""Grids of the artefacts `real` and `chat`, which train the real model.

`real` teaches a skill that is measured exactly (settings in figures.analysis.sweeps). `chat` has sets of the paper's
kinds, alpaca-gpt4 and HH-RLHF: SFT teaches to answer whatever is asked, and the preferences are for answers that do no
harm. Its batches, β, learning rate and LoRA are those of the preset; the number of steps and the longest row were fixed
before the first run, and seed 1 was looked at before the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from figures.analysis.sweeps import LAMS, REAL_PRESET, REPLAY_SHARES, STEPS, grid, measures_of, seeds

if TYPE_CHECKING:
    from figures.analysis.sweeps import Spec
    from figures.artefact import Request

CHAT_STEPS = 100
# Rows longer than max_length are left out, so that no response is cut.
CHAT: dict[str, Any] = {
    "max_length": 256, "overflow": "drop", "held_out": 0.15, "eval_rows": 240, "eval_every": CHAT_STEPS // 2,
    "save_every": CHAT_STEPS // 4, "steps": CHAT_STEPS, "f_star": "estimate", "alternation": "coin",
    "precision": "bf16",
}  # fmt: skip
SFT_REFERENCE = "SFT reference"  # in the names of runs whose reference is not the base
COMPUTED = "computed f*"  # in the names of runs whose optima are computed


def real(request: Request) -> dict[str, Spec]:
    """Return the grids of the real model: Sequential in both orders and replay with λ = 1/2, and the joint methods.

    Those are trained with λ = 1/2 first, then, in grids named by it, with every other λ. Replay repeats SFT in the
    second stage, for several shares. MAXRIGHT estimates f* on the way, its default; last, it is tried with computed
    f* as well, which are two further runs of a seed. Unless the request names a reference, DPO's other usual one
    is tried, too: the model after as many steps of SFT as Sequential takes.
    """
    common: Spec = {"lams": [0.5], "measures": measures_of(request), "f_star": "estimate"}
    first, second = ["sft-dpo"], ["dpo-sft"]
    names = {0.5: "joint"} | {lam: f"joint {lam:g}" for lam in LAMS["real"] if lam != 0.5}
    grids = {
        replay_label(0.0): grid(request, ["sequential"], orders=first, **common),
        "Sequential, DPO first": grid(request, ["sequential"], orders=second, **common),
        **{
            replay_label(share): grid(request, ["replay"], orders=first, replay=share, **common)
            for share in REPLAY_SHARES["real"]
        },
        **{
            name: grid(request, ["mix", "alright", "maxright"], orders=second, **common | {"lams": [lam]})
            for lam, name in names.items()
        },
    }
    computed = {f"joint, {COMPUTED}": grid(request, ["maxright"], orders=second, **common | {"f_star": "compute"})}
    if request.reference:
        return grids | computed
    other: Spec = common | {"reference": "sft", "reference_steps": STEPS["real"] // 2}
    return {
        **grids,
        f"{replay_label(0.0)}, {SFT_REFERENCE}": grid(request, ["sequential"], orders=first, **other),
        f"joint, {SFT_REFERENCE}": grid(request, ["alright", "maxright"], orders=second, **other),
        **computed,
        f"joint, {COMPUTED}, {SFT_REFERENCE}": grid(
            request, ["maxright"], orders=second, **other | {"f_star": "compute"}
        ),
    }


def real_label(grid: str, method: str) -> str:
    """Return the printed name of a run of `real`: that of its grid, or of its method in a grid of several.

    λ = 1/2, the base as reference and estimated f* are not named.
    """
    if not grid.startswith("joint"):
        return grid
    rest = grid.removeprefix("joint")
    return f"{method}, λ = {rest.strip()}" if rest.startswith(" ") else f"{method}{rest}"


def is_usual(label: str) -> bool:
    """Return whether a run of this name has λ = 1/2, the base as reference, and f* estimated where it is needed."""
    return not any(part in label for part in ("λ", SFT_REFERENCE, COMPUTED))


def replay_label(share: float) -> str:
    """Return the printed name of the real model's runs with a share of replay in the second stage, SFT first."""
    return f"Replay {share:.0%}, SFT first" if share else "Sequential, SFT first"


def chat(request: Request) -> dict[str, Spec]:
    """Return the grids of scale `real` with λ = 1/2: Sequential in both orders, Replay of a fifth, joint methods."""
    given = {name: getattr(request, name) for name in ("preference", "reference", "precision")}
    given["sft"] = request.chat
    options = CHAT | {name: value for name, value in given.items() if value}
    common: Spec = {
        "preset": REAL_PRESET, "options": options, "lams": [0.5], "seeds": seeds(request), "measures": [],
    }  # fmt: skip
    first, second = ["sft-dpo"], ["dpo-sft"]
    replay = max(REPLAY_SHARES["real"])
    return {
        "Sequential, DPO first": {**common, "methods": ["sequential"], "orders": second},
        "Sequential, SFT first": {**common, "methods": ["sequential"], "orders": first},
        f"Replay {replay:.0%}, DPO first": {
            **common, "methods": ["replay"], "orders": second, "options": options | {"replay": replay},
        },
        "joint": {**common, "methods": ["mix", "alright", "maxright"], "orders": second},
    }  # fmt: skip


def chat_label(grid: str, method: str) -> str:
    """Return the printed name of a run of `chat`: the name of its grid, or of its method in the grid of several."""
    return method if grid == "joint" else grid
