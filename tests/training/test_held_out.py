"""The text that a run is judged by: how much of it, and what a network scores on it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import CorpusError
from charrnn.model.network import CharRNN
from charrnn.training import evaluation
from charrnn.training.evaluation import HeldOut, Stretch, compare_windowed, evaluate_carried
from charrnn.training.world import SINGLE_PROCESS

BOOK = corpus_from_text("the cat sat on the mat. " * 300)


def make_network(corpus: Corpus) -> CharRNN:
    torch.manual_seed(1)
    return CharRNN(ModelConfig(vocab_size=corpus.vocab.size, embedding_size=3, hidden_size=4))


def test_a_text_with_nothing_held_out_is_refused_with_the_numbers() -> None:
    corpus = corpus_from_text("abcdefghijk", TextConfig(val_fraction=0.01))

    with pytest.raises(CorpusError, match=r"11 characters, of which 1 is held out"):
        HeldOut(corpus, TrainConfig(), SINGLE_PROCESS)


def test_a_held_out_character_of_several_tokens_is_counted_as_none() -> None:
    corpus = corpus_from_text("ab" * 13 + "大", TextConfig(min_count=2))

    with pytest.raises(CorpusError, match="at least 2 are needed"):
        HeldOut(corpus, TrainConfig(), SINGLE_PROCESS)


def test_so_many_characters_are_predicted_while_training_as_are_asked_for() -> None:
    watched: list[int] = []
    text = HeldOut(BOOK, TrainConfig(eval_chars=100), SINGLE_PROCESS)
    text.score(make_network(BOOK), watched.append)

    assert (sum(watched), text.part_chars) == (100, 101)


@pytest.mark.parametrize("eval_chars", [0, 100])
def test_as_much_training_text_is_scored_in_the_same_way(eval_chars: int) -> None:
    model = make_network(BOOK)
    text = HeldOut(BOOK, TrainConfig(eval_chars=eval_chars), SINGLE_PROCESS)
    part = BOOK.train[-len(text.part.ids) :]

    assert len(part) == len(text.part.ids)
    assert (
        text.score_train(model, lambda _: None)
        == evaluate_carried(model, part, BOOK.vocab).loss_nats
    )


def test_models_that_know_nothing_have_the_losses_of_their_chances() -> None:
    text = HeldOut(corpus_from_text("aab" * 9000), TrainConfig(), SINGLE_PROCESS)
    shares = {"a": 2 / 3, "b": 1 / 3}

    assert text.naive_nats["guessing"] == pytest.approx(math.log(2))
    assert text.naive_nats["frequencies"] == pytest.approx(
        -sum(share * math.log(share) for share in shares.values()), rel=1e-3
    )


def test_the_loss_of_guessing_counts_characters_of_several_tokens_once() -> None:
    corpus = corpus_from_text("大小" * 300, TextConfig(min_count=1000))  # three bytes each
    text = HeldOut(corpus, TrainConfig(), SINGLE_PROCESS)

    assert text.naive_nats["guessing"] == pytest.approx(3 * math.log(corpus.vocab.size), rel=0.02)


def test_a_part_gives_way_to_the_whole_at_the_end() -> None:
    model, val, vocab = make_network(BOOK), BOOK.val, BOOK.vocab
    text = HeldOut(BOOK, TrainConfig(eval_chars=100), SINGLE_PROCESS)
    scores = text.score_whole(model, 9.0, None, lambda _: None)

    assert scores.val == scores.val_compared == evaluate_carried(model, val, vocab).loss_nats
    assert scores.val_windowed == compare_windowed([model], Stretch(val), vocab)[0].loss_nats
    assert scores.train_eval == text.score_train(model, lambda _: None)


def test_of_a_long_text_the_end_reads_no_more_than_can_be_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, val, vocab = make_network(BOOK), BOOK.val, BOOK.vocab
    monkeypatch.setattr(evaluation, "_MOST_AT_THE_END", 300)
    text = HeldOut(BOOK, TrainConfig(eval_chars=100), SINGLE_PROCESS)
    scores = text.score_whole(model, 9.0, 8.0, lambda _: None)

    assert scores.val == evaluate_carried(model, val[:301], vocab).loss_nats
    assert scores.val_windowed == compare_windowed([model], Stretch(val[:301]), vocab)[0].loss_nats
    assert HeldOut(BOOK, TrainConfig(eval_chars=0), SINGLE_PROCESS).part_chars == len(val)


def test_what_is_known_of_the_whole_is_not_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, watched = make_network(BOOK), list[int]()
    monkeypatch.setattr(evaluation, "HELD_OUT_TOKENS", 20)
    text = HeldOut(BOOK, TrainConfig(eval_chars=0), SINGLE_PROCESS)
    scores = text.score_whole(model, 9.0, 8.0, watched.append)

    assert (scores.val, scores.train_eval) == (9.0, 8.0)
    assert scores.val_compared == evaluate_carried(model, BOOK.val[:20], BOOK.vocab).loss_nats
    assert sum(watched) == len(BOOK.val) - 1 + 19  # by windows, and where others are compared


TWO = "the cat sat on the mat. " * 100 + "Zebras graze in Zambia! " * 60


def of_two_texts(*, lines: bool) -> tuple[Corpus, int]:
    """Return a corpus whose held-out text is of two paths, and where that of the first ends."""
    settings: dict[str, Any] = {"val_fraction": 0.5, "split": "tail"}
    text = TWO.replace(". ", ".\n").replace("! ", "!\n") if lines else TWO
    corpus = corpus_from_text(text, TextConfig(lines=lines, **settings))
    first = corpus.vocab.encode("Z")[0]
    cut = int(np.flatnonzero(corpus.val == first)[0])
    ends = (cut, cut, len(corpus.val))
    return replace(corpus, sources=("cat", "none", "zebra"), val_source_ends=ends), cut


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("eval_chars", [0, 100])
def test_the_losses_of_the_texts_make_up_that_of_the_whole(lines: bool, eval_chars: int) -> None:
    corpus, cut = of_two_texts(lines=lines)
    model = make_network(corpus)
    text = HeldOut(corpus, TrainConfig(eval_chars=eval_chars), SINGLE_PROCESS)
    part = text.score(model, lambda _: None).nats
    scores = text.score_whole(model, part, 8.0, lambda _: None)

    assert list(scores.val_by_source) == ["cat", "zebra"]
    cat, zebra = scores.val_by_source.values()
    chars = len(corpus.val) - 1
    assert (cat * (cut - 1) + zebra * (chars - cut + 1)) / chars == pytest.approx(scores.val)
    assert abs(cat - zebra) > 0.001


def test_the_loss_of_the_first_text_is_that_of_reading_it_alone() -> None:
    corpus, cut = of_two_texts(lines=False)
    corpus = replace(
        corpus, val=corpus.val[cut - 400 : cut + 600], val_source_ends=(400, 400, 1000)
    )
    model = make_network(corpus)
    text = HeldOut(corpus, TrainConfig(eval_chars=0), SINGLE_PROCESS)
    scores = text.score_whole(model, 9.0, 8.0, lambda _: None)

    alone = evaluate_carried(model, corpus.val[:400], corpus.vocab).loss_nats
    assert scores.val_by_source["cat"] == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize(
    ("sources", "ends"), [((), ()), (("a", "b"), ()), (("a", "b"), (0, 9)), (("a", "b"), (1, 9))]
)
def test_a_text_alone_has_no_loss_of_its_own(
    sources: tuple[str, ...], ends: tuple[int, ...]
) -> None:
    corpus = replace(BOOK, val=BOOK.val[:9], sources=sources, val_source_ends=ends)
    text = HeldOut(corpus, TrainConfig(eval_chars=0), SINGLE_PROCESS)

    assert text.score_whole(make_network(corpus), 9.0, 8.0, lambda _: None).val_by_source == {}


def test_the_texts_are_scored_by_reading_all_once_more() -> None:
    corpus, _ = of_two_texts(lines=False)
    whole, watched = list[int](), list[int]()
    plain = HeldOut(replace(corpus, sources=()), TrainConfig(eval_chars=0), SINGLE_PROCESS)
    plain.score_whole(make_network(corpus), 9.0, 8.0, whole.append)
    text = HeldOut(corpus, TrainConfig(eval_chars=0), SINGLE_PROCESS)
    text.score_whole(make_network(corpus), 9.0, 8.0, watched.append)

    assert sum(watched) == sum(whole) + len(corpus.val) - 1
