"""Errors peeled off by cause, on texts whose causes are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from charrnn.analysis.baselines import ngram_order_nats, ngram_token_nats
from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.errors import (
    LONGEST_NGRAM,
    NGRAM,
    ORACLES,
    REPEAT_TOKENS,
    closing_distances,
    find_oracles,
    inspect_errors,
    peel,
    token_nats,
    word_tokens,
)
from charrnn.interpret.pictures.errors import draw_errors
from charrnn.interpret.report import as_json
from charrnn.interpret.subject import Subject, Texts
from charrnn.text.vocab import Vocab
from tests.interpret.networks import make_ids, make_network, make_subject
from tests.interpret.svg_checks import assert_is_picture

VOCAB = Vocab("\n .abcdefghijklmnopqrstuvwxyz")
NONE = VOCAB.encode("")


def places(oracle: str, text: str, train: str = "") -> str:
    """Return the characters of a text, "." for those that an oracle does not know."""
    found = find_oracles(VOCAB.encode(text), VOCAB.encode(train), VOCAB)[oracle]
    return "".join(c if right else "." for c, right in zip(text[1:], found, strict=True))


def without_training_text(subject: Subject) -> Subject:
    return replace(subject, texts=Texts(lambda: (subject.held_out, NONE)))


def words_of(seed: int, count: int) -> str:
    random = np.random.default_rng(seed)
    known = ["the", "cat", "sat", "upon", "mat", "and", "dog", "ran", "away"]
    return " ".join(random.choice(known, count)) + ".\n"


def test_a_repeat_is_known_from_the_second_letter_of_a_word() -> None:
    assert places("repeat", "jon snow met jon snort") == ".............on..no.."


def test_a_word_is_forgotten_after_a_thousand_characters() -> None:
    for gap, known in ((REPEAT_TOKENS - 3, True), (REPEAT_TOKENS - 2, False)):
        text = "jon" + "." * gap + "jon"
        assert places("repeat", text).endswith("on") == known


def test_all_letters_of_a_rare_word_are_known() -> None:
    train = "cat " * 6 + "dog " * 5

    assert places("rare word", " cat dog", train) == "....dog"


def test_the_first_letter_of_each_word_is_a_word_start() -> None:
    assert places("word start", " one two. three") == "o...t....t...."


def test_punctuation_is_what_is_no_letter_digit_or_space() -> None:
    vocab = Vocab("\n .7a")

    found = find_oracles(vocab.encode(" a. 7\na"), vocab.encode(""), vocab)["punctuation"]

    assert found.tolist() == [False, True, False, False, True, False]


def test_bytes_of_letters_are_parts_of_words() -> None:
    vocab = Vocab("ab", has_bytes=True)

    is_word = word_tokens(vocab)

    assert is_word[[0, 1]].all()
    assert is_word[2 + ord("z")]
    assert not is_word[2 + ord("!")]
    assert is_word[2 + 0xC3]


def test_a_file_of_bytes_has_spaces_and_punctuation_too() -> None:
    vocab = Vocab("", has_bytes=True, is_binary=True)
    ids = vocab.encode("a (b)\n")

    found = find_oracles(ids, ids[:0], vocab)["punctuation"]

    assert found.tolist() == [False, True, False, True, True]


def test_each_oracle_takes_what_those_before_it_left() -> None:
    nats = -np.log([0.9, 0.1, 0.1, 0.1, 0.45, 0.2])
    first = np.array([True, True, False, False, False, False])
    second = np.array([True, True, True, False, False, False])

    counts = peel(nats, {"first": first, "second": second})

    assert counts == {"first": 1, "second": 1, "nearly right": 1, "rest": 2}


def test_shares_sum_to_one() -> None:
    ids = make_ids(3000)
    report = inspect_errors(make_subject(make_network(), ids), InspectConfig())

    assert [each.oracle for each in report.oracles] == list(ORACLES)
    assert sum(each.share_of_errors for each in report.oracles) == pytest.approx(1)
    assert sum(each.share_of_chars for each in report.oracles) == pytest.approx(report.error_share)
    assert sum(each.places for each in report.by_position) == report.chars == 2999
    assert report.errors > 1000


def test_an_ngram_as_the_model_has_nothing_that_an_ngram_would_get_right() -> None:
    train, ids = VOCAB.encode(words_of(1, 900)), VOCAB.encode(words_of(2, 200))
    oracles = find_oracles(ids, train, VOCAB)
    best = ngram_order_nats(train, ids, VOCAB.size, LONGEST_NGRAM).min(0)[1:]

    counts = peel(best, oracles)

    assert (best > math.log(2)).sum() > 100
    assert counts[NGRAM] == 0
    assert sum(counts.values()) == (best > math.log(2)).sum()


def test_the_ngram_oracle_takes_all_errors_in_a_text_that_it_knows() -> None:
    train, ids = VOCAB.encode("abcde" * 200), VOCAB.encode("abcde" * 20)

    counts = peel(np.full(len(ids) - 1, 3.0), find_oracles(ids, train, VOCAB))

    assert counts.pop(NGRAM) == len(ids) - 1
    assert set(counts.values()) == {0}


def test_the_last_order_is_the_ngram_itself() -> None:
    train, ids = VOCAB.encode(words_of(1, 300)), VOCAB.encode(words_of(2, 50))

    orders = ngram_order_nats(train, ids, VOCAB.size, 4)

    assert orders.shape == (4, len(ids))
    assert np.array_equal(orders[3], ngram_token_nats(train, ids, VOCAB.size, 4))
    assert orders[0].mean() > orders[3].mean()


def test_nats_are_those_of_each_next_character() -> None:
    subject = make_subject(make_network(cell="lstm"), make_ids(50))
    log_p = subject.measured.log_probabilities

    found = token_nats(subject.measured)

    assert found == pytest.approx([-log_p[t, subject.ids[t + 1]] for t in range(49)])


def test_without_a_training_text_its_oracles_are_left_out() -> None:
    subject = make_subject(make_network(), make_ids(300))

    report = inspect_errors(without_training_text(subject), InspectConfig())

    left = [name for name in ORACLES if name not in (NGRAM, "rare word")]
    assert [each.oracle for each in report.oracles] == left
    assert sum(each.share_of_errors for each in report.oracles) == pytest.approx(1)
    assert report.by_position == []
    assert report.ngram_bits_per_char is None
    assert "training text" in report.notes[0]


def test_brackets_and_quotes_are_closed_by_their_own() -> None:
    def shown(text: str) -> dict[int, int]:
        return {t: d for t, d in enumerate(closing_distances(text).tolist()) if d}

    assert shown('say "hi" to (a [b])') == {7: 3, 17: 2, 18: 6}
    assert shown("a] (b") == {}
    assert shown('"open\n\n"shut"') == {12: 5}
    assert shown("(" + "a" * 1001 + ")") == {}
    assert shown("“a ‘b’”") == {5: 2, 6: 6}


def test_bits_are_saved_where_the_model_is_better_than_the_ngram() -> None:
    ids = VOCAB.encode(words_of(2, 400))
    train = VOCAB.encode(words_of(1, 900))
    network = make_network(vocab_size=VOCAB.size)
    subject = make_subject(network, ids)
    texts = Texts(lambda: (ids, train))
    subject = replace(subject, file=replace(subject.file, vocab=VOCAB), texts=texts)

    report = inspect_errors(subject, InspectConfig())

    ngram = ngram_token_nats(train, ids, VOCAB.size)[1:]
    saved = (ngram - token_nats(subject.measured)) / np.log(2)
    assert report.ngram_bits_per_char == pytest.approx(ngram.mean() / np.log(2))
    mean = sum(each.saved_bits * each.places for each in report.by_position if each.places >= 10)
    few = [each for each in report.by_position if each.places < 10]
    assert all(math.isnan(each.saved_bits) for each in few)
    assert mean == pytest.approx(saved.sum(), abs=10 * sum(each.places for each in few) + 1e-6)
    first = [t for t in range(1, len(ids)) if ids[t] > 2 and ids[t - 1] <= 2]
    assert report.by_position[0].places == len(first)
    assert report.by_position[0].saved_bits == pytest.approx(saved[np.array(first) - 1].mean())


def test_a_held_out_text_of_one_character_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 tokens"):
        inspect_errors(make_subject(make_network(), make_ids(1)), InspectConfig())


@pytest.mark.parametrize("has_train", [False, True])
def test_models_are_drawn_and_told_in_a_table(has_train: bool) -> None:
    subject = make_subject(make_network(), make_ids(400))
    subject = subject if has_train else without_training_text(subject)
    report = inspect_errors(subject, InspectConfig())

    words = assert_is_picture(draw_errors({"a<b": report, "other": report}))

    assert {"a<b", "other"} <= set(words)
    assert any("over the 5-gram" in word for word in words) == has_train
    columns, rows = report.table()
    assert {len(row) for row in rows} == {len(columns)}
    assert as_json(report) == as_json(inspect_errors(subject, InspectConfig()))


def test_records_have_errors_too() -> None:
    network = make_network(vocab_size=5, has_end=True)
    ids = make_ids(600, size=5)
    vocab = Vocab("\nabc", has_end=True)
    subject = make_subject(network, ids)

    report = inspect_errors(
        replace(subject, file=replace(subject.file, vocab=vocab)), InspectConfig()
    )

    assert sum(each.share_of_errors for each in report.oracles) == pytest.approx(1)
