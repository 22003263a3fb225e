"""`train`: from a configuration to an adapter. The phases, and what is kept between them.

1. the sets, tokenised      2. DPO's reference: its adapter if it has one, then its log-probabilities (cached)
3. the optima, if MAXRIGHT wants them computed (cached)      4. the loop      5. the adapter and its card
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.files import UNFINISHED, read_json, write_json
from llm.config import NOT_THE_RESULT, TrainConfig
from llm.data.splits import Sets
from llm.data.tokenization import TokenSet
from toyopt.algorithms import DPO, SFT, Alright, Maxright, Mix, Rule, Sequential

# What a run writes into its folder: the rest of it is the user's, and stays when a run begins anew.
OURS = (
    "run.json summary.json metrics.jsonl README.md checkpoints kept measures stage[0-9] adapter adapter_* tokenizer* "
    "special_tokens* added_tokens* chat_template* vocab* merges* config.json generation_config.json "
    "model*.safetensors* *.unfinished"
).split()


@dataclass(frozen=True)
class Result:
    """A finished run: its folder (the adapter is in it), and what `summary.json` holds."""

    folder: Path
    summary: dict[str, Any]


def train(
    config: TrainConfig | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    sft: Any = None,
    preference: Any = None,
    sft_held_out: Any = None,
    preference_held_out: Any = None,
    quiet: bool = False,
) -> Result:
    """Train one adapter on an SFT set and a preference set.

    config      what to do; the rest, if given, is used in place of what it names
    model       a causal language model of transformers, in memory; it is given back without adapters
    tokenizer   its tokeniser
    sft, preference, sft_held_out, preference_held_out  lists of dicts or `datasets.Dataset`s

    A folder with the same run goes on where it was, or is returned if it is finished. ValueError, TypeError or
    FileNotFoundError, in one line, for wrong input; `llm.loop.StoppedRunError` with a diagnosis if a loss explodes.
    """
    from llm.training.run import Run

    given = {"sft": sft, "preference": preference}
    given |= {"sft_held_out": sft_held_out, "preference_held_out": preference_held_out}
    config = config or TrainConfig()
    if (model is None) != (tokenizer is None):
        raise TypeError("model and tokenizer: give both or neither")
    with claimed(config) as folder, asked_to_stop() as wanted, untouched(model):
        run = Run(config, folder, model=model, tokenizer=tokenizer, given=given, quiet=quiet, wanted=wanted)
        try:
            return Result(folder, run.train())
        finally:
            run.give_back()


def rule_of(config: TrainConfig, f_star: tuple[float, float] = (0.0, 0.0)) -> Rule:
    """The rule of toyopt.algorithms that a configuration names; λ weighs DPO, and Sequential's share of steps."""
    if config.method == "sequential":
        first = round(config.lam * config.steps)
        steps, order = (first, config.steps - first), (DPO, SFT)
        return Sequential(steps[::-1], order[::-1]) if config.order == "sft-dpo" else Sequential(steps, order)
    if config.method == "mix":
        return Mix(config.lam)
    return Alright(config.lam) if config.method == "alright" else Maxright(config.lam, f_star, config.k)


def reference_kind(config: TrainConfig) -> str:
    """base, chosen, sft, or an adapter's folder; `paper` is what comes first in the order of training."""
    if config.reference == "paper":
        return "chosen" if config.order == "dpo-sft" else "sft"
    return config.reference


def chosen_only(tokens: TokenSet) -> TokenSet:
    """A preference set's chosen responses as an SFT set."""
    return dataclasses.replace(tokens, kind="sft", responses=tuple((r[0],) for r in tokens.responses))


def unmasked(tokens: TokenSet) -> TokenSet:
    """The same rows with all of the prompt but its first token trained on."""
    import numpy as np

    whole = [np.concatenate([p, r[0]]) for p, r in zip(tokens.prompts, tokens.responses, strict=True)]
    return dataclasses.replace(tokens, prompts=tuple(w[:1] for w in whole), responses=tuple((w[1:],) for w in whole))


def identity(config: TrainConfig, sets: Sets, base: str) -> dict[str, Any]:
    """What a run's result depends on: its options, the rows and the weights."""
    options = {k: v for k, v in config.as_dict().items() if k not in NOT_THE_RESULT}
    return {"options": options, "rows": sets.digests, "base": base}


def identity_in(path: Path) -> dict[str, Any]:
    """The identity in a run.json; ValueError if it is another program's."""
    saved = read_json(path)
    if not isinstance(saved, dict) or not {"identity", "config"} <= set(saved):
        raise ValueError(f"out: {path} is not a run's of this program; give another folder")
    return dict(saved["identity"])


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Where two identities differ, in words."""
    names = sorted(set(ours["options"]) | set(theirs["options"]))
    before = TrainConfig().as_dict() | theirs["options"]  # an option that did not exist then did nothing
    found = [
        f"{n} was {before.get(n)!r} and is {ours['options'].get(n)!r}"
        for n in names
        if ours["options"].get(n) != before.get(n)
    ]
    found += ["the rows are others"] if ours["rows"] != theirs["rows"] else []
    return found + (["the base model is another"] if ours["base"] != theirs["base"] else [])


@contextmanager
def claimed(config: TrainConfig) -> Iterator[Path]:
    """The run's folder, this process's own while the block lasts. ValueError if it is not a folder of a run."""
    from filelock import FileLock, Timeout

    folder = config.folder
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file; give a folder")
    if folder.is_dir() and any(_foreign(p) for p in folder.iterdir()) and not (folder / "run.json").exists():
        raise ValueError(f"out: {folder} holds something else than a run; give another folder")
    writable("cache", config.cache_folder)
    writable("out", folder)
    if int(os.environ.get("RANK", "0")) != 0:
        yield folder
        return
    try:
        with FileLock(folder / ".lock", timeout=0):
            try:
                yield folder
            finally:
                if all(p.name == ".lock" for p in folder.iterdir()):  # nothing came of it
                    shutil.rmtree(folder, ignore_errors=True)
    except Timeout as error:
        raise ValueError(f"out: another process is running in {folder}; wait for it, or give another folder") from error


def writable(name: str, folder: Path) -> None:
    """Make a folder if it is not there; ValueError, naming the option, if it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        why = str(error.strerror).lower()
    if why:
        raise ValueError(f"{name}: {folder} cannot be written to ({why}); give another folder with --{name}")


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """torch's generators and threads, and which parameters are trainable, are afterwards what they were."""
    import torch

    threads = torch.get_num_threads()
    training = model is not None and model.training
    before = [] if model is None else [(p, p.requires_grad) for p in model.parameters()]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            if model is not None:
                model.train(training)
            for parameter, trainable in before:
                parameter.requires_grad_(trainable)


def _foreign(path: Path) -> bool:
    """Whether it is neither a lock nor what a killed process left half-written."""
    return path.name != ".lock" and not path.name.endswith(UNFINISHED)


@contextmanager
def asked_to_stop() -> Iterator[Any]:
    """A function that tells whether SIGTERM or Ctrl-C came; the second Ctrl-C interrupts at once."""
    came: list[int] = []

    def note(number: int, _: Any) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def begin(folder: Path, config: TrainConfig, ours: dict[str, Any], about: dict[str, Any]) -> bool:
    """Whether the folder's run is to be carried out: False if it is finished. ValueError if it is another run's."""
    path = folder / "run.json"
    if path.exists() and not config.overwrite:
        different = differences(ours, identity_in(path))
        if different:
            raise ValueError(
                f"out: {folder} holds another run ({'; '.join(different[:3])}); give another --out, or --overwrite"
            )
        return not (folder / "summary.json").exists()
    if path.exists():
        identity_in(path)  # what is no run is not removed
        for pattern in OURS:
            for old in folder.glob(pattern):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_json(path, {"identity": ours, "config": config.as_dict(), **about})
    return True
