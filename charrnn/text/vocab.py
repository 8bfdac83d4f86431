"""Characters ↔ ids: the sorted alphabet of a corpus and, by choice, 256 byte tokens after it.

With byte tokens (byte fallback) a character outside the alphabet is written as its UTF-8 bytes,
so that every text can be encoded; without them it is refused by name. It knows nothing of files.

N = length of a text in characters, S = number of tokens its encoding takes (S ≥ N).
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, VocabError

Ids = NDArray[np.integer[Any]]

CODE_POINTS = 0x110000
MAX_ALPHABET = 100_000  # characters learned from a text; those of all scripts together are 155,000
_NO_ASCII_ID = 255  # ids of ASCII characters are below 128: they come first in a sorted alphabet


@dataclass(frozen=True)
class Vocab:
    """Give every character of `alphabet` (sorted, distinct) its place as id, then 256 byte ids."""

    alphabet: str
    has_bytes: bool = False

    def __post_init__(self) -> None:
        if (np.diff(code_points(self.alphabet).astype(np.int64)) <= 0).any():
            raise VocabError("the alphabet is not sorted, or holds a character twice")
        if not self.size:
            raise VocabError("the alphabet is empty")

    @classmethod
    def from_counts(cls, counts: NDArray[np.int64], min_count: int = 1) -> Vocab:
        """Keep what was seen at least `min_count` times; above 1 the rest goes to bytes.

        counts: (0x110000,) int64, how often each code point stands in the text.

        Raises:
            CorpusError: more than MAX_ALPHABET characters are left.
        """
        kept = np.flatnonzero(counts >= max(min_count, 1))
        if len(kept) > MAX_ALPHABET:
            raise CorpusError(
                f"the text has {len(kept):,} different characters, and a model takes no more than "
                f"{MAX_ALPHABET:,}; --min-count {_fitting_min_count(counts)} writes the rarer ones "
                "as bytes"
            )
        return cls("".join(map(chr, kept)), has_bytes=min_count > 1)

    @classmethod
    def from_text(cls, text: str, min_count: int = 1) -> Vocab:
        """Make the vocabulary of one text."""
        counts = np.bincount(code_points(text), minlength=CODE_POINTS)
        return cls.from_counts(counts, min_count)

    def union(self, other: Vocab) -> Vocab:
        """Give the vocabulary of every token that either has."""
        alphabet = "".join(sorted(set(self.alphabet + other.alphabet)))
        return Vocab(alphabet, self.has_bytes or other.has_bytes)

    def places_in(self, larger: Vocab) -> NDArray[np.int64]:
        """Give the id (V,) that each of these tokens has in a vocabulary that holds them all."""
        characters = np.searchsorted(code_points(larger.alphabet), code_points(self.alphabet))
        first_byte = len(larger.alphabet)
        return np.concatenate([characters, first_byte + np.arange(256 * self.has_bytes)])

    @property
    def size(self) -> int:
        """V: the number of ids."""
        return len(self.alphabet) + 256 * self.has_bytes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned type that holds every id."""
        return np.min_scalar_type(self.size - 1)

    @cached_property
    def starts_character(self) -> NDArray[np.bool_]:
        """(V,) bool: False for the bytes 0x80–0xBF, which only continue a character."""
        starts = np.ones(self.size, dtype=np.bool_)
        if self.has_bytes:
            first_byte = len(self.alphabet)
            starts[first_byte + 0x80 : first_byte + 0xC0] = False
        return starts

    def count_characters(self, ids: Ids) -> int:
        """Count the characters that `ids` (S,) write, whatever number of tokens each took."""
        if not self.has_bytes:
            return len(ids)
        block = 1 << 22
        blocks = (ids[i : i + block] for i in range(0, len(ids), block))
        return sum(int(np.count_nonzero(self.starts_character[each])) for each in blocks)

    def encode(self, text: str) -> Ids:
        """Give the ids (S,) of `text` in `dtype`.

        Raises:
            VocabError: a character is outside the alphabet and there is no byte fallback, or is
                half of a surrogate pair.
        """
        if text.isascii():
            raw = text.encode("ascii").translate(self._ascii_ids)
            if raw.find(_NO_ASCII_ID) < 0:
                return np.frombuffer(raw, dtype=np.uint8).astype(self.dtype, copy=False)
        codes = code_points(text)
        ids = self._ids_by_code.take(codes, mode="clip")
        is_unknown = ids == self.size
        if not is_unknown.any():
            return ids.astype(self.dtype, copy=False)
        if not self.has_bytes:
            raise self._unknown_error(codes[is_unknown])
        return self._with_bytes(codes, ids, is_unknown)

    def decode(self, ids: Ids | Sequence[int]) -> str:
        """Give the text of `ids` (S,); bytes that are not valid UTF-8 come out as U+FFFD."""
        tokens = np.asarray(ids, dtype=np.int64)
        is_byte = tokens >= len(self.alphabet)
        runs = np.split(tokens, np.flatnonzero(np.diff(is_byte)) + 1)
        return "".join(map(self._decode_run, runs))

    def name_of(self, token: int) -> str:
        """Give a token's character; a byte as <E4>."""
        byte = token - len(self.alphabet)
        return self.alphabet[token] if byte < 0 else f"<{byte:02X}>"

    def _decode_run(self, tokens: NDArray[np.int64]) -> str:
        """Give the text of ids that are all characters or all bytes."""
        if len(tokens) and tokens[0] >= len(self.alphabet):
            raw = (tokens - len(self.alphabet)).astype(np.uint8).tobytes()
            return raw.decode("utf-8", "replace")
        return _text_of(code_points(self.alphabet)[tokens])

    def to_json(self) -> dict[str, object]:
        """Give what `from_json` takes."""
        return {"alphabet": self.alphabet, "bytes": self.has_bytes}

    @classmethod
    def from_json(cls, data: object) -> Vocab:
        """Read what `to_json` gave.

        Raises:
            VocabError: it is not that.
        """
        match data:
            case {"alphabet": str(alphabet), "bytes": bool(has_bytes)}:
                return cls(alphabet, has_bytes)
        raise VocabError("the vocabulary is not an alphabet with a byte flag")

    @cached_property
    def _ids_by_code(self) -> NDArray[np.uint32]:
        """(last code + 2,) uint32: the id of each code point; V where there is none."""
        codes = code_points(self.alphabet)
        last = int(codes[-1]) if len(codes) else 0
        table = np.full(last + 2, self.size, dtype=np.uint32)
        table[codes] = np.arange(len(codes), dtype=np.uint32)
        return table

    @cached_property
    def _ascii_ids(self) -> bytes:
        known = {ord(char): i for i, char in enumerate(self.alphabet[:128]) if char.isascii()}
        return bytes(known.get(code, _NO_ASCII_ID) for code in range(256))

    def _with_bytes(
        self, codes: NDArray[np.uint32], ids: NDArray[np.uint32], is_unknown: NDArray[np.bool_]
    ) -> Ids:
        """Put the UTF-8 bytes of the unknown characters in their places among the known ids."""
        unknown = codes[is_unknown]
        widths = np.ones(len(codes), dtype=np.int64)
        widths[is_unknown] += np.searchsorted([0x80, 0x800, 0x10000], unknown, side="right")
        places = (np.cumsum(widths) - widths)[~is_unknown]
        tokens = np.empty(int(widths.sum()), dtype=self.dtype)
        is_byte = np.ones(len(tokens), dtype=np.bool_)
        is_byte[places] = False
        tokens[places] = ids[~is_unknown]
        utf8 = np.frombuffer(_text_of(unknown).encode(), dtype=np.uint8)
        tokens[is_byte] = len(self.alphabet) + utf8.astype(np.int64)
        return tokens

    def _unknown_error(self, unknown: NDArray[np.uint32]) -> VocabError:
        codes = np.unique(unknown)
        named = ", ".join(f"{chr(code)!r} ({_describe(chr(code))})" for code in codes[:5])
        more = f" and {len(codes) - 5} more" if len(codes) > 5 else ""
        return VocabError(
            f"the model never saw {named}{more}; leave it out, "
            "or train with --min-count 2, which can write any character as bytes"
        )


class StreamDecoder:
    """Turns ids into text one at a time, holding back the bytes of an unfinished character."""

    def __init__(self, vocab: Vocab) -> None:
        self._alphabet = vocab.alphabet
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """Give the text that `token` completes; often one character, sometimes none or two."""
        byte = token - len(self._alphabet)
        if byte >= 0:
            return self._utf8.decode(bytes([byte]))
        return self.flush() + self._alphabet[token]

    @property
    def held_back(self) -> int:
        """How many bytes of an unfinished character were fed."""
        return len(self._utf8.getstate()[0])

    def flush(self) -> str:
        """Give U+FFFD if bytes of an unfinished character are held back, else nothing."""
        return self._utf8.decode(b"", final=True)


def _fitting_min_count(counts: NDArray[np.int64]) -> int:
    """Give the smallest min_count that leaves no more than MAX_ALPHABET of `counts` (0x110000,)."""
    first_left_out = -MAX_ALPHABET - 1
    return int(np.partition(counts, first_left_out)[first_left_out]) + 1


def code_points(text: str) -> NDArray[np.uint32]:
    """Give the code points (N,) uint32 of `text`.

    Raises:
        VocabError: `text` holds half of a surrogate pair, which is no character.
    """
    try:
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise VocabError(
            f"character {error.start} of the text is U+{half:04X}, half of a surrogate pair, which "
            "cannot be written in UTF-8; leave it out, or decode the text with its right encoding"
        ) from error


def _text_of(codes: NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le")


def _describe(char: str) -> str:
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()
