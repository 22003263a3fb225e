"""Weights and optimizer states of an engine of DeepSpeed, ZeRO-2 or ZeRO-3, as those of any other engine.

An engine of DeepSpeed with `managed_gradient_accumulation` off adds up gradients over any number of backward passes,
and its `step` averages them over the processes, clips, and steps: a step of the trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from llm.training.deepspeed_config import shares_weights

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.models.policy import Policy
    from llm.training.engine import Engine

LINEAR = torch.nn.functional.linear


def partition(accelerator: Accelerator, policy: Policy) -> None:
    """Cast a policy's weights to the precision of a DeepSpeed engine; under ZeRO-3 share them among the processes.

    One weight after another: an engine on a model that is whole would first put all of it on each device.
    """
    values = accelerator.deepspeed_plugin.deepspeed_config
    if values["bf16"]["enabled"]:
        for weight in policy.parameters():
            weight.data = weight.data.to(torch.bfloat16)
    if shares_weights(accelerator):
        policy.whole_logits = True
        import deepspeed

        deepspeed.zero.Init(module=policy, config_dict_or_path=values)
        for buffer in policy.buffers():
            buffer.data = buffer.data.to(accelerator.device)


def step(engine: Engine) -> float:
    """Average the gradients over the processes, clip, and step; return the gradient's norm before clipping."""
    engine.policy.step()
    norm = float(engine.policy.get_global_grad_norm())
    return norm if norm >= 0.0 else float("nan")  # DeepSpeed writes -1


def restore_linear() -> None:
    """Undo DeepSpeed's replacement of torch's `linear`, which saves memory under ZeRO-3 and else stays for ever."""
    torch.nn.functional.linear = LINEAR


@contextmanager
def gathered(weight: torch.nn.Parameter) -> Iterator[None]:
    """Make a weight whole on all processes, and take the main process's value as the new one at the end."""
    import deepspeed

    with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
        yield


def trained_weights(engine: Engine) -> dict[str, torch.Tensor]:
    """Return the trained weights by name, whole, in float32 on the CPU; empty but on the main process.

    Called by all processes. Before an engine of DeepSpeed rounds them to its precision.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    whole = ((name, safe_get_full_fp32_param(p)) for name, p in _trained(engine))
    return {name: w.cpu() for name, w in whole if engine.accelerator.is_main_process}


def optimizer_state(engine: Engine) -> dict[str, torch.Tensor]:
    """Return the optimizer's state as `KEY.NAME` of a trained weight, whole, on the CPU; empty before the first step.

    Called by all processes; empty but on the main process.
    """
    from deepspeed.utils import safe_get_full_optimizer_state

    tensors: dict[str, torch.Tensor] = {}
    some: dict[str, Any] = next(iter(engine.inner_optimizer.state.values()), {})
    if some:
        _link_states(engine)
    for key, value in some.items():
        for name, weight in _trained(engine):
            per_weight = torch.as_tensor(value, dtype=torch.float32).ndim > 0
            whole = safe_get_full_optimizer_state(weight, key) if per_weight else torch.as_tensor(value).float()
            if engine.accelerator.is_main_process:
                tensors[f"{key}.{name}"] = whole.cpu().clone()
    return tensors


def load(engine: Engine, weights: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """Set the trained weights and the optimizer's state, of any engine; called by all processes with the same tensors.

    weights  by name
    state    as `KEY.NAME`; empty for an optimizer without any
    """
    zero = engine.optimizer.optimizer
    flat = zero.fp32_partitioned_groups_flat if _is_stage3(engine) else zero.single_partition_of_fp32_groups
    trained = _trained(engine)
    keys = list(dict.fromkeys(name.partition(".")[0] for name in state))
    for part in flat if keys else []:
        own = {key: state[f"{key}.{trained[0][0]}"] for key in keys}
        engine.inner_optimizer.state[part] = {
            key: torch.zeros_like(part) if value.ndim else value.clone().to(part.device) for key, value in own.items()
        }
    if keys:
        _link_states(engine)
    for name, weight in trained:
        with gathered(weight):
            weight.data.copy_(weights[name])
        _set(engine, weight, weights[name], None)
        for key in keys:
            if state[f"{key}.{name}"].ndim:
                _set(engine, weight, state[f"{key}.{name}"], key)


def _link_states(engine: Engine) -> None:
    """Have DeepSpeed find every weight's share of the optimizer's state, below ZeRO-3.

    Its own search, after the step of the first group of weights, finds nothing of the groups that step after it.
    """
    if _is_stage3(engine):
        return
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    zero = engine.optimizer.optimizer
    for group, part in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        lazy_init_hp_params_optimizer_state(group, part, engine.inner_optimizer.state)


def _set(engine: Engine, weight: torch.nn.Parameter, value: torch.Tensor, key: str | None) -> None:
    """Set this process's share of a weight in float32 (None), or of an entry of the optimizer's state."""
    from deepspeed import utils

    value = value.to(engine.accelerator.device).float()
    if not _is_stage3(engine):
        if key is None:
            utils.safe_set_full_fp32_param(weight, value)
        else:
            utils.safe_set_full_optimizer_state(weight, value, key)
        return
    count = int(weight.ds_tensor.numel())  # type: ignore[attr-defined]
    padded = torch.nn.functional.pad(value.flatten(), (0, count * engine.world - value.numel()))
    share = padded.narrow(0, count * engine.accelerator.process_index, count)
    if key is None:
        utils.safe_set_local_fp32_param(weight, share)
    else:
        utils.safe_set_local_optimizer_state(weight, share, key)


def _trained(engine: Engine) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in engine.raw.named_parameters() if p.requires_grad]


def _is_stage3(engine: Engine) -> bool:
    return shares_weights(engine.accelerator) == "ZeRO-3"
