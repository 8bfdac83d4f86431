"""How fast this machine trains and evaluates, beside the bare matrix products of the same shapes.

Each figure is a median of rounds in which the work, its products alone and torch's own layer took
turns. It knows nothing of the terminal.

B = lanes, T = window length, I = input size, H = hidden size.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.layers import RecurrentLayer
from charrnn.text.corpus import Corpus
from charrnn.timing import median_ratio, time_in_turn
from charrnn.training.budget import Plan, make_plan
from charrnn.training.device import PRECISIONS, autocast, choose_device, choose_precision
from charrnn.training.evaluation import LANES, WINDOW, evaluate_carried
from charrnn.training.learner import Learner, make_model
from charrnn.training.machine import timed
from charrnn.training.optimizer import ORTHOGONALIZE_EVERY
from charrnn.training.products import forward_products, make_bare, step_products, total_flop

_FEWEST_ROUNDS = 3
_STEPS = math.lcm(*ORTHOGONALIZE_EVERY.values())  # a round, so that all rounds cost alike


@dataclass(frozen=True)
class TrainingSpeed:
    """One training step. products_*: its matrix products alone, in the same number format.

    products_share: their time as a share of the step's; above 1 where a kernel beats torch.mm.
    layer_*: our recurrent layer forward and backward, and torch's own; layer_speedup is how many
    times as fast ours is.
    """

    cell: str
    num_layers: int
    hidden_size: int
    batch_size: int
    seq_len: int
    precision: str
    step_ms: float
    chars_per_second: float
    gflop_per_second: float
    products_ms: float
    products_share: float
    layer_ms: float
    torch_layer_ms: float
    layer_speedup: float


@dataclass(frozen=True)
class EvaluationSpeed:
    """Scoring held-out text, in float32. products_share: as TrainingSpeed's, of forward alone."""

    cell: str
    num_layers: int
    hidden_size: int
    chars_per_second: float
    gflop_per_second: float
    products_share: float


def measure_training(config: TrainConfig, corpus: Corpus, seconds: float) -> TrainingSpeed:
    """Time the steps of a run on `corpus`, for about `seconds`.

    Raises:
        ConfigError: the device is not in this machine, or lacks the precision asked for.
        CorpusError: the text is too short for one window.
    """
    device, plan = choose_device(config.device), _plan(config, corpus)
    wanted = choose_precision(config.precision, device)
    learner = Learner(plan, config, corpus, device, wanted)
    precision = learner.precision
    products = step_products(plan.model, plan.batch_size, plan.seq_len)
    actions = [
        lambda: [learner.advance(None) for _ in range(_STEPS)],
        make_bare(products, device, precision),
        *_layers(plan, device, precision),
    ]
    measurements = [timed(action, device) for action in actions]
    time_in_turn(measurements, rounds=1)
    times = time_in_turn(measurements, rounds=_FEWEST_ROUNDS, seconds=seconds)
    times[0] = [together / _STEPS for together in times[0]]
    step, bare, ours, theirs = (statistics.median(each) for each in times)
    return TrainingSpeed(
        cell=plan.model.cell,
        num_layers=plan.model.num_layers,
        hidden_size=plan.model.hidden_size,
        batch_size=plan.batch_size,
        seq_len=plan.seq_len,
        precision=PRECISIONS[precision],
        step_ms=step * 1e3,
        chars_per_second=plan.batch_size * plan.seq_len / step,
        gflop_per_second=total_flop(products) / step / 1e9,
        products_ms=bare * 1e3,
        products_share=median_ratio(times[1], times[0]),
        layer_ms=ours * 1e3,
        torch_layer_ms=theirs * 1e3,
        layer_speedup=median_ratio(times[3], times[2]),
    )


def measure_evaluation(config: TrainConfig, corpus: Corpus, seconds: float) -> EvaluationSpeed:
    """Time the scoring of the held-out part of `corpus`, for about `seconds`.

    Raises:
        ConfigError: the device is not in this machine.
    """
    device, plan = choose_device(config.device), _plan(config, corpus)
    model = make_model(plan, config.seed).to(device)
    products = forward_products(plan.model, LANES, WINDOW)
    chars = len(corpus.val) - 1
    blocks = chars / (LANES * WINDOW)
    measurements = [
        timed(lambda: evaluate_carried(model, corpus.val, corpus.vocab), device),
        timed(make_bare(products, device, torch.float32), device),
    ]
    whole, block = time_in_turn(measurements, rounds=_FEWEST_ROUNDS, seconds=seconds)
    evaluating = statistics.median(whole)
    return EvaluationSpeed(
        cell=plan.model.cell,
        num_layers=plan.model.num_layers,
        hidden_size=plan.model.hidden_size,
        chars_per_second=chars / evaluating,
        gflop_per_second=total_flop(products) * blocks / evaluating / 1e9,
        products_share=median_ratio(block, whole) * blocks,
    )


def _plan(config: TrainConfig, corpus: Corpus) -> Plan:
    return make_plan(config, corpus.vocab.size, len(corpus.train))


def _layers(
    plan: Plan, device: torch.device, precision: torch.dtype
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Give actions that take a window forward and backward: our first layer's, and torch's."""
    model = plan.model
    ours = _make_layer(model).to(device)
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
    theirs = kinds[model.cell](model.embedding_size, model.hidden_size).to(device)
    size = (plan.seq_len, plan.batch_size, model.embedding_size)
    inputs = torch.randn(size, device=device, requires_grad=True)

    def pass_through(layer: nn.Module, *state: object) -> None:
        learned = [weight for weight in layer.parameters() if weight.requires_grad]
        with autocast(device, precision):
            outputs, _ = layer(inputs, *state)
        torch.autograd.grad(outputs, [inputs, *learned], torch.ones_like(outputs))

    state = ours.initial_state(plan.batch_size)
    return lambda: pass_through(ours, state), lambda: pass_through(theirs)


def _make_layer(model: ModelConfig) -> RecurrentLayer:
    sizes = model.embedding_size, model.hidden_size
    return RecurrentLayer(model.cell, model.nonlinearity, *sizes, has_learned_state=False)
