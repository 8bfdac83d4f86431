"""Characters ↔ ids: the sorted alphabet of a corpus, 256 byte tokens by choice, and clusters.

An id is a token: a character, or one byte of a character outside the alphabet (byte fallback).
With byte tokens every text can be encoded; without them an unknown character is an error. A
binary vocabulary is that of files read as they are: it has bytes alone. In its texts a byte is a
character, beyond ASCII a lone surrogate as "surrogateescape" makes them, so all come back exactly.

A cluster is a token that writes several characters of the alphabet, such as a letter with its
marks. A text is cut from left to right, and the longest cluster that fits is taken. In every count
a character stays a code point.

Where a text is made of records, the last id ends one of them. It writes no character: in a stream
of characters the noncharacter END stands for it, which no text may hold.

V = vocabulary size, N = characters of a text, S = tokens that its encoding takes (S ≥ N).
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, CorpusError, VocabError
from charrnn.text.clusters import MAX_CLUSTER, ClusterTable

Ids = NDArray[np.integer[Any]]

CODE_POINTS = 0x110000
MAX_ALPHABET = 100_000  # characters that a model can learn; Unicode has 155,000
END = "\U0010ffff"  # the end of a record; Unicode keeps this code point free for such uses
END_NAME = "<end>"  # where tokens are named
_NO_ASCII_ID = 255  # ids of ASCII characters are below 128: they come first in a sorted alphabet


@dataclass(frozen=True)
class Vocab:
    """Ids of characters, their indices in `alphabet` (sorted, distinct), and then 256 of bytes.

    has_end: the last id ends a record. clusters: what the ids after the bytes write, sorted and
    distinct, each of two or more characters of the alphabet.

    >>> vocab = Vocab("abc", has_bytes=True)
    >>> vocab.encode("bé").tolist()  # é is 0xC3 0xA9 in UTF-8
    [1, 198, 172]
    """

    alphabet: str
    has_bytes: bool = False
    is_binary: bool = False
    has_end: bool = False
    clusters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (np.diff(code_points(self.alphabet).astype(np.int64)) <= 0).any():
            raise VocabError("the alphabet is not sorted, or holds a character twice")
        if not self.size:
            raise VocabError("the alphabet is empty")
        if self.has_end and self.alphabet.endswith(END):
            raise VocabError("the alphabet holds U+10FFFF, which stands for the end of a record")
        if self.is_binary and (self.alphabet or not self.has_bytes):
            raise VocabError("a binary vocabulary has other tokens than bytes")
        if self.clusters:
            self._check_clusters()

    def _check_clusters(self) -> None:
        if any(first >= second for first, second in pairwise(self.clusters)):
            raise VocabError("the clusters are not sorted, or one is there twice")
        if not all(2 <= len(each) <= MAX_CLUSTER for each in self.clusters):
            raise VocabError(f"a cluster has fewer than 2 characters, or more than {MAX_CLUSTER}")
        written = set("".join(self.clusters))
        if not written <= set(self.alphabet):
            raise VocabError("a cluster has a character that is not in the alphabet")
        if "\n" in written:  # lines could not be told apart
            raise VocabError("a cluster has a newline")

    @classmethod
    def from_counts(
        cls,
        counts: NDArray[np.int64],
        min_count: int = 1,
        *,
        has_end: bool = False,
        clusters: Mapping[str, int] | None = None,
    ) -> Vocab:
        """Make a vocabulary of the characters and clusters seen at least `min_count` times.

        counts: (0x110000,) int64, of each code point in the text; with has_end those of END do not
        count. A min_count above 1 adds bytes. clusters: how often each occurs; those of more than
        MAX_CLUSTER characters are left out.

        Raises:
            CorpusError: more than MAX_ALPHABET characters are left.
        """
        kept = np.flatnonzero(counts >= max(min_count, 1))
        kept = kept[kept != ord(END)] if has_end else kept
        if len(kept) > MAX_ALPHABET:
            fitting = 1 + int(np.sort(counts)[-MAX_ALPHABET - 1])  # the first that is left out
            raise CorpusError(
                f"the text has {len(kept):,} different characters, and a model can have at most "
                f"{MAX_ALPHABET:,}; pass --min-count {fitting} to spell the rarer ones as bytes"
            )
        alphabet = "".join(map(chr, kept))
        frequent = (each for each, n in (clusters or {}).items() if n >= min_count)
        short = tuple(sorted(each for each in frequent if len(each) <= MAX_CLUSTER))
        return cls(alphabet, has_bytes=min_count > 1, has_end=has_end, clusters=short)

    @classmethod
    def from_text(cls, text: str, min_count: int = 1, *, has_end: bool = False) -> Vocab:
        """Make the vocabulary of one text; with has_end, of one made of records."""
        counts = np.bincount(code_points(text), minlength=CODE_POINTS)
        return cls.from_counts(counts, min_count, has_end=has_end)

    @classmethod
    def of_bytes(cls, *, has_end: bool = False) -> Vocab:
        """Make the vocabulary of files that are read as they are: the 256 bytes."""
        return cls("", has_bytes=True, is_binary=True, has_end=has_end)

    def union(self, other: Vocab) -> Vocab:
        """Return the vocabulary of all tokens that either has.

        Raises:
            ConfigError: one has bytes alone, or the other has records and this one has not.
        """
        if self.is_binary != other.is_binary:
            raise ConfigError(
                "a model of bytes and one of characters cannot share a text; give the same --unit"
            )
        if other.has_end and not self.has_end:
            raise ConfigError(
                "this is running text, and the model reads records; say what a record is, by "
                "--lines, --files, --document-end, --text-column or --label-regex"
            )
        if self.is_binary:
            return self
        alphabet = "".join(sorted(set(self.alphabet + other.alphabet)))
        clusters = tuple(sorted({*self.clusters, *other.clusters}))
        has_bytes = self.has_bytes or other.has_bytes
        return Vocab(alphabet, has_bytes, has_end=self.has_end, clusters=clusters)

    def ids_in(self, larger: Vocab) -> NDArray[np.int64]:
        """Return the id (V,) of each of these tokens in a vocabulary that holds them all.

        >>> Vocab("bd").ids_in(Vocab("abcd")).tolist()
        [1, 3]
        """
        characters = np.searchsorted(code_points(larger.alphabet), code_points(self.alphabet))
        first_byte = len(larger.alphabet)
        own_bytes = first_byte + np.arange(256 * self.has_bytes)
        id_of = {each: larger.first_cluster + i for i, each in enumerate(larger.clusters)}
        clusters = [id_of[each] for each in self.clusters]
        last = np.array([*clusters, *[larger.end] * self.has_end], np.int64)
        return np.concatenate([characters, own_bytes, last]).astype(np.int64)

    @property
    def size(self) -> int:
        """V, the number of ids."""
        return self.first_cluster + len(self.clusters) + self.has_end

    @property
    def first_cluster(self) -> int:
        """The id of the first cluster, if there are any; it comes after those of the bytes."""
        return len(self.alphabet) + 256 * self.has_bytes

    @property
    def is_one_to_one(self) -> bool:
        """Whether each token writes one character, or ends a record."""
        return not self.clusters and (self.is_binary or not self.has_bytes)

    @property
    def end(self) -> int:
        """The token that ends a record; −1 where there is none."""
        return self.size - 1 if self.has_end else -1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned type that holds every id."""
        return np.min_scalar_type(self.size - 1)

    @property
    def newline(self) -> int:
        """The token of a newline; −1 where there is none."""
        token = self.alphabet.find("\n")
        return len(self.alphabet) + ord("\n") if token < 0 and self.has_bytes else token

    @cached_property
    def starts_character(self) -> NDArray[np.bool_]:
        """(V,) bool: False for the bytes 0x80–0xBF, which continue a character in UTF-8."""
        starts = np.ones(self.size, dtype=np.bool_)
        first_byte = len(self.alphabet)
        if not self.is_binary:
            starts[first_byte + 0x80 : first_byte + 0xC0] = False  # an empty slice without bytes
        return starts

    @cached_property
    def char_widths(self) -> NDArray[np.int64]:
        """(V,) how many characters each token begins: 0, 1, or those of a cluster.

        An end counts as one, as the newline of a line does.
        """
        widths = self.starts_character.astype(np.int64)
        last = self.first_cluster + len(self.clusters)
        widths[self.first_cluster : last] = [len(each) for each in self.clusters]
        return widths

    def count_characters(self, ids: Ids) -> int:
        """Return the number of characters in `ids` (S,), however many tokens each takes."""
        if self.is_one_to_one:
            return len(ids)
        block = 1 << 22  # ids may be a file larger than memory
        blocks = (ids[i : i + block] for i in range(0, len(ids), block))
        return sum(int(self.char_widths[each].sum()) for each in blocks)

    @cached_property
    def byte_widths(self) -> NDArray[np.int64]:
        """(V,) how many UTF-8 bytes each token writes."""
        widths = np.ones(self.size, dtype=np.int64)  # a byte writes itself
        widths[: len(self.alphabet)] = utf8_widths(code_points(self.alphabet))
        last = self.first_cluster + len(self.clusters)
        widths[self.first_cluster : last] = [len(each.encode()) for each in self.clusters]
        return widths

    def count_bytes(self, ids: Ids) -> int:
        """Return the number of UTF-8 bytes that `ids` (S,) write, or of bytes read as they are.

        >>> Vocab("aé", has_bytes=True).count_bytes(np.array([0, 1, 200]))
        4
        """
        block = 1 << 22  # as in count_characters
        blocks = (ids[i : i + block] for i in range(0, len(ids), block))
        counts = (np.bincount(each, minlength=self.size) for each in blocks)
        return sum(int(each @ self.byte_widths) for each in counts)

    def tokens_of(self, ids: Ids, chars: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of `ids` (S,) the first `chars` characters take, for each number (N,).

        A cluster is taken whole.

        >>> Vocab("b", has_bytes=True).tokens_of(np.array([0, 196, 170, 0]), [1, 2]).tolist()  # béb
        [1, 3]
        """
        numbers = np.asarray(chars, np.int64)
        if self.is_one_to_one or not len(numbers):
            return numbers
        # A token belongs to the characters that end with the last one it begins.
        widths = self.char_widths[ids]
        firsts = np.cumsum(widths) - np.maximum(widths, 1)
        return np.searchsorted(firsts, numbers).astype(np.int64)

    def token_starts(self, ids: Ids) -> NDArray[np.int64]:
        """Return where the tokens of each character of `ids` begin, and at last S: (N + 1,).

        The first character of a cluster has its token, the others have none: they begin where the
        next token does.

        >>> Vocab("abc", clusters=("ab",)).token_starts(np.array([3, 2])).tolist()  # abc
        [0, 1, 1, 2]
        """
        starts = np.repeat(np.arange(len(ids)), self.char_widths[ids])
        starts[1:] += starts[1:] == starts[:-1]
        return np.append(starts, len(ids))

    def encode(self, text: str) -> Ids:
        """Return the ids (S,) of `text` in `dtype`.

        Raises:
            VocabError: a character is outside the alphabet and there is no byte fallback, or is
                half of a surrogate pair.
        """
        if text.isascii() and not self._has_ascii_clusters:
            # bytes.translate is the fastest table there is
            raw = text.encode("ascii").translate(self._ascii_ids)
            if raw.find(_NO_ASCII_ID) < 0:
                return np.frombuffer(raw, dtype=np.uint8).astype(self.dtype, copy=False)
        if self.is_binary:
            with suppress(UnicodeEncodeError):  # below it becomes a VocabError
                return self._encode_binary(text)
        codes = code_points(text)
        ids = self._ids_by_code.take(codes, mode="clip")  # beyond the table: its last entry, V
        if self.clusters:
            found = self._cluster_table.find(ids)
            ids[found.starts] = self.first_cluster + found.numbers
            is_kept = ~found.cover(len(ids))
            codes = codes[is_kept]
            ids = ids[is_kept]
        is_unknown = ids == self.size
        if self.has_end and is_unknown.any():
            ids[codes == ord(END)] = self.end
            is_unknown = ids == self.size
        if not is_unknown.any():
            return ids.astype(self.dtype, copy=False)
        if not self.has_bytes:
            raise self._unknown_error(codes[is_unknown])
        return self._with_bytes(codes, ids, is_unknown)

    def _encode_binary(self, text: str) -> Ids:
        if not self.has_end:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        parts: list[Ids] = []
        for record in text.split(END):
            raw = np.frombuffer(record.encode("utf-8", "surrogateescape"), np.uint8)
            parts += [raw.astype(self.dtype), np.array([self.end], self.dtype)]
        return np.concatenate(parts[:-1])

    def settled(self, text: str) -> int:
        """Return how many characters of `text` are encoded the same whatever follows it.

        >>> Vocab("abc", clusters=("abc",)).settled("cab")
        1
        """
        if not self.clusters:
            return len(text)
        line = text.rfind("\n") + 1  # no cluster reaches over a newline
        codes = code_points(text[line:])
        # A match is final if the longest cluster would have had room for it.
        cut = max(len(codes) - self._cluster_table.longest + 1, 0)
        found = self._cluster_table.find(self._ids_by_code.take(codes, mode="clip"))
        is_across = (found.starts < cut) & (found.ends > cut)
        return line + int(found.ends[is_across].max(initial=cut))

    def iter_settled(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield the text of `pieces` in pieces that no cluster reaches over."""
        held = ""
        for piece in pieces:
            text = held + piece
            cut = self.settled(text)
            if cut:
                yield text[:cut]
            held = text[cut:]
        if held:
            yield held

    def spell(self, text: str) -> str:
        """Return a text as `decode` writes it: for a binary vocabulary, a character for each byte.

        >>> len(Vocab.of_bytes().spell("é")), len(Vocab("é").spell("é"))
        (2, 1)
        """
        return self.decode(self.encode(text)) if self.is_binary else text

    def find_unknown(self, text: str) -> NDArray[np.intp]:
        """Return where the characters of `text` are that cannot be encoded: (U,), ascending.

        Raises:
            VocabError: a character is half of a surrogate pair.
        """
        if self.is_binary:
            return np.empty(0, np.intp)
        codes = code_points(text)
        if self.has_bytes:
            return np.empty(0, np.intp)
        is_unknown = self._ids_by_code.take(codes, mode="clip") == self.size
        return np.flatnonzero(is_unknown & (codes != ord(END)) if self.has_end else is_unknown)

    def decode(self, ids: Ids | Sequence[int]) -> str:
        """Return the text of `ids` (S,); bytes that are not valid UTF-8 become U+FFFD.

        A record's end becomes END. The bytes of a binary vocabulary become lone surrogates, as
        "surrogateescape" makes them.

        >>> Vocab("abc").decode([2, 0, 1])
        'cab'
        """
        tokens = np.asarray(ids, dtype=np.int64)
        # Runs of characters only or bytes only: the bytes of one character need each other.
        is_byte = (tokens >= len(self.alphabet)) & (tokens < self.first_cluster)
        kinds = is_byte + np.int8(2) * (tokens == self.end)
        runs = np.split(tokens, np.flatnonzero(np.diff(kinds)) + 1)
        return "".join(map(self._decode_run, runs))

    def name_of(self, token: int) -> str:
        """Return what a token writes, a byte as <E4>, the end of a record as <end>."""
        if token == self.end:
            return END_NAME
        return self.text_of(token) or f"<{token - len(self.alphabet):02X}>"

    def text_of(self, token: int) -> str:
        """Return the character or the cluster of a token, END for an end; "" for a byte.

        >>> vocab = Vocab("ab", has_bytes=True, clusters=("ab",))
        >>> vocab.text_of(0), vocab.text_of(2), vocab.text_of(258)
        ('a', '', 'ab')
        """
        if token < len(self.alphabet):
            return self.alphabet[token]
        if token < self.first_cluster:
            return ""
        return END if token == self.end else self.clusters[token - self.first_cluster]

    def _decode_run(self, tokens: NDArray[np.int64]) -> str:
        """Return the text of ids that are all characters or clusters, all bytes or all ends."""
        if len(tokens) and tokens[0] == self.end:
            return END * len(tokens)
        if self.clusters and (len(tokens) and (tokens >= self.first_cluster).any()):
            return "".join(map(self._texts.__getitem__, tokens.tolist()))
        if len(tokens) and tokens[0] >= len(self.alphabet):
            utf8 = (tokens - len(self.alphabet)).astype(np.uint8)
            return utf8.tobytes().decode(*self.codec)
        return _text_of(code_points(self.alphabet)[tokens])

    @property
    def codec(self) -> tuple[str, str]:
        """The encoding of the bytes, and what becomes of those that are not in it."""
        return ("ascii", "surrogateescape") if self.is_binary else ("utf-8", "replace")

    def to_json(self) -> dict[str, object]:
        """Return what `from_json` takes."""
        flags = {"binary": self.is_binary, "end": self.has_end}  # only where they are set
        kinds: dict[str, object] = {key: True for key, is_set in flags.items() if is_set}
        if self.clusters:
            kinds["clusters"] = list(self.clusters)
        return {"alphabet": self.alphabet, "bytes": self.has_bytes} | kinds

    @classmethod
    def from_json(cls, data: object) -> Vocab:
        """Make the vocabulary that `to_json` described; raise VocabError for anything else."""
        flags: dict[str, object] = {"binary": False, "end": False, "clusters": []}
        match flags | (data if isinstance(data, dict) else {}):
            case {
                "alphabet": str(alphabet),
                "bytes": bool(has_bytes),
                "binary": bool(is_binary),
                "end": bool(has_end),
                "clusters": list(clusters),
            } if all(isinstance(each, str) for each in clusters):
                return cls(alphabet, has_bytes, is_binary, has_end, tuple(clusters))
        raise VocabError("the vocabulary is not an alphabet with a byte flag")

    @cached_property
    def _ids_by_code(self) -> NDArray[np.uint32]:
        """(last code + 2,) uint32: the id of each code point; V where it has none."""
        codes = code_points(self.alphabet)
        table = np.full(int(codes.max(initial=0)) + 2, self.size, dtype=np.uint32)
        table[codes] = np.arange(len(codes), dtype=np.uint32)
        return table

    @cached_property
    def _ascii_ids(self) -> bytes:
        """(256,) uint8: the id of each ASCII character, _NO_ASCII_ID where it has none."""
        known = {ord(char): i for i, char in enumerate(self.alphabet[:128]) if char.isascii()}
        return bytes(known.get(code, _NO_ASCII_ID) for code in range(256))

    @cached_property
    def _has_ascii_clusters(self) -> bool:
        return any(each.isascii() for each in self.clusters)

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        """What each token writes; "" for a byte."""
        return (*self.alphabet, *[""] * (256 * self.has_bytes), *self.clusters, END)

    @cached_property
    def _cluster_table(self) -> ClusterTable:
        ids = {char: i for i, char in enumerate(self.alphabet)}
        return ClusterTable([[ids[char] for char in each] for each in self.clusters], self.size)

    def _with_bytes(
        self, codes: NDArray[np.uint32], ids: NDArray[np.uint32], is_unknown: NDArray[np.bool_]
    ) -> Ids:
        """Return the ids (S,) of `codes` (N,): `ids` where known, else the UTF-8 bytes."""
        unknown = codes[is_unknown]
        widths = np.ones(len(codes), dtype=np.int64)
        widths[is_unknown] = utf8_widths(unknown)
        tokens = np.repeat(ids.astype(self.dtype), widths)
        utf8 = np.frombuffer(_text_of(unknown).encode(), dtype=np.uint8)
        tokens[np.repeat(is_unknown, widths)] = len(self.alphabet) + utf8.astype(np.int64)
        return tokens

    def _unknown_error(self, unknown: NDArray[np.uint32]) -> VocabError:
        return VocabError(
            f"{name_characters(map(chr, unknown.tolist()))}; remove it, or train with --min-count "
            "2, which spells rare characters as bytes, so that any text works"
        )


class StreamDecoder:
    """Turns ids into text one at a time, holding back the bytes of an unfinished character.

    >>> decoder = StreamDecoder(Vocab("ab", has_bytes=True))
    >>> [decoder.feed(token) for token in (0, 2 + 0xC3, 2 + 0xA9)]
    ['a', '', 'é']
    """

    def __init__(self, vocab: Vocab) -> None:
        self._alphabet = vocab.alphabet
        self._first_cluster = vocab.first_cluster
        self._text_of = vocab.text_of
        encoding, errors = vocab.codec
        self._utf8 = codecs.getincrementaldecoder(encoding)(errors)
        self._has_bytes = False  # whether one was the last token: it may be held back

    def feed(self, token: int) -> str:
        """Return the text that `token` completes: mostly one character, sometimes none or more."""
        byte = token - len(self._alphabet)
        if byte >= 0 and token < self._first_cluster:
            self._has_bytes = True
            return self._utf8.decode(bytes([byte]))
        text = self._alphabet[token] if byte < 0 else self._text_of(token)
        return self.flush() + text if self._has_bytes else text  # most tokens are no bytes

    @property
    def pending_bytes(self) -> int:
        """The number of bytes held back."""
        return len(self._utf8.getstate()[0])

    def flush(self) -> str:
        """Return U+FFFD if bytes of an unfinished character are held back, else nothing."""
        self._has_bytes = False
        return self._utf8.decode(b"", final=True)


def name_characters(unknown: Iterable[str]) -> str:
    """Return that the model never saw these characters, the first few by their names.

    >>> name_characters("ßß")
    "the model never saw 'ß' (U+00DF LATIN SMALL LETTER SHARP S)"
    """
    chars = sorted(set(unknown))
    names = [f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip() for char in chars[:5]]
    named = ", ".join(f"{char!r} ({name})" for char, name in zip(chars, names, strict=False))
    more = f" and {len(chars) - 5} more" if len(chars) > 5 else ""
    return f"the model never saw {named}{more}"


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points (N,) uint32 of `text`; raise VocabError for half a surrogate pair."""
    try:
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise VocabError(
            f"character {error.start} of the text is U+{half:04X}, half of a surrogate pair, which "
            "UTF-8 cannot write; remove it, or decode the text with its right encoding"
        ) from error


def utf8_widths(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many bytes each code point (N,) takes in UTF-8: 1 to 4."""
    return 1 + np.searchsorted([0x80, 0x800, 0x10000], codes, side="right")


def _text_of(codes: NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le")
