"""A tracker of accelerate under TensorBoard's name that writes a line of JSON a call."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


def install() -> None:
    """Put it in TensorBoard's place, in this process; its lines are in FOLDER/PROJECT/calls.jsonl."""
    from accelerate import tracking
    from accelerate.utils import LoggerType

    module = ModuleType("tensorboard")
    module.__spec__ = ModuleSpec("tensorboard", None)
    sys.modules["tensorboard"] = module
    tracking.LOGGER_TYPE_TO_CLASS["tensorboard"] = _made(tracking)
    if LoggerType.TENSORBOARD not in tracking._available_trackers:
        tracking._available_trackers.append(LoggerType.TENSORBOARD)


def calls(folder: Path) -> list[dict[str, Any]]:
    """Return the calls so far, each {"call": name, ...}."""
    path = folder / "forget-neither" / "calls.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _made(tracking: Any) -> type:
    class Fake(tracking.GeneralTracker):  # type: ignore[misc]
        name = "tensorboard"
        requires_logging_directory = True

        def __init__(self, project: str, folder: str, **options: Any) -> None:
            super().__init__()
            self.path, self.options = Path(folder) / project / "calls.jsonl", options

        @property
        def tracker(self) -> Path:
            return self.path

        @tracking.on_main_process
        def start(self) -> None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write(call="start", **self.options)

        @tracking.on_main_process
        def store_init_configuration(self, values: dict[str, Any]) -> None:
            self._write(call="options", values=values)

        @tracking.on_main_process
        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            self._write(call="log", step=step, values=values)

        @tracking.on_main_process
        def finish(self) -> None:
            self._write(call="finish")

        def _write(self, **values: Any) -> None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")

    return Fake
