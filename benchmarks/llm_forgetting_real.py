"""Compare the forgetting of Sequential on a real model with that of other trainers on the same batches.

The runs are those of the figure `real`: SmolLM2-135M-Instruct, the skill and a preference set, Sequential in both
orders. TRL starts each run with our adapter before its first step, takes our batches one after another, as
conversations to which it applies the chat template itself, and goes on with its own adapter in the second stage, where
DPO's reference is the base. So both sides must end at the same values but for rounding, which training amplifies. All
adapters are measured by the same plain forward passes and greedy answers. LLaMA-Factory does as TRL
does (`benchmarks.llm_llamafactory`), and once more trains DPO after SFT with `pref_ftx`, its answer to forgetting.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from benchmarks.agreement import Paired
from benchmarks.llm_forgetting import ORDERS, Measure, World, check_ids, trainer_of
from figures.analysis.real_sweeps import real
from figures.artefact import Request
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.rows import Kind
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset

# How the model's chat template writes a message, and the beginning of the answer.
TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)
ASKED = "<|im_start|>assistant\n"
LABELS = {"sft-dpo": "Sequential, SFT first", "dpo-sft": "Sequential, DPO first"}
SKILL = "skill: exact answers"
SECONDS = "seconds of the stage's steps"
# Relative difference of a loss: rounding, amplified by training (see figures/recorded/verify.py); and of shares, which
# are steps: five of a hundred answers or pairs.
LOSS, SHARE = 0.02, 0.05
AsRow = Callable[[Any, "TokenizedDataset", int], dict[str, Any]]
ROWS = 16  # at a time, when an adapter is measured


def config_of(preference: Path, order: str, seed: int) -> TrainConfig:
    """Return the configuration of the recorded run of Sequential in an order, with adapters kept after either stage."""
    spec = real(Request(scale="real", preference=str(preference)))[LABELS[order]]
    [run] = grid_of({**spec, "seeds": [seed], "measures": []}).runs()
    return replace(run.config, keep_every=run.config.steps // 2, eval_every=0, save_every=run.config.steps)


def world_of(
    config: TrainConfig, as_row: AsRow | None = None, **given: Any
) -> tuple[World, dict[Kind, TokenizedDataset]]:
    """Return base, batches of both stages as rows, and held-out rows; and the ids that our run trains on.

    as_row  (tokenizer, tokens, number of a row) -> the row as TRL gets it; None: as a conversation
    given   sets in memory, as for `llm.training.run.train`
    """
    from llm.training.inputs import GivenInputs, open_inputs

    as_row = as_row or _conversation
    with open_inputs(config, GivenInputs(**given), quiet=True) as inputs:
        tokenizer, sets, held_out = inputs.tokenizer, inputs.datasets.train, inputs.datasets.held_out
        trained = {kind: sets[kind].select(batches(config, sets[kind], kind)) for kind in ORDERS["dpo-sft"]}
        rows = {kind: [as_row(tokenizer, tokens, i) for i in range(len(tokens))] for kind, tokens in trained.items()}
        tokens = {k: held_out[k].select(np.arange(min(len(held_out[k]), config.eval_rows))) for k in trained}
    return World(Path(config.model), tokenizer, rows, tokens), trained


def batches(config: TrainConfig, rows: TokenizedDataset, kind: Kind) -> Indices:
    """Return the rows of all steps of a stage, in the order in which our run takes them."""
    from llm.training.objective import Objective
    from llm.training.streams import training_sampler

    name = "sft" if kind == "sft" else "dpo"
    sampler, taken = training_sampler(config, Objective(name, rows)), []
    for _ in range(config.steps // 2):
        taken.append(sampler.peek())
        sampler.advance()
    return np.concatenate(taken)


def _conversation(tokenizer: Any, tokens: TokenizedDataset, i: int) -> dict[str, Any]:
    """Return row `i` as messages; ValueError if its text is not that of a whole conversation."""
    names = ("completion",) if tokens.kind == "sft" else ("chosen", "rejected")
    prompt, *responses = (tokenizer.decode(ids) for ids in (tokens.prompts[i], *tokens.responses[i]))
    row = {"prompt": _messages(prompt.removesuffix(ASKED), prompt)}
    return row | {name: _messages(ASKED + text, text) for name, text in zip(names, responses, strict=True)}


def _messages(text: str, shown: str) -> list[dict[str, str]]:
    """Return the messages of a text that the model's chat template has written."""
    found = [{"role": role, "content": content} for role, content in TURN.findall(text)]
    if TURN.sub("", text) or not found:
        raise ValueError(f"not a whole conversation: {shown!r}")
    return found


def ours(config: TrainConfig, out: Path, **given: Any) -> list[Path]:
    """Train by `llm`; return the folders of the adapters before the first step and after either stage."""
    from llm.training.checkpoint import kept_folder
    from llm.training.run import train

    train(replace(config, out=str(out)), quiet=True, **given)
    return [kept_folder(out, step) for step in (0, config.steps // 2, config.steps)]


def theirs(
    world: World, trained: Mapping[Kind, TokenizedDataset], config: TrainConfig, start: Path, out: Path
) -> list[Path]:
    """Train by TRL from the adapter `start`; return the folders of the adapters after either stage.

    Its head computes labelled positions only, as on a GPU, which saves time.
    """
    from peft import PeftModel

    folders = [start]
    for stage, kind in enumerate(ORDERS[config.order]):
        model = PeftModel.from_pretrained(world.model(), str(folders[-1]), is_trainable=True)
        more = {"ref_model": world.model()} if kind == "preference" else {}
        with patch("trl.trainer.utils._use_triton", lambda _: True):
            trainer = trainer_of(kind, world, config, config.steps // 2, model, out, more, shuffle=False)
            check_ids(kind, trainer.train_dataset, trained[kind])
            trainer.train()
        folders.append(out / f"stage{stage}")
        trainer.save_model(str(folders[-1]))
    return folders[1:]


def _skill(adapter: Path) -> float:
    """Return the share of held-out notes that an adapter files exactly."""
    from llm.skill.measure import SkillConfig, skill

    return float(skill(SkillConfig(model=str(adapter)))["exact_match"])


def compared(order: str, ours: Sequence[Sequence[Mapping[str, float]]], theirs: Sequence[Any], **more: Any) -> Paired:
    """Return the comparison of measurements in an order: seed -> after either stage -> quantity -> value."""
    sides = [
        {
            f"{name} after {when}": np.array([seed[stage][name] for seed in side])
            for stage, when in enumerate(("the first stage", "both"))
            for name in side[0][stage]
        }
        for side in (ours, theirs)
    ]
    tolerance = {name: _tolerance(name, float(np.abs(values).max())) for name, values in sides[1].items()}
    return Paired(order, sides[0], sides[1], tolerance, **more)


def _tolerance(quantity: str, largest: float) -> float:
    """Return the largest difference that counts as agreement; infinity for seconds, which are for information."""
    if quantity.startswith(SECONDS):
        return math.inf
    return LOSS * largest if quantity.startswith("f_") else SHARE


@dataclass(frozen=True)
class OurRun:
    """A finished run of ours, and what another trainer needs to make the same one.

    name     order and seed
    trained  the ids that the run trained on, by kind of rows
    folder   empty but for the run, in `llm`; removed when the next run begins
    start    folder of the adapter before the first step
    ends     folders of the adapters after either stage
    """

    name: str
    config: TrainConfig
    world: World
    trained: Mapping[Kind, TokenizedDataset]
    measure: Measure
    folder: Path
    start: Path
    ends: Sequence[Path]


def _our_runs(preference: Path, order: str, seeds: Sequence[int]) -> Iterator[OurRun]:
    """Train by `llm` in an order, and yield the run of each seed."""
    for seed in seeds:
        config = config_of(preference, order, seed)
        world, trained = world_of(config)
        measure = Measure(world, config.beta, ROWS)
        with tempfile.TemporaryDirectory(prefix="forgetting-") as temporary:
            folder = Path(temporary)
            start, *ends = ours(config, folder / "llm")
            yield OurRun(f"{order}, seed {seed}", config, world, trained, measure, folder, start, ends)


def forgetting_real(preference: Path, seeds: Sequence[int] = (2,)) -> list[Paired]:
    """Compare (q) losses and skill after each stage on a real model with TRL's, on the same batches."""
    from benchmarks.llm_speed import prepare

    prepare()
    logging.getLogger("trl").setLevel(logging.ERROR)
    out = []
    for order in ORDERS:
        own, others = [], []
        for run in _our_runs(preference, order, seeds):
            own.append(_measured(run.measure, run.ends, f"{run.name}, llm"))
            adapters = theirs(run.world, run.trained, run.config, run.start, run.folder / "trl")
            others.append(_measured(run.measure, adapters, f"{run.name}, TRL"))
        out.append(compared(order, own, others))
    return out


def forgetting_llamafactory(preference: Path, cli: Path, seeds: Sequence[int] = (2,)) -> list[Paired]:
    """Compare (r) losses and skill after each stage on a real model with LLaMA-Factory's, on the same batches.

    cli  its command, llamafactory-cli, in an environment of its own
    """
    from benchmarks import llm_llamafactory as peer
    from benchmarks.llm_speed import prepare

    prepare()
    name, out, with_ftx = peer.name_of(cli), [], []
    for order in ORDERS:
        own, others = [], []
        for run in _our_runs(preference, order, seeds):
            own.append(_measured(run.measure, run.ends, f"{run.name}, llm", _seconds(run.folder / "llm", run.config)))
            adapters = peer.theirs(cli, run.world, run.trained, run.config, run.start, run.folder / "peer")
            others.append(_measured(run.measure, adapters, f"{run.name}, {name}", map(peer.seconds, adapters)))
            if order == "sft-dpo":
                third, pairs = run.folder / "ftx", run.trained["preference"]
                peer.train(cli, run.world, "preference", pairs, run.config, adapters[0], third, pref_ftx=1.0)
                with_ftx += _measured(run.measure, [third], f"{run.name}, {name}, pref_ftx 1")
        out.append(compared(order, own, others, peer=name))
    last = {f"{key} after both": np.array([seed[key] for seed in with_ftx]) for key in with_ftx[0]}
    plain = {key: out[-1].ours[key] for key in last}
    out.append(Paired("sft-dpo, pref_ftx 1 there", plain, last, dict.fromkeys(last, math.inf), name))
    return out


def _seconds(out: Path, config: TrainConfig) -> list[float]:
    """Return the wall-clock seconds of the steps of either stage of our run."""
    from llm.training.metrics import read_metrics

    until = {line["step"]: float(line["seconds"]) for line in read_metrics(out) if "objective" in line}
    half = until[config.steps // 2]
    return [half, until[config.steps] - half]


def _measured(
    measure: Measure, adapters: Sequence[Path], shown: str, seconds: Iterable[float] = ()
) -> list[dict[str, float]]:
    """Return the values of adapters after either stage, and print them; with the seconds of the stages, if given."""
    rows = [measure(adapter) | {SKILL: _skill(adapter)} for adapter in adapters]
    for row, spent in zip(rows, seconds, strict=False):
        row[SECONDS] = spent
    for stage, row in enumerate(rows, 1):
        print(f"{shown}, stage {stage}: {'  '.join(f'{k} {v:.5f}' for k, v in row.items())}", flush=True)
    return rows
