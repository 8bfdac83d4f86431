"""The search: planted units are named, chance is not, and scores are those of their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.features import Feature, make_features
from charrnn.interpret.neurons import (
    CHARACTER,
    MEMORY,
    NOT_THERE,
    SPREAD,
    Finding,
    NeuronsReport,
    describe,
    features_of,
    inspect_neurons,
    last_characters,
    search,
    split_places,
    surprise_bits,
    verdict_of,
)
from charrnn.interpret.rank_scores import (
    auc,
    f1_scores,
    label_columns,
    ranks,
    spearman,
    strengths,
    strengths_of_predictions,
)
from charrnn.interpret.report import as_json
from charrnn.interpret.trace import record
from charrnn.interpret.untrained import untrained_weights
from tests.interpret.networks import make_ids, make_network, make_subject
from tests.interpret.planted import ALPHABET, make_brackets, make_planted_subject, planted_neurons

CONFIG = InspectConfig()
SMALL = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40)


@pytest.fixture(scope="module", name="report")
def report_of_planted() -> NeuronsReport:
    return planted_neurons()


def finding_of(report: NeuronsReport, feature: str) -> Finding:
    return next(each for each in report.findings if each.feature == feature)


@pytest.mark.parametrize(
    ("feature", "numbers"),
    [("inside ( )", "01"), ("depth", "1"), ("column", "2")],  # who knows the depth knows both
)
def test_the_search_names_the_planted_units(
    report: NeuronsReport, feature: str, numbers: str
) -> None:
    finding = finding_of(report, feature)

    assert finding.best.unit in [f"{kind}1.{number}" for kind in "hc" for number in numbers]
    assert finding.best.sign == 1
    assert finding.best.search == pytest.approx(1, abs=1e-12)
    assert finding.best.held == pytest.approx(1, abs=1e-12)
    assert finding.verdict == MEMORY


def test_a_planted_unit_has_a_threshold_without_errors(report: NeuronsReport) -> None:
    finding = finding_of(report, "inside ( )")

    assert finding.f1 == 1
    assert finding.localised == pytest.approx(1, abs=0.02)


def test_features_that_the_text_lacks_are_left_out_with_a_reason(report: NeuronsReport) -> None:
    reasons = dict(report.left_out)

    assert reasons["digit"] == "only 0 characters are inside"
    assert "inside ( )" not in reasons


def test_the_last_characters_explain_what_is_written_in_them(report: NeuronsReport) -> None:
    finding = finding_of(report, "vowel")

    assert finding.last_1 == pytest.approx(1, abs=1e-5)
    assert finding.verdict in (CHARACTER, NOT_THERE)


def test_a_search_is_repeated_exactly(report: NeuronsReport) -> None:
    assert as_json(inspect_neurons(make_planted_subject(), CONFIG)) == as_json(report)


def test_random_labels_are_not_there() -> None:
    ids = make_ids(1_000)
    trace = record(make_network(cell="lstm"), ids)
    untrained = record(make_network(cell="lstm", seed=8), ids)
    features = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        # Every second labelling has long stretches, as most features have.
        stretch = 1 if seed % 2 else 12
        labels = np.repeat(random.random(1_000) < 0.3, stretch)[:1_000].astype(np.float32)
        features.append(Feature(str(seed), "by chance", labels))

    found = search(trace, [untrained], features, CONFIG)

    assert sum(each.verdict == NOT_THERE for each in found) >= 190


def test_states_of_another_text_know_nothing() -> None:
    subject = make_planted_subject()
    random = np.random.default_rng(1)
    shuffled = random.permutation(subject.held_out)
    features = [
        each
        for each in make_features(subject.vocab, shuffled, CONFIG)
        if each.name in ("inside ( )", "depth", "column", "to line end")
    ]

    found = search(subject.measured, [subject.measured_untrained], features, CONFIG)

    assert len(found) == 4
    assert {each.verdict for each in found} == {NOT_THERE}


@pytest.mark.parametrize("seed", range(4, 9))
def test_an_untrained_network_has_no_memory_neuron_of_shuffled_text(seed: int) -> None:
    config = ModelConfig(cell="lstm", vocab_size=len(ALPHABET), embedding_size=4, hidden_size=32)
    network = Network(config, untrained_weights(config, seed))
    ids = np.random.default_rng(2).permutation(make_planted_subject(2_000).held_out)

    report = inspect_neurons(make_subject(network, ids, ids), CONFIG)

    assert report.findings
    assert all(each.verdict != MEMORY for each in report.findings)


@given(SMALL)
def test_auc_counts_pairs_with_half_for_ties(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in pairs], np.float32)
    inside = np.array([is_inside for _, is_inside in pairs])
    if inside.all() or not inside.any():
        return
    above = values[inside][:, None] - values[~inside]
    expected = (np.sign(above) + 1).mean() / 2

    assert auc(values, inside.astype(np.float32)) == pytest.approx(expected, abs=1e-12)


@given(SMALL)
def test_products_of_ranks_are_the_scores(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in pairs], np.float32)
    inside = np.array([[is_inside] for _, is_inside in pairs], np.float32)
    if len(set(inside.ravel().tolist())) < 2:
        return

    strength = ranks(values[None]) @ label_columns(inside, np.array([True]))

    assert strength.item() == pytest.approx(2 * auc(values, inside[:, 0]) - 1, abs=1e-5)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_ranks_of_equal_values_are_their_mean(values: list[int]) -> None:
    array = np.array([values, values[::-1]], np.float32)
    below = (array[:, :, None] > array[:, None]).sum(2)
    same = (array[:, :, None] == array[:, None]).sum(2)
    expected = (below + (same - 1) / 2 - (len(values) - 1) / 2) / len(values)

    assert np.allclose(ranks(array), expected, atol=1e-6)


def test_spearman_is_the_correlation_of_ranks() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 100, 1000, 9])) == pytest.approx(-0.2)
    assert spearman(np.array([1.0, 2, 3]), np.exp([1.0, 2, 3])) == pytest.approx(1)
    assert spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) == 0


def test_the_threshold_is_the_best_of_all_on_the_search_half() -> None:
    random = np.random.default_rng(3)
    values = random.integers(0, 9, 60).astype(np.float32)
    labels = (values + random.normal(size=60) > 5).astype(np.float32)

    def f1(threshold: float) -> float:
        said = values >= threshold
        return float(2 * labels[said].sum() / (said.sum() + labels.sum()))

    threshold, held = f1_scores((values, values), (labels, labels), 1)

    assert held == pytest.approx(max(map(f1, range(9))))
    assert f1(threshold) == pytest.approx(held)


def test_last_characters_are_counted_on_the_search_half_alone() -> None:
    ids = np.array([0, 1, 2] * 40)
    labels = np.tile(np.float32([0, 1, 0]), 40)[:, None]
    halves = np.arange(60), np.arange(60, 120)

    one = last_characters(ids, labels, halves, 1)[:, 0]
    changed = labels.copy()
    changed[60:] = 1 - changed[60:]

    assert np.array_equal(one > 0.5, labels[60:, 0] > 0.5)
    assert np.array_equal(last_characters(ids, changed, halves, 1)[:, 0], one)


def test_two_characters_tell_what_one_does_not() -> None:
    ids = np.random.default_rng(4).integers(0, 2, 400)
    labels = np.float32(ids == np.roll(ids, 1))[:, None]
    halves = np.arange(1, 200), np.arange(200, 400)
    held = labels[200:, 0]

    one, two = (last_characters(ids, labels, halves, size)[:, 0] for size in (1, 2))

    assert auc(one, held) < 0.7
    assert auc(two, held) == 1


@pytest.mark.parametrize(
    ("held", "changed", "verdict"),
    [
        (0.9, {}, MEMORY),
        (0.9, {"last_1": 0.85}, CHARACTER),
        (0.9, {"last_3": 0.85}, CHARACTER),
        (0.9, {"untrained": 0.85}, CHARACTER),
        (0.9, {"shifted": 0.85, "probe": 0.9}, NOT_THERE),
        (0.3, {"last_3": 0.5, "probe": 0.9}, SPREAD),
        (0.3, {"last_3": 0.5, "probe": 0.9, "untrained_probe": 0.85}, CHARACTER),
        (0.1, {"probe": 0.12}, NOT_THERE),
    ],
)
def test_a_verdict_says_which_control_is_not_beaten(
    held: float, changed: dict[str, float], verdict: str
) -> None:
    controls = dict.fromkeys(("shifted", "last_1", "last_3", "untrained", "untrained_probe"), 0.1)

    assert verdict_of(held, controls | {"probe": 0.3} | changed) == verdict


def test_surprise_is_the_cost_of_the_token_just_read() -> None:
    trace = record(make_network(cell="gru"), make_ids(30))
    logs = np.take_along_axis(trace.log_probabilities[:-1], trace.ids[1:, None], 1)[:, 0]

    bits = surprise_bits(trace)

    assert bits[0] == 0
    assert np.allclose(bits[1:], -logs / np.log(2), atol=1e-5)


def test_ends_of_records_are_not_places() -> None:
    network = make_network(cell="rnn", has_end=True)
    trace = record(network, make_ids(900))
    search_half, held_half = split_places(trace)

    assert not trace.is_end[np.concatenate((search_half, held_half))].any()
    assert search_half[-1] < held_half[0]


def test_a_short_text_is_refused() -> None:
    subject = make_subject(make_network(), make_ids(399))

    with pytest.raises(ConfigError, match="399 characters, too few to search"):
        inspect_neurons(subject, CONFIG)


def test_a_regex_becomes_a_feature() -> None:
    config = InspectConfig(features=("digraph=ab|cd",))
    subject = make_planted_subject()
    features, _ = features_of(subject, config)
    digraph = next(each for each in features if each.name == "digraph")
    text = make_brackets(4_000)

    inside = {
        i for i in range(len(text)) for a in (i - 1, i) if text[max(a, 0) : a + 2] in ("ab", "cd")
    }

    assert set(np.flatnonzero(digraph.values).tolist()) == inside
    assert finding_of(inspect_neurons(subject, config), "digraph").verdict != MEMORY


def test_a_table_has_a_row_for_each_finding(report: NeuronsReport) -> None:
    columns, rows = report.table()

    assert all(len(row) == len(columns) for row in rows)
    assert [row[0] for row in rows] == [each.feature for each in report.findings]


@pytest.mark.parametrize(
    ("held", "last", "untrained", "expected"),
    [
        (0.80, 0.85, 0.60, ["the last characters alone tell as much, so it takes no memory"]),
        (0.80, 0.60, 0.79, ["untrained networks have a unit as good, so it need not be learned"]),
        (0.99, 0.98, 0.60, ["the last characters alone tell it too well to be beaten by 0.03"]),
        (0.80, 0.78, 0.79, ["takes no memory and untrained networks have a unit as good"]),
    ],
)
def test_a_character_neuron_says_which_control_it_does_not_beat(
    report: NeuronsReport, held: float, last: float, untrained: float, expected: list[str]
) -> None:
    finding = finding_of(report, "inside ( )")
    finding = replace(
        finding,
        verdict=CHARACTER,
        best=replace(finding.best, held=held),
        last_1=0.5,
        last_3=last,
        untrained=untrained,
    )

    sentence = describe(finding)

    assert all(words in sentence for words in expected)
    assert ("memory" in sentence) == ("tell as much" in sentence)
    assert ("learned" in sentence) == (held < untrained + 0.03)


def test_no_strength_of_many_places_is_above_1() -> None:
    is_yes_no = np.array([True, False])
    for count in (20_000, 20_011):
        number = np.random.default_rng(1).normal(size=count).astype(np.float32)
        labels = np.stack([number > 0.3, number], 1).astype(np.float32)
        columns = label_columns(labels, is_yes_no)

        of_units = strengths(np.stack([number, -number], 1), columns, is_yes_no)
        of_predictions = strengths_of_predictions(labels, columns, is_yes_no)

        for found in (*np.abs(of_units), of_predictions):
            assert (found <= 1).all()
            assert found == pytest.approx(1, abs=1e-5)
        assert spearman(number, number) <= 1
