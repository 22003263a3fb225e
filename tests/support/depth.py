"""How far a test goes: `make test` takes representatives, `make test-deep` (HYPOTHESIS_PROFILE=deep) everything."""

from __future__ import annotations

import os

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
