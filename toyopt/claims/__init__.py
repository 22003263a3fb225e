"""The claims of the paper's theory and beyond, with the records that `toyopt.ledger` judges each by.

The first record represents the claim in tables; where a claim has many records of a kind, the first is the record with
the least slack.
"""

import difflib
import re

from toyopt.claims.beyond import BEYOND
from toyopt.claims.claim import PAGE, Claim, of_proof, tightest
from toyopt.claims.paper import PAPER

CLAIMS: dict[str, Claim] = PAPER | BEYOND

_KIND = re.compile(r"^(theorem|thm|lemma|lem|proposition|prop|remark|rem|claim)[. ]*", re.IGNORECASE)


def find(name: str) -> str:
    """Return the number of the claim with this number or short name: "3.3", "Theorem 3.3", "forgetting".

    Case does not matter. Raises ValueError, with the nearest names, where there is none.
    """
    known = {number.lower(): number for number in CLAIMS} | {claim.short: number for number, claim in CLAIMS.items()}
    wanted = _KIND.sub("", name.strip()).lower()
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3)
    nearest = f"the nearest are {', '.join(close)}; " if close else ""
    raise ValueError(f"claim: there is none named {name!r}; {nearest}--list shows all")


__all__ = ["CLAIMS", "PAGE", "Claim", "find", "of_proof", "tightest"]
