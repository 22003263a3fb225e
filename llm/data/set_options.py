"""The options that name data sets: two by the short form, or any number, each with an objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from llm.common.arguments import NOT_NEGATIVE


@dataclass(frozen=True)
class TwoSetsOptions:
    """The two data sets of the short form, one SFT set and one preference set."""

    short_form: ClassVar[bool] = True

    sft: str = "embedded"
    """SFT set: a hub name, a .jsonl(.gz), .json(.gz) or .parquet file, a folder, `embedded` (or
    `embedded:TASK`), or `skill` (or `skill:SEED`)."""
    preference: str = "embedded"
    """Preference set: a hub name, a file as for `sft`, a folder, or `embedded` (or `embedded:TASK`)."""
    sft_split: str = "train"
    """Split of the SFT set."""
    preference_split: str = "train"
    """Split of the preference set."""
    sft_format: str = "auto"
    """Format of the SFT set's columns: auto, prompt-completion, messages, sharegpt, instruction."""
    preference_format: str = "auto"
    """Format of the preference set's columns: auto, explicit, sharegpt, instruction, implicit; with a label, for kto:
    labelled, labelled-messages, labelled-sharegpt, labelled-instruction."""
    sft_columns: dict[str, str] = field(default_factory=dict)
    """Our column names to those of the SFT set, for example prompt question completion answer."""
    preference_columns: dict[str, str] = field(default_factory=dict)
    """Our column names to those of the preference set, for example chosen better rejected worse."""
    sft_rows: Annotated[int, NOT_NEGATIVE] = 0
    """Number of SFT rows to use, from the first; 0: all, of `skill` 2000."""
    preference_rows: Annotated[int, NOT_NEGATIVE] = 0
    """Number of preference rows to use, from the first; 0: all."""
    sft_template: str = ""
    """Template of the SFT set; empty: `template`."""
    preference_template: str = ""
    """Template of the preference set; empty: `template`."""
    sft_held_out: str = ""
    """Evaluation set for SFT, in place of a share; training rows with the same prompts are removed."""
    preference_held_out: str = ""
    """Evaluation set for preferences, in place of a share; training rows with the same prompts are removed."""


@dataclass(frozen=True)
class ObjectivesOptions:
    """Any number of objectives, each with its own data set, in place of the short form for two."""

    objective: tuple[str, ...] = ()
    """Repeatable: NAME=KIND:SOURCE, KIND sft or preference, SOURCE as for `sft` and `preference`; then fields of the
    objective, FIELD=VALUE: weight (they sum to 1; absent ones share the rest), loss, batch, template, held_out,
    evaluation, f_star, split, format, columns.OURS, rows, turns, beta and other numbers of the loss. In place of `sft`,
    `preference` and `lam`. In a file: tables [[objectives]] with name, kind, source and the same fields."""
