"""Labels by Bayes: likelihoods as of each label's model, probabilities, and their correction."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.data.labels import LabelColumn
from charrnn.errors import DivergedError
from charrnn.generation.bayes import (
    LabelClassifier,
    calibrate,
    calibration_error,
    macro_f1,
    posteriors,
)
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.text.vocab import Ids
from tests.generation.random_models import NGRAMS
from tests.generation.record_models import WHO, YEAR, make_records_file

TEXTS = ("a", "ba b", "", "bé", "abba" * 4, "é", "aéb" * 2)
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "gru"},
    *({"cell": "rnn", "nonlinearity": each} for each in ("tanh", "relu", "logistic")),
    {"num_layers": 1},
    {"num_layers": 3, "residual": True},
    {"tie_embeddings": True},
    {"tie_embeddings": True, "embedding_size": 4, "cell": "gru", "residual": True},
    NGRAMS,
    {"cell": "gru", "num_layers": 1} | NGRAMS,
]
FAR = 1e6  # nats: nothing is dropped


def encode(file: ModelFile, texts: tuple[str, ...] = TEXTS) -> list[Ids]:
    return [file.vocab.encode(text) for text in texts]


def read_alone(file: ModelFile, asked: str, ids: Ids, *, is_whole: bool = True) -> float:
    """Return ln p of a text by the plain model of one label."""
    fixed = with_labels(file, [asked])
    network = Network(fixed.config, fixed.weights)
    state = network.initial_state()
    total = 0.0
    for token in [*ids.tolist(), *[file.vocab.end] * is_whole]:
        total += float(log_softmax(network.logits(state))[token])
        state = network.advance(token, state)
    return total


def ratios_alone(file: ModelFile, column: LabelColumn, *, is_whole: bool = True) -> Floats:
    """Return the ratios (N, K) of TEXTS, each pair read by itself; an empty text says nothing."""
    found = []
    for ids in encode(file):
        asked = [f"{column.name}={value}" for value in column.values]
        row = [read_alone(file, each, ids, is_whole=is_whole) * bool(len(ids)) for each in asked]
        found.append(np.array(row) - max(row))
    return np.array(found)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("column", [WHO, YEAR], ids=["who", "year"])
def test_a_text_is_as_likely_as_by_the_model_of_its_label(
    shape: dict[str, Any], column: LabelColumn
) -> None:
    file = make_records_file(labels=(WHO, YEAR), **shape)

    found = LabelClassifier(file, column.name, FAR).log_ratios(encode(file))

    np.testing.assert_allclose(found, ratios_alone(file, column), atol=2e-4)


def test_the_end_of_a_beginning_says_nothing() -> None:
    file = make_records_file(labels=(WHO, YEAR))

    found = LabelClassifier(file, "year", FAR).log_ratios(encode(file), is_whole=False)

    np.testing.assert_allclose(found, ratios_alone(file, YEAR, is_whole=False), atol=2e-4)


def test_an_empty_text_says_nothing() -> None:
    file = make_records_file(labels=(YEAR,))

    assert not LabelClassifier(file, "year").log_ratios([file.vocab.encode("")]).any()
    assert LabelClassifier(file, "year").log_ratios([]).shape == (0, 3)


def test_bytes_of_a_character_count_as_its_tokens() -> None:
    file = make_records_file(labels=(WHO,), has_bytes=True)
    ids = [file.vocab.encode("ü")]

    (found,) = LabelClassifier(file, "who", FAR).log_ratios(ids)
    alone = [read_alone(file, who, ids[0]) for who in WHO.values]

    assert found[1] - found[0] == pytest.approx(alone[1] - alone[0], abs=1e-4)


def test_texts_side_by_side_are_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_records_file(labels=(WHO, YEAR))
    classifier = LabelClassifier(file, "year", FAR)
    ids = encode(file) * 3
    together = classifier.log_ratios(ids)
    assert classifier.pair_steps == 3 * sum(len(each) + 1 for each in ids if len(each))

    monkeypatch.setattr("charrnn.generation.bayes._MAX_ROWS", 7)  # two texts of three labels
    apart = classifier.log_ratios(ids)

    np.testing.assert_allclose(apart, together, atol=1e-5)


def test_what_is_dropped_changes_nothing_that_counts() -> None:
    file = make_records_file(labels=(WHO, YEAR), spread=2.0)
    ids = encode(file, ("ab" * 40, "é bab" * 9, "bbb"))
    whole = LabelClassifier(file, "year", FAR).log_ratios(ids)
    pruned = LabelClassifier(file, "year").log_ratios(ids)

    assert whole.min() < -60  # some labels are given up
    assert pruned.min() == -30
    counts = np.array(YEAR.counts)
    np.testing.assert_allclose(posteriors(pruned, counts), posteriors(whole, counts), atol=1e-11)


def test_a_text_is_not_read_on_once_one_label_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_records_file(labels=(WHO,), spread=2.0)
    classifier = LabelClassifier(file, "who")
    rows: list[int] = []
    read = classifier._network.logits

    def count(states: Any) -> Any:
        rows.append(len(states[0][0]))
        return read(states)

    monkeypatch.setattr(classifier._network, "logits", count)
    (found,) = classifier.log_ratios(encode(file, ("ab" * 400,)))

    assert found.min() == -30
    assert set(rows) == {2}
    assert len(rows) < 400


def test_a_network_that_has_lost_its_numbers_is_refused() -> None:
    file = make_records_file(labels=(WHO,))
    broken = file.weights | {"output.bias": np.full_like(file.weights["output.bias"], np.inf)}

    with pytest.raises(DivergedError):
        LabelClassifier(replace(file, weights=broken), "who").log_ratios(encode(file, ("ab",)))


def test_a_model_made_by_hand_gives_the_ratio_of_its_odds() -> None:
    """ROMEO writes a three times as often as b, JULIET b three times as often as a; no text ends
    more often with one than with the other."""
    file = make_records_file(
        alphabet="ab", labels=(WHO,), cell="rnn", num_layers=1, hidden_size=2, embedding_size=2
    )
    weights = {name: np.zeros_like(array) for name, array in file.weights.items()}
    strong = math.atanh(0.5)  # a state of ±½
    # A label's embedding is (±1, 0), and moves the first unit's state at each step and before.
    weights["labels.weight"][:, 0] = (1, -1)
    weights["layers.0.weight_label"][0, 0] = strong
    weights["layers.0.initial_label"][0, 0] = 0.5
    weights["output.weight"][0, 0] = math.log(3)  # of a: ± ln √3
    weights["output.weight"][1, 0] = -math.log(3)
    file = replace(file, weights=weights)

    found = LabelClassifier(file, "who").log_ratios(encode(file, ("aab", "b", "ab")))

    # ln p differs by ln 3 a letter, as the sums of the softmax are the same for both labels.
    np.testing.assert_allclose(found[0], [0, -math.log(3)], atol=1e-5)
    np.testing.assert_allclose(found[1], [-math.log(3), 0], atol=1e-5)
    np.testing.assert_allclose(found[2], [0, 0], atol=1e-5)
    probs = posteriors(found[:1], np.array([1, 1]))
    np.testing.assert_allclose(probs, [[0.75, 0.25]], atol=1e-5)


def test_probabilities_are_the_prior_times_the_likelihood() -> None:
    ratios = np.array([[0.0, -1.0, -2.0], [-30.0, 0.0, -30.0]])

    probs = posteriors(ratios, np.array([1, 2, 5]))
    expected = np.exp(ratios) * np.array([2, 3, 6])

    np.testing.assert_allclose(probs, expected / expected.sum(1, keepdims=True), rtol=1e-12)
    assert probs.dtype == np.float64
    np.testing.assert_allclose(probs.sum(1), 1, rtol=0, atol=1e-15)


def test_a_temperature_changes_how_sure_an_answer_is_and_not_which() -> None:
    ratios = np.array([[0.0, -1.0, -2.0], [-0.5, 0.0, -9.0]])
    counts = np.array([1, 2, 50])

    bare = posteriors(ratios, counts)
    cooled = posteriors(ratios, counts, 2.0)

    np.testing.assert_allclose(cooled, np.sqrt(bare) / np.sqrt(bare).sum(1, keepdims=True))
    assert cooled.argmax(1).tolist() == bare.argmax(1).tolist()


def make_answers(
    count: int, labels: int, temperature: float, seed: int = 5
) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Return log-ratios (N, K) that are too sure by `temperature`, and labels drawn as they say."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, labels))
    logits -= logits.max(1, keepdims=True)
    probs = np.exp(log_softmax(logits))
    truth = np.array([random.choice(labels, p=row) for row in probs])
    return logits * temperature, truth


def test_the_temperature_that_made_a_classifier_too_sure_is_found() -> None:
    ratios, truth = make_answers(4000, 3, 2.5)
    counts = np.zeros(3, np.int64)

    found = calibrate(ratios, counts, truth)

    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.error < 0.03
    assert found.records == 4000
    bare = posteriors(ratios, counts)
    is_right = bare.argmax(1) == truth
    assert calibration_error(bare.max(1), is_right) > 0.1
    assert found.accuracy == pytest.approx(float(is_right.mean()), abs=0.01)


def test_few_records_hold_the_temperature_back() -> None:
    """Six right answers alone would make the surest of it."""
    ratios = np.tile([[0.0, -4.0]], (6, 1))
    truth = np.zeros(6, np.int64)

    assert 0.6 < calibrate(ratios, np.zeros(2, np.int64), truth).temperature < 1
    many = calibrate(np.tile(ratios, (500, 1)), np.zeros(2, np.int64), np.tile(truth, 500))
    assert many.temperature < 0.5


def test_figures_are_of_records_that_nothing_was_fitted_on() -> None:
    """Where the two halves disagree, what fits one is wrong in the other."""
    ratios = np.tile([[0.0, -3.0]], (40, 1))
    truth = np.tile([0, 1], 20)  # every other record

    found = calibrate(ratios, np.zeros(2, np.int64), truth)

    assert found.accuracy == 0.5
    assert found.nats > math.log(2)
    # Of all of them each label is right half of the time: nothing is to be had from the text.
    assert found.temperature > 3


def test_the_calibration_error_is_the_mean_distance_over_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.5])
    is_right = np.array([True, True, True, False, True])

    assert calibration_error(confidence, is_right) == pytest.approx(0.8 * 0.2 + 0.2 * 0.5)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0
    assert calibration_error(np.zeros(0), np.zeros(0, np.bool_)) == 0


def test_macro_f1_gives_each_label_the_same_weight() -> None:
    truth = np.array([0, 0, 0, 1, 2])
    predicted = np.array([0, 0, 1, 1, 0])

    # F1: 2·2/(3+3), 2·1/(1+2), 0; a fourth label is nowhere.
    assert macro_f1(truth, predicted, 3) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert macro_f1(truth, predicted, 4) == macro_f1(truth, predicted, 3)  # none is of the last
