"""Names of the decision rules as the figures and tables print them."""

from __future__ import annotations

from toyopt.algorithms import RULES

NAMES: dict[str, str] = {key: rule.name for key, rule in RULES.items()}  # "alright" -> "ALRIGHT"
METHODS: tuple[str, ...] = tuple(NAMES.values())  # in the order of rows, bars and legends
NEEDS_OPTIMA: tuple[str, ...] = tuple(rule.name for rule in RULES.values() if rule.needs_optima)


def order(method: str) -> int:
    """Return the position of a method, given by its printed name, among all methods."""
    return METHODS.index(method)
