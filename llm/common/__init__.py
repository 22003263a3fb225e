"""Plumbing that does not know what a model is: files, caches, processes, progress. Imports no torch."""
