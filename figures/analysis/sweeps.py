"""The runs that the figures are made of, as data: which grids at which scale.

`smoke` and `embedded` train on the small embedded world. Its settings were chosen (on held-out rows of one seed) so
that the objectives contend: half of the preference prompts are worded as SFT's prompts are, and half of the rejected
answers are in the manner that SFT teaches. How the picture changes with both dials, the learning rate and the batch is
what the artefacts `conflict` and `sensitivity` are about. `paper` stands for the authors' models and data, with the
settings of their published scripts (llm.presets); what goes beyond the paper is of the embedded world there, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figures.artefact import Request

Spec = dict[str, Any]

ALL = ["sequential", "mix", "alright", "maxright"]
SMALL: dict[str, Any] = {
    "world_size": "small", "conflict": 0.5, "overlap": 0.5, "lr": 2e-3, "beta": 1.0, "batch_sft": 8,
    "batch_preference": 8, "f_star": "compute", "k": 10,
}  # fmt: skip
STEPS = {"smoke": 60, "embedded": 150}
SEEDS = {"smoke": 1, "embedded": 3, "paper": 1}
LAMS = {
    "smoke": [0.25, 0.75],
    "embedded": [0.01, 0.25, 0.5, 0.75, 0.99],
    "paper": [0.01, 0.25, 0.5, 0.75, 0.99],
}
FEW_LAMS = {"smoke": [0.5], "embedded": [0.25, 0.5, 0.75], "paper": [0.25, 0.5, 0.75]}
# The paper's are up to a sixth of its 6000 steps; so here, and one larger still.
KS = {"smoke": [1, 10, 30], "embedded": [1, 10, 30, 75], "paper": [1, 10, 100, 1000]}
BLOCKS = {"smoke": [10], "embedded": [5, 25]}  # steps for which ALRIGHT's draw holds, besides 1


def seeds(request: Request) -> list[int]:
    """As many as were asked for, from the first."""
    count = request.seeds or SEEDS[request.scale]
    first = 42 if request.scale == "paper" else 1
    return [first + request.seed + i for i in range(count)]


def grid(
    request: Request, methods: list[str], *, preset: str = "pythia-1b", measures: Any = (), **options: Any
) -> Spec:
    """A grid of `methods` at the scale; `options` are TrainConfig's, or the axes lams, orders, ks.

    preset  of the scale `paper`
    """
    axes: Spec = {axis: options.pop(axis) for axis in ("lams", "orders", "ks") if axis in options}
    spec: Spec = {"methods": methods, "seeds": seeds(request), "measures": list(measures), **axes}
    if request.scale == "paper":
        return spec | {"preset": preset, "options": {"f_star": "compute", **options}}
    steps = STEPS[request.scale]
    own = SMALL | {"steps": steps, "eval_every": steps // 6, "save_every": steps}
    return spec | {"preset": "embedded", "options": own | options}


def _embedded(request: Request) -> Request:
    """The same at the scale `embedded`, where the paper's is asked for."""
    return replace(request, scale="embedded") if request.scale == "paper" else request


def joint(request: Request) -> Spec:
    """Mix, ALRIGHT and MAXRIGHT for all λ; the order of the objectives does not matter to them at the small scales."""
    lams = LAMS[request.scale]
    return grid(request, ["mix", "alright", "maxright"], lams=lams, orders=["dpo-sft"])


def sequential(request: Request, order: str) -> Spec:
    """Sequential for all λ in one order."""
    return grid(request, ["sequential"], lams=LAMS[request.scale], orders=[order])


def in_order(request: Request, order: str) -> dict[str, Spec]:
    """The grids of Figure 3 (DPO first) or Figure 7 (SFT first)."""
    if request.scale == "paper":  # whose reference, and with it f_DPO, depends on what comes first
        return {"all": grid(request, ALL, lams=LAMS["paper"], orders=[order])}
    return {"sequential": sequential(request, order), "joint": joint(request)}


def one_lam(request: Request) -> dict[str, Spec]:
    """The grid of Figure 1."""
    return {"all": grid(request, ALL, lams=[0.5], orders=["dpo-sft"])}


def stale(request: Request) -> dict[str, Spec]:
    """The grid of Figure 4: MAXRIGHT for all k, and the others to compare with."""
    often: Spec = {}
    if request.scale != "paper":  # often enough, and not in time with k, that an oscillation is seen
        often = {"eval_every": 7}
    return {
        "k": grid(request, ["maxright"], lams=[0.5], ks=KS[request.scale], orders=["dpo-sft"], **often),
        "others": grid(request, ["sequential", "alright"], lams=[0.5], orders=["dpo-sft"], **often),
    }


def llama(request: Request) -> dict[str, Spec]:
    """The grid of Figure 8: the Llama family with adapters on q and v and gradient checkpointing, SFT first."""
    lams = FEW_LAMS[request.scale]
    if request.scale == "paper":
        return {"all": grid(request, ALL, preset="llama3-8b", lams=lams, orders=["sft-dpo"])}
    own: Spec = {"world_family": "llama", "lora_targets": ["q_proj", "v_proj"], "gradient_checkpointing": True}
    return {"all": grid(request, ALL, lams=lams, orders=["sft-dpo"], **own)}


def judged(request: Request) -> dict[str, Spec]:
    """The grid of Table 1: answers and questions of the finished adapters.

    Those of the embedded world have its own questions and judge. At the scale `paper` they are MMLU's and an endpoint's
    that the environment names (llm.judging.measured), and all methods have SFT first, as in the paper.
    """
    lams, measures = FEW_LAMS[request.scale], ["answers", "questions"]
    if request.scale == "paper":
        own: Spec = {"preset": "llama3-8b", "measures": measures}
        return {"all": grid(request, ALL, lams=lams, orders=["sft-dpo"], **own)}
    return {
        "dpo_first": grid(request, ALL, lams=lams, orders=["dpo-sft"], measures=measures),
        "sft_first": grid(request, ["sequential"], lams=lams, orders=["sft-dpo"], measures=measures),
    }


def others(request: Request) -> dict[str, Spec]:
    """What people compare with: SimPO after SFT, ORPO on the pairs alone, the mean of two adapters."""
    common: Spec = {"measures": ["answers", "questions"]} if request.scale != "paper" else {}
    return {
        "average": grid(request, ["sequential"], lams=[0.5], orders=["dpo-sft"], average=True, **common),
        "simpo": grid(
            request, ["sequential"], lams=[0.5], orders=["sft-dpo"], preference_loss="simpo", simpo_beta=2.0, **common
        ),
        "orpo": grid(request, ["sequential"], lams=[1.0], orders=["dpo-sft"], preference_loss="orpo", **common),
        "ours": grid(request, ALL, lams=[0.5], orders=["dpo-sft"], **common),
        "sft_first": grid(request, ["sequential"], lams=[0.5], orders=["sft-dpo"], **common),
    }


def conflict(request: Request) -> dict[str, Spec]:
    """The four methods against the dials of the embedded world: labels that contradict, and prompts that are alike."""
    request = _embedded(request)
    dials = [(0.0, 0.5), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)]
    dials = dials[:3] if request.scale == "smoke" else dials
    return {
        f"conflict {c:g} overlap {o:g}": grid(request, ALL, lams=[0.5], orders=["dpo-sft"], conflict=c, overlap=o)
        for c, o in dials
    }


def sensitivity(request: Request) -> dict[str, Spec]:
    """Half and double the learning rate and the batches; ALRIGHT's coin thrown less often, or without chance."""
    request = _embedded(request)
    lr, batch = SMALL["lr"], SMALL["batch_sft"]
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "half the learning rate": {"lr": lr / 2},
        "twice the learning rate": {"lr": lr * 2},
        "half the batches": {"batch_sft": batch // 2, "batch_preference": batch // 2},
        "twice the batches": {"batch_sft": batch * 2, "batch_preference": batch * 2},
    }
    kept = list(changes)[:3] if request.scale == "smoke" else list(changes)
    methods = ["sequential", "alright", "maxright"]  # Mix does not alternate, and costs twice as much
    found = {name: grid(request, methods, lams=[0.5], orders=["dpo-sft"], **changes[name]) for name in kept}
    own: dict[str, dict[str, Any]] = {"even": {"alternation": "even"}}
    own |= {f"blocks of {n}": {"block": n} for n in BLOCKS[request.scale]}
    return found | {name: grid(request, ["alright"], lams=[0.5], orders=["dpo-sft"], **o) for name, o in own.items()}


def curved(request: Request) -> dict[str, Spec]:
    """Runs whose adapters are kept along the way."""
    request = _embedded(request)
    keep = STEPS[request.scale] // 5
    return {"all": grid(request, ALL, lams=[0.5], orders=["dpo-sft"], keep_every=keep, measures=["curvature"])}


def encoder_decoder(request: Request) -> dict[str, Spec]:
    """An encoder-decoder model."""
    request = _embedded(request)
    return {"all": grid(request, ALL, lams=[0.5], orders=["dpo-sft"], world_family="t5")}
