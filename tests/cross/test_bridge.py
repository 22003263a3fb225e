"""The bridge between the two halves: a language model that is the paper's toy policy, trained by `llm.train`, follows
`toyopt.simulate`.

The model gives a prompt of one token the logits theta·phi(y, x) of its answers, and nothing to any other token. Answers
are one token (max_length 2 cuts the end-of-text token off), a batch is a whole set, the optimiser is plain gradient
descent and all weights, that is theta, are trained. Then a step of the trainer is a step of the simulator, but in
float32.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import tiny_models as tiny
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from llm import TrainConfig, train
from llm.training import streams, trainer
from toyopt.algorithms import Alright, Constant, Maxright, Mix, Replay, Rule, Sequential, draw
from toyopt.problem import Problem
from toyopt.simulate import simulate

PROMPTS, ANSWERS, D, BETA, LR, STEPS, LAM = 5, 4, 4, 0.7, 1.0, 40, 0.4
U32 = 2.0**-24  # the unit roundoff of float32


class ToyConfig(PreTrainedConfig):
    """Nothing to configure: the features are given to the model."""

    model_type = "toy_softmax"


class ToyPolicy(PreTrainedModel, GenerationMixin):
    """logits(x) = phi(., x)·theta for answers; -1e9 for every other token."""

    config_class = ToyConfig

    def __init__(self, config: ToyConfig, table: torch.Tensor, answers: torch.Tensor, theta: torch.Tensor) -> None:
        """`table`: (vocabulary, vocabulary, d) features of a token after a token; `answers`: which of them are some."""
        super().__init__(config)
        self.theta = torch.nn.Parameter(theta)
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("answers", answers, persistent=False)
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Theta is given."""

    def get_input_embeddings(self) -> torch.nn.Module:
        """What the trainer asks for the size of the vocabulary; not a part of the model, or it would be trained."""
        return torch.nn.Embedding.from_pretrained(self.table.flatten(1))

    def forward(self, input_ids: torch.Tensor, **_: Any) -> CausalLMOutput:
        """Logits of every position's next token, which depend on that position's token alone."""
        logits = self.table[input_ids] @ self.theta
        return CausalLMOutput(logits=logits.masked_fill(~self.answers, -1e9))


@dataclass(frozen=True)
class World:
    """One problem, as the simulator and as the trainer want it."""

    phi: np.ndarray  # (prompts, answers, d)
    theta: np.ndarray  # (d,) the start, and the reference
    demonstrations: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int, int], ...]

    @cached_property
    def problem(self) -> Problem:
        return Problem.dpo_sft(
            chosen=[self.phi[x, w] for x, w, _ in self.pairs],
            rejected=[self.phi[x, r] for x, _, r in self.pairs],
            features=[self.phi[x] for x, _ in self.demonstrations],
            targets=[y for _, y in self.demonstrations],
            theta_ref=self.theta,
            beta=BETA,
        )

    def prompt(self, x: int) -> str:
        return tiny.WORDS[x]

    def answer(self, y: int) -> str:
        return tiny.WORDS[PROMPTS + y]

    @property
    def sft_rows(self) -> list[dict[str, str]]:
        return [{"prompt": self.prompt(x), "completion": self.answer(y)} for x, y in self.demonstrations]

    @property
    def preference_rows(self) -> list[dict[str, str]]:
        return [
            {"prompt": self.prompt(x), "chosen": self.answer(w), "rejected": self.answer(r)} for x, w, r in self.pairs
        ]

    def model(self, tokenizer: Any) -> ToyPolicy:
        asks, says = (
            tokenizer.convert_tokens_to_ids(tiny.WORDS[a:b]) for a, b in ((0, PROMPTS), (PROMPTS, PROMPTS + ANSWERS))
        )
        table = torch.zeros(len(tokenizer), len(tokenizer), D)
        for x, ask in enumerate(asks):
            table[ask, says] = torch.from_numpy(self.phi[x]).float()
        answers = torch.zeros(len(tokenizer), dtype=torch.bool)
        answers[says] = True
        return ToyPolicy(ToyConfig(), table, answers, torch.from_numpy(self.theta).float())


@pytest.fixture(scope="module")
def world() -> World:
    """Preferences that contradict the demonstrations; all numbers are ones that float32 has."""
    rng = np.random.default_rng(3)
    phi = rng.normal(size=(PROMPTS, ANSWERS, D))
    phi /= np.linalg.norm(phi, axis=-1).max()
    phi = phi.astype(np.float32).astype(np.float64)
    theta = (0.5 * rng.normal(size=D)).astype(np.float32).astype(np.float64)
    demonstrations = (*((x, x % ANSWERS) for x in range(PROMPTS)), (0, 2), (1, 3))
    pairs = (*((x, (x + 1) % ANSWERS, x % ANSWERS) for x in range(PROMPTS)), (2, 0, 1))
    return World(phi, theta, demonstrations, pairs)


def tolerance(problem: Problem, path: Any) -> float:
    """How far theta may be from the simulator's in the end, in the Euclidean norm, to first order in u = U32.

    Every step is nonexpansive (alpha <= 2/L, convex objectives), so errors of steps add up and do not grow. One step's
    are alpha times the gradient's, and the rounding of theta and of alpha·g, 2 u |theta|. A logit's is d u |theta| phi,
    so a probability's relative error is twice that and (m + 4) u of the softmax; the gradient, a mean of N terms
    p (phi(y') - phi(y)) of at most 2 phi, adds N u. DPO's beta is less than 1, and its reference's logits have the same
    errors once more. That is the worst case, 2e-4; roundings go both ways, and what is found is 1e-7 to 4e-7. A
    fiftieth of the worst case leaves a factor of ten to either side.
    """
    phi, size = float(problem.phi or 0.0), float(np.linalg.norm(path.theta, axis=1).max())
    relative = 4 * D * size * phi + ANSWERS + 4 + max(o.size for o in problem.objectives)
    return STEPS * (LR * 2 * phi * relative + 2 * size) * U32 / 50


def simulated(problem: Problem, rule: Rule, theta0: np.ndarray, seed: int = 0) -> Any:
    return simulate(problem, rule, Constant(LR), theta0=theta0, steps=STEPS, seeds=seed, record=1, choices=True)


def trained(
    world: World, folder: Path, rows: dict[str, Any] | None = None, **options: Any
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Theta in the end, and the lines of metrics.jsonl; `rows` are sets of several objectives by name."""
    tokenizer = tiny.tokenizer()
    short = {"sft": "rows", "preference": "rows", "lam": LAM} if rows is None else {}
    config = TrainConfig(
        model="toy", out=str(folder / "run"), cache=str(folder / "cache"), steps=STEPS, beta=BETA, lr=LR,
        optimizer="sgd", lora_rank=0, clip=0.0, template="none", max_length=2, held_out=0.0, save_every=10**6,
        batch_sft=len(world.demonstrations), batch_preference=len(world.pairs), seed=5, device="cpu",
        **{**short, **options},
    )  # fmt: skip
    given = {"sft": world.sft_rows, "preference": world.preference_rows} if rows is None else {"rows": rows}
    train(config, model=world.model(tokenizer), tokenizer=tokenizer, quiet=True, **given)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return load_file(folder / "run" / "model.safetensors")["theta"].double().numpy(), lines


def assert_follows(
    world: World,
    theta: np.ndarray,
    lines: list[dict[str, Any]],
    path: Any,
    problem: Problem | None = None,
    names: tuple[str, ...] = ("dpo", "sft"),
) -> None:
    """The same theta in the end, and the same values at every step at which the trainer looked."""
    problem = problem or world.problem
    close = tolerance(problem, path)
    assert max(o.smoothness for o in problem.objectives) * LR <= 2.0
    assert np.linalg.norm(theta - path.theta[-1]) <= close
    assert np.linalg.norm(path.theta[-1] - world.theta) > 1e3 * close  # it went somewhere
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line, values in zip(lines, path.values[:-1], strict=True):
        constants = [o.grad_bound for o in problem.objectives]
        for name, value, c in zip(names, values, constants, strict=True):
            if f"f_{name}" in line:  # at the theta before the step: C-Lipschitz, and its own rounding
                assert abs(line[f"f_{name}"] - value) <= c * close + 64 * U32 * max(1.0, value), (line["step"], name)


METHODS = {
    "sequential": ({"method": "sequential"}, Sequential((16, 24))),
    "sequential, SFT first": ({"method": "sequential", "order": "sft-dpo"}, Sequential((24, 16), (1, 0))),
    "sequential, one go": ({"method": "sequential", "stage_reset": False}, Sequential((16, 24))),
    "mix": ({"method": "mix"}, Mix(LAM)),
    "mix, one graph": ({"method": "mix", "mix_one_graph": True}, Mix(LAM)),
    "maxright": ({"method": "maxright", "k": 1}, Maxright(LAM, (0.25, 1.02), 1)),
    "maxright, k = 3": ({"method": "maxright", "k": 3}, Maxright(LAM, (0.25, 1.02), 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_trainer_follows_the_simulator(name: str, world: World, tmp_path: Path) -> None:
    options, rule = METHODS[name]
    given = {"f_star": "given", "f_dpo_star": 0.25, "f_sft_star": 1.02}
    theta, lines = trained(world, tmp_path, **given, **options)
    run = simulated(world.problem, rule, world.theta)
    assert_follows(world, theta, lines, run.path())
    chosen = {0: "dpo", 1: "sft", -1: "dpo+sft"}
    assert [line["objective"] for line in lines] == [chosen[int(c)] for c in run.choices[0]]
    if isinstance(rule, Maxright):
        assert 5 < run.counts[0, 0] < STEPS - 5  # both are chosen
        assert_no_tie(world.problem, rule, run)


def assert_no_tie(problem: Problem, rule: Maxright, run: Any) -> None:
    """The simulator's choices are decided by more than rounding, so that the trainer's must be the same."""
    values, stored = run.path().values, [0.0] * len(problem.objectives)
    weights = rule.weights(len(stored))
    bound = max(o.grad_bound for o in problem.objectives)
    for t, chosen in enumerate(run.choices[0]):
        if t % rule.k == 0:
            stored = list(values[t])
        gap = sorted(w * (f - star) for w, f, star in zip(weights, stored, rule.f_star, strict=True))
        assert gap[-1] - gap[-2] > 2 * (bound * tolerance(problem, run.path()) + 1e-5), t
        stored[chosen] = values[t, chosen]


@pytest.mark.slow
def test_alright_follows_the_simulator_on_the_steps_of_its_own_coin(world: World, tmp_path: Path) -> None:
    """Its steps are those of stages of one step, in the order that `draw` gives for the run's seed."""
    theta, lines = trained(world, tmp_path, method="alright", alternation="coin")
    coin = np.random.default_rng([5, 0xC0])
    order = tuple(draw(coin.random(), (LAM, 1.0 - LAM)) for _ in range(STEPS))
    assert [line["objective"] for line in lines] == [("dpo", "sft")[i] for i in order]
    run = simulated(world.problem, Sequential((1,) * STEPS, order), world.theta)
    assert_follows(world, theta, lines, run.path())


@pytest.mark.slow
def test_alright_follows_the_simulators_alright_when_both_have_one_coin(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (streams, trainer):  # the planned rows and the steps have each the same coin
        monkeypatch.setattr(module, "rule_generator", lambda _: np.random.default_rng(8))
    theta, lines = trained(world, tmp_path, method="alright", alternation="coin")
    run = simulated(world.problem, Alright(LAM), world.theta, seed=8)
    assert [line["objective"] for line in lines] == [("dpo", "sft")[int(c)] for c in run.choices[0]]
    assert_follows(world, theta, lines, run.path())


def test_the_bridge_bears_weight(world: World) -> None:
    """A beta or a λ that is one in a hundred off would be seen."""
    p = world.problem
    at = simulated(p, Mix(LAM), world.theta).path()
    dpo = p.objectives[0]
    other = Problem((replace(dpo, rows=1.01 * dpo.rows), p.objectives[1]))
    for off in (simulated(other, Mix(LAM), world.theta), simulated(p, Mix(1.01 * LAM), world.theta)):
        assert np.linalg.norm(at.theta[-1] - off.last[0]) > 5 * tolerance(p, at)


@pytest.mark.slow
def test_data_in_micro_batches_give_the_same(world: World, tmp_path: Path) -> None:
    theta, lines = trained(world, tmp_path, method="mix", micro_tokens=4)
    assert_follows(world, theta, lines, simulated(world.problem, Mix(LAM), world.theta).path())


@pytest.mark.slow
def test_optima_that_are_computed_do_not_move_the_start(world: World, tmp_path: Path) -> None:
    """Runs on one objective come first; the run itself begins at the base weights all the same."""
    theta, lines = trained(world, tmp_path, method="mix", f_star="compute")
    assert_follows(world, theta, lines, simulated(world.problem, Mix(LAM), world.theta).path())


# Three objectives: demonstrations, and two sets of pairs that disagree with them and with each other.

NAMES = ("safe", "chat", "warm")
OTHER_PAIRS = tuple((x, (x + 2) % ANSWERS, (x + 1) % ANSWERS) for x in range(PROMPTS))
WEIGHTS, F_STAR = (0.3, 0.3, 0.4), (0.25, 1.02, 0.3)
OF_THREE = {
    "sequential": ({"order": "warm-safe-chat"}, Sequential((16, 12, 12), (2, 0, 1))),
    "mix": ({}, Mix(WEIGHTS)),
    "mix, one graph": ({"method": "mix", "mix_one_graph": True}, Mix(WEIGHTS)),
    "alright": ({"method": "alright", "alternation": "coin"}, Alright(WEIGHTS)),
    "alright, even": ({"method": "alright", "alternation": "even"}, Alright(WEIGHTS, "even")),
    "maxright": ({"k": 1}, Maxright(WEIGHTS, F_STAR, 1)),
    "maxright, k = 3": ({"method": "maxright", "k": 3}, Maxright(WEIGHTS, F_STAR, 3)),
    "replay": ({"replay": 0.3}, Replay((12, 12, 16), (0, 1, 2), 0.3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_THREE)
def test_the_trainer_follows_the_simulator_on_three_objectives(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (streams, trainer):  # the planned rows, the steps and the simulator have one coin
        monkeypatch.setattr(module, "rule_generator", lambda _: np.random.default_rng(8))
    options, rule = OF_THREE[name]
    other = replace(world, pairs=OTHER_PAIRS)
    third = replace(other.problem.objectives[0], name="third")
    problem = Problem((*world.problem.objectives, third))
    sources = ("preference:rows", "sft:rows", "preference:rows")
    sizes = (len(world.pairs), len(world.demonstrations), len(OTHER_PAIRS))
    objective = [
        text
        for own in zip(NAMES, sources, WEIGHTS, sizes, F_STAR, strict=True)
        for text in (f"{own[0]}={own[1]}", f"weight={own[2]}", f"batch={own[3]}", f"f_star={own[4]}")
    ]
    rows = dict(zip(NAMES, (world.preference_rows, world.sft_rows, other.preference_rows), strict=True))
    settings = {"method": rule.key, "f_star": "given", "objective": objective, **options}
    theta, lines = trained(world, tmp_path, rows, **settings)
    run = simulated(problem, rule, world.theta, seed=8)
    assert_follows(world, theta, lines, run.path(), problem, NAMES)
    chosen = dict(enumerate(NAMES)) | {-1: "+".join(NAMES)}
    assert [line["objective"] for line in lines] == [chosen[int(c)] for c in run.choices[0]]
    assert rule.key == "mix" or all(count > 3 for count in run.counts[0])  # all three are trained
    if isinstance(rule, Maxright):
        assert_no_tie(problem, rule, run)
