"""The text that a run is judged by: how much of it, and what a network scores on it."""

from __future__ import annotations

import math

import pytest
import torch

from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import CorpusError
from charrnn.model.network import CharRNN
from charrnn.training import evaluation
from charrnn.training.distributed import SINGLE_PROCESS
from charrnn.training.evaluation import HeldOut, Stretch, compare_windowed, evaluate_carried

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
