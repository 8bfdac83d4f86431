"""What of a text stands in a corpus: every span, against a slow twin, and every whole line."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.copies import CopyReport, KnownLines, Span, find_copies
from charrnn.analysis.suffix_array import SuffixArray
from charrnn.errors import VocabError
from charrnn.text.vocab import Vocab

LETTERS = Vocab("\nabc")
BYTES = Vocab("\na", has_bytes=True)
NAMES = KnownLines(["ada\nbo\n\ncy"])


def copied(text: str, corpus: str, least: int, vocab: Vocab = LETTERS) -> CopyReport:
    return find_copies(text, SuffixArray(vocab.encode(corpus)), vocab, least)


def left(*pieces: str, known: KnownLines = NAMES) -> str:
    return "".join(known.iter_new(pieces))


def random_letters(count: int) -> str:
    return "".join(random.Random(4).choices("abc\n", k=count))


def slow_spans(text: str, corpus: str, least: int) -> list[tuple[int, int]]:
    """Try every span, and leave out those that another holds."""
    spans = [
        (start, stop)
        for start, stop in itertools.combinations(range(len(text) + 1), 2)
        if stop - start >= least and text[start:stop] in corpus
    ]
    return [a for a in spans if not any(a != b and b[0] <= a[0] and a[1] <= b[1] for b in spans)]


# The spans


@given(st.text("abc\n", max_size=25), st.text("abc\n", max_size=40), st.integers(1, 5))
def test_every_span_is_found_and_no_other(text, corpus, least):
    found = copied(text, corpus, least)

    assert list(found.spans) == slow_spans(text, corpus, least)


@given(st.text("aéя月😀", max_size=14), st.text("aéя月😀", max_size=30), st.integers(1, 3))
def test_spans_count_characters_however_many_bytes_spell_them(text, corpus, least):
    found = copied(text, corpus, least, BYTES)

    assert list(found.spans) == slow_spans(text, corpus, least)


@given(st.text("ab", max_size=30), st.text("ab", max_size=40), st.integers(1, 4))
def test_the_share_is_of_characters_that_any_span_holds(text, corpus, least):
    found = copied(text, corpus, least)
    held = {i for start, stop in found.spans for i in range(start, stop)}

    assert found.chars == len(held)
    assert found.share == len(held) / max(1, len(text))
    assert [i for span in found.merged for i in range(*span)] == sorted(held)


def test_a_text_that_is_all_a_copy_is_one_span():
    corpus = random_letters(20_000)

    found = copied(corpus[7_000:12_000], corpus, least=20)

    assert found.spans == (Span(0, 5_000),)
    assert found.share == 1
    assert found.line == corpus[:7_000].count("\n") + 1


def test_a_span_is_found_in_a_corpus_that_is_all_the_same():
    # To follow each of 100,000 places for 5,000 characters would take minutes.
    found = copied("ab" * 2_500, "ab" * 50_000 + "c", least=20)

    assert found.spans == (Span(0, 5_000),)


def test_spans_are_found_around_a_run_that_occurs_everywhere():
    letters = random_letters(20_200)
    corpus = "".join("abcabbcaabcabcaabbcab" + letter for letter in letters[:20_000])
    text = "".join("abcabbcaabcabcaabbcab" + letter for letter in letters[20_000:])

    found = copied(text, corpus, least=20)

    assert found.share == 1
    assert all(text[start:stop] in corpus for start, stop in found.spans)
    assert not any(text[start : stop + 1] in corpus for start, stop in found.spans[:-1])


def test_two_copies_that_overlap_are_two_spans_of_one_part():
    found = copied("aabbcc", "aabb\nbbcc", least=3)

    assert found.spans == (Span(0, 4), Span(2, 6))
    assert found.merged == (Span(0, 6),)


def test_two_copies_that_touch_stay_two():
    found = copied("aacc", "aa\ncc", least=2)

    assert found.spans == found.merged == (Span(0, 2), Span(2, 4))


# Where the longest comes from


def test_the_longest_span_comes_with_the_line_where_it_first_begins():
    found = copied("abcabca\naabb", "c\naa\nabca\naabb\nabca", least=4)

    assert found.longest == "abca\naabb"
    assert found.line == 3


def test_a_line_is_that_in_which_a_copy_begins():
    assert copied("\nbb", "aa\nbb", least=3).line == 1
    assert copied("bb", "aa\nbb", least=2).line == 2


def test_lines_are_counted_where_a_newline_is_a_byte():
    assert copied("éé", "a\n\néé", least=2, vocab=Vocab("a", has_bytes=True)).line == 3


def test_of_two_longest_spans_the_first_counts():
    assert copied("cca\nabb", "abb\ncca", least=3).longest == "cca"


# Nothing, and too much


@pytest.mark.parametrize(("text", "corpus"), [("", "abc"), ("abc", ""), ("", ""), ("ab", "abc")])
def test_a_text_with_nothing_copied_has_an_empty_report(text, corpus):
    found = copied(text, corpus, least=3)

    assert found == CopyReport(text, 3, (), "", None)
    assert found.share == 0
    assert found.as_json() == {"least": 3, "share": 0, "spans": [], "longest": None}


def test_a_report_turns_into_plain_values():
    assert copied("aabcc", "\nabc", least=2).as_json() == {
        "least": 2,
        "share": 0.6,
        "spans": [[1, 4]],
        "longest": {"text": "abc", "characters": 3, "line": 2, "file": None},
    }


def test_a_character_that_the_vocabulary_does_not_know_is_named():
    with pytest.raises(VocabError, match="é"):
        copied("é", "abc", least=1)


# Known lines


@given(st.text("ab\n", max_size=30), st.text("ab\n", max_size=30), st.data())
def test_a_line_stays_unless_the_corpus_has_it(text, corpus, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    lines = text.splitlines(keepends=True)
    known = set(corpus.split("\n")) - {""}

    new = [line for line in lines if line.removesuffix("\n") not in known]

    assert left(*pieces, known=KnownLines([corpus])) == "".join(new)


def test_a_new_line_comes_as_soon_as_it_ends():
    new = NAMES.iter_new(iter(["d", "i\nada\n", "e", "v"]))

    assert next(new) == "di\n"
    assert list(new) == ["ev"]


def test_a_part_of_a_line_is_no_line_of_the_corpus():
    assert left("ad\nadaa\n\nboo") == "ad\nadaa\n\nboo"


def test_an_empty_line_always_stays():
    assert left("ada\n\nbo\n\n") == "\n\n"


@pytest.mark.parametrize(
    ("line", "is_known"),
    [("ada", True), ("ada\n", True), ("cy", True), ("ad", False), ("ada\nbo", False), ("", False)],
)
def test_a_whole_line_of_the_corpus_is_known(line, is_known):
    assert (line in NAMES) == is_known


def test_texts_do_not_run_into_each_other():
    known = KnownLines(["ada\nbo", "cy"])

    assert "bo" in known
    assert "cy" in known
    assert "bocy" not in known
