"""A text read by a network, with every state, gate and logit kept: what all views start from.

`record` reads with the sampler's own steps, so that states are the sampler's to the last bit. Gates
are computed from the recorded states afterwards, for all steps of a layer in one product.

T = tokens, B = texts side by side, E = embedding size, I = input size of a layer, H = hidden size,
V = vocabulary, N = the longest n-gram. Shapes are those of one text; with B texts there is an axis
B after T.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.errors import DivergedError
from charrnn.generation.network import Network
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE
from charrnn.state import (
    State,
    iter_arrays,
    map_state,
    repeat_state,
    replace_rows,
    select_row,
    stack_states,
)
from charrnn.text.vocab import Ids

Array = NDArray[np.floating]
"""float32 as a model file has its weights, or float64 where a test made the network of those."""

RUN_UP = 256
"""Tokens that are read before a stretch from the middle of a text, whose states are not kept."""

_LOGITS_AT_ONCE = 1 << 22

GATES = {"rnn": (), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
"""The names of a cell's gates, in the order of its weights: g and n are new values, not gates."""


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, as the model file has them: (G·H, I), (G·H, H), (G·H,), (G·H,)."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


@dataclass(frozen=True, eq=False)
class Trace:
    """A text that was read.

    ids: (T,). states: a tuple of layers, each (h,) or (h, c), whose arrays are (T + 1, H): at t
    the state before ids[t], at t + 1 the state after it. With n-grams there is one more entry after
    the layers, of the last tokens: (T + 1, N − 1).

    >>> trace = record(network, ids)  # doctest: +SKIP
    >>> trace.hidden(0)[1:].shape == (len(ids), network.config.hidden_size)  # doctest: +SKIP
    True
    """

    network: Network
    ids: Ids
    states: State

    @property
    def config(self) -> ModelConfig:
        """The shape of the network."""
        return self.network.config

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def depths(self) -> range:
        """The numbers of the layers, lowest first."""
        return range(self.config.num_layers)

    @property
    def layer_states(self) -> State:
        """The states of the layers alone: the numbers that derivatives are of."""
        return self.states[: self.config.num_layers]

    @cached_property
    def is_end(self) -> NDArray[np.bool_]:
        """Whether each token ends a record (T,): the state after it is the initial one."""
        return np.asarray(self.config.has_end & (self.ids == self.config.vocab_size - 1), bool)

    def hidden(self, depth: int) -> Array:
        """Return h of a layer (T + 1, H)."""
        h: Array = self.states[depth][0]
        return h

    def memory(self, depth: int) -> Array:
        """Return what a layer keeps (T + 1, H): c of an LSTM, h of others."""
        memory: Array = self.states[depth][-1]
        return memory

    def inputs(self, depth: int) -> Array:
        """Return what a layer reads at each step: (T, E) in the lowest, (T, H) above.

        The lowest reads the embedding of the token and those of the n-grams that end with it.
        """
        if depth:
            return self._features(depth)[1:]
        embedding: Array = self.network.weights["embedding.weight"]
        x = np.float32(self.config.embedding_scale) * embedding[self.ids]
        return x + self.from_ngrams() if self.config.ngram_rows else x

    def from_ngrams(self) -> Array:
        """Return what the n-grams that end with each token add to its embedding: (T, E)."""
        table: Array = self.network.weights["ngrams.weight"]
        embedding: Array = self.network.weights["embedding.weight"]
        total = np.zeros((*self.ids.shape, table.shape[1]), embedding.dtype)
        for rows, is_known in zip(*self.ngrams, strict=True):
            total += table[rows] * is_known[..., None]
        return total

    @cached_property
    def ngrams(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The rows of the n-grams of 2, 3, … N tokens that end with each token, each (T,).

        Beside them whether the n-gram has a row; if not, the number means nothing. Both (N − 1, T).
        """
        assert self.network.ngrams
        keys = self.network.weights["ngrams.key"][self.ids]
        before = np.moveaxis(self.states[-1][0][:-1], -1, 0)
        recent = np.concatenate((keys[None], before))
        return self.network.ngrams.find_many(recent.astype(np.int64))

    def gates(self, depth: int) -> dict[str, Array]:
        """Return the gates of a layer by name, each (T, H), as docs/equations.md has them.

        lstm: i, f, g, o. gru: r, z, n, and n_h = W_n h + b_n, which r scales. rnn: none. At the end
        of a record the layer computes nothing, so its gates mean nothing there: see `is_end`.
        """
        return self._gates[depth]

    @cached_property
    def features(self) -> Array:
        """What the output layer reads of each state (T + 1, H)."""
        return self._features(self.config.num_layers)

    @cached_property
    @IGNORE_OVERFLOW
    def logits(self) -> Array:
        """The logits after each token (T, V): row t is about the token after ids[t]."""
        rows = self.features[1:]
        flat = self.network.block_logits(rows.reshape(-1, rows.shape[-1]))
        return flat.reshape(*rows.shape[:-1], -1)

    @cached_property
    def log_probabilities(self) -> Array:
        """The logarithm in nats of the probabilities after each token (T, V).

        Raises:
            DivergedError: a logit is too large for a number.
        """
        found = log_softmax(self.logits)
        check_finite(found)
        return found

    def log_probability_blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield the log_probabilities of one text (S, V) with their places, few enough for memory.

        Raises:
            DivergedError: as `log_probabilities`.
        """
        size = max(_LOGITS_AT_ONCE // self.config.vocab_size, 1)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield slice(start, stop), self.part(start, stop).log_probabilities

    def part(self, start: int, stop: int | None = None) -> Trace:
        """Return the tokens from `start` to before `stop`, as views."""
        stop = len(self) if stop is None else stop
        states = map_state(lambda array: array[start : stop + 1], self.states)
        return Trace(self.network, self.ids[start:stop], states)

    def _features(self, depth: int) -> Array:
        """Return what lies above the layers below `depth`: (T + 1, H)."""
        if not self.config.residual:
            return self.hidden(depth - 1)
        # In the order in which the network adds, so that no bit differs.
        total = self.hidden(0)
        for each in range(1, depth):
            total = self.hidden(each) + total
        return total

    @cached_property
    def _gates(self) -> list[dict[str, Array]]:
        return [self._compute_gates(depth) for depth in self.depths]

    def _compute_gates(self, depth: int) -> dict[str, Array]:
        names = GATES[self.config.cell]
        if not names:
            return {}
        layer = layer_weights(self.network, depth)
        from_x = self.inputs(depth) @ layer.weight_ih.T + layer.bias_ih
        from_h = self.hidden(depth)[:-1] @ layer.weight_hh.T + layer.bias_hh
        xs = np.split(from_x, len(names), -1)
        hs = np.split(from_h, len(names), -1)
        if self.config.cell == "lstm":
            i, f, g, o = (x + h for x, h in zip(xs, hs, strict=True))
            return {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}
        r = sigmoid(xs[0] + hs[0])
        z = sigmoid(xs[1] + hs[1])
        return {"r": r, "z": z, "n": np.tanh(xs[2] + r * hs[2]), "n_h": hs[2]}


@IGNORE_OVERFLOW
def record(network: Network, ids: Ids, state: State | None = None) -> Trace:
    """Return the trace of ids (T,), or of B texts side by side (T, B).

    state: before the text, of one text or of B; None is the initial state.

    Raises:
        DivergedError: a state grows until it is no number, as that of a ReLU can.
    """
    before = network.initial_state() if state is None else state
    advance = network.advance
    if ids.ndim == 2:
        advance = network.advance_all  # type: ignore[assignment]
        before = repeat_state(before, ids.shape[1]) if state is None else before
    states = [before]
    for token in ids if ids.ndim == 2 else ids.tolist():
        states.append(advance(token, states[-1]))
    trace = Trace(network, ids, stack_states(states))
    check_finite(*iter_arrays(trace.states))
    return trace


def record_lanes(network: Network, ids: Ids, lanes: int = 16) -> Trace:
    """Return the trace of a long text (N,), whose stretches are read side by side.

    Each stretch but the first is read from the initial state after the RUN_UP tokens before it, so
    its states are those of the whole text only as far as the network has forgotten what came
    earlier. That takes a sixth of the time of `record`.
    """
    count = len(ids)
    size = -(-count // lanes)
    if size <= RUN_UP or ids.ndim > 1:  # nothing to gain
        return record(network, ids)
    starts = np.arange(lanes) * size
    starts = starts[starts < count]
    # Lane k reads places starts[k] − RUN_UP … starts[k] + size; what lies outside the text is cut.
    places = starts + np.arange(-RUN_UP, size)[:, None]
    before = record(network, ids[places[:RUN_UP].clip(0)])
    state = replace_rows(
        select_row(before.states, -1), [0], stack_states([network.initial_state()])
    )
    trace = record(network, ids[places[RUN_UP:].clip(0, count - 1)], state)

    def joined(array: Array) -> Array:
        """Return (size + 1, lanes, H) as (N + 1, H)."""
        after = array[1:].swapaxes(0, 1).reshape(-1, array.shape[-1])[:count]
        return np.concatenate((array[:1, 0], after))

    return Trace(network, ids, map_state(joined, trace.states))


def layer_weights(network: Network, depth: int) -> Layer:
    """Return the weights of a layer."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return Layer(*(network.weights[f"layers.{depth}.{name}"] for name in names))


def double_weights(network: Network) -> dict[str, NDArray[Any]]:
    """Return the weights in float64, but those of n-grams as they are: few of them are read."""
    return {
        name: array if name.startswith("ngrams.") else array.astype(np.float64)
        for name, array in network.weights.items()
    }


@IGNORE_OVERFLOW
def log_softmax(logits: Array) -> Array:
    """Return the logarithms in nats of the probabilities that logits (…, V) mean, in their dtype.

    >>> np.exp(log_softmax(np.zeros(4, np.float32)))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    shifted: Array = logits - logits.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted


def check_finite(*arrays: Array) -> None:
    """Refuse what is no finite number.

    Raises:
        DivergedError: one is not.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise DivergedError(NOT_FINITE)


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + e^−a), which no `a` makes overflow."""
    half: Array = np.tanh(a * np.float32(0.5))
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half
