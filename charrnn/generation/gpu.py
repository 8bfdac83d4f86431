"""Very many texts at once, written with torch: what `charrnn sample --device` calls.

A text's random numbers are those that it has in numpy, whatever stands beside it. Where rounding
decides between two characters, and only there, it goes another way.

B = texts side by side, V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import SampleConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.generation.batch import BatchStep
from charrnn.generation.language_model import LanguageModel
from charrnn.generation.logit_bias import make_logit_bias
from charrnn.generation.sampler import Context
from charrnn.model.cuda_graph import CaptureError, CudaGraphs, GraphBackend, GraphRunner
from charrnn.model.device import choose_device, configure_torch
from charrnn.model.network import CharRNN, State, load_numpy_state_dict
from charrnn.state import stack_states

_BLOCK = 32  # characters drawn before the host looks at any
_AT_ONCE = 4096
_MOST_LOGITS = 1 << 24  # of one step: 128 MiB in double precision
_MISSING = (
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "dry_penalty"),
    *("regex", "choices", "template", "balanced", "max_copy"),
    *("dynamic_temperature", "word_temperature", "typical", "xtc", "mirostat"),
    *("beam", "seconds"),
)
"""Settings that look back on a text, or on the clock, or are seldom asked for by the thousand."""


class GpuBackend:
    """A model on a device, which starts batches of texts there; `at_once` is the most in one."""

    def __init__(self, file: ModelFile, config: SampleConfig, device: str) -> None:
        """Take the model and the settings there.

        Raises:
            ConfigError: the device is not in this machine, or a setting is one that only the
                ordinary sampler has.
        """
        check_settings(config)
        configure_torch(TrainConfig(), has_tf32=False)
        model = CharRNN(file.config)
        load_numpy_state_dict(model, file.weights)
        place = choose_device(device)
        tape = CudaGraphs(place) if place.type == "cuda" else None
        self._drawer = GpuSampler(model, config, make_logit_bias(file.vocab, config), place, tape)
        self.at_once = max(1, min(_AT_ONCE, _MOST_LOGITS // file.vocab.size))

    def start(
        self,
        reader: LanguageModel,
        starts: Sequence[Context],
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> GpuBatch:
        """Begin texts at `starts`, each with its own random stream."""
        states = stack_states([start.state for start in starts])
        rows = self._drawer.start(reader.logits(states), states)
        return GpuBatch(self._drawer, rows, randoms, alternatives)


class GpuBatch:
    """Texts that are written side by side, as generation/batch.py's are."""

    guide_reason = ""

    def __init__(
        self,
        drawer: GpuSampler,
        standing: SampleRows,
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> None:
        self._drawer, self._standing = drawer, standing
        self._randoms, self._alternatives = randoms, alternatives
        self._rows = np.arange(len(randoms))
        self._is_open = np.ones(len(randoms), np.bool_)

    def __iter__(self) -> Iterator[BatchStep]:
        """Write a character of each text, and another, until all are dropped."""
        while self._is_open.any():
            self._leave_the_dropped()
            yield from self._steps()

    def drop(self, rows: Container[int]) -> None:
        """Write no more of the texts at these places; between two steps."""
        for row in self._rows.tolist():
            self._is_open[row] &= row not in rows

    def _leave_the_dropped(self) -> None:
        stay = np.flatnonzero(self._is_open[self._rows])
        if len(stay) < len(self._rows):
            self._rows = self._rows[stay]
            self._standing = self._standing.pick(stay)

    def _steps(self) -> Iterator[BatchStep]:
        """Draw a block of every text that goes on; give it character by character."""
        rows, alternatives = self._rows, self._alternatives
        uniforms = np.stack([self._randoms[row].random(_BLOCK) for row in rows.tolist()])
        block, self._standing = self._drawer.draw(self._standing, uniforms, alternatives or 0)
        tokens, *costs = block if alternatives is not None else block[:1]
        for place in range(_BLOCK):
            still = np.flatnonzero(self._is_open[rows])
            if not len(still):
                return
            told = (each[still, place] for each in costs)
            yield BatchStep(rows[still], tokens[still, place], *told)


def check_settings(config: SampleConfig) -> None:
    """Refuse what is not drawn on rows of texts.

    Raises:
        ConfigError: names it.
    """
    ordinary = SampleConfig()
    for name in _MISSING:
        if getattr(config, name) != getattr(ordinary, name):
            option = name.replace("_", "-")
            raise ConfigError(
                f"--device writes thousands of texts side by side and has no --{option}; leave one "
                "of them out"
            )


class SampleRows(NamedTuple):
    """Where B texts stand: the logits (B, V) of their next characters, and the states after them.

    A state holds (B, H) for each layer and part.
    """

    logits: Tensor
    state: State

    def pick(self, rows: NDArray[np.intp]) -> SampleRows:
        """Give some of the texts."""
        places = torch.from_numpy(rows).to(self.logits.device)
        state = tuple(tuple(part[places] for part in layer) for layer in self.state)
        return SampleRows(self.logits[places], state)

    def clone(self) -> SampleRows:
        """Give the same in other memory."""
        state = tuple(tuple(part.clone() for part in layer) for layer in self.state)
        return SampleRows(self.logits.clone(), state)

    def become(self, rows: SampleRows) -> None:
        """Take up what as many other texts have."""
        self.logits.copy_(rows.logits)
        for layer, others in zip(self.state, rows.state, strict=True):
            for part, other in zip(layer, others, strict=True):
                part.copy_(other)


class GpuSampler:
    """Draws by settings that are resolved once; numpy arrays go in and come out."""

    def __init__(
        self,
        model: CharRNN,
        config: SampleConfig,
        bias: NDArray[np.float32] | None,
        device: torch.device,
        tape: GraphBackend | None = None,
    ) -> None:
        """Take the model to the device.

        bias: (V,), added to the logits; −inf is a ban. tape: what can record a block there.
        """
        self._model, self._config, self._device = model.to(device), config, device
        self._bias = None if bias is None else torch.from_numpy(bias).to(device)
        self._tape = tape
        self._desk: _StaticBuffers | None = None

    def start(self, logits: NDArray[np.float32], states: tuple[Any, ...]) -> SampleRows:
        """Take logits (B, V) and states there, one entry a layer, each part (B, H)."""
        state = tuple(tuple(self._send(part) for part in layer) for layer in states)
        return SampleRows(self._send(logits), state)

    def draw(
        self, rows: SampleRows, uniforms: NDArray[np.float64], alternatives: int
    ) -> tuple[list[NDArray[Any]], SampleRows]:
        """Give a Block as arrays, drawn by numbers (B, N) in [0, 1), and where the texts are then.

        alternatives: K.
        """
        numbers = self._send(uniforms)
        block, after = self._draw(rows, numbers, alternatives)
        return [each.cpu().numpy() for each in block], after

    def _draw(
        self, rows: SampleRows, numbers: Tensor, alternatives: int
    ) -> tuple[SampledBlock, SampleRows]:
        fixed = self._model, self._config, self._bias
        if self._tape is None:
            return sample_block(*fixed, rows, numbers, alternatives)
        kind = *numbers.shape, alternatives
        if self._desk is None or self._desk.kind != kind:
            self._desk = _StaticBuffers(
                kind, rows.clone(), numbers.clone(), GraphRunner(self._tape)
            )
        desk = self._desk
        desk.rows.become(rows)
        desk.numbers.copy_(numbers)

        def draw() -> None:
            desk.drawn = sample_block(*fixed, desk.rows, desk.numbers, alternatives)

        try:
            desk.recorder.do(kind, draw)
        except CaptureError:  # slower, and no other text
            self._tape = None
            draw()
        assert desk.drawn is not None
        block, after = desk.drawn
        return block, after.clone()

    def _send(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


@dataclass
class _StaticBuffers:
    """Memory that stays, where blocks of one kind are drawn: so many texts, places, alternatives.

    drawn: the last block, which the next one may be written over.
    """

    kind: tuple[int, ...]
    rows: SampleRows
    numbers: Tensor
    recorder: GraphRunner
    drawn: tuple[SampledBlock, SampleRows] | None = None


class SampledBlock(NamedTuple):
    """What was drawn: ids (B, N), and −ln of each one's probability before anything shaped it.

    top, top_nats: (B, N, K) the likeliest ids in each place, and what they would have cost.
    """

    tokens: Tensor
    nats: Tensor
    top: Tensor
    top_nats: Tensor


@torch.no_grad()
def sample_block(
    model: CharRNN,
    config: SampleConfig,
    bias: Tensor | None,
    rows: SampleRows,
    uniforms: Tensor,
    alternatives: int = 0,
) -> tuple[SampledBlock, SampleRows]:
    """Draw N characters of each text, by `uniforms` (B, N) float64 in [0, 1).

    bias: (V,), added to the logits; −inf is a ban. alternatives: K.
    """
    drawn = []
    for uniform in uniforms.unbind(1):
        raw = rows.logits.double()
        tokens = sample_tokens(raw if bias is None else raw + bias, config, uniform[:, None])
        nats = -raw.log_softmax(-1)
        top = nats.topk(min(alternatives, nats.shape[1]), largest=False)
        drawn.append((tokens, nats.gather(1, tokens[:, None])[:, 0], top.indices, top.values))
        logits, state = model(tokens[:, None], rows.state)
        rows = SampleRows(logits[:, 0], state)
    return SampledBlock(*(torch.stack(each, 1) for each in zip(*drawn, strict=True))), rows


def sample_tokens(logits: Tensor, config: SampleConfig, uniform: Tensor) -> Tensor:
    """Give an id (B,) by logits (B, V) and numbers (B, 1), both float64; the likeliest at 0."""
    if not config.temperature:
        return logits.argmax(-1)
    sums = filter_logits(logits, config).exp().cumsum(-1)
    return (sums <= uniform * sums[:, -1:]).sum(-1)


def filter_logits(logits: Tensor, config: SampleConfig) -> Tensor:
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
