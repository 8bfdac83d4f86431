"""Any bytes ↔ a small file, by the predictions of one model: `charrnn compress` and `decompress`.

A character of the model's alphabet is coded by its probability. All other bytes (of unknown
characters, or not UTF-8) are the model's byte tokens if it has them. Else they are escapes: an
adaptive flag announces each, the byte is stored as it is, and the model skips it. If the code is
longer than the bytes, the file holds the bytes themselves. A newline is the end of a record where
a model's records are lines. docs/file-format.md has the layout.
"""

import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile, model_digest
from charrnn.compression.exact_network import ExactNetwork
from charrnn.compression.range_coder import Decoder, Encoder
from charrnn.errors import CheckpointError
from charrnn.generation.text_format import text_format_of
from charrnn.text.vocab import Vocab

FORMAT = 1
_MAGIC = b"crnn"
_HEADER = struct.Struct("<4sBBQ32s8s")  # magic, format, mode, length, model, check of the original
_CRC = struct.Struct("<I")  # CRC-32 of everything else
_BODY_START = _HEADER.size + _CRC.size
_STORED = 0  # a mode: the bytes themselves
_CODED = 1  # a mode: the range coder's
_MAX_COUNTS = 1 << 16
_MIN_TOKEN_BITS = 1e-5  # what a flag costs after _MAX_COUNTS others like it
_MAX_CHAR_BYTES = 4  # of a token: a cluster has several characters
_WATCH_EVERY = 256  # tokens

Watch = Callable[[int, int], None]
"""Called from time to time with the bytes done and the bytes in all."""


@dataclass(frozen=True)
class Compressed:
    """A compressed file and its figures; chars counts a byte that is not UTF-8 as one.

    model_bits: code length of the tokens that the model knows, without escaped_bytes.
    """

    data: bytes = field(repr=False)
    original_bytes: int
    chars: int
    model_bits: float
    escaped_bytes: int
    is_stored: bool

    @property
    def bits_per_char(self) -> float:
        """Bits of the file, header included, for each character; 0 for an empty text."""
        return 8 * len(self.data) / self.chars if self.chars else 0.0

    @property
    def bits_per_byte(self) -> float:
        """Bits of the whole file for each byte of the original; 0 for an empty one."""
        return 8 * len(self.data) / self.original_bytes if self.chars else 0.0


def compress(original: bytes, model: ModelFile, watch: Watch = lambda *_: None) -> Compressed:
    """Compress `original`, into at most 58 bytes more than its length."""
    coder = Encoder()
    predictor = _Predictor(model)
    escaped_bytes = 0
    done = 0
    for count, (token, size) in enumerate(_iter_tokens(original, model)):
        is_escaped = token >= model.vocab.size  # the model has no such token
        coder.encode(*predictor.flag.interval(is_escaped))
        if is_escaped:
            coder.encode(token - model.vocab.size, 1, 256)
        else:
            coder.encode(*predictor.interval(token))
        predictor.update(token)
        escaped_bytes += is_escaped
        done += size
        if count % _WATCH_EVERY == 0:
            watch(done, len(original))
    coded = coder.finish()
    is_stored = len(coded) >= len(original)
    mode, body = (_STORED, original) if is_stored else (_CODED, coded)
    check = _check_of(original)
    header = _HEADER.pack(_MAGIC, FORMAT, mode, len(original), model_digest(model), check)
    # CRC-32 detects damage at once; the check of the original also guards all the arithmetic.
    data = header + _CRC.pack(zlib.crc32(body, zlib.crc32(header))) + body
    chars = len(original.decode("utf-8", "surrogateescape"))
    return Compressed(data, len(original), chars, predictor.bits, escaped_bytes, is_stored)


def decompress(
    data: bytes, model: ModelFile, name: str, model_name: str, watch: Watch = lambda *_: None
) -> bytes:
    """Return what `compress` compressed with this model; the names are for messages.

    Raises:
        CheckpointError: not a compressed file, damaged, of another version or another model.
    """
    mode, length, digest, check = _read_header(data, name)
    if digest != model_digest(model):
        with_label = ", with its --label if it had one" * model.config.has_end
        raise CheckpointError(
            f"{name} was compressed with another model (SHA-256 {digest.hex()[:16]}…) than "
            f"{model_name} ({model_digest(model).hex()[:16]}…); name the one that compressed "
            f"it{with_label}"
        )
    body = data[_BODY_START:]
    try:
        original = _decode(body, length, model, watch) if mode == _CODED else body
    except ValueError as error:
        raise _damaged(name, str(error)) from error
    if len(original) != length or _check_of(original) != check:
        raise _damaged(name, "what comes out does not have the checksum of the original")
    return original


class _EscapeFlag:
    """The probability of an escape: (count + ½) / (all + 1), one pair of counts after each kind.

    Krichevsky and Trofimov 1981. Counts are doubled, so that the halves are whole numbers, and
    halved once they are many, so that recent tokens weigh most.
    """

    def __init__(self) -> None:
        self._counts = [[1, 1], [1, 1]]  # after a plain token, after an escape
        self._before = False

    def interval(self, is_escaped: bool) -> tuple[int, int, int]:
        """Return start, width and total of one value of the flag."""
        plain, escaped = self._counts[self._before]
        return (plain, escaped, plain + escaped) if is_escaped else (0, plain, plain + escaped)

    def update(self, is_escaped: bool) -> None:
        """Count one value."""
        counts = self._counts[self._before]
        counts[is_escaped] += 2
        if sum(counts) > _MAX_COUNTS:
            counts[:] = [max(1, each // 2) for each in counts]
        self._before = is_escaped


class _Predictor:
    """Predicts the next token from those so far; encoder and decoder keep one each in step.

    bits: code length of the model's tokens so far, by their probabilities.
    """

    def __init__(self, model: ModelFile) -> None:
        self.flag = _EscapeFlag()
        self.bits = 0.0
        self._vocab_size = model.vocab.size
        self._network = ExactNetwork(model.config, model.weights)
        self._state = self._network.initial_state()
        self._cumulative: NDArray[np.int64] | None = None

    def cumulative(self) -> NDArray[np.int64]:
        """Return the cumulative frequencies (V,), computed once a token: escapes need none."""
        if self._cumulative is None:
            self._cumulative = self._network.cumulative_frequencies(self._state)
        return self._cumulative

    def interval(self, token: int) -> tuple[int, int, int]:
        """Return start, width and total of a token."""
        sums = self.cumulative()
        start = int(sums[token - 1]) if token else 0
        return start, int(sums[token]) - start, int(sums[-1])

    def update(self, token: int) -> None:
        """Read a token; an escape changes nothing but the flag."""
        is_escaped = token >= self._vocab_size
        self.flag.update(is_escaped)
        if not is_escaped:
            _, width, total = self.interval(token)
            self.bits += math.log2(total / width)
            self._state = self._network.advance(token, self._state)
            self._cumulative = None


def _first_byte(vocab: Vocab) -> int:
    """Return the token of byte 0: one of the vocabulary if it has bytes, else an escape, V."""
    return len(vocab.alphabet) if vocab.has_bytes else vocab.size


def _iter_tokens(original: bytes, model: ModelFile) -> Iterator[tuple[int, int]]:
    """Yield each token and its length in bytes.

    A byte outside the alphabet is `_first_byte` plus its value: an id of the vocabulary if that has
    byte tokens, else an escape, V or more.
    """
    vocab = model.vocab
    ids = {char: (index, len(char.encode())) for index, char in enumerate(vocab.alphabet)}
    for index, cluster in enumerate(vocab.clusters, vocab.first_cluster):
        ids[cluster] = index, len(cluster.encode())
    if text_format_of(model.summary, has_end=vocab.has_end).mark == "\n":
        ids["\n"] = (vocab.end, 1)
    first_byte = _first_byte(vocab)
    for piece in _iter_pieces(original.decode("utf-8", "surrogateescape"), vocab.clusters):
        if piece in ids:
            yield ids[piece]
        else:
            yield from ((first_byte + byte, 1) for byte in piece.encode("utf-8", "surrogateescape"))


def _iter_pieces(text: str, clusters: tuple[str, ...]) -> Iterator[str]:
    """Yield the characters of a text, and the longest clusters from left to right."""
    if not clusters:
        yield from text
        return
    known = frozenset(clusters)
    lengths = sorted(set(map(len, clusters)), reverse=True)
    firsts = {cluster[0] for cluster in clusters}
    start = 0
    while start < len(text):
        found = text[start]
        if found in firsts:
            longer = (text[start : start + length] for length in lengths)
            found = next((each for each in longer if each in known), found)
        yield found
        start += len(found)


def _decode(body: bytes, length: int, model: ModelFile, watch: Watch) -> bytes:
    """Return the `length` bytes, or up to a token more, that `body` encodes.

    Raises:
        ValueError: it cannot encode them.
    """
    # A forged length must not keep us decoding zeros for years.
    if length * _MIN_TOKEN_BITS > 8 * (len(body) + 8) * _MAX_CHAR_BYTES:
        raise ValueError(f"{len(body):,} bytes cannot hold a text of {length:,}")
    vocab = model.vocab
    all_bytes = [bytes([i]) for i in range(256)]
    spelled = [char.encode() for char in vocab.alphabet]
    spelled += all_bytes * vocab.has_bytes + [each.encode() for each in vocab.clusters]
    spelled += [b"\n"] * vocab.has_end + all_bytes  # the last are escapes
    coder = Decoder(body)
    predictor = _Predictor(model)
    original = bytearray()
    count = 0  # of tokens
    while len(original) < length:
        # The flag first, then a stored byte or a token.
        _, plain, total = predictor.flag.interval(False)
        is_escaped = coder.target(total) >= plain
        start, width, _ = predictor.flag.interval(is_escaped)
        coder.consume(start, width)
        if is_escaped:
            byte = coder.target(256)
            coder.consume(byte, 1)
            token = vocab.size + byte
        else:
            sums = predictor.cumulative()
            token = int(np.searchsorted(sums, coder.target(int(sums[-1])), side="right"))
            start, width, _ = predictor.interval(token)
            coder.consume(start, width)
        predictor.update(token)
        original += spelled[token]
        if count % _WATCH_EVERY == 0:
            watch(len(original), length)
        count += 1
    return bytes(original)


def _read_header(data: bytes, name: str) -> tuple[int, int, bytes, bytes]:
    """Return mode, length, the model's digest and the original's check, once the CRC is right."""
    if not data.startswith(_MAGIC):
        raise CheckpointError(
            f"{name} was not compressed by charrnn, or its first bytes are damaged; give a file "
            "that charrnn compress made"
        )
    if len(data) < _BODY_START:
        raise _damaged(name, f"it is cut short, {len(data)} of at least {_BODY_START} bytes")
    _, version, mode, length, digest, check = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise CheckpointError(
            f"{name} has format {version}, this charrnn reads format {FORMAT}; install the version "
            "of charrnn that wrote it, or a newer one"
        )
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    body = memoryview(data)[_BODY_START:]
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size])) != crc or mode > _CODED:
        raise _damaged(name, "its content does not have the checksum written in it")
    return mode, length, digest, check


def _check_of(original: bytes) -> bytes:
    return hashlib.sha256(original).digest()[:8]


def _damaged(name: str, what: str) -> CheckpointError:
    return CheckpointError(f"{name} is damaged: {what}; fetch it again, or compress the text again")
