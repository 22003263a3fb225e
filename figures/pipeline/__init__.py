"""Caching, scheduling, verifying and reporting of artefacts."""
