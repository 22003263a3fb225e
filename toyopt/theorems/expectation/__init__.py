"""Expected gaps: exact by enumeration or on a grid, else sampled with a confidence bound."""
