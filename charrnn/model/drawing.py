"""Characters of very many texts, drawn on the device that computes their logits.

A block of characters is drawn without a look at any of them, so that a GPU never waits for the
host; where a recording can be made, the GPU is asked for a block by a single launch. The filters
are those of inference/drawing/filters.py that go row by row, in the same order and precision. It
knows nothing of text, of random streams or of where a text ends.

B = texts side by side, N = characters of a block, V = vocabulary, K = alternatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import SampleConfig
from charrnn.model.captured import Recorder, RecordingError, Tape
from charrnn.model.network import CharRNN, State


class Rows(NamedTuple):
    """Where B texts stand: the logits (B, V) of their next characters, and the states after them.

    A state holds (B, H) for each layer and part.
    """

    logits: Tensor
    state: State

    def pick(self, rows: NDArray[np.intp]) -> Rows:
        """Give some of the texts."""
        places = torch.from_numpy(rows).to(self.logits.device)
        state = tuple(tuple(part[places] for part in layer) for layer in self.state)
        return Rows(self.logits[places], state)

    def clone(self) -> Rows:
        """Give the same in other memory."""
        state = tuple(tuple(part.clone() for part in layer) for layer in self.state)
        return Rows(self.logits.clone(), state)

    def become(self, rows: Rows) -> None:
        """Take up what as many other texts have."""
        self.logits.copy_(rows.logits)
        for layer, others in zip(self.state, rows.state, strict=True):
            for part, other in zip(layer, others, strict=True):
                part.copy_(other)


class Drawer:
    """Draws by settings that are resolved once; numpy arrays go in and come out."""

    def __init__(
        self,
        model: CharRNN,
        config: SampleConfig,
        bias: NDArray[np.float32] | None,
        device: torch.device,
        tape: Tape | None = None,
    ) -> None:
        """Take the model to the device.

        bias: (V,), added to the logits; −inf is a ban. tape: what can record a block there.
        """
        self._model, self._config, self._device = model.to(device), config, device
        self._bias = None if bias is None else torch.from_numpy(bias).to(device)
        self._tape = tape
        self._desk: _Desk | None = None

    def start(self, logits: NDArray[np.float32], states: tuple[Any, ...]) -> Rows:
        """Take logits (B, V) and states there, one entry a layer, each part (B, H)."""
        state = tuple(tuple(self._send(part) for part in layer) for layer in states)
        return Rows(self._send(logits), state)

    def draw(
        self, rows: Rows, uniforms: NDArray[np.float64], alternatives: int
    ) -> tuple[list[NDArray[Any]], Rows]:
        """Give a Block as arrays, drawn by numbers (B, N) in [0, 1), and where the texts are then.

        alternatives: K.
        """
        numbers = self._send(uniforms)
        block, after = self._draw(rows, numbers, alternatives)
        return [each.cpu().numpy() for each in block], after

    def _draw(self, rows: Rows, numbers: Tensor, alternatives: int) -> tuple[Block, Rows]:
        fixed = self._model, self._config, self._bias
        if self._tape is None:
            return draw_block(*fixed, rows, numbers, alternatives)
        kind = *numbers.shape, alternatives
        if self._desk is None or self._desk.kind != kind:
            self._desk = _Desk(kind, rows.clone(), numbers.clone(), Recorder(self._tape))
        desk = self._desk
        desk.rows.become(rows)
        desk.numbers.copy_(numbers)

        def draw() -> None:
            desk.drawn = draw_block(*fixed, desk.rows, desk.numbers, alternatives)

        try:
            desk.recorder.do(kind, draw)
        except RecordingError:  # slower, and no other text
            self._tape = None
            draw()
        assert desk.drawn is not None
        block, after = desk.drawn
        return block, after.clone()

    def _send(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


@dataclass
class _Desk:
    """Memory that stays, where blocks of one kind are drawn: so many texts, places, alternatives.

    drawn: the last block, which the next one may be written over.
    """

    kind: tuple[int, ...]
    rows: Rows
    numbers: Tensor
    recorder: Recorder
    drawn: tuple[Block, Rows] | None = None


class Block(NamedTuple):
    """What was drawn: ids (B, N), and −ln of each one's probability before anything shaped it.

    top, top_nats: (B, N, K) the likeliest ids in each place, and what they would have cost.
    """

    symbols: Tensor
    nats: Tensor
    top: Tensor
    top_nats: Tensor


@torch.no_grad()
def draw_block(
    model: CharRNN,
    config: SampleConfig,
    bias: Tensor | None,
    rows: Rows,
    uniforms: Tensor,
    alternatives: int = 0,
) -> tuple[Block, Rows]:
    """Draw N characters of each text, by `uniforms` (B, N) float64 in [0, 1).

    bias: (V,), added to the logits; −inf is a ban. alternatives: K.
    """
    drawn = []
    for uniform in uniforms.unbind(1):
        raw = rows.logits.double()
        symbols = choose(raw if bias is None else raw + bias, config, uniform[:, None])
        nats = -raw.log_softmax(-1)
        top = nats.topk(min(alternatives, nats.shape[1]), largest=False)
        drawn.append((symbols, nats.gather(1, symbols[:, None])[:, 0], top.indices, top.values))
        logits, state = model(symbols[:, None], rows.state)
        rows = Rows(logits[:, 0], state)
    return Block(*(torch.stack(each, 1) for each in zip(*drawn, strict=True))), rows


def choose(logits: Tensor, config: SampleConfig, uniform: Tensor) -> Tensor:
    """Give an id (B,) by logits (B, V) and numbers (B, 1), both float64; the likeliest at 0."""
    if not config.temperature:
        return logits.argmax(-1)
    sums = keep(logits, config).exp().cumsum(-1)
    return (sums <= uniform * sums[:, -1:]).sum(-1)


def keep(logits: Tensor, config: SampleConfig) -> Tensor:
    """Give logits (B, V) after temperature, top-n-sigma, top-k, top-p, min-p; the largest is 0."""
    kept = (logits - logits.amax(-1, keepdim=True)) / config.temperature
    if config.top_n_sigma:
        kept = _keep_top_n_sigma(kept, config.top_n_sigma)
    if config.top_k or config.top_p < 1:
        kept = _keep_likeliest(kept, config.top_k or kept.shape[1], config.top_p)
    if config.min_p > 0:
        kept = kept.masked_fill(kept < math.log(config.min_p), -math.inf)
    return kept


def _keep_top_n_sigma(logits: Tensor, n: float) -> Tensor:
    """Keep those within n standard deviations of the largest, which is 0; no ban counts."""
    is_there = logits > -math.inf
    count = is_there.sum(-1, keepdim=True)
    there = logits.masked_fill(~is_there, 0.0)
    off = (there - there.sum(-1, keepdim=True) / count).masked_fill(~is_there, 0.0)
    spread = (off.square().sum(-1, keepdim=True) / count).sqrt()
    return logits.masked_fill(logits < -n * spread, -math.inf)


def _keep_likeliest(logits: Tensor, k: int, p: float) -> Tensor:
    """Keep the k likeliest, and of them the fewest whose probabilities sum to p or more."""
    falling, order = logits.sort(dim=-1, descending=True, stable=True)
    falling[:, k:].fill_(-math.inf)
    if p < 1:
        reached = falling.exp().cumsum(-1)
        is_enough = reached[:, :-1] >= p * reached[:, -1:]
        falling[:, 1:].masked_fill_(is_enough, -math.inf)
    return torch.full_like(logits, -math.inf).scatter_(-1, order, falling)
