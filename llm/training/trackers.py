"""Trackers of a run (the option `log_with`), opened and closed by accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llm.training.checkpoint import saved_steps

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig

PROJECT = "forget-neither"  # also the name of TensorBoard's folder in a run's folder


@contextmanager
def trackers(accelerator: Accelerator, config: TrainConfig, folder: Path) -> Iterator[None]:
    """Report values to the trackers of `log_with` within the block; they are closed however it ends.

    config  of the run, whose options are the trackers' hyperparameters
    folder  of the run, whose name is the run's in the tracker; the steps after its newest checkpoint are repeated

    Raises ValueError, in one line, if a tracker does not start: without a login, a key or a connection.
    """
    if not config.log_with:
        yield
        return
    options = {name: str(value) for name, value in config.as_dict().items()}
    resumed = max(saved_steps(folder), default=-1)
    # TensorBoard hides what an earlier process wrote of steps that are repeated; other trackers begin another run.
    own = {"tensorboard": {"purge_step": resumed + 1}, "wandb": {"name": folder.resolve().name}}
    try:
        accelerator.init_trackers(PROJECT, options, {name: own[name] for name in config.log_with})
    except Exception as error:  # of a tracker's own library, whatever that raises
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"log_with: {' and '.join(config.log_with)} cannot be started ({text}); mend that, or leave the "
            "option out: metrics.jsonl is written in any case"
        ) from error
    try:
        yield
    finally:
        for tracker in accelerator.trackers:  # accelerate's `end_training` would end the processes' group as well
            tracker.finish()
