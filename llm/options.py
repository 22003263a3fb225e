"""The trainer's options, one field each: meaning, default, and range, in groups by role.

A group is a role: the dependencies of a result or of a cached computation are lists of groups (`llm.config.RESULT`,
`llm.config.SINGLE_OBJECTIVE`), never in names of options. The options of the decision rules are in `llm.rule_options`,
those that name data sets in `llm.data.set_options`. `llm.config.TrainConfig` joins all groups into one flat
configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from llm.common.arguments import AT_LEAST_1, BELOW_1, BELOW_HALF, NOT_NEGATIVE, POSITIVE, SHARE, Range
from llm.losses import PREFERENCE_LOSSES

if TYPE_CHECKING:
    Loss = str
else:
    Loss = Literal[tuple(PREFERENCE_LOSSES)]
Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"]


@dataclass(frozen=True)
class ModelOptions:
    """The weights that training starts from."""

    model: str = "embedded"
    """Base model: a hub name, a folder, a GGUF file, `embedded`, or the short name smollm2-135m (see `fetch`)."""
    adapter: str = ""
    """Folder of an adapter to continue training."""
    remote_code: bool = False
    """Run Python code that a model repository contains."""
    quantization: Literal["none", "nf4"] = "none"
    """Base model in 4 bits (bitsandbytes, QLoRA), which computes in `precision`. Needs the extra `quant`."""
    double_quantization: bool = True
    """nf4: quantise the scales as well."""


@dataclass(frozen=True)
class DataOptions:
    """How rows become token ids, and which of them are held out."""

    ignore_input: bool = False
    """Instruction sets: leave out the input column."""
    bad_rows: Literal["error", "drop"] = "error"
    """Treatment of unusable rows."""
    template: str = "auto"
    """auto: the chat template, else `User: {prompt}\\nAssistant: `; none: plain texts; or a text with {prompt}."""
    template_kwargs: str = ""
    """Arguments of the chat template as a JSON object, for example {"enable_thinking": false}; a row's own column
    chat_template_kwargs goes before them."""
    template_date: str = ""
    """Date, YYYY-MM-DD, for chat templates that write today's; empty: the date of the run's first start."""
    sft_turns: Literal["last", "all"] = "last"
    """SFT conversations: train the last assistant message, or all of them in one pass."""
    max_length: Annotated[int, Range(low=2)] = 2048
    """Maximum number of tokens of a prompt with a response; longer prompts lose their beginning."""
    keep_prompt: Annotated[float, BELOW_1] = 0.25
    """Least share of `max_length` that a long prompt keeps; beyond it, responses lose their ends."""
    overflow: Literal["truncate", "drop", "error"] = "truncate"
    """Treatment of rows longer than `max_length`."""
    eos: str = ""
    """End-of-text token, for a tokenizer without one."""
    held_out: Annotated[float, BELOW_1] = 0.03
    """Share of each set, by prompts, that is held out for evaluation."""
    eval_on_train: bool = False
    """Evaluate on the first `held_out` share of the training rows, and train on these as well."""


@dataclass(frozen=True)
class WorldOptions:
    """The embedded world: base model and data sets that need no network."""

    conflict: Annotated[float, SHARE] = 0.5
    """Embedded sets: share of preferences that contradict the SFT answers."""
    overlap: Annotated[float, SHARE] = 0.0
    """Embedded sets: share of preference prompts with the wording of SFT prompts."""
    world_seed: Annotated[int, NOT_NEGATIVE] = 0
    """Embedded world: random seed."""
    world_size: Literal["standard", "small", "large"] = "standard"
    """Embedded world: standard (120 places, 1.1 million parameters), small (40, 0.2 million), large (400, 11 million).
    """
    world_family: Literal["neox", "llama", "t5"] = "neox"
    """Embedded world: architecture of the base; t5 is an encoder-decoder. The preset's lora_targets follow it."""


@dataclass(frozen=True)
class LossOptions:
    """The losses of both objectives."""

    beta: Annotated[float, POSITIVE] = 0.1
    """β of DPO, KTO and every loss with a reference; τ of IPO."""
    preference_loss: Loss = "dpo"
    """Loss on pairs: dpo, ipo, hinge (SLiC), cdpo (DPO with label smoothing), robust, rpo (DPO with a likelihood term),
    or simpo or orpo, which need no reference; held-out pairs always report f_DPO. Or kto, on single responses with a
    label; pairs count as two of these."""
    label_smoothing: Annotated[float, BELOW_HALF] = 0.0
    """ε of cdpo and robust, the probability that a pair's labels are swapped; 0: both are DPO."""
    rpo_alpha: Annotated[float, POSITIVE] = 1.0
    """α of RPO, the weight of the chosen response's likelihood."""
    simpo_beta: Annotated[float, NOT_NEGATIVE] = 0.0
    """β of SimPO; 0: β of DPO."""
    simpo_gamma: Annotated[float, NOT_NEGATIVE] = 0.5
    """γ of SimPO, the target margin."""
    orpo_lambda: Annotated[float, POSITIVE] = 0.1
    """λ of ORPO, the weight of the odds ratio."""
    desirable_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the losses of desirable responses in KTO."""
    undesirable_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the losses of undesirable responses in KTO."""
    sft_mean: Literal["step", "batch"] = "step"
    """f_SFT is a mean over the response tokens of the whole step, or of each micro-batch."""


@dataclass(frozen=True)
class ReferenceOptions:
    """DPO's reference policy."""

    reference: str = "base"
    """Reference of DPO: base (the bare model), chosen or sft (an adapter trained on the chosen responses, or on the SFT
    set), paper (chosen or sft, according to `order`), or the folder of an adapter."""
    reference_steps: Annotated[int, NOT_NEGATIVE] = 0
    """Number of steps of the run that trains the reference; 0: as many as `steps`."""
    reference_prompts: bool = False
    """Train the reference on prompts as well (no masking)."""


@dataclass(frozen=True)
class TrainingOptions:
    """Length and randomness of a run."""

    steps: Annotated[int, AT_LEAST_1] = 400
    """Total number T of optimizer steps."""
    seed: Annotated[int, NOT_NEGATIVE] = 42
    """Random seed of data order, draws and adapter."""
    neftune_alpha: Annotated[float, NOT_NEGATIVE] = 0.0
    """NEFTune: size α of the noise on the embeddings of SFT steps, uniform within ± α/√(L d); usual: 5; 0: none. No
    evaluation and no step on preferences has it."""
    base_dropout: bool = False
    """Keep the base model's own dropout (layer dropout and routers' jitter included) in training."""
    router_aux_loss: Annotated[float | None, NOT_NEGATIVE] = None
    """Weight of the load-balancing loss of a mixture of experts, added to both objectives in training; empty: the
    weight that the model's configuration names, as in TRL; 0: none."""


@dataclass(frozen=True)
class BatchOptions:
    """Batches and how they are computed."""

    batch_sft: Annotated[int, AT_LEAST_1] = 24
    """SFT rows a step, over all processes."""
    batch_preference: Annotated[int, AT_LEAST_1] = 8
    """Pairs a step, over all processes; of KTO responses."""
    micro_tokens: Annotated[int, NOT_NEGATIVE] = 0
    """Maximum number of padded tokens that a process trains on at once; a larger batch is accumulated. 0: 2048 on a
    CPU, 16384 on a GPU. Evaluations, which keep no activations, compute up to eight times as many, at most 16384."""
    window: Annotated[int, NOT_NEGATIVE] = 50
    """Number of batches that are sorted by length together; 0: plain shuffling."""
    share_prompt: Literal["auto", "yes", "no"] = "auto"
    """Compute a pair's prompt once: if the numbers are equal, always, never."""


@dataclass(frozen=True)
class AdapterOptions:
    """The LoRA adapter."""

    lora_rank: Annotated[int, NOT_NEGATIVE] = 32
    """Rank; 0: no adapter, all weights are trained."""
    lora_alpha: Annotated[int, AT_LEAST_1] = 32
    """LoRA's alpha; the update is scaled by alpha/rank."""
    lora_targets: tuple[str, ...] = ()
    """Layers by name or its end, all-linear, or a regular expression over whole names; empty: PEFT's choice for the
    architecture, else all linear layers. Routers, and layers for images or sounds, are never adapted."""
    lora_parameters: tuple[str, ...] = ()
    """Parameters of experts by the end of their names (PEFT's target_parameters), for example experts.gate_up_proj."""
    lora_dropout: Annotated[float, BELOW_1] = 0.0
    """Dropout before the adapter."""
    lora: tuple[str, ...] = ()
    """Further fields of PEFT's LoraConfig, each NAME=VALUE, for example use_dora=true use_rslora=true
    init_lora_weights=pissa; lists and objects in JSON."""


@dataclass(frozen=True)
class OptimizerOptions:
    """The optimizer and its schedule."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Optimizer of torch."""
    lr: Annotated[float, POSITIVE] = 5e-5
    """Learning rate."""
    beta1: Annotated[float, BELOW_1] = 0.9
    """β₁ of AdamW."""
    beta2: Annotated[float, BELOW_1] = 0.95
    """β₂ of AdamW."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight decay of AdamW; biases and norms have none, as in the trainers of transformers."""
    clip: Annotated[float, NOT_NEGATIVE] = 1.0
    """Maximum norm of the gradient; 0: no clipping."""
    schedule: Schedule = "constant"
    """Learning-rate schedule of transformers."""
    warmup: Annotated[int, NOT_NEGATIVE] = 0
    """Number of warm-up steps; `constant` has none."""


@dataclass(frozen=True)
class ComputationOptions:
    """Number formats and kernels."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the base model and of the computation; adapter and log-probabilities are float32. With lora_rank 0
    fp32 only."""
    attention: str = ""
    """Attention implementation of transformers: sdpa, eager, flash_attention_2; empty: its default."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """Compile the policy with torch.compile."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Evaluations during a run."""

    eval_every: Annotated[int, NOT_NEGATIVE] = 100
    """Number of steps between evaluations, with one at the end; 0: only at the end."""
    eval_rows: Annotated[int, AT_LEAST_1] = 240
    """Maximum number of held-out rows of each set."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """Tasks of lm-evaluation-harness during a run."""

    benchmark_tasks: tuple[str, ...] = ()
    """Tasks or groups of lm-evaluation-harness to score the policy by (hellaswag, ...), and `embedded`: the embedded
    world's questions. Needs the extra `eval`."""
    benchmark_every: Annotated[int, NOT_NEGATIVE] = 0
    """Number of steps between these scores, with one before training and one at the end; 0: only at the end."""
    benchmark_shots: Annotated[int, NOT_NEGATIVE] = 1
    """Number of examples before a question."""
    benchmark_limit: Annotated[int, NOT_NEGATIVE] = 0
    """Number of questions from the start of each task; 0: all."""
    benchmark_include: str = ""
    """Folder with tasks of your own, in the harness's YAML."""
    benchmark_questions: str = ""
    """For `embedded`: other rows {"question", "choices", "answer"}."""
    benchmark_chat: bool = False
    """For the harness's tasks: apply the tokenizer's chat template."""


@dataclass(frozen=True)
class KeepOptions:
    """Adapters that a run keeps, and the one that is its result."""

    keep_every: Annotated[int, NOT_NEGATIVE] = 0
    """Number of steps between adapters kept in OUT/kept, with the first and the last; 0: none."""
    keep_best: str = "no"
    """Result of the run: the last adapter (no), or that of the evaluation with the least held-out f_dpo, f_sft (f_NAME
    of any objective), mix (the weighted sum), worst_gap (the largest weighted gap) or ideal_distance."""
    patience: Annotated[int, NOT_NEGATIVE] = 0
    """Stop after this many evaluations in a row without a better one by `keep_best`; 0: train all steps."""


@dataclass(frozen=True)
class MachineOptions:
    """The machine; no result depends on these options, but for rounding."""

    threads: Annotated[int, NOT_NEGATIVE] = 0
    """Threads of torch on a CPU; 0: one for a model of less than 10 million weights, else torch's default."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU if there is one."""


@dataclass(frozen=True)
class RunOptions:
    """Folders, checkpoints and safety; no result depends on these options."""

    out: str = ""
    """Folder of the run; empty: runs/MODEL-METHOD-lamLAM-seedSEED."""
    cache: str = ""
    """Folder of cached computations (references, optima, the embedded base); empty: ~/.cache/forget-neither."""
    save_every: Annotated[int, AT_LEAST_1] = 100
    """Number of steps between checkpoints."""
    max_loss_ratio: Annotated[float, POSITIVE] = 10.0
    """Stop if a loss exceeds this multiple of its first value (and 10) on three consecutive steps."""
    log_with: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Trackers beside metrics.jsonl."""
    push_to_hub: str = ""
    """Repository of the hub, OWNER/NAME, to which the finished adapter is uploaded; a new one is private. The token is
    HF_TOKEN's, or that of `hf auth login`."""
    overwrite: bool = False
    """Restart in a folder that holds another run."""
