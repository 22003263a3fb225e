"""Regenerate the figures and tables of arXiv 2410.15483: `python paper_repro.py NAME… --out DIR`.

`python paper_repro.py --help` says the rest. What is behind it is in `figures/`.
"""

from __future__ import annotations

import sys

from figures.cli import main

if __name__ == "__main__":
    sys.exit(main())
