"""Errors of a run that has to stop; free of torch, so that the command line can catch them."""


class StoppedRunError(RuntimeError):
    """A run that cannot continue: a loss is not finite or explodes. The message is a diagnosis."""


class InterruptedRunError(RuntimeError):
    """A run that was asked to stop; its state is saved."""
