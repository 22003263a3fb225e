"""Base models, adapters, and log-probabilities of responses."""
