"""Figure 6: how alike the responses are where the prompts of both sets are closest (arXiv 2410.15483v3)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import sweeps
from figures.artefact import Artefact, Check, Data, Request, equal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRESET = "pythia-1b"  # at scale `paper`: whose sets, and whose token embeddings
TOP = {"smoke": 40, "embedded": 100, "paper": 100}
COSINES = ("prompts", "chosen_target", "rejected_target", "chosen_rejected")
LABELS = {
    "prompts": "both prompts",
    "chosen_target": "chosen and SFT's response",
    "rejected_target": "rejected and SFT's response",
    "chosen_rejected": "chosen and rejected",
}
# None of them is a method, and none has a method's looks.
LOOKS: dict[str, dict[str, Any]] = {
    "prompts": {"marker": "_", "color": "#1a1a1a"},
    "chosen_target": {"marker": "o", "color": "#56B4E9"},
    "rejected_target": {"marker": "x", "color": "#A5558C"},
    "chosen_rejected": {"marker": "+", "color": "#767676"},
}
TEXTS = {
    "prompt": "preference prompt",
    "chosen": "chosen",
    "rejected": "rejected",
    "sft_prompt": "SFT prompt",
    "target": "SFT response",
}
EMBEDDERS = {"token": "mean of token embeddings"}
WIDTH, LINES = 40, 3  # of a text as it is shown


def parameters(request: Request) -> dict[str, Any]:
    """Sets and embedder. The embedded world's base is there as soon as one run is, so one is asked for."""
    common = {"embedder": "token", "top": TOP[request.scale]}
    if request.scale == "paper":
        return common | {"preset": PRESET, "options": {}}
    spec = {**sweeps.one_lam(request)["all"], "methods": ["mix"]}
    grid = {**spec, "seeds": spec["seeds"][:1]}
    return common | {"preset": grid["preset"], "options": grid["options"], "grids": {"base": grid}}


def compute(parameters: dict[str, Any]) -> Data:
    """The cosines of the closest pairs in falling order, with their texts.

    RuntimeError in one line if the sets or the model cannot be read.
    """
    try:
        found = _similar(parameters)
    except (FileNotFoundError, ValueError, TypeError, OSError) as error:
        raise RuntimeError(f"the sets cannot be compared: {' '.join(str(error).split())}") from error
    pairs = found["pairs"]
    table = {"rank": np.arange(1, len(pairs) + 1)}
    table |= {name: np.array([pair[name] for pair in pairs]) for name in (*COSINES, "preference_row", "sft_row")}
    table |= {name: np.array([pair[name] for pair in pairs]) for name in TEXTS}
    same = int(np.sum(table["prompt"] == table["sft_prompt"]))
    return Data(
        table=table,
        facts={
            "scale": str(parameters["preset"]) if parameters["preset"] != "embedded" else _world(parameters),
            "embedder": found["embedder"],
            "sft": found["sft"],
            "preference": found["preference"],
            "preference_prompts": found["prompts"],
            "closest_mean": found["mean"],
            "pairs": len(pairs),
            "pairs_with_the_same_prompt": same,
            **{f"mean_{name}": float(table[name].mean()) for name in COSINES},
        },
        checks=_judge(table),
    )


def _similar(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What llm.similarity finds: in the embedded world, or in the sets that the preset names."""
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
    options = parameters["options"]
    return f"embedded world ({options['world_size']}), overlap {options['overlap']:g}, conflict {options['conflict']:g}"


def _judge(table: Mapping[str, np.ndarray]) -> tuple[Check, ...]:
    """What must be true of cosines, whatever the sets: their range, their order, and that the same text gives 1."""
    cosines = np.concatenate([table[name] for name in COSINES])
    beyond = float(np.max(np.abs(cosines), initial=0.0)) - 1.0
    rises = float(np.max(np.diff(table["prompts"]), initial=0.0))
    same = table["prompts"][table["prompt"] == table["sft_prompt"]]
    apart = float(np.max(np.abs(1.0 - same), initial=0.0))
    return (
        equal("range", "no cosine is beyond 1, within 1e-6", 0.0, max(0.0, beyond), tolerance=1e-6),
        equal("order", "the pairs come with falling cosines of their prompts, exactly", 0.0, rises, tolerance=0.0),
        equal("same", "prompts with the same text have the cosine 1, within 1e-6", 0.0, apart, tolerance=1e-6),
    )


def draw(data: Data) -> Figure:
    """Cosines over the rank of the pair on the left; one pair in words on the right."""
    from matplotlib.figure import Figure

    from figures.drawing import style

    figure = Figure(figsize=(style.PAGE, 3.9))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    _draw_cosines(left, data)
    place = example(data)
    left.axvline(data.table["rank"][place], color=style.QUIET, linewidth=0.8, linestyle=":", zorder=1)
    left.set_title("(a) the closest pairs")
    _draw_pair(right, data, place)
    handles = left.get_lines()[: len(COSINES)]
    style.legend_above(figure, handles, [LABELS[name] for name in COSINES])
    kind = str(data.facts["embedder"])
    what = f"{data.facts['scale']}; {EMBEDDERS.get(kind, kind)}; {data.facts['preference_prompts']} preference prompts"
    figure.supxlabel(what, fontsize=7.0, color=style.QUIET)
    return figure


def example(data: Data) -> int:
    """The place of the pair that is shown in words: the closest one whose prompts are not the same text, if any."""
    differ = np.flatnonzero(data.table["prompt"] != data.table["sft_prompt"])
    return int(differ[0]) if len(differ) else 0


def _draw_cosines(ax: Axes, data: Data) -> None:
    """A mark a pair; lines are the means."""
    for name in COSINES:
        looks = {**LOOKS[name], "linestyle": "", "markersize": 4.0, "markeredgewidth": 1.0}
        ax.plot(data.table["rank"], data.table[name], **looks)
    for name in COSINES:
        ax.axhline(data.table[name].mean(), color=LOOKS[name]["color"], linewidth=0.9, zorder=1)
    low = min(float(data.table[name].min()) for name in COSINES)
    ax.set_ylim(math.floor(10.0 * (low - 0.02)) / 10.0, 1.02)
    ax.set_xlabel("pair of prompts, the closest first")
    ax.set_ylabel("cosine")


def _draw_pair(ax: Axes, data: Data, place: int) -> None:
    """One pair's texts, cut to a few lines, and its cosines."""
    from figures.drawing import style

    ax.set_axis_off()
    ax.set_title(f"(b) pair {data.table['rank'][place]}")
    y = 0.97
    for name, label in TEXTS.items():
        text = cut(str(data.table[name][place]))
        ax.text(0.0, y, label, fontsize=7.5, color=style.QUIET, va="top", transform=ax.transAxes)
        ax.text(0.0, y - 0.052, text, fontsize=8.0, va="top", transform=ax.transAxes, parse_math=False)
        y -= 0.052 * (text.count("\n") + 2) + 0.045


def cut(text: str) -> str:
    """A text in a few short lines, with signs that the figure's font has."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in " ".join(text.split()))
    return "\n".join(textwrap.wrap(plain, WIDTH, max_lines=LINES, placeholder=" ...")) or "(nothing)"


ARTEFACT = Artefact(
    name="fig6",
    title="Nearly the same prompts, and what both sets want to be said: the closest pairs",
    paper="Figure 6",
    cost="seconds, after one run",
    caption=(
        "For every prompt of the preference set the closest prompt of the SFT set was looked for; these are the pairs "
        "with the largest cosine. (a) For each pair the cosines of both prompts, of either response of the preference "
        "set with the SFT set's response, and of the chosen with the rejected response; lines are means. Where the "
        "prompts are close and the chosen response is far from SFT's, the objectives ask for different things. A text "
        "is embedded as the mean of its tokens' input embeddings, which knows no order of words, and cosines of "
        "unrelated texts are not 0 in it: what counts is how the kinds of marks lie to each other. (b) One pair in "
        "words, long texts cut: the closest whose prompts are not the same text (dotted in (a)), if there is one."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
