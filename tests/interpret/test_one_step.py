"""One step in float64, against the reference network and its backpropagation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.interpret.one_step import OneStep
from charrnn.interpret.trace import GATES, Trace, record
from charrnn.interpret.unit_step import UnitStep
from charrnn.state import map_state, select_row
from tests.interpret.networks import (
    EACH_RECORD_SHAPE,
    EACH_SHAPE,
    WITH_NGRAMS,
    E,
    H,
    V,
    make_ids,
    make_network,
)
from tests.reference import recurrent

AT, TARGET = 5, 2


def make_step(**shape: Any) -> tuple[OneStep, Trace]:
    trace = record(make_network(dtype=np.float64, **shape), make_ids(7))
    step = OneStep(trace.network, int(trace.ids[AT]), TARGET, select_row(trace.states, AT))
    return step, trace


@EACH_SHAPE
def test_a_step_gives_the_values_of_the_reference(shape: dict[str, Any]) -> None:
    step, trace = make_step(**shape)
    before = map_state(lambda array: array[None], select_row(trace.states, AT))
    found = recurrent.forward(trace.config, step.weights, trace.ids[None, AT : AT + 1], before)
    loss, _ = recurrent.cross_entropy(found.logits, np.array([[TARGET]]))

    np.testing.assert_allclose(step.values["logits"], found.logits[0, 0], rtol=1e-9)
    assert float(step.values["loss"]) == pytest.approx(loss, rel=1e-9)
    for depth, layer in enumerate(found.state[: trace.config.num_layers]):
        for name, part in zip("hc", layer, strict=False):
            np.testing.assert_allclose(step.values[f"{depth}.{name}"], part[0], rtol=1e-9)


@EACH_RECORD_SHAPE
def test_a_step_gives_the_values_of_the_network_in_a_later_record(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    ids = np.array([2, 3, V - 1, 2, 3, 5])
    trace = record(network, ids)
    step = OneStep(network, int(ids[4]), int(ids[5]), select_row(trace.states, 4))

    np.testing.assert_allclose(step.values["logits"], trace.logits[4], atol=1e-5)
    np.testing.assert_allclose(step.values["0.x"], trace.inputs(0)[4], atol=1e-6)
    for depth in trace.depths:
        np.testing.assert_allclose(step.values[f"{depth}.h"], trace.hidden(depth)[5], atol=1e-6)


def test_the_ngrams_of_a_step_are_named_by_their_tokens() -> None:
    network = make_network(cell="gru", dtype=np.float64, **WITH_NGRAMS)
    ids = make_ids(60)
    trace = record(network, ids)
    rows, is_known = trace.ngrams

    for t in range(60):
        step = OneStep(network, int(ids[t]), TARGET, select_row(trace.states, t))
        expected = [
            (tuple(ids[t - n - 1 : t + 1].tolist()), int(rows[n, t]))
            for n in range(2)
            if is_known[n, t]
        ]
        assert step.ngrams == expected
    assert is_known[1].any()
    assert not is_known.all()


def test_the_derivative_by_what_ngrams_add_is_that_by_the_input() -> None:
    step, _ = make_step(cell="lstm", **WITH_NGRAMS)

    assert step.ngrams
    for k in range(E):
        assert step.measure("ngrams", k) == pytest.approx(step.measure("0.x", k), abs=1e-9)


def test_the_table_of_ngrams_is_not_copied_and_its_rows_are_summed_in_float64() -> None:
    network = make_network(cell="lstm", **WITH_NGRAMS)
    trace = record(network, make_ids(60))
    known = trace.ngrams[1].all(0)
    at = int(known.nonzero()[0][0])
    step = OneStep(network, int(trace.ids[at]), TARGET, select_row(trace.states, at))

    for name, array in network.weights.items():
        is_own = step.weights[name] is array
        assert is_own == name.startswith("ngrams."), name
    rows = network.weights["ngrams.weight"][[row for _, row in step.ngrams]]
    assert len(rows) == 2
    np.testing.assert_array_equal(step.values["ngrams"], rows.astype(np.float64).sum(0))
    # Its derivatives by formula begin with the same sum.
    assert step.measure("0.h_before", 3) == pytest.approx(step.gradients.before[0][0][3], abs=1e-9)


@EACH_SHAPE
def test_its_gradients_are_those_of_the_reference(shape: dict[str, Any]) -> None:
    step, trace = make_step(**shape)
    before = map_state(lambda array: array[None], select_row(trace.states, AT))
    ids, targets = trace.ids[None, AT : AT + 1], np.array([[TARGET]])
    _, expected, _ = recurrent.bptt(trace.config, step.weights, ids, targets, before)
    found = step.gradients

    for depth, (from_x, from_h) in enumerate(found.sums):
        layer = f"layers.{depth}"
        np.testing.assert_allclose(expected.weights[f"{layer}.bias_ih"], from_x, atol=1e-8)
        np.testing.assert_allclose(expected.weights[f"{layer}.bias_hh"], from_h, atol=1e-8)
        for mine, theirs in zip(found.before[depth], expected.state[depth], strict=True):
            np.testing.assert_allclose(mine, theirs[0], atol=1e-8)


@EACH_SHAPE
def test_every_formula_agrees_with_a_central_difference(shape: dict[str, Any]) -> None:
    step, _ = make_step(**shape)
    found = step.gradients
    for depth, (from_x, from_h) in enumerate(found.sums):
        for unit in range(H):
            assert step.measure(f"{depth}.y", unit) == pytest.approx(
                found.outputs[depth][unit], abs=1e-8
            )
            assert step.measure(f"{depth}.h", unit) == pytest.approx(
                found.outputs[depth][unit], abs=1e-8
            )
            assert step.measure(f"{depth}.h_before", unit) == pytest.approx(
                found.before[depth][0][unit], abs=1e-8
            )
        for number, gate in enumerate(GATES[step.config.cell][:4] or ("",)):
            if gate == "n_h":
                break
            name = f"{depth}.a_{gate}" if gate else f"{depth}.a"
            assert step.measure(name, 2) == pytest.approx(from_x[number * H + 2], abs=1e-8)
        assert step.measure(f"layers.{depth}.bias_hh", H + 1 if len(from_h) > H else 1) == (
            pytest.approx(from_h[H + 1 if len(from_h) > H else 1], abs=1e-8)
        )


@EACH_SHAPE
def test_what_a_picture_says_of_each_gate_and_state_is_measured_too(shape: dict[str, Any]) -> None:
    step, _ = make_step(**shape)
    unit = UnitStep(step, 0, 4, [str(token) for token in range(step.config.vocab_size)])
    names = {"h′": "h_before", "c′": "c_before"}

    for name, (value, slope) in unit.nodes().items():
        place = names.get(name, name)
        assert value == unit.value(place)
        assert slope == pytest.approx(unit.measure(place), abs=1e-7), name
