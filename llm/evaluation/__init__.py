"""Measures of trained models: losses, benchmarks, generation, curvature, similarity."""
