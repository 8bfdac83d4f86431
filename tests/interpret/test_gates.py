"""View `gates`: saturation and time constants of networks whose gates are known."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.gates import GatesReport, inspect_gates
from charrnn.interpret.pictures.gates import draw_gates
from charrnn.interpret.trace import record
from tests.interpret.networks import H, V, make_ids, make_network, make_subject

N = 60


def constant_network(gate: int, bias: float, **shape: Any) -> Network:
    """Return a network without weights, whose gate of this number has a bias."""
    network = make_network(**shape)
    for name, weight in network.weights.items():
        if name.startswith("layers."):
            weight[:] = 0
    network.weights["layers.0.bias_ih"].reshape(-1, H)[gate] = bias
    return network


def report_of(network: Network, ids: Any = None, **settings: Any) -> GatesReport:
    ids = make_ids(N) if ids is None else ids
    return inspect_gates(make_subject(network, ids), InspectConfig(**settings))


def test_gates_without_weights_are_the_sigmoid_of_their_bias() -> None:
    gates = record(constant_network(1, 0.75, cell="lstm"), make_ids(N)).gates(0)

    assert np.unique(gates["f"]) == pytest.approx([1 / (1 + np.exp(-0.75))], abs=1e-7)
    assert np.unique(gates["i"]) == 0.5


def test_an_open_forget_gate_is_right_saturated_and_remembers_long() -> None:
    report = report_of(constant_network(1, 10, cell="lstm"))

    forget = report.saturations[1]
    assert (forget.gate, forget.layer) == ("f", 1)
    assert (forget.right == 1).all()
    assert (forget.left == 0).all()
    assert forget.right_units == H
    sigmoid = 1 / (1 + np.exp(-10))
    assert report.time_constants[0].tau == pytest.approx(-1 / np.log(sigmoid), rel=2e-3)


def test_a_shut_gate_is_left_saturated_and_remembers_nothing() -> None:
    report = report_of(constant_network(1, -30, cell="gru"))

    update = report.saturations[1]
    assert (update.gate, update.right_means, update.left_means) == (
        "z",
        "keeps the state",
        "replaces the state",
    )
    assert (update.left == 1).all()
    assert (report.time_constants[0].tau < 0.1).all()


def test_a_gate_that_is_always_one_remembers_for_ever() -> None:
    report = report_of(constant_network(1, 1000, cell="lstm"))

    assert np.isinf(report.time_constants[0].tau).all()
    assert "inf" not in draw_gates({"book": report}).lower()


@pytest.mark.parametrize(
    ("shape", "gates"),
    [
        ({"cell": "lstm", "num_layers": 2}, ["i1", "f1", "o1", "i2", "f2", "o2"]),
        ({"cell": "gru"}, ["r1", "z1"]),
        ({"cell": "rnn"}, ["h1"]),
        ({"cell": "rnn", "nonlinearity": "relu"}, ["h1"]),
        ({"cell": "rnn", "nonlinearity": "logistic"}, ["h1"]),
    ],
)
def test_shares_are_those_of_a_plain_count(shape: dict[str, Any], gates: list[str]) -> None:
    network = make_network(**shape)
    subject = make_subject(network, make_ids(9), make_ids(N))

    report = inspect_gates(subject, InspectConfig())

    assert [each.name for each in report.saturations] == gates
    trace = subject.measured
    for each in report.saturations:
        depth = each.layer - 1
        values = trace.hidden(depth)[1:] if each.gate == "h" else trace.gates(depth)[each.gate]
        high, low = 0.9, 0.1
        if shape.get("nonlinearity") == "relu":
            high, low = 0, 1e-30
        elif each.gate == "h" and "nonlinearity" not in shape:
            low = -0.9
        assert each.right == pytest.approx((values > high).mean(0))
        assert each.left == pytest.approx((values < low).mean(0))
        assert (each.right + each.left <= 1).all()
        assert (each.untrained_right + each.untrained_left <= 1).all()
    assert len(report.time_constants) == (0 if shape["cell"] == "rnn" else len(trace.depths))


def test_time_constants_are_the_mean_logarithm_of_the_gate_that_keeps() -> None:
    for cell, gate in (("lstm", "f"), ("gru", "z")):
        subject = make_subject(make_network(cell=cell), make_ids(9), make_ids(N))

        constants = inspect_gates(subject, InspectConfig()).time_constants[0]

        values = np.float64(subject.measured.gates(0)[gate])
        assert constants.tau == pytest.approx(-1 / np.log(values).mean(0), rel=1e-4)
        control = np.float64(subject.measured_untrained.gates(0)[gate])
        assert constants.untrained == pytest.approx(-1 / np.log(control).mean(0), rel=1e-4)


def test_ends_of_records_are_left_out() -> None:
    network = make_network(cell="lstm", has_end=True)
    ids = make_ids(N)
    is_end = ids == V - 1
    assert is_end.any()

    report = report_of(network, ids)

    values = record(network, ids).gates(0)["o"][~is_end]
    assert report.tokens == (~is_end).sum()
    assert report.saturations[2].right == pytest.approx((values > 0.9).mean(0))


def test_a_unit_that_is_always_zero_is_dead() -> None:
    network = make_network(cell="rnn", nonlinearity="relu")
    network.weights["layers.0.bias_ih"][2] = -1000

    saturation = report_of(network).saturations[0]

    assert saturation.left[2] == 1
    assert saturation.dead_units >= 1
    assert saturation.figures[2] == f"{saturation.dead_units} of {H} always 0"


def test_one_layer_can_be_chosen() -> None:
    network = make_network(cell="gru", num_layers=3)

    assert [each.name for each in report_of(network, layer=2).saturations] == ["r2", "z2"]
    with pytest.raises(ConfigError, match="no layer 4"):
        report_of(network, layer=4)


def test_a_table_has_a_row_for_each_unit_of_a_gate() -> None:
    columns, rows = report_of(make_network(cell="lstm")).table()

    assert columns[:4] == ["unit", "right_share", "left_share", "time_constant_tokens"]
    assert len(columns) == len(rows[0]) == 7
    assert [row[0] for row in rows[:: H + 1]] == ["i1.0", "f1.1", "o1.2"]
    assert rows[0][3] is None
    assert rows[H][3] is not None


def test_progress_reaches_its_end() -> None:
    seen: list[tuple[int, int]] = []
    subject = make_subject(make_network(cell="gru"), make_ids(N))

    inspect_gates(subject, InspectConfig(), lambda done, total: seen.append((done, total)))

    assert seen == [(N, 2 * N), (2 * N, 2 * N)]


def test_a_picture_has_a_row_of_charts_for_each_layer_of_each_model() -> None:
    reports = {
        "lstm": report_of(make_network(cell="lstm", num_layers=2)),
        "rnn <relu>": report_of(make_network(cell="rnn", nonlinearity="relu")),
    }

    svg = draw_gates(reports)

    ElementTree.fromstring(svg)
    assert [svg.count(words) for words in (", layer 1<", ", layer 2<", "<g transform")] == [2, 1, 9]
    assert "nan" not in svg.lower()
    assert svg == draw_gates(reports)
