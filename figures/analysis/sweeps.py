"""Grids of training runs that the figures need, as data, for each scale.

`smoke` and `embedded` train on the small embedded world. Its settings were chosen (on held-out rows of one seed) so
that the two objectives conflict: half of the preference prompts use the wording of SFT's prompts, and half of the
rejected answers have the style that SFT teaches. The artefacts `conflict` and `sensitivity` vary these settings, the
learning rate and the batch size. `real` trains SmolLM2-135M-Instruct with an exactly measurable skill as SFT set and
human preferences; its learning rate and number of steps were chosen on seed 1, and its runs have other seeds. `paper`
uses the authors' models and data with the settings of their published scripts (llm.presets). At these two scales, the
artefacts that depend on what only the embedded world has (its dials, other families) use the embedded world.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figures.artefact import Request

Spec = dict[str, Any]

PAPER_METHODS = ["sequential", "mix", "alright", "maxright"]
SMALL: dict[str, Any] = {
    "world_size": "small", "conflict": 0.5, "overlap": 0.5, "lr": 2e-3, "beta": 1.0, "batch_sft": 8,
    "batch_preference": 8, "f_star": "compute", "k": 10, "alternation": "coin",
}  # fmt: skip
EVALUATIONS = 6  # of a run beside that of its start
# Layers that LoRA adapts, with the preset's rank. Of the small GPT-NeoX they are those of the MLP: a step takes a fifth
# less time than with all linear layers, and the methods differ as clearly. With the paper's own, query_key_value and
# rank 32, five seeds differ more, and no answer of the paper's methods wins (docs/experiments.md).
TARGETS = {"neox": ["dense_h_to_4h", "dense_4h_to_h"], "llama": ["q_proj", "v_proj"], "t5": ["wi", "wo"]}
REAL_PRESET = "smollm2-135m"
# Rows longer than max_length are left out, so that no response is cut; a tenth of the pairs is held out.
REAL: dict[str, Any] = {
    "sft": "skill", "sft_rows": 400, "lr": 5e-4, "batch_sft": 4, "batch_preference": 4, "max_length": 128,
    "overflow": "drop", "held_out": 0.1, "eval_rows": 80, "f_star": "compute", "k": 10,
    "alternation": "coin",
}  # fmt: skip
GIVEN = ("sft", "preference", "reference", "precision")  # options of scale `real` that are options of a run
STEPS = {"smoke": 60, "embedded": 150, "real": 120}
SEEDS = {"smoke": 1, "embedded": 5, "real": 3, "paper": 1}
FIRST_SEED = {"smoke": 1, "embedded": 1, "real": 2, "paper": 42}
LAMS = {
    "smoke": [0.25, 0.75],
    "embedded": [0.01, 0.25, 0.5, 0.75, 0.99],
    "real": [0.25, 0.5, 0.75],
    "paper": [0.01, 0.25, 0.5, 0.75, 0.99],
}
FEW_LAMS = {"smoke": [0.5], "embedded": [0.25, 0.5, 0.75], "real": [0.25, 0.5, 0.75], "paper": [0.25, 0.5, 0.75]}
# The paper's k are up to a sixth of its 6000 steps; so are ours, and one is larger.
KS = {"smoke": [1, 10, 30], "embedded": [1, 10, 30, 75], "real": [1, 10, 50], "paper": [1, 10, 100, 1000]}
BLOCKS = {"smoke": [10], "embedded": [5, 25]}  # number of consecutive steps that share one draw of ALRIGHT, besides 1

# The grid of `conflict` with the usual settings.
CENTRE = f"conflict {SMALL['conflict']:g} overlap {SMALL['overlap']:g}"

# Shares of the first objective in Replay's second stage; one of them is in `others` at every scale.
REPLAY_SHARE = 0.05
REPLAY_SHARES = {"smoke": [0.05, 0.2], "embedded": [0.01, 0.05, 0.2], "real": [0.01, 0.05, 0.2]}


def seeds(request: Request) -> list[int]:
    """Return the training seeds: consecutive integers, as many as requested or as usual at the scale."""
    count = request.seeds or SEEDS[request.scale]
    return [FIRST_SEED[request.scale] + request.seed + i for i in range(count)]


def grid(
    request: Request, methods: list[str], *, preset: str = "pythia-1b", measures: Any = (), **options: Any
) -> Spec:
    """Return the specification of a grid of `methods` at the requested scale.

    preset    the preset at scale `paper`; `real` has its own, the other scales use `embedded`
    measures  measures of the finished runs
    options   options of TrainConfig, or the axes lams, orders, ks
    """
    axes: Spec = {axis: options.pop(axis) for axis in ("lams", "orders", "ks") if axis in options}
    spec: Spec = {"methods": methods, "seeds": seeds(request), "measures": list(measures), **axes}
    if request.scale == "paper":
        return spec | {"preset": preset, "options": {"f_star": "compute", **options}}
    steps = STEPS[request.scale]
    if request.scale == "real":
        own = REAL | {"steps": steps, "eval_every": steps // 2, "save_every": steps // 4} | _sets(request)
        return spec | {"preset": REAL_PRESET, "options": own | options}
    targets = TARGETS[options.get("world_family", "neox")]
    every = {"eval_every": steps // EVALUATIONS, "optima_every": steps // EVALUATIONS}
    own = SMALL | every | {"lora_targets": targets, "steps": steps, "save_every": steps}
    return spec | {"preset": "embedded", "options": own | options}


def _sets(request: Request) -> dict[str, Any]:
    """Return the user's options for runs at scale `real`; of an SFT set that is not the skill's all rows."""
    given = {name: getattr(request, name) for name in GIVEN if getattr(request, name)}
    return given | ({"sft_rows": 0} if given.get("sft", "skill").partition(":")[0] != "skill" else {})


def embedded(request: Request) -> Request:
    """Return the request at scale `embedded` instead of `real` or `paper`, for artefacts of the embedded world."""
    return request.at("embedded") if request.scale in ("real", "paper") else request


def joint(request: Request) -> Spec:
    """Return the grid of Mix, ALRIGHT and MAXRIGHT for all λ; at small scales the order does not affect these."""
    return grid(request, ["mix", "alright", "maxright"], lams=LAMS[request.scale], orders=["dpo-sft"])


def sequential(request: Request, order: str) -> Spec:
    """Return the grid of Sequential for all λ in one order."""
    return grid(request, ["sequential"], lams=LAMS[request.scale], orders=[order])


def in_order(request: Request, order: str) -> dict[str, Spec]:
    """Return the grids of Figure 3 (DPO first) or Figure 7 (SFT first)."""
    if request.scale == "paper":  # the reference model, and with it f_DPO, depends on the order
        return {"all": grid(request, PAPER_METHODS, lams=LAMS["paper"], orders=[order])}
    return {"sequential": sequential(request, order), "joint": joint(request)}


def one_lam(request: Request) -> dict[str, Spec]:
    """Return the grid of Figure 1."""
    return {"all": grid(request, PAPER_METHODS, lams=[0.5], orders=["dpo-sft"])}


def stale(request: Request) -> dict[str, Spec]:
    """Return the grids of Figure 4: MAXRIGHT for all k, and Sequential and ALRIGHT for comparison."""
    often: Spec = {}
    if request.scale in ("smoke", "embedded"):  # often enough, and not a divisor of k, to show an oscillation
        often = {"eval_every": 7}
    return {
        "k": grid(request, ["maxright"], lams=[0.5], ks=KS[request.scale], orders=["dpo-sft"], **often),
        "others": grid(request, ["sequential", "alright"], lams=[0.5], orders=["dpo-sft"], **often),
    }


def llama(request: Request) -> dict[str, Spec]:
    """Return the grid of Figure 8: the Llama family, adapters on q and v, SFT first.

    Gradient checkpointing, as in the paper, is left to scale `paper`: it saves memory, and the numbers are the same.
    """
    request = request if request.scale == "paper" else embedded(request)
    lams = FEW_LAMS[request.scale]
    if request.scale == "paper":
        return {"all": grid(request, PAPER_METHODS, preset="llama3-8b", lams=lams, orders=["sft-dpo"])}
    return {"all": grid(request, PAPER_METHODS, lams=lams, orders=["sft-dpo"], world_family="llama")}


def judged(request: Request) -> dict[str, Spec]:
    """Return the grids of Table 1, whose finished adapters answer prompts and multiple-choice questions.

    The embedded world has its own questions and judge. At scale `real` these are `benchmarks_of`. At scale `paper` the
    questions are MMLU's, the judge is a language model at an endpoint that environment variables name (llm.judging),
    and all methods have SFT first, as in the paper.
    """
    lams, measures = FEW_LAMS[request.scale], benchmarks_of(request)
    if request.scale == "paper":
        own: Spec = {"preset": "llama3-8b", "measures": measures}
        return {"all": grid(request, PAPER_METHODS, lams=lams, orders=["sft-dpo"], **own)}
    return {
        "dpo_first": grid(request, PAPER_METHODS, lams=lams, orders=["dpo-sft"], measures=measures),
        "sft_first": grid(request, ["sequential"], lams=lams, orders=["sft-dpo"], measures=measures),
    }


def others(request: Request) -> dict[str, Spec]:
    """Return the grids of the baselines: replay, SimPO after SFT, ORPO on the pairs alone, the mean of two adapters.

    At scale `real` replay has several shares.
    """
    measures = [] if request.scale == "paper" else benchmarks_of(request)
    common: Spec = {"measures": measures} if measures else {}
    shared: Spec = {"lams": [0.5], "orders": ["dpo-sft"], **common}
    shares = REPLAY_SHARES["real"] if request.scale == "real" else []
    return {
        "average": grid(request, ["sequential"], average=True, **shared),
        "simpo": grid(
            request, ["sequential"], lams=[0.5], orders=["sft-dpo"], preference_loss="simpo", simpo_beta=2.0, **common
        ),
        "orpo": grid(request, ["sequential"], lams=[1.0], orders=["dpo-sft"], preference_loss="orpo", **common),
        "ours": grid(request, PAPER_METHODS, **shared),
        "replay": grid(request, ["replay"], replay=REPLAY_SHARE, **shared),
        **{f"replay {p:g}": grid(request, ["replay"], replay=p, **shared) for p in shares if p != REPLAY_SHARE},
        "sft_first": grid(request, ["sequential"], lams=[0.5], orders=["sft-dpo"], **common),
    }


def replayed(request: Request) -> dict[str, Spec]:
    """Return the grids of Sequential and of Replay with several shares, named by the share; λ = 1/2, DPO first."""
    request = embedded(request) if request.scale == "paper" else request
    shared: Spec = {"lams": [0.5], "orders": ["dpo-sft"]}
    grids = {f"{p:g}": grid(request, ["replay"], replay=p, **shared) for p in REPLAY_SHARES[request.scale]}
    return {"0": grid(request, ["sequential"], **shared)} | grids


def measures_of(request: Request) -> list[str]:
    """Return the measures of the real model's runs: the skill, if the runs train on it."""
    return ["skill"] if (request.sft or "skill").partition(":")[0] == "skill" else []


def benchmarks_of(request: Request) -> list[str]:
    """Return the measures that Table 1 needs at the requested scale.

    At scale `real` these are the skill, MMLU if its files are given, XSTest if its prompts are, and win rates if the
    environment names a judge.
    """
    if request.scale != "real":
        return ["answers", "questions"]
    from llm.judging.world import is_judge_named
    from llm.study.measures import with_options

    measures = measures_of(request)
    if request.mmlu:
        measures.append(with_options("questions", mmlu=_place(request.mmlu), limit=request.mmlu_questions))
    if request.xstest:
        measures.append(with_options("refusals", prompts=_place(request.xstest), limit=request.xstest_prompts))
    return [*measures, *(["answers"] if is_judge_named() else [])]


def _place(given: str) -> str:
    """Return the absolute path of a file or folder; the word `hub` unchanged."""
    from llm.common.contents import HUB

    return given if given == HUB else str(Path(given).expanduser().absolute())


def conflict(request: Request) -> dict[str, Spec]:
    """Return the grids of the four methods for several values of label conflict and prompt overlap."""
    request = embedded(request)
    dials = [(0.0, 0.5), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)]
    dials = dials[:3] if request.scale == "smoke" else dials
    return {
        f"conflict {c:g} overlap {o:g}": grid(
            request, PAPER_METHODS, lams=[0.5], orders=["dpo-sft"], conflict=c, overlap=o
        )
        for c, o in dials
    }


def sensitivity(request: Request) -> dict[str, Spec]:
    """Return the grids with half and twice the learning rate and batch sizes, and other alternations of ALRIGHT."""
    request = embedded(request)
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
    grids = {name: grid(request, methods, lams=[0.5], orders=["dpo-sft"], **changes[name]) for name in kept}
    own: dict[str, dict[str, Any]] = {"even": {"alternation": "even"}}
    own |= {f"blocks of {n}": {"block": n} for n in BLOCKS[request.scale]}
    return grids | {name: grid(request, ["alright"], lams=[0.5], orders=["dpo-sft"], **o) for name, o in own.items()}


def curved(request: Request) -> dict[str, Spec]:
    """Return the grid of runs that keep intermediate adapters, whose curvature is measured."""
    request = embedded(request)
    keep = STEPS[request.scale] // 5
    return {
        "all": grid(request, PAPER_METHODS, lams=[0.5], orders=["dpo-sft"], keep_every=keep, measures=["curvature"])
    }


def cosines(request: Request) -> dict[str, Spec]:
    """Return the grids of Sequential for the settings of `conflict`, whose objectives' gradients are compared.

    All are runs of `conflict`, but for those at the centre, which are of `curved`: these keep intermediate adapters.
    """
    own: Spec = {"methods": ["sequential"], "measures": ["cosine"]}
    grids = {name: spec | own for name, spec in conflict(request).items()}
    return grids | {CENTRE: curved(request)["all"] | own}


def encoder_decoder(request: Request) -> dict[str, Spec]:
    """Return the grid of the encoder-decoder family."""
    request = embedded(request)
    return {"all": grid(request, PAPER_METHODS, lams=[0.5], orders=["dpo-sft"], world_family="t5")}
