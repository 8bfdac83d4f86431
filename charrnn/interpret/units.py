"""Names of single numbers inside a network, and their values along a text.

A unit is named by its array, layer and number: `h2.17` is number 17, from 0, of the state h of
layer 2, from 1; `c1.203` of the memory of an LSTM; `f1.203` of a gate. c has no bounds, so it is
shown as tanh c, which is what the output gate lets through (Karpathy, Johnson and Fei-Fei 2015).
T = tokens, H = hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.interpret.trace import GATES, Array, Trace

_NAME = re.compile(r"([a-z]+)([0-9]+)\.([0-9]+)", re.ASCII)
_CELLS = {"rnn": "rnn", "lstm": "LSTM", "gru": "GRU"}
_MEANINGS = {
    "h": "state h",
    "c": "memory c, shown as tanh c",
    "i": "input gate i: how much of the new value enters",
    "f": "forget gate f: how much of the memory is kept",
    "g": "new value g",
    "o": "output gate o: how much of the memory is shown",
    "r": "reset gate r: how much of the old state the new value uses",
    "z": "update gate z: how much of the old state is kept",
    "n": "new value n",
}
_IS_BOTH_SIGNS = {"h", "c", "g", "n"}  # the others are shares between 0 and 1


@dataclass(frozen=True, order=True)
class Unit:
    """One number of a network: layer from 1, number from 0.

    >>> str(Unit(1, "c", 203))
    'c1.203'
    """

    layer: int
    array: str
    number: int

    def __str__(self) -> str:
        return f"{self.array}{self.layer}.{self.number}"


def state_arrays(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of the arrays that a layer carries from token to token."""
    return ("h", "c") if config.cell == "lstm" else ("h",)


def unit_arrays(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of all arrays of a layer that have units: the state, then the gates."""
    return (*state_arrays(config), *GATES[config.cell])


def all_units(config: ModelConfig, arrays: Iterable[str] = ()) -> list[Unit]:
    """Return the units of a network, always in this order: by layer, by array, by number.

    arrays: those to take; none means those of the state.
    """
    names = tuple(arrays) or state_arrays(config)
    return [
        Unit(layer, array, number)
        for layer in range(1, config.num_layers + 1)
        for array in names
        for number in range(config.hidden_size)
    ]


def parse_unit(name: str, config: ModelConfig) -> Unit:
    """Return the unit of a network that a name such as c1.203 means.

    Raises:
        ConfigError: the name is no unit's, or this network has no such unit.
    """
    match = _NAME.fullmatch(name.strip())
    arrays = unit_arrays(config)
    example = f"{arrays[-1]}1.0"
    if not match:
        raise ConfigError(
            f"{name!r} is not the name of a unit; give an array, a layer from 1, a point and a "
            f"number from 0, such as {state_arrays(config)[-1]}1.0 or {example}"
        )
    unit = Unit(int(match[2]), match[1], int(match[3]))
    if unit.array not in arrays:
        raise ConfigError(
            f"unit {name}: {_described(config.cell)} has no {unit.array}; "
            f"its arrays are {', '.join(arrays)}, so give one such as {arrays[0]}{match[2]}.0"
        )
    check_layer(config, unit.layer)
    if unit.number >= config.hidden_size:
        raise ConfigError(
            f"unit {name}: layer {unit.layer} has units 0 to {config.hidden_size - 1}; "
            "give a number among them"
        )
    return unit


def check_layer(config: ModelConfig, layer: int | None) -> int:
    """Return a layer from 1 as it is, and the highest for None.

    Raises:
        ConfigError: the network has no such layer.
    """
    if layer is None:
        return config.num_layers
    if not 1 <= layer <= config.num_layers:
        raise ConfigError(f"the model has no layer {layer}; give one from 1 to {config.num_layers}")
    return layer


def check_place(at: int | None, count: int) -> int:
    """Return a place of a text of `count` tokens as it is, and the last for None.

    Raises:
        ConfigError: the text has no such place.
    """
    if not count:
        raise ConfigError("the text is empty; give one with --text or --file")
    if at is not None and not 0 <= at < count:
        raise ConfigError(f"--at {at} lies after the text; give a place from 0 to {count - 1}")
    return count - 1 if at is None else at


def array_values(trace: Trace, array: str, depth: int) -> Array:
    """Return the values of an array after each token (T, H): h as it is, tanh of c, or a gate.

    depth: of the layer, from 0. At the end of a record gates mean nothing: they are NaN.
    """
    if array == "h":
        return trace.hidden(depth)[1:]
    if array == "c":
        values: Array = np.tanh(trace.memory(depth)[1:])
        return values
    gate: Array = np.where(trace.is_end[..., None], np.float32(np.nan), trace.gates(depth)[array])
    return gate


def unit_values(trace: Trace, unit: Unit) -> Array:
    """Return the value of a unit after each token (T,), as `array_values` has it."""
    values: Array = array_values(trace, unit.array, unit.layer - 1)[..., unit.number]
    return values


def state_values(trace: Trace, unit: Unit) -> Array:
    """Return a unit of the state after each token (T,); c as it is, without tanh."""
    arrays = trace.states[unit.layer - 1]
    values: Array = arrays[state_arrays(trace.config).index(unit.array)][1:, unit.number]
    return values


def value_range(array: str, config: ModelConfig) -> tuple[float, float]:
    """Return between which numbers the values of an array lie; a ReLU has no highest.

    >>> value_range("f", ModelConfig(vocab_size=5)), value_range("c", ModelConfig(vocab_size=5))
    ((0.0, 1.0), (-1.0, 1.0))
    """
    if array == "h" and config.cell == "rnn" and config.nonlinearity != "tanh":
        return 0.0, float("inf") if config.nonlinearity == "relu" else 1.0
    return (-1.0, 1.0) if array in _IS_BOTH_SIGNS else (0.0, 1.0)


def meaning_of(array: str) -> str:
    """Return what an array is, in words.

    >>> meaning_of("c")
    'memory c, shown as tanh c'
    """
    return _MEANINGS[array]


def _described(cell: str) -> str:
    """Return a cell with its article."""
    return f"{'a' if cell == 'gru' else 'an'} {_CELLS[cell]}"
