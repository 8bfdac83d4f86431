"""Targets of whole sources, by an encoder and a decoder: numpy, many sources side by side.

`Seq2Seq.convert` searches the likeliest targets by a beam, which is greedy where it is 1 wide. As
in `beam.py`, a hypothesis that ends leaves its beam with one place less. Here every source has a
beam of its own, all of them make a step together, and those that are done leave the batch.

S = sources side by side, K = hypotheses of each, R = rows of a step: S·K, T = tokens of the longest
source, U = tokens of the longest target, H = hidden size, D = features of a position, A = width of
attention, V = target vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.errors import DivergedError
from charrnn.generation.cells import Vector, arrange_layer, make_step
from charrnn.generation.encoder import Encoded, Encoder, Ints
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE
from charrnn.state import State, select_rows
from charrnn.text.vocab import Ids

_BLOCK_ROWS = 128  # of a step: with more, its arrays leave the processor's cache
_BLOCK_POSITIONS = 1 << 12  # of all rows' sources, which attention looks at in a step


class Candidate(NamedTuple):
    """A target that a search found.

    ids: without the end. log_prob: ln p of the ids, and of the end where it is complete; one that
    is not was cut at the limit.
    """

    ids: tuple[int, ...]
    log_prob: float
    is_complete: bool


class _Sources(NamedTuple):
    """What each step reads of sources.

    features: (S, T, D). keys: (S, T, A), their part of attention's scores. penalties: (S, 1, T),
    −inf after a source's end, else 0. T is 0 without attention.
    """

    features: Vector
    keys: Vector
    penalties: Vector


class _Beams(NamedTuple):
    """The hypotheses that continue.

    which: (S,), where each source stands in its block. ids: (S, K, tokens so far). log_probs:
    (S, K), −inf where there is none. room: (S,), how many more may end.
    """

    which: Ints
    ids: Ints
    log_probs: Floats
    room: Ints


class Seq2Seq(Encoder):
    """The network of a model file whose task is seq2seq."""

    @IGNORE_OVERFLOW
    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        super().__init__(config, weights)
        # The decoder's alone: a file's order decides which of two of one name would stay.
        own = {
            name.replace("decoder.", "layers."): each
            for name, each in weights.items()
            if name.startswith("decoder.")
        }
        depths = range(len(config.decoder_inputs))
        layers = [arrange_layer(config, own, depth) for depth in depths]
        self._decoder = [
            make_step(config, each, has_product=not n) for n, each in enumerate(layers)
        ]
        # Of the lowest layer, the product of each token (V, G·H).
        self._target_table = layers[0].input_product(weights["target_embedding.weight"])
        self._end = config.target_size - 1

    @IGNORE_OVERFLOW
    def convert(
        self,
        texts: Sequence[Ids],
        *,
        limit: Callable[[int], int],
        least: Callable[[int], int] = lambda length: 0,
        beam: int = 1,
        n_best: int = 1,
        length_penalty: float = 1.0,
    ) -> list[list[Candidate]]:
        """Return the likeliest targets of each source, the best first, `n_best` at most.

        texts: ids of the sources; none is empty. limit, least: from a source's length to the most
        and the fewest tokens of its target, the end not counted. beam: at least n_best.
        length_penalty: targets that ended are ranked by ln p / tokens to this power, those that
        were cut come after them.

        Raises:
            DivergedError: the weights are so large that logits are not finite.
        """
        found: list[list[Candidate]] = [[] for _ in texts]
        for encoded in self._iter_blocks(texts, beam):
            lengths = encoded.lengths.tolist()
            limits = np.array([limit(length) for length in lengths])
            fewest = np.minimum([least(length) for length in lengths], limits)
            results = _Results(limits, fewest, n_best, length_penalty)
            self._search(encoded, beam, results)
            for each, number in enumerate(encoded.which):
                found[number] = results.best(each)
        return found

    @IGNORE_OVERFLOW
    def target_nats(self, texts: Sequence[Ids], targets: Sequence[Ids]) -> Floats:
        """Return −ln p (N,) of a given target of each source; each ends with the end."""
        nats = np.zeros(len(texts))
        for encoded in self._iter_blocks(texts, 1):
            expected = [targets[number] for number in encoded.which]
            nats[encoded.which] = self._score(encoded, expected)
        return nats

    @IGNORE_OVERFLOW
    def attention(self, text: Ids, target: Ids) -> tuple[Vector, Floats]:
        """Return what writing a target looks at: weights (U, T), and −ln p of each token (U,).

        text: ids of the source (T,), not empty. target: (U,), with the end. Each row of weights is
        of one token that is written, and sums to 1; without attention there are none: (U, 0).
        """
        encoded = next(self.iter_encoded([text]))
        sources = self._look_at(encoded)
        states = self._first_states(encoded)
        rows = []
        nats = []
        before = self._end
        for token in target.tolist():
            log_probs, states, weights = self._step(np.array([before]), states, sources)
            rows.append(weights[0, 0])
            nats.append(-log_probs[0, token])
            before = token
        return np.stack(rows), np.array(nats)

    def _iter_blocks(self, texts: Sequence[Ids], width: int) -> Iterator[Encoded]:
        """Yield as many sources as make a step together, with beams of this width."""
        for encoded in self.iter_encoded(texts):
            begin = 0
            while begin < len(encoded.which):
                longest = int(encoded.lengths[begin])
                rows = min(_BLOCK_ROWS, _BLOCK_POSITIONS // longest)
                part = slice(begin, begin + max(1, rows // width))
                features = encoded.features[:longest, part]
                ids = encoded.ids[:longest, part]
                yield Encoded(encoded.which[part], features, encoded.lengths[part], ids)
                begin = part.stop

    def _search(self, encoded: Encoded, beam: int, results: _Results) -> None:
        """Add the targets that beams of this width find to the results."""
        sources = self._look_at(encoded)
        states = self._first_states(encoded)
        count = len(encoded.which)
        ids = np.zeros((count, 1, 0), np.int64)
        room = np.full(count, beam)
        beams = _Beams(np.arange(count), ids, np.zeros((count, 1)), room)
        tokens = np.full(count, self._end)
        while len(beams.which):
            log_probs, states, _ = self._step(tokens, states, sources)
            width = beams.ids.shape[1]
            extended, parents = _extend(beams, log_probs, self._end, results)
            going = results.unfinished(extended)
            rows = going[:, None] * width + parents[going]
            states = select_rows(states, rows.ravel())
            beams = _Beams(*select_rows(extended, going))
            if len(going) < len(parents):
                sources = _Sources(*select_rows(sources, going))
            tokens = beams.ids[:, :, -1].ravel()

    def _score(self, encoded: Encoded, targets: Sequence[Ids]) -> Floats:
        """Return −ln p (S,) of the targets of these sources."""
        sources = self._look_at(encoded)
        states = self._first_states(encoded)
        lengths = np.array([len(each) for each in targets])
        nats = np.zeros(len(targets))
        active = np.arange(len(targets))
        tokens = np.full(len(targets), self._end)
        for place in range(int(lengths.max())):
            going = np.flatnonzero(lengths[active] > place)
            if len(going) < len(active):
                active = active[going]
                tokens = tokens[going]
                states = select_rows(states, going)
                sources = _Sources(*select_rows(sources, going))
            log_probs, states, _ = self._step(tokens, states, sources)
            tokens = np.array([targets[each][place] for each in active.tolist()])
            nats[active] -= log_probs[np.arange(len(active)), tokens]
        return nats

    def _look_at(self, encoded: Encoded) -> _Sources:
        """Return what each step reads of these sources, with the products that stay the same."""
        attention = self.config.attention
        if attention == "none":
            nothing = encoded.features[:0].swapaxes(0, 1)
            return _Sources(nothing, nothing, nothing[:, None, :, 0])
        features = np.ascontiguousarray(encoded.features.swapaxes(0, 1))
        if attention == "additive":
            keys: Vector = features @ self.weights["attention.key.weight"].T
        else:  # (W q)·k = q·(Wᵀ k)
            keys = features @ self.weights["attention.query.weight"]
            keys /= np.float32(math.sqrt(self.config.features))
        is_source = encoded.is_inside.transpose(1, 2, 0)
        penalties = np.where(is_source, 0, -np.inf).astype(np.float32)
        return _Sources(features, keys, penalties)

    def _first_states(self, encoded: Encoded) -> State:
        """Return the states, each part (S, H), that the decoder's layers start from."""
        last = encoded.last(self.config.hidden_size)
        states = []
        for depth in range(len(self._decoder)):
            weight = self.weights[f"bridge.{depth}.weight"]
            parts = np.tanh(last @ weight.T + self.weights[f"bridge.{depth}.bias"])
            states.append(tuple(np.split(parts, self.config.state_parts, 1)))
        return tuple(states)

    def _step(self, tokens: Ints, states: State, sources: _Sources) -> tuple[Floats, State, Vector]:
        """Return ln p (R, V) of what comes after tokens (R,), and the next states.

        The third is what the step looks at: weights (S, K, T), where T is 0 without attention.
        """
        size = self.config.hidden_size
        looks = sources.penalties
        after = []
        features = inputs = self._target_table[tokens].reshape(len(tokens), -1, size)
        context = None
        for depth, (step, before) in enumerate(zip(self._decoder, states, strict=True)):
            state = step(inputs, before)
            after.append(state)
            features = state[0] + features if self.config.residual and depth else state[0]
            if context is None and self.config.attention != "none":
                looks = self._look(features, sources)
                context = (looks @ sources.features).reshape(len(tokens), -1)
            inputs = features if context is None else np.concatenate((features, context), 1)
        if context is not None:
            combined = inputs @ self.weights["combine.weight"].T
            features = np.tanh(combined + self.weights["combine.bias"])
        logits = features @ self.weights["output.weight"].T + self.weights["output.bias"]
        log_probs = log_softmax(logits.astype(np.float64))
        if np.isnan(log_probs).any():
            raise DivergedError(NOT_FINITE)
        return log_probs, tuple(after), looks

    def _look(self, queries: Vector, sources: _Sources) -> Vector:
        """Return the weights (S, K, T) of sources' positions for queries (R, H); rows sum to 1."""
        asked = queries.reshape(len(sources.keys), -1, queries.shape[1])
        if self.config.attention == "additive":
            asked = asked @ self.weights["attention.query.weight"].T
            sums = asked[:, :, None] + sources.keys[:, None]
            scores: Vector = np.tanh(sums, sums) @ self.weights["attention.score.weight"][0]
        else:
            scores = asked @ sources.keys.swapaxes(1, 2)
        scores += sources.penalties
        scores -= scores.max(2, keepdims=True)
        np.exp(scores, scores)
        scores /= scores.sum(2, keepdims=True)
        return scores


class _Results:
    """The targets found for each source of a block.

    limits, fewest: (S,), the most and the fewest tokens of each source's.
    """

    def __init__(self, limits: Ints, fewest: Ints, n_best: int, length_penalty: float) -> None:
        self.limits = limits
        self.fewest = fewest
        self._n_best = n_best
        self._length_penalty = length_penalty
        self._found: list[list[Candidate]] = [[] for _ in limits]

    def add(self, beams: _Beams, row: int, place: int, log_prob: float | None = None) -> None:
        """Add a hypothesis; log_prob: with its end; None if it was cut."""
        is_complete = log_prob is not None
        total = float(beams.log_probs[row, place]) if log_prob is None else log_prob
        ids = tuple(beams.ids[row, place].tolist())
        self._found[beams.which[row]].append(Candidate(ids, total, is_complete))

    def best(self, number: int) -> list[Candidate]:
        """Return the targets of a source, the best first; of equals, the one of lower ids."""

        def rank(each: Candidate) -> tuple[bool, float, tuple[int, ...]]:
            return not each.is_complete, -self._rate(each.log_prob, len(each.ids)), each.ids

        ranked = sorted(self._found[number], key=rank)
        return ranked[: self._n_best]

    def unfinished(self, beams: _Beams) -> Ints:
        """Return which of the sources have hypotheses that may still be among the best."""
        best = beams.log_probs.max(1, initial=-np.inf)
        places = np.flatnonzero(best > -np.inf).tolist()
        going = [n for n in places if not self._is_certain(int(beams.which[n]), float(best[n]))]
        return np.array(going, np.int64)

    def _is_certain(self, number: int, log_prob: float) -> bool:
        """Return whether a source's hypotheses of this ln p at most come too late."""
        if len(self._found[number]) < self._n_best:
            return False
        last = self.best(number)[-1]
        reachable = self._rate(log_prob, int(self.limits[number]))
        return self._rate(last.log_prob, len(last.ids)) >= reachable

    def _rate(self, log_prob: float, length: int) -> float:
        """ln p / (|y| + 1)^α: with α = 1, the mean over the tokens and the end."""
        return log_prob / float((length + 1) ** self._length_penalty)


def _extend(beams: _Beams, log_probs: Floats, end: int, results: _Results) -> tuple[_Beams, Ints]:
    """Return each source's best hypotheses with one more token, and which (S, K) they extend.

    log_probs: (R, V), of the next token. Those that end go to the results, and those that have no
    room for another token.
    """
    totals = beams.log_probs.reshape(-1, 1) + log_probs
    size = beams.ids.shape[2]
    limits = results.limits[beams.which]
    fewest = results.fewest[beams.which]
    if (size < fewest).any():
        totals[np.repeat(size < fewest, beams.ids.shape[1]), end] = -np.inf
    must_end = (size == limits) & (size == fewest)  # nothing else is of this length
    if must_end.any():
        totals[np.repeat(must_end, beams.ids.shape[1]), :end] = -np.inf
    scores = totals.reshape(len(beams.which), -1)
    best = _best_columns(scores, int(beams.room.max()))
    scores = np.take_along_axis(scores, best, 1)
    parents, tokens = np.divmod(best, log_probs.shape[1])
    is_chosen = (np.arange(best.shape[1]) < beams.room[:, None]) & (scores > -np.inf)
    is_end = is_chosen & (tokens == end)
    for row, place in np.argwhere(is_end).tolist():
        results.add(beams, row, parents[row, place], float(scores[row, place]))
    is_full = size >= limits
    for row in np.flatnonzero(is_full).tolist():
        alive = np.flatnonzero(beams.log_probs[row] > -np.inf)
        for parent in np.setdiff1d(alive, parents[row, is_end[row]]):
            results.add(beams, row, parent)
    # The hypotheses that continue come first, in their order.
    is_kept = is_chosen & ~is_end & ~is_full[:, None]
    order = np.argsort(~is_kept, 1, kind="stable")[:, : int(is_kept.sum(1).max())]
    parents, tokens, scores, is_kept = (
        np.take_along_axis(each, order, 1) for each in (parents, tokens, scores, is_kept)
    )
    ids = np.take_along_axis(beams.ids, parents[:, :, None], 1)
    longer = np.concatenate((ids, tokens[:, :, None]), 2)
    room = beams.room - is_end.sum(1)
    return _Beams(beams.which, longer, np.where(is_kept, scores, -np.inf), room), parents


def _best_columns(scores: Floats, count: int) -> Ints:
    """Return where the `count` largest of each row (S, N) stand, the largest first.

    Of equals the first.

    >>> _best_columns(np.array([[1.0, 3.0, 1.0, 2.0, 1.0]]), 3).tolist()
    [[1, 3, 0]]
    """
    count = min(count, scores.shape[1])
    if count == 1:
        first: Ints = scores.argmax(1)[:, None]
        return first
    least = np.partition(scores, -count, 1)[:, -count, None]
    is_above = scores > least
    is_equal = scores == least
    is_equal &= is_equal.cumsum(1) <= count - is_above.sum(1, keepdims=True)
    columns = np.nonzero(is_above | is_equal)[1].reshape(len(scores), count)
    order = np.argsort(-np.take_along_axis(scores, columns, 1), 1, kind="stable")
    best: Ints = np.take_along_axis(columns, order, 1)
    return best
