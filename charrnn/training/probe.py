"""How fast this machine trains: beside the one of `budget.py`'s rules, and a step of a run.

The first decides on the sizes, before there are any: a few passes of a small recurrent layer, a
tenth of a second; on a GPU, which takes a small layer as slowly as a large one, large products. The
second, once they are known, tells how often the text will be read.
"""

from __future__ import annotations

import time

import torch

from charrnn.config import TrainConfig
from charrnn.model.layers import RecurrentLayer
from charrnn.text.corpus import Corpus
from charrnn.timing import time_in_turn
from charrnn.training.budget import Plan
from charrnn.training.device import autocast, lacks_kernel
from charrnn.training.feed import free_bytes
from charrnn.training.gpu_sizes import Gpu
from charrnn.training.learner import Learner
from charrnn.training.machine import timed
from charrnn.training.products import Product, make_bare

_SEQ_LEN, _BATCH_SIZE, _INPUT_SIZE, _HIDDEN_SIZE = 16, 16, 64, 256
_REFERENCE_SECONDS = 0.0021
_ROUNDS = 5
_LARGE = 4096  # rows and columns of a product that fills a GPU
_LEAST, _MOST = 1 / 16, 256.0
_SKIPPED_STEPS, _STEPS = 2, 4  # of four, one makes Muon's directions anew
_STEPS_SHARE = 0.01


def measure_speed(device: torch.device, precision: torch.dtype) -> float:
    """Give how many times as fast as the reference machine `device` trains: 1/16 to 256.

    The quickest of five passes counts, so that other work on the machine matters little.
    """
    with torch.random.fork_rng(devices=[]):
        layer = RecurrentLayer("lstm", "tanh", _INPUT_SIZE, _HIDDEN_SIZE, False).to(device)
    inputs = torch.ones(_SEQ_LEN, _BATCH_SIZE, _INPUT_SIZE, device=device)
    seconds = min(_pass_seconds(layer, inputs, precision) for _ in range(1 + _ROUNDS))
    return min(max(_REFERENCE_SECONDS / seconds, _LEAST), _MOST)


def measure_gpu(device: torch.device, precision: torch.dtype) -> Gpu:
    """Give the rate of large products on a GPU, the best of a few, and its free memory."""
    square = Product(_LARGE, _LARGE, _LARGE)
    measurement = [timed(make_bare([square], device, precision), device)]
    time_in_turn(measurement, rounds=1)
    seconds = min(time_in_turn(measurement, rounds=_ROUNDS)[0])
    return Gpu(square.flop / seconds, free_bytes(device))


def _pass_seconds(layer: RecurrentLayer, inputs: torch.Tensor, precision: torch.dtype) -> float:
    began = time.perf_counter()
    try:
        with autocast(inputs.device, precision):
            outputs, _ = layer(inputs, layer.initial_state(_BATCH_SIZE))
    except RuntimeError as error:  # as in a run, which then goes on in float32
        if not lacks_kernel(error):
            raise
        outputs, _ = layer(inputs, layer.initial_state(_BATCH_SIZE))
    outputs.float().sum().backward()
    _wait_for(inputs.device)
    return time.perf_counter() - began


def measure_step(
    plan: Plan, config: TrainConfig, corpus: Corpus, device: torch.device, precision: torch.dtype
) -> float:
    """Give the mean seconds of a step of this run, of a learner that is thrown away.

    Of six steps the first two, which build the kernels, do not count; it takes about a hundredth
    of the time allowed, so a large network makes fewer.
    """
    assert config.budget_seconds is not None
    learner, began = Learner(plan, config, corpus, device, precision), time.perf_counter()
    ends: list[float] = []
    while len(ends) < _SKIPPED_STEPS + _STEPS:
        learner.advance(None)
        _wait_for(device)
        ends.append(time.perf_counter())
        if len(ends) > 1 and ends[-1] - began > _STEPS_SHARE * config.budget_seconds:
            break
    skipped = min(_SKIPPED_STEPS, len(ends) - 1)
    return (ends[-1] - ends[skipped - 1]) / (len(ends) - skipped)


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
