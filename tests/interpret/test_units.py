"""Units: what a name means, where it is refused, and the numbers along a text."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.interpret.trace import record
from charrnn.interpret.units import (
    Unit,
    all_units,
    array_values,
    check_layer,
    check_place,
    parse_unit,
    state_values,
    unit_values,
    value_range,
)
from tests.interpret.networks import V, make_ids, make_network


def shape(cell: str, **more: object) -> ModelConfig:
    return ModelConfig(cell=cell, vocab_size=5, hidden_size=4, num_layers=2, **more)  # type: ignore[arg-type]


def test_every_unit_is_found_by_its_name() -> None:
    for cell, count in (("rnn", 1), ("lstm", 2), ("gru", 1)):
        units = all_units(shape(cell))
        assert len(units) == len(set(units)) == 2 * 4 * count
        assert [parse_unit(str(unit), shape(cell)) for unit in units] == units


def test_units_are_ordered_by_layer_then_array_then_number() -> None:
    names = [str(unit) for unit in all_units(shape("lstm"))]

    assert names[:5] == ["h1.0", "h1.1", "h1.2", "h1.3", "c1.0"]
    assert names[8] == "h2.0"
    assert str(all_units(shape("gru"), ["z"])[0]) == "z1.0"


@pytest.mark.parametrize("name", ["", "h", "h1", "1.3", "h1.x", "h-1.3", "h1.3.4", "h1,3", "h¹.3"])
def test_what_is_no_name_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ConfigError, match=r"not the name of a unit.*such as c1\.0 or o1\.0"):
        parse_unit(name, shape("lstm"))


def test_an_array_that_the_cell_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unit c2\.3: a GRU has no c; its arrays are h, r, z, n"):
        parse_unit("c2.3", shape("gru"))
    with pytest.raises(ConfigError, match="an rnn has no f"):
        parse_unit("f1.3", shape("rnn"))


def test_a_layer_and_a_number_out_of_range_are_refused() -> None:
    for name, message in (
        ("h3.0", "no layer 3; give one from 1 to 2"),
        ("h0.0", "no layer 0"),
        ("f1.4", "layer 1 has units 0 to 3"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_unit(name, shape("lstm"))


def test_the_highest_layer_is_taken_where_none_is_named() -> None:
    assert check_layer(shape("gru"), None) == 2
    assert check_layer(shape("gru"), 1) == 1


def test_values_are_the_states_to_the_last_bit_and_tanh_of_the_memory() -> None:
    trace = record(make_network(cell="lstm", num_layers=2), make_ids(9))

    assert np.array_equal(unit_values(trace, Unit(2, "h", 3)), trace.hidden(1)[1:, 3])
    assert np.array_equal(unit_values(trace, Unit(1, "c", 5)), np.tanh(trace.memory(0)[1:, 5]))
    assert np.array_equal(unit_values(trace, Unit(2, "f", 0)), trace.gates(1)["f"][:, 0])


def test_gates_have_no_value_where_a_record_ends() -> None:
    trace = record(make_network(cell="gru", has_end=True), np.array([1, V - 1, 2]))

    assert np.isnan(unit_values(trace, Unit(1, "z", 0))).tolist() == [False, True, False]
    assert not np.isnan(unit_values(trace, Unit(1, "h", 0))).any()


def test_a_value_of_the_state_is_c_without_tanh() -> None:
    trace = record(make_network(cell="lstm", num_layers=2), make_ids(9))

    for unit in all_units(trace.config):
        own = state_values(trace, unit)
        shown = np.tanh(own) if unit.array == "c" else own
        assert np.array_equal(shown, unit_values(trace, unit))


@pytest.mark.parametrize(("at", "expected"), [(None, 8), (0, 0), (8, 8)])
def test_a_place_is_counted_from_0_and_the_last_one_without_a_number(
    at: int | None, expected: int
) -> None:
    assert check_place(at, 9) == expected


@pytest.mark.parametrize(("at", "count"), [(9, 9), (-1, 9), (None, 0), (0, 0)])
def test_a_place_that_is_not_there_is_refused(at: int | None, count: int) -> None:
    with pytest.raises(ConfigError, match=r"from 0 to 8|the text is empty"):
        check_place(at, count)


def test_values_lie_within_their_range() -> None:
    for cell, nonlinearity in (("rnn", "relu"), ("rnn", "logistic"), ("lstm", "tanh")):
        trace = record(make_network(cell=cell, nonlinearity=nonlinearity), make_ids(30))
        for array in ("h", "i") if cell == "lstm" else ("h",):
            low, high = value_range(array, trace.config)
            values = array_values(trace, array, 0)
            assert (values >= low).all()
            assert (values <= high).all()
