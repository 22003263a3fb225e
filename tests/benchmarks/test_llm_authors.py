"""The loop in the manner of the authors' code has the losses that `llm` trains on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import llm_authors, llm_rows  # noqa: E402
from benchmarks.llm_rows import TINY  # noqa: E402
from llm.losses import DPOLoss  # noqa: E402
from llm.models.policy import Policy  # noqa: E402
from llm.training.objective import Objective  # noqa: E402


@pytest.mark.slow
def test_the_authors_way_has_the_same_losses() -> None:
    """Logits everywhere and padding or not: the two losses are those that `llm` trains on."""
    model = TINY.model()
    device = model.device
    pairs, answers = llm_rows.tokens(TINY, "preference"), llm_rows.tokens(TINY, "sft")
    chosen = list(range(len(pairs)))
    reference = dataclasses.replace(TINY, seed=5).model()
    both = [llm_authors.padded(pairs, chosen, j, device) for j in (0, 1)]
    with torch.no_grad():
        task = Objective("dpo", pairs)
        before = Policy(reference)(task.batch(np.array(chosen)).to(device)).view(-1, 2)
        task = Objective("dpo", pairs, DPOLoss(0.1), before.cpu())
        batch = task.batch(np.array(chosen)).to(device)
        ours, _ = task.measure(Policy(model)(batch), batch, np.array(chosen))
        assert float(llm_authors.dpo_loss(model, reference, both, 0.1)) == pytest.approx(
            float(ours) / len(chosen), abs=1e-5
        )
        assert abs(float(ours) / len(chosen) - np.log(2.0)) > 1e-4

        rows = list(range(len(answers)))
        task = Objective("sft", answers)
        batch = task.batch(np.array(rows)).to(device)
        total, _ = task.measure(Policy(model)(batch), batch, np.array(rows))
        theirs = float(llm_authors.sft_loss(model, llm_authors.padded(answers, rows, 0, device)))
        assert theirs == pytest.approx(float(total) / task.units(np.array(rows)), abs=1e-4)
