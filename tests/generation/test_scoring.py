"""What a text costs a model: against slow twins, closed forms, `generate` and `charrnn eval`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.errors import DivergedError
from charrnn.generation import scoring
from charrnn.generation.network import Network
from charrnn.generation.scoring import Scores, iter_lines, unseen_bits
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from charrnn.training.evaluation import evaluate_carried
from tests.generation.random_models import NGRAMS, random_weights

Make = Callable[..., ModelFile]

LETTERS = Vocab("\n abé")
NO_NEWLINE = Vocab(" abcé")
BYTES = Vocab("\nab", has_bytes=True)
TEXT = "ab éa\nbé\n\na ba"
MIXED = "a€b\nعb😀a"  # of which BYTES spells three characters in 3, 2 and 4 bytes
OUTPUTS: list[dict[str, Any]] = [
    {"cell": "rnn"},
    {"cell": "gru", "num_layers": 3, "residual": True},
    {"cell": "lstm", "tie_embeddings": True, "embedding_size": 6},
    {"cell": "lstm", "num_layers": 2, "initial_state": "learned"},
    {"cell": "gru", "num_layers": 2} | NGRAMS,
]
EACH_OUTPUT = pytest.mark.parametrize("shape", OUTPUTS, ids=lambda shape: "-".join(shape))


def make_file(vocab: Vocab = LETTERS, **shape: Any) -> ModelFile:
    """Return a model file of random weights."""
    sizes = {"cell": "lstm", "embedding_size": 3, "hidden_size": 4} | shape
    config = ModelConfig(vocab_size=vocab.size, **sizes)
    return ModelFile(config, vocab, random_weights(config, seed=8, spread=1.5), {})


def make_model(vocab: Vocab = LETTERS, **shape: Any) -> Model:
    return Model(make_file(vocab, **shape))


def costs_one_by_one(file: ModelFile, text: str) -> list[float]:
    """The slow twin: one softmax a token, by hand, added up over the tokens of a character."""
    network = Network(file.config, file.weights)
    vocab = file.vocab
    state = network.initial_state()
    before = network.advance(vocab.alphabet.index("\n"), state) if "\n" in vocab.alphabet else state
    costs = []
    for char in text:
        bits = 0.0
        for token in vocab.encode(char).tolist():
            likelihoods = [math.exp(each) for each in network.logits(before).tolist()]
            bits -= math.log2(likelihoods[token] / sum(likelihoods))
            before = state = network.advance(token, state)
        costs.append(bits)
    return costs


# ── what a character costs ──


@EACH_OUTPUT
@pytest.mark.parametrize(("vocab", "text"), [(LETTERS, TEXT), (BYTES, MIXED), (NO_NEWLINE, "ab é")])
def test_a_character_costs_what_a_softmax_by_hand_says(
    shape: dict[str, Any], vocab: Vocab, text: str
) -> None:
    file = make_file(vocab, **shape)

    scores = Model(file).score(text)

    assert scores.text == text
    assert scores.bits.dtype == np.float64
    np.testing.assert_allclose(scores.bits, costs_one_by_one(file, text), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5, 99])
@pytest.mark.parametrize(("vocab", "text"), [(LETTERS, TEXT), (BYTES, MIXED)])
def test_blocks_and_pieces_change_nothing(
    monkeypatch: pytest.MonkeyPatch, size: int, vocab: Vocab, text: str
) -> None:
    model = make_model(vocab)
    whole = model.score(text)
    monkeypatch.setattr(scoring, "_BLOCK_CHARS", size)

    blocks = [*model.iter_scores([text[:4], text[4:5], text[5:]])]

    assert "".join(block.text for block in blocks) == text
    assert max(len(block.text) for block in blocks) <= size
    np.testing.assert_allclose(
        np.concatenate([block.bits for block in blocks]), whole.bits, rtol=1e-4, atol=1e-5
    )


def test_a_large_vocabulary_is_scored_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_MAX_LOGITS", 3 * LETTERS.size)

    assert [len(block.text) for block in make_model().iter_scores(["ab ab ab"])] == [3, 3, 2]


def test_a_uniform_model_costs_log2_vocab_bits() -> None:
    file = make_file()
    file.weights["output.weight"][:] = 0
    file.weights["output.bias"][:] = 3

    scores = Model(file).score(TEXT)

    np.testing.assert_allclose(scores.bits, math.log2(5), rtol=1e-6)
    assert scores.bpc == pytest.approx(math.log2(5))


@pytest.mark.parametrize("normalize", ["none", "nfc"])
def test_a_cost_is_by_the_probability_that_generate_samples_from(
    monkeypatch: pytest.MonkeyPatch, normalize: str
) -> None:
    model = Model(replace(make_file(), summary={"settings": {"normalize": normalize}}))
    seen: list[np.ndarray] = []
    logits = model._network.logits

    def watched(state: Any) -> np.ndarray:
        seen.append(logits(state))
        return seen[-1]

    monkeypatch.setattr(model._network, "logits", watched)
    for prompt in accumulate(TEXT[:-1], initial=""):
        next(model.generate(prompt, length=1, seed=1))

    likelihoods = np.exp(np.stack(seen).astype(np.float64))
    shares = likelihoods / likelihoods.sum(1, keepdims=True)
    own = shares[np.arange(len(TEXT)), LETTERS.encode(TEXT)]
    np.testing.assert_allclose(model.score(TEXT).bits, -np.log2(own), rtol=1e-4, atol=1e-5)


def test_a_text_is_normalised_as_the_model_s_own_was() -> None:
    model = Model(replace(make_file(), summary={"settings": {"normalize": "nfc"}}))

    scores = model.score("e\u0301a")

    assert scores.text == "éa"
    assert len(scores.bits) == 2


def test_a_probability_below_the_smallest_float32_is_scored_exactly() -> None:
    file = make_file()
    file.weights["output.weight"][:] = 0
    file.weights["output.bias"][:] = np.array([0, 0, 900, 0, 0], np.float32)

    scores = Model(file).score("ab")

    np.testing.assert_allclose(scores.bits, [0, 900 / math.log(2)])


# ── the whole text ──


@EACH_OUTPUT
@pytest.mark.parametrize(("vocab", "text"), [(LETTERS, TEXT * 9), (BYTES, MIXED * 9)])
def test_the_whole_text_scores_as_eval_says_with_the_state_carried(
    shape: dict[str, Any], vocab: Vocab, text: str
) -> None:
    file = make_file(vocab, **shape)
    network = CharRNN(file.config)
    load_numpy_state_dict(network, file.weights)
    expected = evaluate_carried(network, vocab.encode(text), vocab)

    scores = Model(file).score(text)

    assert len(scores.bits) - 1 == expected.chars
    assert scores.bpc == pytest.approx(expected.loss_nats / math.log(2), rel=1e-5)


@pytest.mark.parametrize("text", ["", "a"])
def test_below_two_characters_there_is_no_bpc(text: str) -> None:
    scores = make_model().score(text)

    assert (scores.text, len(scores.bits)) == (text, len(text))
    assert math.isnan(scores.bpc)


# ── characters that the model never saw ──

ODD = "ßab — éa\nbß"  # ß and — are not in LETTERS


def test_all_unseen_characters_together_are_as_likely_as_one_seen_once() -> None:
    bits = unseen_bits(LETTERS, {"corpus": {"train_chars": 999}})

    others = sum(not 0xD800 <= code < 0xE000 for code in range(0x110000)) - len(LETTERS.alphabet)
    assert others * 2**-bits == pytest.approx(1 / (999 + 1))


@pytest.mark.parametrize("summary", [{}, {"corpus": None}, {"corpus": {"train_chars": "many"}}])
def test_a_file_that_does_not_say_how_much_it_read_has_read_its_alphabet(
    summary: dict[str, Any],
) -> None:
    least = unseen_bits(LETTERS, {"corpus": {"train_chars": len(LETTERS.alphabet)}})

    assert unseen_bits(LETTERS, summary) == least


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_what_follows_an_unseen_character_is_scored_as_if_it_were_not_there(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    model = make_model()
    known = ODD.replace("ß", "").replace("—", "")
    expected = model.score(known)
    monkeypatch.setattr(scoring, "_BLOCK_CHARS", size)

    scores = model.score(ODD)

    assert scores.text == ODD
    assert scores.unseen == tuple(at for at, char in enumerate(ODD) if char in "ß—")
    np.testing.assert_allclose(scores.known_bits, expected.bits, rtol=1e-4, atol=1e-5)
    assert scores.bpc == pytest.approx(expected.bpc, rel=1e-4)
    cost = unseen_bits(LETTERS, {})
    assert scores.bits[list(scores.unseen)].tolist() == [cost] * 3
    whole = (expected.bits[1:].sum() + 3 * cost) / (len(known) - 1 + 3)
    assert scores.bpc_with_unseen == pytest.approx(whole, rel=1e-4)


def test_lines_and_pieces_keep_the_places_of_unseen_characters() -> None:
    blocks = make_model().iter_scores([ODD[:3], ODD[3:5], ODD[5:]])

    marked = [[line.text[at] for at in line.unseen] for line in iter_lines(blocks)]

    assert marked == [["ß", "—"], ["ß"]]


def test_a_text_that_the_model_knows_costs_the_same_with_and_without() -> None:
    for vocab, text in ((LETTERS, TEXT), (BYTES, MIXED)):
        scores = make_model(vocab).score(text)
        assert (scores.unseen, scores.unseen_bits) == ((), 0.0)
        assert scores.bpc_with_unseen == pytest.approx(scores.bpc)


# ── lines ──


@given(st.text("ab\n\r\u2028\x85", max_size=20), st.integers(1, 7))
def test_lines_end_at_newlines_alone_wherever_blocks_do(text: str, size: int) -> None:
    bits = np.arange(len(text), dtype=np.float64)
    cuts = range(0, len(text), size)
    blocks = [Scores(text[at : at + size], bits[at : at + size]) for at in cuts]

    lines = [*iter_lines(blocks)]

    assert [line.number for line in lines] == [*range(1, len(lines) + 1)]
    *whole, rest = text.split("\n")
    assert [line.text for line in lines] == [f"{each}\n" for each in whole] + [rest] * bool(rest)
    assert np.concatenate([np.empty(0), *(line.bits for line in lines)]).tolist() == bits.tolist()
    assert all(line.bpc == pytest.approx(line.bits.mean()) for line in lines)


# ── refusals ──


def test_costs_that_are_not_finite_are_an_error() -> None:
    file = make_file(cell="rnn", nonlinearity="relu")
    for name in file.weights:
        file.weights[name][:] = 1e18

    with pytest.raises(DivergedError, match="not a finite number"):
        Model(file).score(TEXT)


def test_a_typed_end_of_a_record_in_running_text_is_an_unseen_character(make_model: Make) -> None:
    scores = Model(make_model()).score("a\U0010ffffb")

    assert (scores.text, scores.unseen, scores.ends) == ("a\U0010ffffb", (1,), ())
    assert Model(make_model()).score("\U0010ffff").unseen == (0,)
