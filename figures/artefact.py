"""The type of an artefact: a name, parameters, `compute() -> Data` and `draw(Data) -> Figure`.

`compute` contains no colour, and `draw` neither reads files nor computes. `Data`, which `compute` passes to `draw`, is
the content of the cache, and the source of the CSV and JSON beside each figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

Scale = Literal["smoke", "embedded", "real", "paper"]
SCALES: tuple[str, ...] = get_args(Scale)
Kind = Literal["upper", "lower", "equal"]
REAL_OPTIONS = (
    "sft", "preference", "chat", "tasks", "reference", "precision", "mmlu", "mmlu_questions", "xstest",
    "xstest_prompts",
)  # fmt: skip
VERDICTS = ("seen", "mixed", "not seen")  # of an empirical claim


class UsageError(Exception):
    """A request that cannot be met; the message gives the reason in one line."""


@dataclass(frozen=True)
class Request:
    """Options of the user that every artefact receives.

    seeds            number of seeds of trained models; None: the artefact's own default at this scale
    toy_runs         number of random runs of the toy world; None: the artefact's own default at this scale

    Of scale `real` alone (`REAL_OPTIONS`), where "" leaves the default of figures.analysis.sweeps, or no benchmark:

    sft, preference  sets: names on the hub, files or folders
    chat             SFT set of the artefact `chat`; "": that of figures.analysis.chat_sweeps
    tasks            objectives of the artefact `realtasks`; (): those of figures.analysis.task_sweeps
    reference        reference of DPO: base or sft
    precision        of the model: fp32 or bf16
    mmlu             CSV files of MMLU: a folder, an archive, or hub; mmlu_questions: of each subject, 0: all
    xstest           prompts of XSTest: a file, or hub; xstest_prompts: their number, 0: all
    """

    scale: Scale = "embedded"
    seeds: int | None = None
    seed: int = 0
    toy_runs: int | None = None
    sft: str = ""
    preference: str = ""
    chat: str = ""
    tasks: tuple[str, ...] = ()
    reference: str = ""
    precision: str = ""
    mmlu: str = ""
    mmlu_questions: int = 5
    xstest: str = ""
    xstest_prompts: int = 0

    def at(self, scale: Scale) -> Request:
        """Return the request at another scale, without the options of scale `real`."""
        defaults = {field.name: field.default for field in fields(Request) if field.name in REAL_OPTIONS}
        return replace(self, scale=scale, **defaults)  # type: ignore[arg-type]

    @property
    def size(self) -> str:
        """Amount of computation where no model is trained: `real` takes that of `embedded`."""
        return "embedded" if self.scale == "real" else self.scale


@dataclass(frozen=True)
class Check:
    """One statement about the data, with both of its sides.

    `kind` is the comparison: `attained <= bound` (upper), `attained >= bound` (lower), or equality within
    the tolerance that `statement` names. A failed check with `must_hold` makes the exit status non-zero.

    verdict   of an empirical claim, which no theorem states: seen, mixed or not seen; "" for all others. Such claims
              need not hold, and are counted apart.
    interval  the confidence interval of `attained` that the verdict is read from
    p_value   of an empirical claim, that of the test of its interval (`figures.analysis.multiple` corrects for many);
              NaN if unknown
    place     the setting that an empirical claim is about ("SFT first", the name of a grid); "" if there is one only
    claim     of an empirical claim, the statement without its place and without the number of seeds
    """

    name: str
    statement: str
    kind: Kind
    bound: float
    attained: float
    holds: bool
    must_hold: bool = True
    verdict: str = ""
    interval: tuple[float, float] | None = None
    place: str = ""
    claim: str = ""
    p_value: float | None = None

    def __post_init__(self) -> None:
        if self.verdict not in ("", *VERDICTS):
            raise ValueError(f"check {self.name!r}: verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")
        if self.verdict and self.must_hold:
            raise ValueError(f"check {self.name!r}: an empirical claim need not hold; use must_hold=False")
        # A comparison with NaN is False, so a check that was written as "not (a > b)" would hold by accident.
        if self.holds and (math.isnan(self.bound) or math.isnan(self.attained)):
            raise ValueError(f"check {self.name!r} claims to hold, and one of its sides is NaN")


def upper(name: str, statement: str, bound: float, attained: float, *, must_hold: bool = True) -> Check:
    """Return the check that `attained <= bound`, which fails where either is NaN."""
    return Check(name, statement, "upper", bound, attained, bool(attained <= bound), must_hold)


def lower(name: str, statement: str, bound: float, attained: float) -> Check:
    """Return the check that `attained >= bound`, which fails where either is NaN."""
    return Check(name, statement, "lower", bound, attained, bool(attained >= bound))


def equal(name: str, statement: str, bound: float, attained: float, *, tolerance: float) -> Check:
    """Return the check that `|attained - bound| <= tolerance` (absolute); `statement` should name the tolerance."""
    return Check(name, statement, "equal", bound, attained, bool(abs(attained - bound) <= tolerance))


def empirical(
    name: str,
    statement: str,
    value: float,
    interval: tuple[float, float],
    bound: float,
    kind: Literal["upper", "lower"],
    *,
    place: str = "",
    seeds: int = 0,
    p_value: float = math.nan,
) -> Check:
    """Return an empirical claim: `value` is at most (upper) or at least (lower) `bound`, judged by its interval.

    The verdict is `seen` if the whole interval lies on the claimed side of the bound, `not seen` if the whole interval
    lies on the other side, else `mixed`; `mixed` also where a number is NaN. The statement of the check begins with
    the place and ends with the number of seeds, where these are given. `p_value` stands beside the verdict and does
    not decide the verdict. Raises ValueError for another kind, and for an interval whose ends are in the wrong order.
    """
    low, high = interval
    if kind not in ("upper", "lower"):
        raise ValueError(f"check {name!r}: an empirical claim is upper or lower, got {kind!r}")
    if low > high:
        raise ValueError(f"check {name!r}: the interval must begin before it ends, got {interval}")
    right, wrong = (high <= bound, low > bound) if kind == "upper" else (low >= bound, high < bound)
    known = not any(map(math.isnan, (value, low, high, bound)))
    verdict = ("seen" if right else "not seen" if wrong else "mixed") if known else "mixed"
    return Check(
        name,
        (f"{place}: " if place else "") + statement + (f" [{seeds} seeds]" if seeds else ""),
        kind,
        bound,
        value,
        holds=verdict == "seen",
        must_hold=False,
        verdict=verdict,
        interval=(float(low), float(high)),
        place=place,
        claim=statement,
        p_value=float(p_value),
    )


@dataclass(frozen=True)
class Data:
    """Everything that `draw` and the files need.

    table   the CSV, long format: column name -> 1-d array (numbers or strings), all of one length
    extra   further arrays for `draw` (such as a contour grid); kept in the cache, not in the CSV
    facts   single numbers or strings worth quoting; they go to the JSON
    checks  statements about the data, with both sides
    beside  our numbers beside the paper's, a second small table of the report: column name -> 1-d array, such as
            quantity, ours, spread, paper, origin, ours at, paper at (the scale of each)
    """

    table: Mapping[str, np.ndarray]
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, table in (("table", self.table), ("beside", self.beside)):
            lengths = {name: tuple(column.shape) for name, column in table.items()}
            empty = name == "table" and not lengths
            if empty or any(len(s) != 1 for s in lengths.values()) or len(set(lengths.values())) > 1:
                raise ValueError(f"{name}: columns must be 1-d arrays of one length, got shapes {lengths}")


@dataclass(frozen=True)
class Artefact:
    """One figure or table of the report.

    name        short name: `fig2`, `table3`, ...
    title       the heading in the report
    paper       its place in the paper ("Figure 2"), or "beyond the paper"
    cost        rough wall time on two cores, as text, for `--list`
    seconds     the same as a number, without the runs, for the time that remains; None if unknown
    caption     description of the content, in a few sentences (plain text)
    reconstructed  a sentence for the reader if some of its numbers are reconstructed, else ""
    parameters  Request -> JSON-able dict; the only thing `compute` sees, and a part of the cache key. If it holds
                "grids" (see figures.training), these runs are carried out before, and `compute` gets the folder that
                they are in as "root"
    compute     parameters -> Data
    draw        Data -> matplotlib Figure
    """

    name: str
    title: str
    paper: str
    cost: str
    caption: str
    parameters: Callable[[Request], dict[str, Any]]
    compute: Callable[[dict[str, Any]], Data]
    draw: Callable[[Data], Figure]
    reconstructed: str = ""
    seconds: float | None = None
    is_table: bool = False  # shown in the report as a table, from the CSV, beside its drawing
