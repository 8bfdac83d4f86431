"""A model of bytes that learned from text writes valid UTF-8, and any valid text is possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.generation.constraints.utf8 import ValidUtf8
from charrnn.storage import to_bytes
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.random_models import random_weights

BYTES = Vocab.of_bytes()
RECORDS = Vocab.of_bytes(has_end=True)


def allowed(constraint: ValidUtf8, state: Any) -> list[int]:
    return np.flatnonzero(constraint.mask(state) == 0).tolist()


def make_model(**corpus: Any) -> Model:
    """Return a model of bytes of random weights."""
    config = ModelConfig(cell="gru", vocab_size=256, embedding_size=3, hidden_size=4)
    summary = {"corpus": corpus}
    return Model(ModelFile(config, BYTES, random_weights(config, 8, 1.5), summary))


@given(st.text())
def test_every_valid_text_is_allowed(text: str) -> None:
    raw = text.encode()
    constraint = ValidUtf8(BYTES, len(raw))
    state = constraint.initial_state(np.zeros(0, np.uint8))
    for byte in raw:
        assert byte in allowed(constraint, state)
        state = constraint.advance(byte, state)


@given(st.integers(0, 9), st.randoms())
def test_whatever_is_allowed_is_valid_and_ends_with_a_whole_character(
    length: int, random: Any
) -> None:
    constraint = ValidUtf8(BYTES, length)
    state = constraint.initial_state(np.zeros(0, np.uint8))
    raw = b""
    while len(raw) < length:
        ids = allowed(constraint, state)
        byte = random.choice([each for each in ids if each >= 0x80] or ids)
        raw += bytes([byte])
        state = constraint.advance(byte, state)

    raw.decode()


def test_each_beginning_has_exactly_the_next_bytes_that_python_decodes() -> None:
    constraint = ValidUtf8(BYTES, 4)
    start = constraint.initial_state(np.zeros(0, np.uint8))
    for first in allowed(constraint, start):
        after = constraint.advance(first, start)
        for second in range(256):
            raw = bytes([first, second])
            rest = b"\x80" * (after.needed - 1)
            if first >= 0x80:
                assert (second in allowed(constraint, after)) == _decodes(raw + rest)


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_a_prompt_that_ends_inside_a_character_is_continued() -> None:
    constraint = ValidUtf8(BYTES, 5)
    state = constraint.initial_state(BYTES.encode("ab€")[:-1])

    assert allowed(constraint, state) == list(range(0x80, 0xC0))


def test_a_record_ends_between_characters_alone() -> None:
    constraint = ValidUtf8(RECORDS, 5)
    start = constraint.initial_state(np.zeros(0, np.int64))

    assert RECORDS.end in allowed(constraint, start)
    assert RECORDS.end not in allowed(constraint, constraint.advance(0xC3, start))


@pytest.mark.parametrize("count", [1, 9])
def test_a_model_of_text_writes_text(count: int) -> None:
    model = make_model(is_utf8=True)
    texts = [each.text for each in model.generate_many(length=41, count=count, seed=2)]

    assert any(not each.isascii() for each in texts)
    for text in texts:
        to_bytes(text).decode()
        assert len(text) == 41


@pytest.mark.parametrize("corpus", [{"is_utf8": False}, {}])
def test_a_model_of_other_files_writes_any_byte(corpus: dict[str, Any]) -> None:
    text = "".join(make_model(**corpus).generate(length=4000, seed=2, temperature=9.0))

    assert set(to_bytes(text)) == set(range(256))
