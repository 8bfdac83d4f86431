"""Any bytes ↔ a file that one model makes small: `charrnn compress` and `decompress`.

Bytes are read as UTF-8. A character of the model's alphabet is coded by its probability; all other
bytes, of unknown characters and of what is no text, are its byte tokens if it has them, else
escapes: told apart by a flag that learns how common they are, and written as they are, the model
passing over them. Where that is longer than the bytes, the file holds the bytes themselves.
docs/file-format.md has the layout. It knows nothing of files.

The probabilities are exact.py's, the same on every machine; so nothing is checked block by block,
and one checksum of the original stands guard over everything, the arithmetic included.
"""

from __future__ import annotations

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
from charrnn.text.vocab import Vocab

FORMAT = 1
_MAGIC = b"crnn"
_HEADER = struct.Struct("<4sBBQ32s8s")  # magic, format, mode, length, model, check of the original
_DAMAGE = struct.Struct("<I")  # CRC-32 of all else
_OPENING = _HEADER.size + _DAMAGE.size
_STORED, _CODED = 0, 1
_MOST_COUNTS = 1 << 16
_FEWEST_BITS = 1e-5  # of a token: what a flag costs after _MOST_COUNTS others like it
_LONGEST_CHARACTER = 4  # bytes
_TOLD_EVERY = 256  # tokens

Watch = Callable[[int, int], None]
"""Is told how many bytes of how many are done."""


@dataclass(frozen=True)
class Compressed:
    """A compressed file and what is known of it.

    model_bits: what the model's probabilities make of the tokens that it knows; escaped_bytes are
    not among them. chars: of the original, a byte that is no UTF-8 counting as one.
    """

    data: bytes = field(repr=False)
    original_bytes: int
    chars: int
    model_bits: float
    escaped_bytes: int
    is_stored: bool

    @property
    def bits_per_char(self) -> float:
        """Bits of the whole file for each character; 0 for no text."""
        return 8 * len(self.data) / self.chars if self.chars else 0.0

    @property
    def bits_per_byte(self) -> float:
        """Bits of the whole file for each byte of the original; 0 for none."""
        return 8 * len(self.data) / self.original_bytes if self.chars else 0.0


def compress(original: bytes, model: ModelFile, watch: Watch = lambda *_: None) -> Compressed:
    """Pack `original`, into no more than 58 bytes above its length."""
    coder, source = Encoder(), _TokenModel(model)
    first_byte, escaped_bytes, done = len(model.vocab.alphabet), 0, 0
    for count, (token, size) in enumerate(_iter_tokens(original, model.vocab)):
        is_escaped = token >= model.vocab.size
        coder.encode(*source.flag.part(is_escaped))
        if is_escaped:
            coder.encode(token - first_byte, 1, 256)
        else:
            coder.encode(*source.part(token))
        source.take(token)
        escaped_bytes, done = escaped_bytes + is_escaped, done + size
        if count % _TOLD_EVERY == 0:
            watch(done, len(original))
    coded = coder.finish()
    is_stored = len(coded) >= len(original)
    mode, body = (_STORED, original) if is_stored else (_CODED, coded)
    check = _digest(original)[:8]
    header = _HEADER.pack(_MAGIC, FORMAT, mode, len(original), model_digest(model), check)
    data = header + _DAMAGE.pack(zlib.crc32(body, zlib.crc32(header))) + body
    chars = len(original.decode("utf-8", "surrogateescape"))
    return Compressed(data, len(original), chars, source.spent_bits, escaped_bytes, is_stored)


def decompress(
    data: bytes, model: ModelFile, name: str, model_name: str, watch: Watch = lambda *_: None
) -> bytes:
    """Give what `compress` packed with this model; the names stand in messages.

    Raises:
        CheckpointError: not a compressed file, damaged, of another version or another model.
    """
    mode, length, digest, check = _read_header(data, name)
    if digest != model_digest(model):
        raise CheckpointError(
            f"{name} was compressed with another model (SHA-256 {digest.hex()[:16]}…) than "
            f"{model_name} ({model_digest(model).hex()[:16]}…); name the one that compressed it"
        )
    body = data[_OPENING:]
    try:
        original = _decode(body, length, model, watch) if mode == _CODED else body
    except ValueError as error:
        raise _damaged(name, str(error)) from error
    if len(original) != length or _digest(original)[:8] != check:
        raise _damaged(name, "what comes out does not have the checksum of the original")
    return original


class _EscapeModel:
    """How probable an escape is: (count + ½) / (all + 1), apart by what came before.

    Krichevsky and Trofimov 1981. Counts are doubled, so that the halves are whole, and halved where
    there are many, so that the latest weigh most.
    """

    def __init__(self) -> None:
        self._counts, self._before = [[1, 1], [1, 1]], False

    def part(self, is_escaped: bool) -> tuple[int, int, int]:
        """Give start, width and total of one choice."""
        plain, escaped = self._counts[self._before]
        return (plain, escaped, plain + escaped) if is_escaped else (0, plain, plain + escaped)

    def learn(self, is_escaped: bool) -> None:
        """Count what was chosen."""
        counts = self._counts[self._before]
        counts[is_escaped] += 2
        if sum(counts) > _MOST_COUNTS:
            counts[:] = [max(1, each // 2) for each in counts]
        self._before = is_escaped


class _TokenModel:
    """What is to be expected next, after the tokens taken so far; both coders go by it.

    spent_bits: what the model's tokens cost by their probabilities.
    """

    def __init__(self, model: ModelFile) -> None:
        self.flag, self.spent_bits = _EscapeModel(), 0.0
        self._size = model.vocab.size
        self._network = ExactNetwork(model.config, model.weights)
        self._state = self._network.initial_state()
        self._sums: NDArray[np.int64] | None = None

    def sums(self) -> NDArray[np.int64]:
        """Give the likelihoods (V,) summed up; made when the first token asks for them."""
        if self._sums is None:
            self._sums = self._network.cumulate(self._state)
        return self._sums

    def part(self, token: int) -> tuple[int, int, int]:
        """Give start, width and total of a token."""
        sums = self.sums()
        start = int(sums[token - 1]) if token else 0
        return start, int(sums[token]) - start, int(sums[-1])

    def take(self, token: int) -> None:
        """Go on behind a token; escapes change nothing but the flag."""
        is_escaped = token >= self._size
        self.flag.learn(is_escaped)
        if not is_escaped:
            _, width, total = self.part(token)
            self.spent_bits += math.log2(total / width)
            self._state, self._sums = self._network.advance(token, self._state), None


def _iter_tokens(original: bytes, vocab: Vocab) -> Iterator[tuple[int, int]]:
    """Yield each token and how many bytes it stands for.

    A byte outside the alphabet is the alphabet's length and its value: an id if the vocabulary has
    bytes, an escape if it is V or more.
    """
    ids = {char: (index, len(char.encode())) for index, char in enumerate(vocab.alphabet)}
    for char in original.decode("utf-8", "surrogateescape"):
        if char in ids:
            yield ids[char]
        else:
            yield from ((len(ids) + byte, 1) for byte in char.encode("utf-8", "surrogateescape"))


def _decode(body: bytes, length: int, model: ModelFile, watch: Watch) -> bytes:
    """Give the `length` bytes, or a character more, that `body` holds.

    Raises:
        ValueError: it cannot hold them.
    """
    if length * _FEWEST_BITS > 8 * (len(body) + 8) * _LONGEST_CHARACTER:
        raise ValueError(f"{len(body):,} bytes cannot hold a text of {length:,}")
    spelled = [char.encode() for char in model.vocab.alphabet] + [bytes([i]) for i in range(256)]
    coder, source, original, count = Decoder(body), _TokenModel(model), bytearray(), 0
    while len(original) < length:
        token = _decode_token(coder, source, len(model.vocab.alphabet))
        source.take(token)
        original += spelled[token]
        if count % _TOLD_EVERY == 0:
            watch(len(original), length)
        count += 1
    return bytes(original)


def _decode_token(coder: Decoder, source: _TokenModel, first_byte: int) -> int:
    _, plain, total = source.flag.part(False)
    is_escaped = coder.find(total) >= plain
    start, width, _ = source.flag.part(is_escaped)
    coder.take(start, width)
    if is_escaped:
        byte = coder.find(256)
        coder.take(byte, 1)
        return first_byte + byte
    sums = source.sums()
    token = int(np.searchsorted(sums, coder.find(int(sums[-1])), side="right"))
    start, width, _ = source.part(token)
    coder.take(start, width)
    return token


def _read_header(data: bytes, name: str) -> tuple[int, int, bytes, bytes]:
    """Give mode, length, the model's digest and the original's check; the bytes are undamaged."""
    if not data.startswith(_MAGIC):
        raise CheckpointError(
            f"{name} was not compressed by charrnn, or its first bytes are damaged; give a file "
            "that charrnn compress made"
        )
    if len(data) < _OPENING:
        raise _damaged(name, f"it is cut short, {len(data)} of at least {_OPENING} bytes")
    _, version, mode, length, digest, check = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise CheckpointError(
            f"{name} has format {version}, this charrnn reads format {FORMAT}; install the version "
            "of charrnn that wrote it, or a newer one"
        )
    (damage,) = _DAMAGE.unpack_from(data, _HEADER.size)
    body = memoryview(data)[_OPENING:]
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size])) != damage or mode > _CODED:
        raise _damaged(name, "its content does not have the checksum written in it")
    return mode, length, digest, check


def _digest(original: bytes) -> bytes:
    return hashlib.sha256(original).digest()


def _damaged(name: str, what: str) -> CheckpointError:
    return CheckpointError(f"{name} is damaged: {what}; fetch it again, or compress anew")
