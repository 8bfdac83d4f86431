"""What is held out stands for the text: no list by its tail, no file wholly, no line twice."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, corpus_from_text, open_corpus
from charrnn.text.split import hash_segments, is_list, record_ends
from charrnn.text.vocab import Vocab

R = random.Random(3)
SYLLABLES = ["ka", "ri", "no", "mel", "tas", "bru", "lin", "do", "ver", "sha", "jo", "wyn"]
NAMES = ["".join(R.choices(SYLLABLES, k=R.randint(2, 4))) for _ in range(600)]
SENTENCE = "It was a bright day in the garden, and she said nothing of the letter. "


def parts_of(corpus: Corpus) -> tuple[str, str]:
    """Return the training and the held-out text."""
    return corpus.vocab.decode(corpus.train), corpus.vocab.decode(corpus.val)


def lines_of(names: list[str], **settings: object) -> tuple[set[str], set[str]]:
    """Return the lines of both parts of a list."""
    train, val = parts_of(corpus_from_text("\n".join(names) + "\n", TextConfig(**settings)))  # type: ignore[arg-type]
    return set(train.splitlines()), set(val.splitlines())


@pytest.mark.parametrize("names", [NAMES, sorted(NAMES), sorted(NAMES, reverse=True)])
def test_of_a_list_lines_are_held_out_and_none_stands_on_both_sides(names: list[str]) -> None:
    train, val = lines_of(names)

    assert train | val == set(NAMES)
    assert train & val == set()
    assert 0.06 < len(val) / len(set(NAMES)) < 0.14


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
    vocab = Vocab.from_text(text)

    assert not is_list(vocab.encode(text), vocab)


def write_files(folder: Path, *texts: str) -> list[str]:
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
        train, val = parts_of(corpus_from_text("\n".join(lines) + "\n"))

        assert f"x{seed}\n" in train
        assert 0 < len(val) < 0.3 * len(train)


def test_a_mark_that_is_written_as_bytes_ends_documents_too() -> None:
    text = "".join(f"poem {number} of many\n%%\n" for number in range(60))
    config = TextConfig(document_end="%%\n", split="records", min_count=61)

    assert corpus_from_text(text, config).held_out.endswith("of 60 documents, drawn by hash")


@pytest.mark.parametrize("first", ["", "\n"])
def test_newlines_do_not_count_in_hashes(first: str) -> None:
    vocab = Vocab("\nab")
    ids = vocab.encode(first + "ab\n")

    assert hash_segments(ids, vocab, np.array([len(ids)])) == hash_segments(
        vocab.encode("ab"), vocab, np.array([2])
    )


def test_many_texts_take_time_in_proportion() -> None:
    texts = [f"{name}\n" for name in NAMES] * 20
    corpus = corpus_from_text(texts, TextConfig(min_count=30))  # 12,000: a minute if quadratic

    assert corpus.chars == sum(map(len, texts))


def test_blocks_of_a_single_text_are_spread_over_it() -> None:
    text = "".join(f"{SENTENCE}{i:04}\n" for i in range(1000))
    train, val = parts_of(corpus_from_text(text, TextConfig(split="blocks")))

    held_out = [int(line[-4:]) for line in val.splitlines() if line[-4:].isdigit()]
    assert {number // 100 for number in held_out} == set(range(10))
    assert len(train) + len(val) == len(text)


def test_documents_are_drawn_where_their_end_is_known() -> None:
    text = "".join(f"{name}\nverse\n---\n" for name in sorted(set(NAMES)))
    config = TextConfig(document_end="---\n", split="records")
    train, val = parts_of(corpus_from_text(text, config))

    assert sorted((train + val).split("---\n")) == sorted(text.split("---\n"))
    assert val.endswith("---\n")


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
    ends = record_ends(ids, vocab, None)
    hashes = hash_segments(ids, vocab, ends)
    monkeypatch.setattr("charrnn.text.split._CHUNK_TOKENS", 64)

    assert np.array_equal(hash_segments(ids, vocab, ends), hashes)
    assert len(np.unique(hashes)) == len(set(NAMES))


def test_the_split_of_a_file_is_that_of_its_text(tmp_path: Path) -> None:
    text = "\n".join(NAMES) + "\n"
    (tmp_path / "names.txt").write_text(text)
    for _ in range(2):  # built, then from the cache
        corpus = open_corpus([str(tmp_path / "names.txt")])
        again = corpus_from_text(text)

        assert parts_of(corpus) == parts_of(again)
        assert corpus.held_out == again.held_out
