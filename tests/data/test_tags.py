"""Tagged files in, characters with tags out, and back: every layout, and what is wrong by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import tags
from charrnn.data.records import Example
from charrnn.data.tags import (
    MAX_RECORD_CHARS,
    find_words,
    is_segmentation,
    read_tagged,
    spans,
    without_tags,
    write_tagged,
)
from charrnn.errors import CorpusError


def read(text: str, layout: str, size: int = 5) -> list[Example]:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return list(read_tagged("f.txt", pieces, layout))


def test_words_between_spaces_become_b_m_e_s() -> None:
    assert read("今天  天气 好 \n\n　 abcd\n", "spaces") == [
        Example("今天天气好", ("B", "E", "B", "E", "S")),
        Example("abcd", ("B", "M", "M", "E")),
    ]


def test_a_slash_gives_the_tag_of_a_whole_word() -> None:
    assert read("迈向/v 的/u //w a/b/c", "slash") == [
        Example("迈向的/a/b", ("B-v", "E-v", "S-u", "S-w", "B-c", "M-c", "E-c"))
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [("word", "'word' has no tag"), ("word/", "has no tag"), ("/n", "has no word")],
)
def test_a_word_without_its_tag_is_named_by_line(line: str, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^f.txt:2: {message[:3]}.*|{message}") as error:
        read(f"a/n\nb/n {line} c/n", "slash")
    assert error.value.message.startswith("f.txt:2: ")
    assert message in error.value.message


def test_columns_are_one_character_and_its_tag() -> None:
    assert read("a\tX\nb Y\n \tZ\n\t\tW\nc   V \n\n\n\nd\tX", "columns") == [
        Example("ab \tc", ("X", "Y", "Z", "W", "V")),
        Example("d", ("X",)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ab\tX", "'ab\\tX' has 2 characters before its tag"),
        ("a", "'a' has no tag"),
        ("a\t", "'a' has no tag"),
        ("\tX", "has no character before its tag"),
        ("a b\tX", "has 3 characters before its tag"),
    ],
)
def test_a_bad_column_is_named_by_line(line: str, message: str) -> None:
    with pytest.raises(CorpusError) as error:
        read(f"a\tX\n{line}\n", "columns")
    assert error.value.message.startswith("f.txt:2: ")
    assert message in error.value.message


def test_the_character_that_ends_records_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"^f\.txt:2: the text holds U\+10FFFF"):
        read("a\nb \U0010ffff", "spaces")


@given(st.lists(st.text("ab。/ 中", max_size=4), max_size=8), st.sampled_from(["spaces", "slash"]))
def test_words_come_back_as_they_were(words: list[str], layout: str) -> None:
    words = ["".join(word.split()) for word in words]
    ending = "/n" if layout == "slash" else ""
    line = " ".join(word + ending for word in words if word)

    back = [write_tagged(*example[:2], layout) for example in read(line, layout)]

    assert back == ([line] if line else [])


@given(st.lists(st.tuples(st.characters(exclude_characters="\n"), st.sampled_from("XYZ"))))
def test_columns_come_back_as_they_were(rows: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{char}\t{tag}" for char, tag in rows)

    assert "\n".join(write_tagged(*each[:2], "columns") for each in read(text, "columns")) == text


@given(st.lists(st.sampled_from(["B", "M", "E", "S", "B-n", "O", ""])))
def test_every_row_of_tags_has_words(row: list[str]) -> None:
    found = find_words(row)

    assert [place for word in found for place in range(word.start, word.stop)] == [*range(len(row))]
    assert all(word.start < word.stop for word in found)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"B", "M", "E", "S"}, True),
        ({"B-n", "E-n", "S-v"}, True),
        ({"B", "I", "O"}, False),
        ({"B", "E", "O"}, False),
        ({"S-b", "S-e"}, False),  # of a file of single characters
        ({"B-", "E"}, False),
        (set(), False),
    ],
)
def test_tags_of_words_are_known_as_such(found: set[str], expected: bool) -> None:
    assert is_segmentation(found) is expected


def test_a_line_to_tag_has_no_spaces_where_words_are_sought() -> None:
    assert (
        without_tags("今 天\u3000a", "spaces") == without_tags("今 天\u3000a", "slash") == "今天a"
    )
    assert without_tags("今 天", "columns") == "今 天"


@given(st.text("ab. 。", max_size=60), st.integers(2, 9))
def test_a_cut_record_loses_nothing(source: str, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tags, "MAX_RECORD_CHARS", most)
        parts = list(spans(source))

    assert "".join(source[part] for part in parts) == source
    assert all(0 < part.stop - part.start <= most for part in parts)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("One is. Two is longer", ["One is. ", "Two is ", "longer"]),
        ('"So it." "And so"', ['"So it." ', '"And so"']),
        ("3.14159 27182818", ["3.14159 ", "27182818"]),
        ("四个字了。“好。”又是四个字", ["四个字了。", "“好。”又是四个字"]),
        ("abcdefghijklmnop", ["abcdefghij", "klmnop"]),
    ],
)
def test_a_long_record_is_cut_where_a_sentence_or_a_word_ends(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "MAX_RECORD_CHARS", 10)

    assert [line[part] for part in spans(line)] == expected


def test_a_word_is_never_cut_if_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "MAX_RECORD_CHARS", 6)

    parts = read("abc d.ef gh。 ijkl abcdefgh", "spaces")

    assert [write_tagged(*part[:2], "spaces") for part in parts] == [
        "abc",
        "d.ef",
        "gh。",
        "ijkl",
        "abcdef",
        "gh",
    ]
    assert all(len(part.source) == len(part.target) for part in parts)


def test_a_record_of_the_most_characters_stays_whole() -> None:
    line = "ab " * (MAX_RECORD_CHARS // 2)

    assert [len(part.source) for part in read(line + "\n" + line + "c", "spaces")] == [512, 512, 1]
