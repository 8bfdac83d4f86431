"""A network with units held: exact in every shape, and seen in what it says next."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.generator import Generator
from charrnn.generation.network import Network
from charrnn.generation.text_format import TextFormat
from charrnn.interpret.clamp import ClampedNetwork, Sides, clamp_test
from charrnn.interpret.features import make_features
from charrnn.interpret.neuron import sides_of
from charrnn.interpret.trace import Array, record, record_lanes, sigmoid
from charrnn.interpret.units import Unit
from charrnn.state import State, iter_arrays
from charrnn.text.vocab import Vocab
from tests.interpret.networks import (
    EACH_RECORD_SHAPE,
    EACH_SHAPE,
    added_by_ngrams,
    make_ids,
    make_network,
)
from tests.interpret.planted import ALPHABET, CUT_OFF, make_planted, make_planted_subject


def slow_step(network: Network, token: int, state: State, clamps: dict[Unit, float]) -> State:
    """Return the state after a token, layer by layer by the equations of docs/equations.md."""
    config, weights = network.config, network.weights
    x: Array = np.float32(config.embedding_scale) * weights["embedding.weight"][token]
    after: list[Any] = []
    context: State = ()
    if config.ngram_rows:
        x = x + added_by_ngrams(network, token, state[-1][0])
        recent = [weights["ngrams.key"][token], *state[-1][0][:-1]]
        context = ((np.array(recent, np.float32),),)
    for depth in range(config.num_layers):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        u, w, b, d = (weights[f"layers.{depth}.{name}"] for name in names)
        before = state[depth]
        from_x, from_h = u @ x + b, w @ before[0] + d
        held = {unit: value for unit, value in clamps.items() if unit.layer == depth + 1}
        if config.cell == "lstm":
            i, f, g, o = np.split(from_x + from_h, 4)
            c = sigmoid(f) * before[1] + sigmoid(i) * np.tanh(g)
            for unit, value in held.items():
                if unit.array == "c":
                    c[unit.number] = value
            layer = [sigmoid(o) * np.tanh(c), c]
        elif config.cell == "gru":
            (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(from_x, 3), np.split(from_h, 3)
            z = sigmoid(x_z + h_z)
            layer = [(1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * before[0]]
        else:
            functions: dict[str, Any] = {"tanh": np.tanh, "logistic": sigmoid}
            functions["relu"] = lambda a: np.maximum(a, 0)
            layer = [functions[config.nonlinearity](from_x + from_h)]
        for unit, value in held.items():
            if unit.array == "h":
                layer[0][unit.number] = value
        x = layer[0] + x if config.residual and depth else layer[0]
        after.append(tuple(layer))
    return (*after, *context)


@EACH_SHAPE
def test_a_held_network_obeys_the_equations(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    clamps = {Unit(1, "h", 2): 0.25}
    if shape["cell"] == "lstm":
        clamps[Unit(shape["num_layers"], "c", 4)] = -0.5
    held = ClampedNetwork(network, clamps)
    state = expected = network.initial_state()

    for token in make_ids(6).tolist():
        state = held.advance(token, state)
        expected = slow_step(network, token, expected, clamps)

    for own, other in zip(iter_arrays(state), iter_arrays(expected), strict=True):
        assert np.allclose(own, other, atol=2e-6)


@EACH_SHAPE
def test_texts_side_by_side_are_held_as_one(shape: dict[str, Any]) -> None:
    letter = "c" if shape["cell"] == "lstm" else "h"
    held = ClampedNetwork(make_network(**shape), {Unit(1, letter, 3): 0.5})
    ids = make_ids(5, 4)

    together = record(held, ids)

    for lane in range(4):
        alone = record(held, ids[:, lane])
        assert np.allclose(together.hidden(0)[:, lane], alone.hidden(0), atol=2e-6)
        assert np.allclose(together.logits[:, lane], alone.logits, atol=2e-5)


def test_a_unit_held_at_its_own_value_changes_little() -> None:
    network = make_network(cell="lstm")
    free = record(network, make_ids(1))
    held = ClampedNetwork(network, {Unit(1, "c", 0): float(free.memory(0)[1, 0])})

    assert np.allclose(record(held, make_ids(1)).logits, free.logits, atol=1e-6)


def test_nothing_held_is_the_network_bit_for_bit() -> None:
    network = make_network(cell="lstm", num_layers=2)
    ids = make_ids(20)

    assert np.array_equal(
        record(ClampedNetwork(network, {}), ids).logits, record(network, ids).logits
    )


def test_a_unit_that_nothing_reads_changes_nothing_bit_for_bit() -> None:
    network = make_planted()
    network.weights["layers.0.weight_hh"][:, CUT_OFF] = 0
    network = Network(network.config, network.weights)
    ids = make_planted_subject(300).ids

    for unit in (Unit(1, "c", CUT_OFF), Unit(1, "h", CUT_OFF)):
        held = record(ClampedNetwork(network, {unit: 0.7}), ids)
        assert np.array_equal(held.logits, record(network, ids).logits)
        assert not np.array_equal(held.hidden(0), record(network, ids).hidden(0))


def test_the_state_after_the_end_of_a_record_is_the_initial_one() -> None:
    network = make_network(cell="gru", has_end=True)
    held = ClampedNetwork(network, {Unit(1, "h", 1): 0.9})
    end = network.config.vocab_size - 1

    state = held.advance(end, held.advance(2, held.initial_state()))

    assert np.array_equal(state[0][0], network.initial_state()[0][0])


@pytest.mark.parametrize("has_table", [True, False])
@EACH_RECORD_SHAPE
def test_nothing_held_is_the_network_with_ngrams(
    shape: dict[str, Any], has_table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_table:  # of products with the first layer, as of a large vocabulary
        monkeypatch.setattr("charrnn.generation.network._LARGEST_TABLE", 0)
    network = make_network(**shape)
    ids = make_ids(40)

    held, free = (record(each, ids) for each in (ClampedNetwork(network, {}), network))

    assert np.allclose(held.logits, free.logits, atol=1e-5)
    assert np.array_equal(held.states[-1], free.states[-1])


@EACH_RECORD_SHAPE
def test_texts_with_records_are_held_side_by_side_as_one(shape: dict[str, Any]) -> None:
    held = ClampedNetwork(make_network(**shape), {Unit(1, "h", 3): 0.5})
    ids = make_ids(30, 3)

    together = record(held, ids)

    for lane in range(3):
        alone = record(held, ids[:, lane])
        for ours, theirs in zip(
            iter_arrays(alone.states), iter_arrays(together.states), strict=True
        ):
            assert np.allclose(ours, theirs[:, lane], atol=2e-6)


def test_a_gate_cannot_be_held() -> None:
    with pytest.raises(ConfigError, match=r"unit f1.0 cannot be held.*h1.0 or c1.0"):
        ClampedNetwork(make_network(cell="lstm"), {Unit(1, "f", 0): 1.0})


def test_a_generator_samples_from_a_held_network() -> None:
    network = make_planted()
    vocab = Vocab(ALPHABET)

    def write(inside: float) -> str:
        held = ClampedNetwork(network, {Unit(1, "c", 0): inside})
        stream = Generator(held, vocab, TextFormat()).generate("a", length=400, seed=2)
        return "".join(stream)

    assert write(0).count(")") < 80
    assert write(2).count(")") > 150


@cache
def planted_sides() -> tuple[Any, Sides]:
    subject = make_planted_subject(2_000)
    features = make_features(subject.vocab, subject.measured.ids, InspectConfig())
    inside = next(each for each in features if each.name == "inside ( )")
    return subject.measured, sides_of(inside, subject.measured, subject.vocab)


def test_holding_the_planted_unit_outside_takes_the_closing_sign_away() -> None:
    trace, sides = planted_sides()

    report = clamp_test(trace, Unit(1, "c", 0), sides)

    assert (report.outside, report.inside) == (0, 1)
    assert report.free.closing_inside > 0.5
    assert report.held_outside.closing_inside == pytest.approx(report.free.closing_outside, rel=0.2)
    assert report.held_inside.closing_outside == pytest.approx(report.free.closing_inside, rel=0.2)
    assert report.held_outside.closing_outside == pytest.approx(report.free.closing_outside)
    assert len(report.controls) == 5


def test_holding_a_unit_that_nothing_reads_shows_no_use() -> None:
    trace, sides = planted_sides()

    report = clamp_test(trace, Unit(1, "c", CUT_OFF), sides)

    assert report.held_outside == report.free == report.held_inside
    assert not report.is_used
    assert "no use of this unit is shown" in report.sentence


def test_effects_are_means_of_the_probabilities_of_the_network() -> None:
    trace, sides = planted_sides()
    report = clamp_test(trace, Unit(1, "c", 0), sides)
    ids = trace.ids
    found = record_lanes(trace.network, ids[:-1], 48)
    nats = -np.take_along_axis(found.log_probabilities, ids[1:, None], 1)[:, 0]
    mask = sides.is_inside[:-1]

    assert report.closing == (")",)
    assert report.free.nats_inside == pytest.approx(nats[mask].mean(), rel=1e-5)
    closing = np.exp(found.log_probabilities[:, ALPHABET.index(")")])
    assert report.free.closing_inside == pytest.approx(closing[mask].mean(), rel=1e-5)
