"""The base model of a run, and the engines that successively work on it: one at a time, each with its own adapter."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.progress import say
from llm.models import loading, lora
from llm.models.architecture import check_trainable, set_threads
from llm.models.dropout import disable_noise, restore_noise
from llm.models.fingerprints import base_fingerprint
from llm.models.policy import Policy
from llm.models.positions import reset_rotary_frequencies
from llm.models.quantization import use_exact_layout
from llm.models.routers import router_coefficient
from llm.training.deepspeed_config import shares_weights
from llm.training.engine import Engine
from llm.training.launch import search_unreached_weights
from llm.training.stages import adapter_name

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig
    from llm.data.tokenization import TokenizedDataset
    from llm.models.policy import Row


class BaseModel:
    """The base model without adapters, loaded on first use; opening an engine on it ends the engine before.

    config  names the model, if none is given in memory, and its precision
    model   a model in memory, or None
    sets    sets of rows, training rows first, on which the forward path of each policy is selected
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: TrainConfig,
        model: Any,
        sets: Sequence[TokenizedDataset],
        *,
        quiet: bool,
    ) -> None:
        self.accelerator, self.config, self.quiet = accelerator, config, quiet
        self.set_rows(sets)
        self._given, self._model = model is not None, model
        self._wrapped: Any = None  # PEFT's model around the base, while there is one
        self._fingerprint: str | None = None
        self._parameters: int | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.accelerator.is_main_process)

    def set_rows(self, sets: Sequence[TokenizedDataset]) -> None:
        """Set the rows on which the forward path of the next policies is selected: two short ones and the longest."""
        rows = np.argsort(sets[0].lengths()[:64], kind="stable")[:2]
        self._shortest: list[Row] = [(sets[0].prompts[i], sets[0].responses[i]) for i in rows]
        self._longest = max(map(longest_row, sets), key=lambda row: len(row[0]) + sum(map(len, row[1])))

    @property
    def model(self) -> Any:
        """The transformers model, without adapters; an engine that is open on it is over."""
        if self._wrapped is not None:
            self._model, self._wrapped = lora.unload(self._wrapped), None
        if self._model is None or (shares_weights(self.accelerator) and not self._given):
            self._model = loading.load_base(self.config.model, self.config)
        return self._model

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model: weights, buffers and configuration."""
        if self._fingerprint is None:
            self._fingerprint = base_fingerprint(self.model)
        return self._fingerprint

    @property
    def parameters(self) -> int:
        """The number of weights."""
        if self._parameters is None:
            self._parameters = sum(p.numel() for p in self.model.parameters())
        return self._parameters

    def open_for_training(
        self, config: TrainConfig, steps: int, *, stage: int = 0, before: Path | None = None
    ) -> Engine:
        """Return an engine with a trainable adapter, or with all weights trainable at rank 0.

        steps   length of the learning-rate schedule
        stage   position of the stage, which `stack` needs for the adapters' names
        before  folder of the adapter of the stage before, which `stack` keeps below the new one
        """
        base = self._prepared()
        if not config.base_dropout:
            _ = self.fingerprint  # of the model's own numbers
            disable_noise(base)
        if config.lora_rank == 0:
            # Its weights change, and a later engine starts from the base again: from a copy, or loaded anew.
            base, self._model = (copy.deepcopy(base), base) if self._given else (base, None)
            model = base.requires_grad_(True)
        elif config.stack and before is not None:
            model = lora.load_adapter(base, str(before), trainable=False, name=adapter_name(stage - 1))
            model = lora.add_adapter(model, config, seed=config.seed + stage, name=adapter_name(stage))
        elif config.stack:
            model = lora.add_adapter(base, config, seed=config.seed, name=adapter_name(stage))
        elif config.adapter:
            model = lora.load_adapter(base, config.adapter, trainable=True)
        else:
            model = lora.add_adapter(base, config, seed=config.seed)
        if config.gradient_checkpointing:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return self._engine(base, model, config, steps, router=router_coefficient(base, config.router_aux_loss))

    def open_for_evaluation(self, config: TrainConfig, adapter: Path | None = None) -> Engine:
        """Return an engine of the bare base (None), or of a saved adapter or whole model, without gradients."""
        if adapter is not None and not (adapter / "adapter_config.json").exists() and not self.config.lora_rank:
            self._model, self._wrapped = loading.load_base(str(adapter), self.config), None
            adapter = None
        base = self._prepared()
        model = base if adapter is None else lora.load_adapter(base, str(adapter), trainable=False)
        model.requires_grad_(False)
        return self._engine(base, model, config, 1)

    def give_back(self) -> None:
        """Leave a model that was given in memory without adapters, with its dropout, and as trainable as models are."""
        if self._given:
            self.model.requires_grad_(True)
            restore_noise(self.model)
            reset_rotary_frequencies(self.model)

    def _prepared(self) -> Any:
        """Return the base model, with the threads of torch set for its size on a CPU."""
        base = self.model
        check_trainable(base)
        use_exact_layout(base)  # of a model that was given in memory
        if self.accelerator.device.type == "cpu":
            set_threads(base, self.config.threads)
        return base

    def _engine(self, base: Any, model: Any, config: TrainConfig, steps: int, *, router: float = 0.0) -> Engine:
        """Return an engine of `model`, which wraps `base`, after selecting the policy's forward path.

        router  weight of the routers' auxiliary loss
        """
        self._wrapped = model if model is not base else None
        policy = Policy(model)
        search_unreached_weights(self.accelerator, policy, self._shortest[0])
        engine = Engine(self.accelerator, policy, config, steps=steps)
        self._check_equal_passes(engine.raw.rotary_limit)
        engine.raw.router_coefficient, share = router, config.share_prompt
        if router and share == "yes":
            raise ValueError(
                "share_prompt: routers' auxiliary loss counts both prompts; use auto, or --router-aux-loss 0"
            )
        if router:
            share = "no"
            note = f"a pair's prompt is computed twice: routers' auxiliary loss, of weight {router:g}, counts both"
            say(note, active=not self.quiet)
        prompts, responses = [row[0] for row in self._shortest], [row[1] for row in self._shortest]
        for note in engine.raw.select_forward_path(
            engine.call, prompts, responses, share_prompt=share, longest=self._longest
        ):
            say(note, active=not self.quiet)
        return engine

    def _check_equal_passes(self, limit: int | None) -> None:
        """Raise ValueError if processes that share the weights could take different numbers of passes over the model.

        limit  the longest row with the model's usual rotary frequencies, beyond which rows take a pass of their own
        """
        prompt, responses = self._longest
        tokens, engine = len(prompt) + max(map(len, responses)), shares_weights(self.accelerator)
        if engine and limit is not None and tokens > limit:
            raise ValueError(
                f"max_length: a row has {tokens} tokens, and this model has other rotary frequencies beyond {limit}: "
                f"processes that share its weights ({engine}) would wait for others; use --max-length {limit}, or DDP"
            )


def longest_row(tokens: TokenizedDataset) -> Row:
    """Return the row with the most tokens, all responses included."""
    row = int(np.argmax(tokens.lengths()))
    return tokens.prompts[row], tokens.responses[row]
