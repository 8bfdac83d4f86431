"""The view `unrolled`: the network along a window of the text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.trace import Array, Trace, record
from charrnn.interpret.unrolled import COLUMNS, UnrolledReport, inspect_unrolled
from charrnn.state import State, select_row
from tests.interpret.networks import CELLS, WITH_NGRAMS, H, make_ids, make_network, make_subject

AT = 16


def make_report(config: InspectConfig | None = None, **shape: Any) -> UnrolledReport:
    subject = make_subject(make_network(num_layers=2, **shape), make_ids(30))
    return inspect_unrolled(subject, config or InspectConfig(at=AT))


def test_a_window_of_twelve_characters_holds_the_place_that_is_looked_at() -> None:
    for at in (0, 5, AT, 29):
        report = make_report(InspectConfig(at=at))
        assert len(report.symbols) == COLUMNS
        assert report.start <= at < report.start + COLUMNS


def test_a_short_text_is_shown_whole() -> None:
    subject = make_subject(make_network(), make_ids(3))

    assert inspect_unrolled(subject, InspectConfig()).symbols == tuple(subject.symbols)


@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
@pytest.mark.parametrize("residual", [False, True])
def test_gradients_are_what_a_small_change_of_a_state_does(
    cell: str, nonlinearity: str, residual: bool, ngrams: dict[str, Any]
) -> None:
    shape = {"num_layers": 2, "residual": residual, **ngrams}
    network = make_network(dtype=np.float64, cell=cell, nonlinearity=nonlinearity, **shape)
    ids = make_ids(9)
    report = inspect_unrolled(make_subject(network, ids), InspectConfig(at=7))

    def loss(depth: int, unit: int, t: int, change: float) -> float:
        """Return the loss at 7 where a unit is changed after t, seen by the layers above too."""
        trace = record(network, ids)
        states = [trace.states[layer][0][t + 1].copy() for layer in range(2)]
        states[depth][unit] += change
        layers, last_tokens = _at(trace, t + 1)[:2], _at(trace, t + 1)[2:]
        below, above = ((h, *part[1:]) for h, part in zip(states, layers, strict=True))
        if depth == 0:  # the layer above at t reads the changed state
            above = _advance_top(network, states[0], _at(trace, t)[1])
        state = (tuple(below), tuple(above), *last_tokens)
        after = record(network, ids[t + 1 : 8], state)
        logits = after.logits[-1] if t < 7 else network.logits(state)
        return float(np.log(np.exp(logits).sum()) - logits[ids[8]])

    for t in (4, 7):
        for depth in range(2):
            slopes = [
                (loss(depth, unit, t, 1e-5) - loss(depth, unit, t, -1e-5)) / 2e-5
                for unit in range(H)
            ]
            column = t - report.start
            assert report.gradients[column, depth] == pytest.approx(
                float(np.linalg.norm(slopes)), rel=1e-5
            )


def _at(trace: Trace, t: int) -> State:
    return select_row(trace.states, t)


def _advance_top(network: Network, below: Array, state: State) -> State:
    """Return the upper layer's state after it has read `below`: a network of its own."""
    weights = {
        name.replace("layers.1", "layers.0"): array
        for name, array in network.weights.items()
        if not name.startswith("layers.0")
    }
    weights["embedding.weight"] = below[None]
    config = replace(
        network.config,
        num_layers=1,
        embedding_size=H,
        vocab_size=1,
        residual=False,
        ngram_order=1,
        ngram_rows=0,
    )
    after: State = Network(config, weights).advance(0, (state,))[0]
    return after


def test_no_gradient_reaches_what_comes_after_the_place() -> None:
    report = make_report()
    after = AT - report.start + 1

    assert (report.gradients[:after] > 0).all()
    assert (report.gradients[after:] == 0).all()


def test_strengths_are_root_mean_squares_of_the_states() -> None:
    network = make_network(num_layers=2)
    subject = make_subject(network, make_ids(30))
    report = inspect_unrolled(subject, InspectConfig(at=AT))
    h = subject.trace.hidden(1)[report.start + 1]

    assert report.strengths[0, 1] == pytest.approx(np.linalg.norm(h) / H**0.5)
    assert report.scale == 1
    assert make_report(cell="rnn", nonlinearity="relu").scale != 1


def test_cuts_stand_where_a_window_of_training_begins() -> None:
    subject = make_subject(make_network(), make_ids(30))
    file = replace(subject.file, summary={"resolved": {"seq_len": 5}})
    report = inspect_unrolled(replace(subject, file=file), InspectConfig(at=AT))

    assert [report.start + cut for cut in report.cuts] == [10, 15, 20]
    assert make_report().cuts == ()


def test_a_place_outside_the_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at=30 lies after the text.*0 to 29"):
        make_report(InspectConfig(at=30))
    with pytest.raises(ConfigError, match="no layer 3"):
        make_report(InspectConfig(layer=3))


def test_a_table_has_a_row_for_each_character() -> None:
    columns, rows = make_report().table()

    assert len(rows) == COLUMNS
    assert all(len(row) == len(columns) for row in rows)
