"""Commands that read gradients or weights themselves run in one plain process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llm.training.inputs import Inputs


@pytest.mark.parametrize(("count", "kind"), [(2, "MULTI_GPU"), (1, "DEEPSPEED")])
def test_a_launcher_is_refused(count: int, kind: str) -> None:
    none: Any = None
    for number, name in ((1, "NO"), (count, kind)):
        accelerator = SimpleNamespace(num_processes=number, distributed_type=f"DistributedType.{name}")
        base: Any = SimpleNamespace(accelerator=accelerator)
        inputs = Inputs(none, none, none, none, none, base, False, True, lambda: False)
        if name == "NO":
            inputs.check_alone("cosine")
            continue
        with pytest.raises(ValueError, match=r"^cosine: runs in one process; start the command without a launcher$"):
            inputs.check_alone("cosine")
