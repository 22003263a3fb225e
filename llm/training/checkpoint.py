"""Checkpoints: everything that a run needs to resume to the same bytes, written atomically.

A folder a checkpoint, `checkpoints/step-00000100`: `tensors.safetensors` (trained weights, optimiser) and `state.json`
(plain numbers: the state of rule, samplers, draws and schedule). The last two are kept.
torch gathers the tensors from all processes, so a run may resume with another number of processes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.common.cache import sha256
from llm.common.files import atomic_path, read_json, remove_unfinished, write_json
from llm.models.quantization import without_scales
from llm.training import zero

if TYPE_CHECKING:
    from llm.training.engine import Engine

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A complete and undamaged checkpoint; `state` holds the plain numbers given to `save`."""

    path: Path
    state: dict[str, Any]

    def load(self, engine: Engine) -> None:
        """Load weights, optimizer and schedule into an engine."""
        from safetensors.torch import load_file
        from torch.distributed.checkpoint.state_dict import (
            get_optimizer_state_dict,
            set_model_state_dict,
            set_optimizer_state_dict,
        )

        tensors = load_file(self.path / "tensors.safetensors")
        weights: dict[str, Any] = {k[len("model.") :]: v for k, v in tensors.items() if k.startswith("model.")}
        state = {k[len("optimizer.") :]: v for k, v in tensors.items() if k.startswith("optimizer.")}
        if engine.is_zero:
            zero.load(engine, weights, state)
            self._load_schedule(engine)
            return
        options = _options(strict=False)
        engine.reshard()
        absent = set_model_state_dict(engine.policy, weights, options=options)
        if absent.unexpected_keys:
            raise ValueError(f"checkpoint: {self.path} does not fit this model (it has {absent.unexpected_keys[0]})")
        if state:  # plain SGD has nothing to remember
            optimizer = engine.inner_optimizer
            values: Any = get_optimizer_state_dict(engine.policy, optimizer)  # names; every process has its shards
            for name, moments in values["state"].items():
                # A weight that no row has reached, such as those of DeepSeek's indexer, has no state: a new one is 0.
                known = any(f"{k}.{name}" in state for k in moments)
                values["state"][name] = {
                    k: state[f"{k}.{name}"] if known else torch.zeros(v.shape, dtype=v.dtype)
                    for k, v in moments.items()
                }
            set_optimizer_state_dict(engine.policy, optimizer, values, options=_options())
        self._load_schedule(engine)

    def _load_schedule(self, engine: Engine) -> None:
        """Load the schedule, and the learning rate of its last step."""
        engine.scheduler.load_state_dict(dict(self.state["scheduler"]))
        rates = self.state["scheduler"]["_last_lr"]
        for group, lr in zip(engine.inner_optimizer.param_groups, rates, strict=True):
            group["lr"] = lr


def save(folder: Path, state: dict[str, Any], engine: Engine) -> None:
    """Write a checkpoint; called by all processes, written by the main one."""
    from safetensors.torch import save_file

    weights, moments = _gathered(engine)
    if engine.accelerator.is_main_process:
        tensors = {f"model.{k}": v for k, v in weights.items()} | {f"optimizer.{k}": v for k, v in moments.items()}
        tensors = {k: v.detach().contiguous().cpu() for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        path = _folder(folder) / f"step-{state['step']:08d}"
        with atomic_path(path) as temporary:
            temporary.mkdir()
            save_file(_by_one_name(tensors), temporary / "tensors.safetensors", metadata={"format": "pt"})
            digest = sha256(temporary / "tensors.safetensors")
            write_json(
                temporary / "state.json", {**state, "scheduler": engine.scheduler.state_dict(), "sha256": digest}
            )
        for old in _all(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        remove_unfinished(_folder(folder))
    engine.accelerator.wait_for_everyone()


def _gathered(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the trained weights by name, and the optimizer's state as `KEY.NAME`, whole; called by all processes."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_optimizer_state_dict

    if engine.is_zero:
        return zero.trained_weights(engine), zero.optimizer_state(engine)
    engine.reshard()
    weights = without_scales(get_model_state_dict(engine.policy, options=_options(ignore_frozen_params=True)))
    moments: Any = get_optimizer_state_dict(engine.policy, engine.inner_optimizer, options=_options())
    return weights, {f"{k}.{name}": v for name, values in moments.get("state", {}).items() for k, v in values.items()}


def _by_one_name(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return one name for each memory: tied weights have several names, and safetensors refuses these."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    for name, tensor in tensors.items():
        first.setdefault((tensor.data_ptr(), tuple(tensor.shape)), name)
    kept = set(first.values())
    return {name: tensor for name, tensor in tensors.items() if name in kept or tensor.numel() == 0}


def newest(folder: Path) -> Checkpoint | None:
    """Return the last checkpoint of a run, or None if there is none.

    Raises ValueError, with the remedy, if the checkpoint is damaged or incomplete.
    """
    checkpoints = _all(folder)
    if not checkpoints:
        return None
    path = checkpoints[-1]
    tensors, state = path / "tensors.safetensors", path / "state.json"
    earlier = f"to resume from {checkpoints[-2].name}" if len(checkpoints) > 1 else "to begin anew"
    if not tensors.is_file() or not state.is_file():
        raise ValueError(f"checkpoint: {path} is not complete; remove it {earlier}")
    try:
        values = read_json(state)
        whole = values["sha256"] == sha256(tensors)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"checkpoint: {path} is damaged or truncated; remove it {earlier}")
    return Checkpoint(path, values)


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of a run's checkpoints, sorted."""
    return [int(path.name.removeprefix("step-")) for path in _all(folder)]


def kept_folder(folder: Path, step: int) -> Path:
    """Return the folder of the adapter that a run keeps at a step, with `keep_every`."""
    return folder / "kept" / f"step-{step:06d}"


def forget_kept(folder: Path, *, after: int) -> None:
    """Remove the kept adapters of later steps, which the run will repeat, and half-written files."""
    remove_unfinished(folder / "kept")
    for path in (folder / "kept").glob("step-*"):
        if int(path.name.removeprefix("step-")) > after:
            shutil.rmtree(path)


def _folder(folder: Path) -> Path:
    return folder / "checkpoints"


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in _folder(folder).glob("step-*") if p.is_dir())


def _options(**more: Any) -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True, **more)
