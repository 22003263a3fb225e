"""The Pareto fronts of the two toy problems, and where each of the four methods lands for each λ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, lower, upper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from toyopt.algorithms import Rule

METHODS = ("Sequential", "Mix", "ALRIGHT", "MAXRIGHT")
PANELS = ("table2", "table3")
STEPS = {"smoke": 20_000, "embedded": 100_000, "paper": 400_000}


def parameters(request: Request) -> dict[str, Any]:
    """Both problems; the weight decay of Figure 2 for Table 3, without which its objectives have no minimisers."""
    return {
        "lams": [0.1, 0.3, 0.5, 0.7, 0.9],
        "front": [1e-5, 0.99999, 121],
        "steps": STEPS[request.scale],
        "seed": request.seed,
        "seeds": request.seeds or 20,
        "table2": {"alpha": 0.2, "weight_decay": 0.0, "start": [5.0]},
        "table3": {"alpha": 0.2, "weight_decay": 0.001, "start": [5.0, -9.9]},
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Fronts by scalarisation, endpoints by simulation; ALRIGHT's is the mean over the coins of its losses."""
    from toyopt import minimise
    from toyopt.examples import Figure2, table2

    problems = {"table2": table2(), "table3": Figure2().problem()}
    low, high, count = parameters["front"]
    logits = np.linspace(np.log(low / (1 - low)), np.log(high / (1 - high)), count)
    lams = 1.0 / (1.0 + np.exp(-logits))
    rows: list[dict[str, Any]] = []
    extra: dict[str, np.ndarray] = {}
    checks: list[Check] = []
    for name, problem in problems.items():
        decay = parameters[name]["weight_decay"]
        extra[f"front_{name}"] = np.stack([minimise(problem, w, weight_decay=decay).values for w in lams])
        ends = [row for lam in parameters["lams"] for row in _endpoints(problem, lam, parameters, parameters[name])]
        rows += [{"problem": name} | row for row in ends]
        checks += _judge(name, ends)
    table = {column: np.array([row[column] for row in rows]) for column in rows[0]}
    return Data(table=table, extra=extra, facts={"steps": parameters["steps"]}, checks=tuple(checks))


def _endpoints(problem: Any, lam: float, shared: dict[str, Any], own: dict[str, Any]) -> list[dict[str, Any]]:
    """Where each method ends for this λ: its losses, and what it was to minimise beside the least possible."""
    from toyopt import Alright, Constant, Maxright, Mix, Sequential, minimise, simulate

    steps, decay = shared["steps"], own["weight_decay"]
    first = round(lam * steps)  # Sequential's split is that of λ
    rules: dict[str, Rule] = {
        "Sequential": Sequential((first, steps - first)),
        "Mix": Mix(lam),
        "ALRIGHT": Alright(lam),
        "MAXRIGHT": Maxright(lam, (0.0, 0.0)),  # every infimum is 0, and approached only
    }
    least = minimise(problem, lam, weight_decay=decay).value
    out = []
    for name, rule in rules.items():
        seeds = range(shared["seed"], shared["seed"] + (shared["seeds"] if name == "ALRIGHT" else 1))
        run = simulate(
            problem,
            rule,
            Constant(own["alpha"]),
            theta0=own["start"],
            steps=steps,
            seeds=seeds,
            weight_decay=decay,
        )
        values = problem.values(run.last)
        mixed = values @ [lam, 1.0 - lam] + decay / 2 * (run.last**2).sum(axis=1)
        f_dpo, f_sft = values.mean(axis=0)
        out.append(
            {
                "method": name,
                "lam": lam,
                "f_dpo": f_dpo,
                "f_sft": f_sft,
                "gap_mix": float(mixed.mean()) - least,
                "worst": max(lam * f_dpo, (1.0 - lam) * f_sft),
            }
        )
    return out


def _judge(name: str, ends: list[dict[str, Any]]) -> list[Check]:
    by = {method: [row for row in ends if row["method"] == method] for method in METHODS}

    def column(method: str, key: str) -> np.ndarray:
        return np.array([row[key] for row in by[method]])

    best = np.min([column(method, "worst") for method in METHODS], axis=0)
    ray = column("MAXRIGHT", "lam") * column("MAXRIGHT", "f_dpo")
    other = (1 - column("MAXRIGHT", "lam")) * column("MAXRIGHT", "f_sft")
    return [
        upper(
            f"{name}-mix",
            f"{name}: Mix is within 1e-3 of inf f_Mix,λ, for every λ",
            1e-3,
            float(column("Mix", "gap_mix").max()),
        ),
        lower(
            f"{name}-sequential",
            f"{name}: Sequential's gap to inf f_Mix,λ is at least 10 times ALRIGHT's, for every λ",
            10.0,
            float((column("Sequential", "gap_mix") / column("ALRIGHT", "gap_mix")).min()),
        ),
        upper(
            f"{name}-maxright",
            f"{name}: no method's largest weighted gap is less than 0.97 of MAXRIGHT's, for any λ",
            1 / 0.97,
            float((column("MAXRIGHT", "worst") / best).max()),
        ),
        upper(
            f"{name}-ray",
            f"{name}: MAXRIGHT ends with weighted gaps that differ by 5% at most, for every λ",
            0.05,
            float((np.abs(ray - other) / np.maximum(ray, other)).max()),
        ),
    ]


def draw(data: Data) -> Figure:
    """Two panels in loss space, logarithmic: the front, the rays of equal weighted gaps, the four methods."""
    from matplotlib.figure import Figure

    from figures.drawing import style

    figure = Figure(figsize=(style.PAGE, 3.9))
    axes = figure.subplots(1, 2)
    titles = ("(a) Table 2: opposite pulls", "(b) Table 3, with weight decay")
    for ax, name, title in zip(axes, PANELS, titles, strict=True):
        _draw_panel(ax, data, name)
        ax.set_title(title)
        ax.set_xlabel(r"$f_{\mathrm{DPO}}$")
    axes[0].set_ylabel(r"$f_{\mathrm{SFT}}$")
    _draw_legend(figure)
    return figure


def _draw_panel(ax: Axes, data: Data, name: str) -> None:
    from figures.drawing import style

    front = data.extra[f"front_{name}"]
    ax.plot(front[:, 0], front[:, 1], color="#c4c4c4", linewidth=4.0, zorder=1, solid_capstyle="round")
    here = data.table["problem"] == name
    for method in METHODS:
        chosen = here & (data.table["method"] == method)
        looks = style.METHODS[method].kwargs(linewidth=0.7, markersize=6)
        ax.plot(data.table["f_dpo"][chosen], data.table["f_sft"][chosen], **looks)
    chosen = here & (data.table["method"] == "MAXRIGHT")
    ax.set_xscale("log")
    ax.set_yscale("log")
    left, low = 0.6 * data.table["f_dpo"][here].min(), 0.4 * data.table["f_sft"][here].min()
    right, high = 2.5 * data.table["f_dpo"][here].max(), 2.5 * data.table["f_sft"][here].max()
    for lam, f_dpo, f_sft in zip(*(data.table[c][chosen] for c in ("lam", "f_dpo", "f_sft")), strict=True):
        ax.axline((f_dpo, f_sft), (2 * f_dpo, 2 * f_dpo * lam / (1 - lam)), color=style.GRID, linewidth=0.6, zorder=0)
        ax.annotate(
            f"{lam:g}",
            (f_dpo, f_sft),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=7.0,
            color=style.QUIET,
        )
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.grid(visible=False)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    from figures.drawing import style

    handles = {
        method: Line2D([], [], **style.METHODS[method].kwargs(linewidth=0.7, markersize=6)) for method in METHODS
    }
    handles["Pareto front"] = Line2D([], [], color="#c4c4c4", linewidth=4.0)
    style.legend_above(figure, list(handles.values()), list(handles), columns=5)


ARTEFACT = Artefact(
    name="pareto",
    title="The Pareto front, and where each method lands on it",
    paper="beyond the paper",
    cost="seconds",
    caption=(
        "Where the methods end after the same number of steps, for λ = 0.1, 0.3, 0.5, 0.7, 0.9 (the small numbers, "
        "beside MAXRIGHT's marks); thin lines join the λ of a method. The broad grey line is the front: the optima "
        "of f_Mix,λ for all λ. ALRIGHT's marks are means over its coins. Sequential spends the share λ of its steps "
        "on DPO first. (a) In one dimension every θ is Pareto optimal, so all marks lie on the front; but "
        "Sequential lands at its far end, whatever λ is. (b) With weight decay the objectives of the plane have "
        "minimisers. Mix and ALRIGHT land where f_Mix,λ is least, MAXRIGHT where the weighted gaps are equal, on "
        "the grey rays, as problem (15) asks."
    ),
    reconstructed=(
        "The data (Tables 2 and 3), the start and the weight decay are reconstructed: the paper's text at hand has "
        "lost these numbers."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
