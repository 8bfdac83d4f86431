"""A model as a compressor: any bytes come back, and damage ends in one clear line.

golden/text-format1.crnn was written once, by the golden model, and is never written again: a
machine that counts otherwise, or a change to the format that keeps its number, fails here.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile, model_digest, read_model
from charrnn.compression.codec import compress, decompress
from charrnn.config.model import NOT_LEARNED
from charrnn.errors import CheckpointError
from charrnn.generation.network import Network
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS

Make = Callable[..., ModelFile]

KNOWN = st.text("\n abé", max_size=80).map(str.encode)
MIXED = st.lists(KNOWN | st.text(max_size=9).map(lambda s: s.encode("utf-8", "ignore")))
ANY_BYTES = st.binary(max_size=200) | MIXED.map(b"".join) | KNOWN
HEADER_BYTES = 58
GOLDEN = Path(__file__).parents[1] / "golden"


def golden_text(alphabet: str) -> bytes:
    """Return what the golden file holds."""
    known = alphabet[:3] * 40
    return f"{known}月{known}".encode() + b"\xff\x00"


def with_bytes(model: ModelFile, make_model: Make) -> ModelFile:
    """Return a model of the same alphabet with byte tokens."""
    return replace(make_model(vocab_size=261), vocab=Vocab(model.vocab.alphabet, has_bytes=True))


def restored(data: bytes, model: ModelFile) -> bytes:
    return decompress(data, model, "book.crnn", "tiny")


def sealed(data: bytes, *, length: int | None = None) -> bytes:
    """Return the file with its checksum made right again, as a forger would."""
    header = bytearray(data[:54])
    if length is not None:
        header[6:14] = struct.pack("<Q", length)
    return bytes(header) + struct.pack("<I", zlib.crc32(header + data[58:])) + data[58:]


@given(original=ANY_BYTES, shape=st.sampled_from([{}, NGRAMS]))
def test_any_bytes_come_back(original: bytes, shape: dict[str, Any], make_model: Make) -> None:
    model = make_model(**shape)

    assert restored(compress(original, model).data, model) == original


@given(original=ANY_BYTES)
def test_any_bytes_come_back_from_a_model_with_byte_tokens(
    original: bytes, make_model: Make
) -> None:
    model = with_bytes(make_model(), make_model)

    packed = compress(original, model)

    assert packed.escaped_bytes == 0
    assert restored(packed.data, model) == original


@given(original=ANY_BYTES)
def test_nothing_grows_by_more_than_the_header(original: bytes, make_model: Make) -> None:
    assert len(compress(original, make_model()).data) <= len(original) + HEADER_BYTES


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("shape", [{}, NGRAMS], ids=["characters", "n-grams"])
def test_a_compressed_text_has_the_float_models_code_length(
    cell: str, shape: dict[str, Any], make_model: Make
) -> None:
    model = make_model(cell=cell, **shape)
    for name in model.weights.keys() - NOT_LEARNED:
        model.weights[name] *= 0.5
    ids = np.random.default_rng(8).integers(0, 5, 3000)
    original = model.vocab.decode(ids).encode()
    network = Network(model.config, model.weights)
    state, bits = network.initial_state(), 0.0
    for token in ids.tolist():
        logits = network.logits(state).astype(np.float64)
        bits += (np.log(np.exp(logits).sum()) - logits[token]) / math.log(2)
        state = network.advance(token, state)

    packed = compress(original, model)

    assert not packed.is_stored
    assert packed.model_bits == pytest.approx(bits, rel=1e-3)
    assert len(packed.data) <= 1.01 * bits / 8 + 64


def test_a_text_of_the_alphabet_has_no_escapes_and_is_counted_in_characters(
    make_model: Make,
) -> None:
    packed = compress("a béa\n".encode() * 50, make_model())

    assert (packed.escaped_bytes, packed.chars, packed.original_bytes) == (0, 300, 350)


def test_an_unknown_character_costs_its_bytes_and_not_the_ones_behind_it(make_model: Make) -> None:
    model = make_model()
    plain = compress(b"ab a" * 200, model)

    marked = compress(b"ab a" * 100 + "月".encode() + b"ab a" * 100, model)

    assert marked.escaped_bytes == 3
    assert len(marked.data) - len(plain.data) <= 3 + 5


def test_the_empty_file_is_a_header(make_model: Make) -> None:
    model = make_model()

    packed = compress(b"", model)

    assert len(packed.data) == HEADER_BYTES
    assert restored(packed.data, model) == b""


def test_bytes_that_the_model_makes_longer_are_kept_as_they_are(make_model: Make) -> None:
    original = np.random.default_rng(9).bytes(3000)

    packed = compress(original, make_model())

    assert packed.is_stored
    assert packed.data[HEADER_BYTES:] == original


def test_the_golden_file_is_what_compress_writes_and_decompress_reads() -> None:
    model = read_model(GOLDEN / "lstm-1x4-format1.safetensors")
    data, text = (GOLDEN / "text-format1.crnn").read_bytes(), golden_text(model.vocab.alphabet)

    packed = compress(text, model)

    assert not packed.is_stored
    assert packed.data == data
    assert restored(data, model) == text


def test_training_alone_does_not_make_another_model(make_model: Make) -> None:
    model = make_model()

    assert model_digest(model) == model_digest(make_model(step=9, val_nats=1.0, dropout=0.5))


def test_another_model_is_refused_by_name(make_model: Make) -> None:
    data = compress(b"ab " * 50, make_model()).data
    other = make_model()
    other.weights["output.bias"][2] += 1

    with pytest.raises(CheckpointError, match=r"book\.crnn was compressed with another .* tiny"):
        restored(data, other)


@given(data=st.data())
def test_a_changed_or_missing_byte_is_noticed(data: st.DataObject, make_model: Make) -> None:
    model = make_model()
    packed = bytearray(compress(b"ab \n" * 60, model).data)
    index = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed[index] ^= data.draw(st.integers(1, 255))
    else:
        del packed[index:]

    with pytest.raises(CheckpointError, match=r"book\.crnn"):
        restored(bytes(packed), model)


@given(original=st.binary(max_size=300))
def test_other_bytes_are_refused(original: bytes, make_model: Make) -> None:
    for data in (original, b"crnn\1" + original):
        with pytest.raises(CheckpointError, match=r"book\.crnn"):
            restored(data, make_model())


@given(body=st.binary(max_size=60), length=st.integers(1, 3000))
def test_decoding_a_forged_text_ends_with_an_error(
    body: bytes, length: int, make_model: Make
) -> None:
    model = make_model()
    header = compress(b"ab \n" * 60, model).data[:HEADER_BYTES]

    with pytest.raises(CheckpointError, match="is damaged"):
        restored(sealed(header + body, length=length), model)


def test_a_forged_length_is_refused_before_anything_is_made(make_model: Make) -> None:
    model = make_model()
    data = sealed(compress(b"ab \n" * 60, model).data, length=2**63)

    with pytest.raises(CheckpointError, match="cannot hold a text of 9,223,372"):
        restored(data, model)


def test_another_version_is_refused_by_its_number(make_model: Make) -> None:
    model = make_model()
    data = compress(b"ab", model).data

    with pytest.raises(CheckpointError, match="format 2, this charrnn reads format 1"):
        restored(data[:4] + b"\2" + data[5:], model)


def test_progress_is_reported_in_bytes(make_model: Make) -> None:
    reported: list[tuple[int, int]] = []
    model = make_model()

    packed = compress("é".encode() * 600, model, lambda *done: reported.append(done))
    assert reported == [(2, 1200), (514, 1200), (1026, 1200)]
    reported.clear()
    decompress(packed.data, model, "", "", lambda *done: reported.append(done))
    assert reported == [(2, 1200), (514, 1200), (1026, 1200)]
