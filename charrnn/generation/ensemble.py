"""Several networks that read one text, each in the tokens of its own vocabulary.

A network that does not know a character reads its UTF-8 bytes where it has byte tokens; else its
state stays as it was. Where some have byte tokens and others not, the others are silent inside a
character that is being written as bytes: they know nothing of it. Once it is whole, those that know
it read it. What comes of their opinions is `blend.py`'s.

V = tokens of the common vocabulary, B = texts side by side, S = tokens of a text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, VocabError
from charrnn.generation.language_model import LanguageModel
from charrnn.state import State, replace_rows, select_rows
from charrnn.text.vocab import Ids, Vocab

LogProbabilities = NDArray[np.float64]
Speaks = NDArray[np.bool_]

_MOST_HELD = 3  # bytes of an unfinished character


class Ensemble:
    """Readers side by side, which read as one. A state is a tuple of theirs.

    Where one of them can be silent, the state ends with the bytes of an unfinished character: (3,)
    float32, filled up with zeros, which are no such bytes.
    """

    def __init__(self, vocab: Vocab, parts: Sequence[tuple[LanguageModel, Vocab]]) -> None:
        self.vocab = vocab
        self._parts = [_Part(reader, own, vocab) for reader, own in parts]
        self._holds_bytes = any(part.can_be_silent for part in self._parts)

    def initial_state(self) -> State:
        """Give the state before any text."""
        return self._join([part.reader.initial_state() for part in self._parts], [b""], ())

    def advance(self, token: int, state: State) -> State:
        """Read one id; give the state after it."""
        return self.prefill(np.array([token]), state)

    def advance_all(self, tokens: Ids, states: State) -> State:
        """Read an id (B,) in each of B texts; give the states after them."""
        spelled, held = [], []
        for row, token in enumerate(tokens.tolist()):
            each, unfinished = self._spell([token], self._held_bytes(states, row))
            spelled.append(each)
            held.append(unfinished)
        columns = zip(self._parts, zip(*spelled, strict=True), states, strict=False)
        after = [_read_rows(part.reader, rows, own) for part, rows, own in columns]
        return self._join(after, held, (len(held),))

    def prefill(self, tokens: Ids, state: State) -> State:
        """Read ids (S,) one after another; give the state after the last."""
        spelled, held = self._spell(tokens.tolist(), self._held_bytes(state))
        columns = zip(self._parts, spelled, state, strict=False)
        after = [part.reader.prefill(np.array(ids, int), own) for part, ids, own in columns]
        return self._join(after, [held], ())

    def _opinions(self, state: State) -> Iterator[tuple[LogProbabilities, Speaks]]:
        """Yield each part's ln p (..., V), −inf for what it lacks, and whether it speaks (..., 1).

        state: one, or B of them.
        """
        always = np.ones(1, np.bool_)
        sometimes = state[-1][..., :1] == 0 if self._holds_bytes else always
        for part, own in zip(self._parts, state, strict=False):
            yield part.log_probabilities(own), sometimes if part.can_be_silent else always

    def _spell(self, tokens: Iterable[int], held: bytes) -> tuple[list[list[int]], bytes]:
        """Give what each part reads for `tokens` after `held` bytes, and the bytes then held."""
        spelled: list[list[int]] = [[] for _ in self._parts]
        first_byte = len(self.vocab.alphabet)
        for token in tokens:
            if token < first_byte:
                char, held = self.vocab.alphabet[token], b""
            else:
                char, held = _take_byte(held, token - first_byte)
            for part, ids in zip(self._parts, spelled, strict=True):
                ids.extend(part.spell(token, char))
        return spelled, held

    def _held_bytes(self, states: State, *row: int) -> bytes:
        """Give the bytes of an unfinished character in a state, or in the row of several."""
        if not self._holds_bytes:
            return b""
        return bytes(filter(None, states[-1][row].astype(np.uint8).tolist()))

    def _join(
        self, states: Sequence[State], held: Sequence[bytes], shape: tuple[int, ...]
    ) -> State:
        if not self._holds_bytes:
            return tuple(states)
        filled = b"".join(each.ljust(_MOST_HELD, b"\0") for each in held)
        rows = np.frombuffer(filled, np.uint8).astype(np.float32)
        return (*states, rows.reshape(*shape, _MOST_HELD))


class _Part:
    """A reader and its vocabulary, seen from the common one."""

    def __init__(self, reader: LanguageModel, own: Vocab, common: Vocab) -> None:
        self.reader, self._vocab = reader, own
        self.can_be_silent = common.has_bytes and not own.has_bytes
        self._ids = _ids_in(own, common)
        self._known = np.flatnonzero(self._ids >= 0)
        self._own_of_known = self._ids[self._known]

    @property
    def knows(self) -> NDArray[np.bool_]:
        """(V,) bool: the common tokens that are its own too."""
        return self._ids >= 0

    def spell(self, token: int, char: str) -> list[int]:
        """Give the own ids of a common token, which writes `char`, or of bytes that end it."""
        own = int(self._ids[token])
        if own >= 0:
            return [own]
        try:
            ids: list[int] = self._vocab.encode(char).tolist()
        except VocabError:
            return []
        return ids

    def log_probabilities(self, state: State) -> LogProbabilities:
        """Give ln p (..., V) of the common tokens; −inf for those that it does not have."""
        logits = self.reader.logits(state).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        common = np.full((*logits.shape[:-1], len(self._ids)), -np.inf)
        common[..., self._known] = logits[..., self._own_of_known]
        return common


def _ids_in(own: Vocab, common: Vocab) -> NDArray[np.int64]:
    """Give the own id (V,) of each common token, −1 where there is none."""
    places = {char: place for place, char in enumerate(own.alphabet)}
    ids = [places.get(char, -1) for char in common.alphabet]
    if common.has_bytes:
        first = len(own.alphabet)
        ids += range(first, first + 256) if own.has_bytes else [-1] * 256
    return np.array(ids, np.int64)


def _take_byte(held: bytes, byte: int) -> tuple[str, bytes]:
    """Give the character that a byte ends, "" where it ends none, and the bytes then held."""
    raw = held + bytes([byte])
    try:
        return raw.decode(), b""
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return "", raw
        return _take_byte(b"", byte) if held else ("", b"")


def _read_rows(reader: LanguageModel, rows: Sequence[Sequence[int]], states: State) -> State:
    """Read in each of B texts its own ids, of which there may be none or several."""
    for place in range(max(map(len, rows))):
        still = [row for row, ids in enumerate(rows) if len(ids) > place]
        ids = np.array([rows[row][place] for row in still])
        if len(still) == len(rows):
            states = reader.advance_all(ids, states)
        else:
            states = replace_rows(
                states, still, reader.advance_all(ids, select_rows(states, still))
            )
    return states


class Blend(Ensemble):
    """Models by weight, over every token that one of them has.

    p = Σ wᵢ pᵢ / Σ wᵢ, or in log space ln p = Σ wᵢ ln pᵢ / Σ wᵢ less its normalizer: the linear and
    the logarithmic pool (Genest and Zidek 1986). In the first a model gives 0 to a token that it
    does not have, in the second that token is impossible.
    """

    def __init__(
        self, parts: Sequence[tuple[LanguageModel, Vocab, float]], in_log_space: bool = False
    ) -> None:
        readers = [(reader, vocab) for reader, vocab, _ in parts]
        super().__init__(reduce(Vocab.union, [vocab for _, vocab in readers]), readers)
        self._weights = [_checked("weight", weight) for *_, weight in parts]
        self._in_log_space = in_log_space
        if in_log_space and not np.all([part.knows for part in self._parts], axis=0).any():
            raise ConfigError(
                "these models have no character in common, so that in log space all are "
                "impossible; blend them by probability"
            )

    def logits(self, state: State) -> NDArray[np.float32]:
        """Give ln p (V,) of the next token after a state, or (B, V) after B of them."""
        opinions = zip(self._weights, self._opinions(state), strict=True)
        if self._in_log_space:
            pooled = [
                (np.where(speaks, weight * each, 0), np.where(speaks, weight, 0))
                for weight, (each, speaks) in opinions
            ]
            sums, weights = (sum(each) for each in zip(*pooled, strict=True))
            return _normalized(sums / weights)
        total = sum(weight * speaks * np.exp(each) for weight, (each, speaks) in opinions)
        with np.errstate(divide="ignore"):
            return _normalized(np.log(total))


class NegativeGuidance(Ensemble):
    """A model pushed away from another, over the tokens that the first one has.

    ln p = (1 + s) ln p_main − s ln p_other less its normalizer: classifier-free guidance (Ho and
    Salimans 2022; on language models Sanchez et al. 2023), close to contrastive decoding (Li et al.
    2023). p_main and p_other are compared among the tokens that both have; no other is pushed.
    """

    def __init__(
        self, main: tuple[LanguageModel, Vocab], other: tuple[LanguageModel, Vocab], strength: float
    ) -> None:
        super().__init__(main[1], [main, other])
        self._strength = _checked("strength", strength)
        if not self._parts[1].knows.any():
            raise ConfigError(
                "the model to guide away from has no character in common with the first; "
                "name another by --negative-model"
            )

    def logits(self, state: State) -> NDArray[np.float32]:
        """Give ln p (V,) of the next token after a state, or (B, V) after B of them."""
        (main, _), (other, speaks) = self._opinions(state)
        is_shared = np.isfinite(main) & np.isfinite(other) & speaks
        with np.errstate(invalid="ignore"):  # −inf − −inf, of what is not shared
            push = _among(is_shared, main) - _among(is_shared, other)
        return _normalized(main + self._strength * np.where(is_shared, push, 0))


def _among(is_kept: NDArray[np.bool_], logits: LogProbabilities) -> LogProbabilities:
    """Give ln softmax (..., V) of those kept; the others are −inf or no number."""
    kept = np.where(is_kept, logits, -np.inf)
    result: LogProbabilities = kept - np.logaddexp.reduce(kept, -1, keepdims=True)
    return result


def _normalized(logits: LogProbabilities) -> NDArray[np.float32]:
    """Give ln softmax (..., V)."""
    return (logits - np.logaddexp.reduce(logits, -1, keepdims=True)).astype(np.float32)


def _checked(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"the {name} of a model is {value}; it must be a finite number above 0")
    return value
