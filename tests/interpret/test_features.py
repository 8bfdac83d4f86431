"""Features of a text: each equals a slow and obvious way to compute it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.features import (
    Feature,
    Text,
    column,
    depth,
    document_position,
    indentation,
    inside_pairs,
    lacking,
    make_features,
    position_in_word,
    to_line_end,
    word_start,
)
from charrnn.text.vocab import END, Vocab

TEXTS = st.text(alphabet=f"ab \t\n()[中{END}", max_size=50)
CONFIG = InspectConfig()


def text_of(chars: str) -> Text:
    return Text(chars, np.arange(len(chars)))


def marked(chars: str, name: str) -> str:
    """Return which characters a feature holds for."""
    vocab = Vocab.from_text(chars, has_end=END in chars)
    features = make_features(vocab, vocab.encode(chars), CONFIG)
    values = next(each.values for each in features if each.name == name)
    return "".join(char if value else "." for char, value in zip(chars, values, strict=True))


@given(TEXTS)
def test_depth_counts_brackets_that_have_a_partner(chars: str) -> None:
    expected = [0] * len(chars)
    for opening, closing in ("()", "[]"):
        for start in range(len(chars)):
            level = 0
            for stop in range(start, len(chars)):
                if chars[stop] == END:
                    break
                level += (chars[stop] == opening) - (chars[stop] == closing)
                if chars[start] == opening and level == 0:
                    for at in range(start, stop):
                        expected[at] += 1
                    break
                if level <= 0:
                    break

    assert depth(text_of(chars)).tolist() == expected


@given(TEXTS)
def test_places_in_a_line_count_from_and_to_its_breaks(chars: str) -> None:
    columns, rests, margins = [], [], []
    for at in range(len(chars)):
        read = at + 1
        while read > 0 and chars[read - 1] not in f"\n{END}":
            read -= 1
        columns.append(0 if chars[at] in f"\n{END}" else at + 1 - read)
        stop = at + 1
        while stop < len(chars) and chars[stop] not in f"\n{END}":
            stop += 1
        rests.append(stop - at - 1)
        line = "" if chars[at] in f"\n{END}" else chars[read : at + 1]
        margins.append(len(line) - len(line.lstrip(" \t")))
    text = text_of(chars)

    assert column(text).tolist() == columns
    assert to_line_end(text).tolist() == rests
    assert indentation(text).tolist() == margins


@given(TEXTS)
def test_places_in_a_word_count_its_letters(chars: str) -> None:
    expected, count = [], 0
    for char in chars:
        count = count + 1 if char.isalpha() else 0
        expected.append(count)

    assert position_in_word(text_of(chars)).tolist() == expected
    assert word_start(text_of(chars)).tolist() == [value == 1 for value in expected]


@given(TEXTS)
def test_places_in_a_record_count_from_its_end(chars: str) -> None:
    expected, count = [], 0
    for char in chars:
        count = 0 if char == END else count + 1
        expected.append(count if END in chars else 0)

    assert document_position(text_of(chars)).tolist() == expected


@pytest.mark.parametrize(
    ("name", "chars", "expected"),
    [
        ('inside " "', 'a "bc" d "e\nf"', '.."bc...."e\nf.'),
        ('inside " "', 'lost "a\n\nb "c" d', "..........." + '"c...'),
        ("inside ' '", "don't 'say it' o' me", "......'say it......."),
        ("inside “ ”", "他说“好”。", "..“好.."),
        ("inside 「 」", "「a『b』c」d", "「a『b』c.."),
        ("inside 《 》", "读《诗经》了", ".《诗经.."),
        ("inside ( )", "a(b(c)d)e)", ".(b(c)d..."),
        ("inside ( )", "a（b）c)", ".（b..."),
        ("inside [ ]", "a[0]【b】", ".[0.【b."),
        ("inside { }", "{a{b}c", "..{b.."),
        ("inside < >", "a < b <i>c</i>", "......<i..</i."),
        ("inside if ( )", "if (a(b)) f(x)", "...(a(b)......"),
        ("comment", "x # y\nz // w\nhttp://a", "..# y...// w........."),
        ("comment", "a/* b\n*/c", ".../* b\n*/."[2:]),
        ("string", "f('a\\'b', \"c\") # 'd'", "..'a\\'b...\"c........"),
        ("string", 's = """a\nb""" c', '...."""a\nb""...'),
        ("speaker line", "ROMEO:\nAy: so\n\nTHE NURSE:\nno", "ROMEO:.........THE NURSE:..."),
        ("sentence start", "End. Then so! 'Ah' he", "." * 5 + "Then" + "." * 6 + "Ah" + "." * 4),
        ("sentence start", "好。\n中国大。「人」Go on", "...中....人......"),
        ("first line", "a b\nc\n\nd e\nf", "a b....d e.."),
        ("upper case", "aBÉc", ".BÉ."),
        ("digit", "a1٣b", ".1٣."),
        ("vowel", "cáféя", ".á.éя"),
    ],
)
def test_a_feature_holds_for_these_characters(name: str, chars: str, expected: str) -> None:
    assert marked(chars, name) == expected


def test_far_brackets_are_no_pair() -> None:
    near, far = (f"({'a' * count})" for count in (4_999, 5_000))

    assert inside_pairs(text_of(near), "(", ")").sum() == 5_000
    assert not inside_pairs(text_of(far), "(", ")").any()


def test_a_token_has_the_value_of_the_last_character_it_completes() -> None:
    vocab = Vocab("()ab", has_bytes=True, clusters=("(a",))
    ids = np.array([vocab.first_cluster, 4 + 0xC3, 4 + 0xA9, 3, 1])  # (a, é in two bytes, b, )
    features = make_features(vocab, ids, CONFIG)
    inside = next(each for each in features if each.name == "inside ( )")
    letters = next(each for each in features if each.name == "place in word")

    assert inside.values.tolist() == [1, 1, 1, 1, 0]
    assert letters.values.tolist() == [1, 1, 2, 3, 0]


def test_bytes_that_are_no_text_have_features_too() -> None:
    vocab = Vocab.of_bytes()
    ids = np.frombuffer(b"(a\xff)\n", np.uint8)

    features = make_features(vocab, ids, CONFIG)

    assert all(len(each.values) == len(ids) for each in features)


def test_rare_features_say_what_is_lacking() -> None:
    places = np.arange(400)
    few = Feature("few", "", np.float32(places % 10 == 0))
    once = Feature("once", "", np.float32(places < 100))
    flat = Feature("flat", "", np.float32(places > 390), is_yes_no=False)
    good = Feature("good", "", np.float32(places % 4 == 0))

    reasons = [lacking(each, places) for each in (few, once, flat, good)]

    assert reasons == [
        "only 40 characters are inside",
        "stretches inside: only 1",
        "only 9 characters differ from the rest",
        "",
    ]


def test_labels_come_from_a_file(tmp_path: Path) -> None:
    vocab = Vocab("ab")
    ids = vocab.encode("abba")
    numbers = tmp_path / "tone.txt"
    numbers.write_text("0.5 1\n2 3")
    bits = tmp_path / "is_b.txt"
    bits.write_text("0110\n")

    tone = make_features(vocab, ids, InspectConfig(labels_file=str(numbers)))[-1]
    is_b = make_features(vocab, ids, InspectConfig(labels_file=str(bits)))[-1]

    assert (tone.name, tone.is_yes_no, tone.values.tolist()) == ("tone", False, [0.5, 1, 2, 3])
    assert (is_b.name, is_b.is_yes_no, is_b.values.tolist()) == ("is_b", True, [0, 1, 1, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [("0 1 1", "3 labels"), ("0 1 x 0", "something else than numbers"), ("0 nan 1 1", "finite")],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(content)

    with pytest.raises(ConfigError, match=message):
        make_features(Vocab("ab"), np.array([0, 1, 1, 0]), InspectConfig(labels_file=str(path)))


def test_a_missing_file_of_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the labels of .*none\.txt"):
        make_features(
            Vocab("ab"), np.array([0]), InspectConfig(labels_file=str(tmp_path / "none.txt"))
        )


@pytest.mark.parametrize(
    ("setting", "message"), [("date", "no name or no regex"), ("open=(", "not valid")]
)
def test_a_feature_without_a_regex_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_features(Vocab("ab"), np.array([0]), InspectConfig(features=(setting,)))


@pytest.mark.parametrize(
    ("features", "labels_file", "message"),
    [
        (("digit=[0-9]",), None, r"features digit=.*'digit' already; choose another name"),
        (("surprise=a",), None, r"'surprise' already"),
        (("date=a", "date=b"), None, r"features date=b: .*'date' already"),
        (("date=a", "date=a"), None, r"features date=a is given twice"),
        (("date=a",), "x/date.txt", r"labels_file x/date.txt: .*'date' already; rename the file"),
        ((), "x/column.txt", r"'column' already; rename the file"),
    ],
)
def test_a_name_that_is_taken_is_refused(
    features: tuple[str, ...], labels_file: str | None, message: str
) -> None:
    config = InspectConfig(features=features, labels_file=labels_file)

    with pytest.raises(ConfigError, match=message):
        make_features(Vocab("ab"), np.array([0]), config)
