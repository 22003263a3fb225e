"""Operations of runs and of measures by counts of tokens: an estimate, not a measurement; its numbers stand here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from llm.config import TrainConfig
from llm.data.objective_settings import ObjectiveSettings, reference_source
from llm.models.packaged import PACKAGED
from llm.skill.rows import seed_of
from llm.study.dependencies import prerequisites
from llm.study.measures import name_of, options_of

# Mean tokens of a row with its prompt. Bytes a row in the files of vicgalle/alpaca-gpt4 (43.4 MB, 52,002 rows) and of
# Dahoas/rm-hh-rlhf (111.5 MB, 77,052 rows; its prompt counts twice), at 4.5 bytes a token (assumed; English text).
TOKENS_SFT = 190
TOKENS_PAIR = 480
TOKENS_SKILL = 75  # of a row of `llm.skill`, with SmolLM2's tokenizer and template
# Mean length of the rows as a share of max_length, where longer rows are left out: 80 of 128 tokens a response with its
# prompt, in HH-RLHF.
BELOW_LIMIT = 0.625
# Operations a weight and token: 2 forward (arXiv 2001.08361, section 2.1), and 2 backward, for the gradient goes
# through a frozen weight but is not taken with respect to it; once more forward with gradient checkpointing.
FORWARD, STEP, CHECKPOINTED = 2, 4, 6
PEAK = 989e12  # operations a second in bf16 without sparsity, of an H100 SXM (its data sheet)
UTILISATION = 0.3  # share of PEAK that such small steps reach (assumed)
# Operations a second of one core in float32, with SmolLM2-135M on an AMD EPYC: 5.1e10 to 6.9e10 with AVX2, and in the
# recorded runs (AVX-512) 8.7e10 to 9.9e10.
CPU_RATE = 5e10
CPU_RATES = {"AVX512": 9e10}
LARGE = 0.5e9  # weights above which training on a CPU would take days
# Weights, from the models' cards; a base model is loaded in 2 bytes a weight.
WEIGHTS = {
    "EleutherAI/pythia-1b": 1.01e9, "facebook/opt-1.3b": 1.32e9, "meta-llama/Meta-Llama-3-8B": 8.03e9,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134.5e6,
}  # fmt: skip
# Measures of runs outside the embedded world: MMLU's questions with one example (57 subjects; arXiv 2009.03300's test
# sets; tokens by SmolLM2's tokenizer), XSTest's prompts, notes of the skill, prompts of `samples` and of `answers`.
QUESTIONS, SUBJECTS, TOKENS_QUESTION = 14_042, 57, 210
# name -> (prompts, tokens of a prompt in its template, tokens of a greedy answer); 0 prompts: by an option
ANSWERED = {"refusals": (450, 40, 16), "skill": (100, 60, 45), "samples": (5, 60, 96), "answers": (640, 60, 256)}
WITH_BASE = ("questions", "refusals")  # measured on the base as well, once
# Operations that a token of an answer costs, beside one of a prompt: tokens are written one after the other.
WRITTEN = 2.0
# Share of the rate of training that measures reach on a CPU: 57 questions of MMLU took 72 s of CPU time, and 150
# prompts of XSTest 71 s, on a core that trained at 9e10 operations a second.
EVALUATED = 0.5


def weights(model: str) -> float:
    """Return the number of weights of a model by its hub name, or by the file that a packaged model is in; else nan."""
    hub = next((p.hub for p in PACKAGED.values() if Path(model).name == Path(p.member).name), model)
    return WEIGHTS.get(hub, float("nan"))


def operations(configs: Sequence[TrainConfig]) -> float:
    """Return the operations of runs; nan if a model's size is unknown. Shared computations count once."""
    operations, counted = 0.0, set[str]()
    for config in configs:
        rows = [_row_tokens(own, config.max_length, config.overflow) for own in config.objectives]
        tokens = [float(row * own.batch) for row, own in zip(rows, config.objectives, strict=True)]
        step = CHECKPOINTED if config.gradient_checkpointing else STEP
        units = config.steps * step * _per_step(config, tokens)
        evaluations = config.steps / config.eval_every if config.eval_every else 1.0
        units += FORWARD * evaluations * config.eval_rows * sum(rows)
        for name in prerequisites(config).rest - counted:
            units += _shared(config, name, tokens, step)
            counted.add(name)
        operations += units * weights(config.model)
    return operations


def measured_operations(measures: Iterable[tuple[TrainConfig, str]]) -> float:
    """Return the operations of measures, each with its run's configuration; nan if a model's size is unknown.

    Counted are those of `ANSWERED` and `questions` of models outside the embedded world; the judge's are not.
    """
    operations, bases = 0.0, set[tuple[str, str]]()
    for config, measure in measures:
        name = name_of(measure)
        if config.model == "embedded" or name not in (*ANSWERED, "questions"):
            continue
        limit = int(options_of(measure).get("limit", 0))
        if name == "questions":
            tokens = float(TOKENS_QUESTION * (SUBJECTS * limit if limit else QUESTIONS))
        else:
            prompts, read, written = ANSWERED[name]
            tokens = (limit or prompts) * (read + WRITTEN * written)
        base = name in WITH_BASE and (config.model, measure) not in bases
        bases.add((config.model, measure))
        operations += FORWARD * tokens * (2 if base else 1) * weights(config.model)
    return operations


def cpu_rate() -> float:
    """Return about how many operations in float32 one core of this machine does in a second."""
    import torch

    return CPU_RATES.get(torch.backends.cpu.get_cpu_capability(), CPU_RATE)


def _row_tokens(own: ObjectiveSettings, max_length: int, overflow: str) -> float:
    """Return the mean number of tokens of a pair or of an SFT row, limited by `max_length`."""
    row = TOKENS_SKILL if seed_of(own.source) is not None else TOKENS_SFT
    limit = max_length * (BELOW_LIMIT if overflow == "drop" else 1.0)
    return min(TOKENS_PAIR, 2 * limit) if own.is_pairs else min(row, limit)


def _per_step(config: TrainConfig, tokens: Sequence[float]) -> float:
    """Return the mean number of tokens that a step trains on; evaluated tokens count by their share of operations."""
    rule, n = config.rule(), len(tokens)
    shares = zip(rule.training_shares(n), rule.evaluation_shares(n), tokens, strict=True)
    return sum((trained + FORWARD / STEP * evaluated) * count for trained, evaluated, count in shares)


def _shared(config: TrainConfig, name: str, tokens: Sequence[float], step: int) -> float:
    """Return the operations a weight of a shared computation.

    Shared are all optima, or the reference's adapter with its log-probabilities.
    """
    if name.startswith("optima"):
        return (config.optima_steps or config.steps) * step * sum(tokens)
    own = reference_source(config)
    batch = 0.0 if own is None else tokens[config.objectives.index(own)] / (2 if own.is_pairs else 1)
    pairs = sum(own.rows or 0 for own in config.objectives if own.is_pairs)
    return (config.reference_steps or config.steps) * step * batch + FORWARD * pairs * TOKENS_PAIR
