"""The view `step`: one step of a network, forward and backward, with the model's own numbers.

Question: what exactly happens when one character is read? A `Line` is one equation for one unit,
with its numbers. Every sum has its largest terms and the rest, which add up to the sum digit for
digit as they are printed. Every derivative has beside it what a small change of the value does.

one_step.py computes the step in float64, step_forward.py and step_backward.py write its equations,
and update.py has what training does with the gradient.

H = hidden size, V = vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.equations import Line
from charrnn.interpret.one_step import OneStep
from charrnn.interpret.step_backward import backward_lines
from charrnn.interpret.step_forward import forward_lines
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array
from charrnn.interpret.unit_step import Guess, UnitStep
from charrnn.interpret.units import check_layer, check_place, parse_unit
from charrnn.interpret.update import WeightUpdate, update_of
from charrnn.state import select_row

SMALL = 8
"""Up to this many units a layer is shown with its whole matrices."""


@dataclass(frozen=True, eq=False)
class StepReport:
    """One step.

    at: the place of the token that is read. target: what comes next, or with is_guess the likeliest
    where the text ends. layer: from 1. unit: its number in the layer, from 0. guesses: the
    likeliest characters and the target. nodes: value and derivative of what the unit computes, by
    name. matrices: all numbers of the layer by name, if it is small. update: what training would
    do, if asked for.
    """

    name: str
    cell: str
    at: int
    symbol: str
    target: str
    is_guess: bool
    layer: int
    unit: int
    hidden_size: int
    forward: tuple[Line, ...]
    backward: tuple[Line, ...]
    guesses: tuple[Guess, ...]
    nodes: dict[str, tuple[float, float]]
    matrices: dict[str, Array]
    update: WeightUpdate | None

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return one row for each equation."""
        columns = ["part", "name", "formula", "value", "central difference", "meaning", "code"]
        rows: list[list[object]] = []
        for part, lines in (("forward", self.forward), ("backward", self.backward)):
            rows += [
                [part, e.name, e.formula, e.value, e.measured, e.meaning, e.code] for e in lines
            ]
        return columns, rows


def inspect_step(subject: Subject, config: InspectConfig) -> StepReport:
    """Return one step of the text in view, at the place, layer and unit that `config` names.

    Without a place it is the last token; without a unit, that whose state changes most.

    Raises:
        ConfigError: there is no such place, layer or unit, or no step is computed there.
    """
    at = _place(subject, config.at)
    depth, unit = _layer_and_unit(subject, config, at)
    before = select_row(subject.trace.states, at)
    token = int(subject.ids[at])
    is_guess = at + 1 >= len(subject.ids)
    read = subject.trace.part(at, at + 1)
    target = int(read.logits[0].argmax() if is_guess else subject.ids[at + 1])
    step = OneStep(subject.network, token, target, before)
    names = [subject.vocab.name_of(each) for each in range(subject.config.vocab_size)]
    own = UnitStep(step, depth, unit, names)
    return StepReport(
        name=subject.name,
        cell=subject.config.cell,
        at=at,
        symbol=names[token],
        target=names[target],
        is_guess=is_guess,
        layer=depth + 1,
        unit=unit,
        hidden_size=subject.config.hidden_size,
        forward=tuple(forward_lines(own)),
        backward=tuple(backward_lines(own)),
        guesses=tuple(own.guesses()),
        nodes=own.nodes(),
        matrices=own.matrices() if subject.config.hidden_size <= SMALL else {},
        update=update_of(subject, at, depth, unit) if config.train else None,
    )


def _place(subject: Subject, at: int | None) -> int:
    """Return the place of the step."""
    check_place(at, len(subject.ids))
    is_end = subject.trace.is_end
    places = np.flatnonzero(~is_end)
    if not len(places):
        raise ConfigError("the text has no character to look at; give one with --text or --file")
    if at is None:
        return int(places[-1])
    if is_end[at]:
        raise ConfigError(
            f"place {at} ends a record: the state is set back there, and no step is computed; give "
            "another --at"
        )
    return at


def _layer_and_unit(subject: Subject, config: InspectConfig, at: int) -> tuple[int, int]:
    """Return the layer, from 0, and the number of the unit; a named unit has its own layer."""
    if config.neurons:
        named = parse_unit(config.neurons[0], subject.config)
        return named.layer - 1, named.number
    depth = check_layer(subject.config, config.layer) - 1
    memory = subject.trace.memory(depth)
    return depth, int(np.abs(memory[at + 1] - memory[at]).argmax())
