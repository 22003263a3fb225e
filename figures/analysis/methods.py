"""Names of the decision rules as the figures and tables print them."""

from __future__ import annotations

NAMES: dict[str, str] = {"sequential": "Sequential", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"}
METHODS: tuple[str, ...] = tuple(NAMES.values())  # in the order of rows, bars and legends
NEEDS_OPTIMA: tuple[str, ...] = ("MAXRIGHT",)


def order(method: str) -> int:
    """Return the position of a method, given by its printed name, among all methods."""
    return METHODS.index(method)
