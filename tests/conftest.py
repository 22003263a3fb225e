"""Hypothesis profiles: `quick` is the default, HYPOTHESIS_PROFILE=deep draws many more and different problems."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The workers share the cores, so torch takes one in each; nothing is looked up on a hub.
for _name, _value in {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}.items():
    os.environ.setdefault(_name, _value)

# No example database: xdist's workers would write to one at the same time, and a failure that it replays on one
# machine would not be seen on another. The first call of a test may compile the simulator's loop, so no deadline.
_COMMON = settings(database=None, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=_COMMON, max_examples=40, derandomize=True)
settings.register_profile("deep", parent=_COMMON, max_examples=400, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
