"""A model that is looked at: its guesses are those of `charrnn score`, bit for bit."""

from __future__ import annotations

import numpy as np

from charrnn.interpret.trace import record
from charrnn.tasks.model import Model
from tests.interpret.networks import make_ids, make_network, make_subject


def test_log_probabilities_are_the_costs_of_score() -> None:
    subject = make_subject(make_network(cell="lstm", num_layers=2), make_ids(40))
    text = subject.vocab.decode(subject.ids)

    found = np.take_along_axis(subject.log_probabilities, subject.ids[:, None], -1)[:, 0]

    assert np.allclose(-found / np.log(2), Model(subject.file).score(text).bits, atol=1e-5)


def test_the_untrained_network_reads_the_same_text() -> None:
    subject = make_subject(make_network(cell="gru"), make_ids(40))

    assert np.array_equal(subject.measured.ids, subject.measured_untrained.ids)
    assert not np.allclose(subject.measured.hidden(0), subject.measured_untrained.hidden(0))
    assert np.array_equal(subject.trace.hidden(0), record(subject.network, subject.ids).hidden(0))


def test_symbols_name_each_token() -> None:
    subject = make_subject(make_network(), np.array([0, 1, 2]))

    assert subject.symbols == ["\n", "a", "b"]
