"""Hypothesis profiles, threads, and the garbage collector, for which imported libraries are no candidates.

`quick` is the default profile; HYPOTHESIS_PROFILE=deep draws many more and different problems.
"""

from __future__ import annotations

import gc
import os
import sys

gc.disable()  # until all tests are collected: imports make many objects and hardly any garbage

from hypothesis import HealthCheck, settings  # noqa: E402

# The workers share the cores, so torch takes one in each; nothing is looked up on a hub.
for _name, _value in {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}.items():
    os.environ.setdefault(_name, _value)

# No example database: xdist's workers would write to one at the same time, and a failure that it replays on one
# machine would not be seen on another. The first call of a test may compile the simulator's loop, so no deadline.
_COMMON = settings(database=None, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=_COMMON, max_examples=14, derandomize=True)
settings.register_profile("deep", parent=_COMMON, max_examples=200, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Only a loss of power tells whether a file was synced: here it would cost some milliseconds for every file written.
os.fsync = lambda _: None

_MANY = 50  # modules: what transformers, peft and the like import when they are first used
_frozen = 0  # modules that were loaded at the last freeze
_file = ""  # of the last test


def _freeze() -> None:
    """Take all that is alive out of the collector's view: a run of `llm` collects garbage several times."""
    global _frozen
    gc.collect()
    gc.freeze()
    _frozen = len(sys.modules)


def pytest_collection_finish() -> None:
    """Begin to collect garbage, which the imported libraries are not."""
    gc.enable()
    gc.set_threshold(20_000, 10, 10)  # tests make many objects and little garbage in cycles
    _freeze()
    if forks := sys.modules.get("support.forks"):  # a test starts processes of runs
        forks.prepare()


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Freeze again after the first test of a file, which leaves caches, and after a test that imported a library."""
    global _file
    before, _file = _file, nodeid.partition("::")[0]
    if _file != before or len(sys.modules) > _frozen + _MANY:  # to ask the collector what is frozen walks all of it
        _freeze()
