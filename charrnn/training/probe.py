"""How fast this machine trains beside the one that `budget.py`'s rules were measured on.

A few passes of a small recurrent layer, forward and backward: a tenth of a second.
"""

from __future__ import annotations

import time

import torch

from charrnn.model.layers import RecurrentLayer
from charrnn.training.device import autocast, lacks_kernel

_SEQ_LEN, _BATCH_SIZE, _INPUT_SIZE, _HIDDEN_SIZE = 16, 16, 64, 256
_REFERENCE_SECONDS = 0.0021
_ROUNDS = 5
_LEAST, _MOST = 1 / 16, 256.0


def measure_speed(device: torch.device, precision: torch.dtype) -> float:
    """Give how many times as fast as the reference machine `device` trains: 1/16 to 256.

    The quickest of five passes counts, so that other work on the machine matters little.
    """
    with torch.random.fork_rng(devices=[]):
        layer = RecurrentLayer("lstm", "tanh", _INPUT_SIZE, _HIDDEN_SIZE, False).to(device)
    inputs = torch.ones(_SEQ_LEN, _BATCH_SIZE, _INPUT_SIZE, device=device)
    seconds = min(_pass_seconds(layer, inputs, precision) for _ in range(1 + _ROUNDS))
    return min(max(_REFERENCE_SECONDS / seconds, _LEAST), _MOST)


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
    if inputs.device.type != "cpu":
        torch.accelerator.synchronize(inputs.device)
    return time.perf_counter() - began
