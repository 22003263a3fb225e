"""One training run: the recipe, the trainer, and the run folder."""
