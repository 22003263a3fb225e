"""The claims of the paper's theory and beyond, with the records that `toyopt.ledger` judges each by.

The first record represents the claim in tables; where a claim has many records of a kind, the first is the record with
the least slack.
"""

from toyopt.claims.beyond import BEYOND
from toyopt.claims.claim import PAGE, Claim, of_proof, tightest
from toyopt.claims.paper import PAPER

CLAIMS: dict[str, Claim] = PAPER | BEYOND

__all__ = ["CLAIMS", "PAGE", "Claim", "of_proof", "tightest"]
