"""Measures of trained models: losses, benchmarks, generation, cosines of gradients, curvature, similarity."""
