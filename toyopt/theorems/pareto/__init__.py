"""Remarks 4.3 and A.4: Pareto optimality and common ground."""
