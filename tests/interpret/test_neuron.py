"""The card of one unit, of planted networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.features import Feature
from charrnn.interpret.neuron import inspect_neuron, labels_in_view, sides_of
from charrnn.interpret.neurons import MEMORY, features_of
from charrnn.interpret.report import as_json
from charrnn.interpret.trace import record
from charrnn.interpret.units import parse_unit, unit_values
from charrnn.text.vocab import Vocab
from tests.interpret.networks import make_ids, make_network, make_subject
from tests.interpret.planted import (
    ALPHABET,
    CUT_OFF,
    make_planted_subject,
    planted_neuron,
    planted_neurons,
)


def test_without_a_name_the_best_memory_neuron_is_shown() -> None:
    report = planted_neuron()

    assert report.unit == planted_neurons().findings[0].best.unit
    assert report.is_memory
    assert report.finding.verdict == MEMORY


@pytest.mark.parametrize(
    ("unit", "feature"), [("c1.0", "inside ( )"), ("c1.1", "depth"), ("c1.2", "column")]
)
def test_a_planted_unit_has_its_feature(unit: str, feature: str) -> None:
    report = planted_neuron(unit)

    assert (report.unit, report.finding.feature) == (unit, feature)
    assert report.finding.best.unit == unit
    assert report.finding.best.held == pytest.approx(1, abs=1e-12)


def test_a_unit_that_is_not_the_best_of_its_feature_names_that_one() -> None:
    report = planted_neuron(f"c1.{CUT_OFF}")

    assert report.best_of_feature != report.unit
    assert report.finding.best.held < 1


def test_values_are_those_of_the_text_in_view() -> None:
    subject = make_planted_subject()
    report = planted_neuron("c1.2")

    assert np.array_equal(
        report.values, unit_values(subject.trace, parse_unit("c1.2", subject.config))
    )
    assert "".join(report.symbols) == subject.vocab.decode(subject.ids)
    assert report.labels[:3].tolist() == [
        0 if symbol == "\n" else place + 1 for place, symbol in enumerate(report.symbols[:3])
    ]


def test_the_highest_and_the_lowest_snippets_are_so() -> None:
    subject = make_planted_subject()
    report = planted_neuron("c1.2")
    values = unit_values(subject.measured, parse_unit("c1.2", subject.config))
    kinds = [snippet.kind for snippet in report.snippets]
    by_kind = {snippet.kind: float(snippet.values[snippet.at]) for snippet in report.snippets[::-1]}

    assert kinds.count("highest") == kinds.count("lowest") == kinds.count("random") == 5
    assert by_kind["highest"] == values.max()
    assert by_kind["lowest"] == values.min()
    assert by_kind["50% quantile"] == np.sort(values)[(len(values) - 1) // 2]


def test_histograms_are_shares_of_each_side() -> None:
    histogram = planted_neuron("c1.0").histogram

    assert histogram.inside.sum() == pytest.approx(1)
    assert histogram.outside.sum() == pytest.approx(1)
    assert histogram.names == ("inside", "outside")
    # tanh(1) = 0.76 inside, 0 outside: no bin has both.
    assert not (histogram.inside * histogram.outside).any()


def test_an_opening_bracket_raises_and_a_newline_lowers() -> None:
    assert planted_neuron("c1.1").rises[0].name == "("
    assert planted_neuron("c1.1").falls[0].name == ")"
    assert planted_neuron("c1.2").falls[0].name == "\n"


def test_a_response_is_the_mean_change_after_a_character() -> None:
    subject = make_planted_subject()
    values = unit_values(subject.measured, parse_unit("c1.1", subject.config)).astype(float)
    after = np.flatnonzero(subject.measured.ids[1:] == ALPHABET.index("(")) + 1

    expected = (values[after] - values[after - 1]).mean()

    assert planted_neuron("c1.1").rises[0].value == pytest.approx(expected)


def test_the_inside_unit_makes_the_closing_sign_likelier() -> None:
    report = planted_neuron("h1.0")

    assert report.pushes[0].name == ")"
    assert report.pushes[0].value == pytest.approx(4 - 4 / len(ALPHABET))
    assert "not c1.0 itself" in planted_neuron("c1.0").pushes_note


def test_partners_have_the_largest_weights() -> None:
    report = planted_neuron("h1.0")

    assert (report.reads_from[0].name, report.reads_from[0].value) == ("h1.1", 1000)
    assert report.reads_from[0].more == "f +1000.00"
    assert planted_neuron("h1.1").writes_to[0].name == "h1.0"


def test_a_unit_that_forgets_at_a_newline_keeps_for_a_while() -> None:
    subject = make_planted_subject()
    share = (subject.measured.ids == 0).mean()
    tau = planted_neuron("c1.2").tau

    assert tau is not None
    assert tau == pytest.approx(-1 / (share * np.log(1e-7)), rel=1e-3)


def test_the_lower_layer_pushes_no_character_itself() -> None:
    network = make_network(cell="gru", num_layers=2)
    ids = make_ids(1_200)
    report = inspect_neuron(make_subject(network, ids[:50], ids), InspectConfig(neurons=("h1.2",)))

    assert (report.pushes, report.holds_back) == ((), ())
    assert "read by the layer above" in report.pushes_note


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_every_cell_has_a_card(cell: str) -> None:
    network = make_network(cell=cell, nonlinearity="relu" if cell == "rnn" else "tanh")
    ids = make_ids(1_200)
    report = inspect_neuron(make_subject(network, ids[:50], ids), InspectConfig())

    assert (report.tau is None) == (cell == "rnn")
    assert np.isfinite(report.high)
    assert as_json(replace(report, symbols=()))["unit"] == report.unit


@pytest.mark.parametrize(
    ("values", "inside", "outside"),
    [
        ([0, 1, 2, 3, 4, 5], [4, 5], [0, 1]),
        ([0, 0, 0, 0, 0, 7], [5], [0, 1, 2, 3, 4]),
        ([7, 7, 0, 7, 7, 7], [0, 1, 3, 4, 5], [2]),
    ],
)
def test_a_number_is_high_or_low_by_thirds(
    values: list[int], inside: list[int], outside: list[int]
) -> None:
    trace = record(make_network(), make_ids(6))
    feature = Feature("count", "the count", np.float32(values), is_yes_no=False, closing="b")

    sides = sides_of(feature, trace, Vocab("ab"))

    assert np.flatnonzero(sides.is_inside).tolist() == inside
    assert np.flatnonzero(sides.is_outside).tolist() == outside
    assert sides.names == ("where count is high", "where count is low")
    assert sides.closing == {"b": 1}


def test_a_gate_has_no_card() -> None:
    with pytest.raises(ConfigError, match=r"f1.0 is a gate.*h1.0 or c1.0"):
        planted_neuron("f1.0")


def test_a_table_has_a_row_for_each_token() -> None:
    columns, rows = planted_neuron("c1.0").table()

    assert columns == ["place", "symbol", "c1.0", "inside ( )"]
    assert len(rows) == 200


@pytest.mark.parametrize(("first", "is_known"), [(0, True), (1, False)])
def test_labels_of_a_file_are_shown_where_the_text_in_view_is_the_held_out_one(
    tmp_path: Path, first: int, is_known: bool
) -> None:
    network = make_network(cell="rnn")
    held_out = make_ids(800)
    path = tmp_path / "tone.txt"
    labels = np.random.default_rng(2).integers(0, 2, 800)
    path.write_text(" ".join(map(str, labels)))
    subject = make_subject(network, held_out[first : first + 20], held_out)
    config = InspectConfig(labels_file=str(path), neurons=("h1.2",))
    features = {each.name: each for each in features_of(subject, config)[0]}

    found = labels_in_view(subject, config, features["tone"])

    expected = labels[:20] if is_known else np.full(20, np.nan)
    np.testing.assert_array_equal(found, expected)
