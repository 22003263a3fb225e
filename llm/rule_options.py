"""The options of the decision rules: the rule, and one group for the options that only some rules read.

A group whose options only some decision rules read names these in `rules`. A group of the short form for two objectives
has `short_form`: its options have no meaning beside `objective`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, SHARE
from toyopt.algorithms import RULES

if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(RULES)]


@dataclass(frozen=True)
class AlgorithmOptions:
    """The decision rule and the order of the objectives."""

    method: Method = "alright"
    """sequential (one objective after the other), mix (weighted sum), alright (alternation), maxright (largest
    weighted gap), replay (sequential with rehearsal)."""
    order: str = ""
    """Sequential, replay, and the reference `paper`: order of the objectives, their names joined by -, such as sft-dpo;
    empty: dpo-sft, or the order in which the objectives are given."""


@dataclass(frozen=True)
class WeightOptions:
    """The weight of the short form."""

    short_form: ClassVar[bool] = True

    lam: Annotated[float, SHARE] = 0.5
    """λ, the weight of DPO; for sequential and replay, DPO's share of the steps."""


@dataclass(frozen=True)
class StageOptions:
    """Options of rules that train in stages."""

    rules: ClassVar[tuple[str, ...]] = ("sequential", "replay")

    stage_reset: bool = True
    """Sequential, replay: start every later stage with a new optimizer and schedule, as a second run would."""


@dataclass(frozen=True)
class SequentialOptions:
    """Options of Sequential alone."""

    rules: ClassVar[tuple[str, ...]] = ("sequential",)

    stack: bool = False
    """Sequential: train a second adapter on top of the first in the second stage; the result joins both."""
    average: bool = False
    """Sequential: train one adapter on the base in each stage; the result is their mean with weights λ (DPO) and
    1-λ (SFT), or those of the objectives."""


@dataclass(frozen=True)
class ReplayOptions:
    """Options of replay alone."""

    rules: ClassVar[tuple[str, ...]] = ("replay",)

    replay: Annotated[float, SHARE] = 0.05
    """Replay: probability, at each step of a later stage, of a step on an earlier objective."""


@dataclass(frozen=True)
class AlrightOptions:
    """Options of ALRIGHT alone."""

    rules: ClassVar[tuple[str, ...]] = ("alright",)

    alternation: Literal["coin", "even"] = "even"
    """ALRIGHT: an even alternation, without randomness, or the paper's random draws with the same shares (coin)."""
    block: Annotated[int, AT_LEAST_1] = 1
    """ALRIGHT: number of consecutive steps that share one draw."""


@dataclass(frozen=True)
class MaxrightOptions:
    """Options of MAXRIGHT alone."""

    rules: ClassVar[tuple[str, ...]] = ("maxright",)

    k: Annotated[int, AT_LEAST_1] = 10
    """MAXRIGHT: evaluate all objectives every k steps; in between, use the stored gaps of the untrained ones."""
    gap_rows: Annotated[int, NOT_NEGATIVE] = 0
    """MAXRIGHT: number of rows of a gap evaluation; 0: a whole batch, shared with the step if the choice is as
    expected, or with estimated optima k/20 of a batch, at most half."""
    draw_both: bool = False
    """MAXRIGHT: advance all data sets at every step, also those that are not trained on."""


@dataclass(frozen=True)
class MixOptions:
    """Options of Mix alone."""

    rules: ClassVar[tuple[str, ...]] = ("mix",)

    mix_one_graph: bool = False
    """Mix: one backward pass of the sum (faster, more memory) instead of one an objective."""


@dataclass(frozen=True)
class OptimaOptions:
    """The optima that gaps are measured from."""

    f_star: Literal["estimate", "lowest", "compute", "given"] = "estimate"
    """Source of the optima that MAXRIGHT subtracts: estimated during the run from comparable values, with a bonus for
    what was trained little (estimate) or as the lowest batch values so far (lowest); computed by one run on each
    objective (cached), or given. With computed or given optima every method reports its gaps."""
    optima_steps: Annotated[int, NOT_NEGATIVE] = 0
    """Number of steps of each run that computes an optimum; 0: as many as `steps`."""
    optima_every: Annotated[int, NOT_NEGATIVE] = 0
    """Number of steps between evaluations of each run that computes an optimum, which is the least value of these;
    0: as many as `eval_every`. Runs with other intervals of their own then share their optima."""


@dataclass(frozen=True)
class TwoOptimaOptions:
    """The given optima of the short form."""

    short_form: ClassVar[bool] = True

    f_dpo_star: Annotated[float | None, NOT_NEGATIVE] = None
    """f_DPO*, if given."""
    f_sft_star: Annotated[float | None, NOT_NEGATIVE] = None
    """f_SFT*, if given."""
