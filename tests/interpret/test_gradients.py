"""How far back a loss reaches, against networks whose gradient is known in closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives, grad_features, grad_of_nats
from charrnn.interpret.gradients import (
    REACH_CHARS,
    inspect_gradients,
    later_losses,
    measure_reach,
)
from charrnn.interpret.pictures.gradients import draw_gradients
from charrnn.interpret.report import as_json
from charrnn.interpret.spectrum import (
    Spectrum,
    half_lives,
    jacobian_singular_values,
    lyapunov_spectrum,
)
from charrnn.interpret.trace import record
from charrnn.state import map_state, select_row
from tests.interpret.networks import WITH_NGRAMS, H, V, make_ids, make_network, make_subject
from tests.interpret.svg_checks import assert_is_picture

RHO = 0.9


def make_linear(matrix: Any) -> Network:
    """Return an rnn whose relus are all open: h = W h + b + a little of the input."""
    network = make_network(cell="rnn", nonlinearity="relu", initial_state="learned")
    rest = np.full(H, 50.0)
    network.weights["layers.0.weight_hh"] = np.float32(matrix)
    network.weights["layers.0.weight_ih"] *= np.float32(0.01)
    network.weights["layers.0.bias_ih"] = np.float32(rest - matrix @ rest)
    network.weights["layers.0.bias_hh"][:] = 0
    network.weights["layers.0.initial"] = np.float32(rest[None])
    network.weights["output.weight"] *= np.float32(0.01)
    return Network(network.config, network.weights)


def orthogonal() -> Any:
    return np.linalg.qr(np.random.default_rng(7).standard_normal((H, H)))[0]


def test_the_gradient_of_a_linear_network_shrinks_by_its_factor_with_each_character() -> None:
    report = inspect_gradients(
        make_subject(make_linear(RHO * orthogonal()), make_ids(600)), InspectConfig()
    )

    (reach,) = report.reaches
    assert report.reach_chars == REACH_CHARS
    expected = RHO ** np.arange(REACH_CHARS + 1)
    assert np.allclose(reach.relative, expected, rtol=1e-4, atol=0)
    assert np.allclose(reach.size[1] / reach.size[1, 0], expected, rtol=1e-4, atol=0)
    assert reach.factor == pytest.approx(RHO, rel=1e-5)
    assert reach.bound == pytest.approx(RHO, rel=1e-5)
    assert reach.half_life_chars == pytest.approx(np.log(2) / -np.log(RHO), rel=1e-4)


def test_the_gradient_of_an_identity_network_stays() -> None:
    subject = make_subject(make_linear(np.eye(H)), make_ids(600))

    (reach,) = inspect_gradients(subject, InspectConfig()).reaches

    assert np.allclose(reach.relative, 1, rtol=1e-5)
    assert reach.half_life_chars == np.inf


def test_all_exponents_of_a_linear_network_are_the_logarithm_of_its_factor() -> None:
    trace = record(make_linear(RHO * orthogonal()), make_ids(300))

    spectrum = lyapunov_spectrum(trace)

    assert spectrum.chars == 225
    assert spectrum.exponents_nats == pytest.approx([np.log(RHO)] * H, rel=1e-5)


def test_exponents_are_told_apart_largest_first() -> None:
    factors = np.array([0.5, 0.99, 0.8, 0.3, 0.9, 0.7])
    basis = orthogonal()
    trace = record(make_linear(basis @ np.diag(factors) @ basis.T), make_ids(400))

    found = lyapunov_spectrum(trace, count=4)

    assert found.exponents_nats == pytest.approx(np.log([0.99, 0.9, 0.8, 0.7]), rel=1e-3)
    assert found.half_lives_chars == pytest.approx(
        half_lives(np.log([0.99, 0.9, 0.8, 0.7])), rel=1e-3
    )


def test_singular_values_of_a_linear_network_are_powers() -> None:
    network = make_linear(RHO * orthogonal())

    found = jacobian_singular_values(network, make_ids(100), network.initial_state())

    assert found.keys() == {1, 10, 100}
    for span, values in found.items():
        assert values == pytest.approx([RHO**span] * H, rel=1e-4)


@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
def test_a_jacobian_is_made_of_central_differences(ngrams: dict[str, Any]) -> None:
    network = make_network(cell="lstm", dtype=np.float64, **ngrams)
    ids = make_ids(10)
    start = select_row(record(network, make_ids(5, seed=9)).states, -1)

    columns = []
    for unit in np.eye(2 * H) * 1e-6:
        ends = []
        for sign in (1, -1):
            h, c = start[0]
            moved = ((h + sign * unit[:H], c + sign * unit[H:]), *start[1:])
            after = select_row(record(network, ids, moved).states, -1)
            ends.append(np.concatenate(after[0]))
        columns.append((ends[0] - ends[1]) / 2e-6)

    found = jacobian_singular_values(network, ids, start, spans=(10,))[10]
    expected = np.linalg.svd(np.stack(columns), compute_uv=False)
    assert found[:5] == pytest.approx(expected[:5], rel=1e-5)


def test_a_jacobian_reads_the_table_of_ngrams_as_it_is() -> None:
    network = make_network(cell="lstm", **WITH_NGRAMS)
    assert network.weights["ngrams.weight"].dtype == np.float32
    weights = {name: each.astype(np.float64) for name, each in network.weights.items()}
    double = Network(network.config, weights)
    ids = make_ids(10)

    found, expected = (
        jacobian_singular_values(each, ids, network.initial_state(), spans=(10,))[10][:5]
        for each in (network, double)
    )

    assert found == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_last_tokens_are_no_direction_of_the_state(cell: str) -> None:
    subject = make_subject(make_network(cell=cell, num_layers=2, **WITH_NGRAMS), make_ids(400))

    report = inspect_gradients(subject, InspectConfig(jacobian=True))

    numbers = 2 * H * subject.config.state_parts
    arrays = ["h1", "c1", "h2", "c2"] if cell == "lstm" else ["h1", "h2"]
    assert [reach.array for reach in report.reaches] == arrays
    assert len(lyapunov_spectrum(subject.trace, count=99).exponents_nats) == numbers
    assert report.jacobian is not None
    assert len(report.jacobian[1]) == numbers


@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
def test_the_loss_reaches_the_memory_of_an_lstm_through_its_output(ngrams: dict[str, Any]) -> None:
    network = make_network(cell="lstm", **ngrams)
    ids = make_ids(40)

    h1, c1 = measure_reach(network, ids, np.array([30]), reach=5, run_up=24)

    trace = record(network, ids[:30])
    by_h = grad_features(network, grad_of_nats(trace.log_probabilities[-1], ids[30]))
    slope = trace.gates(0)["o"][-1] * (1 - np.tanh(trace.memory(0)[-1]) ** 2)
    assert h1[0] == pytest.approx([np.linalg.norm(by_h)], rel=1e-5)
    assert c1[0] == pytest.approx([np.linalg.norm(by_h * slope)], rel=1e-5)


def test_the_loss_reaches_a_lower_layer_within_the_step() -> None:
    trace = record(make_network(cell="gru", num_layers=2), make_ids(4))
    features = np.random.default_rng(6).normal(size=H).astype(np.float32)
    zeros = map_state(lambda array: array[0] * 0, trace.states)

    step = Derivatives(trace).back(3, zeros, features)

    weight_ih = trace.network.weights["layers.1.weight_ih"]
    assert np.array_equal(step.whole[1][0], features)
    assert np.allclose(step.whole[0][0], step.sums[1][0] @ weight_ih)


def test_a_gradient_that_float32_cannot_hold_is_followed_on() -> None:
    subject = make_subject(make_linear(0.01 * orthogonal()), make_ids(600))

    (reach,) = inspect_gradients(subject, InspectConfig()).reaches

    assert reach.relative[1, 100] == pytest.approx(1e-200, rel=1e-2)
    assert reach.factor == pytest.approx(0.01, rel=1e-3)


def test_nothing_is_measured_behind_the_end_of_a_record() -> None:
    network = make_network(cell="gru", has_end=True)
    ids = make_ids(40, size=V - 1)
    ids[26] = V - 1

    (g,) = measure_reach(network, ids, np.array([30]), reach=8, run_up=10)

    assert np.isfinite(g[:3]).all()  # states after 29, 28 and 27
    assert np.isnan(g[3:]).all()


def test_a_short_held_out_text_is_followed_less_far() -> None:
    report = inspect_gradients(make_subject(make_network(), make_ids(90)), InspectConfig())

    assert (report.reach_chars, report.run_up_chars, report.places) == (30, 30, 29)
    assert "only 90 tokens" in report.notes[0]


def test_a_held_out_text_of_a_few_characters_is_refused() -> None:
    subject = make_subject(make_network(), make_ids(20))

    with pytest.raises(ConfigError, match="20 tokens, too few"):
        inspect_gradients(subject, InspectConfig())


def test_each_later_loss_sends_what_it_sends_alone() -> None:
    subject = make_subject(make_network(cell="lstm", num_layers=2, dtype=np.float64), make_ids(9))
    trace = subject.trace

    later = later_losses(subject, InspectConfig(layer=1))

    assert later.array == "c1"
    assert later.sends.shape == (9, 9)
    assert (np.tril(later.sends, -1) == 0).all()  # no loss reaches a state after it
    for loss in (0, 3, 7):  # each alone, by another road
        part = trace.part(0, loss + 1)
        grad = np.zeros_like(part.logits)
        grad[loss] = grad_of_nats(part.log_probabilities[loss], trace.ids[loss + 1])
        found = Derivatives(part).gradients(grad)
        for s in range(loss + 1):
            by_c = found.steps[s].whole[0][1]
            assert later.sends[s, loss] == pytest.approx(np.linalg.norm(by_c))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"layer": 9}, "no layer 9; give one from 1 to 2"), ({"at": 60}, "at=60 lies after the text")],
)
def test_a_layer_or_a_place_that_is_not_there_is_refused(
    settings: dict[str, int], message: str
) -> None:
    subject = make_subject(make_network(num_layers=2), make_ids(60))

    with pytest.raises(ConfigError, match=message):
        inspect_gradients(subject, InspectConfig(**settings))


def test_the_run_says_where_training_cut_the_gradient() -> None:
    subject = make_subject(make_network(), make_ids(100))
    summary = {"resolved": {"seq_len": 64}}
    trained = replace(subject, file=replace(subject.file, summary=summary))

    assert inspect_gradients(subject, InspectConfig()).seq_len is None
    assert inspect_gradients(trained, InspectConfig()).seq_len == 64


def test_a_report_is_json_and_a_table_and_the_same_each_time() -> None:
    subject = make_subject(make_network(cell="lstm"), make_ids(100))

    report = inspect_gradients(subject, InspectConfig(jacobian=True))

    again = inspect_gradients(replace(subject), InspectConfig(jacobian=True))
    assert as_json(report) == as_json(again)
    columns, rows = report.table()
    assert len(rows) == report.reach_chars + 1
    assert {len(row) for row in rows} == {len(columns)}
    assert report.jacobian is not None
    assert isinstance(report.untrained_spectrum, Spectrum)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_one_model_is_drawn_with_all_its_layers(cell: str) -> None:
    report = inspect_gradients(
        make_subject(make_network(cell=cell, num_layers=2), make_ids(200)),
        InspectConfig(jacobian=True),
    )

    words = assert_is_picture(draw_gradients({"a <b>": report}))

    kind = "c" if cell == "lstm" else "h"
    assert {f"{kind}1", f"{kind}2", "before training"} <= set(words)
    assert any("a <b>: which later losses" in word for word in words)
    assert any("at most" in word for word in words) == (cell == "rnn")


def test_several_models_are_drawn_on_one_scale() -> None:
    reports = {
        cell: inspect_gradients(
            make_subject(make_network(cell=cell), make_ids(200)), InspectConfig()
        )
        for cell in ("rnn", "gru")
    }

    words = assert_is_picture(draw_gradients(reports))

    assert {"rnn h1", "gru h1"} <= set(words)
    assert draw_gradients(reports) == draw_gradients(reports)


def test_a_network_without_gradients_is_drawn() -> None:
    network = make_linear(0 * orthogonal())
    network.weights["layers.0.bias_ih"][:] = -50

    report = inspect_gradients(
        make_subject(Network(network.config, network.weights), make_ids(200)), InspectConfig()
    )

    assert_is_picture(draw_gradients({"dead": report}))
    assert report.reaches[0].size[1, 1:].max() == 0
    assert report.spectrum.exponents_nats[0] == -np.inf


def test_records_are_followed_to_their_ends() -> None:
    ids = make_ids(400, size=V - 1)
    ids[15::40] = V - 1
    ids[200:335] = 1  # one long record
    subject = make_subject(make_network(cell="lstm", has_end=True), ids)

    report = inspect_gradients(subject, InspectConfig(jacobian=True))

    assert report.reach_chars == 133
    assert np.isfinite(report.reaches[0].size[:, :20]).all()
    assert report.jacobian is not None
    assert list(report.jacobian) == [1, 10, 100]
    assert np.isfinite(report.spectrum.exponents_nats).all()
    assert_is_picture(draw_gradients({"records": report}))
