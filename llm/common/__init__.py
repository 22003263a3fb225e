"""Files, caches, processes, progress, options: code that is independent of models and imports no torch."""
