"""Language models: token ids and a state go in, logits and the next state come out.

`Network` is the stacked network in numpy, which `generator.py`, `scoring.py` and `infill/` use;
`cells.py` has the equations of a layer.

V = vocabulary, E = embedding size, H = hidden size, G = gates of the cell, S = tokens, B = texts
side by side.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.config.model import BUCKET
from charrnn.generation.cells import (
    LayerState,
    Vector,
    arrange_layer,
    gates_first,
    make_product,
    make_step,
)
from charrnn.state import State, replace_rows
from charrnn.text.ngrams import find_rows, hash_ngrams
from charrnn.text.vocab import Ids

_LARGEST_TABLE = 16_000_000  # numbers, 64 MB

# BLAS pads its operands with whatever is in memory, and sometimes flags that. np.errstate
# would cost a seventh of a small network's time.
warnings.filterwarnings("ignore", "invalid value encountered in (dot|matmul)", RuntimeWarning)


class LanguageModel(Protocol):
    """What a text is sampled from: a Network, or an Ensemble of several.

    A state is an argument and a result, never kept inside. After the end of a record it is the
    initial one.
    """

    def initial_state(self) -> State:
        """Return the state before any text."""

    def advance(self, token: int, state: State) -> State:
        """Return the state after one more id."""

    def advance_all(self, tokens: Ids, states: State) -> State:
        """Return the states of B texts after one more id (B,) of each."""

    def prefill(self, tokens: Ids, state: State) -> State:
        """Return the state after more ids (S,), read in order."""

    def logits(self, state: State) -> Vector:
        """Return the logits (V,) float32 of the next id after a state, or (B, V) after B states."""


class Network:
    """A LanguageModel of one model file: num_layers cells, and the output layer.

    Labels are not known to it: `labels.py` makes them weights of a network without labels.
    """

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        layers = [arrange_layer(config, weights, depth) for depth in range(config.num_layers)]
        self.config = config
        self.weights = weights
        self.vocab_size = config.vocab_size
        self._end = config.vocab_size - 1 if config.has_end else -1
        self._is_residual = config.residual
        embedding = weights["embedding.weight"]
        # The first layer has only V inputs: a table of their products (V, G, H), if not too large.
        self._inputs = np.float32(config.embedding_scale) * embedding
        has_table = len(embedding) * len(layers[0].bias_ih) <= _LARGEST_TABLE
        if has_table:
            products = layers[0].input_product(self._inputs)
            self._inputs = products.reshape(len(products), -1, config.hidden_size)
        self._steps = [
            make_step(config, layer, has_product=has_table and not depth)
            for depth, layer in enumerate(layers)
        ]
        self._initial = tuple(tuple(weights[f"layers.{i}.initial"]) for i in range(len(layers)))
        self.ngrams: NGrams | None = None
        if config.ngram_rows:
            self.ngrams = NGrams(config, weights)
            self._initial += (self.ngrams.initial_context,)
        # Of n-grams there is no table: a function from (E,) to (G, H), or (B, E) to (G, B, H).
        self._multiply: Callable[[Vector], Vector] | None = None
        if config.ngram_rows and has_table:
            self._multiply = make_product(layers[0].weight_ih, config.hidden_size, is_narrow=True)
        # The output layer: a projection where tied sizes differ, then the output weights.
        projection = weights.get("projection.weight")
        self._projection = None if projection is None else projection.T
        self._output = (embedding if config.tie_embeddings else weights["output.weight"]).T
        self._output_bias = weights["output.bias"]

    def initial_state(self) -> State:
        return self._initial

    def advance(self, token: int, state: State) -> State:
        if token == self._end:
            return self._initial
        return self._step(token, state)

    def advance_all(self, tokens: Ids, states: State) -> State:
        after = self._step(tokens, states)
        if self._end >= 0:
            ended = np.flatnonzero(tokens == self._end)
            if len(ended):
                after = replace_rows(after, ended, self._initial)
        return after

    def _step(self, token: int | Ids, state: State) -> State:
        """Return the state or states after one more id, which ends no record."""
        if self.ngrams is None:
            return self._run_layers(self._inputs[token], state)
        if self._multiply is None:
            features, context = self.embed(token, state)
            return (*self._run_layers(features, state), *context)
        summed, recent = self.ngrams.read(token, state[-1][0])
        products = self._multiply(summed)
        products += gates_first(self._inputs[token])
        return (*self._run_layers(gates_first(products), state), (recent,))

    def embed(self, token: int | Ids, state: State) -> tuple[Vector, State]:
        """Return what the first layer reads of an id (E,), or of B (B, E), after a state.

        The second is what the next state has after its layers: with n-grams the last tokens.
        """
        scale = np.float32(self.config.embedding_scale)
        x: Vector = scale * self.weights["embedding.weight"][token]
        if self.ngrams is None:
            return x, ()
        summed, recent = self.ngrams.read(token, state[-1][0])
        return x + summed, ((recent,),)

    def _run_layers(self, features: Vector, state: State) -> State:
        """Return the layers' states after one more input, or its product where there is a table."""
        if len(self._steps) == 1:  # without the list: 3 % less at H = 64
            return (self._steps[0](features, state[0]),)
        after = []
        for depth, step in enumerate(self._steps):
            layer = step(features, state[depth])
            features = layer[0] + features if self._is_residual and depth else layer[0]
            after.append(layer)
        return tuple(after)

    def prefill(self, tokens: Iterable[int], state: State) -> State:
        return reduce(lambda before, token: self.advance(token, before), tokens, state)

    def logits(self, state: State) -> Vector:
        return self.block_logits(self.features(state))

    def features(self, state: State) -> Vector:
        """Return what the output layer reads of a state: (H,), or (B, H)."""
        count = len(self._steps)  # of the layers: the last tokens stand after them
        features: Vector = state[count - 1][0]
        if self._is_residual:
            features = np.sum([layer[0] for layer in state[:count]], axis=0)
        return features

    def block_logits(self, features: Vector) -> Vector:
        """Return the logits (N, V) of N states from the features (N, H) of each."""
        if self._projection is not None:
            features = features.dot(self._projection)
        logits: Vector = features.dot(self._output)
        logits += self._output_bias
        return logits


class NGrams:
    """The table of n-grams of a model: what the last tokens add to the embedding of the newest.

    text/ngrams.py says how a row is found. A context is (N − 1,) float32, the keys of the last
    tokens, newest first; or (B, N − 1).

    N = the longest n-gram, R = rows, E = embedding size.
    """

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        self.weight = weights["ngrams.weight"]
        self._check = weights["ngrams.check"]
        self._key = weights["ngrams.key"]
        # Views that give Python's numbers: 0.05 µs an item, numpy's scalars 0.15.
        self._checks = np.ascontiguousarray(self._check, np.float32).data
        self._keys = self._key.astype(np.int64).data
        self._rows = config.ngram_rows
        # Few rows are read, so a network of float64 may keep its table in float32.
        self._dtype = weights["embedding.weight"].dtype
        self._ones = [np.ones(count, self._dtype) for count in range(config.ngram_order)]
        self.initial_context: LayerState = (np.zeros(config.ngram_order - 1, np.float32),)

    def read(self, token: int | Ids, context: Vector) -> tuple[Vector, Vector]:
        """Return what n-grams add to the embedding of a token (E,) or of B (B, E); the context."""
        if context.ndim == 1:
            rows, recent = self.find(int(token), context)
            # A product with ones is the fastest sum of so few numbers.
            return self._ones[len(rows)].dot(self.weight.take(rows, 0)), recent
        keys = np.concatenate((self._key[token][None], context.T))
        return self.lookup(keys.astype(np.int64)), np.ascontiguousarray(keys[:-1].T)

    def find(self, token: int, context: NDArray[np.floating[Any]]) -> tuple[list[int], Vector]:
        """Return the rows of the n-grams that end with a token, the shortest first; the context."""
        keys = [self._keys[token], *map(int, context.tolist())]
        checks = self._checks
        rows = []
        for bucket, check in hash_ngrams(keys, self._rows):
            # A dict of all n-grams is faster by 0.5 µs, and costs a start 0.1 s.
            own = checks[BUCKET * bucket : BUCKET * (bucket + 1)].tolist()
            if check in own:
                rows.append(BUCKET * bucket + own.index(check))
        return rows, np.array(keys[:-1], np.float32)

    def find_many(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the rows (N − 1, …) of keys (N, …), and which there are: text/ngrams.py."""
        return find_rows(self._check, keys)

    def lookup(self, keys: NDArray[np.int64]) -> Vector:
        """Return the sum of the rows (B, E) of the n-grams of keys (N, B), newest first."""
        rows, is_known = self.find_many(keys)
        found = self.weight.take(rows, 0)
        found *= is_known.astype(np.float32)[..., None]
        summed: Vector = np.add.reduce(found, dtype=self._dtype)
        return summed
