"""Figure 6: similarity of the responses where the prompts of both sets are closest (arXiv 2410.15483v3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from figures.analysis import sweeps
from figures.artefact import Artefact, Check, Data, Request, equal
from figures.drawing.fig6 import draw

PRESET = "pythia-1b"  # at scale `paper`: the preset whose sets and token embeddings are compared
TOP = {"smoke": 40, "embedded": 100, "real": 100, "paper": 100}
COSINES = ("prompts", "chosen_target", "rejected_target", "chosen_rejected")
TEXTS = ("prompt", "chosen", "rejected", "sft_prompt", "target")


def parameters(request: Request) -> dict[str, Any]:
    """Return the sets and the embedder; one run is requested because it creates the embedded world's base model."""
    common = {"embedder": "token", "top": TOP[request.scale]}
    if request.scale == "paper":
        return common | {"preset": PRESET, "options": {}}
    if request.scale == "real":
        spec = sweeps.one_lam(request)["all"]
        return common | {"preset": spec["preset"], "options": spec["options"]}
    spec = {**sweeps.one_lam(request)["all"], "methods": ["mix"]}
    grid = {**spec, "seeds": spec["seeds"][:1]}
    return common | {"preset": grid["preset"], "options": grid["options"], "grids": {"base": grid}}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the cosines of the closest pairs in descending order, with their texts.

    Raises RuntimeError with a message of one line if the sets or the model cannot be read.
    """
    try:
        similar = _similarity(parameters)
    except (FileNotFoundError, ValueError, TypeError, OSError) as error:
        raise RuntimeError(f"the sets cannot be compared: {' '.join(str(error).split())}") from error
    pairs = similar["pairs"]
    table = {"rank": np.arange(1, len(pairs) + 1)}
    table |= {
        name: np.array([pair[name] for pair in pairs]) for name in (*COSINES, "preference_row", "sft_row", *TEXTS)
    }
    return Data(
        table=table,
        facts={
            "scale": str(parameters["preset"]) if parameters["preset"] != "embedded" else _world(parameters),
            "embedder": similar["embedder"],
            "sft": similar["sft"],
            "preference": similar["preference"],
            "preference_prompts": similar["prompts"],
            "closest_mean": similar["mean"],
            "pairs": len(pairs),
            "pairs_with_the_same_prompt": int(np.sum(table["prompt"] == table["sft_prompt"])),
            **{f"mean_{name}": float(table[name].mean()) for name in COSINES},
        },
        checks=_checks(table),
    )


def _similarity(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of llm.evaluation.similarity for the embedded world, or for the sets of the preset."""
    from llm.common.progress import calm
    from llm.config import TrainConfig
    from llm.evaluation.similarity import SimilarityConfig, similar_embedded, similarity

    calm()
    config = TrainConfig.preset(parameters["preset"], **parameters["options"])
    if config.model == "embedded":
        return similar_embedded(config, embedder=parameters["embedder"], top=parameters["top"])
    names = (
        "sft", "preference", "model", "sft_split", "preference_split", "sft_format", "preference_format",
        "sft_columns", "preference_columns", "sft_rows", "preference_rows", "bad_rows", "remote_code",
    )  # fmt: skip
    own = {name: getattr(config, name) for name in names}
    chosen = SimilarityConfig(**own, embedder=parameters["embedder"], top=parameters["top"])
    return similarity(chosen, quiet=True)


def _world(parameters: Mapping[str, Any]) -> str:
    """Return size, overlap and conflict of the embedded world as text."""
    options = parameters["options"]
    return f"embedded world ({options['world_size']}), overlap {options['overlap']:g}, conflict {options['conflict']:g}"


def _checks(table: Mapping[str, np.ndarray]) -> tuple[Check, ...]:
    """Check properties of cosines that hold for all sets: their range, their order, and 1 for equal texts."""
    cosines = np.concatenate([table[name] for name in COSINES])
    beyond = float(np.max(np.abs(cosines), initial=0.0)) - 1.0
    rises = float(np.max(np.diff(table["prompts"]), initial=0.0))
    same = table["prompts"][table["prompt"] == table["sft_prompt"]]
    apart = float(np.max(np.abs(1.0 - same), initial=0.0))
    return (
        equal("range", "no cosine exceeds 1 in absolute value, within 1e-6", 0.0, max(0.0, beyond), tolerance=1e-6),
        equal("order", "the cosines of the prompts never increase with the rank", 0.0, rises, tolerance=0.0),
        equal("same", "prompts with the same text have cosine 1, within 1e-6", 0.0, apart, tolerance=1e-6),
    )


ARTEFACT = Artefact(
    name="fig6",
    title="The closest pairs of prompts, and the different responses that both sets ask for",
    paper="Figure 6",
    cost="seconds, after one run",
    seconds=5.0,
    caption=(
        "For every prompt of the preference set, the closest prompt of the SFT set was determined; shown are the "
        "pairs with the largest cosine. (a) For each pair the cosine of both prompts, that of each response of the "
        "preference set with the SFT set's response, and that of the chosen with the rejected response; lines are "
        "means. Where the prompts are close and the chosen response is far from SFT's, the objectives ask for "
        "different responses. A text is embedded as the mean of its tokens' input embeddings, which ignores the "
        "order of words, and cosines of unrelated texts are not 0 in this embedding: compare the kinds of marks with "
        "each other. (b) The texts of one pair, long texts cut: the closest pair with two different prompts (dotted "
        "in (a)), if there is one."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
