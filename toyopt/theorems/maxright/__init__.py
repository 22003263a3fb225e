"""Guarantees of MAXRIGHT, which the paper leaves open."""
