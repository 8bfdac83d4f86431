"""Thousands of texts at once on a device, with torch: what `charrnn sample --device` calls.

`GpuBackend` starts batches, a `GpuBatch` yields their steps, `GpuSampler` samples a block of tokens
of every text before the host looks at any. Random numbers come from each text's own numpy stream,
so a text is the ordinary sampler's, except where rounding decides between two characters.

B = texts in a batch, N = tokens of a block, K = alternatives, V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import SampleConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.generation.batch import BatchStep
from charrnn.generation.filters import LEAST_TEMPERATURE
from charrnn.generation.logit_bias import make_logit_bias
from charrnn.generation.network import LanguageModel, Network
from charrnn.generation.sampler import Context
from charrnn.model.cuda_graph import CaptureError, CudaGraphs, GraphBackend, GraphRunner
from charrnn.model.device import choose_device, configure_torch
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.state import State, map_state, repeat_state, select_rows, stack_states

_BLOCK = 32  # N: the host waits for the device once every N tokens
_MAX_BATCH = 4096
_MAX_LOGITS = 1 << 24  # of one step: 128 MiB in double precision
_UNSUPPORTED = (  # they need the text or the clock on the host, or are rare
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "dry_penalty"),
    *("ban_word", "must", "regex", "choices", "template", "balanced", "max_copy"),
    *("dynamic_temperature", "word_temperature", "typical", "xtc", "mirostat"),
    *("beam", "seconds"),
)

Current = State
"""What the next tokens of B texts depend on: a pair of their logits (B, V) and states of (B, H)."""


class GpuBackend:
    """A model on a device, which starts batches of at most `at_once` texts."""

    def __init__(self, file: ModelFile, config: SampleConfig, device: str) -> None:
        """Copy the model to the device.

        Raises:
            ConfigError: this machine has no such device, or a setting is unsupported there.
        """
        for name in _UNSUPPORTED:
            if getattr(config, name) != getattr(SampleConfig(), name):
                raise ConfigError(
                    "--device samples thousands of texts side by side and does not support "
                    f"--{name.replace('_', '-')}; leave one of them out"
                )
        configure_torch(TrainConfig(), has_tf32=False)  # TF32 rounds far more than float32
        model = CharRNN(file.config)
        load_numpy_state_dict(model, file.weights)
        target = choose_device(device)
        graphs = CudaGraphs(target) if target.type == "cuda" else None
        bias = make_logit_bias(file.vocab, config)
        start: Current | None = None
        if file.config.has_end:
            network = Network(file.config, file.weights)
            states = repeat_state(network.initial_state(), 1)
            start = (network.logits(states), states)
        self._sampler = GpuSampler(model, config, bias, target, graphs, start)
        self.at_once = max(1, min(_MAX_BATCH, _MAX_LOGITS // file.vocab.size))

    def start(
        self,
        model: LanguageModel,
        starts: Sequence[Context],
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> GpuBatch:
        """Begin texts after `starts`, each with its own random stream.

        alternatives: K; None leaves the costs out of the steps.
        """
        states = stack_states([start.state for start in starts])
        current = self._sampler.start(model.logits(states), states)
        return GpuBatch(self._sampler, current, randoms, alternatives)


class GpuBatch:
    """Texts sampled side by side, with the interface of generation/batch.py's Batch."""

    def __init__(
        self,
        sampler: GpuSampler,
        current: Current,
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> None:
        self._sampler = sampler
        self._current = current
        self._randoms = randoms
        self._alternatives = alternatives
        self._rows = np.arange(len(randoms))
        self._is_open = np.ones(len(randoms), np.bool_)

    def __iter__(self) -> Iterator[BatchStep]:
        """Yield one token of each open text at a time, until all are dropped."""
        while self._is_open.any():
            # Texts that were dropped leave the batch, between blocks only.
            stay = np.flatnonzero(self._is_open[self._rows])
            if len(stay) < len(self._rows):
                self._rows = self._rows[stay]
                self._current = select_rows(self._current, stay)
            # A text that ends inside a block wastes the rest of its numbers.
            uniforms = np.stack([self._randoms[row].random(_BLOCK) for row in self._rows.tolist()])
            count = self._alternatives or 0
            block, self._current = self._sampler.sample(self._current, uniforms, count)
            tokens, *costs = block if self._alternatives is not None else block[:1]
            for t in range(_BLOCK):
                is_open = self._is_open[self._rows]
                if not is_open.any():
                    break
                step_costs = (cost[is_open, t] for cost in costs)
                yield BatchStep(self._rows[is_open], tokens[is_open, t], *step_costs)

    def drop(self, rows: Container[int]) -> None:
        """Sample no more of the texts with these numbers; to be called between two steps."""
        for row in self._rows.tolist():
            self._is_open[row] &= row not in rows


class SampledBlock(NamedTuple):
    """Sampled ids (B, N), and −ln p (B, N) of each in the model, before anything shaped it.

    top, top_nats: (B, N, K), the likeliest ids at each position, and −ln p of them.
    """

    tokens: Tensor
    nats: Tensor
    top: Tensor
    top_nats: Tensor


class GpuSampler:
    """A model on a device and its settings, resolved once; numpy arrays go in and come out."""

    def __init__(
        self,
        model: CharRNN,
        config: SampleConfig,
        bias: NDArray[np.float32] | None,
        device: torch.device,
        graphs: GraphBackend | None = None,
        record_start: Current | None = None,
    ) -> None:
        """Move the model to the device.

        bias: (V,), added to the logits; −inf is a ban. graphs: captures blocks as CUDA graphs.
        record_start: logits (1, V) and states of (1, H) after the end of a record, the last id.
        """
        self._device = device
        device_bias = None if bias is None else self._to_device(bias)
        start = None if record_start is None else map_state(self._to_device, record_start)
        self._sample_block = partial(
            sample_block, model.to(device), config, device_bias, record_start=start
        )
        self._graphs = graphs
        self._static: _StaticBuffers | None = None

    def start(self, logits: NDArray[np.float32], states: State) -> Current:
        """Copy logits (B, V) and numpy states of (B, H) to the device."""
        return map_state(self._to_device, (logits, states))

    def sample(
        self, current: Current, uniforms: NDArray[np.float64], alternatives: int
    ) -> tuple[list[NDArray[Any]], Current]:
        """Sample a block with the numbers (B, N) in [0, 1).

        Returns a SampledBlock's fields as numpy arrays, and what the tokens after it depend on.
        """
        block, after = self._replay(current, self._to_device(uniforms), alternatives)
        return [tensor.cpu().numpy() for tensor in block], after

    def _replay(
        self, current: Current, uniforms: Tensor, alternatives: int
    ) -> tuple[SampledBlock, Current]:
        """Sample a block by its CUDA graph where there is one."""
        if self._graphs is None:
            return self._sample_block(current, uniforms, alternatives)
        # A graph is bound to shapes and addresses. Batches only shrink: the last shape is enough.
        shape = (*uniforms.shape, alternatives)
        if self._static is None or self._static.shape != shape:
            inputs = map_state(torch.clone, current), uniforms.clone()
            self._static = _StaticBuffers(shape, inputs, GraphRunner(self._graphs))
        static = self._static
        map_state(Tensor.copy_, static.inputs, (current, uniforms))

        def sample() -> None:
            static.outputs = self._sample_block(*static.inputs, alternatives)

        try:
            static.runner.run(shape, sample)
        except CaptureError:  # the same texts without graphs, only slower
            self._graphs = None
            sample()
        assert static.outputs is not None
        block, after = static.outputs
        # The next replay overwrites its outputs; the block is copied to the host before that.
        return block, map_state(torch.clone, after)

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


@dataclass
class _StaticBuffers:
    """Preallocated inputs and outputs of a block, as CUDA graphs need them; shape: (B, N, K)."""

    shape: tuple[int, ...]
    inputs: tuple[Current, Tensor]
    runner: GraphRunner
    outputs: tuple[SampledBlock, Current] | None = None


@torch.no_grad()
def sample_block(
    model: CharRNN,
    config: SampleConfig,
    bias: Tensor | None,
    current: Current,
    uniforms: Tensor,
    alternatives: int = 0,
    record_start: Current | None = None,
) -> tuple[SampledBlock, Current]:
    """Sample N tokens of each text, with `uniforms` (B, N) float64 in [0, 1).

    bias: (V,), added to the logits; −inf is a ban. alternatives: K. record_start: logits (1, V) and
    states of (1, H) after the end of a record, the last id.
    """
    columns = []
    logits, state = current
    for uniform in uniforms.unbind(1):
        raw = logits.double()  # as chain.py, which cumulates in float64
        tokens = sample_tokens(raw if bias is None else raw + bias, config, uniform[:, None])
        nats = -raw.log_softmax(-1)
        top = nats.topk(min(alternatives, nats.shape[1]), largest=False)
        columns.append((tokens, nats.gather(1, tokens[:, None])[:, 0], top.indices, top.values))
        next_logits, state = model(tokens[:, None], state)
        logits = next_logits[:, 0]  # a window of T = 1
        if record_start is not None:
            is_end = (tokens == logits.shape[1] - 1)[:, None]
            keep = partial(torch.where, is_end)
            logits, state = map_state(keep, record_start, (logits, state))
    block = SampledBlock(*(torch.stack(column, 1) for column in zip(*columns, strict=True)))
    return block, (logits, state)


def sample_tokens(logits: Tensor, config: SampleConfig, uniform: Tensor) -> Tensor:
    """Return ids (B,) sampled from logits (B, V) with numbers (B, 1), both float64."""
    if not config.temperature:
        return logits.argmax(-1)
    # Inverse transform sampling: count the cumulated probabilities that are at most u.
    sums = filter_logits(logits, config).exp().cumsum(-1)
    return (sums <= uniform * sums[:, -1:]).sum(-1)


def filter_logits(logits: Tensor, config: SampleConfig) -> Tensor:
    """Return logits (B, V) after temperature, top-n-sigma, top-k, top-p, min-p; the largest is 0.

    The reference is generation/filters.py.
    """
    kept = (logits - logits.amax(-1, keepdim=True)) / max(config.temperature, LEAST_TEMPERATURE)
    if config.top_n_sigma:
        # The standard deviation of those that are not banned, row by row.
        is_finite = kept > -math.inf
        count = is_finite.sum(-1, keepdim=True)
        mean = kept.masked_fill(~is_finite, 0.0).sum(-1, keepdim=True) / count
        deviations = (kept - mean).masked_fill(~is_finite, 0.0)
        sigma = (deviations.square().sum(-1, keepdim=True) / count).sqrt()
        kept = kept.masked_fill(kept < -config.top_n_sigma * sigma, -math.inf)
    if config.top_k or config.top_p < 1:
        # A stable sort: of equal logits at the edge, those with the lower ids stay.
        falling, order = kept.sort(dim=-1, descending=True, stable=True)
        falling[:, config.top_k or kept.shape[1] :].fill_(-math.inf)
        if config.top_p < 1:
            sums = falling.exp().cumsum(-1)
            is_enough = sums[:, :-1] >= config.top_p * sums[:, -1:]
            falling[:, 1:].masked_fill_(is_enough, -math.inf)
        kept = torch.full_like(kept, -math.inf).scatter_(-1, order, falling)
    if config.min_p > 0:
        kept = kept.masked_fill(kept < math.log(config.min_p), -math.inf)
    return kept
