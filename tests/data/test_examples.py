"""Examples become a corpus: vocabularies of both sides, a split by sources, tags of characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import example_counts, records
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.data.example_counts import Known
from charrnn.data.example_ids import ExampleFile
from charrnn.data.examples import corpus_of_examples, rows_of
from charrnn.data.labels import LabelColumn, Labels
from charrnn.data.records import Example
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import Vocab
from tests.data.test_pairs import Row, open_pairs, pairs_of, write

PARTS = ("train", "val", "test")
MANY = [(f"source {number:b}", f"{number:x}"[:2]) for number in range(300)]
TAGGED = [("abc", ("B", "I", "B")), ("d", ("B",)), ("ea", ("O", "I")), ("é", ("I",))]

Tagged = tuple[str, tuple[str, ...]]


def table_of(rows: Sequence[Row]) -> str:
    return "".join(f"{source}\t{target}\n" for source, target in rows)


def file_of(rows: Sequence[Row] | Sequence[Tagged], **words: Any) -> ExampleFile:
    """Return a file of examples in memory."""
    return ExampleFile(lambda found, bad: (Example(*row) for row in rows), **words)


def open_rows(*files: Sequence[Row], known: Known | None = None, **settings: Any) -> Corpus:
    """Open a corpus of pairs in memory."""
    config = TextConfig(**{"pairs": True} | settings)
    own = [file_of(rows) for rows in files]
    return corpus_of_examples(own, config, name="some", known=known or Known())


def open_tags(rows: Sequence[Tagged], known: Known | None = None, **settings: Any) -> Corpus:
    """Open a corpus of tags in memory, of which nothing is held out."""
    config = TextConfig(**{"tags": "spaces", "val_fraction": 0} | settings)
    return corpus_of_examples([file_of(rows)], config, name="some", known=known or Known())


def tags_of(corpus: Corpus, part: str = "train") -> list[Tagged]:
    """Return the sources of a part with the tags of their tokens."""
    values = corpus.labels.columns[0].values
    return [
        (corpus.vocab.decode(ids), tuple(values[tag] for tag in tags))
        for ids, tags in rows_of(corpus, part)
    ]


# ── the corpus ──


def test_sources_are_records_and_targets_end() -> None:
    corpus = open_rows([("ba", "xy"), ("c", "")], val_fraction=0)

    assert corpus.vocab == Vocab("abc", has_end=True)
    assert corpus.target_vocab == Vocab("xy", has_end=True)
    assert corpus.train.tolist() == [3, 1, 0, 3, 2, 3]
    assert corpus.train_records is not None
    assert corpus.train_records.ends.tolist() == [4, 6]
    assert corpus.train_records.labels.shape == (2, 0)
    assert corpus.train_targets is not None
    assert corpus.train_targets.ids.tolist() == [0, 1, 2, 2]
    assert corpus.train_targets.ends.tolist() == [3, 4]
    assert (corpus.train_chars, corpus.record_kind) == (5, "pair")


def test_what_is_not_held_out_is_empty() -> None:
    corpus = open_rows([("ba", "xy"), ("c", "")], val_fraction=0)

    assert len(corpus.val) == 0
    assert corpus.val_targets is not None
    assert len(corpus.val_targets.ends) == 0
    assert [*rows_of(corpus, "val")] == []
    assert [*rows_of(corpus, "test")] == []
    assert corpus.split_method == "none"


def test_notes_say_how_many_pairs_and_tokens_there_are() -> None:
    rows = [("ba", "K AE"), ("ba", "K"), ("ba", "K"), ("cab", "T K K"), ("d", "")]
    corpus = open_rows(rows, target_unit="space", val_fraction=0)

    assert corpus.notes[0] == (
        "some: 5 pairs, 3 distinct sources (1 with several targets); source 4 characters, target 3 "
        "tokens; longest source 3, longest target 3"
    )


@pytest.mark.parametrize("block_chars", [1, 40, 1 << 18])
def test_examples_are_the_same_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, block_chars: int
) -> None:
    monkeypatch.setattr("charrnn.data.example_ids.BLOCK_CHARS", block_chars)
    corpus = open_rows(MANY[:70], MANY[70:], val_fraction=0)

    assert pairs_of(corpus) == MANY


# ── units ──


def test_a_grapheme_is_a_token_of_either_side() -> None:
    pytest.importorskip("regex")
    rows = [("e\u0301a", "👩‍👩‍👧!"), ("a", "e\u0301")]
    units = {"source_unit": "grapheme", "target_unit": "grapheme"}
    corpus = open_rows(rows, val_fraction=0, **units)

    assert pairs_of(corpus) == rows
    assert corpus.vocab.clusters == ("e\u0301",)
    assert [(len(source), len(target)) for source, target in rows_of(corpus, "train")] == [
        (2, 2),
        (1, 1),
    ]


def test_tokens_stand_between_spaces() -> None:
    rows = [("one two", "K AE T"), ("two", "T")]
    units = {"source_unit": "space", "target_unit": "space"}
    corpus = open_rows(rows, val_fraction=0, **units)

    assert corpus.vocab == TokenVocab(tokens=("one", "two"), has_end=True)
    assert corpus.train.tolist() == [2, 0, 1, 2, 1, 2]
    assert corpus.target_vocab == TokenVocab(tokens=("AE", "K", "T"), has_end=True)
    assert pairs_of(corpus) == rows
    assert corpus.train_chars == len("one two|two|")


def test_rare_characters_are_bytes() -> None:
    rows = [("aéa", "xx"), ("a", "ßx")]
    corpus = open_rows(rows, val_fraction=0, min_count=2)

    assert corpus.vocab == Vocab("a", has_bytes=True, has_end=True)
    assert pairs_of(corpus) == rows


# ── the split ──


ROWS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("xyz")), min_size=3)


@given(ROWS.filter(lambda rows: len({source for source, _ in rows}) > 2))
def test_no_source_is_on_two_sides(rows: list[Row]) -> None:
    corpus = open_rows(rows, val_fraction=0.3, test_fraction=0.2)
    sides = [{source for source, _ in pairs_of(corpus, part)} for part in PARTS]

    assert sum(map(len, sides)) == len(set.union(*sides))
    assert sorted(pair for part in PARTS for pair in pairs_of(corpus, part)) == sorted(rows)


def test_sources_of_the_same_tokens_are_on_one_side() -> None:
    rows = [(" ".join(f"{n:05b}"), "x") for n in range(32)]
    rows += [("   ".join(f"{n:05b}"), "y") for n in range(32)]
    corpus = open_rows(rows, source_unit="space", val_fraction=0.3)
    sides = [{source for source, _ in pairs_of(corpus, part)} for part in PARTS[:2]]

    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 32


def test_a_source_stays_on_its_side_when_others_are_added() -> None:
    few = open_rows(MANY[:100], val_fraction=0.3)
    many = open_rows(MANY, val_fraction=0.3)

    assert set(pairs_of(few, "val")) <= set(pairs_of(many, "val"))
    assert few.held_out.endswith("of 100 pairs, drawn by hash of the source")


def test_a_tail_is_one_of_whole_pairs() -> None:
    corpus = open_rows(MANY, split="tail", val_fraction=0.1, test_fraction=0.2)

    assert [pair for part in PARTS for pair in pairs_of(corpus, part)] == MANY
    assert corpus.split_method == "tail"


def test_blocks_are_the_tails_of_files() -> None:
    corpus = open_rows(MANY[:100], MANY[100:], split="blocks")
    held_out = pairs_of(corpus, "val")

    assert MANY[99] in held_out
    assert MANY[299] in held_out
    assert held_out == sorted(held_out, key=MANY.index)


def test_one_source_cannot_be_split() -> None:
    with pytest.raises(CorpusError, match="only one record to draw from"):
        open_rows([("a", "x"), ("a", "y")])


def test_a_held_out_file_shares_the_alphabets(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", table_of([("a", "x"), ("b", "y"), ("b", "x")]))
    val_file = write(tmp_path, "v.tsv", table_of([("c", "z"), ("b", "x")]))
    corpus = open_pairs(path, val_file=val_file)

    assert pairs_of(corpus) == [("a", "x"), ("b", "y"), ("b", "x")]
    assert pairs_of(corpus, "val") == [("c", "z"), ("b", "x")]
    assert corpus.vocab == Vocab("abc", has_end=True)
    assert (corpus.held_out, corpus.split_method) == (f"the file {val_file}", "file")
    assert f"{val_file}: 2 pairs; 1 has a source that is trained on too" in corpus.notes


def test_a_test_part_is_drawn_beside_a_held_out_file(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", table_of(MANY))
    val_file = write(tmp_path, "v.tsv", table_of([("c", "z")]))
    corpus = open_pairs(path, val_file=val_file, test_fraction=0.2)

    assert pairs_of(corpus, "val") == [("c", "z")]
    assert {*pairs_of(corpus), *pairs_of(corpus, "test")} == set(MANY)
    assert corpus.held_out.startswith(f"the file {val_file}, and ")


def test_an_empty_held_out_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "a\tx\n")

    with pytest.raises(CorpusError, match=r"v\.tsv has no pairs"):
        open_pairs(path, val_file=write(tmp_path, "v.tsv", "\n"))


# ── fingerprints ──


def test_the_fingerprint_is_that_of_the_bytes_alone(tmp_path: Path) -> None:
    target_file = write(tmp_path, "t.tgt", "x\ny\n")
    path = write(tmp_path, "t.src", "a\nb\n")
    first = open_pairs(path, pairs=False, target_file=target_file).sha256
    again = open_pairs(path, pairs=False, target_file=target_file, target_unit="space").sha256
    write(tmp_path, "t.tgt", "x\nz\n")
    other_target = open_pairs(path, pairs=False, target_file=target_file).sha256
    write(tmp_path, "t.src", "a\nc\n")
    other_source = open_pairs(path, pairs=False, target_file=target_file).sha256

    assert first == again
    assert len({first, other_target, other_source}) == 3


def test_files_that_hold_something_else_when_they_are_read_again_are_refused() -> None:
    turns = iter([[("a", "x")], [("b", "x")]])
    longer = iter([[("a", "x")], [("a", "x"), ("a", "x")]])
    config = TextConfig(pairs=True, val_fraction=0)
    for changing in (turns, longer):

        def read(found: records.Found, bad: Any, rows: Any = changing) -> Iterator[Example]:
            return (Example(*row) for row in next(rows))

        with pytest.raises(CorpusError, match="some changed while it was read"):
            corpus_of_examples([ExampleFile(read)], config, name="some")


# ── what a model knows ──


def test_tokens_that_a_model_knows_are_added() -> None:
    known = Known(Vocab("az", has_end=True), TokenVocab(tokens=("Q",), has_end=True))
    rows = [("ab", "K T")]
    corpus = open_rows(rows, known=known, target_unit="space", val_fraction=0)

    assert corpus.vocab == Vocab("abz", has_end=True)
    assert corpus.target_vocab == TokenVocab(tokens=("K", "Q", "T"), has_end=True)
    assert pairs_of(corpus) == rows


def test_tokens_of_another_kind_are_refused_with_the_unit_that_fits() -> None:
    of_tokens = Known(target=TokenVocab(tokens=("Q",), has_end=True))
    of_characters = Known(source=Vocab("a", has_end=True))

    with pytest.raises(
        ConfigError, match='targets are tokens between spaces; give target_unit="space"'
    ):
        open_rows([("a", "b")], known=of_tokens)
    with pytest.raises(ConfigError, match='sources are characters; give source_unit="char"'):
        open_rows([("a", "b")], known=of_characters, source_unit="space")


def test_vocabularies_that_are_known_reach_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "a\tx\n")
    config = TextConfig(pairs=True, val_fraction=0)
    known = {"known": Vocab("q", has_end=True), "known_target": Vocab("z", has_end=True)}
    corpus = open_corpus([path], config, **known)  # type: ignore[arg-type]

    assert corpus.vocab.alphabet == "aq"
    assert corpus.target_vocab == Vocab("xz", has_end=True)


# ── tags ──


def test_each_character_has_the_number_of_its_tag() -> None:
    corpus = open_tags(TAGGED)

    assert corpus.labels == Labels((LabelColumn("tag", ("B", "I", "O"), (3, 3, 1)),))
    assert corpus.target_vocab is None
    assert corpus.train_targets is not None
    assert corpus.train_targets.ids.tolist() == [0, 1, 0, 0, 2, 1, 1]
    assert corpus.train_targets.ends.tolist() == [3, 4, 6, 7]
    assert tags_of(corpus) == TAGGED


def test_each_byte_of_a_rare_character_has_its_tag() -> None:
    corpus = open_tags(TAGGED, min_count=2)

    assert tags_of(corpus)[-1] == ("é", ("I", "I"))
    assert tags_of(corpus)[2] == ("ea", ("O", "I"))


def test_tagged_texts_are_split_by_their_hash() -> None:
    rows = [(f"{n:06b}", tuple("ab"[int(bit)] for bit in f"{n:06b}")) for n in range(64)]
    corpus = open_tags(rows, val_fraction=0.2, test_fraction=0.1)
    parts = {part: tags_of(corpus, part) for part in PARTS}

    assert all(parts.values())
    assert sorted(row for own in parts.values() for row in own) == rows
    assert corpus.record_kind == "line"


def test_notes_say_how_many_characters_have_each_tag() -> None:
    assert open_tags(TAGGED).notes[0] == (
        "some: 4 lines, 4 distinct sources; 6 characters; longest 3; tag: 3 B, 3 I, 1 O"
    )


def test_tags_that_a_model_knows_are_added() -> None:
    column = LabelColumn("tag", ("B", "X"), (7, 9))
    corpus = open_tags(TAGGED, Known(labels=Labels((column,))))

    assert corpus.labels.counts == {"tag": {"B": 3, "I": 3, "O": 1, "X": 0}}
    assert tags_of(corpus) == TAGGED


def test_tags_to_restore_that_a_model_knows_are_added_and_new_ones_learned() -> None:
    rows = [("abc", ("=", "U", "U")), ("d", ("=",)), ("e", (",",))]
    column = LabelColumn("tag", ("=", "U."), (7, 9))
    corpus = open_tags(rows, Known(labels=Labels((column,))), tags=None, restore="case")

    assert corpus.labels.counts == {"tag": {"=": 3, "U": 2, "U.": 0}}
    again = open_tags(rows, Known(labels=corpus.labels), tags=None, restore="case")
    assert again.labels == corpus.labels


def test_known_tags_leave_room_for_the_commonest_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_counts, "MAX_TAGS", 3)
    rows = [("abcde", ("=", "U", "U", "U", ",")), ("fg", (",", "="))]
    known = Known(labels=Labels((LabelColumn("tag", ("=", "."), (7, 9)),)))
    corpus = open_tags(rows, known, tags=None, restore="case")

    assert corpus.labels.counts == {"tag": {".": 0, "=": 4, "U": 3}}
    again = open_tags(rows, Known(labels=corpus.labels), tags=None, restore="case")
    assert again.labels == corpus.labels


def test_characters_whose_tag_is_too_rare_to_learn_are_counted() -> None:
    rows = [("abc", ("=", "U", "U")), ("de", ("U,", "="))]
    corpus = open_tags(rows, tags=None, restore="case,punctuation")

    assert corpus.labels.counts == {"tag": {"=": 2, "U": 3}}
    assert corpus.notes[1] == (
        "some: 1 of 5 characters has a tag too rare to learn: these are restored in part or not at "
        "all, which figures of the held-out part do not count"
    )
    assert "too rare" not in str(open_tags(rows[:1], tags=None, restore="case").notes)


@pytest.mark.parametrize(
    "known",
    [Vocab("ab", has_end=True, clusters=("ab",)), TokenVocab(tokens=("ab",), has_end=True)],
    ids=["cluster", "token"],
)
def test_tokens_of_several_characters_cannot_be_tagged(known: Vocab) -> None:
    with pytest.raises(ConfigError, match="start from a model of characters, or leave init_from"):
        open_tags([("ab", ("U", "V"))], Known(known))


def test_a_single_tag_is_refused() -> None:
    with pytest.raises(CorpusError, match="every character of some has the tag 'B'"):
        open_tags([("ab", ("B", "B"))])


SOURCES = st.text(st.sampled_from("abé👩"), min_size=1, max_size=5)


@given(st.lists(SOURCES, min_size=2, max_size=8), st.integers(1, 3))
def test_tags_stay_with_their_characters(sources: list[str], min_count: int) -> None:
    rows = [(text, tuple("UV"[(i + ord(c)) % 2] for i, c in enumerate(text))) for text in sources]
    rows += [("ab", ("U", "V"))]
    corpus = open_tags(rows, min_count=min_count)
    found = []
    for ids, tags in rows_of(corpus, "train"):
        starts = corpus.vocab.starts_character[np.asarray(ids)]
        values = tuple(corpus.labels.columns[0].values[tag] for tag in tags[starts])
        found.append((corpus.vocab.decode(ids), values))

    assert found == rows
