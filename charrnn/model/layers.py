"""One recurrent layer of each kind: its cell, its initialisation, its state.

Single-layer torch modules, stacked by `network.py`; it knows nothing of embeddings, of logits or
of training. Time comes first in here, because that is how the kernels read it.

T = window length, B = lanes, I = input size, H = hidden size.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import GATES
from charrnn.model.kernels import Weights, run_gru, run_rnn

LayerState = tuple[Tensor, ...]
"""(h,) of a GRU or plain RNN, (h, c) of an LSTM: each (B, H)."""

_FORGET_BIAS = 1.0  # Gers et al. 2000; Jozefowicz et al. 2015: lets gradients through at first


class RecurrentLayer(nn.Module):
    """Maps (T, B, I) and a state to (T, B, H) and the next state."""

    def __init__(
        self,
        cell: str,
        nonlinearity: str,
        input_size: int,
        hidden_size: int,
        has_learned_state: bool,
    ) -> None:
        super().__init__()
        self.kind = nonlinearity if cell == "rnn" else cell
        if cell == "rnn":
            kernel = "relu" if nonlinearity == "relu" else "tanh"
            self.cell: nn.RNNBase = nn.RNN(input_size, hidden_size, nonlinearity=kernel)
        else:
            self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](input_size, hidden_size)
        parts = 2 if cell == "lstm" else 1
        self.initial = nn.Parameter(torch.zeros(parts, hidden_size), has_learned_state)
        self._initialise(cell)

    def initial_state(self, batch_size: int) -> LayerState:
        """Give the state before any text: zero, or what was learned; each part (B, H)."""
        return tuple(part.expand(batch_size, -1) for part in self.initial.unbind())

    def forward(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over T characters: (T, B, I) → (T, B, H) and the state after the last."""
        if _is_apples(inputs.device):
            return run_plain(self.kind, inputs, state, self._weights)
        if inputs.device.type == "cpu" and self.kind != "lstm":
            outputs = self._run_written_out(inputs, state)
            return outputs, (outputs[-1],)
        if self.kind == "logistic":
            return self._run_logistic(inputs, state)
        parts = tuple(part.unsqueeze(0).contiguous() for part in state)
        outputs, last = self.cell(inputs, parts if len(parts) == 2 else parts[0])
        return outputs, tuple(part.squeeze(0) for part in (last if len(parts) == 2 else (last,)))

    def _run_written_out(self, inputs: Tensor, state: LayerState) -> Tensor:
        """Run without torch's kernels, which on a CPU are a loop of small operations."""
        if self.kind == "gru":
            return run_gru(inputs, state[0], self._weights)
        return run_rnn(inputs, state[0], self._weights, self.kind)

    @property
    def _weights(self) -> Weights:
        weight_ih, weight_hh, bias_ih, bias_hh = self.cell.parameters()
        return weight_ih, weight_hh, bias_ih, bias_hh

    def _run_logistic(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run h = σ(Ux + Wh + b) on a GPU's tanh kernel.

        σ(a) = (1 + tanh(a/2)) / 2, so with g = 2h − 1 the recurrence is
        g = tanh(½Ux + ¼Wg + ½b + ¼W1), where 1 is a vector of ones.
        """
        weight_ih, weight_hh, bias_ih, bias_hh = self.cell.parameters()
        shift = weight_hh.sum(1) / 4
        weights = [weight_ih / 2, weight_hh / 4, bias_ih / 2, bias_hh / 2 + shift]
        first = (2 * state[0] - 1).unsqueeze(0)
        with warnings.catch_warnings():  # cuDNN would like these four side by side in memory
            warnings.filterwarnings("ignore", message="RNN module weights", category=UserWarning)
            outputs, last = torch.rnn_tanh(inputs, first, weights, True, 1, 0.0, True, False, False)
        return (outputs + 1) / 2, ((last.squeeze(0) + 1) / 2,)

    @torch.no_grad()
    def _initialise(self, cell: str) -> None:
        """Fill each gate's block: scaled normal input weights, orthogonal recurrent ones.

        An orthogonal matrix keeps the length of the state it multiplies, so that at first neither
        explosion nor vanishing comes from it (Saxe et al. 2014). A logistic layer starts as the
        tanh layer that it is in other coordinates.
        """
        weight_ih, weight_hh, bias_ih, bias_hh = self.cell.parameters()
        scale = 2.0 if self.kind == "logistic" else 1.0
        for block in weight_ih.chunk(GATES[cell]):
            nn.init.normal_(block, std=scale / math.sqrt(block.shape[1]))
        for block in weight_hh.chunk(GATES[cell]):
            nn.init.orthogonal_(block, gain=scale * scale)
        bias_ih.zero_()
        bias_hh.zero_()
        if cell == "lstm":
            bias_ih.chunk(4)[1].fill_(_FORGET_BIAS)
        if self.kind == "logistic":
            bias_ih.copy_(-weight_hh.sum(1) / 2)


def _is_apples(device: torch.device) -> bool:
    return device.type == "mps"


_CellState = tuple[Tensor, ...]


def run_plain(
    kind: str, inputs: Tensor, state: _CellState, weights: Weights
) -> tuple[Tensor, _CellState]:
    """Run over T characters: (T, B, I) → (T, B, H) and the state after the last, (B, H) a part.

    kind: lstm, gru, or the nonlinearity of a plain RNN.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    step, outputs = _STEPS[kind], []
    for from_input in F.linear(inputs, weight_ih, bias_ih).unbind():
        state = step(from_input, F.linear(state[0], weight_hh, bias_hh), state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def _step_lstm(from_input: Tensor, from_state: Tensor, state: _CellState) -> _CellState:
    admit, keep, fresh, show = (from_input + from_state).chunk(4, -1)
    cell = keep.sigmoid() * state[1] + admit.sigmoid() * fresh.tanh()
    return show.sigmoid() * cell.tanh(), cell


def _step_gru(from_input: Tensor, from_state: Tensor, state: _CellState) -> _CellState:
    (reset, keep, fresh), (reset_h, keep_h, fresh_h) = (
        from_input.chunk(3, -1),
        from_state.chunk(3, -1),
    )
    kept = (keep + keep_h).sigmoid()
    new = (fresh + (reset + reset_h).sigmoid() * fresh_h).tanh()
    return ((1 - kept) * new + kept * state[0],)


_STEPS: dict[str, Callable[[Tensor, Tensor, _CellState], _CellState]] = {
    "lstm": _step_lstm,
    "gru": _step_gru,
    "tanh": lambda from_input, from_state, _: ((from_input + from_state).tanh(),),
    "relu": lambda from_input, from_state, _: ((from_input + from_state).relu(),),
    "logistic": lambda from_input, from_state, _: ((from_input + from_state).sigmoid(),),
}
"""Each takes Ux + b and Wh + c, both (B, G·H), and the state; torch's order of gates."""
