"""What is held out stands for the text: no list by its tail, no file wholly, no line twice.

The part for testing stays where it is, whatever goes to validation. Lists are read as running text
here; test_records.py has those that are read as records.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import draw, split
from charrnn.data.corpus import Corpus, corpus_from_text, open_corpus
from charrnn.data.draw import hash_segments
from charrnn.data.lists import is_list
from charrnn.data.split import line_ends
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.vocab import Vocab

R = random.Random(3)
SYLLABLES = ["ka", "ri", "no", "mel", "tas", "bru", "lin", "do", "ver", "sha", "jo", "wyn"]
NAMES = ["".join(R.choices(SYLLABLES, k=R.randint(2, 4))) for _ in range(600)]
RUNNING = TextConfig(lines=False)
SENTENCE = "It was a bright day in the garden, and she said nothing of the letter. "


def parts_of(corpus: Corpus) -> tuple[str, str]:
    """Return the training and the held-out text."""
    return corpus.vocab.decode(corpus.train), corpus.vocab.decode(corpus.val)


def lines_of(names: list[str], **settings: object) -> tuple[set[str], set[str]]:
    """Return the lines of both parts of a list."""
    config = TextConfig(lines=False, **settings)  # type: ignore[arg-type]
    train, val = parts_of(corpus_from_text("\n".join(names) + "\n", config))
    return set(train.splitlines()), set(val.splitlines())


@pytest.mark.parametrize("names", [NAMES, sorted(NAMES), sorted(NAMES, reverse=True)])
def test_of_a_list_lines_are_held_out_and_none_stands_on_both_sides(names: list[str]) -> None:
    train, val = lines_of(names)

    assert train | val == set(NAMES)
    assert train & val == set()
    assert 0.06 < len(val) / len(set(NAMES)) < 0.14


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_lines_of_a_sorted_list_are_shuffled_the_same_way_each_time(
    is_reversed: bool, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(set(NAMES), reverse=is_reversed)
    corpus = corpus_from_text("\n".join(names) + end, RUNNING)
    for module in (split, draw):  # the same in pieces
        monkeypatch.setattr(module, "CHUNK_TOKENS", 100)
    again = corpus_from_text("\n".join(names) + end, RUNNING)
    train, val = (part.splitlines() for part in parts_of(corpus))

    assert corpus.held_out.endswith("; most lines are in order, so all are shuffled")
    assert sorted(train + val, reverse=is_reversed) == names
    for lines in (train, val):
        rises = sum(one < other for one, other in pairwise(lines))
        assert 0.35 < rises / len(lines) < 0.65
    assert parts_of(again) == parts_of(corpus)


def test_the_lines_of_another_list_stay_in_order() -> None:
    train, _ = parts_of(corpus_from_text("\n".join(NAMES), RUNNING))
    lines = [name for name in NAMES if name in set(train.splitlines())]

    assert train.splitlines() == lines


def test_lines_that_begin_alike_are_not_sorted() -> None:
    numbers = [f"the {name}" for name in NAMES]
    corpus = corpus_from_text("\n".join(numbers), RUNNING)

    assert "shuffled" not in corpus.held_out


def test_a_line_stays_on_its_side_when_others_are_added() -> None:
    train, val = lines_of(NAMES[:300])
    more_train, more_val = lines_of(["ähnlich", *NAMES, "中文"])  # in a larger alphabet too

    assert train <= more_train
    assert val <= more_val


def test_a_running_text_holds_out_its_tail() -> None:
    text = (SENTENCE * 3 + "\n\n") * 100
    corpus = corpus_from_text(text)

    assert parts_of(corpus)[1] == text[int(len(text) * 0.9) :]
    assert corpus.held_out == "the last 10% of the text"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{SENTENCE}\n" for _ in range(100)),  # sentences, a line each
        "".join(f"{name}\n\n" for name in NAMES),  # blank lines between
        "".join(f"{name} {' '.join(NAMES[:20])}\n" for name in NAMES),  # long lines
        "".join(f"{name} of the {name},\n" for name in NAMES),  # verse
        "the same\nline\n" * 300,
        "\n".join(NAMES[:20]),
    ],
)
def test_what_is_not_unmistakably_a_list_is_none(text: str) -> None:
    assert not is_list(text)


def write_files(folder: Path, *texts: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return [str(folder)]


def test_of_several_files_a_tail_of_each_is_held_out(tmp_path: Path) -> None:
    first = "".join(f"{SENTENCE} {i} a\n\n" for i in range(100))
    second = "".join(f"{SENTENCE} {i} ä\n\n" for i in range(900))
    corpus = open_corpus(write_files(tmp_path, first, second))
    train, val = parts_of(corpus)

    assert corpus.held_out == "the last 10% of each of 2 files"
    assert 0.05 < val.count(" a\n") / 100 <= 0.1
    assert 0.05 < val.count(" ä\n") / 900 <= 0.1
    assert sorted((train + val).splitlines()) == sorted((first + second).splitlines())
    assert (corpus.train_chars, corpus.val_chars) == (len(train), len(val))


def test_of_many_small_files_whole_ones_are_held_out(tmp_path: Path) -> None:
    texts = [f"{SENTENCE}\n{name}.\n" for name in sorted(set(NAMES))[:200]]
    corpus = open_corpus(write_files(tmp_path, *texts, texts[0]))
    train, val = parts_of(corpus)

    assert all((text in train) != (text in val) for text in texts)
    assert 0.05 < val.count(SENTENCE) / len(texts) < 0.16
    assert corpus.held_out.endswith(" of 201 files, drawn by hash")


def test_one_file_is_counted_as_one(tmp_path: Path) -> None:
    large = "".join(f"{SENTENCE} {i}\n" for i in range(900))
    corpus = open_corpus(write_files(tmp_path, large, f"{SENTENCE}\n"))

    assert re.search("^the last 10% of 1 file, and [01] of 1 small file, drawn", corpus.held_out)


def test_of_files_that_are_all_alike_a_tail_of_each_is_held_out(tmp_path: Path) -> None:
    corpus = open_corpus(write_files(tmp_path, *["the same words\n"] * 9))

    assert corpus.held_out == "the last 10% of each of 9 files"
    assert corpus.val_chars == 9 * len("s\n")


def test_of_two_small_files_neither_is_held_out_as_a_whole(tmp_path: Path) -> None:
    texts = [SENTENCE * 20 + "one\n", SENTENCE * 21 + "two\n"]
    corpus = open_corpus(write_files(tmp_path, *texts))

    assert corpus.held_out == "the last 10% of each of 2 files"


def test_files_never_share_a_line_wherever_they_are_cut(tmp_path: Path) -> None:
    texts = [f"{SENTENCE * 40}end{number}" for number in range(4)]  # without a last newline
    corpus = open_corpus(write_files(tmp_path, *texts))

    lines = "".join(parts_of(corpus)).splitlines()
    assert sum(len(re.findall(r"end\d", line)) for line in lines) == 4
    assert all(re.search(r"end\d$", line) for line in lines if "end" in line)


def test_a_line_that_is_most_of_a_list_is_not_held_out() -> None:
    for seed in range(30):
        lines = [f"{seed}-{number:03}" for number in range(120)] + [f"x{seed}"] * 900
        train, val = parts_of(corpus_from_text("\n".join(lines) + "\n", RUNNING))

        assert f"x{seed}\n" in train
        assert 0 < len(val) < 0.3 * len(train)


@pytest.mark.parametrize("first", ["", "\n"])
def test_newlines_do_not_count_in_hashes(first: str) -> None:
    vocab = Vocab("\nab")
    ids = vocab.encode(first + "ab\n")

    assert hash_segments(ids, vocab, np.array([len(ids)])) == hash_segments(
        vocab.encode("ab"), vocab, np.array([2])
    )


def test_many_texts_take_time_in_proportion() -> None:
    texts = [f"{name}\n" for name in NAMES] * 20
    corpus = corpus_from_text(
        texts, TextConfig(min_count=30, lines=False)
    )  # 12,000: a minute if quadratic

    assert corpus.chars == sum(map(len, texts))


def test_blocks_of_a_single_text_are_spread_over_it() -> None:
    text = "".join(f"{SENTENCE}{i:04}\n" for i in range(1000))
    train, val = parts_of(corpus_from_text(text, TextConfig(split="blocks")))

    held_out = [int(line[-4:]) for line in val.splitlines() if line[-4:].isdigit()]
    assert {number // 100 for number in held_out} == set(range(10))
    assert len(train) + len(val) == len(text)


def test_nothing_may_be_held_out() -> None:
    corpus = corpus_from_text("abc" * 99, TextConfig(val_fraction=0))

    assert (len(corpus.train), len(corpus.val)) == (297, 0)
    assert corpus.held_out == "nothing (val_fraction is 0)"
    assert corpus.notes[0].startswith("nothing is held out: ")


def test_records_that_are_all_alike_cannot_be_drawn() -> None:
    with pytest.raises(CorpusError, match=r"only one record to draw from.* split=.tail."):
        corpus_from_text("same\n" * 100, TextConfig(split="records"))


@given(
    lines=st.lists(st.text(st.sampled_from("ab中é"), max_size=3), min_size=1, max_size=30),
    min_count=st.sampled_from([1, 3]),
    fraction=st.floats(0.01, 0.5),
)
def test_both_parts_hold_every_line_once(lines: list[str], min_count: int, fraction: float) -> None:
    text = "\n".join([*lines, "last"]) + "\n"
    config = TextConfig(split="records", min_count=min_count, val_fraction=fraction)
    if len({*lines, "last"}) == 1:
        return
    corpus = corpus_from_text(text, config)
    train, val = parts_of(corpus)

    assert sorted((train + val).splitlines()) == sorted(text.splitlines())
    assert set(train.splitlines()).isdisjoint(val.splitlines())
    assert (corpus.train_chars, corpus.val_chars) == (len(train), len(val))
    assert train
    assert val


def test_hashes_are_the_same_however_the_segments_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "\n".join(NAMES)
    vocab = Vocab.from_text(text)
    ids = vocab.encode(text)
    ends = line_ends(ids, vocab)
    hashes = hash_segments(ids, vocab, ends)
    monkeypatch.setattr("charrnn.data.draw.CHUNK_TOKENS", 64)

    assert np.array_equal(hash_segments(ids, vocab, ends), hashes)
    assert len(np.unique(hashes)) == len(set(NAMES))


def test_the_split_of_a_file_is_that_of_its_text(tmp_path: Path) -> None:
    text = "\n".join(NAMES) + "\n"
    (tmp_path / "names.txt").write_text(text)
    for _ in range(2):  # built, then from the cache
        corpus = open_corpus([str(tmp_path / "names.txt")], RUNNING)
        again = corpus_from_text(text, RUNNING)

        assert parts_of(corpus) == parts_of(again)
        assert corpus.held_out == again.held_out


# ── a third part ──


def three_of(corpus: Corpus) -> list[str]:
    """Return the text of each part."""
    return [corpus.vocab.decode(part) for part in (corpus.train, corpus.val, corpus.test)]


def test_the_test_part_of_a_tail_is_its_end() -> None:
    text = (SENTENCE * 3 + "\n\n") * 100
    corpus = corpus_from_text(text, TextConfig(test_fraction=0.05))
    train, val, test = three_of(corpus)

    assert train + val + test == text
    assert (len(train), len(train + val)) == (int(len(text) * 0.85), int(len(text) * 0.95))
    assert (corpus.train_chars, corpus.val_chars, corpus.test_chars) == (
        len(train),
        len(val),
        len(test),
    )
    assert corpus.held_out == "the last 15% of the text: 10% for validation, 5% for testing"
    assert corpus.notes == (f"held out: {corpus.held_out}",)


@pytest.mark.parametrize("split", ["tail", "blocks", "records"])
def test_what_is_held_out_for_validation_does_not_move_the_test_part(split: str) -> None:
    text = "".join(f"{name} {i}\n" for i, name in enumerate(NAMES * 3))
    tests = [
        three_of(
            corpus_from_text(
                text, TextConfig(lines=False, split=split, val_fraction=val, test_fraction=0.1)
            )
        )[2]
        for val in (0, 0.01, 0.1, 0.5)
    ]

    assert tests == tests[:1] * 4
    assert 0.05 < len(tests[0]) / len(text) < 0.15


def test_of_several_files_each_ends_in_a_part_for_testing(tmp_path: Path) -> None:
    texts = ["".join(f"{SENTENCE}{mark} {i}.\n" for i in range(200)) for mark in "aä"]
    config = TextConfig(test_fraction=0.05)
    corpora = [open_corpus(write_files(tmp_path / "texts", *texts), config) for _ in range(2)]
    train, val, test = three_of(corpora[0])

    assert three_of(corpora[1]) == [train, val, test]  # from the cache
    for mark in "aä":
        numbers = [
            [int(i) for i in re.findall(rf"{mark} (\d+)\.", part)] for part in (train, val, test)
        ]
        assert [*chain(*numbers)] == [*range(200)]
        assert [len(each) for each in numbers[1:]] == [20, 9]
    assert (
        corpora[1].held_out == "the last 15% of each of 2 files: 10% for validation, 5% for testing"
    )
    assert corpora[1].test_chars == len(test)


def test_of_many_small_files_whole_ones_are_drawn_for_testing(tmp_path: Path) -> None:
    texts = [f"{SENTENCE}\n{name}.\n" for name in sorted(set(NAMES))[:200]]
    corpus = open_corpus(write_files(tmp_path / "texts", *texts), TextConfig(test_fraction=0.1))
    parts = three_of(corpus)

    assert all(sum(text in part for part in parts) == 1 for text in texts)
    counts = [part.count(SENTENCE) for part in parts]
    assert corpus.held_out == (
        f"{counts[1] + counts[2]} of 200 files, drawn by hash: "
        f"{counts[1]} for validation, {counts[2]} for testing"
    )


def test_testing_alone_can_be_held_out() -> None:
    corpus = corpus_from_text("abc" * 99, TextConfig(val_fraction=0, test_fraction=0.1))

    assert (len(corpus.train), len(corpus.val), len(corpus.test)) == (267, 0, 30)
    assert corpus.held_out == "the last 10% of the text, for testing"
    assert corpus.notes[1].startswith("nothing is held out for validation: ")


def test_a_part_for_testing_goes_with_a_held_out_file(tmp_path: Path) -> None:
    names = sorted(set(NAMES))
    (path,) = write_files(tmp_path / "texts", "".join(f"{name}\n" for name in dict.fromkeys(NAMES)))
    (file := tmp_path / "val.txt").write_text("other\n" * 40)
    config = TextConfig(val_file=str(file), test_fraction=0.1, split="records", lines=False)
    for _ in range(2):  # built, then from the cache
        corpus = open_corpus([path], config)
        train, val, test = three_of(corpus)

        assert val == "other\n" * 40
        assert sorted((train + test).splitlines()) == names
        count = test.count("\n")
        held_out = f"{count} of {len(names)} lines, drawn by hash, for testing"
        assert corpus.held_out == f"the file {file}, and {held_out}"
        assert (corpus.val_chars, corpus.test_chars) == (len(val), len(test))
        assert corpus.split_method == "records"
        assert corpus.notes == (f"held out: {held_out}",)
    with pytest.raises(ConfigError, match="split records would do nothing"):
        TextConfig(val_file="other.txt", split="records")


def test_fractions_leave_something_to_train_on() -> None:
    with pytest.raises(ConfigError, match=r"0\.5 and test_fraction 0\.5 leave nothing to train on"):
        TextConfig(val_fraction=0.5, test_fraction=0.5)


@given(
    lines=st.lists(st.text(st.sampled_from("ab中é"), max_size=3), min_size=1, max_size=30),
    min_count=st.sampled_from([1, 3]),
    val=st.sampled_from([0, 0.01, 0.2, 0.5]),
    test=st.floats(0.01, 0.49),
)
def test_no_line_stands_in_two_of_three_parts(
    lines: list[str], min_count: int, val: float, test: float
) -> None:
    text = "\n".join([*lines, "last", "line"]) + "\n"
    config = TextConfig(split="records", min_count=min_count, val_fraction=val, test_fraction=test)
    kinds = {*lines, "last", "line"}
    if len(kinds) <= 1 + bool(val):
        with pytest.raises(CorpusError, match="only 2 different records to draw from"):
            corpus_from_text(text, config)
        return
    corpus = corpus_from_text(text, config)
    parts = three_of(corpus)

    assert sorted("".join(parts).splitlines()) == sorted(text.splitlines())
    assert sum(len(set(part.splitlines())) for part in parts) == len(kinds)
    assert [bool(part) for part in parts] == [True, val > 0, True]
    chars = (corpus.train_chars, corpus.val_chars, corpus.test_chars)
    assert chars == tuple(map(len, parts))


# ── the method in force ──


@pytest.mark.parametrize(
    ("texts", "method"),
    [
        (["".join(f"{SENTENCE}{i}\n" for i in range(90))], "tail"),
        (["\n".join(NAMES)], "records"),
        ([SENTENCE * 90, SENTENCE * 80], "blocks"),
    ],
)
@pytest.mark.parametrize("fractions", [{}, {"test_fraction": 0.1}])
def test_the_method_in_force_holds_out_the_same_again(
    tmp_path: Path, texts: list[str], method: str, fractions: dict[str, float]
) -> None:
    paths = write_files(tmp_path / "texts", *texts)
    config = TextConfig(lines=False, **fractions)  # type: ignore[arg-type]
    chosen = open_corpus(paths, config)
    given_one = open_corpus(paths, replace(config, split=method))
    from_cache = open_corpus(paths, config)

    assert three_of(chosen) == three_of(given_one)
    methods = [each.split_method for each in (chosen, given_one, from_cache)]
    assert methods == [method] * 3
    assert corpus_from_text(texts, config).split_method == method


def test_where_there_is_nothing_to_choose_the_method_says_so(tmp_path: Path) -> None:
    (path,) = write_files(tmp_path / "texts", SENTENCE * 9)
    (file := tmp_path / "val.txt").write_text(SENTENCE)

    assert open_corpus([path], TextConfig(val_fraction=0)).split_method == "none"
    assert open_corpus([path], TextConfig(val_file=str(file))).split_method == "file"
