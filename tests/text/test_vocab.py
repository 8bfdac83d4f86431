"""Holds the vocabulary to its law: what is encoded is decoded, and nothing else is let in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charrnn.errors import VocabError
from charrnn.text.vocab import END, StreamDecoder, Vocab

FEW = st.characters(codec="utf-8") | st.sampled_from("ab é中\U0001f600")
TEXTS = st.text(FEW)
SOME = st.text(FEW, min_size=1)
BYTES_ONLY = Vocab("", has_bytes=True)


def stream(vocab: Vocab, ids: list[int]) -> str:
    """Decode one id at a time."""
    decoder = StreamDecoder(vocab)
    return "".join(map(decoder.feed, ids)) + decoder.flush()


# Which characters have an id


@given(SOME)
def test_the_ids_of_a_text_are_indices_in_its_sorted_alphabet(text: str) -> None:
    vocab = Vocab.from_text(text)

    assert vocab.alphabet == "".join(sorted(set(text)))
    assert vocab.encode(text).tolist() == [vocab.alphabet.index(char) for char in text]


def test_characters_rarer_than_min_count_have_no_id_of_their_own() -> None:
    vocab = Vocab.from_text("aaabbc", min_count=3)

    assert (vocab.alphabet, vocab.has_bytes, vocab.size) == ("a", True, 257)


def test_min_count_one_keeps_every_character_and_no_bytes() -> None:
    assert Vocab.from_text("cab") == Vocab("abc", has_bytes=False)


@pytest.mark.parametrize("alphabet", ["ba", "aa", "abca"])
def test_an_alphabet_out_of_order_or_with_a_character_twice_is_refused(alphabet: str) -> None:
    with pytest.raises(VocabError, match="not sorted, or holds a character twice"):
        Vocab(alphabet)


def test_an_empty_alphabet_is_refused_unless_there_are_bytes() -> None:
    with pytest.raises(VocabError, match="empty"):
        Vocab("")
    assert BYTES_ONLY.size == 256


def test_half_of_a_surrogate_pair_is_refused_in_an_alphabet() -> None:
    with pytest.raises(VocabError, match="surrogate"):
        Vocab("a\udc80")


@pytest.mark.parametrize(
    ("vocab", "dtype"),
    [
        (Vocab("a"), "u1"),
        (Vocab("".join(map(chr, range(256)))), "u1"),
        (Vocab("".join(map(chr, range(257)))), "u2"),
        (BYTES_ONLY, "u1"),
        (Vocab("a", has_bytes=True), "u2"),
        (Vocab("".join(map(chr, range(0x10000, 0x20000)))), "u2"),
        (Vocab("".join(map(chr, range(0x10000, 0x20001)))), "u4"),
    ],
    ids=lambda value: f"V={value.size}" if isinstance(value, Vocab) else value,
)
def test_ids_have_the_narrowest_type_that_holds_them(vocab: Vocab, dtype: str) -> None:
    assert vocab.dtype == np.dtype(dtype)
    assert vocab.encode(vocab.alphabet[-3:]).dtype == np.dtype(dtype)
    assert vocab.decode(vocab.encode(vocab.alphabet[-3:])) == vocab.alphabet[-3:]


# More tokens


@given(SOME, st.booleans(), SOME, st.booleans())
def test_a_union_has_the_tokens_of_both_and_no_others(
    one: str, one_has_bytes: bool, other: str, other_has_bytes: bool
) -> None:
    first = Vocab(Vocab.from_text(one).alphabet, one_has_bytes)
    second = Vocab(Vocab.from_text(other).alphabet, other_has_bytes)
    union = first.union(second)

    assert union.alphabet == Vocab.from_text(one + other).alphabet
    assert union.has_bytes == (one_has_bytes or other_has_bytes)
    assert union == second.union(first)


@given(SOME, SOME, SOME, st.booleans())
def test_tokens_mean_the_same_by_their_ids_in_a_larger_vocabulary(
    one: str, other: str, text: str, has_bytes: bool
) -> None:
    vocab = Vocab(Vocab.from_text(one + ("" if has_bytes else text)).alphabet, has_bytes)
    larger = vocab.union(Vocab.from_text(other))
    larger_ids = vocab.ids_in(larger)

    assert len(set(larger_ids.tolist())) == vocab.size
    assert larger.decode(larger_ids[vocab.encode(text)]) == text


@pytest.mark.parametrize("vocab", [Vocab("ab"), BYTES_ONLY, Vocab("é中", has_bytes=True)])
def test_tokens_keep_their_ids_in_their_own_vocabulary(vocab: Vocab) -> None:
    assert vocab.ids_in(vocab).tolist() == list(range(vocab.size))
    assert vocab.union(vocab) == vocab


# There and back


@given(SOME)
def test_a_text_comes_back_from_its_own_vocabulary(text: str) -> None:
    vocab = Vocab.from_text(text)

    assert vocab.decode(vocab.encode(text)) == text


@given(SOME, TEXTS)
def test_any_text_comes_back_from_the_bytes_of_another_texts_vocabulary(
    seen: str, text: str
) -> None:
    vocab = Vocab.from_text(seen, min_count=2)

    assert vocab.decode(vocab.encode(text)) == text


@given(TEXTS)
@example("\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff")  # where UTF-8 grows a byte
def test_without_any_character_the_ids_are_the_utf8_bytes(text: str) -> None:
    assert bytes(BYTES_ONLY.encode(text).tolist()) == text.encode()


@given(st.text(st.characters(codec="ascii")))
def test_an_ascii_text_has_the_same_ids_as_beside_another_character(text: str) -> None:
    for vocab in (Vocab.from_text(text + "é"), Vocab("bdé", has_bytes=True)):
        ids = vocab.encode(text).tolist()
        assert ids == vocab.encode(text + "é").tolist()[:-1]


def test_an_empty_text_has_no_ids() -> None:
    for vocab in (Vocab("ab"), Vocab("é"), BYTES_ONLY):
        assert vocab.encode("").shape == (0,)
        assert vocab.decode([]) == ""


@given(SOME, TEXTS)
def test_characters_are_counted_whatever_number_of_bytes_each_took(seen: str, text: str) -> None:
    vocab = Vocab.from_text(seen, min_count=2)

    assert vocab.count_characters(vocab.encode(text)) == len(text)


def test_only_a_byte_that_continues_a_character_starts_none() -> None:
    starts = Vocab("ab", has_bytes=True).starts_character

    assert np.flatnonzero(~starts).tolist() == list(range(2 + 0x80, 2 + 0xC0))


def test_bytes_that_are_no_utf8_come_out_as_replacement_signs() -> None:
    vocab = Vocab("ab", has_bytes=True)
    high, low = (2 + byte for byte in "é".encode())

    assert vocab.decode([0, high, low, 1]) == "aéb"
    assert vocab.decode([0, low, 1]) == "a\ufffdb"
    assert vocab.decode([high, 0, low]) == "\ufffda\ufffd"


# One id at a time


@given(st.lists(st.integers(0, 4 + 255) | st.sampled_from([4 + b for b in "é中😀".encode()])))
def test_any_ids_decode_one_by_one_as_they_do_together(ids: list[int]) -> None:
    vocab = Vocab("\nabé", has_bytes=True)

    assert stream(vocab, ids) == vocab.decode(ids)


def test_the_bytes_of_a_character_are_held_back_until_it_is_whole() -> None:
    decoder = StreamDecoder(BYTES_ONLY)

    assert [decoder.feed(byte) for byte in "a中".encode()] == ["a", "", "", "中"]
    assert decoder.flush() == ""


def test_an_unfinished_character_shows_before_the_next_one() -> None:
    decoder = StreamDecoder(Vocab("ab", has_bytes=True))

    assert decoder.feed(2 + "é".encode()[0]) == ""
    assert decoder.feed(1) == "\ufffdb"


# What is refused


def test_unknown_characters_are_named_with_their_code_points_and_a_hint() -> None:
    with pytest.raises(VocabError) as caught:
        Vocab("ab").encode("a中b\x07é中")

    assert caught.value.message == (
        "the model never saw '\\x07' (U+0007), 'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE), "
        "'中' (U+4E2D CJK UNIFIED IDEOGRAPH-4E2D); remove it, "
        "or train with --min-count 2, which spells rare characters as bytes, so that any text works"
    )


def test_of_many_unknown_characters_five_are_named_and_the_rest_counted() -> None:
    with pytest.raises(VocabError, match=r"U\+0067 LATIN SMALL LETTER G\) and 2 more;"):
        Vocab("ab").encode("cdefghi")


@given(SOME, SOME)
def test_without_bytes_a_text_is_encoded_only_if_every_character_is_known(
    seen: str, text: str
) -> None:
    assume(set(text) - set(seen))
    with pytest.raises(VocabError):
        Vocab.from_text(seen).encode(text)


@pytest.mark.parametrize("use", [Vocab("ab").encode, BYTES_ONLY.encode, Vocab.from_text])
def test_half_of_a_surrogate_pair_is_named_with_its_position(use: Callable[[str], object]) -> None:
    expected = re.escape("character 2 of the text is U+D83D, half of a surrogate pair")
    with pytest.raises(VocabError, match=expected):
        use("ab\ud83d\ud83d")


@given(TEXTS, st.sampled_from([1, 2]))
def test_ids_take_the_bytes_of_their_text(text: str, min_count: int) -> None:
    vocab = Vocab.from_text(text + "a", min_count)

    assert vocab.count_bytes(vocab.encode(text)) == len(text.encode())
    assert Vocab.of_bytes().count_bytes(np.frombuffer(text.encode(), np.uint8)) == len(
        text.encode()
    )


# JSON


@given(SOME, st.sampled_from([1, 2]))
def test_a_vocabulary_comes_back_from_json(text: str, min_count: int) -> None:
    vocab = Vocab.from_text(text, min_count)

    assert Vocab.from_json(json.loads(json.dumps(vocab.to_json()))) == vocab


@pytest.mark.parametrize(
    "data",
    [
        *(None, 3, "ab", ["ab", False], {}, {"alphabet": "ab"}, {"bytes": True}),
        {"alphabet": ["a", "b"], "bytes": False},
        {"alphabet": "ab", "bytes": 1},
        {"alphabet": "ab", "bytes": None},
        {"alphabet": "ba", "bytes": False},
        {"alphabet": "\ud800", "bytes": False},
        {"alphabet": "", "bytes": False},
    ],
)
def test_json_that_is_no_vocabulary_is_refused(data: object) -> None:
    with pytest.raises(VocabError):
        Vocab.from_json(data)


# Clusters: tokens of several characters

CLUSTERS = st.sets(st.text("abc", min_size=2, max_size=5), min_size=1, max_size=8)
OF_ABC = st.text("aabbccd\né" + END, max_size=40)


def with_clusters(clusters: set[str], *, has_bytes: bool = True) -> Vocab:
    """Return a vocabulary of a few letters and these clusters, with ends of records."""
    return Vocab("\nabcd", has_bytes, has_end=True, clusters=tuple(sorted(clusters)))


def cut_by_hand(text: str, clusters: set[str]) -> list[str]:
    """Cut a text from the left, each time by the longest cluster that it begins with."""
    pieces = []
    while text:
        fitting = [each for each in clusters if text.startswith(each)]
        pieces.append(max(fitting, key=len, default=text[0]))
        text = text[len(pieces[-1]) :]
    return pieces


@given(OF_ABC, CLUSTERS)
def test_a_text_comes_back_from_clusters(text: str, clusters: set[str]) -> None:
    vocab = with_clusters(clusters)
    ids = vocab.encode(text)

    assert vocab.decode(ids) == text
    assert stream(vocab, ids.tolist()) == text


@given(OF_ABC, CLUSTERS)
@example("abcd", {"ab", "abc", "cd"})
@example("abcabc", {"bca", "ab"})
def test_the_longest_cluster_is_taken_from_the_left(text: str, clusters: set[str]) -> None:
    vocab = with_clusters(clusters)
    named = [vocab.name_of(token) for token in vocab.encode(text).tolist()]
    names = {END: ["<end>"], "é": ["<C3>", "<A9>"]}

    pieces = cut_by_hand(text, clusters)
    assert named == [name for piece in pieces for name in names.get(piece, [piece])]


@given(OF_ABC, CLUSTERS, st.lists(st.integers(0, 40)))
def test_a_text_in_pieces_has_the_ids_of_the_whole(
    text: str, clusters: set[str], cuts: list[int]
) -> None:
    vocab = with_clusters(clusters)
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    settled = list(vocab.iter_settled(pieces))

    assert "".join(settled) == text
    ids = [token for piece in settled for token in vocab.encode(piece).tolist()]
    assert ids == vocab.encode(text).tolist()


def test_no_more_is_held_back_than_a_cluster_may_still_take() -> None:
    vocab = with_clusters({"abcd", "dd"})

    assert vocab.settled("aaaaaabc") == len("aaaaa")
    assert vocab.settled("ab\nab") == len("ab\n")
    assert vocab.settled("aaaadd") == len("aaa")


@given(OF_ABC, CLUSTERS)
def test_the_characters_and_bytes_of_clusters_are_those_of_their_text(
    text: str, clusters: set[str]
) -> None:
    vocab = with_clusters(clusters)
    ids = vocab.encode(text)

    assert vocab.count_characters(ids) == len(text)
    assert vocab.count_bytes(ids) == len(text.replace(END, "|").encode())


@given(OF_ABC, CLUSTERS)
def test_the_tokens_of_the_first_characters_write_them(text: str, clusters: set[str]) -> None:
    vocab = with_clusters(clusters)
    ids = vocab.encode(text)
    numbers = list(range(len(text) + 1))

    for number, tokens in zip(numbers, vocab.tokens_of(ids, numbers).tolist(), strict=True):
        assert vocab.decode(ids[:tokens]).startswith(text[:number])
        assert number == 0 or not vocab.decode(ids[: tokens - 1]).startswith(text[:number])
    starts = vocab.token_starts(ids).tolist()
    assert len(starts) == len(text) + 1
    assert starts[-1] == len(ids)


@given(CLUSTERS, CLUSTERS, OF_ABC)
def test_clusters_mean_the_same_by_their_ids_in_a_union(
    own: set[str], others: set[str], text: str
) -> None:
    vocab = with_clusters(own)
    union = vocab.union(with_clusters(others))

    assert set(union.clusters) == own | others
    assert union.decode(vocab.ids_in(union)[vocab.encode(text)]) == text


@given(CLUSTERS, st.booleans())
def test_clusters_come_back_from_json(clusters: set[str], has_bytes: bool) -> None:
    vocab = with_clusters(clusters, has_bytes=has_bytes)

    assert Vocab.from_json(json.loads(json.dumps(vocab.to_json()))) == vocab
    assert vocab.end == vocab.size - 1


def test_a_vocabulary_without_clusters_does_not_mention_them() -> None:
    assert "clusters" not in Vocab("ab").to_json()


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (("b", "ba"), "fewer than 2"),
        (("ba", "ab"), "not sorted"),
        (("ab", "ab"), "twice"),
        (("ac",), "not in the alphabet"),
        (("a\n",), "newline"),
        (("ab" * 17,), "more than 32"),
    ],
)
def test_clusters_that_no_text_could_be_cut_by_are_refused(
    clusters: tuple[str, ...], message: str
) -> None:
    with pytest.raises(VocabError, match=message):
        Vocab("\nab", clusters=clusters)


def test_clusters_rarer_than_min_count_fall_to_their_characters() -> None:
    text = "abab" + "cc" * 3 + "a" * 3
    counts = np.bincount(np.frombuffer(text.encode("utf-32-le"), "<u4"), minlength=0x110000)
    vocab = Vocab.from_counts(counts, 3, clusters={"ab": 2, "cc": 3})

    assert (vocab.alphabet, vocab.clusters) == ("ac", ("cc",))
