"""Figure 2: the toy illustration (arXiv 2410.15483v3, section 3.1 and App. D.1), in weight space and in loss space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, lower, upper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EVERY = 10  # steps between the recorded iterates
SEEDS = {"smoke": 10, "embedded": 100, "paper": 1000}
SHOWN = 30  # coins whose paths are drawn
GOOD = 0.25  # a region counts as good for both where both objectives are below this
X_RANGE, Y_RANGE = (-11.5, 11.5), (-12.5, 15.5)
COLUMNS = ("Sequential", "ALRIGHT", "MAXRIGHT")


def parameters(request: Request) -> dict[str, Any]:
    """The settings of App. D.1 (reconstructed) and the coins' seeds."""
    from dataclasses import asdict

    from toyopt.examples import Figure2

    return asdict(Figure2()) | {
        "seed": request.seed,
        "seeds": request.seeds or SEEDS[request.scale],
        "record_every": EVERY,
        "grid": [*X_RANGE, *Y_RANGE, 121],
        "good": GOOD,
    }


def compute(parameters: dict[str, Any]) -> Data:
    """All four paths, the contours and optima behind them, and what the prose says of them."""
    from toyopt import Alright, Constant, Maxright, Mix, ideal_point, minimise, simulate
    from toyopt.examples import Figure2

    names = (
        "start",
        "alpha",
        "weight_decay",
        "reference_steps",
        "sequential_steps",
        "threshold",
        "joint_steps",
        "lam",
    )
    settings = Figure2(**{name: parameters[name] for name in names})
    problem, ideal = settings.problem(), ideal_point(settings.problem())
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    lam, decay = settings.lam, settings.weight_decay
    shared: dict[str, Any] = {"theta0": settings.start, "weight_decay": decay}
    step, every = Constant(settings.alpha), parameters["record_every"]
    # A first run finds where Sequential's first stage ends, so that this iterate is recorded.
    stage_end = int(simulate(problem, settings.sequential(), step, **shared).stage_ends[0, 0])
    kept = [*range(0, sum(settings.sequential_steps), every), stage_end]
    joint = shared | {"steps": settings.joint_steps, "record": every}
    runs = {
        "Sequential": simulate(problem, settings.sequential(), step, record=kept, **shared),
        "ALRIGHT": simulate(problem, Alright(lam), step, seeds=seeds, **joint),
        "MAXRIGHT": simulate(problem, Maxright(lam, tuple(ideal)), step, **joint),
        "Mix": simulate(problem, Mix(lam), step, **joint),
    }
    paths = {name: run.path() for name, run in runs.items()}
    coins = [runs["ALRIGHT"].path(r).values for r in range(len(seeds))]
    low_x, high_x, low_y, high_y, n = parameters["grid"]
    x, y = np.linspace(low_x, high_x, n), np.linspace(low_y, high_y, n)
    grid = problem.values(np.stack(np.meshgrid(x, y), axis=-1))
    optima = [minimise(problem, w, weight_decay=decay).theta for w in (1.0, 0.0, lam)]
    sequential = paths["Sequential"]
    facts, checks = _judge(
        {name: path.values for name, path in paths.items()},
        coins,
        ideal,
        turn=sequential.values[int(np.searchsorted(sequential.step, stage_end))],
        threshold=settings.threshold,
    )
    return Data(
        table={
            "method": np.concatenate([[name] * len(path.step) for name, path in paths.items()]),
            "step": np.concatenate([path.step for path in paths.values()]),
            "theta_1": np.concatenate([path.theta[:, 0] for path in paths.values()]),
            "theta_2": np.concatenate([path.theta[:, 1] for path in paths.values()]),
            "f_dpo": np.concatenate([path.values[:, 0] for path in paths.values()]),
            "f_sft": np.concatenate([path.values[:, 1] for path in paths.values()]),
        },
        extra={
            "x": x,
            "y": y,
            "grid_f_dpo": grid[..., 0],
            "grid_f_sft": grid[..., 1],
            "optima": np.stack([o for o in optima if o is not None]),
            "ideal": ideal,
            "stage_end": np.array(stage_end),
            "coin_theta": np.stack([runs["ALRIGHT"].path(r).theta[::10] for r in range(len(seeds))[:SHOWN]]),
            "coin_values": np.stack([v[::10] for v in coins[:SHOWN]]),
            "good": np.array(parameters["good"]),
        },
        facts={"sequential_stage_end": stage_end, "coins": len(seeds), **facts},
        checks=checks,
    )


def chord_deviation(values: np.ndarray) -> float:
    """The largest distance of a path in loss space from the straight line between its ends."""
    along = values[-1] - values[0]
    along = along / np.linalg.norm(along)
    away = values - values[0]
    return float(np.abs(away[:, 0] * along[1] - away[:, 1] * along[0]).max())


def _judge(
    values: dict[str, np.ndarray],
    coins: list[np.ndarray],
    ideal: np.ndarray,
    turn: np.ndarray,
    threshold: float,
) -> tuple[dict[str, float], tuple[Check, ...]]:
    """What the paper's prose says of the figure, on the recorded data; `turn` is where Sequential changes over."""
    away = {name: float(np.linalg.norm(v[-1] - ideal)) for name, v in values.items()}
    bend = {name: chord_deviation(v) for name, v in values.items()}
    coin_away = [float(np.linalg.norm(v[-1] - ideal)) for v in coins]
    coin_bend = [chord_deviation(v) for v in coins]
    start, end = values["Sequential"][0], values["Sequential"][-1]
    facts = {f"ideal_distance_{name}": d for name, d in away.items()}
    facts |= {f"chord_deviation_{name}": d for name, d in bend.items()}
    facts |= {
        "ideal_distance_ALRIGHT_min": min(coin_away),
        "ideal_distance_ALRIGHT_max": max(coin_away),
        "chord_deviation_ALRIGHT_min": min(coin_bend),
        "chord_deviation_ALRIGHT_max": max(coin_bend),
    }
    every = f"every one of {len(coins)} coins"
    checks = (
        upper(
            "dpo-learnt",
            "Sequential's first stage brings f_DPO below the threshold",
            threshold,
            float(turn[0]),
        ),
        lower("sft-sacrificed", "and leaves f_SFT worse than at the start", float(start[1]), float(turn[1])),
        lower(
            "dpo-forgotten",
            "its second stage leaves f_DPO worse than at the start",
            float(start[0]),
            float(end[0]),
        ),
        lower(
            "sequential-far",
            f"Sequential ends at least 10 times as far from the ideal point as ALRIGHT, for {every}",
            10 * max(coin_away),
            away["Sequential"],
        ),
        upper(
            "maxright-nearer",
            f"MAXRIGHT ends nearer to the ideal point than ALRIGHT, for {every}",
            min(coin_away),
            away["MAXRIGHT"],
        ),
        upper(
            "maxright-straighter",
            f"MAXRIGHT's path in loss space strays from its chord at most 0.6 times as far as ALRIGHT's, for {every}",
            0.6 * min(coin_bend),
            bend["MAXRIGHT"],
        ),
    )
    return facts, checks


def draw(data: Data) -> Figure:
    """Two rows, weight space over loss space, by three columns, with Mix as a quiet reference."""
    from matplotlib.figure import Figure

    from figures.drawing import style

    figure = Figure(figsize=(style.PAGE, 5.6))
    axes = figure.subplots(2, 3, sharex="row", sharey="row")
    paths = {
        name: {c: data.table[c][data.table["method"] == name] for c in data.table if c != "method"}
        for name in (*COLUMNS, "Mix")
    }
    for column, name in enumerate(COLUMNS):
        _draw_weights(axes[0, column], data, paths, name)
        _draw_losses(axes[1, column], data, paths, name)
        axes[0, column].set_title(f"({'abc'[column]}) {name}")
    axes[0, 0].set_ylabel(r"$\theta_2$")
    axes[1, 0].set_ylabel(r"$f_{\mathrm{SFT}}$")
    _draw_legend(figure)
    return figure


def _draw_path(ax: Axes, path: dict[str, np.ndarray], across: str, up: str, name: str, turn: int) -> None:
    """A path; Sequential's two phases differ in line style and marker filling, so that they differ in grey."""
    from figures.drawing import style

    looks = style.METHODS[name].kwargs(linewidth=1.4)
    if name != "Sequential":
        ax.plot(path[across], path[up], **looks | {"markevery": [len(path["step"]) - 1], "markersize": 6})
        return
    first, second = path["step"] <= turn, path["step"] >= turn
    ax.plot(
        path[across][first],
        path[up][first],
        **looks | {"linestyle": "-", "markevery": [int(first.sum()) - 1]},
    )
    last = [int(second.sum()) - 1]
    ax.plot(
        path[across][second],
        path[up][second],
        **looks | {"markevery": last, "markersize": 6, "markerfacecolor": "white", "markeredgecolor": looks["color"]},
    )


def _draw_coins(ax: Axes, paths: np.ndarray) -> None:
    """The paths of ALRIGHT's other coins, faint: (coins, m, 2)."""
    from figures.drawing import style

    ax.plot(paths[..., 0].T, paths[..., 1].T, color=style.METHODS["ALRIGHT"].colour, linewidth=0.4, alpha=0.25)


def _draw_weights(ax: Axes, data: Data, paths: dict[str, dict[str, np.ndarray]], name: str) -> None:
    from figures.drawing import style

    x, y, f_dpo, f_sft = (data.extra[k] for k in ("x", "y", "grid_f_dpo", "grid_f_sft"))
    levels = [0.05, 0.25, 1.0, 2.0, 4.0, 6.0]
    good = np.maximum(f_dpo, f_sft)
    ax.contourf(x, y, good, levels=[0.0, float(data.extra["good"])], colors=[style.GOOD])
    ax.contour(x, y, f_dpo, levels=levels, colors=style.CONTOUR_DPO, linewidths=0.6, linestyles="solid")
    ax.contour(x, y, f_sft, levels=levels, colors=style.CONTOUR_SFT, linewidths=0.6, linestyles="dashed")
    mix = style.METHODS["Mix"].kwargs(linewidth=0.9, marker=None)
    ax.plot(paths["Mix"]["theta_1"], paths["Mix"]["theta_2"], **mix)
    _draw_path(ax, paths[name], "theta_1", "theta_2", name, int(data.extra["stage_end"]))
    if name == "ALRIGHT":
        _draw_coins(ax, data.extra["coin_theta"])
    for (left, up), mark in zip(data.extra["optima"], style.OPTIMA.values(), strict=True):
        ax.plot(left, up, linestyle="none", zorder=6, **mark)
    ax.plot(paths[name]["theta_1"][0], paths[name]["theta_2"][0], linestyle="none", zorder=6, **style.START)
    ax.set_xlabel(r"$\theta_1$")
    ax.grid(visible=False)


def _draw_losses(ax: Axes, data: Data, paths: dict[str, dict[str, np.ndarray]], name: str) -> None:
    from figures.drawing import style

    mix = style.METHODS["Mix"].kwargs(linewidth=0.9, marker=None)
    ax.plot(paths["Mix"]["f_dpo"], paths["Mix"]["f_sft"], **mix)
    _draw_path(ax, paths[name], "f_dpo", "f_sft", name, int(data.extra["stage_end"]))
    if name == "ALRIGHT":
        _draw_coins(ax, data.extra["coin_values"])
    ax.plot(paths[name]["f_dpo"][0], paths[name]["f_sft"][0], linestyle="none", zorder=6, **style.START)
    ax.plot(*data.extra["ideal"], linestyle="none", zorder=7, clip_on=False, **style.IDEAL)
    ax.set_xlabel(r"$f_{\mathrm{DPO}}$")
    ax.set_xlim(left=-0.15)
    ax.set_ylim(bottom=-0.15)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from figures.drawing import style

    sequential = style.METHODS["Sequential"].kwargs()
    second = sequential | {"markerfacecolor": "white", "markeredgecolor": sequential["color"]}
    handles = {
        "Sequential, DPO phase": Line2D([], [], **sequential | {"linestyle": "-"}),
        "Sequential, SFT phase": Line2D([], [], **second),
        "ALRIGHT": Line2D([], [], **style.METHODS["ALRIGHT"].kwargs()),
        "MAXRIGHT": Line2D([], [], **style.METHODS["MAXRIGHT"].kwargs()),
        "Mix, for reference": Line2D([], [], **style.METHODS["Mix"].kwargs(marker=None)),
        r"contours of $f_{\mathrm{DPO}}$": Line2D([], [], color=style.CONTOUR_DPO, linewidth=0.8),
        r"contours of $f_{\mathrm{SFT}}$": Line2D([], [], color=style.CONTOUR_SFT, linewidth=0.8, linestyle="--"),
        "good for both": Patch(facecolor=style.GOOD),
        "start": Line2D([], [], linestyle="none", **style.START),
        "ideal point": Line2D([], [], linestyle="none", **style.IDEAL),
    }
    labels = (r"optimum of $f_{\mathrm{DPO}}$", r"optimum of $f_{\mathrm{SFT}}$", "optimum of their average")
    handles |= {
        label: Line2D([], [], linestyle="none", **mark)
        for label, mark in zip(labels, style.OPTIMA.values(), strict=True)
    }
    style.legend_above(figure, list(handles.values()), list(handles), columns=4)


ARTEFACT = Artefact(
    name="fig2",
    title="The toy illustration: three ways through two losses",
    paper="Figure 2",
    cost="seconds",
    caption=(
        "Top: the parameter's path over the contours of the two objectives, with the region where both are below "
        f"{GOOD:g} shaded. Bottom: the same runs in loss space. (a) Sequential learns DPO first and then unlearns it "
        "while it learns SFT, and ends far from the ideal point. (b) ALRIGHT, one coin bold and others "
        "faint, goes into the region that is good for both. (c) MAXRIGHT ends nearer to the ideal "
        "point, and its way in loss space is straighter. The dotted grey path is Mix. The optima shown are those with "
        "the weight decay of the runs: without it no objective of this example has a minimiser."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    reconstructed=(
        "The data (Table 3), the start, the weight decay and λ = ½ are reconstructed: the paper's text at hand has "
        "lost these numbers."
    ),
)
