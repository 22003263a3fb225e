"""Log-probabilities of an adapter that is saved, loaded by PEFT alone, and merged into the base's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.evaluation.conformance import plain
from llm.evaluation.conformance.finding import Finding, compared, stated

if TYPE_CHECKING:
    from llm.evaluation.conformance.forward import Subject

GROUP = "adapter"


def check_adapter(subject: Subject, folder: Path, tolerance: float) -> list[Finding]:
    """Return findings on an adapter that is saved in `folder`, loaded by PEFT, and merged.

    tolerance  largest difference of log-probabilities that is rounding

    The merged model is written to `folder`, too, and loaded as a user would.
    """
    from peft import PeftModel

    from llm.models.loading import load_base
    from llm.models.merging import save_merged

    with subject.opened({}) as engine:
        with torch.no_grad():
            expected = plain.response_logps(engine.raw.causal.eval(), subject.rows).cpu()
        model: Any = engine.raw.model
        model.save_pretrained(folder)
    base = subject.base.model
    bare = _logps(base, subject)
    loaded = PeftModel.from_pretrained(base, str(folder)).eval()
    moved = float((bare - expected).abs().max())
    findings = [
        stated(GROUP, "the adapter changes log-probabilities", moved > tolerance, f"by up to {moved:.3g}"),
        _finding("saved and loaded by PEFT", _logps(loaded.get_base_model(), subject), expected, tolerance),
    ]
    claim = "merged into the base's weights"
    try:
        save_merged(loaded, folder / "merged")
    except ValueError as error:
        return [*findings, stated(GROUP, claim, None, str(error))]
    merged = load_base(str(folder / "merged"), subject.config).to(base.device)
    return [*findings, _finding(claim, _logps(merged, subject), expected, tolerance)]


def _finding(claim: str, logps: torch.Tensor, expected: torch.Tensor, tolerance: float) -> Finding:
    return compared(GROUP, claim, float((logps - expected).abs().max()), tolerance)


def _logps(model: Any, subject: Subject) -> torch.Tensor:
    with torch.no_grad():
        return plain.response_logps(model.eval(), subject.rows).cpu()
