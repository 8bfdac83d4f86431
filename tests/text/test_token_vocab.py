"""Tokens between spaces have ids, write a text back, and count its characters and bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import VocabError
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import END, END_NAME

VOCAB = TokenVocab(tokens=("AH", "B", "né"), has_end=True)
TOKENS = st.lists(st.sampled_from(VOCAB.tokens), max_size=6)


@given(st.lists(TOKENS, min_size=1, max_size=4))
def test_what_is_counted_is_what_is_written(texts: list[list[str]]) -> None:
    written = [" ".join(tokens) for tokens in texts]
    ids = VOCAB.encode("".join(f"{text} {END} " for text in written))

    assert VOCAB.count_characters(ids) == sum(len(text) + 1 for text in written)
    assert VOCAB.count_bytes(ids) == sum(len(text.encode()) + 1 for text in written)
    assert np.count_nonzero(ids == VOCAB.end) == len(texts)


def test_a_text_without_an_end_has_spaces_between_its_tokens() -> None:
    assert VOCAB.count_characters(np.array([1, 0, 2])) == len("B AH né")
    assert VOCAB.count_characters(np.array([], np.uint8)) == 0


def test_tokens_have_names() -> None:
    assert [VOCAB.name_of(token) for token in range(VOCAB.size)] == ["AH", "B", "né", END_NAME]
    assert VOCAB.text_of(VOCAB.end) == END


def test_tokens_are_found_in_a_larger_vocabulary() -> None:
    larger = VOCAB.union(TokenVocab(tokens=("A", "Q"), has_end=True))

    assert larger.tokens == ("A", "AH", "B", "Q", "né")
    assert VOCAB.ids_in(larger).tolist() == [1, 2, 4, 5]


def test_the_end_is_no_token_of_its_own() -> None:
    with pytest.raises(VocabError, match="U\\+10FFFF is a token"):
        TokenVocab(tokens=(END,), has_end=True)
    with pytest.raises(VocabError, match="never saw the token"):
        TokenVocab(tokens=("a",)).encode(END)
