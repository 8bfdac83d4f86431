"""Several networks that read one text, each in the symbols of its own vocabulary.

A network that does not know a character reads its UTF-8 bytes where it has byte symbols; else its
state stays as it was. Where some have byte symbols and others not, the others are silent inside a
character that is being written as bytes: they know nothing of it. Once it is whole, those that know
it read it. What comes of their opinions is `blend.py`'s.

V = symbols of the common vocabulary, B = texts side by side, S = symbols of a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import VocabError
from charrnn.inference.network.reader import Reader
from charrnn.inference.network.states import State, pick_rows, put_rows
from charrnn.text.vocab import Ids, Vocab

LogProbabilities = NDArray[np.float64]
Speaks = NDArray[np.bool_]

_MOST_HELD = 3  # bytes of an unfinished character


class Ensemble:
    """Readers side by side, which read as one. A state is a tuple of theirs.

    Where one of them can be silent, the state ends with the bytes of an unfinished character: (3,)
    float32, filled up with zeros, which are no such bytes.
    """

    def __init__(self, vocab: Vocab, parts: Sequence[tuple[Reader, Vocab]]) -> None:
        self.vocab = vocab
        self._parts = [_Part(reader, own, vocab) for reader, own in parts]
        self._holds_bytes = any(part.can_be_silent for part in self._parts)

    def initial_state(self) -> State:
        """Give the state before any text."""
        return self._join([part.reader.initial_state() for part in self._parts], [b""], ())

    def advance(self, symbol: int, state: State) -> State:
        """Read one id; give the state after it."""
        return self.prefill(np.array([symbol]), state)

    def advance_all(self, symbols: Ids, states: State) -> State:
        """Read an id (B,) in each of B texts; give the states after them."""
        spelled, held = [], []
        for row, symbol in enumerate(symbols.tolist()):
            each, unfinished = self._spell([symbol], self._held_bytes(states, row))
            spelled.append(each)
            held.append(unfinished)
        columns = zip(self._parts, zip(*spelled, strict=True), states, strict=False)
        after = [_read_rows(part.reader, rows, own) for part, rows, own in columns]
        return self._join(after, held, (len(held),))

    def prefill(self, symbols: Ids, state: State) -> State:
        """Read ids (S,) one after another; give the state after the last."""
        spelled, held = self._spell(symbols.tolist(), self._held_bytes(state))
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

    def _spell(self, symbols: Iterable[int], held: bytes) -> tuple[list[list[int]], bytes]:
        """Give what each part reads for `symbols` after `held` bytes, and the bytes then held."""
        spelled: list[list[int]] = [[] for _ in self._parts]
        first_byte = len(self.vocab.alphabet)
        for symbol in symbols:
            if symbol < first_byte:
                char, held = self.vocab.alphabet[symbol], b""
            else:
                char, held = _take_byte(held, symbol - first_byte)
            for part, ids in zip(self._parts, spelled, strict=True):
                ids.extend(part.spell(symbol, char))
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

    def __init__(self, reader: Reader, own: Vocab, common: Vocab) -> None:
        self.reader, self._vocab = reader, own
        self.can_be_silent = common.has_bytes and not own.has_bytes
        self._ids = _ids_in(own, common)
        self._known = np.flatnonzero(self._ids >= 0)
        self._own_of_known = self._ids[self._known]

    @property
    def knows(self) -> NDArray[np.bool_]:
        """(V,) bool: the common symbols that are its own too."""
        return self._ids >= 0

    def spell(self, symbol: int, char: str) -> list[int]:
        """Give the own ids of a common symbol, which writes `char`, or of bytes that end it."""
        own = int(self._ids[symbol])
        if own >= 0:
            return [own]
        try:
            ids: list[int] = self._vocab.encode(char).tolist()
        except VocabError:
            return []
        return ids

    def log_probabilities(self, state: State) -> LogProbabilities:
        """Give ln p (..., V) of the common symbols; −inf for those that it does not have."""
        logits = self.reader.logits(state).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        common = np.full((*logits.shape[:-1], len(self._ids)), -np.inf)
        common[..., self._known] = logits[..., self._own_of_known]
        return common


def _ids_in(own: Vocab, common: Vocab) -> NDArray[np.int64]:
    """Give the own id (V,) of each common symbol, −1 where there is none."""
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


def _read_rows(reader: Reader, rows: Sequence[Sequence[int]], states: State) -> State:
    """Read in each of B texts its own ids, of which there may be none or several."""
    for place in range(max(map(len, rows))):
        still = [row for row, ids in enumerate(rows) if len(ids) > place]
        ids = np.array([rows[row][place] for row in still])
        if len(still) == len(rows):
            states = reader.advance_all(ids, states)
        else:
            states = put_rows(states, still, reader.advance_all(ids, pick_rows(states, still)))
    return states
