"""Where documents end: what is put there, how many are counted, whatever the pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.reader import count_documents, iter_ended, missing_end

TEXTS = st.text(st.sampled_from("a-\n"), max_size=12)
ENDS = st.text(st.sampled_from("a-\n"), min_size=1, max_size=3)


def cut(text: str, size: int) -> list[str]:
    """Give the text in pieces of so many characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize(
    ("text", "missing"),
    [("a", "\n--\n"), ("a\n", "--\n"), ("a\n-", "-\n"), ("a\n--\n", ""), ("a--\n", "--\n")],
)
def test_an_end_that_has_begun_is_completed(text: str, missing: str) -> None:
    assert missing_end(text, "\n--\n") == missing


@given(TEXTS, ENDS)
def test_a_text_that_is_ended_lacks_nothing_and_keeps_its_beginning(text: str, end: str) -> None:
    ended = text + missing_end(text, end)

    assert ended.endswith(end)
    assert missing_end(ended, end) == ""


@given(st.lists(TEXTS, max_size=4), ENDS, st.integers(1, 4))
def test_texts_are_ended_one_by_one_in_any_pieces(texts: list[str], end: str, size: int) -> None:
    whole = "".join(text + missing_end(text, end) for text in texts if text)

    assert "".join(iter_ended([cut(text, size) for text in texts], end)) == whole


@given(TEXTS, ENDS, st.integers(1, 4))
def test_ends_are_counted_as_a_whole_text_is_searched(text: str, end: str, size: int) -> None:
    assert count_documents(cut(text, size), end) == text.count(end)


def test_a_document_may_be_empty() -> None:
    assert count_documents(["a--", "--b-", "-"], "--") == 3
