"""The recurrent cells in plain operations, which torch derives by itself: slow, and right anywhere.

Apple's GPUs run these, as torch's own layers have been wrong there more than once: an LSTM's
gradients, a GRU that gave no number. Nothing in here writes into a part of a tensor, which has been
wrong there too.

T = window length, B = lanes, I = input size, H = hidden size, G = gates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.model.bptt import Weights

State = tuple[Tensor, ...]


def run_plain(kind: str, inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """Run over T characters: (T, B, I) → (T, B, H) and the state after the last, (B, H) a part.

    kind: lstm, gru, or the nonlinearity of a plain RNN.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    step, outputs = _STEPS[kind], []
    for from_input in F.linear(inputs, weight_ih, bias_ih).unbind():
        state = step(from_input, F.linear(state[0], weight_hh, bias_hh), state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def _step_lstm(from_input: Tensor, from_state: Tensor, state: State) -> State:
    admit, keep, fresh, show = (from_input + from_state).chunk(4, -1)
    cell = keep.sigmoid() * state[1] + admit.sigmoid() * fresh.tanh()
    return show.sigmoid() * cell.tanh(), cell


def _step_gru(from_input: Tensor, from_state: Tensor, state: State) -> State:
    (reset, keep, fresh), (reset_h, keep_h, fresh_h) = (
        from_input.chunk(3, -1),
        from_state.chunk(3, -1),
    )
    kept = (keep + keep_h).sigmoid()
    new = (fresh + (reset + reset_h).sigmoid() * fresh_h).tanh()
    return ((1 - kept) * new + kept * state[0],)


_STEPS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "lstm": _step_lstm,
    "gru": _step_gru,
    "tanh": lambda from_input, from_state, _: ((from_input + from_state).tanh(),),
    "relu": lambda from_input, from_state, _: ((from_input + from_state).relu(),),
    "logistic": lambda from_input, from_state, _: ((from_input + from_state).sigmoid(),),
}
"""Each takes Ux + b and Wh + c, both (B, G·H), and the state; torch's order of gates."""
